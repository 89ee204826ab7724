// Loading: what createSigner does with a server, a network and a browser that
// are not at their best.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { engine, launch, open, workersEnded } from "./browsers.js";
import { dist, send, sendWorker, serve } from "./server.js";

const wasm = await readFile(new URL("signer.wasm", dist));

/** Serves a worker in which something happens to the Go instance when a method is called; the next worker is whole. */
function once(method, what) {
  let served = 0;
  const dying = `
    const { run } = Go.prototype;
    Go.prototype.run = function (instance) {
      addEventListener("message", ({ data }) => { if (data.method === "${method}") { ${what} } });
      return run.call(this, instance);
    };`;
  return (_, response) => sendWorker(response, { after: served++ === 0 ? dying : "" });
}

const routes = {};
const route = (path, handler) => (routes[path] = handler);

let browser, server, page;
let attempts = 0;

before(async () => {
  browser = await launch();
  server = await serve({
    "/wrong-type.wasm": (_, response) => send(response, wasm, "application/octet-stream"),
    "/flipped.wasm"(_, response) {
      const flipped = Buffer.from(wasm);
      flipped[flipped.length >> 1] ^= 1;
      send(response, flipped, "application/wasm");
    },
    "/longer.wasm": (_, response) => send(response, Buffer.concat([wasm, Buffer.alloc(1)]), "application/wasm"),
    "/truncated.wasm": (_, response) => send(response, wasm.subarray(0, wasm.length / 2), "application/wasm"),
    "/cut-off.wasm"(_, response) {
      response.writeHead(200, { "Content-Type": "application/wasm", "Content-Length": wasm.length });
      response.write(wasm.subarray(0, 1000), () => response.destroy());
    },
    "/page.wasm": (_, response) => send(response, "<!doctype html>", "text/html"), // a router's catch-all
    // The smallest module: it compiles, and is not ours.
    "/empty.wasm": (_, response) => send(response, Buffer.from("0061736d01000000", "hex"), "application/wasm"),
    "/second-try.wasm"(_, response) {
      // Each try asks twice: the browser does not say what it did not like the first time.
      if (attempts++ > 1) return send(response, wasm, "application/wasm");
      response.writeHead(503).end();
    },
    "/silent.wasm"() {},
    "/silent-worker.js"() {},
    "/silent/"() {},
    "/no-streaming.js": (_, response) =>
      sendWorker(response, { before: "delete WebAssembly.instantiateStreaming; delete WebAssembly.compileStreaming;" }),
    "/no-wasm.js": (_, response) => sendWorker(response, { before: "delete globalThis.WebAssembly;" }),
    "/throws.js": (_, response) => send(response, "throw new Error('broken worker')", "text/javascript"),
    "/dies-once.js": (...exchange) => routes["/dies-once.js"](...exchange),
  });
});
after(async () => {
  await browser?.close();
  server?.close();
});
beforeEach(async () => (page = await open(browser, server)));
afterEach(() => page.close());

/** Loads with these options, makes a key, closes. */
const load = (options) =>
  page.evaluate(async (options) => {
    return outcome(
      createSigner({ bridgeUrl: "/api/grid", persistence: "memory", ...options }).then(async (signer) => {
        const key = await signer.createKey({ curve: "secp256k1" });
        signer.close();
        return key.protection;
      }),
    );
  }, options);

const loads = (name, options) =>
  test(`loads: ${name}`, async () => {
    assert.deepEqual(await load(options), { value: "wasm-memory" });
    assert.deepEqual(await page.evaluate(() => problems), []);
  });

loads("with the defaults", {});
loads("a module of the wrong Content-Type", { wasmUrl: "/wrong-type.wasm" });
loads("in an engine that cannot compile while downloading", { workerUrl: "/no-streaming.js" });
loads("from relative URLs", { wasmUrl: "./signer.wasm", workerUrl: "worker.js" });

const fails = (name, options, want, retryable, code = "LOAD_FAILED") =>
  test(`fails to load: ${name}`, async () => {
    const got = await load(options);
    assert.equal(got.code, code);
    assert.match(got.message, want);
    assert.equal(got.retryable, retryable);
    assert.deepEqual(await load({}), { value: "wasm-memory" }, "a later try with the right options");
  });

fails("no module there", { wasmUrl: "/missing.wasm" }, /missing\.wasm answered 404/, false);
fails("a truncated module", { wasmUrl: "/truncated.wasm" }, /another build.* SHA-256 [0-9a-f]{64}/, false);
fails("a module with one bit flipped", { wasmUrl: "/flipped.wasm" }, /another build.* SHA-256 [0-9a-f]{64}/, false);
fails("one with a byte too many", { wasmUrl: "/longer.wasm" }, /another build/, false);
fails("a connection that breaks", { wasmUrl: "/cut-off.wasm" }, /cut-off\.wasm could not be fetched/, true);
fails("a page in place of the module", { wasmUrl: "/page.wasm" }, /text\/html/, false);
fails("another module", { wasmUrl: "/empty.wasm" }, /another build/, false);
fails("a server without an answer", { wasmUrl: "/silent.wasm", timeoutMs: 300 }, /not ready within 300 ms/, true);
// WebKit does not tell a worker that its policy is why a request fails.
const refusal = engine === "webkit" ? [/connect-src may forbid/, true] : [/connect-src does not allow/, false, "CSP_BLOCKED"];
fails("a policy without the module's host", { wasmUrl: "http://127.0.0.1:9/signer.wasm" }, ...refusal);
fails("no worker there", { workerUrl: "/missing.js" }, /missing\.js could not be loaded/, true);
fails("a worker that never comes", { workerUrl: "/silent-worker.js", timeoutMs: 300 }, /not ready within 300 ms/, true);
fails("a worker that throws", { workerUrl: "/throws.js" }, /broken worker/, true);
fails("a browser without WebAssembly", { workerUrl: "/no-wasm.js" }, /has no WebAssembly/, false);
fails("a worker of another origin", { workerUrl: "https://cdn.example/worker.js" }, /this page's origin/, false);
fails("no script on the page's own thread", { worker: false, workerUrl: "/missing.js" }, /missing\.js could not be loaded/, true);

test("a failure that may pass says so, and trying again loads", async () => {
  const first = await load({ wasmUrl: "/second-try.wasm" });
  assert.equal(first.code, "LOAD_FAILED");
  assert.equal(first.retryable, true);
  assert.deepEqual(await load({ wasmUrl: "/second-try.wasm" }), { value: "wasm-memory" });
});

test("a policy that forbids WebAssembly on the page is told apart", async () => {
  const got = await load({ worker: false });
  assert.equal(got.code, "CSP_BLOCKED");
  assert.match(got.message, /'wasm-unsafe-eval'/);
});

test("a policy that is only tried, and reported, blocks nothing", async () => {
  await page.goto(`${server.origin}/trial`);
  await page.waitForFunction(() => "createSigner" in globalThis);
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", persistence: "memory" });
    await new Promise((resolve) => setTimeout(resolve)); // a report is a task of its own
    return [(await signer.createKey()).curve, problems.some((problem) => problem.startsWith("securitypolicyviolation"))];
  });
  assert.deepEqual(got, ["P-256", true]);
});

test("worker: false runs on the page's own thread and leaves the global alone", async () => {
  await page.goto(`${server.origin}/lax`);
  await page.waitForFunction(() => "createSigner" in globalThis);
  const got = await page.evaluate(async () => {
    globalThis.gridsigner = "the page's own";
    const options = { bridgeUrl: "/api/grid", worker: false, persistence: "memory" };
    const first = await createSigner(options);
    const second = await createSigner(options);
    const key = await first.createKey();
    const signed = await first.signChallenge(challenge(), { key });
    const foreign = await outcome(second.signChallenge(challenge(), { key }));
    first.close();
    return {
      format: signed.format,
      foreign: foreign.code,
      closed: (await outcome(first.keys())).code,
      open: await second.keys(),
      global: globalThis.gridsigner,
    };
  });
  assert.deepEqual(got, { format: "der", foreign: "KEY_NOT_FOUND", closed: "CLOSED", open: [], global: "the page's own" });
});

for (const [name, options] of Object.entries({
  "while streaming": {},
  "where streaming is impossible": { wasmUrl: "/wrong-type.wasm" },
})) {
  test(`progress rises to the total ${name}`, async () => {
    const events = await page.evaluate(async (options) => {
      const events = [];
      const signer = await createSigner({ bridgeUrl: "/api/grid", ...options, onProgress: (event) => events.push(event) });
      signer.close();
      return events;
    }, options);
    const phases = [...new Set(events.map((event) => event.phase))];
    assert.deepEqual(phases, ["download", "compile", "ready"]);
    assert.ok(events.every((event) => event.total === wasm.length), "total is the size of the module");
    assert.equal(events[0].loaded, 0);
    assert.equal(events.at(-1).loaded, wasm.length);
    assert.ok(events.every((event, i) => i === 0 || event.loaded >= events[i - 1].loaded), "loaded never falls");
  });
}

test("a progress listener that throws is reported and changes nothing", async () => {
  const got = await page.evaluate(async () => {
    // A function that comes from evaluate counts as a script of another origin: no text for us.
    const reported = new Promise((resolve) => addEventListener("error", () => resolve(true), { once: true }));
    const signer = await createSigner({
      bridgeUrl: "/api/grid",
      onProgress() {
        throw new Error("of the listener");
      },
    });
    return { keys: await signer.keys(), reported: await reported };
  });
  assert.deepEqual(got, { keys: [], reported: true });
});

for (const [name, what] of Object.entries({
  exits: "this.exited = true; this._resolveExitPromise()",
  "throws outside of a call": "throw new Error('out of memory')",
  "ends its worker without a word": "close()",
})) {
  test(`a module that ${name} fails what is pending, and the next call has another`, async () => {
    route("/dies-once.js", once("listSessions", what));
    const got = await page.evaluate(async () => {
      const signer = await createSigner({ bridgeUrl: "/silent", workerUrl: "/dies-once.js" });
      const stored = await signer.createKey();
      const pending = await outcome(signer.listSessions("InternalAccount:019542f5-b3e7-1d02-0000-000000000001"));
      return { stored, pending, keys: await signer.keys(), signed: await outcome(signer.signChallenge(challenge(), { key: stored })) };
    });
    assert.equal(got.pending.code, "WORKER_FAILED");
    assert.equal(got.pending.retryable, true);
    assert.deepEqual(got.keys, [got.stored]);
    assert.equal(got.signed.value?.format, "der");
    await workersEnded(page, 1);
  });
}

test("a signer that has failed can be closed, and is not replaced then", async () => {
  route("/dies-once.js", once("listSessions", "close()"));
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/silent", workerUrl: "/dies-once.js" });
    const { code } = await outcome(signer.listSessions("InternalAccount:019542f5-b3e7-1d02-0000-000000000001"));
    signer.close();
    return [code, (await outcome(signer.keys())).code];
  });
  assert.deepEqual(got, ["WORKER_FAILED", "CLOSED"]);
  await workersEnded(page, 0);
});

test("a module that traps in a call fails that call, and the next has another", async () => {
  route("/dies-once.js", once("signChallenge", "this._inst = { exports: { resume() { throw new WebAssembly.RuntimeError('unreachable') } } }"));
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/dies-once.js", persistence: "memory" });
    const key = await signer.createKey();
    for (;;) {
      const { code } = await outcome(signer.signChallenge(challenge(), { key }));
      if (code) return [code, (await outcome(signer.signChallenge(challenge(), { key }))).code, await signer.keys()];
    }
  });
  assert.deepEqual(got, ["WORKER_FAILED", "KEY_LOST", []]);
});

test("a worker that hangs cannot hang a call, and is replaced", async () => {
  route("/dies-once.js", once("signChallenge", "for (;;);"));
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/dies-once.js" });
    const key = await signer.createKey();
    let signed;
    do signed = await outcome(signer.signChallenge(challenge(), { key, timeoutMs: 100 }));
    while (!signed.code);
    const dying = await outcome(signer.keys()); // given up on at last, or already by another worker
    return { signed, dying: dying.code, revived: (await outcome(signer.signChallenge(challenge(), { key }))).value?.format };
  });
  assert.equal(got.signed.code, "TIMEOUT");
  assert.equal(got.signed.retryable, true);
  assert.equal(got.dying, "WORKER_FAILED");
  assert.equal(got.revived, "der");
});

test("the page's policy holds: no eval, no blob, no WebAssembly outside the worker", async () => {
  await load({});
  assert.deepEqual(await page.evaluate(() => problems), []);
  assert.equal(await page.evaluate(() => "Go" in globalThis || "gridsigner" in globalThis), false);
});
