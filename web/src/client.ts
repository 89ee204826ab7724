/**
 * The page's side of the protocol: calls with a deadline, and what becomes of them when the module does not answer
 * any more. See rpc.ts.
 */
import { fromWire, GridSignerError, toWire, type WireError } from "./errors.ts";
import { closed, type Listener, type Method, Peer, type Port, report, type Start, type Told } from "./rpc.ts";
import type { ErrorCode, SessionEvent } from "./types.ts";

/** What a call is, apart from its arguments. All of it is named, so that nothing is inherited. */
export interface CallSettings {
  timeoutMs: number;
  signal: AbortSignal | undefined;
  onProgress: Listener | undefined;
}

/** What the page does for its module. */
export interface Servant {
  onLoad: Listener | undefined;
  onSession: (event: SessionEvent) => void;
  /** The headers for the bridge. The signal fires when nobody waits for them any more. */
  headers: (signal: AbortSignal) => Promise<Record<string, string>>;
  /** The module has died. */
  onDeath: () => void;
}

/**
 * How long after its own deadline a call waits for the module to say so. Only a module that no longer answers is
 * overtaken by the page, which cannot say what became of a key; and a busy device is slow, not dead.
 */
const graceMs = 2000;

// The platform's own accessors and methods: those of a caller's signal may have been replaced. On anything but a real
// AbortSignal they throw.
const { addEventListener, removeEventListener } = EventTarget.prototype;
const reason = (signal: AbortSignal): unknown => Reflect.get(AbortSignal.prototype, "reason", signal);
export const isAborted = (signal: AbortSignal): boolean => Reflect.get(AbortSignal.prototype, "aborted", signal);

export function aborted(what: string, signal: AbortSignal): GridSignerError {
  return new GridSignerError("ABORTED", `${what} was aborted`, { cause: reason(signal) });
}

/** Calls `abort` with the error for it when the signal fires, at once if it has. Returns its undo. */
export function onAbort(what: string, signal: AbortSignal | undefined, abort: (error: GridSignerError) => void): () => void {
  if (!signal) return () => {};
  const listener = () => abort(aborted(what, signal));
  if (isAborted(signal)) listener();
  addEventListener.call(signal, "abort", listener);
  return () => removeEventListener.call(signal, "abort", listener);
}

/** The page's side of one module. It ends with the module; signer.ts then makes another. */
export class Client {
  /** Settles once: the module is ready for calls, or never will be. */
  readonly ready: Promise<void>;
  /** Whether it is: for whoever cannot wait. */
  isReady = false;
  readonly #peer: Peer;
  readonly #stop: () => void;
  readonly #onDeath: () => void;
  /** Its abort tells the module to forget every key in memory. */
  readonly #life = new AbortController();
  /** Why the last headers were not to be had: a cause cannot cross, so it is put to the error here. */
  #headersCause: unknown;
  #settleReady!: { resolve(): void; reject(error: GridSignerError): void };
  #probe: ReturnType<typeof setTimeout> | undefined;
  #ended: GridSignerError | undefined;

  /** `stop` ends whatever is behind the port; it is called once, however the client ends. */
  constructor(port: Port, stop: () => void, start: Start, { onLoad, onSession, headers, onDeath }: Servant) {
    this.#stop = stop;
    this.#onDeath = onDeath;
    this.ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.ready.catch(() => {}); // whoever needs it hears of it
    // It calls for headers and for nothing else.
    this.#peer = new Peer(port, (_method, _args, { signal }) =>
      headers(signal).catch((cause) => {
        this.#headersCause = cause;
        throw new GridSignerError("HEADERS_FAILED", "the headers function failed", { retryable: true });
      }),
    );
    port.addEventListener("message", () => this.#stopProbe()); // whatever it says, it is alive
    port.addEventListener("messageerror", () => this.fail("an answer could not be read"));

    const hear = (told: Told) => {
      if (told.type === "load") report(onLoad, told.progress.error ? { ...told.progress, error: fromWire(told.progress.error) } : told.progress);
      else if (told.type === "session") onSession(told.event);
      else {
        this.isReady = true;
        this.#settleReady.resolve();
      }
    };
    const settings = { signal: this.life, onProgress: hear as Listener };
    this.#peer.call("start", [start], settings).catch((error) => this.end(error));
  }

  /** Fires when the client ends. */
  get life(): AbortSignal {
    return this.#life.signal;
  }

  /** Whether the module has failed, so that another one is needed. A closed client is not dead. */
  get dead(): boolean {
    return this.#ended !== undefined && this.#ended.code !== "CLOSED";
  }

  /** Calls a method. The deadline runs, and the signal counts, from now on: also while the module is still loading. */
  async call(method: Method, args: unknown[], settings: CallSettings, transfer: Transferable[] = []): Promise<unknown> {
    if (this.#ended) throw this.#ended;
    const { signal, timeoutMs, onProgress } = settings;
    const patience = new AbortController();
    const over = new Promise<never>((_, reject) => (patience.signal.onabort = () => reject(patience.signal.reason)));
    const ignore = onAbort(method, signal, (error) => patience.abort(error));
    const timer = setTimeout(() => {
      patience.abort(new GridSignerError("TIMEOUT", `${method}: no answer within ${timeoutMs} ms`, { retryable: true }));
      if (this.isReady) this.askForLife();
    }, timeoutMs + graceMs);
    try {
      const answer = this.ready.then(() => this.#peer.call(method, args, { signal: patience.signal, onProgress }, transfer));
      return await Promise.race([answer, over]);
    } catch (error) {
      throw error instanceof GridSignerError && error.code === "HEADERS_FAILED" ? this.error(toWire(error)) : error;
    } finally {
      clearTimeout(timer);
      ignore();
    }
  }

  /** An error of the module's, with its cause where that is on this side. */
  error(wire: WireError): GridSignerError {
    return fromWire(wire, wire.code === "HEADERS_FAILED" ? this.#headersCause : undefined);
  }

  /** The module is dead, or was never born: rejects what is pending and whatever comes later. */
  fail(reason: string, code: ErrorCode = this.isReady ? "WORKER_FAILED" : "LOAD_FAILED"): void {
    const did = this.isReady ? "stopped" : "did not start";
    this.end(new GridSignerError(code, `the signer ${did}: ${reason}`, { retryable: code !== "CSP_BLOCKED" }));
  }

  /** The caller is done with the module; with one that has failed too, so that no other takes its place. */
  close(): void {
    this.end(fromWire(closed));
    this.#ended = fromWire(closed);
  }

  /**
   * A call went unanswered, or the lock of the module's thread is free. After a sleep, or where the lock was stolen,
   * that may be nobody's fault, so the module, which may hold keys that are nowhere else, gets a second chance.
   */
  askForLife(): void {
    if (this.#ended || this.#probe !== undefined) return; // asked already: more calls give it no more time
    this.#peer.call("ping", [], { signal: new AbortController().signal, onProgress: undefined }).catch(() => {});
    this.#probe = setTimeout(() => this.fail("it no longer answers"), graceMs);
  }

  #stopProbe(): void {
    clearTimeout(this.#probe);
    this.#probe = undefined;
  }

  /** Once, whatever may be said later. */
  end(error: GridSignerError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#stopProbe();
    this.#life.abort();
    this.#peer.end(toWire(error));
    this.#stop();
    this.#settleReady.reject(error);
    if (this.dead) this.#onDeath();
  }
}
