/** The entry of worker.js. In a worker of ours it serves the page at once; on the page's own thread index.ts hands it a port. */
import { Custody } from "./custody.ts";
import { GridSignerError, toWire } from "./errors.ts";
import { late } from "./module.ts";
import { type Port, workerName } from "./rpc.ts";
import { serve as serveWith } from "./serve.ts";

/** Answers calls over `port`, from before the module is loaded. */
export function serve(port: Port): void {
  serveWith(port, async ({ runtimeUrl, wasmUrl, custody: settings }, page, onProgress) => {
    let tries = 0;
    const { module, stopped } = late(async () => {
      // What could not be imported once is not asked for again, except by another URL.
      const runtime = import(`${runtimeUrl}#${tries++}`) as Promise<typeof import("./runtime.ts")>;
      const enough = new AbortController();
      const request = () => fetch(wasmUrl, { signal: enough.signal });
      const first = request();
      first.catch(() => {}); // asked once more below, by who then looks for the reason
      try {
        const found = runtime.then(({ load = globalThis.gridsignerLoad }) => load ?? Promise.reject(new Error("it is another file")));
        const load = await found.catch((cause) => {
          throw new GridSignerError("LOAD_FAILED", `${runtimeUrl} could not be loaded: ${cause}`, { cause, retryable: true });
        });
        globalThis.gridsignerLoad = undefined;
        return await load(wasmUrl, () => first.catch(request), onProgress);
      } catch (error) {
        enough.abort(); // however much more there is of what is no module of ours
        onProgress?.({ phase: "failed", loaded: 0, total: 0, error: toWire(error) });
        throw error;
      }
    });
    const custody = new Custody(module, settings, page);
    return { methods: custody, close: () => custody.close(), stopped };
  });
}

// The name tells our worker from one of the app's that imports this file. Node has no self.
if (!("document" in globalThis) && globalThis.self?.name === workerName) {
  serve(self as unknown as Port);
}
