/** The module's side of the protocol: loads the module when told to, then answers calls. See rpc.ts. */
import type { Page } from "./custody.ts";
import { GridSignerError, toWire } from "./errors.ts";
import { type Call, closed, type Loading, type Method, methods, Peer, type Port, type Start, type Told } from "./rpc.ts";

/** What answers the calls, and how it ends. */
export interface Service {
  methods: { [M in Method]: (...args: never[]) => Promise<unknown> };
  /** Wipes what it holds in memory. */
  close(): Promise<void>;
  /** Resolves when the module has stopped, which it never does by intent. */
  stopped: Promise<void>;
}

/** What loads the module. */
export type Load = (start: Start, page: Page, onProgress?: (progress: Loading) => void) => Promise<Service>;

export function serve(port: Port, load: Load): void {
  let service: Service | undefined;
  let stop!: (reason: string) => void;
  const failed = new Promise<never>((_, reject) => {
    stop = (reason) => reject(new GridSignerError("WORKER_FAILED", `the signer stopped: ${reason}`, { retryable: true }));
  });
  failed.catch(() => {}); // start passes it on
  const peer = new Peer(port, (method, args, call) => {
    if (method === "start") return start(args[0] as Start, call);
    return method === "ping" ? undefined : answer(method as Method, args, call);
  });
  port.addEventListener("messageerror", () => stop("a call could not be read"));

  /** Lasts as long as the module. */
  async function start(start: Start, { signal, onProgress }: Call): Promise<void> {
    const tell = onProgress as (told: Told) => void;
    const page: Page = {
      onEvent: (event) => tell({ type: "session", event }),
      headers: (signal) => peer.call("headers", [], { signal, onProgress: undefined }) as Promise<Record<string, string>>,
    };
    const loaded = await load(start, page, start.progress ? (progress) => tell({ type: "load", progress }) : undefined);
    try {
      if (signal.aborted) return;
      service = loaded;
      loaded.stopped.then(() => stop("the module exited or crashed"));
      void hold(start.alive).then(() => tell({ type: "ready" }));
      await Promise.race([failed, new Promise((close) => (signal.onabort = close))]);
    } finally {
      // A worker is about to be ended anyway; on the page's own thread this erases the keys in memory.
      service = undefined;
      peer.end(closed);
      void loaded.close().catch(() => {}); // of a module that crashed there is nothing left to ask
    }
  }

  async function answer(method: Method, args: unknown[], { signal, onProgress }: Call): Promise<unknown> {
    if (!service) return never; // ended, and the page knows
    if (!methods.includes(method)) {
      stop("an unknown method was called");
      return never;
    }
    const options = args.at(-1); // an object that comes last is the options
    if (typeof options === "object" && options !== null) Object.assign(options, { signal, ...(onProgress && { onProgress }) });
    try {
      return await service.methods[method](...(args as never[]));
    } catch (error) {
      if (toWire(error).code === "WORKER_FAILED") return never; // a crash ends every call, and says so by itself
      throw error;
    }
  }
}

/**
 * Takes a lock for as long as this thread lives: the browser releases it, however the thread ends. Where there is none
 * to take, or the browser denies it, a thread that ends is missed only when it does not answer.
 */
function hold(name: string | undefined): Promise<unknown> {
  return new Promise((resolve) => {
    const held = () => (resolve(undefined), never);
    Promise.resolve(name && navigator.locks?.request(name, held)).then(resolve, resolve);
  });
}

const never = new Promise<never>(() => {});
