// A bridge that is somebody else's: challenges for another thing than was asked
// for, and answers about another. The rules: signer/, and intent.json of the
// corpus. Here, that none of them gets a signature out of a page, or a key bound.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { account, revocation } from "./bridge.js";
import { open } from "./browser.js";
import { compress, makeEnclave, makePair, seal } from "./enclave.js";
import { activity, makeRelay, stamp } from "./relay.js";
import { serve } from "./server.js";
import { parseHeader, verifies } from "./verify.js";

const id = (kind, n) => `${kind}:019542f5-b3e7-1d02-0000-${String(n).padStart(12, "0")}`;
const otherAccount = id("InternalAccount", 2);
const evilKey = `02${"11".repeat(32)}`;
const inAnHour = () => stamp(Date.now() + 3_600_000);
const session = (n, more) => ({ id: id("Session", n), accountId: account, type: "OAUTH", createdAt: stamp(0), expiresAt: inAnHour(), ...more });
const challenge = (payload, more) => ({ payloadToSign: payload, requestId: id("Request", 1), expiresAt: stamp(Date.now() + 300_000), ...more });

/** By curve: the key, and the session that it signs for. */
const keys = { "P-256": session(10), secp256k1: session(11) };
let server, page;
const relay = makeRelay();
/** The enclave that the page trusts, and one that a bridge has. */
const [enclave, evilEnclave] = [makeEnclave(), makeEnclave()];
before(async () => {
  server = serve({ "/api/grid/": relay.handler });
  page = await open(server);
  await page.evaluate((signers) => start({ otpSigners: signers, exportSigners: signers }), [enclave.publicKey]);
  for (const [curve, own] of Object.entries(keys)) {
    const key = await page.evaluate(async (curve, own) => signer.bindSession(await signer.createKey({ curve }), own), curve, own);
    // From now on it is held to this organization.
    relay.answer = async ({ leg }) => (leg === 1 ? { status: 202, body: challenge(revocation()) } : { status: 204 });
    await page.evaluate((key, id) => signer.revokeSession(id, { key }), key.id, session(1).id);
    keys[curve] = key;
  }
});
after(() => server?.close());

/**
 * With a key of each curve: calls a method, whose first leg is answered with `first`
 * (of what was submitted, and the key), and a signed one with `last`. How each of
 * them failed is to be `code`. Afterwards nothing may be as if it had not.
 */
async function refused(call, { first, last = () => ({ status: 403, body: { status: 403, code: "FORBIDDEN", message: "as the test has it" } }), signatures, code }) {
  for (const [curve, key] of Object.entries(keys)) {
    relay.asked.length = 0;
    relay.answer = async ({ method, leg, body }) => {
      if (method === "GET") return { status: 200, body: { data: Object.values(keys).map(({ session }) => session) } };
      const submitted = body && JSON.parse(body);
      return leg === 2 ? last(key, submitted) : first(submitted, key);
    };
    const before = await page.evaluate(async () => [await signer.keys(), events]);
    const got = await page.evaluate(([method, ...args]) => outcome(signer[method](...args)), call(key));
    assert.equal(got.code, code, `${curve}: ${got.message ?? got.uncoded ?? JSON.stringify(got.value)}`);
    assert.equal(relay.signed().length, signatures, `${curve}: signatures that left the page`);
    assert.deepEqual(await page.evaluate(async () => [await signer.keys(), events]), before, `${curve}: keys, and what was told`);
    const asked = challenge(revocation());
    const { signature } = await page.evaluate((asked, key) => signer.signChallenge(asked, { key }), asked, key.id);
    const { publicKey, der } = parseHeader(signature, "stamp");
    assert.deepEqual([publicKey, verifies(curve, publicKey, der, revocation())], [key.publicKey, true], `${curve}: the key signs`);
  }
}

/** The same of each row: a name, and what the first leg is answered with instead of what it should be. */
function challenges(what, call, rows) {
  for (const [name, payload, code = "INTENT_MISMATCH"] of rows) {
    const first = async (body, key) => {
      const said = typeof payload === "function" ? payload(body, key) : payload;
      return typeof said === "string" ? { status: 202, body: challenge(said) } : said;
    };
    test(`${what}: ${name}: nothing is signed`, () => refused(call, { first, signatures: 0, code }));
  }
}

/** Of a signed leg: the challenge is as it should be, the answer is not. */
function answers(what, call, payload, rows) {
  const first = async (body, key) => ({ status: 202, body: challenge(payload(body, key)) });
  for (const [name, last, code = "RESPONSE_MALFORMED"] of rows) {
    test(`${what}: ${name}: nothing comes of it`, () => refused(call, { first, last: async (...asked) => last(...asked), signatures: 1, code }));
  }
}

const ofAnything = [
  ["the end of a session", revocation()],
  ["money", activity("SIGN_TRANSACTION_V2", { signWith: "w", type: "TRANSACTION_TYPE_SOLANA", unsignedTransaction: "00" })],
  ["the export of a wallet", activity("EXPORT_WALLET", { targetPublicKey: evilKey, walletId: "w" })],
  ["text that says nothing", "b3BhcXVl"],
  ["a challenge that is over", () => ({ status: 202, body: challenge(revocation(), { expiresAt: "2020-01-01T00:00:00Z" }) }), "CHALLENGE_EXPIRED"],
];

const mint = (targetPublicKey, more, organization) => activity("CREATE_READ_WRITE_SESSION_V2", { targetPublicKey, ...more }, organization);
const refresh = ({ id }) => ["refreshSession", id];
challenges("refresh", refresh, [
  ...ofAnything,
  ["a session for another key", () => mint(evilKey)],
  ["a session for the key of before", (_, key) => mint(key.publicKey)],
  ["its key in other letters", ({ clientPublicKey }) => mint(clientPublicKey.toUpperCase())],
  ["a key besides its own", ({ clientPublicKey }) => activity("CREATE_READ_WRITE_SESSION_V2", { targetPublicKey: [clientPublicKey, evilKey] })],
  ["a session of another length", ({ clientPublicKey }) => mint(clientPublicKey, { expirationSeconds: "31536000" })],
  ["another organization", ({ clientPublicKey }) => mint(clientPublicKey, {}, "org_evil"), "ORGANIZATION_MISMATCH"],
  ["a credential in its place", activity("UPDATE_USER_EMAIL", { userEmail: "evil@example.com", userId: "user_sim" })],
  ["no challenge at all", () => ({ status: 201, body: session(20) }), "RESPONSE_MALFORMED"],
]);
const own = (key, more) => ({ status: 201, body: { ...session(21), accountId: key.session.accountId, ...more } });
const other = (key) => Object.values(keys).find(({ id }) => id !== key.id);
answers("refresh", refresh, ({ clientPublicKey }) => mint(clientPublicKey), [
  ["the session that was refreshed", (key) => own(key, { id: key.session.id })],
  ["the session of another key", (key) => own(key, { id: other(key).session.id })],
  ["the same in capitals", (key) => own(key, { id: `Session:${other(key).session.id.slice(8).toUpperCase()}` })],
  ["a session of another account", (key) => own(key, { accountId: otherAccount })],
  ["a session that is over", (key) => own(key, { expiresAt: "2020-01-01T00:00:00Z" })],
  ["a session without an end", (key) => own(key, { expiresAt: undefined })],
  ["a key that Grid has made", (key) => own(key, { encryptedSessionSigningKey: "w99a5xV6" })],
  ["a credential", (key) => own(key, { id: id("AuthMethod", 1) })],
  ["another status", (key) => ({ ...own(key), status: 200 })],
  ["no session at all", () => ({ status: 204 })],
]);

const exporting = ({ id }) => ["exportWallet", account, { key: id }];
const exportTo = (targetPublicKey, organization) => activity("EXPORT_WALLET", { targetPublicKey, walletId: "w" }, organization);
challenges("export", exporting, [
  ...ofAnything.filter(([name]) => name !== "the export of a wallet"),
  ["the wallet for another key", exportTo(makePair().publicKey)],
  ["the wallet for the key that signs", (_, key) => exportTo(key.publicKey)],
  ["the wallet of another organization", ({ clientPublicKey }) => exportTo(clientPublicKey, "org_evil"), "ORGANIZATION_MISMATCH"],
  ["a session in its place", ({ clientPublicKey }) => mint(clientPublicKey)],
  ["no challenge at all", () => ({ status: 200, body: { id: account, encryptedWalletCredentials: "{}" } }), "RESPONSE_MALFORMED"],
]);
const phrase = ({ clientPublicKey }, more) => ({ ...seal(clientPublicKey, Buffer.from("evil words")), organizationId: "org_sim", ...more });
const exported = (encryptedWalletCredentials, more) => ({ status: 200, body: { id: account, encryptedWalletCredentials, ...more } });
answers("export", exporting, ({ clientPublicKey }) => exportTo(clientPublicKey), [
  ["a phrase that the bridge has sealed and signed", (_, asked) => exported(evilEnclave.envelope(phrase(asked))), "ENCLAVE_UNTRUSTED"],
  ["one that nobody has signed", (_, asked) => exported(enclave.envelope(phrase(asked), { dataSignature: "", enclaveQuorumPublic: "" })), "ENCLAVE_UNTRUSTED"],
  ["one of another organization", (_, asked) => exported(enclave.envelope(phrase(asked, { organizationId: "org_evil" }))), "ENCLAVE_UNTRUSTED"],
  ["one that was sealed for another key", () => exported(enclave.envelope(phrase({ clientPublicKey: makePair().publicKey }))), "UNSEAL_FAILED"],
  ["the wallet of another account", (_, asked) => exported(enclave.envelope(phrase(asked)), { id: otherAccount })],
]);

const way = id("AuthMethod", 7);
const codeSent = (bundle) => ({ status: 200, body: { id: way, accountId: account, type: "EMAIL_OTP", nickname: "n", otpEncryptionTargetBundle: bundle } });
const target = () => ({ targetPublic: makePair().publicKey });
for (const [name, bundle] of [
  ["of its own enclave", () => evilEnclave.envelope(target())],
  ["of its own enclave, by our name", () => evilEnclave.envelope(target(), { enclaveQuorumPublic: enclave.publicKey })],
  ["that is not signed", () => enclave.envelope(target(), { dataSignature: "", enclaveQuorumPublic: "" })],
  ["of another version", () => enclave.envelope(target(), { version: "v2.0.0" })],
  ["off the curve", () => enclave.envelope({ targetPublic: `04${"11".repeat(64)}` })],
]) {
  test(`a code is to be sealed to a key ${name}: nobody is asked for it`, async () => {
    relay.asked.length = 0;
    relay.answer = async () => codeSent(bundle());
    const { code } = await page.evaluate((way) => outcome(signer.startOtp(way)), way);
    assert.deepEqual([code, relay.asked.map(({ path }) => path.split("/").at(-1))], ["ENCLAVE_UNTRUSTED", ["challenge"]]);
  });
}

for (const [name, payload] of [
  ["a token for another key", () => enclave.token({ public_key: compress(makePair().publicKey) })],
  ["money", () => ofAnything[1][1]],
  ["a session for another key", () => mint(evilKey)],
  ["text that says nothing", () => "b3BhcXVl"],
]) {
  test(`after a code the key is to sign ${name}: it signs nothing, and is gone`, async () => {
    relay.asked.length = 0;
    relay.answer = async ({ path }) => (path.endsWith("/challenge") ? codeSent(enclave.envelope(target())) : { status: 202, body: challenge(payload(), { type: "EMAIL_OTP" }) });
    const before = await page.evaluate(async () => [await signer.keys(), events]);
    const { code } = await page.evaluate(async (way) => outcome((await signer.startOtp(way)).submit("123456")), way);
    assert.deepEqual([code, relay.signed().length], ["INTENT_MISMATCH", 0]);
    assert.deepEqual(await page.evaluate(async () => [await signer.keys(), events]), before);
  });
}

test("a passkey is asked for of another credential: the person is not asked", async () => {
  relay.answer = async () => ({
    status: 200,
    body: { id: id("AuthMethod", 8), accountId: account, type: "PASSKEY", nickname: "n", credentialId: "AAAA", challenge: "6b".repeat(32), requestId: id("Request", 1), expiresAt: inAnHour() },
  });
  const { code } = await page.evaluate(async (way) => {
    navigator.credentials.get = () => problems.push("asked");
    return outcome(signer.signIn({ credentialId: way, passkey: {} }));
  }, way);
  assert.deepEqual([code, await page.evaluate(() => problems)], ["RESPONSE_MALFORMED", []]);
});

const evil = "evil@example.com";
const userId = "user_sim";
const attestation = { credentialId: "Y3JlZA", clientDataJson: "e30", attestationObject: "o2NmbXQ" };
const authenticator = (object, more) => ({ attestation: { ...attestation, attestationObject: object, ...more }, authenticatorName: "Laptop", challenge: "Yw", transports: [] });
const kinds = {
  EMAIL_OTP: {
    added: { email: "a@example.com" },
    challenge: () => activity("UPDATE_USER_EMAIL", { userEmail: "a@example.com", userId }),
    adds: [
      ["another address", activity("UPDATE_USER_EMAIL", { userEmail: evil, userId })],
      ["none, which removes it", activity("UPDATE_USER_EMAIL", { userEmail: "", userId })],
      ["a number", activity("UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "a@example.com", userId })],
    ],
    removes: [["an address in its place", activity("UPDATE_USER_EMAIL", { userEmail: evil, userId })]],
    removal: activity("UPDATE_USER_EMAIL", { userEmail: "", userId }),
  },
  SMS_OTP: {
    added: { phoneNumber: "+15550100" },
    challenge: () => activity("UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "+15550100", userId }),
    adds: [["another number", activity("UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "+15550199", userId })]],
    removes: [["a number in its place", activity("UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "+15550199", userId })]],
    removal: activity("UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "", userId }),
  },
  OAUTH: {
    added: { oidcToken: "h.p.s" },
    challenge: () => activity("CREATE_OAUTH_PROVIDERS", { oauthProviders: [{ oidcToken: "h.p.s", providerName: "google" }], userId }),
    adds: [
      ["another token", activity("CREATE_OAUTH_PROVIDERS", { oauthProviders: [{ oidcToken: "h.p.evil", providerName: "google" }], userId })],
      ["a token more", activity("CREATE_OAUTH_PROVIDERS", { oauthProviders: ["h.p.s", "h.p.evil"].map((oidcToken) => ({ oidcToken, providerName: "google" })), userId })],
    ],
    removes: [["two", activity("DELETE_OAUTH_PROVIDERS", { providerIds: ["a", "b"], userId })]],
    removal: activity("DELETE_OAUTH_PROVIDERS", { providerIds: ["a"], userId }),
  },
  PASSKEY: {
    added: { nickname: "Laptop", challenge: "Yw", attestation },
    challenge: () => activity("CREATE_AUTHENTICATORS_V2", { authenticators: [authenticator("o2NmbXQ")], userId }),
    adds: [
      ["another attestation behind its id", activity("CREATE_AUTHENTICATORS_V2", { authenticators: [authenticator("ZXZpbA")], userId })],
      ["a passkey more", activity("CREATE_AUTHENTICATORS_V2", { authenticators: [authenticator("o2NmbXQ"), authenticator("ZXZpbA")], userId })],
    ],
    removes: [["two", activity("DELETE_AUTHENTICATORS", { authenticatorIds: ["a", "b"], userId })]],
    removal: activity("DELETE_AUTHENTICATORS", { authenticatorIds: ["a"], userId }),
  },
};
for (const [type, { added, challenge: right, adds, removes, removal }] of Object.entries(kinds)) {
  const add = ({ id }) => ["addCredential", { type, ...added }, { key: id }];
  const others = Object.entries(kinds).filter(([name]) => name !== type);
  challenges(`add ${type}`, add, [
    ...ofAnything,
    ...adds,
    ...others.map(([name, { challenge }]) => [`${name} in its place`, challenge]),
    ["the removal of one", removal],
    ["another organization", right().replace("org_sim", "org_evil"), "ORGANIZATION_MISMATCH"],
    ["no challenge at all", () => ({ status: 201, body: { id: id("AuthMethod", 1), accountId: account, type } }), "RESPONSE_MALFORMED"],
  ]);
  const credential = (key, more) => ({ status: 201, body: { id: id("AuthMethod", 1), accountId: key.session.accountId, type, nickname: "n", ...more } });
  answers(`add ${type}`, add, right, [
    ["one of another account", (key) => credential(key, { accountId: otherAccount })],
    ["one of another type", (key) => credential(key, { type: others[0][0] })],
    ["a session", (key) => credential(key, { id: id("Session", 1) })],
  ]);
  const remove = ({ id: key }) => ["removeCredential", id("AuthMethod", 1), { key, type }];
  challenges(`remove ${type}`, remove, [
    ...ofAnything,
    ...removes,
    ...others.map(([name, { removal }]) => [`one of ${name} in its place`, removal]),
    ["the addition of one", right],
    ["another organization", removal.replace("org_sim", "org_evil"), "ORGANIZATION_MISMATCH"],
    ["that it is done, unasked", () => ({ status: 204 }), "RESPONSE_MALFORMED"],
  ]);
}
