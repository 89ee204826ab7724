/** The module's side of the protocol: loads the module when told to, then answers calls. See rpc.ts. */
import type { Page } from "./custody.ts";
import { GridSignerError, toWire, type WireError } from "./errors.ts";
import { type Method, methods, type Port, type Start, type ToModule, type ToPage } from "./rpc.ts";
import type { LoadProgress } from "./types.ts";

/** What answers the calls, and how it ends. */
export interface Service {
  methods: { [M in Method]: (...args: never[]) => Promise<unknown> };
  /** Wipes what it holds in memory. */
  close(): Promise<void>;
  /** Resolves when the module has stopped, which it never does by intent. */
  stopped: Promise<void>;
}

/** What loads the module. */
export type Load = (start: Start, page: Page, onProgress?: (progress: LoadProgress) => void) => Promise<Service>;

export function serve(port: Port, load: Load): void {
  const aborts = new Map<number, AbortController>();
  /** Who waits for headers, until they come or nobody does. */
  const asking = new Map<number, (headers?: Record<string, string>) => void>();
  let asked = 0;
  let service: Service | undefined;
  let closed = false;
  const send = (message: ToPage) => port.postMessage(message);
  const fail = (error: WireError) => {
    void end();
    send({ type: "failed", error });
  };
  const stop = (reason: string) =>
    fail({ code: "WORKER_FAILED", message: `the signer stopped: ${reason}`, retryable: true });

  const page: Page = {
    onEvent: (event) => send({ type: "session", event }),
    headers: (signal) =>
      new Promise((resolve, reject) => {
        const id = asked++;
        const refuse = () => reject(new GridSignerError("HEADERS_FAILED", "the headers function failed", { retryable: true }));
        asking.set(id, (headers) => {
          asking.delete(id);
          if (headers) resolve(headers);
          else refuse();
        });
        signal.addEventListener("abort", () => {
          if (asking.delete(id)) send({ type: "enough", id });
          refuse();
        });
        send({ type: "ask", id });
      }),
  };

  async function start(start: Start): Promise<void> {
    try {
      const loaded = await load(start, page, start.progress ? (progress) => send({ type: "load", progress }) : undefined);
      if (closed) return void loaded.close();
      service = loaded;
      loaded.stopped.then(() => stop("the module exited or crashed"));
      send({ type: "ready", alive: start.alive !== undefined && (await hold(start.alive)) });
    } catch (error) {
      fail(toWire(error));
    }
  }

  async function call(id: number, method: Method, args: unknown[], progress: boolean): Promise<void> {
    if (!service) return; // ended, and the page knows
    if (!methods.includes(method)) return stop("an unknown method was called");
    const options = args.at(-1);
    if (typeof options === "object" && options !== null) {
      const abort = new AbortController();
      aborts.set(id, abort);
      Object.assign(options, { signal: abort.signal });
      if (progress) Object.assign(options, { onProgress: (event: unknown) => send({ type: "event", id, event }) });
    }
    try {
      send({ type: "result", id, value: await service.methods[method](...(args as never[])) });
    } catch (error) {
      const wire = toWire(error);
      // A crash ends every call, and says so by itself.
      if (wire.code !== "WORKER_FAILED") send({ type: "error", id, error: wire });
    } finally {
      aborts.delete(id);
    }
  }

  /** A worker is about to be ended anyway; on the page's own thread this erases the keys in memory. */
  async function end(): Promise<void> {
    for (const abort of aborts.values()) abort.abort();
    const ending = service;
    service = undefined;
    await ending?.close().catch(() => {}); // of a module that crashed there is nothing left to ask
  }

  port.addEventListener("message", ({ data }) => {
    const message = data as ToModule;
    switch (message.type) {
      case "start":
        void start(message);
        break;
      case "call":
        void call(message.id, message.method, message.args, message.progress);
        break;
      case "abort":
        aborts.get(message.id)?.abort();
        break;
      case "headers":
        asking.get(message.id)?.(message.headers);
        break;
      case "ping":
        send({ type: "pong" });
        break;
      case "close":
        closed = true;
        void end();
        break;
    }
  });
  port.addEventListener("messageerror", () => stop("a call could not be read"));
  port.start?.();
}

/**
 * Takes a lock for as long as this thread lives: the browser releases it, however
 * the thread ends. `false` where the browser denies the page whatever tabs could
 * share; a thread that ends is then missed only when it does not answer.
 */
function hold(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    const held = () => {
      resolve(true);
      return new Promise(() => {});
    };
    // Without locks, or where they are denied; one that is stolen later is settled already.
    Promise.resolve(navigator.locks?.request(name, held)).then(() => resolve(false), () => resolve(false));
  });
}
