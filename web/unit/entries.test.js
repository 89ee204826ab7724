// Sign-ins that Grid refuses, takes its time for, or answers wrongly; and callers who give up. See entering.test.js.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { compress, makePair } from "../test/enclave.js";
import { Browser, lost, minute, refusal, second, types as events } from "./browser.js";
import { Person, types } from "./person.js";

let browser, person, tab;
async function begin({ persistence, ...settings } = {}) {
  browser = new Browser(settings);
  person = new Person(browser);
  tab = await browser.open({ autoRefresh: false, persistence });
}
afterEach(() => browser.close());

const enter = (type, options) => browser.soon(person.enter(tab, type, options));
const keys = async () => (await browser.soon(tab.keys())).value;
const count = (end, leg = 1) => browser.requests.filter((request) => request.path.endsWith(end) && request.leg === leg).length;
const stranger = () => compress(makePair().publicKey);

/** Nothing is left, also of what Grid has made. */
async function assertNothing() {
  await browser.pass(3 * minute, 5 * second);
  assert.deepEqual([await keys(), events(tab), browser.live], [[], [], []]);
  assert.ok((await browser.storage.all()).every(({ secret }) => !secret));
}

test("a wrong code: another may be submitted, with the same key of the enclave, and signs in", async () => {
  await begin();
  const { id } = person.ways.EMAIL_OTP;
  const { value: sent } = await browser.soon(tab.startOtp(id, { timeoutMs: minute }));
  assert.deepEqual([sent.type, sent.nickname, sent.accountId], ["EMAIL_OTP", "a@b.c", person.ways.EMAIL_OTP.accountId]);
  const submit = (code) => browser.soon(tab.submitOtp(sent, code, { timeoutMs: minute }));
  const wrong = (code) => code.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
  for (let i = 0; i < 2; i++) {
    const { code, status, upstreamCode, retryable } = await submit(wrong(browser.grid.codeOf(id)));
    assert.deepEqual([code, status, upstreamCode, retryable], ["OTP_INCORRECT", 401, "UNAUTHORIZED", false]);
    assert.deepEqual([await keys(), (await browser.storage.all()).filter(({ secret }) => secret)], [[], []]);
  }
  const { value: key } = await submit(browser.grid.codeOf(id));
  await browser.assertOne(tab, key);
  assert.equal(count("/challenge"), 1);
  assert.equal((await submit("123456")).code, "OTP_EXPIRED", "it was used");
  await browser.assertOne(tab, key);
});

test("a code that ran out, that was tried too often, or that another has replaced", async () => {
  await begin();
  const { id } = person.ways.SMS_OTP;
  const start = async () => (await browser.soon(tab.startOtp(id, { timeoutMs: minute }))).value;
  const submit = (sent, code) => browser.soon(tab.submitOtp(sent, code, { timeoutMs: minute }));
  let sent = await start();
  await browser.pass(5 * minute, 10 * second);
  assert.equal((await submit(sent, browser.grid.codeOf(id))).code, "OTP_EXPIRED");
  sent = await start();
  const wrong = browser.grid.codeOf(id) === "000000" ? "111111" : "000000";
  for (const want of ["OTP_INCORRECT", "OTP_INCORRECT", "OTP_INCORRECT", "OTP_EXPIRED"]) assert.equal((await submit(sent, wrong)).code, want);
  const before = await start();
  sent = await start();
  assert.equal((await submit(before, browser.grid.codeOf(id))).code, "OTP_INCORRECT", "sealed to what is there no more");
  assert.ok((await submit(sent, browser.grid.codeOf(id))).value);
});

test("two codes that are on their way do not know of each other", async () => {
  await begin();
  const start = async (type) => (await browser.soon(tab.startOtp(person.ways[type].id, { timeoutMs: minute }))).value;
  const [email, sms] = [await start("EMAIL_OTP"), await start("SMS_OTP")];
  const got = await Promise.all([sms, email].map((sent) => browser.soon(tab.submitOtp(sent, browser.grid.codeOf(sent.credentialId), { timeoutMs: minute }))));
  assert.deepEqual(got.map(({ value }) => value.session.id).sort(), browser.live.map(({ id }) => id).sort());
  assert.equal((await keys()).length, 2);
});

test("a token that Grid does not take: for another key, in another spelling, or stale", async () => {
  await begin();
  const { id } = person.ways.OAUTH;
  for (const make of [
    () => browser.grid.token(stranger()),
    ({ publicKey }) => browser.grid.token(publicKey.toUpperCase()),
    ({ publicKey }) => browser.grid.token(publicKey, { iat: browser.server / 1000 - 66 }),
  ]) {
    const { value: key } = await browser.soon(tab.createKey({}, {}));
    const { code, status, retryable } = await browser.soon(tab.signInWithToken(key.id, id, make(key), { timeoutMs: minute }));
    assert.deepEqual([code, status, retryable], ["UPSTREAM_REFUSED", 401, false]);
    assert.equal((await browser.soon(tab.oauthNonce(key.id))).code, "KEY_LOST");
  }
  assert.equal(browser.requests.length, 3, "none is sent twice");
  await assertNothing();
});

test("a passkey that Grid does not take: over another challenge, used before, or late", async () => {
  await begin();
  const { get } = person.authenticator;
  person.authenticator.get = ({ publicKey }) => get({ publicKey: { ...publicKey, challenge: Buffer.from("6b", "hex") } });
  assert.deepEqual((({ code, status }) => [code, status])(await enter("PASSKEY")), ["UPSTREAM_REFUSED", 401]);
  person.authenticator.get = get;
  const { value: asked } = await browser.soon(tab.startPasskey(person.ways.PASSKEY.id, undefined, { timeoutMs: 20 * minute }));
  await browser.pass(5 * minute, 10 * second);
  const assertion = { credentialId: "A", clientDataJson: "A", authenticatorData: "A", signature: "A" };
  assert.deepEqual((({ code, status }) => [code, status])(await browser.soon(tab.finishPasskey(asked, assertion, { timeoutMs: minute }))), ["UPSTREAM_REFUSED", 401]);
  await assertNothing();
});

test("a credential that there is not", async () => {
  await begin();
  const id = "AuthMethod:019542f5-b3e7-1d02-0000-000000000009";
  for (const [type, code] of [["EMAIL_OTP", "UPSTREAM_REFUSED"], ["PASSKEY", "UPSTREAM_REFUSED"], ["OAUTH", "UPSTREAM_REFUSED"]]) {
    person.ways[type] = { ...person.ways[type], id };
    const got = await enter(type);
    assert.deepEqual([got.code, got.status], [code, 404]);
  }
  await assertNothing();
});

for (const type of types) {
  test(`${type}: Grid takes its time for each of the requests, and is sent the identical ones again`, async () => {
    await begin({ processing: () => 2 });
    const { value: key } = await enter(type);
    await browser.assertOne(tab, key);
    const sent = browser.requests.filter(({ path, leg }) => path.endsWith("/verify") && (leg === 2 || !type.endsWith("OTP")));
    assert.deepEqual([sent.length, new Set(sent.map(({ body, headers }) => JSON.stringify([body, headers]))).size], [3, 1]);
    await browser.pass(minute);
    await browser.assertOne(tab, key);
  });

  test(`${type}: what Grid is still at when the time is up is ended once it is there`, async () => {
    await begin({ processing: () => 1000 });
    browser.bridge = (request, ask) => {
      const answer = ask();
      return request.path.endsWith("/challenge") && answer.body.status === "PROCESSING" ? browser.bridge(request, ask) : answer;
    };
    const got = await enter(type, { timeoutMs: 5 * second });
    assert.deepEqual([got.code, got.retryable], ["UPSTREAM_UNAVAILABLE", type !== "OAUTH"]); // whose key is gone
    assert.deepEqual(await keys(), []);
    if (type === "OAUTH") await browser.pass(20 * minute, 10 * second); // of whose account nobody knows
    await assertNothing();
  });
}

const other = "InternalAccount:019542f5-b3e7-1d02-0000-000000000009";
for (const [name, change, want] of [
  ["of another account", () => ({ accountId: other }), "RESPONSE_MALFORMED"],
  ["of another type", () => ({ type: "SMS_OTP" }), "RESPONSE_MALFORMED"],
  ["that is over", () => ({ expiresAt: new Date(browser.server - minute).toISOString() }), "RESPONSE_MALFORMED"],
  ["that has no end", () => ({ expiresAt: undefined }), "RESPONSE_MALFORMED"],
  ["whose id is none", () => ({ id: "Session:1" }), "RESPONSE_MALFORMED"],
]) {
  for (const type of ["EMAIL_OTP", "PASSKEY"]) {
    test(`${type}: a session ${name} is not bound, and the one that Grid has made is ended`, async () => {
      await begin();
      browser.bridge = async (request, ask) => {
        const answer = await ask();
        return request.path.endsWith("/verify") && answer.status === 200 ? { ...answer, body: { ...answer.body, ...change() } } : answer;
      };
      assert.equal((await enter(type)).code, want);
      browser.bridge = (_, ask) => ask();
      if (name !== "that is over") return assertNothing();
      await browser.pass(16 * minute, 10 * second); // what the bridge says of its end is what is known
      await assertNothing();
    });
  }
}

test("an answer with the session of another key is not bound, and that one goes on", async () => {
  await begin();
  const { value: key } = await enter("PASSKEY");
  browser.bridge = async (request, ask) => {
    const answer = await ask();
    return request.path.endsWith("/verify") && answer.status === 200 ? { ...answer, body: { ...answer.body, id: key.session.id } } : answer;
  };
  assert.equal((await enter("PASSKEY")).code, "RESPONSE_MALFORMED");
  await browser.pass(3 * minute, 5 * second);
  await browser.assertOne(tab, key);
});

test("where Grid's list has two sessions that it can be, none is touched", async () => {
  await begin();
  browser.bridge = async (request, ask) => {
    const answer = await ask();
    if (request.leg === 2 && request.path.endsWith("/verify")) {
      browser.grid.add(stranger(), { type: "EMAIL_OTP" });
      return lost();
    }
    return answer;
  };
  assert.equal((await enter("EMAIL_OTP")).code, "OTP_EXPIRED");
  browser.bridge = (_, ask) => ask();
  await browser.pass(3 * minute, 5 * second);
  assert.deepEqual([browser.live.length, await keys()], [2, []]);
  assert.ok((await browser.storage.all()).every(({ secret }) => !secret));
  assert.ok(browser.requests.every(({ method }) => method !== "DELETE"));
});

test("a session of another device that looks like it is not ended: Grid does not take the signature of a key without one", async () => {
  await begin();
  browser.bridge = async (request, ask) => {
    if (request.leg !== 2 || !request.path.endsWith("/verify")) return ask();
    if (browser.live.length === 0) browser.grid.add(stranger(), { type: "EMAIL_OTP" });
    return lost();
  };
  assert.ok((await enter("EMAIL_OTP", { timeoutMs: 5 * second })).code);
  browser.bridge = (_, ask) => ask();
  await browser.pass(3 * minute, 5 * second);
  assert.deepEqual([browser.live.length, await keys()], [1, []]);
  assert.ok((await browser.storage.all()).every(({ secret }) => !secret));
});

for (const type of ["OAUTH", "EMAIL_OTP", "PASSKEY"]) {
  for (const [name, options, want] of [
    ["the caller gives up", (aborter) => ({ signal: aborter.signal }), ["ABORTED", false]],
    ["time is up", () => ({ timeoutMs: 2 * second }), undefined],
  ]) {
    test(`${type}: ${name} at any request, asked and answered`, async () => {
      for (let n = 0; ; n++) {
        await browser?.close();
        await begin();
        const aborter = new AbortController();
        let at = 0;
        const stop = async () => {
          if (at++ !== n) return;
          if (want) return aborter.abort();
          await new Promise((resolve) => setTimeout(resolve, 3 * second));
        };
        browser.bridge = async (_, ask) => {
          await stop();
          const answer = ask();
          await stop();
          return answer;
        };
        const { value, code, retryable } = await enter(type, options(aborter));
        const isOver = at <= n; // it has come to no such point
        if (isOver) {
          assert.ok(value);
          break;
        }
        if (want) assert.deepEqual([code, retryable], want);
        else assert.ok(["TIMEOUT", "NETWORK_FAILED"].includes(code) && retryable === (type !== "OAUTH"), code);
        assert.deepEqual(await keys(), []);
        browser.bridge = (_, ask) => ask();
        if (type === "OAUTH") await browser.pass(16 * minute, 10 * second);
        await assertNothing();
      }
    });
  }
}

for (const type of ["OAUTH", "EMAIL_OTP", "PASSKEY"]) {
  test(`${type}: the caller gives up when the session has begun, and has not been bound: it is ended`, async () => {
    await begin();
    const aborter = new AbortController();
    const onProgress = ({ step, status, leg }) => step === "response" && status === 200 && (leg === 2 || type !== "EMAIL_OTP") && count("/verify") > 0 && aborter.abort();
    assert.equal((await enter(type, { signal: aborter.signal, onProgress })).code, "ABORTED");
    await assertNothing();
  });
}

for (const type of ["EMAIL_OTP", "PASSKEY"]) {
  test(`${type}: a key in the memory of its tab signs in, and leaves nothing where that fails`, async () => {
    await begin({ persistence: "memory" });
    const { value: key } = await enter(type, { curve: "secp256k1" });
    assert.deepEqual([key.persistence, key.protection], ["memory", "wasm-memory"]);
    browser.bridge = async (request, ask) => {
      const answer = ask();
      return request.path.endsWith("/verify") && answer.status === 200 ? lost() : answer;
    };
    assert.ok((await enter(type, { curve: "secp256k1" })).code);
    browser.bridge = (_, ask) => ask();
    await browser.pass(3 * minute, 5 * second);
    await browser.assertOne(tab, key);
    assert.deepEqual([...tab.held.values()].sort(), [0, 1], "the one that is in use is held");
  });
}
