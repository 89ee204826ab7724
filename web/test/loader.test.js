// Loading: what createSigner does with a server, a network and a browser that
// are not at their best. What the loader makes of answers: unit/loader.test.js.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { engine, open, show } from "./browser.js";
import { dist, send, sendWorker, serve } from "./server.js";

const wasm = await readFile(new URL("signer.wasm", dist));
const runtime = await readFile(new URL("runtime.js", dist), "utf8");

let server, page;
/** Lets late.wasm come. */
let comes;
/** When nobody reads endless.wasm any more. */
let isLetGo;

before(async () => {
  server = serve({
    "/wrong-type.wasm": (_, response) => send(response, wasm, "application/octet-stream"),
    "/flipped.wasm"(_, response) {
      const flipped = Buffer.from(wasm);
      flipped[flipped.length >> 1] ^= 1;
      send(response, flipped, "application/wasm");
    },
    "/endless.wasm"(_, response) {
      response.writeHead(200, { "Content-Type": "application/wasm" });
      const more = () => response.write(Buffer.alloc(1 << 20), more);
      response.write(wasm, more);
      isLetGo = new Promise((resolve) => response.on("close", resolve));
    },
    "/cut-off.wasm"(_, response) {
      response.writeHead(200, { "Content-Type": "application/wasm", "Content-Length": wasm.length });
      response.write(wasm.subarray(0, 1000), () => response.destroy());
    },
    "/no-streaming.js": (_, response) =>
      sendWorker(response, { before: "delete WebAssembly.instantiateStreaming; delete WebAssembly.compileStreaming;" }),
    async "/late.wasm"(_, response) {
      await new Promise((resolve) => (comes = resolve));
      send(response, wasm, "application/wasm");
    },
    "/alone/worker.js": (_, response) => sendWorker(response),
    "/bundled/worker.js": (_, response) => sendWorker(response),
    "/bundled/runtime.js": (_, response) => send(response, runtime.replace(/export\s*\{[^}]*\};?\s*$/, ""), "text/javascript"),
    "/throws.js": (_, response) => send(response, "throw new Error('broken worker')", "text/javascript"),
  });
  page = await open(server); // one for all of them: what fails to load must not keep the next try from loading
});
after(async () => {
  await page?.close();
  server?.close();
});

/** Loads with these options, makes a key, closes. */
const load = (options) =>
  page.evaluate(async (options) => {
    problems.length = 0;
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
loads("with a runtime.js whose exports a bundler took away, as Parcel does", { workerUrl: "/bundled/worker.js" });
loads("in an engine that cannot compile while downloading", { workerUrl: "/no-streaming.js" });

const fails = (name, options, want, retryable, code = "LOAD_FAILED") =>
  test(`fails to load: ${name}`, async () => {
    const got = await load(options);
    assert.equal(got.code, code);
    assert.match(got.message, want);
    assert.equal(got.retryable, retryable);
  });

fails("a module with one bit flipped", { wasmUrl: "/flipped.wasm" }, /another build.* SHA-256 [0-9a-f]{64}/, false);
fails("a module that does not end", { wasmUrl: "/endless.wasm" }, /another build/, false);
test("and of which no more is read than it takes to see that", () => isLetGo);
fails("a connection that breaks", { wasmUrl: "/cut-off.wasm" }, /cut-off\.wasm could not be fetched/, true);
// WebKit does not tell a worker that its policy is why a request fails.
const refusal = engine === "webkit" ? [/connect-src may forbid/, true] : [/connect-src does not allow/, false, "CSP_BLOCKED"];
fails("a policy without the module's host", { wasmUrl: "http://127.0.0.1:9/signer.wasm" }, ...refusal);
fails("a worker with nothing beside it", { workerUrl: "/alone/worker.js" }, /alone\/runtime\.js\S* could not be loaded/, true);
fails("no worker there", { workerUrl: "/missing.js" }, /missing\.js could not be loaded/, true);
fails("a worker that throws", { workerUrl: "/throws.js" }, /broken worker/, true);

test("before the module is there, and where it never is, a signer makes keys that need none; what needs it waits", async () => {
  const early = await page.evaluate(async () => {
    globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", wasmUrl: "/late.wasm", persistence: "memory" });
    globalThis.key = await signer.createKey();
    globalThis.signed = outcome(signer.signChallenge(challenge(), { key }));
    const impatient = await outcome(signer.signChallenge(challenge(), { key, timeoutMs: 50 }));
    return [(await signer.keys()).length, impatient.code, impatient.message];
  });
  assert.deepEqual(early, [1, "TIMEOUT", "the module is still being loaded"]);
  comes();
  assert.equal((await page.evaluate(() => signed)).value.format, "der");
  const never = await page.evaluate(async () => {
    signer.close();
    const other = await createSigner({ bridgeUrl: "/api/grid", wasmUrl: "/missing.wasm", persistence: "memory" });
    const key = await other.createKey();
    const tries = [await outcome(other.signChallenge(challenge(), { key })), await outcome(other.signChallenge(challenge(), { key }))];
    const listed = (await other.keys()).map(({ id }) => id === key.id);
    other.close();
    return [...tries.map(({ code, message }) => `${code}: ${message.replace(location.origin, "")}`), listed];
  });
  const missing = "LOAD_FAILED: /missing.wasm answered 404: wasmUrl says where signer.wasm is, and npx gridsigner copy puts it there";
  assert.deepEqual(never, [missing, missing, [true]]);
});

test("after all that, a try with the right options loads", async () => {
  assert.deepEqual(await load({}), { value: "wasm-memory" });
});

test("a policy that forbids WebAssembly on the page is told apart", async () => {
  const got = await load({ worker: false });
  assert.equal(got.code, "CSP_BLOCKED");
  assert.match(got.message, /'wasm-unsafe-eval'/);
});

test("a policy that is only tried, and reported, blocks nothing", async () => {
  await show(page, "/trial");
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", persistence: "memory" });
    await new Promise((resolve) => setTimeout(resolve)); // a report is a task of its own
    return [(await signer.createKey()).curve, problems.some((problem) => problem.startsWith("securitypolicyviolation"))];
  });
  assert.deepEqual(got, ["P-256", true]);
});

test("worker: false runs on the page's own thread and leaves the global alone", async () => {
  await show(page, "/lax");
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

test("progress rises to the size of the module", async () => {
  const events = await page.evaluate(async () => {
    const events = [];
    await new Promise((ready) => {
      createSigner({ bridgeUrl: "/api/grid", onProgress: (event) => events.push(event) && event.phase === "ready" && ready() });
    });
    return events;
  });
  assert.deepEqual([...new Set(events.map((event) => event.phase))], ["download", "compile", "ready"]);
  assert.ok(events.every((event) => event.total === wasm.length), "total is the size of the module");
  assert.equal(events[0].loaded, 0);
  assert.equal(events.at(-1).loaded, wasm.length);
  assert.ok(events.every((event, i) => i === 0 || event.loaded >= events[i - 1].loaded), "loaded never falls");
});

test("the page's policy holds: no eval, no blob, no WebAssembly outside the worker", async () => {
  await show(page, "/");
  await load({});
  assert.deepEqual(await page.evaluate(() => problems), []);
  assert.equal(await page.evaluate(() => "Go" in globalThis || "gridsigner" in globalThis), false);
});
