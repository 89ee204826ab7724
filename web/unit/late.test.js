// The module before it is there: who waits for it, how long, and what becomes of
// them where it cannot be had.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/errors.js";
import { late } from "../.tsc/src/module.js";
import { idle, never, outcome, stopTime } from "./ports.js";

beforeEach(stopTime);
afterEach(() => mock.timers.reset());

/** A module that is loaded as the test says: `loads` has how each try ends. */
function make() {
  const asked = [];
  const loads = [];
  const module = { perform: async (...args) => (asked.push(args), "done") };
  let stop;
  const stopped = new Promise((resolve) => (stop = resolve));
  const it = late(() => new Promise((come, fail) => loads.push({ come: () => come({ module, stopped }), fail })));
  return { ...it, asked, loads, stop };
}

test("it is loaded at once, and calls wait until it is there", async () => {
  const { module, loads, asked } = make();
  assert.equal(loads.length, 1);
  const [call, ready] = [outcome(module.perform("list-sessions", { id: "1" })), outcome(module.ready(1000))];
  await idle();
  assert.deepEqual(asked, []);
  loads[0].come();
  assert.deepEqual(await Promise.all([call, ready]), [{ value: "done" }, { value: undefined }]);
  assert.deepEqual(asked, [["list-sessions", { id: "1" }]]);
  assert.deepEqual(await outcome(module.perform()), { value: "done" });
  assert.equal(loads.length, 1, "and once");
});

test("whoever waits for it in time hears TIMEOUT, and it is loaded all the same", async () => {
  const { module, loads } = make();
  const [short, long] = [outcome(module.ready(1000)), outcome(module.ready(5000))];
  mock.timers.tick(1000);
  const { code, retryable } = await short;
  assert.deepEqual([code, retryable, loads.length], ["TIMEOUT", true, 1]);
  loads[0].come();
  assert.deepEqual(await long, { value: undefined });
});

for (const retryable of [true, false]) {
  test(`where it could not be loaded whoever needs it hears why, and ${retryable ? "the next one tries again" : "so does the next one"}`, async () => {
    const { module, loads } = make();
    const waiting = outcome(module.perform());
    loads[0].fail(new GridSignerError("LOAD_FAILED", "it answered 503", { retryable }));
    assert.equal((await waiting).message, "it answered 503");
    const next = outcome(module.ready(1000));
    await idle();
    assert.equal(loads.length, retryable ? 2 : 1);
    loads[1]?.come();
    assert.deepEqual(await next.then(({ code }) => code), retryable ? undefined : "LOAD_FAILED");
  });
}

test("what nobody needed yet may fail", async () => {
  const { loads } = make();
  loads[0].fail(new GridSignerError("LOAD_FAILED", "it answered 503", { retryable: true }));
  await idle(); // or the test runner would tell of a rejection that nobody handles
  assert.equal(loads.length, 1);
});

test("it has stopped when what was loaded has", async () => {
  const { loads, stop, stopped } = make();
  loads[0].come();
  await idle();
  assert.equal(await Promise.race([stopped.then(() => "stopped"), idle()]), undefined);
  stop();
  assert.equal(await Promise.race([stopped.then(() => "stopped"), never()]), "stopped");
});
