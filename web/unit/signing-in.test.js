// Signing in as the page has it: what reaches the worker, what the browser is asked in between, and what comes of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createPasskey, GridSignerError } from "../.tsc/src/index.js";
import * as gridsigner from "../.tsc/src/index.js";
import { makeAuthenticator } from "../test/authenticator.js";
import { account, create, expiresAt, hostile, key, Page, session } from "./page.js";
import { idle, never, outcome, pollute, stopTime } from "./ports.js";

const credentialId = "AuthMethod:019542f5-b3e7-1d02-0000-000000000005";
const enclave = `04${"ab".repeat(64)}`;
const sent = { credentialId, accountId: account, type: "EMAIL_OTP", nickname: "a@b.c", bundle: "sealed to whom" };
const authenticator = makeAuthenticator();
const asked = {
  key: "key-2", credentialId, accountId: account, type: "PASSKEY", passkeyId: authenticator.credential.credentialId,
  challenge: "6b".repeat(32), requestId: "Request:019542f5-b3e7-1d02-0000-000000000007",
};
const bound = { ...key, session: { id: session, accountId: account, expiresAt } };

let page, signer, service;
beforeEach(async () => {
  stopTime();
  mock.method(performance, "now", () => 0);
  page = new Page();
  Object.assign(page.answers, {
    signInWithToken: () => bound, startOtp: () => sent, submitOtp: () => bound, startPasskey: () => asked, finishPasskey: () => bound,
    oauthNonce: () => "ab", exportWallet: () => "abandon",
  });
  signer = await create();
  const { navigator } = globalThis;
  page.set({ navigator: { locks: navigator.locks, credentials: { get: (options) => authenticator.get(options) } }, PublicKeyCredential: class {} });
  service = page.worker.service;
});
afterEach(() => {
  signer.close();
  page.close();
  mock.reset();
  mock.timers.reset();
});

const calls = () => page.calls.map(({ method }) => method);
const last = () => page.calls.at(-1).args;

test("createPasskey is exported beside what makes signers", () => {
  assert.deepEqual(Object.keys(gridsigner).sort(), ["GridSignerError", "createPasskey", "createSigner"]);
  assert.equal(typeof createPasskey, "function");
});

test("a token: what is handed over", async () => {
  assert.deepEqual(await signer.signIn({ credentialId, oidcToken: "h.p.s", key }), bound);
  assert.deepEqual([calls(), last()], [["signInWithToken"], [key.id, credentialId, "h.p.s", { timeoutMs: 30_000 }]]);
  await signer.signIn({ credentialId, oidcToken: "h.p.s", key: key.id }, { timeoutMs: 5 });
  assert.deepEqual(last(), [key.id, credentialId, "h.p.s", { timeoutMs: 5 }]);
});

test("a code: what is handed over, as often as one is typed, in blanks too", async () => {
  const otp = await signer.startOtp(credentialId);
  assert.deepEqual([calls(), last()], [["startOtp"], [credentialId, { timeoutMs: 30_000 }]]);
  const { submit, ...shown } = otp;
  assert.deepEqual(shown, { credentialId, accountId: account, type: "EMAIL_OTP", nickname: "a@b.c" });
  assert.ok(Object.isFrozen(otp) && !JSON.stringify(otp).includes(sent.bundle));
  for (const code of ["123456", " 123 456\n", "1\u00a02 3456"]) {
    assert.deepEqual(await submit(code), bound);
    assert.deepEqual(last(), [sent, "123456", { curve: undefined, timeoutMs: 30_000 }]);
  }
  await otp.submit("aB12", { curve: "secp256k1", timeoutMs: 7 });
  assert.deepEqual(last(), [sent, "aB12", { curve: "secp256k1", timeoutMs: 7 }]);
  const other = await signer.startOtp(credentialId, { curve: "secp256k1" });
  await other.submit("1234");
  assert.deepEqual(last()[2], { curve: "secp256k1", timeoutMs: 30_000 }, "startOtp's, unless it is named again");
  await other.submit("1234", { curve: "P-256" });
  assert.equal(last()[2].curve, "P-256");
});

test("a passkey: the worker's challenge, the browser's answer, the worker's verdict", async () => {
  assert.deepEqual(await signer.signIn({ credentialId, passkey: {} }), bound);
  assert.deepEqual(calls(), ["startPasskey", "finishPasskey"]);
  const [start, finish] = page.calls.map(({ args }) => args);
  assert.deepEqual(start, [credentialId, undefined, { curve: undefined, timeoutMs: 120_000 }]);
  const [given, assertion, options] = finish;
  assert.deepEqual([given, options], [asked, { timeoutMs: 120_000 }]);
  assert.deepEqual(Object.keys(assertion), ["credentialId", "clientDataJson", "authenticatorData", "signature", "userHandle"]);
  await signer.signIn({ credentialId, passkey: {}, key }, { timeoutMs: 9 });
  assert.deepEqual(page.calls.at(-2).args, [credentialId, key.id, { curve: undefined, timeoutMs: 9 }]);
  assert.equal((await outcome(signer.signIn({ credentialId, passkey: {}, key }, { curve: "secp256k1" }))).code, "ARGUMENT_INVALID");
});

test("the person's time is the rest of the call's, and what is left after that the worker's", async () => {
  let now = 0;
  mock.method(performance, "now", () => now);
  service.methods.startPasskey = async () => ((now = 40), asked);
  page.set({ navigator: { locks: page.locks, credentials: { get: (options) => ((now = 90), authenticator.get(options)) } } });
  await signer.signIn({ credentialId, passkey: {} }, { timeoutMs: 100 });
  assert.deepEqual(last()[2], { timeoutMs: 10 });
});

for (const [name, get, code] of [
  ["the person does not want to", () => Promise.reject(new DOMException("", "NotAllowedError")), "PASSKEY_CANCELLED"],
  ["there are none here", () => Promise.reject(new DOMException("", "SecurityError")), "PASSKEY_UNSUPPORTED"],
  ["the browser throws", hostile, "PASSKEY_UNSUPPORTED"],
]) {
  test(`a passkey that ${name}: the key is given up, also where that fails`, async () => {
    for (const giveUp of [async () => {}, () => Promise.reject(new GridSignerError("STORAGE_FAILED", "x"))]) {
      service.methods.giveUp = giveUp;
      page.set({ navigator: { locks: page.locks, credentials: { get } } });
      service.asked = [];
      assert.equal((await outcome(signer.signIn({ credentialId, passkey: {} }))).code, code);
      assert.deepEqual(calls().slice(-2), ["startPasskey", "giveUp"]);
      assert.deepEqual(last(), [asked.key]);
    }
  });
}

test("a passkey that nobody waits for any more: the browser stops asking, and the key is given up", async () => {
  let signal;
  page.set({ navigator: { locks: page.locks, credentials: { get: (options) => (({ signal } = options), never()) } } });
  const aborter = new AbortController();
  const pending = outcome(signer.signIn({ credentialId, passkey: {} }, { signal: aborter.signal }));
  await idle();
  assert.equal(signal.aborted, false);
  aborter.abort();
  assert.equal((await pending).code, "ABORTED");
  assert.deepEqual([signal.aborted, calls()], [true, ["startPasskey", "giveUp"]]);
});

test("a signer that is closed stops asking for a passkey", async () => {
  let signal;
  page.set({ navigator: { locks: page.locks, credentials: { get: (options) => (({ signal } = options), never()) } } });
  const pending = outcome(signer.signIn({ credentialId, passkey: {} }));
  await idle();
  signer.close();
  assert.deepEqual([(await pending).code, signal.aborted, calls()], ["CLOSED", true, ["startPasskey"]]);
});

test("a code that is submitted by two clicks is submitted once, and again when that has failed", async () => {
  const otp = await signer.startOtp(credentialId);
  let answer;
  service.methods.submitOtp = () => new Promise((resolve, reject) => (answer = { resolve, reject }));
  const first = outcome(otp.submit("1234"));
  await idle();
  assert.equal((await outcome(otp.submit("1234"))).code, "ARGUMENT_INVALID");
  answer.reject(new GridSignerError("OTP_INCORRECT", "x"));
  assert.equal((await first).code, "OTP_INCORRECT");
  service.methods.submitOtp = async () => bound;
  assert.deepEqual(await otp.submit("4321"), bound);
});

test("steps are told to whoever asks, and what a listener throws changes nothing", async () => {
  const step = { step: "request", leg: 1, attempt: 1 };
  const tell = (value) => async (...args) => (args.at(-1).onProgress?.(step), value);
  Object.assign(service.methods, { signInWithToken: tell(bound), startOtp: tell(sent), submitOtp: tell(bound), startPasskey: tell(asked), finishPasskey: tell(bound) });
  const heard = [];
  const options = { onProgress: (event) => (heard.push(event), hostile()) };
  await signer.signIn({ credentialId, oidcToken: "h.p.s", key }, options);
  await (await signer.startOtp(credentialId, options)).submit("1234", options);
  await signer.signIn({ credentialId, passkey: {} }, options);
  assert.deepEqual(heard, Array(5).fill(step));
});

test("an abort ends the waiting at once, and reaches the worker", async () => {
  const otp = await signer.startOtp(credentialId);
  for (const [method, call] of Object.entries({
    signInWithToken: (options) => signer.signIn({ credentialId, oidcToken: "h.p.s", key }, options),
    startOtp: (options) => signer.startOtp(credentialId, options),
    submitOtp: (options) => otp.submit("1234", options),
    startPasskey: (options) => signer.signIn({ credentialId, passkey: {} }, options),
    finishPasskey: (options) => signer.signIn({ credentialId, passkey: {} }, options),
    exportWallet: (options) => signer.exportWallet(account, { key, ...options }),
  })) {
    let seen;
    const before = service.methods[method];
    service.methods[method] = (...args) => ((seen = args.at(-1).signal), never());
    const aborter = new AbortController();
    const pending = outcome(call({ signal: aborter.signal }));
    for (let i = 0; i < 5 && !seen; i++) await idle();
    aborter.abort("enough");
    const { code, cause } = await pending;
    assert.deepEqual([code, cause], ["ABORTED", "enough"], method);
    await idle();
    assert.equal(seen.aborted, true, method);
    service.methods[method] = before;
  }
});

test("a key that would die with its worker is lost to the next", async () => {
  const inMemory = { ...bound, persistence: "memory" };
  for (const [method, enter] of Object.entries({
    submitOtp: async () => (await signer.startOtp(credentialId)).submit("1234"),
    finishPasskey: () => signer.signIn({ credentialId, passkey: {} }),
  })) {
    service.methods[method] = async () => ({ ...inMemory, id: method });
    assert.equal((await enter()).id, method);
  }
  await page.kill();
  const pending = signer.keys();
  await idle();
  await pending;
  assert.deepEqual(page.worker.started.custody.lost, ["submitOtp", "finishPasskey"]);
});

test("what is handed in is read once, when it is called, and nothing that is inherited", async (t) => {
  const reads = {};
  const counting = (object, prefix = "") =>
    new Proxy(object, {
      get(target, name) {
        if (typeof name === "string" && Object.hasOwn(target, name)) reads[prefix + name] = (reads[prefix + name] ?? 0) + 1;
        return target[name];
      },
    });
  const how = { credentialId, oidcToken: "h.p.s", key: counting({ ...key }, "key.") };
  const pending = signer.signIn(counting(how), counting({ timeoutMs: 5 }));
  how.oidcToken = "other";
  await pending;
  assert.deepEqual(reads, { credentialId: 1, oidcToken: 1, key: 1, "key.id": 1, timeoutMs: 1 });
  assert.equal(last()[2], "h.p.s");
  const clean = pollute(t, { oidcToken: "evil", passkey: {}, key: "evil", curve: "secp256k1", allowUnsigned: true, sealed: true });
  assert.equal((await outcome(signer.signIn({ credentialId }))).code, "ARGUMENT_INVALID");
  await signer.exportWallet(account, { key });
  assert.equal(last()[1].allowUnsigned, false);
  await signer.createKey({});
  clean();
  assert.deepEqual([last()[0].sealed, last()[0].curve], [false, undefined]);
});

test("the rest of what is new: a nonce, an export, a sealed key", async () => {
  assert.equal(await signer.oauthNonce(key), "ab");
  assert.deepEqual(last(), [key.id]);
  assert.equal(await signer.exportWallet(account, { key, allowUnsigned: true, timeoutMs: 5 }), "abandon");
  assert.deepEqual(last(), [account, { key: key.id, allowUnsigned: true, timeoutMs: 5 }]);
  await signer.exportWallet(account, { key: key.id });
  assert.deepEqual(last(), [account, { key: key.id, allowUnsigned: false, timeoutMs: 30_000 }]);
  for (const curve of [undefined, "P-256"]) {
    await signer.createKey({ curve, sealed: true });
    assert.deepEqual(last(), [{ curve, sealed: true }, {}]);
  }
});

test("the enclaves that an app trusts reach the worker", async () => {
  const other = enclave.toUpperCase().replace("B", "C");
  const made = await create({ otpSigners: [enclave], exportSigners: [enclave, other] });
  const { otpSigners, exportSigners } = page.worker.started.custody;
  assert.deepEqual([otpSigners, exportSigners], [[enclave], [enclave, other]]);
  made.close();
  const polluted = await create(Object.create({ otpSigners: [enclave] }));
  assert.deepEqual(page.worker.started.custody.otpSigners, []);
  polluted.close();
});

const aKey = { credentialId, key };
for (const [name, refused] of Object.entries({
  signIn: [
    [], [undefined], [{}], [{ credentialId }], [aKey], [{ credentialId, oidcToken: "h.p.s" }], [{ ...aKey, oidcToken: 1 }], [{ ...aKey, oidcToken: "h.p.s", credentialId: 1 }],
    [{ ...aKey, oidcToken: "h.p.s", passkey: {} }], [{ ...aKey, oidcToken: "h.p.s", other: 1 }], [{ credentialId, passkey: true }], [{ credentialId, passkey: { rpId: 1 } }],
    [{ credentialId, passkey: {}, key: {} }], [{ credentialId, passkey: { userVerification: "x" } }], [{ ...aKey, oidcToken: "h.p.s" }, { curve: 1 }],
    [{ ...aKey, oidcToken: "h.p.s" }, { other: 1 }], [{ ...aKey, oidcToken: "h.p.s" }, { timeoutMs: 0 }], [{ ...aKey, oidcToken: "h.p.s" }, { signal: {} }],
    [{ ...aKey, oidcToken: "h.p.s" }, { onProgress: 1 }], [{ ...aKey, get oidcToken() { return hostile(); } }], [{ ...aKey, oidcToken: "h.p.s" }, null],
  ],
  startOtp: [[], [1], [credentialId, { other: 1 }], [credentialId, { curve: 1 }], [credentialId, { timeoutMs: "5" }], [credentialId, null]],
  oauthNonce: [[], [{}], [1]],
  exportWallet: [[], [1, { key }], [account], [account, {}], [account, { key, allowUnsigned: "yes" }], [account, { key, other: 1 }]],
  createKey: [[{ sealed: 1 }], [{ sealed: "true" }], [{ sealed: true, curve: "secp256k1" }]],
})) {
  test(`${name} refuses what it cannot mean, and asks nobody`, async () => {
    page.set({ navigator: { locks: page.locks, credentials: { get: () => assert.fail("asked") } } });
    for (const [i, args] of refused.entries()) {
      const { code, retryable } = await outcome(signer[name](...args));
      assert.deepEqual([code, retryable], ["ARGUMENT_INVALID", false], `${i}`);
    }
    assert.deepEqual(calls(), []);
  });
}

test("a code that cannot be one is refused before anything is sealed", async () => {
  const otp = await signer.startOtp(credentialId);
  for (const code of [undefined, 123456, "", "123", "1".repeat(13), "12-34", "12é4", "1234\u200b", "     "]) {
    assert.equal((await outcome(otp.submit(code))).code, "ARGUMENT_INVALID", String(code));
  }
  for (const options of [{ other: 1 }, { curve: 1 }, null]) assert.equal((await outcome(otp.submit("1234", options))).code, "ARGUMENT_INVALID");
  assert.deepEqual(calls(), ["startOtp"]);
});

for (const option of ["otpSigners", "exportSigners"]) {
  test(`${option} that are no keys of enclaves are refused`, async () => {
    for (const value of [[], {}, enclave, [1], [""], [enclave.slice(2)], [`02${"ab".repeat(32)}`], [`${enclave}00`], [enclave, "x"], [` ${enclave}`], null]) {
      assert.equal((await outcome(create({ [option]: value }))).code, "ARGUMENT_INVALID", JSON.stringify(value));
    }
    assert.equal(page.workers.length, 1);
  });
}
