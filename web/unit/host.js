// What runtime.ts finds in a worker: a network, a policy, a Go class, and the
// constants that web/build fills in. WebAssembly and SHA-256 are Node's own.
import { createHash } from "node:crypto";

const sha256 = (bytes, encoding) => createHash("sha256").update(bytes).digest(encoding);

/** A module that compiles and does nothing, of some length: its one section has a name and is of no meaning. */
export const wasm = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0, 0xe9, 0x07, 1, 0x78, ...Buffer.alloc(999, 7));
export const hash = sha256(wasm, "hex");
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
  /** Each time that the engine was given the module: by which function, and with which imports. */
  compiled = [];
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
        const response = await host.network(init);
        // As a browser does, without a word about why: of another status there is no such thing either.
        if (!init.integrity) return response;
        const bytes = new Uint8Array(await response.clone().arrayBuffer());
        if (init.integrity !== `sha256-${sha256(bytes, "base64")}`) throw new TypeError("Failed to fetch");
        return response;
      },
    });
    for (const name of ["instantiate", "instantiateStreaming"]) {
      const original = WebAssembly[name];
      this.set({
        [name]: (source, imports) => {
          if (imports?.gojs) this.compiled.push([name, imports]); // Node compiles, too
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
