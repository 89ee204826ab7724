/**
 * The page's side of the protocol: calls with a deadline, and what becomes of
 * them when the module does not answer any more. See rpc.ts.
 */
import { fromWire, GridSignerError, type WireError } from "./errors.ts";
import type { Method, Port, Start, ToModule, ToPage } from "./rpc.ts";
import type { ErrorCode, ErrorDetails, SessionEvent } from "./types.ts";

/** A callback of the page's. Its own type says what events it takes. */
export type Listener = (event: unknown) => void;

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

interface Pending {
  settle(): void;
  resolve(value: unknown): void;
  reject(error: GridSignerError): void;
  onProgress: Listener | undefined;
  /** Whether the module has been given the call. */
  sent: boolean;
}

/**
 * How long after its own deadline a call waits for the module to say so. Only
 * a module that no longer answers is overtaken by the page, which cannot say
 * what became of a key; and a busy device is slow, not dead.
 */
const graceMs = 2000;

// The platform's own accessors and methods: those of a caller's signal may have
// been replaced. On anything but a real AbortSignal they throw.
const { addEventListener, removeEventListener } = EventTarget.prototype;
/** Returns its undo. */
export function onAbort(signal: AbortSignal | undefined, abort: () => void): () => void {
  if (signal) addEventListener.call(signal, "abort", abort);
  return () => void (signal && removeEventListener.call(signal, "abort", abort));
}
export const reason = (signal: AbortSignal): unknown => Reflect.get(AbortSignal.prototype, "reason", signal);
export const isAborted = (signal: AbortSignal): boolean => Reflect.get(AbortSignal.prototype, "aborted", signal);

/** The page's side of one module. It ends with the module; index.ts then makes another. */
export class Client {
  /**
   * Settles once: the module is ready for calls, or never will be. Says whether
   * its thread holds the lock that it was to hold.
   */
  readonly ready: Promise<boolean>;
  readonly #port: Port;
  readonly #stop: () => void;
  readonly #pending = new Map<number, Pending>();
  /** The headers that the module waits for. */
  readonly #asked = new Map<number, AbortController>();
  /** Why the last ones were not to be had: a cause cannot cross, so it is put to the error here. */
  #headersCause: unknown;
  #settleReady!: { resolve(alive: boolean): void; reject(error: GridSignerError): void };
  #onDeath = () => {};
  #isReady = false;
  #nextId = 1;
  #probe: ReturnType<typeof setTimeout> | undefined;
  #ended: WireError | undefined;

  /** `stop` ends whatever is behind the port; it is called once, however the client ends. */
  constructor(port: Port, stop: () => void) {
    this.#port = port;
    this.#stop = stop;
    this.ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.ready.catch(() => {}); // whoever needs it hears of it
  }

  /** Whether the module has failed, so that another one is needed. A closed client is not dead. */
  get dead(): boolean {
    return this.#ended !== undefined && this.#ended.code !== "CLOSED";
  }

  start(start: Omit<Start, "progress">, servant: Servant): void {
    this.#onDeath = servant.onDeath;
    this.#port.addEventListener("message", ({ data }) => this.#receive(data as ToPage, servant));
    this.#port.addEventListener("messageerror", () => this.fail("an answer could not be read"));
    this.#port.start?.();
    this.#send({ type: "start", ...start, progress: servant.onLoad !== undefined });
  }

  /**
   * Calls a method. The deadline runs, and the signal counts, from now on: also
   * while the module is still loading. `transfer`: buffers that move to the
   * module instead of being copied.
   */
  call(method: Method, args: unknown[], settings: CallSettings, transfer: Transferable[] = []): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) throw fromWire(this.#ended);
      const id = this.#nextId++;
      const { signal, timeoutMs, onProgress } = settings;

      const pending: Pending = { settle, resolve, reject, onProgress, sent: false };
      const giveUp = (code: ErrorCode, message: string, details: ErrorDetails) => {
        this.#send({ type: "abort", id });
        this.#take(id)?.reject(new GridSignerError(code, message, details));
      };
      const abort = () => giveUp("ABORTED", `${method} was aborted`, { cause: signal && reason(signal) });
      const late = () => {
        giveUp("TIMEOUT", `${method}: no answer within ${timeoutMs} ms`, { retryable: true });
        if (pending.sent) this.askForLife();
      };

      if (signal && isAborted(signal)) {
        throw new GridSignerError("ABORTED", `${method} was aborted`, { cause: reason(signal) });
      }
      const ignore = onAbort(signal, abort);
      const timer = setTimeout(late, timeoutMs + graceMs);
      function settle() {
        clearTimeout(timer);
        ignore();
      }
      this.#pending.set(id, pending);

      const send = () => {
        if (!this.#pending.has(id)) return; // given up while the module was loading
        pending.sent = true;
        try {
          this.#send({ type: "call", id, method, args, progress: onProgress !== undefined }, transfer);
        } catch (cause) {
          // Plain data can be copied, unless there is too much of it.
          this.#take(id)?.reject(new GridSignerError("ARGUMENT_INVALID", `${method}: too large`, { cause }));
        }
      };
      this.ready.then(send, (error) => this.#take(id)?.reject(error));
    });
  }

  /** An error of the module's, with its cause where that is on this side. */
  error(wire: WireError): GridSignerError {
    return fromWire(wire, wire.code === "HEADERS_FAILED" ? this.#headersCause : undefined);
  }

  /**
   * The module is dead, or was never born: rejects what is pending and whatever
   * comes later.
   */
  fail(reason: string, code: ErrorCode = this.#isReady ? "WORKER_FAILED" : "LOAD_FAILED"): void {
    const did = this.#isReady ? "stopped" : "did not start";
    this.#end({ code, message: `the signer ${did}: ${reason}`, retryable: code !== "CSP_BLOCKED" && code !== "ABORTED" });
  }

  /** The caller is done with the module; with one that has failed too, so that no other takes its place. */
  close(): void {
    const closed = { code: "CLOSED", message: "the signer was closed", retryable: false } as const;
    this.#end(closed);
    this.#ended = closed;
  }

  #receive(message: ToPage, { onLoad, onSession, headers }: Servant): void {
    this.#stopProbe(); // whatever it says, it is alive
    if (this.#ended) return;
    switch (message.type) {
      case "session":
        onSession(message.event);
        break;
      case "ask":
        void this.#fetchHeaders(message.id, headers);
        break;
      case "enough":
        this.#asked.get(message.id)?.abort();
        break;
      case "load":
        report(onLoad, message.progress);
        break;
      case "ready":
        this.#isReady = true;
        this.#settleReady.resolve(message.alive);
        break;
      case "failed":
        this.#end(message.error);
        break;
      case "event":
        report(this.#pending.get(message.id)?.onProgress, message.event);
        break;
      case "result":
        this.#take(message.id)?.resolve(message.value);
        break;
      case "error":
        this.#take(message.id)?.reject(this.error(message.error));
        break;
    }
  }

  async #fetchHeaders(id: number, fetchHeaders: Servant["headers"]): Promise<void> {
    const nobodyWaits = new AbortController();
    this.#asked.set(id, nobodyWaits);
    try {
      this.#send({ type: "headers", id, headers: await fetchHeaders(nobodyWaits.signal) });
    } catch (cause) {
      this.#headersCause = cause;
      this.#send({ type: "headers", id, headers: undefined }); // own, so that none are inherited
    } finally {
      this.#asked.delete(id);
    }
  }

  /**
   * A call went unanswered, or the lock of the module's thread is free. After a
   * sleep, or where the lock was stolen, that may be nobody's fault, so the
   * module, which may hold keys that are nowhere else, gets a second chance.
   */
  askForLife(): void {
    if (this.#ended || this.#probe !== undefined) return; // asked already: more calls give it no more time
    this.#send({ type: "ping" });
    this.#probe = setTimeout(() => this.fail("it no longer answers"), graceMs);
  }

  #stopProbe(): void {
    clearTimeout(this.#probe);
    this.#probe = undefined;
  }

  #send(message: ToModule, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  /** Ends a call, if it has not ended before. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.settle();
    return pending;
  }

  #end(error: WireError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#stopProbe();
    this.#send({ type: "close" });
    this.#stop();
    this.#settleReady.reject(fromWire(error));
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(fromWire(error));
    for (const asked of this.#asked.values()) asked.abort();
    if (this.dead) this.#onDeath();
  }
}

/** Calls a listener of the page's. What it throws is the page's to hear of, and changes nothing here. */
export function report(listener: Listener | undefined, event: unknown): void {
  try {
    listener?.(event);
  } catch (error) {
    reportError(error);
  }
}
