// What crosses between page and module, and what does not.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError, toWire } from "../.tsc/src/errors.js";
import { methods } from "../.tsc/src/rpc.js";
import { serve } from "../.tsc/src/serve.js";
import { idle, join, joinReady, Locks, makeService, never, outcome, pair, patient, pollute, setLocks, stopTime } from "./ports.js";

let reported;
beforeEach(() => {
  stopTime();
  reported = [];
  globalThis.reportError = (error) => reported.push(error);
});
afterEach(() => mock.timers.reset());

test("each method is called with what the page gave it, and its result comes back", async () => {
  const answers = Object.fromEntries(methods.map((method) => [method, (...args) => ({ method, first: args[0] })]));
  const { client, service } = await joinReady({ answers });
  for (const method of methods) {
    assert.deepEqual(await client.call(method, [`to ${method}`], patient), { method, first: `to ${method}` });
  }
  assert.deepEqual(service.asked.map(({ method }) => method), [...methods]);
});

test("calls under way at once each get their own answer, in whatever order", async () => {
  const answer = {};
  const { client } = await joinReady({ answers: { removeKey: (id) => new Promise((resolve) => (answer[id] = resolve)) } });
  const pending = ["a", "b", "c"].map((id) => client.call("removeKey", [id], patient));
  await idle();
  for (const id of ["c", "a", "b"]) answer[id](`of ${id}`);
  assert.deepEqual(await Promise.all(pending), ["of a", "of b", "of c"]);
});

test("the module is told how to start, and its custody what the page gave it", async () => {
  const { start } = await joinReady();
  const custody = { bridgeUrl: "/api/grid" };
  assert.deepEqual(start, { wasmUrl: "https://app.example/signer.wasm", alive: undefined, custody, progress: false });
});

/** All that an error may know, but its cause. */
const details = { retryable: true, status: 503, upstreamCode: "BUSY", requestId: "Request:1", skewMs: 7, retryAfterMs: 8 };

test("an error crosses with its own fields and no other", async () => {
  const thrown = Object.assign(new GridSignerError("UPSTREAM_REFUSED", "no", { ...details, cause: "hidden" }), { payload: "hidden" });
  const { client, module } = await joinReady({ answers: { keys: () => Promise.reject(thrown) } });
  const got = await outcome(client.call("keys", [], patient));
  assert.deepEqual({ ...got }, { name: "GridSignerError", code: "UPSTREAM_REFUSED", ...details });
  assert.equal(got.message, "no");
  assert.ok(got instanceof Error);
  assert.doesNotMatch(JSON.stringify(module.posted), /hidden/);
});

test("details that an error does not have are not made up, whatever a page has done to Object.prototype", async (t) => {
  const { client, service, page } = await joinReady({ answers: { keys: () => Promise.reject(new GridSignerError("KEY_LOST", "gone")) } });
  const clean = pollute(t, { ...details, cause: "polluted", signal: 1, onProgress: 1, transfer: 1 });
  const thrown = new GridSignerError("KEY_LOST", "gone");
  const got = await outcome(client.call("keys", [], patient));
  const json = [thrown, got].map((error) => JSON.stringify(error));
  clean();
  for (const error of [thrown, got]) {
    assert.deepEqual({ ...error }, { name: "GridSignerError", code: "KEY_LOST", retryable: false });
    assert.equal("cause" in error, false);
  }
  assert.deepEqual(json, Array(2).fill('{"name":"GridSignerError","code":"KEY_LOST","message":"gone","retryable":false}'));
  assert.deepEqual([service.asked, page.calls[0].progress], [[{ method: "keys", args: [] }], false]);
});

test("as JSON an error has all that it knows but its cause", () => {
  const error = new GridSignerError("UPSTREAM_REFUSED", "no", { ...details, cause: new Error("hidden") });
  assert.deepEqual(JSON.parse(JSON.stringify({ error })), {
    error: { name: "GridSignerError", code: "UPSTREAM_REFUSED", message: "no", ...details },
  });
  const bare = new GridSignerError("CLOSED", "closed", { status: undefined });
  assert.deepEqual(Object.keys(bare.toJSON()), ["name", "code", "message", "retryable"]);
  assert.equal("cause" in bare, false);
  assert.equal("cause" in new GridSignerError("ABORTED", "no", { cause: undefined }), true, "a signal's reason may be anything");
});

for (const [name, thrown] of Object.entries({
  "an error of another kind": new TypeError("the key 5a5a"),
  "a string": "the key 5a5a",
  "nothing": null,
  "a look-alike": { name: "GridSignerError", code: "KEY_LOST", message: "the key 5a5a" },
})) {
  test(`${name} is INTERNAL, and nothing of its text crosses`, async () => {
    const { client, module } = await joinReady({ answers: { keys: () => Promise.reject(thrown) } });
    const { code, message, retryable } = await outcome(client.call("keys", [], patient));
    assert.deepEqual([code, message, retryable], ["INTERNAL", "internal error", false]);
    assert.doesNotMatch(JSON.stringify(module.posted), /5a5a/);
  });
}

test("a method that throws at once, and a result that cannot be copied, are INTERNAL", async () => {
  const { client, service } = await joinReady({ answers: { keys: () => () => {} } });
  assert.equal((await outcome(client.call("keys", [], patient))).code, "INTERNAL");
  service.methods.removeKey = () => {
    throw new Error("at once");
  };
  assert.equal((await outcome(client.call("removeKey", ["id"], patient))).code, "INTERNAL");
});

test("progress is told to the call that asked for it, in order, until the call is over", async () => {
  let late;
  const { client, module } = await joinReady({
    answers: {
      async revokeSession(id, { onProgress }) {
        late = onProgress;
        for (const step of ["request", "response"]) onProgress?.({ step, of: id });
        return id;
      },
    },
  });
  const events = { a: [], b: [] };
  const revoke = (id, onProgress) => client.call("revokeSession", [id, {}], { ...patient, onProgress });
  await Promise.all([revoke("a", (event) => events.a.push(event)), revoke("b", (event) => events.b.push(event))]);
  late({ step: "signed" });
  await idle();
  assert.deepEqual(events, {
    a: [{ step: "request", of: "a" }, { step: "response", of: "a" }],
    b: [{ step: "request", of: "b" }, { step: "response", of: "b" }],
  });
  const before = module.posted.length;
  await revoke("c");
  assert.equal(late, undefined, "nobody asked");
  assert.deepEqual(module.types.slice(before), ["result"]);
});

test("a listener that throws is reported, and changes nothing", async () => {
  const listener = (what) => () => {
    throw new Error(what);
  };
  const { client, onProgress } = await joinReady({
    answers: { revokeSession: (_, { onProgress }) => (onProgress({}), "revoked") },
    onLoad: listener("load"),
  });
  onProgress({ phase: "download" });
  assert.equal(await client.call("revokeSession", ["id", {}], { ...patient, onProgress: listener("progress") }), "revoked");
  assert.deepEqual(reported.map(({ message }) => message), ["load", "progress"]);
});

test("the page hears of sessions, and of loading if it wants to", async () => {
  const heard = [];
  const onLoad = (event) => heard.push(["load", event]);
  const { asks, onProgress } = await joinReady({ onLoad, onSession: (event) => heard.push(["session", event]) });
  onProgress({ phase: "ready" });
  asks.onEvent({ type: "leaving" });
  await idle();
  assert.deepEqual(heard, [["load", { phase: "ready" }], ["session", { type: "leaving" }]]);
  assert.equal((await joinReady()).onProgress, undefined, "nobody wants to hear how loading goes");
});

/** A module whose calls need headers, which they return, and what its page does for them. */
async function joinAsking(headers) {
  const answers = { listSessions: (_, { signal }) => joined.asks.headers(signal) };
  const joined = await joinReady({ headers, answers });
  return joined;
}
const list = (client, settings) => client.call("listSessions", ["account", {}], { ...patient, ...settings });

test("headers are asked for by the module when it wants them, and each answer is of its own question", async () => {
  const answers = [];
  const { client, page, module } = await joinAsking(() => new Promise((resolve) => answers.push(resolve)));
  await idle();
  assert.deepEqual(answers, [], "nobody needs them yet");
  const pending = [list(client), list(client)];
  await idle();
  answers[1]({ a: "2" });
  answers[0]({ a: "1" });
  assert.deepEqual(await Promise.all(pending), [{ a: "1" }, { a: "2" }]);
  const again = list(client);
  await idle();
  answers[2]({ a: "3" });
  assert.deepEqual(await again, { a: "3" });
  const ids = (port, wanted) => port.posted.filter((_, i) => port.types[i] === wanted).map(({ id }) => id);
  assert.deepEqual(["call", "abort"].map((type) => module.posted.filter((message) => message.type === type).length), [3, 0]);
  assert.deepEqual(ids(page, "headers"), [1, 0, 2]);
});

test("headers that are not to be had are HEADERS_FAILED, with the cause, which does not cross", async (t) => {
  const cause = new Error("no token");
  const { client, page } = await joinAsking(() => Promise.reject(cause));
  const clean = pollute(t, { headers: { polluted: "yes" } });
  const got = await outcome(list(client));
  clean();
  assert.deepEqual([got.code, got.retryable, got.cause], ["HEADERS_FAILED", true, cause]);
  const error = { code: "HEADERS_FAILED", message: "the headers function failed", retryable: true };
  assert.deepEqual(page.posted.at(-1), { type: "error", id: 0, error });
});

for (const [name, end] of [
  ["is aborted", ({ controller }) => controller.abort()],
  ["is late", () => mock.timers.tick(3000)],
  ["ends with its module", ({ service }) => service.stop()],
  ["ends with the signer", ({ client }) => client.close()],
]) {
  test(`whoever fetches headers is told when the call ${name}, and what is fetched then is nobody's`, async () => {
    let signal, come;
    const joined = await joinAsking((given) => ((signal = given), new Promise((resolve) => (come = resolve))));
    joined.controller = new AbortController();
    const pending = outcome(list(joined.client, { signal: joined.controller.signal }));
    await idle();
    assert.equal(signal.aborted, false);
    end(joined);
    await idle();
    assert.equal(signal.aborted, true);
    assert.ok((await pending).code);
    come({ a: "late" });
    await idle();
    if (joined.stopped === 0) assert.equal(await joined.client.call("keys", [], patient), undefined, "the module lives on");
  });
}

const inherited = ["constructor", "__proto__", "toString", "hasOwnProperty"];
for (const method of [...inherited, "close", "lendKey", "revokeOtherSessions", "nonsense", "", undefined, 0, ["keys"]]) {
  test(`the method ${JSON.stringify(method)} is looked up nowhere, and ends the module`, async () => {
    const [page, module] = pair();
    const looked = [];
    const service = makeService();
    service.methods = new Proxy(service.methods, { get: (target, name) => (looked.push(name), target[name]) });
    serve(module, async () => service);
    page.start();
    page.postMessage({ type: "call", id: 0, method: "start", args: [{}], progress: true });
    await idle();
    page.postMessage({ type: "call", id: 1, method, args: [], progress: false });
    await idle();
    assert.deepEqual(looked, []);
    assert.equal(service.closed, 1);
    const error = { code: "WORKER_FAILED", message: "the signer stopped: an unknown method was called", retryable: true };
    assert.deepEqual(module.posted.slice(1), [{ type: "error", id: 0, error }]);
    page.postMessage({ type: "call", id: 2, method: "keys", args: [], progress: false });
    await idle();
    assert.deepEqual(looked, [], "it answers nothing any more");
  });
}

test("buffers move to the module and leave none of their bytes on the page", async () => {
  const { client, service } = await joinReady();
  const privateKey = new Uint8Array(32).fill(7);
  await client.call("importKey", [{ privateKey }, {}], patient, [privateKey.buffer]);
  assert.equal(privateKey.length, 0);
  assert.deepEqual(service.asked[0].args[0].privateKey, new Uint8Array(32).fill(7));
});

test("arguments that cannot be sent are ARGUMENT_INVALID, and the client lives on", async () => {
  const { client, page } = await joinReady();
  const got = await outcome(client.call("removeKey", [() => {}], patient));
  assert.equal(got.code, "ARGUMENT_INVALID");
  assert.equal(got.cause.name, "DataCloneError");
  mock.timers.tick(10_000);
  assert.deepEqual(page.types, ["start"], "no deadline is left of it");
  assert.equal(await client.call("keys", [], patient), undefined);
});

test("a call without options is one, with options, which come last, it gets a signal of the module's own", async () => {
  const { client, service } = await joinReady();
  for (const args of [[], ["id"], ["id", null], ["id", {}], [{}]]) await client.call("removeKey", args, patient);
  const [none, one, empty, [, second], [first]] = service.asked.map(({ args }) => args);
  assert.deepEqual([none, one, empty], [[], ["id"], ["id", null]]);
  for (const options of [first, second]) {
    assert.deepEqual(Object.keys(options), ["signal"]);
    assert.ok(options.signal instanceof AbortSignal && !options.signal.aborted);
  }
});

test("a crash is told once, and not as one call's error", async () => {
  const crash = new GridSignerError("WORKER_FAILED", "the module crashed", { retryable: true });
  const { client, module, service } = await joinReady({ answers: { keys: () => Promise.reject(crash), removeKey: never } });
  const pending = ["keys", "removeKey"].map((method) => outcome(client.call(method, [], patient)));
  await idle();
  assert.deepEqual(module.types, ["ready"]);
  service.stop();
  const got = await Promise.all(pending);
  assert.deepEqual(got.map(({ code }) => code), ["WORKER_FAILED", "WORKER_FAILED"]);
  assert.deepEqual(module.types, ["ready", "failed"]);
});

test("the lock that says that the thread lives is held where it can be, and is asked for once", async () => {
  const asked = [];
  const locks = new Locks();
  const noting = { request: (name, ...rest) => (asked.push(name), locks.request(name, ...rest)) };
  const denying = { request: () => Promise.reject(new DOMException("denied", "SecurityError")) };
  for (const [held, alive] of [[noting, "gridsigner/1"], [denying, "gridsigner/1"], [undefined, "gridsigner/1"], [noting, undefined]]) {
    setLocks(held);
    await join({ alive }).client.ready;
  }
  await idle();
  assert.deepEqual(asked, ["gridsigner/1"]);
  assert.deepEqual(locks.sizes, [1], "and is not let go of");
});

test("the module is ready only once the lock is held", async () => {
  const locks = new Locks();
  setLocks(locks);
  locks.request("gridsigner/1", never).catch(() => {}); // which loses it
  const { module } = join({ alive: "gridsigner/1" });
  await idle();
  assert.deepEqual(module.types, []);
  locks.release("gridsigner/1");
  await idle();
  assert.deepEqual(module.posted, [{ type: "event", id: 0, event: { type: "ready" } }]);
});

for (const [name, makeEnds] of Object.entries({
  "the ports of these tests": () => pair(),
  "a MessageChannel": () => {
    const { port1, port2 } = new MessageChannel();
    return [port1, port2];
  },
})) {
  test(`${name}: a call there and back, its progress, an error, a buffer that moves, a function that cannot`, async (t) => {
    const ends = makeEnds();
    t.after(() => ends.forEach((end) => end.close())); // an open MessagePort keeps Node alive
    const { client, service } = await joinReady({
      ends,
      answers: {
        importKey: ({ privateKey }, { onProgress }) => (onProgress({ bytes: privateKey.length }), [...privateKey]),
        removeKey: () => Promise.reject(new GridSignerError("KEY_LOST", "gone", { requestId: "Request:1" })),
      },
    });
    const privateKey = Uint8Array.of(1, 2, 3);
    const events = [];
    const settings = { ...patient, onProgress: (event) => events.push(event) };
    assert.deepEqual(await client.call("importKey", [{ privateKey }, {}], settings, [privateKey.buffer]), [1, 2, 3]);
    assert.equal(privateKey.length, 0);
    assert.deepEqual(events, [{ bytes: 3 }]);
    const lost = await outcome(client.call("removeKey", ["id"], patient));
    assert.deepEqual(toWire(lost), { code: "KEY_LOST", message: "gone", retryable: false, requestId: "Request:1" });
    assert.equal((await outcome(client.call("keys", [() => {}], patient))).code, "ARGUMENT_INVALID");
    assert.equal(service.asked.length, 2);
  });
}
