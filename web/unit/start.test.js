// How createSigner starts a module: in a worker or on the page's own thread, and
// by what code it says that it could not.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { register } from "node:module";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createSigner, GridSignerError } from "../.tsc/src/index.js";
import { create, Page } from "./page.js";
import { idle, never, outcome, pair, stopTime } from "./ports.js";

const workerUrl = "https://app.example/worker.js";

let page;
beforeEach(() => {
  stopTime();
  page = new Page();
});
afterEach(() => {
  page.close();
  mock.timers.reset();
});

/** What the window tells of a policy. */
const violate = (fields) =>
  page.dispatchEvent(
    Object.assign(new Event("securitypolicyviolation"), {
      blockedURI: workerUrl,
      effectiveDirective: "worker-src",
      disposition: "enforce",
      ...fields,
    }),
  );

/** What a worker tells of its script. */
const fail = (message) => page.worker.dispatchEvent(Object.assign(new Event("error"), message === undefined ? {} : { message }));

test("a worker is started as a module of our name, and told where its parts are", async () => {
  const signer = await create({ wasmUrl: "signer.wasm", persistence: "memory", namespace: "app", payloads: "activities", credentials: "omit" });
  const { url, options, posted } = page.worker;
  assert.deepEqual([String(url), options], [workerUrl, { type: "module", name: "gridsigner" }]);
  const { alive, ...start } = posted[0].args[0];
  assert.match(alive, /^gridsigner\/[0-9a-f-]{36}$/);
  assert.deepEqual(start, {
    runtimeUrl: "https://app.example/runtime.js",
    wasmUrl: "https://app.example/account/signer.wasm",
    progress: false,
    custody: {
      bridgeUrl: "https://app.example/api/grid",
      credentials: "omit",
      payloads: "activities",
      persistence: "memory",
      namespace: "app",
      autoRefresh: false,
      otpSigners: [],
      exportSigners: [],
      lost: [],
      leave: [],
    },
  });
  const other = await create();
  assert.notEqual(page.worker.started.alive, alive, "each worker has a lock of its own");
  signer.close();
  other.close();
});

test("it resolves once the module is ready, to a signer that nobody can change", async () => {
  let come, signer;
  page.load = (service) => new Promise((resolve) => (come = () => resolve(service)));
  const pending = create().then((made) => (signer = made));
  await idle();
  assert.equal(signer, undefined);
  come();
  await pending;
  assert.ok(Object.isFrozen(signer));
  signer.close();
});

test("what is not asked for is the default", async () => {
  const signer = await create();
  const { credentials, payloads, persistence, namespace } = page.worker.started.custody;
  assert.deepEqual([credentials, payloads, persistence, namespace], ["same-origin", "all", "indexeddb", undefined]);
  signer.close();
});

test("the page is told how loading goes; a listener that throws is reported", async () => {
  const heard = [];
  page.load = (service) => (page.worker.onProgress({ phase: "download" }), service);
  const signer = await create({
    onProgress(event) {
      heard.push(event);
      throw new Error("of the listener");
    },
  });
  assert.deepEqual(heard, [{ phase: "download" }]);
  assert.deepEqual(page.reported.map(({ message }) => message), ["of the listener"]);
  signer.close();
});

const inlined = `data:text/javascript,${"x".repeat(36_000)}`;
const dataUrls = { bridgeUrl: "https://app.example/api", wasmUrl: "https://app.example/s.wasm", workerUrl: "data:text/javascript,", worker: false };
for (const [name, prepare, options, message] of [
  ["where there is no page, as in Node", () => delete globalThis.location, {}, /there is no browser's page here: in tests, use gridsigner\/testing/],
  ["without workers, as in jsdom and in a service worker", () => delete globalThis.Worker, {}, /there is no browser's page here/],
  ["without a secure context", () => page.set({ isSecureContext: false }), {}, /a secure context is needed/],
  ["where nobody says whether the context is secure", () => delete globalThis.isSecureContext, {}, /a secure context is needed/],
  ["a worker of another origin", () => {}, { workerUrl: "https://cdn.example/worker.js" }, /of this page's origin, https:\/\/app\.example/],
  ["a blob:, which has the page's origin", () => {}, { workerUrl: "blob:https://app.example/0f" }, /of this page's origin/],
  ["a data:", () => {}, { workerUrl: "data:text/javascript," }, /of this page's origin/],
  ["a data: that a bundler made of all of worker.js", () => {}, { workerUrl: inlined }, /: data:text\/javascript,x{34}… \(copy the files with npx gridsigner copy/],
  ["a blob: on the page's own thread", () => {}, { workerUrl: "blob:https://app.example/0f", worker: false }, /of this page's origin/],
  ["a data: on a page without an origin", () => page.set({ location: new URL("data:text/html,") }), dataUrls, /of this page's origin/],
  ["a worker beside a library that is of another origin", () => {}, { workerUrl: undefined }, /of this page's origin.*npx gridsigner copy/],
]) {
  test(`refused before a worker is made: ${name}`, async () => {
    prepare();
    const { code, message: got, retryable } = await outcome(create(options));
    assert.deepEqual([code, retryable], ["LOAD_FAILED", false]);
    assert.match(got, message);
    assert.deepEqual(page.workers, []);
  });
}

test("in a bundle that is no module, where import.meta.url is undefined, it says what to do, and then works", async () => {
  const script = String(await readFile(new URL("../dist/gridsigner.js", import.meta.url)));
  const { createSigner } = await import(`data:text/javascript,${encodeURIComponent(script.replaceAll(",import.meta.url)", ",undefined)"))}`);
  const urls = { workerUrl: "/worker.js", wasmUrl: "/signer.wasm" };
  for (const name of Object.keys(urls)) {
    const { code, message } = await createSigner({ bridgeUrl: "/api/grid", ...urls, [name]: undefined }).catch((error) => error);
    assert.equal(code, "LOAD_FAILED");
    assert.equal(message, "this bundle has no import.meta.url: copy the files with npx gridsigner copy, and set workerUrl and wasmUrl");
  }
  (await createSigner({ bridgeUrl: "/api/grid", ...urls })).close();
  assert.equal(page.workers.length, 1);
});

test("where there is no page that comes first, whatever the options", async () => {
  delete globalThis.location;
  for (const options of [undefined, { bridgeUrl: 1 }]) assert.equal((await outcome(createSigner(options))).code, "LOAD_FAILED");
});

test("a worker that is not ready within timeoutMs is ended, and a later try starts another", async () => {
  let got;
  page.load = never;
  const pending = outcome(create({ timeoutMs: 300 })).then((error) => (got = error));
  await idle();
  mock.timers.tick(299);
  await idle();
  assert.equal(got, undefined);
  mock.timers.tick(1);
  await pending;
  assert.deepEqual([got.code, got.retryable], ["LOAD_FAILED", true]);
  assert.match(got.message, /not ready within 300 ms/);
  assert.equal(page.worker.terminated, true);
  page.load = (service) => service;
  (await create()).close();
  assert.equal(page.workers.length, 2);
});

test("of a worker that was ready in time no deadline is left", async () => {
  const signer = await create({ timeoutMs: 300 });
  mock.timers.tick(60_000);
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  assert.equal(page.workers.length, 1);
  signer.close();
});

test("what went wrong in the worker arrives by code, and the worker is ended", async () => {
  page.load = () => Promise.reject(new GridSignerError("CSP_BLOCKED", "worker.js must be served with a policy"));
  const { code, message } = await outcome(create());
  assert.deepEqual([code, message], ["CSP_BLOCKED", "worker.js must be served with a policy"]);
  assert.equal(page.worker.terminated, true);
});

for (const [name, text, want] of [
  ["that throws", "Uncaught Error: broken worker", /did not start: Uncaught Error: broken worker/],
  ["that is not there", undefined, /worker\.js could not be loaded as a worker \(copy the files with npx gridsigner copy, and set workerUrl and wasmUrl\)/],
]) {
  test(`a script ${name}: LOAD_FAILED`, async () => {
    page.load = never;
    const pending = outcome(create());
    await idle();
    fail(text);
    mock.timers.tick(1);
    const { code, message, retryable } = await pending;
    assert.deepEqual([code, retryable], ["LOAD_FAILED", true]);
    assert.match(message, want);
    assert.equal(page.worker.terminated, true);
  });
}

test("a script that the policy refuses: CSP_BLOCKED, though the worker's own event comes first", async () => {
  page.load = never;
  const pending = outcome(create());
  await idle();
  fail();
  violate();
  mock.timers.tick(1);
  const { code, message, retryable } = await pending;
  assert.deepEqual([code, retryable], ["CSP_BLOCKED", false]);
  assert.match(message, /worker-src does not allow https:\/\/app\.example\/worker\.js/);
});

test("what a policy only reports, or refuses of others, or after loading, blocks nothing", async () => {
  let come;
  page.load = (service) => new Promise((resolve) => (come = () => resolve(service)));
  const pending = create();
  await idle();
  violate({ disposition: "report" });
  violate({ blockedURI: "https://app.example/other.js" });
  violate({ blockedURI: "inline" });
  come();
  const signer = await pending;
  violate();
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  signer.close();
});

for (const [name, thrown, set, code, message] of [
  ["a SecurityError", new DOMException("refused", "SecurityError"), {}, "CSP_BLOCKED", /worker-src does not allow/],
  ["a TypeError under Trusted Types", new TypeError("refused"), { trustedTypes: {} }, "CSP_BLOCKED", /trusted-types gridsigner/],
  ["a TypeError elsewhere", new TypeError("refused"), {}, "LOAD_FAILED", /could not be started as a worker: TypeError: refused/],
  ["another DOMException", new DOMException("refused", "NotSupportedError"), {}, "LOAD_FAILED", /could not be started/],
]) {
  test(`a browser that throws ${name} in place of a worker: ${code}`, async () => {
    page.set(set);
    page.onWorker = () => {
      throw thrown;
    };
    const got = await outcome(create());
    assert.deepEqual([got.code, got.retryable, got.cause], [code, false, thrown]);
    assert.match(got.message, message);
  });
}

/** index.ts makes its policy once: each test of it imports another copy. */
const another = async (name) => (await import(`../.tsc/src/index.js?${name}`)).createSigner;

test("under Trusted Types the worker's URL is what our policy makes of it, which is made once", async () => {
  const made = [];
  const createPolicy = (name, { createScriptURL }) => {
    made.push(name);
    return { createScriptURL: (url) => ({ trusted: createScriptURL(url) }) };
  };
  page.set({ trustedTypes: { createPolicy } });
  const createAnother = await another("policy");
  for (let i = 0; i < 2; i++) {
    const signer = await createAnother({ bridgeUrl: "/api/grid", workerUrl });
    assert.deepEqual(page.worker.url, { trusted: workerUrl });
    signer.close();
  }
  assert.deepEqual(made, ["gridsigner"]);
});

test("a policy that does not allow ours matters only if it wants one", async () => {
  const createPolicy = () => {
    throw new TypeError("not allowed");
  };
  page.set({ trustedTypes: { createPolicy } });
  const signer = await (await another("no-policy"))({ bridgeUrl: "/api/grid", workerUrl });
  assert.equal(String(page.worker.url), workerUrl);
  signer.close();
});

test("a signal that has fired: ABORTED with its reason, and nothing is started", async () => {
  const { code, cause, retryable } = await outcome(create({ signal: AbortSignal.abort("no more") }));
  assert.deepEqual([code, cause, retryable, page.workers], ["ABORTED", "no more", false, []]);
});

test("a signal that fires while the module is loading: ABORTED with its reason, and nothing is left running", async () => {
  page.load = never;
  const controller = new AbortController();
  const pending = outcome(create({ signal: controller.signal, timeoutMs: 300 }));
  await idle();
  controller.abort("no more");
  const { code, cause, retryable } = await pending;
  assert.deepEqual([code, cause, retryable], ["ABORTED", "no more", false]);
  assert.equal(page.worker.terminated, true);
  mock.timers.tick(60_000);
  await idle();
  assert.equal(page.workers.length, 1);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  assert.equal(getEventListeners(page, "securitypolicyviolation").length, 0);
});

test("a signal that fires once the signer is there ends nothing", async () => {
  const controller = new AbortController();
  const signer = await create({ signal: controller.signal });
  controller.abort();
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  assert.deepEqual(await outcome(signer.keys()), { value: undefined });
  assert.equal(page.workers.length, 1);
  signer.close();
});

/** Scripts of the page's origin, for the import() of worker: false: Node knows none. */
const scripts = {
  "/here.js": "export const serve = (port) => globalThis.serveHere(port)",
  "/broken.js": "throw new Error('broken')",
  "/other.js": "export const other = 1",
};
const hooks = `
  const scripts = ${JSON.stringify(scripts)};
  const path = (url) => url.startsWith("https://app.example/") ? url.slice(19) : undefined;
  export const resolve = (url, context, next) => path(url) ? { url, shortCircuit: true } : next(url, context);
  export const load = (url, context, next) =>
    path(url) ? { format: "module", source: scripts[path(url)], shortCircuit: true } : next(url, context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

function openHere(script) {
  const channel = function () {
    [this.port1, this.port2] = pair();
  };
  page.set({ MessageChannel: channel });
  return outcome(create({ workerUrl: script, worker: false }));
}

test("worker: false serves the module over a channel of the page's own, without a worker or a lock", async (t) => {
  const { serve } = await import("../.tsc/src/serve.js");
  let started;
  let closed = 0;
  const service = { methods: { keys: async () => ["a"] }, close: async () => void closed++, stopped: never() };
  globalThis.serveHere = (port) => serve(port, async (start) => ((started = start), service));
  t.after(() => delete globalThis.serveHere);
  const { value: signer } = await openHere("/here.js");
  assert.deepEqual(await signer.keys(), ["a"]);
  assert.deepEqual([page.workers, started.alive], [[], undefined]);
  signer.close();
  assert.equal((await outcome(signer.keys())).code, "CLOSED");
  await idle();
  assert.equal(closed, 1);
});

test("worker: false with a script that throws, or one that is not ours: LOAD_FAILED", async () => {
  for (const script of ["/broken.js", "/other.js"]) {
    const { code, message, retryable } = await openHere(script);
    assert.deepEqual([code, retryable], ["LOAD_FAILED", true]);
    assert.match(message, /https:\/\/app\.example\/.*\.js could not be loaded: /);
  }
});
