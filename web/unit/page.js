// A page for index.ts: the globals that it finds in a browser, and workers that
// have serve.ts and a service of the test's in them.
import { mock } from "node:test";
import { createSigner } from "../.tsc/src/index.js";
import { serve } from "../.tsc/src/serve.js";
import { idle, Locks, makeService, Port } from "./ports.js";

export const session = "Session:019542f5-b3e7-1d02-0000-000000000003";
export const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";
export const expiresAt = "2026-04-08T15:45:01Z";
export const key = { id: "key-1", curve: "P-256", publicKey: "02ab", protection: "non-extractable", persistence: "indexeddb" };
export const challenge = (payloadToSign = "opaque") => ({ payloadToSign, requestId: "Request:1", expiresAt });

/** Beside index.js, which is a file here, there is no worker of the page's origin. */
export const create = (options) => createSigner({ bridgeUrl: "/api/grid", workerUrl: "/worker.js", ...options });

/** How long a worker may leave the question unanswered whether it lives. */
export const graceMs = 2000;

export const hostile = () => {
  throw new Error("hostile");
};

/** While it is open there is such a page. Its events are those of the page's window. */
export class Page extends EventTarget {
  /** All that were started, the newest last. */
  workers = [];
  locks = new Locks();
  reported = [];
  /** What the methods of the next worker's service answer. */
  answers = {
    createKey: () => key,
    importKey: () => key,
    listSessions: () => [],
    revokeSession: () => ({ status: "revoked", sessionId: session }),
    signOut: ({ scope }) => (scope === "this" ? { status: "revoked", sessionId: session } : []),
  };
  /** What the next worker loads its service with. */
  load = (service) => service;
  /** What happens where a worker is constructed: it may throw, as a policy does. */
  onWorker = () => {};

  constructor() {
    super();
    const page = this;
    class Worker extends Port {
      constructor(url, options) {
        super();
        page.onWorker(url, options);
        Object.assign(this, { url, options, peer: new Port(), service: makeService(page.answers) });
        this.peer.peer = this;
        this.start(); // as a Worker is from the beginning
        serve(this.peer, (start, asks, onProgress) => {
          Object.assign(this, { started: start, asks, onProgress });
          return page.load(this.service);
        });
        page.workers.push(this);
      }

      terminate() {
        this.terminated = true;
        this.die();
      }

      /** Ends without a word, as where the browser takes the memory back. */
      die() {
        this.peer?.close();
        page.locks.release(this.started?.alive);
      }
    }
    this.set({
      location: new URL("https://app.example/account/keys?tab=1"),
      isSecureContext: true,
      addEventListener: this.addEventListener.bind(this),
      reportError: (error) => this.reported.push(error),
      Worker,
      navigator: { locks: this.locks },
    });
  }

  #undo = [];
  /** Sets globals, until it is closed. */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const before = Object.getOwnPropertyDescriptor(globalThis, name);
      this.#undo.unshift(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
  }

  /** The browser ends the newest worker, of which the page becomes sure by waiting. */
  async kill() {
    this.worker.die();
    await idle();
    mock.timers.tick(graceMs);
    await idle();
  }

  get worker() {
    return this.workers.at(-1);
  }

  /** The calls that were posted to any worker, as they were posted. */
  get calls() {
    return this.workers.flatMap(({ calls }) => calls);
  }

  close() {
    for (const undo of this.#undo) undo();
  }
}
