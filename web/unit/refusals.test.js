// What index.ts refuses before the worker hears of it, and what it leaves to the
// module to judge.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createSigner } from "../.tsc/src/index.js";
import { account, challenge, create, expiresAt, hostile, key, Page, session } from "./page.js";
import { outcome, stopTime } from "./ports.js";

let page, signer;
beforeEach(async () => {
  stopTime();
  page = new Page();
  signer = await create();
});
afterEach(() => {
  signer.close();
  page.close();
  mock.reset();
});

const sign = (extra, change) => signer.signChallenge({ ...challenge(), ...change }, { key, ...extra });
const revoke = (extra) => signer.revokeSession(session, { key, ...extra });
const bind = (change) => signer.bindSession(key, { id: session, accountId: account, expiresAt, ...change });

const oauth = { type: "OAUTH", oidcToken: "h.p.s" };
const attestation = { credentialId: "a", clientDataJson: "b", attestationObject: "c" };
const attest = (attestation) => signer.addCredential({ type: "PASSKEY", nickname: "n", challenge: "c", attestation }, { key });

const refusals = {
  "no options": () => createSigner(),
  "options null": () => createSigner(null),
  "options a string": () => createSigner("/api/grid"),
  "no bridgeUrl": () => createSigner({}),
  "bridgeUrl a number": () => create({ bridgeUrl: 1 }),
  "bridgeUrl an object": () => create({ bridgeUrl: {} }),
  "bridgeUrl unparsable": () => create({ bridgeUrl: "http://" }),
  "bridgeUrl of another scheme": () => create({ bridgeUrl: "javascript:alert(1)" }),
  "bridgeUrl with credentials": () => create({ bridgeUrl: "https://a:b@example.com/" }),
  "bridgeUrl with a query": () => create({ bridgeUrl: "/api/grid?" }),
  "bridgeUrl with a fragment": () => create({ bridgeUrl: "/api/grid#x" }),
  "wasmUrl unparsable": () => create({ wasmUrl: "http://" }),
  "workerUrl a number": () => create({ workerUrl: 1 }),
  "an unknown option": () => create({ wasmURL: "/signer.wasm" }),
  "a symbol as an option": () => create({ [Symbol("x")]: 1 }),
  "__proto__ as an option": () => createSigner(JSON.parse('{"bridgeUrl":"/api/grid","__proto__":{}}')),
  "worker not a boolean": () => create({ worker: 1 }),
  "credentials unknown": () => create({ credentials: "always" }),
  "headers a string": () => create({ headers: "Authorization: x" }),
  "headers null": () => create({ headers: null }),
  "headers with a line break": () => create({ headers: { a: "b\r\nc: d" } }),
  "timeoutMs zero": () => create({ timeoutMs: 0 }),
  "timeoutMs NaN": () => create({ timeoutMs: NaN }),
  "timeoutMs endless": () => create({ timeoutMs: Infinity }),
  "timeoutMs a string": () => create({ timeoutMs: "100" }),
  "persistence unknown": () => create({ persistence: "localStorage" }),
  "onProgress not a function": () => create({ onProgress: {} }),
  "onKeysChanged, which is gone": () => create({ onKeysChanged: () => {} }),
  "namespace with a slash": () => create({ namespace: "a/b" }),
  "namespace empty": () => create({ namespace: "" }),
  "payloads unknown": () => create({ payloads: "opaque" }),
  "signal a look-alike": () => create({ signal: { aborted: false, addEventListener() {}, removeEventListener() {} } }),
  "createKey: unknown option": () => signer.createKey({ extractable: true }),
  "createKey: curve a number": () => signer.createKey({ curve: 1 }),
  "createKey: curve by name": () => signer.createKey("P-256"),
  "importKey: nothing": () => signer.importKey(),
  "importKey: hex": () => signer.importKey({ curve: "P-256", privateKey: "00".repeat(32) }),
  "importKey: an array": () => signer.importKey({ curve: "P-256", privateKey: Array(32).fill(1) }),
  "importKey: a buffer": () => signer.importKey({ curve: "P-256", privateKey: new ArrayBuffer(32) }),
  "importKey: other words": () => signer.importKey({ curve: "P-256", privateKey: new Uint16Array(32) }),
  "importKey: a proxy": () => signer.importKey({ curve: "P-256", privateKey: new Proxy(new Uint8Array(32), {}) }),
  "importKey: no curve": () => signer.importKey({ privateKey: new Uint8Array(32).fill(1) }),
  "importKey: an id": () => signer.importKey({ curve: "P-256", privateKey: new Uint8Array(32).fill(1), id: "key-1" }),
  "bind: nothing": () => signer.bindSession(),
  "bind: no session": () => signer.bindSession(key),
  "bind: a getter that throws": () => signer.bindSession(key, { get id() { return hostile(); } }),
  "bind: id of something else": () => bind({ id: account }),
  "bind: account of something else": () => bind({ accountId: session }),
  "bind: no date": () => bind({ expiresAt: "tomorrow" }),
  "bind: no such date": () => bind({ expiresAt: "2026-04-99T15:45:01Z" }),
  "bind: __proto__ in place of a session": () => signer.bindSession(key, JSON.parse('{"__proto__":{"id":"x"}}')),
  "removeKey: nothing": () => signer.removeKey(),
  "removeKey: no id": () => signer.removeKey({}),
  "sign: no arguments": () => signer.signChallenge(),
  "sign: no options": () => signer.signChallenge(challenge()),
  "sign: challenge a string": () => signer.signChallenge("{}", { key }),
  "sign: challenge null": () => signer.signChallenge(null, { key }),
  "sign: payload a number": () => sign({}, { payloadToSign: 1 }),
  "sign: payload null": () => sign({}, { payloadToSign: null }),
  "sign: payload a String": () => sign({}, { payloadToSign: new String("opaque") }),
  "sign: key a number": () => sign({ key: 1 }),
  "sign: key without id": () => sign({ key: { publicKey: key.publicKey } }),
  "sign: intent a number": () => sign({ intent: 1 }),
  "sign: intent null": () => sign({ intent: null }),
  "sign: intent with unknown facts": () => sign({ intent: { name: "revoke-session", amount: "1" } }),
  "sign: intent with a fact that is no string": () => sign({ intent: { name: "export-wallet", targetPublicKey: 1 } }),
  "sign: format a number": () => sign({ format: 1 }),
  "sign: unknown option": () => sign({ intents: "send-payment" }),
  "sign: signal a look-alike": () => sign({ signal: { aborted: false, addEventListener() {}, removeEventListener() {} } }),
  "sign: signal another target": () => sign({ signal: new EventTarget() }),
  "sign: timeoutMs negative": () => sign({ timeoutMs: -1 }),
  "sign: a getter that throws": () => signer.signChallenge({ ...challenge(), get payloadToSign() { return hostile(); } }, { key }),
  "sign: an option's getter that throws": () => signer.signChallenge(challenge(), { get key() { throw null; } }),
  "sign: a proxy that throws": () => signer.signChallenge(new Proxy({}, { getOwnPropertyDescriptor: hostile }), { key }),
  "sign: options that throw when listed": () => signer.signChallenge(challenge(), new Proxy({ key }, { ownKeys: hostile })),
  "sign: a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return signer.signChallenge(proxy, { key });
  },
  "revoke: id not a string": () => signer.revokeSession(1, { key }),
  "revoke: id null": () => signer.revokeSession(null, { key }),
  "revoke: no options": () => signer.revokeSession(session),
  "revoke: no key": () => signer.revokeSession(session, {}),
  "revoke: unknown option": () => revoke({ intent: "send-payment" }),
  "revoke: onProgress not a function": () => revoke({ onProgress: 1 }),
  "revoke: timeoutMs zero": () => revoke({ timeoutMs: 0 }),
  "sign out: no key": () => signer.signOut(),
  "sign out: options null": () => signer.signOut(key, null),
  "sign out: scope unknown": () => signer.signOut(key, { scope: "mine" }),
  "sign out: unreachable unknown": () => signer.signOut(key, { unreachable: "give-up" }),
  "sign out: timeoutMs negative": () => signer.signOut(key, { timeoutMs: -1 }),
  "sign out: onProgress not a function": () => signer.signOut(key, { onProgress: {} }),
  "sign out: a signal, which it does not take": () => signer.signOut(key, { signal: new AbortController().signal }),
  "autoRefresh a number": () => create({ autoRefresh: 1 }),
  "autoRefresh null": () => create({ autoRefresh: null }),
  "autoRefresh a Boolean": () => create({ autoRefresh: new Boolean(true) }),
  "refresh: no key": () => signer.refreshSession(),
  "refresh: no id": () => signer.refreshSession({}),
  "refresh: options null": () => signer.refreshSession(key, null),
  "refresh: unknown option": () => signer.refreshSession(key, { key }),
  "refresh: timeoutMs zero": () => signer.refreshSession(key, { timeoutMs: 0 }),
  "refresh: onProgress not a function": () => signer.refreshSession(key, { onProgress: {} }),
  "refresh: signal a look-alike": () => signer.refreshSession(key, { signal: { aborted: false, addEventListener() {}, removeEventListener() {} } }),
  "refresh: a getter that throws": () => signer.refreshSession(key, { get timeoutMs() { return hostile(); } }),
  "list of credentials: account a number": () => signer.listCredentials(1),
  "list of credentials: options null": () => signer.listCredentials(account, null),
  "list of credentials: unknown option": () => signer.listCredentials(account, { onProgress() {} }),
  "add: nothing": () => signer.addCredential(),
  "add: no options": () => signer.addCredential(oauth),
  "add: no key": () => signer.addCredential(oauth, {}),
  "add: unknown option": () => signer.addCredential(oauth, { key, intent: "add-credential" }),
  "add: onProgress not a function": () => signer.addCredential(oauth, { key, onProgress: 1 }),
  "add: signal another target": () => signer.addCredential(oauth, { key, signal: new EventTarget() }),
  "add: a credential that is a text": () => signer.addCredential("OAUTH", { key }),
  "add: a credential null": () => signer.addCredential(null, { key }),
  "add: type a number": () => signer.addCredential({ type: 1 }, { key }),
  "add: an account of the caller's": () => signer.addCredential({ ...oauth, accountId: account }, { key }),
  "add: an unknown field": () => signer.addCredential({ ...oauth, providerName: "google" }, { key }),
  "add: a token that is no text": () => signer.addCredential({ type: "OAUTH", oidcToken: new String("h.p.s") }, { key }),
  "add: a getter that throws": () => signer.addCredential({ type: "OAUTH", get oidcToken() { return hostile(); } }, { key }),
  "add: __proto__ in place of a credential": () => signer.addCredential(JSON.parse('{"__proto__":{"type":"OAUTH"}}'), { key }),
  "add: an attestation that is a text": () => attest("o2NmbXQ"),
  "add: an attestation null": () => attest(null),
  "add: bytes in place of base64url": () => attest({ ...attestation, credentialId: new Uint8Array(4) }),
  "add: what the browser gave, as it is": () => attest({ ...attestation, getTransports() {} }),
  "add: transports a text": () => attest({ ...attestation, transports: "usb" }),
  "add: transports a number": () => attest({ ...attestation, transports: 5 }),
  "add: transports null": () => attest({ ...attestation, transports: null }),
  "add: transports a look-alike": () => attest({ ...attestation, transports: { length: 1, 0: "usb" } }),
  "add: transports without an end": () => attest({ ...attestation, transports: { *[Symbol.iterator]() { for (;;) yield "usb"; } } }),
  "add: one of the transports no text": () => attest({ ...attestation, transports: ["usb", 1] }),
  "remove credential: nothing": () => signer.removeCredential(),
  "remove credential: id a number": () => signer.removeCredential(1, { key, type: "OAUTH" }),
  "remove credential: the credential itself": () => signer.removeCredential({ id: "AuthMethod:1" }, { key, type: "OAUTH" }),
  "remove credential: no options": () => signer.removeCredential("AuthMethod:1"),
  "remove credential: no key": () => signer.removeCredential("AuthMethod:1", { type: "OAUTH" }),
  "remove credential: no type": () => signer.removeCredential("AuthMethod:1", { key }),
  "remove credential: type a number": () => signer.removeCredential("AuthMethod:1", { key, type: 1 }),
  "remove credential: unknown option": () => signer.removeCredential("AuthMethod:1", { key, type: "OAUTH", force: true }),
  "list: account a number": () => signer.listSessions(1),
  "list: options null": () => signer.listSessions(account, null),
  "list: unknown option": () => signer.listSessions(account, { key }),
};

for (const [name, call] of Object.entries(refusals)) {
  test(`refused before the worker hears of it: ${name}`, async () => {
    const got = await outcome(call()); // what it threw at once would throw here
    assert.equal(got.code, "ARGUMENT_INVALID", got.uncoded);
    assert.equal(got.retryable, false);
    assert.deepEqual(page.calls, []);
    assert.equal(page.workers.length, 1, "no other worker was started");
    assert.deepEqual(await outcome(signer.createKey()), { value: key }, "the signer lives on");
  });
}

for (const [name, call, about] of [
  ["revokeSession(5)", () => signer.revokeSession(5), /^sessionId must be a string/],
  ["revokeSession(id)", () => signer.revokeSession(session), /key/],
  ["revokeSession(id, {})", () => signer.revokeSession(session, {}), /^key must be/],
  ["signChallenge(undefined, { key })", () => signer.signChallenge(undefined, { key }), /^challenge must be an object/],
  ["signChallenge(5)", () => signer.signChallenge(5), /^challenge must be an object/],
  ["signChallenge(challenge)", () => signer.signChallenge(challenge()), /key/],
  ["signChallenge(challenge, {})", () => signer.signChallenge(challenge(), {}), /^key must be/],
  ["signOut()", () => signer.signOut(), /^key must be/],
  ["signOut(5, 6)", () => signer.signOut(5, 6), /^key must be/],
  ["removeKey(undefined)", () => signer.removeKey(undefined), /^key must be/],
  ["bindSession(undefined, 5)", () => signer.bindSession(undefined, 5), /^key must be/],
  ["bindSession(key)", () => signer.bindSession(key), /^session must be an object/],
  ["listSessions(undefined, 5)", () => signer.listSessions(undefined, 5), /^accountId must be a string/],
  ["refreshSession(undefined, 5)", () => signer.refreshSession(undefined, 5), /^key must be/],
  ["listCredentials(undefined, 5)", () => signer.listCredentials(undefined, 5), /^accountId must be a string/],
  ["addCredential(5)", () => signer.addCredential(5), /credential must be an object/],
  ["addCredential(credential, {})", () => signer.addCredential(oauth, {}), /^key must be/],
  ["removeCredential(5, 6)", () => signer.removeCredential(5, 6), /^credentialId must be a string/],
  ["removeCredential(id, { key })", () => signer.removeCredential("AuthMethod:1", { key }), /^type must be a string/],
  ["importKey({ curve: 5 })", () => signer.importKey({ curve: 5 }), /^privateKey must be a Uint8Array/],
]) {
  test(`the message is about what is wrong first: ${name}`, async () => {
    const { code, message } = await outcome(call());
    assert.equal(code, "ARGUMENT_INVALID");
    assert.match(message, about);
  });
}

test("what only the module can judge reaches it as it came", async () => {
  for (const payload of ["x".repeat(1_000_000), "x\ud800", "", '{"type":1,"type":2}']) {
    await sign({}, { payloadToSign: payload });
    assert.equal(page.calls.at(-1).args[0].payloadToSign, payload);
  }
  for (const id of [undefined, "Session:../../customers", account, ""]) {
    await signer.revokeSession(id, { key });
    assert.equal(page.calls.at(-1).args[0], id);
  }
  await signer.listSessions(session);
  assert.equal(page.calls.at(-1).args[0], session);
  for (const credential of [{}, { type: "FAX" }, { type: "OAUTH" }, { type: "EMAIL_OTP", phoneNumber: "+1" }]) {
    await signer.addCredential(credential, { key });
    assert.deepEqual(page.calls.at(-1).args[0], credential);
  }
  await signer.removeCredential("Session:../../customers", { key, type: "" });
  assert.deepEqual(page.calls.at(-1).args[0], "Session:../../customers");
  await signer.createKey({ curve: "P-521" });
  assert.deepEqual(page.calls.at(-1).args, [{ curve: "P-521", sealed: false }, {}]);
  await signer.signChallenge(Object.create(challenge()), { key });
  assert.deepEqual(page.calls.at(-1).args[0], {}, "what is inherited is not there");
});
