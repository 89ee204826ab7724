// The end of a worker, however it comes: what is pending fails, nothing hangs,
// and the next call has another worker.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { open, workersEnded } from "./browser.js";
import { sendRuntime, sendWorker, serve } from "./server.js";

const bridge = makeBridge();

/** Serves a module to whose Go instance something happens when a method is called; the next worker has a whole one. */
function once(method, what) {
  let served = 0;
  const dying = `
    const { run } = Go.prototype;
    Go.prototype.run = function (instance) {
      addEventListener("message", ({ data }) => { if (data.method === "${method}") { ${what} } });
      return run.call(this, instance);
    };`;
  return (_, response) => sendRuntime(response, served++ === 0 ? dying : "");
}

let server, page, runtime;
before(async () => {
  server = serve({
    "/dies-once/worker.js": (_, response) => sendWorker(response),
    "/dies-once/runtime.js": (...exchange) => runtime(...exchange),
    "/silent/"() {},
    "/api/grid/": bridge.handler,
  });
});
after(() => server?.close());
beforeEach(async () => {
  page = await open(server);
  await page.evaluate(() => {
    /** Comes back when the module is there: a key that it holds is made, and gone. */
    globalThis.loaded = async (signer) => signer.removeKey(await signer.createKey({ curve: "secp256k1" }));
  });
});
afterEach(() => page.close());

for (const [name, what] of Object.entries({
  exits: "this.exited = true; this._resolveExitPromise()",
  "throws outside of a call": "throw new Error('out of memory')",
  "ends its worker without a word": "close()",
})) {
  test(`a module that ${name} fails what is pending, and the next call has another`, async () => {
    runtime = once("listSessions", what);
    const got = await page.evaluate(async (account) => {
      const signer = await createSigner({ bridgeUrl: "/silent", workerUrl: "/dies-once/worker.js" });
      await loaded(signer);
      const stored = await signer.createKey();
      const pending = await outcome(signer.listSessions(account));
      return { stored, pending, keys: await signer.keys(), signed: await outcome(signer.signChallenge(challenge(), { key: stored })) };
    }, account);
    assert.equal(got.pending.code, "WORKER_FAILED");
    assert.equal(got.pending.retryable, true);
    assert.deepEqual(got.keys, [got.stored]);
    assert.equal(got.signed.value?.format, "der");
    await workersEnded(page, 1);
  });
}

test("a module that traps in a call fails that call, and the next has another", async () => {
  runtime = once("signChallenge", "this._inst = { exports: { resume() { throw new WebAssembly.RuntimeError('unreachable') } } }");
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/dies-once/worker.js", persistence: "memory" });
    const key = await signer.createKey();
    for (;;) {
      const { code } = await outcome(signer.signChallenge(challenge(), { key }));
      if (code) return [code, (await outcome(signer.signChallenge(challenge(), { key }))).code, await signer.keys()];
    }
  });
  assert.deepEqual(got, ["WORKER_FAILED", "KEY_LOST", []]);
});

// What a sign-out has written down the next worker goes on with, and so the call does not fail.
test("a worker that dies in the middle of a sign-out: the next one finishes it", async () => {
  runtime = once("signOut", "close()");
  const session = bridge.signIn();
  const got = await page.evaluate(async (session) => {
    await signIn(session, { workerUrl: "/dies-once/worker.js" });
    await loaded(signer);
    const { status } = await signer.signOut(key);
    return [status, await sign(), events.at(-1).reason];
  }, session);
  assert.deepEqual(got, ["revoked", "KEY_LOST", "signed-out"]);
  assert.ok(!bridge.sessions.has(session.id));
  await workersEnded(page, 1);
});

test("a worker that hangs cannot hang a call, and is replaced", async () => {
  runtime = once("signChallenge", "for (;;);");
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/dies-once/worker.js" });
    const key = await signer.createKey();
    await loaded(signer);
    // The page's patience with a worker takes seconds, of which this one is not worth a twentieth.
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (what, ms) => setTimeout(what, ms / 20);
    const signed = await outcome(signer.signChallenge(challenge(), { key, timeoutMs: 100 }));
    const dying = await outcome(signer.keys()); // given up on at last, or already by another worker
    globalThis.setTimeout = setTimeout;
    return { signed, dying: dying.code, revived: (await outcome(signer.signChallenge(challenge(), { key }))).value?.format };
  });
  assert.equal(got.signed.code, "TIMEOUT");
  assert.equal(got.signed.retryable, true);
  assert.equal(got.dying, "WORKER_FAILED");
  assert.equal(got.revived, "der");
});
