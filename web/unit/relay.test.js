// A bridge that relays something else than what was asked for: nothing is signed, or nothing is made of it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import { account } from "../test/grid.js";
import { Browser, isRefresh, minute, second, types } from "./browser.js";

let browser, tab, key;
beforeEach(async () => {
  browser = new Browser();
  tab = await browser.open({ autoRefresh: false });
  key = await browser.signIn(tab);
});
afterEach(() => browser.close());

const activity = (type, parameters, organizationId = "org_sim") =>
  JSON.stringify({ organizationId, parameters, timestampMs: "1775681700000", type: `ACTIVITY_TYPE_${type}` });
const createSession = (targetPublicKey, organizationId) => activity("CREATE_READ_WRITE_SESSION_V2", { targetPublicKey }, organizationId);
const mine = (request) => JSON.parse(request.body).clientPublicKey;
const another = "02".padEnd(66, "7");

/** The old key signs, for its own session, as before. */
async function assertUntouched() {
  assert.deepEqual(await tab.keys(), [key]);
  assert.deepEqual(types(tab), ["started"]);
  const challenge = { payloadToSign: activity("DELETE_API_KEYS", { apiKeyIds: ["k"], userId: "u" }), requestId: `Request:${randomUUID()}`, expiresAt: key.session.expiresAt };
  assert.equal((await browser.soon(tab.signChallenge(challenge, { key: key.id, timeoutMs: second }))).value.intent, "revoke-session");
}

/** Has its organization accepted: a session of another device is ended. */
async function accept() {
  const { id } = browser.grid.add(another);
  assert.equal((await browser.soon(tab.revokeSession(id, { key: key.id, timeoutMs: second }))).value.status, "revoked");
}

for (const [name, payload, code] of [
  ["for another key", () => createSession(another), "INTENT_MISMATCH"],
  ["for the key in the other case", (request) => createSession(mine(request).toUpperCase()), "INTENT_MISMATCH"],
  ["for the key and one more", (request) => createSession(mine(request)).replace("}", `,"apiKey":"${another}"}`), "INTENT_MISMATCH"],
  ["of another organization", (request) => createSession(mine(request), "org_other"), "ORGANIZATION_MISMATCH"],
  ["that ends a session", () => activity("DELETE_API_KEYS", { apiKeyIds: ["k"], userId: "u" }), "INTENT_MISMATCH"],
  ["that exports a wallet", (request) => activity("EXPORT_WALLET", { targetPublicKey: mine(request), walletId: "w" }), "INTENT_MISMATCH"],
  ["that moves money", () => activity("SIGN_TRANSACTION_V2", { signWith: "s", unsignedTransaction: "02", type: "TRANSACTION_TYPE_ETHEREUM" }), "INTENT_MISMATCH"],
  ["of opaque text", () => "b3BhcXVl", undefined],
]) {
  test(`a refresh whose challenge is one ${name} is not signed, and leaves no doubt`, async () => {
    await accept();
    const doubted = [];
    browser.atUpdate = async (_, before, after) => after?.strays !== before?.strays && doubted.push(after.strays);
    browser.bridge = (request, ask) => {
      const { status, body } = ask();
      return { status, body: isRefresh(request, 1) ? { ...body, payloadToSign: payload(request) } : body };
    };
    const got = await browser.refresh(tab, key);
    assert.ok(code ? got.code === code : ["INTENT_MISMATCH", "PAYLOAD_MALFORMED"].includes(got.code), got.code ?? "signed");
    assert.deepEqual([got.retryable, browser.count(1), browser.count(2), doubted], [false, 1, 0, []]);
    assert.equal((await browser.storage.get(key.id)).strays, undefined);
    browser.bridge = (_, ask) => ask();
    await assertUntouched();
    assert.equal((await browser.refresh(tab, key)).value.id, key.id);
  });
}

test("a challenge that is for something else when it is asked for again is not signed", async () => {
  let legs = 0;
  browser.bridge = (request, ask) => {
    if (isRefresh(request, 2)) return { status: 503, body: { status: 503, code: "BUSY", message: "m" } };
    const { status, body } = ask();
    return { status, body: isRefresh(request, 1) && ++legs > 1 ? { ...body, payloadToSign: createSession(mine(request), "org_other") } : body };
  };
  const { code } = await browser.refresh(tab, key);
  assert.deepEqual([code, browser.count(2)], ["INTENT_MISMATCH", 1]);
  browser.bridge = (_, ask) => ask();
  await browser.pass(8 * minute, 2 * second);
  await browser.assertOne(tab, key);
});

for (const [name, change] of [
  ["the session before", () => ({ id: key.session.id })],
  ["the session before, its hex in upper case", () => ({ id: key.session.id.toUpperCase().replace("SESSION", "Session") })],
  ["another key's session of this browser", () => ({ id: sibling.session.id })],
  ["a session of another account", () => ({ accountId: account.replace(/1$/, "2") })],
  ["a session that is over already", () => ({ expiresAt: new Date(browser.server - minute).toISOString() })],
  ["a session whose key Grid has made and sealed", () => ({ encryptedSessionSigningKey: "sealed" })],
  ["a session that ends at no time", () => ({ expiresAt: "soon" })],
  ["what is no session", () => ({ id: `AuthMethod:${randomUUID()}` })],
]) {
  test(`a refresh that is answered with ${name} binds nothing, and what Grid has made is found and ended`, async () => {
    sibling = await browser.signIn(tab);
    browser.bridge = (request, ask) => {
      const { status, body } = ask();
      return { status, body: status === 201 && isRefresh(request, 2) ? { ...body, ...change() } : body };
    };
    const got = await browser.refresh(tab, key);
    assert.deepEqual([got.code, got.retryable], ["RESPONSE_MALFORMED", false]);
    assert.equal(browser.live.length, 3);
    assert.deepEqual(await tab.keys(), [key, sibling]);
    browser.bridge = (_, ask) => ask();
    await browser.pass(8 * minute, 2 * second);
    assert.deepEqual(browser.live, [key, sibling].map(({ session, publicKey }) => ({ id: session.id, publicKey })));
    assert.equal((await browser.storage.get(key.id)).strays, undefined);
    assert.deepEqual(types(tab), ["started", "started"]);
  });
}
let sibling;

/** What is added, what the challenge must say, and what a relay could say instead. */
const passkey = { credentialId: "Y3JlZA", clientDataJson: "e30", attestationObject: "o2NmbXQ" };
const authenticators = (attestation) =>
  activity("CREATE_AUTHENTICATORS_V2", { authenticators: [{ attestation, authenticatorName: "n", challenge: "c", transports: ["internal"] }], userId: "u" });
const email = (userEmail) => activity("UPDATE_USER_EMAIL", { userEmail, userId: "u" });
const phone = (userPhoneNumber) => activity("UPDATE_USER_PHONE_NUMBER", { userId: "u", userPhoneNumber });
const providers = (oidcToken) => activity("CREATE_OAUTH_PROVIDERS", { oauthProviders: [{ oidcToken, providerName: "google" }], userId: "u" });
const credentials = [
  [{ type: "EMAIL_OTP", email: "a@b.c" }, email("a@b.c"), [email("evil@b.c"), email(""), phone("+15550100"), providers("h.p.s")]],
  [{ type: "SMS_OTP", phoneNumber: "+15550100" }, phone("+15550100"), [phone("+15550199"), phone(""), email("+15550100")]],
  [{ type: "OAUTH", oidcToken: "h.p.s" }, providers("h.p.s"), [providers("e.v.l"), authenticators(passkey)]],
  [
    { type: "PASSKEY", nickname: "n", challenge: "c", attestation: passkey },
    authenticators(passkey),
    [authenticators({ ...passkey, attestationObject: "ZXZpbA" }), email("a@b.c"), createSession(another)],
  ],
];

/** A bridge that has one payload signed, of whatever is asked, and then says that it is done. */
function relay(payloadToSign, done) {
  browser.bridge = ({ leg }) =>
    leg === 2 ? done : { status: 202, body: { payloadToSign, requestId: `Request:${randomUUID()}`, expiresAt: new Date(browser.server + minute).toISOString() } };
}
const legs = () => browser.requests.map(({ method, path, leg }) => `${method} ${path} ${leg}`);

for (const [credential, right, wrong] of credentials) {
  test(`a credential is added by a challenge that adds it, and by no other: ${credential.type}`, async () => {
    const add = () => browser.soon(tab.addCredential(credential, { key: key.id, timeoutMs: second }));
    const made = { id: `AuthMethod:${randomUUID()}`, accountId: account, type: credential.type, nickname: "n", createdAt: "", updatedAt: "" };
    for (const payload of wrong) {
      relay(payload, { status: 201, body: made });
      assert.equal((await add()).code, "INTENT_MISMATCH", payload);
    }
    assert.deepEqual(new Set(legs()), new Set(["POST /auth/credentials 1"]));
    relay(right, { status: 201, body: made });
    assert.deepEqual((await add()).value, made);
    assert.equal(legs().at(-1), "POST /auth/credentials 2");
    const { email: _, phoneNumber: __, ...submitted } = credential;
    assert.deepEqual(JSON.parse(browser.requests.at(-1).body), { accountId: account, ...submitted });
    for (const other of [{ ...made, type: "FAX" }, { ...made, accountId: account.replace(/1$/, "2") }, { ...made, id: key.session.id }]) {
      relay(right, { status: 201, body: other });
      assert.equal((await add()).code, "RESPONSE_MALFORMED");
    }
  });
}

const removals = {
  EMAIL_OTP: email(""),
  SMS_OTP: phone(""),
  OAUTH: activity("DELETE_OAUTH_PROVIDERS", { providerIds: ["p"], userId: "u" }),
  PASSKEY: activity("DELETE_AUTHENTICATORS", { authenticatorIds: ["a"], userId: "u" }),
};
test("a credential is removed by a challenge that removes one of its type, and by no other", async () => {
  const id = `AuthMethod:${randomUUID()}`;
  const remove = (type) => browser.soon(tab.removeCredential(id, { key: key.id, type, timeoutMs: second }));
  for (const type of Object.keys(removals)) {
    for (const [other, payload] of Object.entries({ ...removals, session: activity("DELETE_API_KEYS", { apiKeyIds: ["k"], userId: "u" }), mine: createSession(key.publicKey) })) {
      browser.requests = [];
      relay(payload, { status: 204 });
      const got = await remove(type);
      if (other === type) assert.deepEqual(got, { value: { status: "removed", credentialId: id } });
      else assert.equal(got.code, "INTENT_MISMATCH", `${type} by ${other}`);
      assert.equal(legs().length, other === type ? 2 : 1);
    }
  }
  browser.bridge = () => ({ status: 404, body: { status: 404, code: "REFERENCE_NOT_FOUND", message: "m" } });
  assert.deepEqual((await remove("OAUTH")).value, { status: "gone", credentialId: id });
  assert.equal((await remove("FAX")).code, "ARGUMENT_INVALID");
  assert.equal((await remove(undefined)).code, "ARGUMENT_INVALID");
});

test("credentials are listed as they come, without a signature", async () => {
  const rows = [{ id: `AuthMethod:${randomUUID()}`, accountId: account, type: "FAX", nickname: "n", createdAt: "", updatedAt: "", more: 1 }];
  browser.bridge = () => ({ status: 200, body: { data: rows } });
  assert.deepEqual((await browser.soon(tab.listCredentials(account, { timeoutMs: second }))).value, rows);
  assert.deepEqual(legs(), [`GET /auth/credentials?accountId=${encodeURIComponent(account)} 1`]);
  rows[0].accountId = account.replace(/1$/, "2");
  assert.equal((await browser.soon(tab.listCredentials(account, { timeoutMs: second }))).code, "RESPONSE_MALFORMED");
});

test("a key without a session refreshes nothing and adds nothing, and asks for nothing", async () => {
  const { value: made } = await browser.soon(tab.createKey({}, {}));
  const options = { key: made.id, timeoutMs: second };
  for (const call of [() => tab.refreshSession({ ...options }), () => tab.addCredential(credentials[0][0], { ...options })]) {
    assert.equal((await browser.soon(call())).code, "ARGUMENT_INVALID");
  }
  assert.deepEqual(browser.requests, []);
});
