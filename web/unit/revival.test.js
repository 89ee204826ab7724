// After a module has died: what is pending, what the next one is told, and that a
// closed signer has no next one.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/index.js";
import { account, create, expiresAt, graceMs, key, Page, session } from "./page.js";
import { idle, never, outcome, stopTime } from "./ports.js";

let page;
beforeEach(() => {
  stopTime();
  page = new Page();
});
afterEach(() => {
  page.close();
  mock.reset();
});

const kill = () => page.kill();

test("a worker that ends without a word fails what is pending, and the next call has another", async () => {
  page.answers = { ...page.answers, listSessions: never, keys: () => ["a"] };
  const signer = await create();
  const pending = outcome(signer.listSessions(account));
  await idle();
  await kill();
  const { code, message, retryable } = await pending;
  assert.deepEqual([code, message, retryable], ["WORKER_FAILED", "the signer stopped: it no longer answers", true]);
  assert.equal(page.workers[0].terminated, true);
  assert.equal(page.workers.length, 1, "nobody needs another yet");
  assert.deepEqual(await Promise.all([signer.keys(), signer.keys()]), [["a"], ["a"]]);
  assert.equal(page.workers.length, 2, "one for both calls");
  signer.close();
});

test("the next is told which keys were only in memory, and so is the one after it", async () => {
  const made = [
    { ...key, id: "stored" },
    { ...key, id: "memory-1", persistence: "memory" },
    { ...key, id: "memory-2", persistence: "memory" },
  ];
  page.answers = { createKey: () => made.shift(), importKey: () => made.shift() };
  const signer = await create();
  await signer.createKey();
  await signer.importKey({ curve: "P-256", privateKey: new Uint8Array(32) });
  assert.deepEqual(page.worker.started.custody.lost, []);
  await kill();
  await signer.createKey();
  assert.deepEqual(page.worker.started.custody.lost, ["memory-1"]);
  await kill();
  await signer.keys();
  assert.deepEqual(page.worker.started.custody.lost, ["memory-1", "memory-2"]);
  signer.close();
});

test("the next is started as the first was, but nobody hears how it loads", async () => {
  const heard = [];
  const signer = await create({ wasmUrl: "/s.wasm", persistence: "memory", namespace: "app", onProgress: () => heard.push("load"), headers: { a: "1" } });
  signer.on("session", ({ type }) => heard.push(type));
  page.answers.listSessions = (_, { signal }) => page.worker.asks.headers(signal);
  const { alive: before, progress, ...first } = page.worker.started;
  await kill();
  await signer.keys();
  const { alive: after, ...second } = page.worker.started;
  assert.equal(progress, true);
  assert.deepEqual(second, { ...first, progress: false });
  assert.notEqual(after, before);
  page.worker.asks.onEvent({ key: "a", type: "started" });
  assert.deepEqual(await signer.listSessions(account), { a: "1" });
  assert.deepEqual(heard, ["started"]);
  signer.close();
});

test("one that does not come up fails its call with LOAD_FAILED, and the call after that tries again", async () => {
  const signer = await create({ timeoutMs: 300 });
  await kill();
  const load = page.load;
  page.load = never;
  const pending = outcome(signer.keys());
  await idle();
  mock.timers.tick(300);
  assert.equal((await pending).code, "LOAD_FAILED");
  page.load = () => Promise.reject(new GridSignerError("CSP_BLOCKED", "a policy"));
  assert.equal((await outcome(signer.keys())).code, "CSP_BLOCKED");
  page.onWorker = () => {
    throw new DOMException("refused", "SecurityError");
  };
  assert.equal((await outcome(signer.keys())).code, "CSP_BLOCKED");
  Object.assign(page, { load, onWorker: () => {} });
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  assert.deepEqual(page.workers.map(({ terminated }) => terminated ?? false), [true, true, true, false]);
  signer.close();
});

test("a module that stops, and a script that throws later, are replaced too", async () => {
  const signer = await create();
  const ends = [
    () => page.worker.service.stop(),
    () => (page.worker.dispatchEvent(Object.assign(new Event("error"), { message: "out of memory" })), mock.timers.tick(1)),
    () => page.worker.dispatchEvent(new Event("messageerror")),
  ];
  for (const end of ends) {
    page.worker.service.methods.keys = never;
    const pending = outcome(signer.keys());
    await idle();
    end();
    assert.equal((await pending).code, "WORKER_FAILED");
    assert.equal(page.worker.terminated, true);
    assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  }
  assert.equal(page.workers.length, 4);
  signer.close();
});

test("a worker that hangs is given up two seconds after a call was overdue, and replaced", async () => {
  const signer = await create();
  page.worker.peer.close();
  const pending = outcome(signer.listSessions(account, { timeoutMs: 100 }));
  await idle();
  mock.timers.tick(2100);
  assert.equal((await pending).code, "TIMEOUT");
  const dying = outcome(signer.keys());
  await idle();
  mock.timers.tick(2000);
  assert.equal((await dying).code, "WORKER_FAILED");
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  signer.close();
});

for (const [name, locks] of Object.entries({
  "are denied": { request: () => Promise.reject(new DOMException("denied", "SecurityError")) },
  "are missing": undefined,
})) {
  test(`where locks ${name} a worker is not taken for dead, and one that is dead is missed when it does not answer`, async () => {
    page.set({ navigator: { locks } });
    const signer = await create();
    await idle();
    mock.timers.tick(60_000);
    assert.deepEqual(await outcome(signer.keys()), { value: undefined });
    assert.deepEqual([page.workers.length, page.worker.types], [1, ["start", "call"]]);
    page.worker.peer.close();
    const late = outcome(signer.keys());
    await idle();
    mock.timers.tick(30_000 + graceMs);
    assert.equal((await late).code, "TIMEOUT");
    mock.timers.tick(graceMs);
    assert.deepEqual(await outcome(signer.keys()), { value: undefined });
    assert.equal(page.workers.length, 2);
    signer.close();
  });
}

test("a worker whose lock is stolen is asked whether it lives, answers, and lives on", async () => {
  page.answers = { ...page.answers, listSessions: never };
  const signer = await create();
  let got;
  outcome(signer.listSessions(account)).then((error) => (got = error));
  await idle();
  page.locks.release(page.worker.started.alive);
  await idle();
  mock.timers.tick(graceMs);
  await idle();
  assert.deepEqual([page.worker.types, page.worker.peer.types], [["start", "call", "ping"], ["ready", "pong"]]);
  assert.deepEqual([got, page.worker.terminated, page.workers.length], [undefined, undefined, 1]);
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  signer.close();
});

test("close ends the worker and what is pending; nothing comes after it", async () => {
  page.answers = { ...page.answers, listSessions: never };
  const signer = await create();
  const pending = outcome(signer.listSessions(account));
  await idle();
  assert.deepEqual(page.locks.sizes, [2], "the worker holds its lock, the page waits for it");
  signer.close();
  signer.close();
  const later = [signer.keys(), signer.createKey(), signer.listSessions(account)].map(outcome);
  assert.deepEqual((await Promise.all([pending, ...later])).map(({ code }) => code), Array(4).fill("CLOSED"));
  await idle();
  assert.deepEqual([page.worker.terminated, page.workers.length, page.locks.sizes], [true, 1, [0]]);
});

test("a signer whose worker has died can be closed, and gets no other", async () => {
  const signer = await create();
  await kill();
  signer.close();
  assert.equal((await outcome(signer.keys())).code, "CLOSED");
  assert.equal(page.workers.length, 1);
});

const pending = { status: "pending", sessionId: session, sessionExpiresAt: expiresAt };
const begin = {
  signOut: (signer, options) => signer.signOut(key, { timeoutMs: 9000, ...options }),
  revokeSession: (signer, options) => signer.revokeSession(undefined, { key, timeoutMs: 9000, ...options }),
};
/** What the newest worker was told of the call. */
const told = (method) => page.worker.calls.find((call) => call.method === method)?.args.at(-1);

/** A sign-out under way in a worker that will not finish it, of whose time 2.5 s have gone since. */
async function beginIn(method, options) {
  let now = 0;
  mock.method(performance, "now", () => now);
  page.answers = { ...page.answers, [method]: never };
  const signer = await create();
  const leaving = outcome(begin[method](signer, options));
  await idle();
  now += 2500;
  return { signer, leaving };
}

for (const method of Object.keys(begin)) {
  test(`${method} whose worker dies in the middle goes on in another, with what is left of its time`, async () => {
    const events = [];
    const { signer, leaving } = await beginIn(method, { onProgress: (event) => events.push(event) });
    const first = told(method);
    page.answers[method] = (...args) => (args.at(-1).onProgress({ step: "request", leg: 1, attempt: 1 }), pending);
    await kill();
    assert.deepEqual(await leaving, { value: pending });
    assert.equal(page.workers.length, 2);
    assert.deepEqual([told(method), first.timeoutMs], [{ ...first, timeoutMs: 6500 }, 9000]);
    assert.deepEqual(events, [{ step: "request", leg: 1, attempt: 1 }]);
    signer.close();
  });

  test(`${method} whose key died with its worker is not to be tried again`, async () => {
    const { signer, leaving } = await beginIn(method);
    page.answers[method] = () => Promise.reject(new GridSignerError("KEY_LOST", "it died with its worker"));
    await kill();
    const { code, retryable } = await leaving;
    assert.ok(["KEY_LOST", "WORKER_FAILED"].includes(code), code);
    assert.equal(retryable, false);
    signer.close();
  });

  test(`${method} whose second worker dies as well is WORKER_FAILED, and one whose time is up has no second`, async () => {
    const { signer, leaving } = await beginIn(method);
    await kill();
    await kill();
    assert.deepEqual([(await leaving).code, page.workers.length], ["WORKER_FAILED", 2]);
    const late = outcome(begin[method](signer, { timeoutMs: 1 }));
    await idle();
    mock.timers.tick(1 + graceMs);
    assert.deepEqual([(await late).code, page.workers.length], ["TIMEOUT", 3]);
    signer.close();
  });
}

test("of other calls none goes on by itself: what they signed could be signed twice", async () => {
  page.answers = { ...page.answers, signChallenge: never };
  const signer = await create();
  const signing = outcome(signer.signChallenge({ payloadToSign: "a", requestId: "b", expiresAt }, { key }));
  await idle();
  await kill();
  assert.deepEqual([(await signing).code, page.workers.length], ["WORKER_FAILED", 1]);
  signer.close();
});

const leaving = { key: key.id, session: {}, type: "leaving" };
const over = { key: key.id, session: {}, type: "ended", reason: "signed-out" };
for (const [name, events, others, want, options] of [
  ["a sign-out is not finished", [leaving], [], 2],
  ["it is finished", [leaving, over], [], 1],
  ["one of two is finished", [leaving, { ...leaving, key: "key-2" }, over], [], 2],
  ["nobody signs out", [{ ...leaving, type: "started" }], [], 1],
  ["the signer is closed meanwhile", [leaving], ["close"], 1],
  ["a call was quicker", [leaving], ["keys"], 2],
  ["sessions are to be refreshed", [], [], 2, { autoRefresh: true }],
  ["sessions are to be refreshed, and the signer is closed meanwhile", [], ["close"], 1, { autoRefresh: true }],
  ["sessions are to be refreshed, and a call was quicker", [], ["keys"], 2, { autoRefresh: true }],
]) {
  test(`a worker that dies has ${want === 2 ? "another" : "no other"} in its place after a second: ${name}`, async () => {
    const signer = await create(options);
    for (const event of events) page.worker.asks.onEvent(event);
    await idle();
    await kill();
    assert.equal(page.workers.length, 1);
    for (const method of others) signer[method]();
    mock.timers.tick(999);
    assert.equal(page.workers.length, others.includes("keys") ? 2 : 1);
    mock.timers.tick(1);
    await idle();
    assert.equal(page.workers.length, want);
    signer.close();
  });
}

test("workers that die one after the other are replaced later each time, as long as nothing is heard of them", async () => {
  const signer = await create({ autoRefresh: true });
  for (const pauseMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const { length } = page.workers;
    await kill();
    mock.timers.tick(pauseMs - 1);
    assert.equal(page.workers.length, length, `${pauseMs}`);
    mock.timers.tick(1);
    await idle();
    assert.equal(page.workers.length, length + 1, `${pauseMs}`);
  }
  page.worker.asks.onEvent({ ...leaving, type: "refreshed" });
  await idle();
  await kill();
  mock.timers.tick(1000);
  await idle();
  assert.equal(page.worker.started.custody.autoRefresh, true);
  assert.equal(page.workers.length, 9);
  signer.close();
});

test("a worker that cannot be put in the place of another is nobody's uncaught error", async () => {
  const signer = await create();
  page.worker.asks.onEvent(leaving);
  await idle();
  await kill();
  page.onWorker = () => {
    throw new DOMException("refused", "SecurityError");
  };
  mock.timers.tick(1000); // which throws what the timer throws
  await idle();
  page.onWorker = () => {};
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  signer.close();
});

/** A localStorage, whose own properties are what is in it. */
function setStorage() {
  const store = {};
  const methods = { setItem: (name, value) => (store[name] = value), removeItem: (name) => delete store[name] };
  for (const [name, value] of Object.entries(methods)) Object.defineProperty(store, name, { value });
  page.set({ localStorage: store });
  return store;
}

test("a sign-out is noted before the worker hears of it, and the next page hands the note to its worker", async () => {
  const store = setStorage();
  for (const signOut of [(signer) => signer.signOut(key), (signer) => signer.revokeSession(undefined, { key })]) {
    page.answers = { ...page.answers, signOut: never, revokeSession: never };
    const signer = await create({ namespace: "app" });
    void outcome(signOut(signer));
    assert.deepEqual(Object.keys(store), ["gridsigner/leave/app/key-1"]); // in the same task
    const next = await create({ namespace: "app" });
    assert.deepEqual(page.worker.started.custody.leave, ["key-1"]);
    const elsewhere = await create();
    assert.deepEqual(page.worker.started.custody.leave, []); // another namespace's is none of ours
    for (const open of [signer, next, elsewhere]) open.close();
    await idle();
    assert.equal(Object.keys(store).length, 1); // whether it was written down nobody knows

    page.answers = { ...page.answers, signOut: () => ({}), revokeSession: () => ({}) };
    const last = await create({ namespace: "app" });
    await signOut(last);
    assert.deepEqual(Object.keys(store), []);
    last.close();
  }
});

test("what is said of a key meanwhile does not undo the note of its sign-out, until that is written down", async () => {
  const store = setStorage();
  page.answers = { ...page.answers, signOut: never };
  const signer = await create();
  void outcome(signer.signOut(key));
  for (const [type, left] of [["started", 1], ["expiring", 1], ["refreshed", 1], ["leaving", 0]]) {
    page.worker.asks.onEvent({ key: key.id, session: {}, type });
    await idle();
    assert.equal(Object.keys(store).length, left, type);
  }
  signer.close();
});

test("what is said of another session does not undo the note of a sign-out", async () => {
  const store = setStorage();
  page.answers = { ...page.answers, signOut: never, revokeSession: () => Promise.reject(new GridSignerError("ARGUMENT_INVALID", "no id")) };
  const signer = await create();
  void outcome(signer.signOut(key));
  assert.equal((await outcome(signer.revokeSession("none", { key }))).code, "ARGUMENT_INVALID");
  assert.deepEqual(Object.keys(store), ["gridsigner/leave//key-1"]);
  signer.close();
});

test("a sign-out that is written down is pending, though no other worker can be had, and one is tried for again and again", async () => {
  page.answers = { ...page.answers, signOut: never, revokeSession: never };
  const signer = await create({ timeoutMs: 60_000 });
  const binding = { id: session, accountId: account, expiresAt };
  const calls = [
    signer.signOut(key, { timeoutMs: 60_000 }),
    signer.revokeSession(session, { key }),
    signer.revokeSession(session.replace("3", "4"), { key }), // another's is not written down
  ].map(outcome);
  await idle();
  page.worker.asks.onEvent({ key: key.id, session: binding, type: "leaving" });
  await idle();
  page.load = () => Promise.reject(new GridSignerError("LOAD_FAILED", "no network", { retryable: true }));
  await page.kill();
  await idle();
  const [mine, named, other] = await Promise.all(calls);
  for (const { value } of [mine, named]) {
    assert.deepEqual([value.status, value.sessionExpiresAt, value.error.code], ["pending", expiresAt, "LOAD_FAILED"]);
  }
  assert.equal(other.code, "LOAD_FAILED");

  const tried = page.workers.length;
  for (const ms of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    mock.timers.tick(ms);
    await idle();
  }
  const made = page.workers.length - tried;
  assert.ok(made >= 5 && made <= 9, `${made} more workers`);
  page.load = (service) => service;
  mock.timers.tick(30_000);
  await idle();
  assert.equal((await outcome(signer.keys())).code, undefined);
  signer.close();
});
