// How the module is loaded and verified; what can go wrong, by code; and what
// becomes of a module that stops.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, mock, test } from "node:test";
import { load } from "../.tsc/src/runtime.js";
import { answerWith, hash, Host, type, url, wasm } from "./host.js";
import { idle, outcome, stopTime } from "./ports.js";

let host;
beforeEach(() => {
  stopTime();
  host = new Host();
});
afterEach(() => {
  host.close();
  mock.timers.reset();
});

/** What loading comes to, while time passes by itself. */
async function loading(onProgress) {
  let got;
  outcome(load(url, () => fetch(url), onProgress)).then((it) => (got = it));
  const hangs = performance.now() + 10_000; // rather than the tests
  while (!got && performance.now() < hangs) {
    await idle();
    mock.timers.tick(1);
  }
  return got;
}

const refuse = () => {
  throw new TypeError("Failed to fetch");
};

test("the engine compiles the network's own response while it comes, and what it has compiled is started", async () => {
  const { value } = await loading();
  assert.equal(value.module, host.module);
  assert.deepEqual(host.requests.map(({ url }) => url), [url]);
  assert.deepEqual([host.given, host.imports], [["compileStreaming", "instantiate"], host.go.importObject]);
});

test("it does not run before the last byte is there, and hashed", async () => {
  const digest = crypto.subtle.digest.bind(crypto.subtle);
  const given = [];
  host.set({ digest: async (...args) => (given.push([...host.given]), digest(...args)) }, crypto.subtle);
  await loading();
  assert.deepEqual([given, host.given], [[["compileStreaming"]], ["compileStreaming", "instantiate"]]);
});

test("whoever wants to hear how it goes hears of the bytes as they come", async () => {
  const events = [];
  await loading((event) => events.push(event));
  const total = wasm.length;
  const download = [0, 300, 600, 900, total].map((loaded) => ({ phase: "download", loaded, total }));
  const rest = ["compile", "ready"].map((phase) => ({ phase, loaded: total, total }));
  assert.deepEqual(events, [...download, ...rest]);
});

test("ready is said only once the module has started", async () => {
  const phases = [];
  host.run = async () => {};
  const { code } = await loading(({ phase }) => phases.push(phase));
  assert.equal(code, "LOAD_FAILED");
  assert.deepEqual([...new Set(phases)], ["download", "compile"]);
});

test("bytes of another Content-Type are compiled all the same, not while they arrive", async () => {
  for (const headers of [{ "Content-Type": "application/octet-stream" }, { "Content-Type": "application/wasm; charset=utf-8" }, {}]) {
    host.given = [];
    host.network = () => answerWith(wasm, { headers });
    assert.equal((await loading()).value.module, host.module);
    assert.deepEqual(host.given, ["compile", "instantiate"]);
  }
  assert.equal(host.requests.length, 3, "asked for once, each time");
});

test("an engine that cannot compile while downloading compiles afterwards", async () => {
  host.remove("compileStreaming", WebAssembly);
  assert.equal((await loading()).value.module, host.module);
  assert.deepEqual(host.given, ["compile", "instantiate"]);
});

test("a browser without WebAssembly: LOAD_FAILED", async () => {
  host.remove("WebAssembly");
  const { code, message, retryable } = await loading();
  assert.deepEqual([code, retryable], ["LOAD_FAILED", false]);
  assert.match(message, /has no WebAssembly/);
});

test("a policy that forbids compiling: CSP_BLOCKED", async () => {
  const { instantiate } = WebAssembly;
  const refusing = (...args) => (args[0].length === 8 ? Promise.reject(new WebAssembly.CompileError("CSP")) : instantiate(...args));
  host.set({ instantiate: refusing }, WebAssembly);
  const { code, message, retryable } = await loading();
  assert.deepEqual([code, retryable], ["CSP_BLOCKED", false]);
  assert.match(message, /'wasm-unsafe-eval'/);
});

const flipped = wasm.map((byte, i) => (i === 500 ? byte ^ 1 : byte));
const another = "is another build, or no build at all: ";
const wanted = `; this runtime.js goes with ${wasm.length} bytes, SHA-256 ${hash}`;
for (const [name, answer, found] of [
  ["one with a bit flipped", () => answerWith(flipped), `${wasm.length} bytes`],
  ["a truncated one", () => answerWith(wasm.slice(0, 500)), "500 bytes"],
  ["one with a byte too many", () => answerWith(Uint8Array.of(...wasm, 7)), `${wasm.length + 1} bytes`],
  ["one of which no more is read than it takes to see that", () => answerWith(Buffer.alloc(10_000)), `${wasm.length + 1} bytes`],
  ["nothing", () => answerWith(Buffer.alloc(0)), "0 bytes"],
  ["a page in its place", () => answerWith(Buffer.from("<!doctype html>"), { headers: { "Content-Type": "text/html" } }), "15 bytes"],
  ["what has no type", () => answerWith(Buffer.from("?"), { headers: {} }), "1 bytes"],
]) {
  test(`another module is LOAD_FAILED, and both are named: ${name}`, async () => {
    for (const onProgress of [undefined, () => {}]) {
      host.network = answer;
      const { code, message, retryable } = await loading(onProgress);
      assert.deepEqual([code, retryable], ["LOAD_FAILED", false]);
      const contentType = answer().headers.get("Content-Type") ?? "no Content-Type";
      assert.ok(message.startsWith(`${url} (${contentType}) ${another}${found}, SHA-256 `), message);
      assert.match(message.slice(0, -wanted.length), /SHA-256 [0-9a-f]{64}$/);
      assert.ok(message.endsWith(wanted), message);
      assert.ok(!host.given.includes("instantiate"), "it is not started");
    }
  });
}

test("of an endless answer the rest is not waited for, and progress stays at the total", async () => {
  const events = [];
  let over = false;
  const pull = async (controller) => (await idle(), over ? controller.close() : controller.enqueue(new Uint8Array(400)));
  host.network = () => new Response(new ReadableStream({ pull }), { headers: type });
  const { code } = await loading((event) => events.push(event.loaded));
  assert.equal(code, "LOAD_FAILED");
  assert.deepEqual(events, [0, 400, 800, wasm.length]);
  over = true; // or the engine would go on: worker.ts sees to it that it does not
});

for (const status of [403, 404, 428, 429, 430, 499, 500, 503, 599]) {
  const retryable = [429, 500, 503, 599].includes(status);
  const cure = status === 404 ? ": wasmUrl says where signer.wasm is, and npx gridsigner copy puts it there" : "";
  test(`an answer of ${status} is LOAD_FAILED, ${retryable ? "" : "not "}retryable`, async () => {
    host.network = () => answerWith(wasm, { status });
    for (const onProgress of [undefined, () => {}]) {
      const got = await loading(onProgress);
      assert.deepEqual([got.code, got.retryable, got.message], ["LOAD_FAILED", retryable, `${url} answered ${status}${cure}`]);
    }
  });
}

for (const [name, network] of [["that fails", refuse], ["that breaks off", () => answerWith(wasm, { breaksAt: 600 })]]) {
  test(`a request ${name} is LOAD_FAILED, retryable, with the cause`, async () => {
    host.network = (init) => (init.method === "HEAD" ? answerWith(Buffer.alloc(0)) : network());
    const { code, message, retryable, cause } = await loading();
    assert.deepEqual([code, retryable], ["LOAD_FAILED", true]);
    assert.match(message, /signer\.wasm could not be fetched, which connect-src may forbid: TypeError/);
    assert.ok(cause instanceof TypeError);
    const { method, signal } = host.requests.at(-1);
    assert.ok(method === "HEAD" && signal instanceof AbortSignal, "it was asked whether the policy is why, and not for long");
  });
}

for (const [name, report, want] of [
  ["connect-src enforced", { effectiveDirective: "connect-src", disposition: "enforce" }, ["CSP_BLOCKED", false]],
  ["connect-src only reported", { effectiveDirective: "connect-src", disposition: "report" }, ["LOAD_FAILED", true]],
  ["another directive", { effectiveDirective: "img-src", disposition: "enforce" }, ["LOAD_FAILED", true]],
]) {
  test(`a request that fails, and a violation is told of: ${name}`, async () => {
    host.network = ({ method }) => {
      // The browser tells in a task of its own.
      if (method === "HEAD") setTimeout(() => host.dispatchEvent(Object.assign(new Event("securitypolicyviolation"), report)));
      return refuse();
    };
    const { code, retryable } = await loading();
    assert.deepEqual([code, retryable], want);
    assert.equal(getEventListeners(host, "securitypolicyviolation").length, 0);
  });
}

test("a violation from before is none of this request's", async () => {
  host.network = () => {
    const report = { effectiveDirective: "connect-src", disposition: "enforce" };
    if (host.requests.length === 1) host.dispatchEvent(Object.assign(new Event("securitypolicyviolation"), report));
    return refuse();
  };
  assert.equal((await loading()).code, "LOAD_FAILED");
});

test("the right bytes that the engine does not take are LOAD_FAILED with its reason", async () => {
  const broken = new WebAssembly.LinkError("no such import");
  host.set({ compileStreaming: () => Promise.reject(broken) }, WebAssembly);
  const { code, message, retryable, cause } = await loading();
  assert.deepEqual([code, retryable, cause], ["LOAD_FAILED", false, broken]);
  assert.match(message, /could not be compiled: LinkError: no such import/);
});

for (const [name, run] of Object.entries({
  "exits": async () => {},
  "traps": () => Promise.reject(new WebAssembly.RuntimeError("unreachable")),
  "registers nothing": () => new Promise(() => {}),
})) {
  for (const own of [undefined, "the page's own"]) {
    test(`a module that ${name} while it starts, where gridsigner is ${own}: LOAD_FAILED`, async () => {
      globalThis.gridsigner = own;
      host.run = run;
      const { code, message, retryable } = await loading();
      assert.deepEqual([code, message, retryable], ["LOAD_FAILED", "the module stopped while it started", false]);
      assert.equal(globalThis.gridsigner, own);
    });
  }
}

test("the global is put back, so that there may be several modules on one thread", async () => {
  globalThis.gridsigner = "the page's own";
  const first = await loading();
  host.module = { keys() {} };
  const second = await loading();
  assert.equal(second.value.module, host.module);
  assert.notEqual(second.value.module, first.value.module);
  assert.equal(globalThis.gridsigner, "the page's own");
});

for (const [name, end] of [["exits", () => host.exit()], ["fails", () => host.abort(new Error("exit code 2"))]]) {
  test(`a module that ${name} later has stopped, and not before`, async () => {
    const { value } = await loading();
    let stopped = false;
    value.stopped.then(() => (stopped = true));
    await idle();
    assert.equal(stopped, false);
    end();
    await idle();
    assert.equal(stopped, true);
  });
}

test("a module that traps has stopped, and whoever called it hears WORKER_FAILED", async () => {
  const { value } = await loading();
  let stopped = false;
  value.stopped.then(() => (stopped = true));
  let resumed;
  host.resume = function () {
    resumed = this;
  };
  host.go._resume();
  assert.equal(resumed, host.go, "what does not trap gets in as before");
  await idle();
  assert.equal(stopped, false);
  host.resume = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  assert.throws(() => host.go._resume(), { code: "WORKER_FAILED", message: "the module crashed", retryable: true });
  await idle();
  assert.equal(stopped, true);
});
