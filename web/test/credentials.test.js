// Ways to sign in, listed, added and removed: what reaches the bridge, byte by
// byte, and what the page is told. What a bad bridge gets: hostile.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account } from "./bridge.js";
import { open } from "./browser.js";
import { activity, makeRelay, stamp } from "./relay.js";
import { serve } from "./server.js";
import { parseHeader, verifies } from "./verify.js";

const credentialId = "AuthMethod:019542f5-b3e7-1d02-0000-000000000004";
const requestId = "Request:019542f5-b3e7-1d02-0000-00000000000a";
const userId = "user_sim";
const session = () => ({ id: "Session:019542f5-b3e7-1d02-0000-000000000003", accountId: account, expiresAt: stamp(Date.now() + 900_000) });
const listed = { id: credentialId, accountId: account, type: "OAUTH", nickname: "jane@example.com", createdAt: stamp(0), updatedAt: stamp(0), future: [{}] };
const refusal = (status, code) => ({ status, body: { status, code, message: "as the test has it" } });
const processing = { status: 200, body: { status: "PROCESSING", message: "as the test has it" } };

/** By type: what is added, the body that says so, what the challenge for it says, and the one for its removal. */
const attestation = { credentialId: "Y3JlZA", clientDataJson: "e30", attestationObject: "o2NmbXQ" };
const authenticator = { attestation, authenticatorName: "Jane's laptop", challenge: "Yw", transports: ["internal"] };
const types = {
  EMAIL_OTP: {
    added: { email: "jane@example.com" },
    body: `{"accountId":"${account}","type":"EMAIL_OTP"}`,
    payload: activity("UPDATE_USER_EMAIL", { userEmail: "jane@example.com", userId }),
    removal: activity("UPDATE_USER_EMAIL", { userEmail: "", userId }),
  },
  SMS_OTP: {
    added: { phoneNumber: "+15550100" },
    body: `{"accountId":"${account}","type":"SMS_OTP"}`,
    payload: activity("UPDATE_USER_PHONE_NUMBER", { userId, userPhoneNumber: "+15550100" }),
    removal: activity("UPDATE_USER_PHONE_NUMBER", { userId, userPhoneNumber: "" }),
  },
  OAUTH: {
    added: { oidcToken: "h.ü.s" },
    body: `{"accountId":"${account}","type":"OAUTH","oidcToken":"h.ü.s"}`,
    payload: activity("CREATE_OAUTH_PROVIDERS", { oauthProviders: [{ oidcToken: "h.ü.s", providerName: "google" }], userId }),
    removal: activity("DELETE_OAUTH_PROVIDERS", { providerIds: ["p"], userId }),
  },
  PASSKEY: {
    added: { nickname: "Jane's laptop", challenge: "Yw", attestation: { ...attestation, transports: ["internal"] } },
    body:
      `{"accountId":"${account}","type":"PASSKEY","nickname":"Jane's laptop","challenge":"Yw",` +
      `"attestation":{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ","transports":["internal"]}}`,
    payload: activity("CREATE_AUTHENTICATORS_V2", { authenticators: [authenticator], userId }),
    removal: activity("DELETE_AUTHENTICATORS", { authenticatorIds: ["a"], userId }),
  },
};

const relay = makeRelay();
let server, page;
before(() => {
  server = serve({ "/api/grid/": relay.handler });
});
after(() => server?.close());
beforeEach(async () => {
  relay.asked.length = 0;
  page = await open(server);
  await page.evaluate(async (session) => {
    globalThis.steps = [];
    const short = ({ step, leg, attempt, status, kind, reason }) => [step, leg, attempt, status, kind ?? reason].filter((value) => value !== undefined).join(" ");
    globalThis.onProgress = (event) => steps.push(short(event));
    await signIn(session, { headers: { authorization: "Bearer 1" } });
  }, session());
});
afterEach(async () => {
  assert.deepEqual(await page.evaluate(() => problems), []);
  await page.close();
});

/** Has the bridge challenge the first leg with this payload, and say these to signed ones, in order. */
function script(payload, ...said) {
  relay.answer = async ({ leg }) =>
    leg === 1 ? { status: 202, body: { payloadToSign: payload, requestId, expiresAt: stamp(Date.now() + 300_000) } } : said.shift();
}

const add = (type) =>
  page.evaluate((credential) => outcome(signer.addCredential(credential, { key, onProgress })), { type, ...types[type].added });
const remove = (type) =>
  page.evaluate((id, type) => outcome(signer.removeCredential(id, { key, type, onProgress })), credentialId, type);
const steps = () => page.evaluate(() => steps);
const key = () => page.evaluate(() => key);

/** What went over the wire: the same request each time but for the signature, of which there is one. */
async function assertSent({ method, path, body, payload, legs }) {
  const { curve, publicKey } = await key();
  assert.deepEqual(relay.asked.map(({ leg }) => leg), legs);
  for (const asked of relay.asked) {
    assert.deepEqual([asked.method, asked.path, asked.body], [method, path, body]);
    const { authorization, "content-type": type, "x-gridsigner": own, cookie } = asked.headers;
    assert.deepEqual([authorization, type, own, cookie], ["Bearer 1", body ? "application/json" : undefined, "1", undefined]);
  }
  const signed = new Set(relay.signed().map(({ headers }) => [headers["grid-wallet-signature"], headers["request-id"]].join()));
  assert.equal(signed.size, 1);
  const { headers } = relay.signed()[0];
  assert.equal(headers["request-id"], requestId);
  const parsed = parseHeader(headers["grid-wallet-signature"], "stamp");
  assert.deepEqual([parsed.curve, parsed.publicKey], [curve, publicKey]);
  assert.ok(verifies(curve, publicKey, parsed.der, payload));
}

for (const [type, { body, payload, removal }] of Object.entries(types)) {
  test(`${type} is added: both legs the same, each step told, Grid's answer handed on`, async () => {
    const added = { ...listed, type };
    script(payload, processing, { status: 201, body: added });
    assert.deepEqual(await add(type), { value: added });
    await assertSent({ method: "POST", path: "/auth/credentials", body, payload, legs: [1, 2, 2] });
    const expected = ["request 1 1", "response 1 1 202", "challenge activity", "signed", "request 2 2", "response 2 2 200", "wait processing", "request 2 3", "response 2 3 201"];
    assert.deepEqual(await steps(), expected);
  });

  test(`${type} is removed: both legs the same, each step told`, async () => {
    script(removal, processing, { status: 204 });
    assert.deepEqual(await remove(type), { value: { status: "removed", credentialId } });
    const path = `/auth/credentials/${encodeURIComponent(credentialId)}`;
    await assertSent({ method: "DELETE", path, body: "", payload: removal, legs: [1, 2, 2] });
    const expected = ["request 1 1", "response 1 1 202", "challenge activity", "signed", "request 2 2", "response 2 2 200", "wait processing", "request 2 3", "response 2 3 204"];
    assert.deepEqual(await steps(), expected);
  });
}

test("a credential that is not there is gone, before a signature or after one", async () => {
  relay.answer = async () => refusal(404, "REFERENCE_NOT_FOUND");
  assert.deepEqual(await remove("OAUTH"), { value: { status: "gone", credentialId } });
  assert.equal(relay.signed().length, 0);
  script(types.OAUTH.removal, refusal(404, "REFERENCE_NOT_FOUND"));
  assert.deepEqual(await remove("OAUTH"), { value: { status: "gone", credentialId } });
  assert.equal(relay.signed().length, 1);
});

test("what Grid refuses is told as it says it, and nothing is tried again", async () => {
  script(types.OAUTH.removal, refusal(409, "LAST_CREDENTIAL"));
  const removed = await remove("OAUTH");
  relay.answer = async () => refusal(400, "INVALID_INPUT");
  const added = await add("EMAIL_OTP");
  assert.deepEqual([removed, added].map(({ code, status, upstreamCode }) => [code, status, upstreamCode]), [
    ["UPSTREAM_REFUSED", 409, "LAST_CREDENTIAL"],
    ["UPSTREAM_REFUSED", 400, "INVALID_INPUT"],
  ]);
  assert.equal(relay.asked.length, 3);
});

test("the list is handed on as it came, also types that nobody knows yet", async () => {
  const data = [listed, { ...listed, type: "FAX", nickname: "" }];
  relay.answer = async () => ({ status: 200, body: { data } });
  assert.deepEqual(await page.evaluate((id) => signer.listCredentials(id), account), data);
  const [{ method, path, headers, body }, ...more] = relay.asked;
  assert.deepEqual([method, path, body, more], ["GET", `/auth/credentials?accountId=${encodeURIComponent(account)}`, "", []]);
  assert.deepEqual([headers.authorization, headers["x-gridsigner"], headers["content-type"]], ["Bearer 1", undefined, undefined]);
});

test("a key without a session adds nothing, and what a type has not is refused: no request is made", async () => {
  const codes = await page.evaluate(async (id) => {
    const unbound = await signer.createKey();
    const calls = [
      signer.addCredential({ type: "EMAIL_OTP", email: "jane@example.com" }, { key: unbound }),
      signer.addCredential({ type: "EMAIL_OTP" }, { key }),
      signer.addCredential({ type: "OAUTH", email: "jane@example.com" }, { key }),
      signer.addCredential({ type: "FAX", phoneNumber: "1" }, { key }),
      signer.removeCredential(id, { key, type: "FAX" }),
      signer.removeCredential(key.session.id, { key, type: "OAUTH" }),
      signer.listCredentials(id),
    ];
    return Promise.all(calls.map(async (call) => (await outcome(call)).code));
  }, credentialId);
  assert.deepEqual(codes, Array(7).fill("ARGUMENT_INVALID"));
  assert.deepEqual(relay.asked, []);
});

// Of each leg: who gives up while it is under way. Without its answer there is no other leg.
for (const leg of [1, 2]) {
  for (const [how, options, code] of [["abort", {}, "ABORTED"], ["timeout", { timeoutMs: 1500 }, "TIMEOUT"]]) {
    test(`${how} in leg ${leg}: the request is dropped, and no other follows`, async () => {
      script(types.OAUTH.payload);
      const { answer } = relay;
      let arrived;
      const waiting = new Promise((resolve) => (arrived = resolve));
      relay.answer = async (asked) => {
        if (asked.leg !== leg) return answer(asked);
        arrived(asked);
        return new Promise(() => {});
      };
      await page.evaluate((credential, options) => {
        globalThis.aborter = new AbortController();
        globalThis.adding = outcome(signer.addCredential(credential, { key, signal: aborter.signal, ...options }));
      }, { type: "OAUTH", ...types.OAUTH.added }, options);
      const asked = await waiting;
      if (how === "abort") await page.evaluate(() => aborter.abort());
      assert.equal((await page.evaluate(() => adding)).code, code);
      await asked.dropped;
      script(types.OAUTH.removal, { status: 204 }); // the key is none the worse for it
      assert.equal((await remove("OAUTH")).value?.status, "removed");
      assert.deepEqual(relay.asked.map(({ method, leg }) => `${method} ${leg}`), [...["POST 1", "POST 2"].slice(0, leg), "DELETE 1", "DELETE 2"]);
    });
  }
}
