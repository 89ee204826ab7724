// What index.ts makes of a call before it sends it: copies of the arguments,
// headers that may have to be awaited, and a deadline.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/index.js";
import { account, challenge, create, expiresAt, hostile, key, Page, session } from "./page.js";
import { idle, never, outcome, stopTime } from "./ports.js";

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

test("each method hands over these arguments and no others", async () => {
  const bound = { id: session, accountId: account, expiresAt };
  const intent = { name: "export-wallet", targetPublicKey: "02cd" };
  const bridge = { bridgeUrl: "https://app.example/api/grid", credentials: "same-origin", headers: {} };
  mock.method(performance, "now", () => 0);
  const calls = [
    [() => signer.keys(), []],
    [() => signer.createKey(), [{ curve: undefined }, {}]],
    [() => signer.removeKey(key), [key.id]],
    [() => signer.removeKey(key.id), [key.id]],
    [() => signer.bindSession(key, { nickname: "Phone", ...bound, type: "OAUTH" }), [key.id, bound]],
    [
      () => signer.signChallenge({ other: "ignored", ...challenge(), type: "OAUTH" }, { key, intent, format: "der", timeoutMs: 200 }),
      [{ ...challenge(), type: "OAUTH" }, { key: key.id, intent, format: "der", timeoutMs: 200 }],
    ],
    [() => signer.revokeSession(session, { key }), [session, { key: key.id, ...bridge, timeoutMs: 30_000 }]],
    [() => signer.revokeOtherSessions(account, { key: key.id }), [account, { key: key.id, ...bridge, timeoutMs: 30_000 }]],
    [() => signer.listSessions(account, { timeoutMs: 1 }), [account, { ...bridge, timeoutMs: 1 }]],
  ];
  for (const [call, want] of calls) {
    await call();
    assert.equal(JSON.stringify(asked()), JSON.stringify(want));
  }
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

test("a polluted prototype sets no option", async (t) => {
  const polluted = { intent: "send-payment", type: "OAUTH", persistence: "memory", headers: { a: "b" }, timeoutMs: 7, key: "key-2" };
  const clean = () => Object.keys(polluted).forEach((name) => delete Object.prototype[name]);
  t.after(clean);
  Object.assign(Object.prototype, polluted);
  const pending = [signer.signChallenge(challenge(), { key }), signer.listSessions(account), create()];
  await idle();
  clean();
  const [signed, listed] = page.calls.map(({ args }) => args);
  assert.equal(JSON.stringify(signed), JSON.stringify([challenge(), { key: key.id, timeoutMs: 30_000 }]));
  assert.deepEqual([listed[1].headers, listed[1].credentials], [{}, "same-origin"]);
  assert.equal(page.worker.started.custody.persistence, "indexeddb");
  (await Promise.all(pending)).at(-1).close();
});

test("outcomes of other sessions that were not revoked are errors by code", async () => {
  const error = { code: "UPSTREAM_REFUSED", message: "no", retryable: false, status: 403 };
  page.worker.service.methods.revokeOtherSessions = async () => [{ sessionId: "a", status: "revoked" }, { sessionId: "b", error }];
  const [first, second] = await signer.revokeOtherSessions(account, { key });
  assert.deepEqual(first, { sessionId: "a", status: "revoked" });
  assert.equal(second.sessionId, "b");
  assert.ok(second.error instanceof GridSignerError);
  assert.deepEqual([second.error.code, second.error.status], ["UPSTREAM_REFUSED", 403]);
});

test("bridgeUrl is resolved against the page and trimmed, for the module and for its custody", async () => {
  for (const [bridgeUrl, want] of [
    ["/a/", "https://app.example/a"],
    ["a//", "https://app.example/account/a"],
    ["../a", "https://app.example/a"],
    [new URL("https://api.example/a"), "https://api.example/a"],
    ["http://localhost:8080", "http://localhost:8080"],
  ]) {
    const other = await create({ bridgeUrl });
    await other.listSessions(account);
    assert.equal(asked()[1].bridgeUrl, want);
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

test("headers: plain, a Headers, or a function that is asked afresh before each call to the bridge, and before no other", async () => {
  let count = 0;
  const makers = [{ A: "1" }, new Headers({ A: "1" }), async () => ({ A: String(++count) }), () => new Headers({ A: String(++count) })];
  const seen = [];
  for (const headers of makers) {
    const other = await create({ headers, credentials: "omit" });
    await other.keys();
    await other.createKey();
    await other.signChallenge(challenge(), { key });
    const calls = [
      () => other.listSessions(account),
      () => other.revokeSession(session, { key }),
      () => other.revokeOtherSessions(account, { key }),
    ];
    for (const call of calls) {
      await call();
      seen.push([asked()[1].headers.a, asked()[1].credentials]);
    }
    other.close();
  }
  const fixed = Array(6).fill(["1", "omit"]);
  assert.deepEqual(seen, [...fixed, ...["1", "2", "3", "4", "5", "6"].map((value) => [value, "omit"])]);
});

for (const [name, headers, cause] of [
  ["throws", hostile, /hostile/],
  ["rejects", () => Promise.reject(new Error("no token")), /no token/],
  ["returns a number", () => 1, /./],
  ["returns null", () => null, /./],
  ["returns a header that is none", () => ({ "bad name": "x" }), /./],
  ["returns a line break", () => ({ a: "b\r\nc: d" }), /./],
]) {
  test(`a headers function that ${name}: ARGUMENT_INVALID with the cause, nothing is sent, the next call asks again`, async () => {
    let answer = headers;
    const other = await create({ headers: () => answer() });
    const got = await outcome(other.listSessions(account));
    assert.equal(got.code, "ARGUMENT_INVALID");
    assert.match(String(got.cause), cause);
    assert.deepEqual(page.calls, []);
    answer = () => ({});
    assert.deepEqual(await outcome(other.listSessions(account)), { value: [] });
    other.close();
  });
}

test("what the headers took is taken off the call's time, of which at least a millisecond is left", async () => {
  let now = 0;
  mock.method(performance, "now", () => now);
  let takes;
  const other = await create({ headers: () => ((now += takes), {}) });
  for (const [took, timeoutMs, want] of [[0, undefined, 30_000], [400, 1000, 600], [2500, 1000, 1]]) {
    takes = took;
    await other.listSessions(account, { timeoutMs });
    assert.equal(asked()[1].timeoutMs, want);
  }
  other.close();
});

test("timeoutMs is the call's own, or else the signer's", async () => {
  const other = await create({ timeoutMs: 54_321 });
  page.worker.service.methods.listSessions = never;
  page.worker.service.methods.keys = never;
  const overdue = { all: 0 };
  const pending = [other.listSessions(account, { timeoutMs: 200 }), other.listSessions(account), other.keys()].map((call) =>
    outcome(call).then(({ code }) => (overdue[code] = (overdue[code] ?? 0) + 1)),
  );
  await idle();
  mock.timers.tick(2199);
  await idle();
  assert.deepEqual(overdue, { all: 0 });
  mock.timers.tick(1);
  await idle();
  assert.deepEqual(overdue, { all: 0, TIMEOUT: 1 });
  mock.timers.tick(54_321 + 2000 - 2200);
  await Promise.all(pending);
  assert.deepEqual(overdue, { all: 0, TIMEOUT: 3 });
  other.close();
});

test("while the headers are awaited a deadline is TIMEOUT, a signal ABORTED, and close CLOSED: nothing is sent", async () => {
  const other = await create({ headers: never });
  const controller = new AbortController();
  const [late, aborted, closed] = [
    other.listSessions(account, { timeoutMs: 200 }),
    other.revokeSession(session, { key, signal: controller.signal }),
    other.revokeOtherSessions(account, { key }),
  ].map(outcome);
  controller.abort("no more");
  assert.deepEqual([(await aborted).code, (await aborted).cause], ["ABORTED", "no more"]);
  mock.timers.tick(2200);
  assert.deepEqual([(await late).code, (await late).retryable], ["TIMEOUT", true]);
  other.close();
  assert.equal((await closed).code, "CLOSED");
  assert.deepEqual(page.calls, []);
});
