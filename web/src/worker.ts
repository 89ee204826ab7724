/** The entry of worker.js. In a worker of ours it serves the page at once; on the page's own thread index.ts hands it a port. */
import "wasm_exec.js";
import { Custody } from "./custody.ts";
import { type Port, workerName } from "./rpc.ts";
import { late } from "./module.ts";
import { load } from "./runtime.ts";
import { serve as serveWith } from "./serve.ts";

/** Answers calls over `port`, from before the module is loaded. */
export function serve(port: Port): void {
  serveWith(port, async ({ wasmUrl, custody: settings }, page, onProgress) => {
    const { module, stopped } = late(() => load(wasmUrl, onProgress));
    const custody = new Custody(module, settings, page);
    return { methods: custody, close: () => custody.close(), stopped };
  });
}

// The name tells our worker from one of the app's that imports this file.
if (!("document" in globalThis) && self.name === workerName) {
  serve(self as unknown as Port);
}
