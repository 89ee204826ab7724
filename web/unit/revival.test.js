// After a module has died: what is pending, what the next one is told, and that a
// closed signer has no next one.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/index.js";
import { account, create, key, Page } from "./page.js";
import { idle, never, outcome, stopTime } from "./ports.js";

let page;
beforeEach(() => {
  stopTime();
  page = new Page();
});
afterEach(() => {
  page.close();
  mock.timers.reset();
});

/** The browser ends the newest worker. */
async function kill() {
  page.worker.die();
  await idle();
}

test("a worker that ends without a word fails what is pending, and the next call has another", async () => {
  page.answers = { ...page.answers, listSessions: never, keys: () => ["a"] };
  const signer = await create();
  const pending = outcome(signer.listSessions(account));
  await idle();
  await kill();
  const { code, message, retryable } = await pending;
  assert.deepEqual([code, message, retryable], ["WORKER_FAILED", "the signer stopped: its worker was ended", true]);
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
  assert.equal(page.worker.started.custody.lost, undefined);
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
  const listeners = { onProgress: () => heard.push("load"), onKeysChanged: (keys) => heard.push(keys) };
  const signer = await create({ wasmUrl: "/s.wasm", persistence: "memory", ...listeners });
  const { alive: before, progress, ...first } = page.worker.started;
  await kill();
  await signer.keys();
  const { alive: after, ...second } = page.worker.started;
  assert.equal(progress, true);
  assert.deepEqual(second, { ...first, progress: false, custody: { ...first.custody, lost: [] } });
  assert.notEqual(after, before);
  page.worker.onKeys([]);
  await idle();
  assert.deepEqual(heard, [[]]);
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

test("where locks are denied a worker is not taken for dead", async () => {
  const { request } = page.locks;
  page.locks.request = () => {
    page.locks.request = request; // nobody holds it: whoever waited for it now would have it at once
    return Promise.reject(new DOMException("denied", "SecurityError"));
  };
  const signer = await create();
  await idle();
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  assert.equal(page.workers.length, 1);
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
