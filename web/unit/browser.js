// The tabs of one browser, with the real module in each, and Grid behind a bridge: test/grid.js. Storage is memory that
// they share. Time passes by the test's hand: the server's, the device's, and what a sleep leaves out.
import assert from "node:assert/strict";
import { mock } from "node:test";
import { Custody } from "../.tsc/src/custody.js";
import { fromWire, toWire } from "../.tsc/src/errors.js";
import { Memory } from "../.tsc/src/keys/memory.js";
import { methods } from "../.tsc/src/rpc.js";
import { makeGrid } from "../test/grid.js";
import { startModule } from "./module.js";
import { idle, never, outcome } from "./ports.js";

export const [second, minute] = [1000, 60_000];
export const bridgeUrl = "https://wallet.example/api/grid";

/** Whether it is one of a refresh; of one of its legs, where that is named. */
export const isRefresh = ({ path, leg }, wanted = leg) => path.endsWith("/refresh") && leg === wanted;

/** What a bridge says of itself, and an answer that gets lost. */
export const refusal = (status, code = "REFUSED") => ({ status, body: { status, code, message: "as the test has it" } });
export const lost = () => Promise.reject(new TypeError("Failed to fetch"));

/** What the tabs share. */
class Shared extends Memory {
  async wrappingKey(made) {
    return (this.made ??= made);
  }
}

/** Counts how often each secret that the module holds is let go of. */
function counting(module, held) {
  const make = (name) => async (options) => {
    const made = await module[name](options);
    held.set(made.id, 0);
    return made;
  };
  const removeKey = (id) => (held.set(id, held.get(id) + 1), module.removeKey(id));
  return { ...module, createKey: make("createKey"), importKey: make("importKey"), removeKey };
}

export class Browser {
  /** The server's time, which is the true one, and how far this device's clock is ahead. */
  server = 1_900_000_000_000;
  ahead = 0;
  isOffline = false;
  storage = new Shared();
  tabs = [];
  /** What came to the bridge: {tab, method, path, leg, headers, body, at}. */
  requests = [];
  /** The bridge: what it answers, where `ask` is Grid's answer. */
  bridge = (request, ask) => ask();
  /** Called before a tab changes a record, with what it then makes of it, if nothing comes between. */
  atUpdate = async () => {};
  /** Called before and after a tab uses storage, with the name of what it calls. What it throws storage does. */
  atStorage = async () => {};
  #monotonic = 0;
  #crypting = 0;
  #undo = [];

  constructor(settings = {}) {
    this.grid = makeGrid({ now: () => this.server, ...settings });
    mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
    const browser = this;
    const { Date: RealDate } = globalThis;
    class Date extends RealDate {
      constructor(...args) {
        super(...(args.length === 0 ? [Date.now()] : args));
      }
      static now() {
        return browser.server + browser.ahead;
      }
    }
    this.set(globalThis, { Date, fetch: (url, init) => this.#fetch(url, init), addEventListener: (_, listener) => (this.listener = listener) });
    this.set(performance, { now: () => this.#monotonic });
    // Under load WebCrypto takes its time, and none is to pass meanwhile.
    const { subtle } = crypto;
    for (const name of ["generateKey", "exportKey", "importKey", "sign", "verify", "encrypt", "decrypt", "deriveBits", "digest"]) {
      const work = subtle[name];
      this.set(subtle, { [name]: (...args) => (this.#crypting++, work.apply(subtle, args).finally(() => this.#crypting--)) });
    }
  }

  /** Puts something in the place of what is there, until it is closed. */
  set(target, values) {
    for (const [name, value] of Object.entries(values)) {
      const before = Object.getOwnPropertyDescriptor(target, name);
      this.#undo.unshift(() => (before ? Object.defineProperty(target, name, before) : delete target[name]));
      Object.defineProperty(target, name, { value, configurable: true, writable: true });
    }
  }

  async close() {
    for (const tab of this.tabs) await tab.close();
    await idle();
    for (const undo of this.#undo) undo();
    mock.timers.reset();
  }

  async #fetch(url, { method, headers, body, signal } = {}) {
    const date = () => ({ Date: new Date(this.server).toUTCString() });
    if (method === "HEAD") return this.isOffline ? lost() : new Response(null, { status: 405, headers: date() });
    const given = Object.fromEntries(headers);
    const tab = this.tabs[given["x-tab"]];
    if (!tab.isAlive) return never();
    const leg = given["grid-wallet-signature"] ? 2 : 1;
    const request = { tab, method, path: url.slice(bridgeUrl.length), leg, headers: given, body: body ?? undefined, at: this.server };
    if (this.isOffline) return lost();
    this.requests.push(request);
    const answer = await this.bridge(request, () => this.grid.answer(request));
    await tab.thawed;
    if (!tab.isAlive) return never();
    signal?.throwIfAborted();
    return new Response(answer.body && JSON.stringify(answer.body), { status: answer.status, headers: { ...date(), ...answer.headers } });
  }

  /** Another tab. One that is killed does nothing more, whatever it was at. */
  async open({ autoRefresh = true, persistence = "indexeddb" } = {}) {
    const signers = [this.grid.enclave.publicKey];
    const settings = {
      bridgeUrl, credentials: "omit", payloads: "activities", persistence, namespace: undefined, autoRefresh, otpSigners: signers, exportSigners: signers,
    };
    const [events, index] = [[], this.tabs.length];
    const page = { onEvent: (event) => tab.isAlive && events.push(event), headers: async () => ({ "X-Tab": String(index) }) };
    const { storage } = this;
    const port = { close() {} };
    for (const name of ["all", "get", "add", "update", "wrappingKey"]) {
      port[name] = async (...args) => {
        await tab.thawed;
        if (name === "update") {
          const before = await storage.get(args[0]);
          await this.atUpdate(tab, before, before && args[1](before));
        }
        await this.atStorage(tab, name, "before");
        if (!tab.isAlive) return never();
        const result = await storage[name](...args);
        await this.atStorage(tab, name, "after");
        return tab.isAlive ? result : never();
      };
    }
    const tab = { isAlive: true, events, held: new Map(), kill: () => (tab.isAlive = false) };
    /** As long as it is frozen nothing comes to it, and nothing of it comes out. Returns what ends that. */
    tab.freeze = () => {
      let thaw;
      tab.thawed = new Promise((resolve) => (thaw = resolve));
      return thaw;
    };
    this.tabs.push(tab);
    const custody = new Custody(counting(await startModule(), tab.held), settings, page, port);
    for (const method of [...methods, "close"]) tab[method] = (...args) => custody[method](...args);
    return Object.assign(tab, { online: this.listener });
  }

  /** Everything has happened that waits for no time. */
  async settled() {
    for (let quiet = 0; quiet < 8; quiet++) {
      await idle();
      if (this.#crypting > 0) quiet = 0;
    }
  }

  /** Time passes, in steps that leave room for what waits for more than one timer. */
  async pass(ms, step = second) {
    for (let passed = 0; passed < ms; passed += step) {
      await this.settled();
      this.#tick(Math.min(step, ms - passed));
    }
    await this.settled();
  }

  #tick(ms) {
    this.server += ms;
    this.#monotonic += ms;
    mock.timers.tick(ms);
  }

  /** The device sleeps: no timer runs, and its monotonic clock stands still. */
  sleep(ms) {
    this.server += ms;
  }

  /** What a promise comes to, as time passes. */
  async soon(promise, atMostMs = 150 * second) {
    let done = false;
    // The module's errors have our name, and get our class where they cross to the page.
    const got = outcome(promise.catch((error) => Promise.reject(error.name === "GridSignerError" ? fromWire(toWire(error)) : error))).finally(() => (done = true));
    for (let passed = 0; !done && passed < atMostMs; passed += 50) {
      await this.settled();
      if (!done) this.#tick(50);
    }
    assert.ok(done, "it never ends");
    return got;
  }

  /** Time passes until something is so. */
  async until(what, atMostMs = 150 * second) {
    for (let passed = 0; passed < atMostMs; passed += 50) {
      await this.settled();
      if (what()) return;
      this.#tick(50);
    }
    assert.fail("it never comes to that");
  }

  /** A key that is signed in. */
  async signIn(tab, { curve } = {}) {
    const { value: made } = await this.soon(tab.createKey({ curve }, {}));
    return (await this.soon(tab.bindSession(made.id, this.grid.add(made.publicKey)))).value;
  }

  refresh(tab, { id }, options = {}) {
    return this.soon(tab.refreshSession({ key: id, timeoutMs: minute, ...options }));
  }

  /** What Grid has: who signs for each session. */
  get live() {
    this.grid.answer({ method: "GET", path: "/auth/sessions", headers: {} }); // what is settled by now is, and what is over is gone
    return [...this.grid.sessions.values()].map(({ id, publicKey }) => ({ id, publicKey }));
  }

  /** How many refreshes were asked for, or signed. */
  count(leg = 1) {
    return this.requests.filter((request) => isRefresh(request, leg)).length;
  }

  /** In the end the key signs for the one session that there is. */
  async assertOne(tab, { id }) {
    const { value: keys } = await this.soon(tab.keys());
    assert.deepEqual(keys.map((key) => key.id), [id]);
    assert.deepEqual(this.live, [{ id: keys[0].session.id, publicKey: keys[0].publicKey }]);
    return keys[0];
  }
}

/** Events in a word each. */
export const types = ({ events }) => events.map(({ type, reason }) => reason ?? type);
