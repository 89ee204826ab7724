// What becomes of a call that takes too long, or that its caller gives up: on the
// page, in the module, and of the module itself if it no longer answers.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/errors.js";
import { idle, join, joinReady, never, outcome, patient, stopTime } from "./ports.js";

const { timeoutMs } = patient;
/** How long after its deadline a call is overtaken by the page, and how long a ping may go unanswered. */
const graceMs = 2000;

beforeEach(stopTime);
afterEach(() => mock.timers.reset());

/** Lets time pass once all has happened that needs none, and then what comes of it happen. */
async function pass(ms) {
  await idle();
  mock.timers.tick(ms);
  await idle();
}

/** A client of a module that takes calls and answers none of them, and the signals that it has for them. */
async function joinSilent(settings) {
  const signals = [];
  const wait = (_, { signal }) => (signals.push(signal), never());
  return Object.assign(await joinReady({ ...settings, answers: { listSessions: wait, ...settings?.answers } }), { signals });
}

/** Ends the module's side of the channel: it hears and says nothing any more. */
const hang = ({ page }) => (page.peer = undefined);

const list = (client, settings) => outcome(client.call("listSessions", ["account", {}], { ...patient, ...settings }));

test("a call without an answer is TIMEOUT two seconds after its deadline, and the module is told to stop", async () => {
  const { client, page, signals } = await joinSilent();
  let got;
  const pending = list(client).then((error) => (got = error));
  await pass(timeoutMs + graceMs - 1);
  assert.equal(got, undefined, "the module may still say so itself");
  assert.equal(signals[0].aborted, false);
  await pass(1);
  await pending;
  assert.deepEqual([got.code, got.retryable, got.message], ["TIMEOUT", true, "listSessions: no answer within 1000 ms"]);
  assert.equal(signals[0].aborted, true);
  assert.deepEqual(page.types, ["start", "call", "abort", "ping"]);
  assert.equal(page.posted[2].id, page.posted[1].id);
});

test("an answer in the two seconds after the deadline is the answer", async () => {
  const { client } = await joinReady({
    answers: { listSessions: () => new Promise((resolve) => setTimeout(resolve, timeoutMs + graceMs - 1, "late")) },
  });
  const pending = list(client);
  await pass(timeoutMs + graceMs - 1);
  assert.deepEqual(await pending, { value: "late" });
});

test("an answer after that is nobody's, and its number is not used again", async () => {
  let answer;
  const { client, page, module } = await joinReady({
    answers: { listSessions: () => new Promise((resolve) => (answer = resolve)), keys: () => ["a"] },
  });
  const pending = list(client);
  await pass(timeoutMs + graceMs);
  assert.equal((await pending).code, "TIMEOUT");
  const next = client.call("keys", [], patient);
  answer("late");
  assert.deepEqual(await next, ["a"]);
  assert.deepEqual(module.types, ["ready", "pong", "result", "result"]);
  const [first, second] = page.calls;
  assert.notEqual(first.id, second.id);
});

test("nothing is left of a call that was answered", async () => {
  const { client, page } = await joinReady();
  await list(client);
  await pass(60_000);
  assert.deepEqual(page.types, ["start", "call"]);
  assert.equal(client.dead, false);
});

test("a module that answers the ping is kept", async () => {
  const { client, module } = await joinSilent();
  const pending = list(client);
  await pass(timeoutMs + graceMs);
  assert.equal((await pending).code, "TIMEOUT");
  await pass(60_000);
  assert.deepEqual(module.types, ["ready", "pong"]);
  assert.equal(client.dead, false);
  assert.deepEqual(await outcome(client.call("keys", [], patient)), { value: undefined });
});

test("whatever it says shows that it lives", async () => {
  const joined = await joinSilent();
  const { client, module, page } = joined;
  const pending = list(client);
  hang(joined);
  await pass(timeoutMs + graceMs);
  assert.equal((await pending).code, "TIMEOUT");
  assert.equal(page.types.at(-1), "ping");
  module.postMessage({ type: "event", id: 0, event: { type: "session", event: {} } });
  await pass(60_000);
  assert.equal(client.dead, false);
});

test("a module that does not answer the ping for two seconds has failed, and all that is pending with it", async () => {
  const joined = await joinSilent();
  const { client } = joined;
  const late = list(client);
  const pending = list(client, { timeoutMs: 60_000 });
  hang(joined);
  await pass(timeoutMs + graceMs);
  assert.equal((await late).code, "TIMEOUT");
  await pass(graceMs - 1);
  assert.deepEqual([client.dead, joined.stopped], [false, 0]);
  await pass(1);
  const { code, retryable, message } = await pending;
  assert.deepEqual([code, retryable, message], ["WORKER_FAILED", true, "the signer stopped: it no longer answers"]);
  assert.deepEqual([client.dead, joined.stopped], [true, 1]);
  assert.equal((await list(client)).code, "WORKER_FAILED");
  await pass(120_000);
  assert.equal(joined.stopped, 1);
});

/** A call that cannot be sent yet: the module is loading, until `come`. */
async function joinLoading(settings) {
  let come;
  const joined = join({ load: (service) => new Promise((resolve) => (come = () => resolve(service))) });
  const pending = list(joined.client, settings);
  await idle();
  return { joined, come, pending };
}

test("a deadline while the module is loading: TIMEOUT, and it is never sent, nor is the module suspected", async () => {
  const { joined, come, pending } = await joinLoading();
  await pass(timeoutMs + graceMs);
  const { code, retryable } = await pending;
  assert.deepEqual([code, retryable], ["TIMEOUT", true]);
  come();
  await pass(60_000);
  assert.deepEqual(joined.service.asked, []);
  assert.deepEqual(joined.page.types, ["start"]);
  assert.deepEqual([joined.client.dead, joined.module.types], [false, ["ready"]]);
});

test("a signal while the module is loading: ABORTED at once, and it is never sent", async () => {
  const controller = new AbortController();
  const { joined, come, pending } = await joinLoading({ signal: controller.signal });
  controller.abort("no more");
  const { code, cause } = await pending;
  assert.deepEqual([code, cause], ["ABORTED", "no more"]);
  come();
  await pass(60_000);
  assert.deepEqual([joined.service.asked, joined.page.calls], [[], []]);
});

test("what can be sent at last is sent, and has what is left of its time", async () => {
  const { joined, come, pending } = await joinLoading();
  joined.service.methods.listSessions = never;
  await pass(timeoutMs + graceMs - 1);
  come();
  await idle();
  assert.equal(joined.page.calls.length, 1);
  await pass(1);
  assert.equal((await pending).code, "TIMEOUT");
});

test("a signal that is aborted already: nothing is sent", async () => {
  const { client, page } = await joinReady();
  const signal = AbortSignal.abort("no more");
  const { code, cause } = await list(client, { signal });
  assert.deepEqual([code, cause], ["ABORTED", "no more"]);
  assert.equal(getEventListeners(signal, "abort").length, 0);
  await pass(60_000);
  assert.deepEqual(page.types, ["start"]);
});

test("a signal during a call: ABORTED at once, the module's own signal is aborted, a late result ignored", async () => {
  let answer, inModule;
  const { client, page } = await joinReady({
    answers: { listSessions: (_, { signal }) => ((inModule = signal), new Promise((resolve) => (answer = resolve))) },
  });
  const controller = new AbortController();
  const pending = list(client, { signal: controller.signal });
  const other = list(client);
  await idle();
  controller.abort("no more");
  const { code, cause, retryable } = await pending;
  assert.deepEqual([code, cause, retryable], ["ABORTED", "no more", false]);
  answer("the other's");
  assert.deepEqual(await other, { value: "the other's" });
  assert.deepEqual(page.types, ["start", "call", "call", "abort"]);
  assert.equal(page.posted[3].id, page.calls[0].id);
  assert.equal(inModule.aborted, false, "of the other call");
});

test("the module's signal is of that call alone", async () => {
  const { client, signals } = await joinSilent();
  const controllers = [new AbortController(), new AbortController()];
  const pending = controllers.map(({ signal }) => list(client, { signal }));
  await idle();
  controllers[1].abort();
  await idle();
  assert.deepEqual(signals.map(({ aborted }) => aborted), [false, true]);
  client.close();
  assert.deepEqual((await Promise.all(pending)).map(({ code }) => code), ["CLOSED", "ABORTED"]);
});

test("a signal's own methods may be hostile: they are not what is used", async () => {
  const { client, page } = await joinSilent();
  const controller = new AbortController();
  const { signal } = controller;
  const hostile = () => {
    throw new Error("hostile");
  };
  for (const name of ["addEventListener", "removeEventListener"]) signal[name] = hostile;
  for (const name of ["aborted", "reason"]) Object.defineProperty(signal, name, { get: hostile });
  const pending = list(client, { signal });
  await idle();
  assert.equal(page.calls.length, 1);
  controller.abort("no more");
  const { code, cause } = await pending;
  assert.deepEqual([code, cause], ["ABORTED", "no more"]);
  assert.equal((await list(client, { signal })).code, "ABORTED", "before the call as well");
});

test("no listener is left on a signal, however a call ends, and aborting it later does nothing", async () => {
  const failing = () => Promise.reject(new GridSignerError("KEY_LOST", "gone"));
  const joined = await joinSilent({ answers: { keys: () => [], removeKey: failing } });
  const { client, page } = joined;
  const controller = new AbortController();
  const { signal } = controller;
  const call = (method, args, timeoutMs = 1000) => outcome(client.call(method, args, { ...patient, signal, timeoutMs }));
  const ends = [
    call("keys", []),
    call("removeKey", ["id"]),
    call("removeKey", [() => {}]),
    call("listSessions", ["account", {}]),
    call("listSessions", ["account", {}], 60_000),
  ];
  assert.equal(getEventListeners(signal, "abort").length, 5);
  await pass(timeoutMs + graceMs);
  assert.equal(getEventListeners(signal, "abort").length, 1);
  client.close();
  const codes = (await Promise.all(ends)).map(({ code }) => code);
  assert.equal(getEventListeners(signal, "abort").length, 0);
  assert.deepEqual(codes, [undefined, "KEY_LOST", "ARGUMENT_INVALID", "TIMEOUT", "CLOSED"]);
  const { length } = page.posted;
  controller.abort();
  assert.equal(page.posted.length, length);
});

test("a module of which somebody doubts that it lives is asked: one that answers is kept, another is not", async () => {
  const joined = await joinSilent();
  const { client, page, module } = joined;
  client.askForLife();
  client.askForLife();
  await pass(60_000);
  assert.deepEqual([client.dead, page.types, module.types], [false, ["start", "ping"], ["ready", "pong"]]);
  hang(joined);
  client.askForLife();
  await pass(graceMs - 1);
  assert.equal(client.dead, false);
  client.askForLife(); // which gives it no more time
  await pass(1);
  assert.deepEqual([client.dead, page.types], [true, ["start", "ping", "ping", "close"]]);
  client.askForLife();
  assert.equal(page.types.length, 4, "the dead are not asked");
});

test("a module that hangs is given up, however often it is called meanwhile", async () => {
  const { client, page } = await joinReady();
  hang({ page });
  for (let second = 0; second < 10 && !client.dead; second++) {
    void outcome(client.call("keys", [], patient));
    await pass(1000);
  }
  assert.equal(client.dead, true);
});
