// What the tests put between client.ts and serve.ts, and behind serve.ts: ports
// that keep what was posted, locks, and a service that answers as it is told to.
import { mock } from "node:test";
import { Client } from "../.tsc/src/client.js";
import { GridSignerError } from "../.tsc/src/errors.js";
import { methods } from "../.tsc/src/rpc.js";
import { serve } from "../.tsc/src/serve.js";

/** Ends when everything has happened that does not wait for time, for input, or for a hash. */
export const idle = () => new Promise((resolve) => setImmediate(resolve));

/** What a promise came to: { value }, or the error that it was rejected with, which has to be one of ours. */
export const outcome = (promise) =>
  promise.then(
    (value) => ({ value }),
    (error) => (error instanceof GridSignerError ? error : { uncoded: error }),
  );

/** From now on, until mock.timers.reset(), time passes by mock.timers.tick() only. */
export function stopTime() {
  mock.timers.enable({ apis: ["setTimeout"] });
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (what, ms = 0, ...args) => setTimeout(what, ms, ...args); // Node 20's mock does not take one without a delay
}

export const never = () => new Promise(() => {});

/**
 * One end of a channel. As in a browser, a message is a structured clone, what is
 * in the transfer list moves, and an end gets none before it is started. Unlike
 * there each comes in a microtask, so that once idle() is over all have come.
 */
export class Port extends EventTarget {
  /** Copies of all that was posted at this end. */
  posted = [];
  /** The methods that were called from here, and from the other end, by id. */
  called = {};
  heard = {};
  peer;
  #waiting = [];

  postMessage(message, transfer = []) {
    const data = structuredClone(message, { transfer });
    this.posted.push(structuredClone(data));
    if (data.type === "call") this.called[data.id] = data.method;
    this.peer?.receive(data);
  }

  receive(data) {
    if (data.type === "call") this.heard[data.id] = data.method;
    if (this.#waiting) this.#waiting.push(data);
    else queueMicrotask(() => this.dispatchEvent(new MessageEvent("message", { data })));
  }

  start() {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const data of waiting) this.receive(data);
  }

  close() {
    if (this.peer) this.peer.peer = undefined;
    this.peer = undefined;
  }

  /** The calls of a service among what was posted. */
  get calls() {
    return this.posted.filter(({ type, method }) => type === "call" && methods.includes(method));
  }

  /** What was posted, in a word each. */
  get types() {
    const words = {
      call: ({ method }) => (methods.includes(method) ? "call" : method),
      abort: ({ id }) => ({ start: "close", headers: "enough" })[this.called[id]] ?? "abort",
      event: ({ id, event }) => (this.heard[id] === "start" ? event.type : "event"),
      result: ({ id }) => ({ start: "closed", ping: "pong", headers: "headers" })[this.heard[id]] ?? "result",
      error: ({ id }) => ({ start: "failed", headers: "no headers" })[this.heard[id]] ?? "error",
    };
    return this.posted.map((message) => words[message.type](message));
  }
}

/** Two ends, as of a MessageChannel. */
export function pair() {
  const [page, module] = [new Port(), new Port()];
  page.peer = module;
  module.peer = page;
  return [page, module];
}

/**
 * navigator.locks, as far as the signer needs them: a lock is held until what its
 * callback returned settles, or its thread ends or somebody steals it, both of
 * which `release` is.
 */
export class Locks {
  /** By name: who holds it, then who waits for it. */
  #queues = new Map();

  request(name, ...rest) {
    const granted = rest.pop();
    const { signal } = rest[0] ?? {};
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      const entry = { reject };
      entry.grant = async () => {
        resolve(await granted());
        if (queue[0] === entry) this.release(name);
      };
      queue.push(entry);
      signal?.addEventListener("abort", () => {
        queue.splice(queue.indexOf(entry), 1);
        reject(signal.reason);
      });
      if (queue.length === 1) queueMicrotask(entry.grant);
    });
  }

  release(name) {
    const queue = this.#queues.get(name) ?? [];
    queue.shift()?.reject(new DOMException("stolen", "AbortError"));
    queue[0]?.grant();
  }

  /** How many hold or wait for each lock. */
  get sizes() {
    return [...this.#queues.values()].map(({ length }) => length);
  }
}

/** navigator has no locks in Node, or is not there at all. */
export function setLocks(locks) {
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
}

/** A service that remembers what it was asked. `answers` has a function for each method that is to answer something. */
export function makeService(answers = {}) {
  const service = { asked: [], closed: 0, methods: {} };
  for (const method of methods) {
    service.methods[method] = async (...args) => {
      service.asked.push({ method, args });
      return answers[method]?.(...args);
    };
  }
  service.close = async () => void service.closed++;
  service.stopped = new Promise((resolve) => (service.stop = resolve));
  return service;
}

/**
 * A client and a service, joined. `load` is what serve.ts loads the service with,
 * and `asks` what it has of the page then; the rest is what the page does.
 */
export function join({ answers, load, onLoad, onSession = () => {}, headers = async () => ({}), onDeath = () => {}, alive, ends = pair() } = {}) {
  const [page, module] = ends;
  const joined = { page, module, service: makeService(answers), stopped: 0 };
  serve(module, (start, asks, onProgress) => {
    Object.assign(joined, { start, asks, onProgress });
    return load ? load(joined.service) : joined.service;
  });
  const start = { wasmUrl: "https://app.example/signer.wasm", alive, custody: { bridgeUrl: "/api/grid" }, progress: onLoad !== undefined };
  joined.client = new Client(page, () => joined.stopped++, start, { onLoad, onSession, headers, onDeath });
  return joined;
}

/** The same, once it is ready. */
export async function joinReady(settings) {
  const joined = join(settings);
  await joined.client.ready;
  return joined;
}

/** The settings of a call whose caller wants nothing in particular. */
export const patient = { timeoutMs: 1000, signal: undefined, onProgress: undefined };

/** While a test runs, every object has these. Where it has them no more than that, `clean` ends it early. */
export function pollute(t, values) {
  const clean = () => Object.keys(values).forEach((name) => delete Object.prototype[name]);
  t.after(clean);
  Object.assign(Object.prototype, values);
  return clean;
}

/** A module of a test's, which revokes and lists with methods of its own. */
export const performing = (module) =>
  Object.assign(module, {
    async perform(operation, { id, ...options }) {
      if (operation === "revoke-session") return module.revokeSession(id, options);
      return { status: "listed", body: JSON.stringify({ data: await module.listSessions(id, options) }) };
    },
  });
