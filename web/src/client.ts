/**
 * The page's side of the protocol: calls with a deadline, and what becomes of
 * them when the module does not answer any more. See rpc.ts.
 */
import { fromWire, GridSignerError, type WireError } from "./errors.ts";
import type { Method, Port, Start, ToModule, ToPage } from "./rpc.ts";
import type { ErrorCode, ErrorDetails } from "./types.ts";

/** The arguments of a call, or how to come by them. */
export type Arguments = unknown[] | (() => Promise<unknown[]>);

/** A callback of the page's. Its own type says what events it takes. */
export type Listener = (event: unknown) => void;

/** What a call is, apart from its arguments. */
export interface CallSettings {
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  onProgress?: Listener | undefined;
  /** Buffers that move to the module instead of being copied. */
  transfer?: Transferable[];
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
const reason = (signal: AbortSignal): unknown => Reflect.get(AbortSignal.prototype, "reason", signal);
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
  #settleReady!: { resolve(alive: boolean): void; reject(error: GridSignerError): void };
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

  start(start: Omit<Start, "progress">, onLoad: Listener | undefined, onKeys: Listener | undefined): void {
    this.#port.addEventListener("message", ({ data }) => this.#receive(data as ToPage, onLoad, onKeys));
    this.#port.addEventListener("messageerror", () => this.fail("an answer could not be read"));
    this.#port.start?.();
    this.#send({ type: "start", ...start, progress: onLoad !== undefined });
  }

  /**
   * Calls a method. The deadline runs, and the signal counts, from now on: also
   * while the module is still loading or the arguments are being fetched.
   */
  call(method: Method, args: Arguments, settings: CallSettings): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) throw fromWire(this.#ended);
      const id = this.#nextId++;
      const { signal, timeoutMs, onProgress, transfer } = settings;

      const pending: Pending = { settle, resolve, reject, onProgress, sent: false };
      const giveUp = (code: ErrorCode, message: string, details: ErrorDetails) => {
        this.#send({ type: "abort", id });
        this.#take(id)?.reject(new GridSignerError(code, message, details));
      };
      const abort = () => giveUp("ABORTED", `${method} was aborted`, { cause: signal && reason(signal) });
      const late = () => {
        giveUp("TIMEOUT", `${method}: no answer within ${timeoutMs} ms`, { retryable: true });
        if (pending.sent) this.#askForLife();
      };

      if (signal && isAborted(signal)) {
        throw new GridSignerError("ABORTED", `${method} was aborted`, { cause: reason(signal) });
      }
      if (signal) addEventListener.call(signal, "abort", abort);
      const timer = setTimeout(late, timeoutMs + graceMs);
      function settle() {
        clearTimeout(timer);
        if (signal) removeEventListener.call(signal, "abort", abort);
      }
      this.#pending.set(id, pending);

      const send = (args: unknown[]) => {
        if (!this.#pending.has(id)) return; // given up while the arguments were on their way
        pending.sent = true;
        try {
          this.#send({ type: "call", id, method, args, progress: onProgress !== undefined }, transfer);
        } catch (cause) {
          // Plain data can be copied, unless there is too much of it.
          this.#take(id)?.reject(new GridSignerError("ARGUMENT_INVALID", `${method}: too large`, { cause }));
        }
      };
      const fetched = typeof args === "function" ? args() : args;
      Promise.all([fetched, this.ready]).then(([args]) => send(args), (error) => this.#take(id)?.reject(error));
    });
  }

  /**
   * The module is dead, or was never born: rejects what is pending and whatever
   * comes later.
   */
  fail(reason: string, code: ErrorCode = this.#isReady ? "WORKER_FAILED" : "LOAD_FAILED"): void {
    const did = this.#isReady ? "stopped" : "did not start";
    this.#end({ code, message: `the signer ${did}: ${reason}`, retryable: code !== "CSP_BLOCKED" });
  }

  /** The caller is done with the module; with one that has failed too, so that no other takes its place. */
  close(): void {
    const closed = { code: "CLOSED", message: "the signer was closed", retryable: false } as const;
    this.#end(closed);
    this.#ended = closed;
  }

  #receive(message: ToPage, onLoad: Listener | undefined, onKeys: Listener | undefined): void {
    this.#stopProbe(); // whatever it says, it is alive
    if (this.#ended) return;
    switch (message.type) {
      case "keys":
        report(onKeys, message.keys);
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
        this.#take(message.id)?.reject(fromWire(message.error));
        break;
    }
  }

  /**
   * A call went unanswered. After a sleep that may be nobody's fault, so the
   * module, which may hold keys that are nowhere else, gets a second chance.
   */
  #askForLife(): void {
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
  }
}

/** Calls a listener of the page's. What it throws is the page's to hear of, and changes nothing here. */
function report(listener: Listener | undefined, event: unknown): void {
  try {
    listener?.(event);
  } catch (error) {
    reportError(error);
  }
}
