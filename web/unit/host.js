// What runtime.ts finds in a worker: a network, a policy, a Go class, and the
// constants that web/build fills in. WebAssembly and SHA-256 are Node's own.
import { createHash } from "node:crypto";

/** A module that compiles and does nothing, of some length: its one section has a name and is of no meaning. */
export const wasm = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0, 0xe9, 0x07, 1, 0x78, ...Buffer.alloc(999, 7));
export const hash = createHash("sha256").update(wasm).digest("hex");
export const url = "https://app.example/signer.wasm";
export const type = { "Content-Type": "application/wasm" };

/** The module, in pieces of this many bytes. */
export const answerWith = (bytes, { headers = type, status = 200, pieces = 300, breaksAt } = {}) => {
  let sent = 0;
  const pull = (controller) => {
    if (sent >= breaksAt) return controller.error(new TypeError("connection lost"));
    if (sent >= bytes.length) return controller.close();
    controller.enqueue(bytes.slice(sent, (sent += pieces)));
  };
  return new Response(new ReadableStream({ pull }), { headers, status });
};

/** Such a worker, while it is open. Its events are those of the worker's scope. */
export class Host extends EventTarget {
  /** What was asked of the network. */
  requests = [];
  /** By which functions the engine was given the module, and with which imports. */
  given = [];
  imports;
  /** What is at the URL. */
  network = () => answerWith(wasm);
  /** What Go does with an instance: it registers its functions and waits. */
  run = async () => {
    globalThis.gridsigner = this.module;
    return new Promise((resolve, reject) => Object.assign(this, { exit: resolve, abort: reject }));
  };
  /** What happens where something gets into the module. */
  resume = () => {};
  module = { keys() {} };

  constructor() {
    super();
    const host = this;
    class Go {
      importObject = { gojs: {} };
      constructor() {
        host.go = this;
      }
      run(instance) {
        return host.run(instance);
      }
      _resume() {
        return host.resume.call(this);
      }
    }
    this.set({ Go, WASM_SIZE: wasm.length, WASM_SHA256: hash, addEventListener: this.addEventListener.bind(this) });
    this.set({
      async fetch(url, init = {}) {
        host.requests.push({ url, ...init });
        return host.network(init);
      },
    });
    for (const name of ["compile", "compileStreaming", "instantiate"]) {
      const original = WebAssembly[name];
      this.set({
        [name]: (source, imports) => {
          if (imports?.gojs) this.imports = imports;
          if (imports?.gojs || name === "compileStreaming" || source.length === wasm.length) this.given.push(name); // Node has modules, too
          return original(source, imports);
        },
      }, WebAssembly);
    }
  }

  #undo = [];
  /** Sets globals, or what is in one of them, until it is closed. */
  set(values, target = globalThis) {
    for (const [name, value] of Object.entries(values)) {
      const before = Object.getOwnPropertyDescriptor(target, name);
      this.#undo.unshift(() => (before ? Object.defineProperty(target, name, before) : delete target[name]));
      Object.defineProperty(target, name, { value, configurable: true, writable: true });
    }
  }

  remove(name, target = globalThis) {
    this.set({ [name]: undefined }, target);
    delete target[name];
  }

  close() {
    for (const undo of this.#undo) undo();
    delete globalThis.gridsigner;
  }
}
