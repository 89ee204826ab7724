// What index.ts makes of a call before it sends it, and of what comes back:
// copies of the arguments, headers, deadlines, and news of sessions.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/index.js";
import { account, challenge, create, expiresAt, hostile, key, Page, session } from "./page.js";
import { idle, never, outcome, pollute, stopTime } from "./ports.js";

const method = "AuthMethod:019542f5-b3e7-1d02-0000-000000000005";
const credentials = [
  { type: "PASSKEY", nickname: "n", challenge: "c", attestation: { credentialId: "a", clientDataJson: "b", attestationObject: "c", transports: ["usb", "nfc"] } },
  { type: "PASSKEY", nickname: "n", challenge: "c", attestation: { credentialId: "a", clientDataJson: "b", attestationObject: "c" } },
  { type: "OAUTH", oidcToken: "h.p.s" },
  { type: "EMAIL_OTP", email: "a@b.c" },
  { type: "SMS_OTP", phoneNumber: "+15550100" },
];

const bound = { id: session, accountId: account, expiresAt };

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

/** The arguments that were sent last. */
const asked = () => page.calls.at(-1).args;
const privateKey = () => new Uint8Array(32).fill(7);

test("each method hands over these arguments and no others", async () => {
  const intent = { name: "export-wallet", targetPublicKey: "02cd" };
  const calls = [
    [() => signer.keys(), []],
    [() => signer.createKey(), [{ curve: undefined, sealed: false }, {}]],
    [() => signer.removeKey(key), [key.id]],
    [() => signer.removeKey(key.id), [key.id]],
    [() => signer.bindSession(key, { nickname: "Phone", ...bound, type: "OAUTH" }), [key.id, bound, {}]],
    [
      () => signer.signChallenge({ other: "ignored", ...challenge(), type: "OAUTH" }, { key, intent, format: "der", timeoutMs: 200 }),
      [{ ...challenge(), type: "OAUTH" }, { key: key.id, intent, format: "der", timeoutMs: 200 }],
    ],
    [() => signer.revokeSession(session, { key }), [session, { key: key.id, timeoutMs: 30_000 }]],
    [() => signer.revokeSession(undefined, { key: key.id, timeoutMs: 5 }), [undefined, { key: key.id, timeoutMs: 5 }]],
    [() => signer.signOut(key), [{ key: key.id, scope: "this", unreachable: "keep-trying", timeoutMs: 10_000 }]],
    [
      () => signer.signOut(key.id, { scope: "all", unreachable: "forget", timeoutMs: 0 }),
      [{ key: key.id, scope: "all", unreachable: "forget", timeoutMs: 0 }],
    ],
    [() => signer.listSessions(account, { timeoutMs: 1 }), [account, { timeoutMs: 1 }]],
    [() => signer.refreshSession(key), [{ key: key.id, timeoutMs: 30_000 }]],
    [() => signer.refreshSession(key.id, { timeoutMs: 5 }), [{ key: key.id, timeoutMs: 5 }]],
    [() => signer.listCredentials(account), [account, { timeoutMs: 30_000 }]],
    [() => signer.listCredentials(account, { timeoutMs: 1 }), [account, { timeoutMs: 1 }]],
    ...credentials.map((credential) => [() => signer.addCredential(credential, { key, timeoutMs: 5 }), [credential, { key: key.id, timeoutMs: 5 }]]),
    [() => signer.removeCredential(method, { key, type: "PASSKEY" }), [method, { key: key.id, type: "PASSKEY", timeoutMs: 30_000 }]],
    [() => signer.removeCredential(method, { key: key.id, type: "FAX", timeoutMs: 5 }), [method, { key: key.id, type: "FAX", timeoutMs: 5 }]],
  ];
  for (const [call, want] of calls) {
    await call();
    assert.deepEqual(asked(), want);
    assert.equal(JSON.stringify(asked()), JSON.stringify(want), "in this order");
  }
});

test("steps are told of a refresh, and of what a credential needs, where somebody asks", async () => {
  const step = { step: "request", leg: 1, attempt: 1 };
  const told = (options) => (options.onProgress?.(step), undefined);
  const last = (...args) => told(args.at(-1));
  const { methods } = page.worker.service;
  Object.assign(methods, { refreshSession: last, addCredential: last, removeCredential: last });
  for (const call of [
    (options) => signer.refreshSession(key, options),
    (options) => signer.addCredential(credentials[0], { key, ...options }),
    (options) => signer.removeCredential(method, { key, type: "OAUTH", ...options }),
  ]) {
    const heard = [];
    await call({ onProgress: (event) => heard.push(event) });
    assert.deepEqual(heard, [step]);
    assert.equal(page.calls.at(-1).progress, true);
    await call({ onProgress: hostile });
    assert.equal(page.reported.pop().message, "hostile");
    await call();
    assert.equal(page.calls.at(-1).progress, false);
  }
});

test("an abort ends the waiting, and the worker hears of it: what is new", async () => {
  const { methods } = page.worker.service;
  for (const [name, call] of Object.entries({
    refreshSession: (signal) => signer.refreshSession(key, { signal }),
    listCredentials: (signal) => signer.listCredentials(account, { signal }),
    addCredential: (signal) => signer.addCredential(credentials[0], { key, signal }),
    removeCredential: (signal) => signer.removeCredential(method, { key, type: "OAUTH", signal }),
  })) {
    let seen;
    methods[name] = (...args) => ((seen = args.at(-1).signal), never());
    const aborter = new AbortController();
    const pending = outcome(call(aborter.signal));
    await idle();
    assert.equal(seen.aborted, false);
    aborter.abort("enough");
    const got = await pending;
    assert.deepEqual([got.code, got.cause], ["ABORTED", "enough"]);
    await idle();
    assert.equal(seen.aborted, true, name);
  }
});

test("what is submitted for a credential is copied at the call, each part read once", async () => {
  const reads = {};
  const counting = (object, prefix = "") =>
    new Proxy(object, {
      get(target, name) {
        if (typeof name === "string" && Object.hasOwn(target, name)) reads[prefix + name] = (reads[prefix + name] ?? 0) + 1;
        return target[name];
      },
    });
  const [passkey] = credentials;
  const transports = ["usb"];
  const attestation = counting({ ...passkey.attestation, transports }, "attestation.");
  const pending = signer.addCredential(counting({ ...passkey, attestation }), counting({ key: key.id }));
  transports[0] = "nfc";
  await pending;
  assert.deepEqual(asked()[0], { ...passkey, attestation: { ...passkey.attestation, transports: ["usb"] } });
  const parts = ["credentialId", "clientDataJson", "attestationObject", "transports"].map((name) => [`attestation.${name}`, 1]);
  assert.deepEqual(reads, { key: 1, type: 1, nickname: 1, challenge: 1, attestation: 1, ...Object.fromEntries(parts) });
});

test("autoRefresh reaches the worker as a boolean", async () => {
  for (const [autoRefresh, want] of [[undefined, false], [false, false], [true, true]]) {
    const other = await create({ autoRefresh });
    assert.equal(page.worker.started.custody.autoRefresh, want);
    other.close();
  }
  const other = await create(Object.create({ autoRefresh: true }));
  assert.equal(page.worker.started.custody.autoRefresh, false, "an inherited one is none");
  other.close();
});

test("every option may be passed as undefined", async () => {
  const names = ["wasmUrl", "worker", "headers", "credentials", "timeoutMs", "persistence", "namespace", "payloads", "autoRefresh", "otpSigners", "exportSigners", "onProgress", "signal"];
  const nothing = (...names) => Object.fromEntries(names.map((name) => [name, undefined]));
  const other = await create(nothing(...names));
  const [{ alive: _, ...first }, { alive: __, ...second }] = page.workers.map(({ started }) => started);
  assert.deepEqual(second, first);
  const patience = ["signal", "timeoutMs"];
  const pairs = [
    [(made) => made.createKey(nothing("curve", "sealed")), (made) => made.createKey()],
    [
      (made) => made.importKey({ curve: "P-256", privateKey: privateKey(), publicKey: undefined }),
      (made) => made.importKey({ curve: "P-256", privateKey: privateKey() }),
    ],
    [
      (made) => made.signChallenge({ ...challenge(), type: undefined }, { key, ...nothing("intent", "format", ...patience) }),
      (made) => made.signChallenge(challenge(), { key }),
    ],
    [(made) => made.signOut(key, nothing("scope", "unreachable", "timeoutMs", "onProgress")), (made) => made.signOut(key, undefined)],
    [(made) => made.revokeSession(undefined, { key, ...nothing("onProgress", ...patience) }), (made) => made.revokeSession(undefined, { key })],
    [(made) => made.listSessions(account, nothing(...patience)), (made) => made.listSessions(account, undefined)],
    [(made) => made.listCredentials(account, nothing(...patience)), (made) => made.listCredentials(account, undefined)],
    [(made) => made.refreshSession(key, nothing("onProgress", ...patience)), (made) => made.refreshSession(key, undefined)],
    [
      (made) => made.addCredential({ ...credentials[2], ...nothing("email", "phoneNumber", "nickname", "attestation") }, { key, ...nothing("onProgress", ...patience) }),
      (made) => made.addCredential(credentials[2], { key }),
    ],
    [
      (made) => made.addCredential({ ...credentials[1], attestation: { ...credentials[1].attestation, transports: undefined } }, { key }),
      (made) => made.addCredential(credentials[1], { key }),
    ],
    [
      (made) => made.removeCredential(method, { key, type: "OAUTH", ...nothing("onProgress", ...patience) }),
      (made) => made.removeCredential(method, { key, type: "OAUTH" }),
    ],
  ];
  for (const pair of pairs) {
    const sent = [];
    for (const call of pair) {
      await call(other);
      sent.push(asked());
    }
    assert.deepEqual(sent[0], sent[1]);
  }
  other.close();
});

test("arguments are read once, at the call", async () => {
  const reads = {};
  const counting = (object) =>
    new Proxy(object, { get: (target, name) => ((reads[name] = (reads[name] ?? 0) + 1), target[name]) });
  const mutable = challenge();
  const pending = signer.signChallenge(counting(mutable), counting({ key: counting({ ...key }), format: "der" }));
  mutable.payloadToSign = "something else";
  await pending;
  assert.deepEqual(reads, { key: 1, format: 1, payloadToSign: 1, requestId: 1, expiresAt: 1, id: 1 });
  assert.equal(asked()[0].payloadToSign, "opaque");
});

test("a polluted prototype sets no option of createSigner", async (t) => {
  const clean = pollute(t, { persistence: "memory", headers: { a: "b" }, timeoutMs: 7, payloads: "activities", namespace: "x", autoRefresh: true, signal: 1, onProgress: 1 });
  const pending = create();
  await idle();
  clean();
  (await pending).close();
  const [{ alive: _, ...first }, { alive: __, ...second }] = page.workers.map(({ started }) => started);
  assert.deepEqual(second, first);
});

const calls = {
  keys: () => signer.keys(),
  createKey: () => signer.createKey(),
  importKey: () => signer.importKey({ curve: "P-256", privateKey: privateKey() }),
  removeKey: () => signer.removeKey(key),
  bindSession: () => signer.bindSession(key, bound),
  signChallenge: () => signer.signChallenge(challenge(), { key }),
  revokeSession: () => signer.revokeSession(session, { key }),
  signOut: () => signer.signOut(key),
  "signOut of all": () => signer.signOut(key, { scope: "all" }),
  listSessions: () => signer.listSessions(account),
  refreshSession: () => signer.refreshSession(key),
  listCredentials: () => signer.listCredentials(account),
  addCredential: () => signer.addCredential(credentials[1], { key }),
  removeCredential: () => signer.removeCredential(method, { key, type: "OAUTH" }),
};

for (const [name, call] of Object.entries(calls)) {
  test(`a polluted prototype changes nothing of a call: ${name}`, async (t) => {
    const want = await outcome(call());
    const [{ id: _, ...sent }] = page.calls;
    assert.ok("value" in want);
    const polluted = { intent: "send-payment", type: "OAUTH", curve: "secp256k1", format: "der", scope: "others", unreachable: "forget", transports: ["usb"], email: "x", phoneNumber: "x", oidcToken: "x", attestation: {} };
    const clean = pollute(t, { ...polluted, timeoutMs: 7, signal: 1, onProgress: 1, transfer: 1, key: "key-2", status: 1, retryable: true, cause: 1, headers: 1 });
    const got = await outcome(call());
    const [, { id: __, ...again } = {}] = page.calls;
    clean();
    assert.deepEqual(got, want);
    assert.deepEqual(again, sent);
  });
}

test("a polluted prototype makes no pending sign-out of a failed one", async (t) => {
  page.worker.service.methods.signOut = () => Promise.reject(new GridSignerError("KEY_NOT_FOUND", "no key of this id"));
  const clean = pollute(t, { type: "leaving", session: bound, key: key.id });
  const got = await outcome(signer.signOut("another"));
  clean();
  assert.equal(got.code, "KEY_NOT_FOUND");
});

test("bridgeUrl is resolved against the page and trimmed", async () => {
  for (const [bridgeUrl, want] of [
    ["/a/", "https://app.example/a"],
    ["a//", "https://app.example/account/a"],
    ["../a", "https://app.example/a"],
    [new URL("https://api.example/a"), "https://api.example/a"],
    ["http://localhost:8080", "http://localhost:8080"],
  ]) {
    const other = await create({ bridgeUrl });
    assert.equal(page.worker.started.custody.bridgeUrl, want);
    other.close();
  }
});

test("a page whose document has a base resolves against that", async (t) => {
  t.after(() => delete globalThis.document);
  globalThis.document = { baseURI: "https://app.example/base/" };
  const other = await create({ bridgeUrl: "grid", wasmUrl: "signer.wasm" });
  const { wasmUrl, custody } = page.worker.started;
  assert.deepEqual([wasmUrl, custody.bridgeUrl], ["https://app.example/base/signer.wasm", "https://app.example/base/grid"]);
  other.close();
});

/** A signer with these headers, whose listSessions returns what its worker gets of them. */
async function createAsking(headers) {
  page.answers = { ...page.answers, listSessions: (_, { signal }) => page.worker.asks.headers(signal) };
  return create({ headers });
}

test("headers: none, plain, a Headers, or a function that is asked afresh whenever the worker needs them", async () => {
  let count = 0;
  for (const [headers, ...want] of [
    [undefined, {}, {}],
    [{ A: "1" }, { a: "1" }, { a: "1" }],
    [new Headers({ A: "1" }), { a: "1" }, { a: "1" }],
    [async () => ({ A: String(++count) }), { a: "1" }, { a: "2" }],
    [() => new Headers({ A: String(++count) }), { a: "3" }, { a: "4" }],
  ]) {
    const other = await createAsking(headers);
    await other.keys();
    await other.signChallenge(challenge(), { key });
    assert.deepEqual([await other.listSessions(account), await other.listSessions(account)], want);
    other.close();
  }
});

test("plain headers are those of the time when the signer was made", async () => {
  const headers = { a: "1" };
  const other = await createAsking(headers);
  headers.a = "2";
  assert.deepEqual(await other.listSessions(account), { a: "1" });
  other.close();
});

for (const [name, headers, cause] of [
  ["throws", hostile, /hostile/],
  ["rejects", () => Promise.reject(new Error("no token")), /no token/],
  ["returns a number", () => 1, /headers /],
  ["returns nothing", () => {}, /headers /],
  ["returns null", () => null, /headers /],
  ["returns a header that is none", () => ({ "bad name": "x" }), /headers /],
  ["returns a line break", () => ({ a: "b\r\nc: d" }), /headers /],
]) {
  test(`a headers function that ${name}: HEADERS_FAILED with the cause, and the next call asks again`, async () => {
    let answer = headers;
    const other = await createAsking(() => answer());
    const got = await outcome(other.listSessions(account));
    assert.deepEqual([got.code, got.retryable], ["HEADERS_FAILED", true]);
    assert.match(String(got.cause), cause);
    answer = () => ({});
    assert.deepEqual(await outcome(other.listSessions(account)), { value: {} });
    other.close();
  });
}

test("a headers function that hangs: the call ends in time, and its signal fires then", async () => {
  const signals = [];
  const other = await createAsking(({ signal }) => (signals.push(signal), never()));
  const controller = new AbortController();
  const aborted = outcome(other.listSessions(account, { signal: controller.signal }));
  const late = outcome(other.listSessions(account, { timeoutMs: 200 }));
  await idle();
  assert.ok(signals.every((signal) => signal instanceof AbortSignal && !signal.aborted));
  controller.abort("no more");
  assert.deepEqual([(await aborted).code, (await aborted).cause], ["ABORTED", "no more"]);
  await idle();
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, false]);
  mock.timers.tick(2200);
  assert.equal((await late).code, "TIMEOUT");
  await idle();
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true]);
  other.close();
});

test("timeoutMs is the call's own, or else the signer's", async () => {
  const other = await create({ timeoutMs: 54_321 });
  page.worker.service.methods.listSessions = never;
  page.worker.service.methods.keys = never;
  const overdue = {};
  const pending = [other.listSessions(account, { timeoutMs: 200 }), other.listSessions(account), other.keys()].map((call) =>
    outcome(call).then(({ code }) => (overdue[code] = (overdue[code] ?? 0) + 1)),
  );
  await idle();
  mock.timers.tick(2199);
  await idle();
  assert.deepEqual(overdue, {});
  mock.timers.tick(1);
  await idle();
  assert.deepEqual(overdue, { TIMEOUT: 1 });
  mock.timers.tick(54_321 + 2000 - 2200);
  await Promise.all(pending);
  assert.deepEqual(overdue, { TIMEOUT: 3 });
  other.close();
});

test("what a sign-out came to has an error that is one of ours, of each session its own", async () => {
  const error = { code: "UPSTREAM_REFUSED", message: "no", retryable: false, status: 403 };
  const pending = { status: "pending", sessionId: session, sessionExpiresAt: expiresAt, error };
  const { methods } = page.worker.service;
  methods.signOut = methods.revokeSession = async () => pending;
  const outcomes = [await signer.signOut(key), await signer.revokeSession(undefined, { key })];
  methods.signOut = async () => [{ status: "revoked", sessionId: "a" }, { error }, pending];
  outcomes.push(...(await signer.signOut(key, { scope: "all" })));
  for (const outcome of outcomes) {
    const { error: got, ...rest } = outcome;
    if (rest.status === "revoked") assert.deepEqual(outcome, { status: "revoked", sessionId: "a" });
    else assert.ok(got instanceof GridSignerError && got.status === 403 && got.message === "no");
    if (rest.status === "pending") assert.deepEqual(rest, { status: "pending", sessionId: session, sessionExpiresAt: expiresAt });
  }
  assert.deepEqual(outcomes.map(({ status }) => status), ["pending", "pending", "revoked", undefined, "pending"]);
});

test("where headers were not to be had, a sign-out that is pending says why", async () => {
  const error = { code: "HEADERS_FAILED", message: "no", retryable: true };
  const failing = async (_, { signal } = _) => {
    await page.worker.asks.headers(signal).catch(() => {});
    return { status: "pending", sessionId: session, sessionExpiresAt: expiresAt, error };
  };
  page.answers = { ...page.answers, signOut: failing };
  const other = await create({ headers: hostile });
  const { error: got } = await other.signOut(key);
  assert.deepEqual([got.code, got.cause.message], ["HEADERS_FAILED", "hostile"]);
  other.close();
});

const started = (id) => ({ key: id, session: bound, type: "started" });
const leaving = (id) => ({ key: id, session: bound, type: "leaving" });
const ended = (id) => ({ key: id, session: bound, type: "ended", reason: "revoked" });

/** What a listener hears from now on. */
function hear() {
  const heard = [];
  return { heard, undo: signer.on("session", (event) => heard.push(event)) };
}

/** The worker tells of sessions. */
async function tell(...events) {
  for (const event of events) page.worker.asks.onEvent(event);
  await idle();
}

test("every listener hears of sessions until its undo, also one that is there twice", async () => {
  const heard = [];
  const listener = (event) => heard.push(event);
  const undo = [signer.on("session", listener), signer.on("session", listener)];
  await tell(started("a"));
  assert.deepEqual(heard, [started("a"), started("a")]);
  undo[0]();
  undo[0]();
  await tell(ended("a"));
  assert.deepEqual(heard.slice(2), [ended("a")]);
  undo[1]();
  await tell(started("b"));
  assert.equal(heard.length, 3);
});

test("a listener that throws is reported, and harms nobody", async () => {
  await tell(leaving("a"));
  signer.on("session", hostile);
  const { heard } = hear();
  await tell(ended("a"));
  assert.deepEqual(heard, [ended("a")]);
  assert.deepEqual(page.reported.map(({ message }) => message), ["hostile", "hostile"]);
});

test("the first listener hears what came before it, of each key the last, and not before on() has returned", async () => {
  const many = Array.from({ length: 1000 }, () => [started("a"), leaving("a")]).flat();
  await tell(...many, started("b"), ended("c"), leaving("b"));
  const { heard } = hear();
  assert.deepEqual(heard, []);
  await idle();
  assert.deepEqual(heard, [leaving("a"), leaving("b"), ended("c")]);
  const second = hear();
  await tell(ended("a"));
  assert.deepEqual([second.heard, heard.slice(3)], [[ended("a")], [ended("a")]]);
});

test("a first listener that is undone at once hears nothing, and nothing is kept for a later one", async () => {
  await tell(leaving("a"));
  const { heard, undo } = hear();
  undo();
  await tell(ended("a"));
  assert.deepEqual(heard, []);
  const later = hear();
  await idle();
  assert.deepEqual(later.heard, []);
});

test("on refuses at once what it does not know", () => {
  for (const args of [["other", () => {}], [undefined, () => {}], [null, () => {}], ["session"], ["session", {}], ["session", null]]) {
    assert.throws(() => signer.on(...args), { code: "ARGUMENT_INVALID" });
  }
});
