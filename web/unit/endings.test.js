// How a module ends: closed, failed, crashed, or never born. What is pending then,
// what comes later, and that its keys are wiped once.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/errors.js";
import { idle, join, joinReady, never, outcome, patient, stopTime } from "./ports.js";

beforeEach(stopTime);
afterEach(() => mock.timers.reset());

const keys = (client) => outcome(client.call("keys", [], patient));
const codes = async (...outcomes) => (await Promise.all(outcomes)).map(({ code }) => code);

test("close ends what is pending and what comes later, and wipes the keys once", async () => {
  let signal;
  const joined = await joinReady({ answers: { listSessions: (_, options) => (({ signal } = options), never()) } });
  const { client, service, page, module } = joined;
  const pending = [outcome(client.call("listSessions", ["account", {}], patient)), keys(client)];
  await idle();
  client.close();
  client.close();
  assert.deepEqual(await codes(pending[0], keys(client), outcome(client.ready)), ["CLOSED", "CLOSED", undefined]);
  await idle();
  assert.deepEqual([service.closed, joined.stopped, client.dead], [1, 1, false]);
  assert.equal(signal.aborted, true, "the module stops what it was doing");
  assert.deepEqual(page.types, ["start", "call", "call", "close"]);
  mock.timers.tick(60_000);
  assert.equal(page.posted.length, 4, "no deadline is left");
  assert.deepEqual(module.types.filter((type) => type === "failed"), []);
});

test("a call that is made in the same moment as close reaches nothing", async () => {
  const { client, service } = await joinReady();
  const pending = keys(client);
  client.close();
  assert.equal((await pending).code, "CLOSED");
  await idle();
  assert.deepEqual(service.asked, []);
});

test("CLOSED is an error for nobody to retry", async () => {
  const { client } = await joinReady();
  client.close();
  const { message, retryable } = await keys(client);
  assert.deepEqual([message, retryable], ["the signer was closed", false]);
});

test("close while the module is loading: nobody is told that it is ready, and it is closed as soon as it is there", async () => {
  let come;
  const joined = join({ load: (service) => new Promise((resolve) => (come = () => resolve(service))) });
  const { client, service, module } = joined;
  const pending = [outcome(client.ready), keys(client)];
  await idle();
  client.close();
  assert.deepEqual(await codes(...pending), ["CLOSED", "CLOSED"]);
  assert.equal(service.closed, 0);
  come();
  await idle();
  assert.deepEqual([service.closed, joined.stopped, module.types], [1, 1, ["closed"]]);
});

test("a signer that has failed can be closed: CLOSED from then on, and no other is needed", async () => {
  const joined = await joinReady();
  const { client } = joined;
  client.fail("its worker was ended");
  assert.equal((await keys(client)).code, "WORKER_FAILED");
  assert.equal(client.dead, true);
  client.close();
  assert.equal((await keys(client)).code, "CLOSED");
  assert.deepEqual([client.dead, joined.stopped], [false, 1]);
});

test("a closed signer cannot fail", async () => {
  const { client } = await joinReady();
  client.close();
  client.fail("its worker was ended");
  assert.equal((await keys(client)).code, "CLOSED");
  assert.equal(client.dead, false);
});

test("failing before it is ready is LOAD_FAILED, afterwards WORKER_FAILED, and by policy CSP_BLOCKED", async () => {
  const loading = () => join({ load: never });
  for (const [makeJoined, code, want, retryable, message] of [
    [loading, undefined, "LOAD_FAILED", true, "the signer did not start: so it is"],
    [joinReady, undefined, "WORKER_FAILED", true, "the signer stopped: so it is"],
    [loading, "CSP_BLOCKED", "CSP_BLOCKED", false, "the signer did not start: so it is"],
  ]) {
    const joined = await makeJoined();
    const { client, page } = joined;
    const pending = keys(client);
    client.fail("so it is", code);
    for (const error of [await pending, await keys(client)]) {
      assert.deepEqual([error.code, error.retryable, error.message], [want, retryable, message]);
    }
    assert.deepEqual([client.dead, joined.stopped, page.types.at(-1)], [true, 1, "close"]);
  }
});

test("only the first failure counts, and nothing that comes later is heard", async () => {
  const heard = [];
  const joined = join({ load: never, onLoad: () => heard.push("load"), onSession: () => heard.push("session") });
  const { client, module } = joined;
  client.fail("first", "CSP_BLOCKED");
  client.fail("second");
  for (const event of [{ type: "ready" }, { type: "session", event: {} }, { type: "load", progress: {} }]) {
    module.postMessage({ type: "event", id: 0, event });
  }
  module.postMessage({ type: "error", id: 0, error: { code: "INTERNAL", message: "third", retryable: false } });
  await idle();
  assert.match((await outcome(client.ready)).message, /first/);
  assert.match((await keys(client)).message, /first/);
  assert.deepEqual([heard, joined.stopped], [[], 1]);
});

test("what goes wrong in loading arrives by code", async () => {
  const coded = new GridSignerError("LOAD_FAILED", "signer.wasm answered 503", { retryable: true });
  for (const [thrown, want] of [
    [coded, ["LOAD_FAILED", "signer.wasm answered 503", true]],
    [new Error("5a5a"), ["INTERNAL", "internal error", false]],
  ]) {
    const joined = join({ load: () => Promise.reject(thrown) });
    const { client, module } = joined;
    for (const error of [await outcome(client.ready), await keys(client)]) {
      assert.deepEqual([error.code, error.message, error.retryable], want);
    }
    assert.deepEqual([client.dead, joined.stopped, module.types], [true, 1, ["failed"]]);
  }
});

test("a module that stops fails what is pending, stops what it was doing, and is wiped", async () => {
  let signal;
  const joined = await joinReady({ answers: { listSessions: (_, options) => (({ signal } = options), never()) } });
  const { client, service } = joined;
  const pending = outcome(client.call("listSessions", ["account", {}], patient));
  await idle();
  service.stop();
  const { code, message, retryable } = await pending;
  assert.deepEqual([code, message, retryable], ["WORKER_FAILED", "the signer stopped: the module exited or crashed", true]);
  assert.equal(signal.aborted, true);
  assert.deepEqual([service.closed, joined.stopped, client.dead], [1, 1, true]);
  assert.equal((await keys(client)).code, "WORKER_FAILED");
});

test("a module that crashed may fail to be wiped", async () => {
  const { client, service } = await joinReady();
  service.close = () => Promise.reject(new Error("unreachable")); // unhandled, it would fail this test
  service.stop();
  await idle();
  assert.equal((await keys(client)).code, "WORKER_FAILED");
});

test("a message that cannot be read ends the module, on either side", async () => {
  for (const [end, reason] of [["page", "an answer"], ["module", "a call"]]) {
    const joined = await joinReady({ answers: { keys: never } });
    const pending = keys(joined.client);
    await idle();
    joined[end].dispatchEvent(new MessageEvent("messageerror"));
    const { code, message, retryable } = await pending;
    assert.deepEqual([code, message, retryable], ["WORKER_FAILED", `the signer stopped: ${reason} could not be read`, true]);
    await idle();
    assert.deepEqual([joined.stopped, joined.service.closed], [1, 1]);
  }
});

test("ready that nobody waits for is no unhandled rejection", async () => {
  const joined = join({ load: never });
  joined.client.fail("nobody cares");
  await idle(); // node:test fails a test that leaves one
  assert.equal(joined.client.dead, true);
});

test("the page is told of a death, once, also before the birth, and not of an end that it wanted", async () => {
  let deaths = 0;
  const onDeath = () => deaths++;
  const living = await joinReady({ onDeath });
  living.client.fail("first");
  living.client.fail("second");
  living.client.close();
  assert.equal(deaths, 1);
  const unborn = join({ onDeath, load: never });
  unborn.client.fail("first");
  assert.equal(deaths, 2);
  const closed = await joinReady({ onDeath });
  closed.client.close();
  closed.client.fail("later");
  assert.equal(deaths, 2);
});
