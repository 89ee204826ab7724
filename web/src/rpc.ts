/**
 * The protocol between the page (client.ts) and the thread that runs the module (serve.ts): a worker, or the
 * page itself over a MessageChannel. Either side calls methods of the other:
 *
 *     { type: "call", id, method, args, progress }       then, from the other side, one of
 *     { type: "result", id, value }, { type: "error", id, error }
 *     { type: "event", id, event }                       before that, where the caller asked for progress
 *     { type: "abort", id }                              the caller does not wait any more
 *
 * The page's first call is `start`, which lasts as long as the module: its events tell of loading, that other calls
 * may follow, and of sessions; its error is the module's end; to abort it is to close the module. Besides it and
 * {@link methods} the page may call `ping`, and the module `headers`.
 *
 * Everything in it is plain data. An AbortSignal and a callback cannot cross, so both sides have their own, and the
 * ids join them.
 */
import { fromWire, GridSignerError, toWire, type WireError } from "./errors.ts";
import type { CustodySettings } from "./custody.ts";
import type { LoadProgress, SessionEvent } from "./types.ts";

/** The name our workers have: worker.js serves itself only in a worker of this name. */
export const workerName = "gridsigner";

/** What a page may call. Module and custody have more, which hands out keys: no other name may ever be looked up. */
export const methods = [
  "createKey", "importKey", "keys", "session", "removeKey", "oauthNonce", "signInWithToken", "startPasskey", "finishPasskey",
  "giveUp", "startOtp", "submitOtp", "bindSession", "refreshSession", "signChallenge", "revokeSession", "signOut",
  "listSessions", "listCredentials", "addCredential", "removeCredential", "exportWallet",
] as const;
export type Method = (typeof methods)[number];

/** How the page wants the module to be started. */
export interface Start {
  /** The scripts that start the module, of the worker's own origin, and the module. */
  runtimeUrl: string;
  wasmUrl: string;
  /** Whether somebody wants to hear how loading goes. */
  progress: boolean;
  /** A lock for the worker to hold as long as it lives. */
  alive: string | undefined;
  custody: CustodySettings;
}

/** How loading goes, as it crosses to the page. */
export type Loading = Omit<LoadProgress, "error"> & { error?: WireError };

/** What the module tells while it lives. */
export type Told =
  | { type: "load"; progress: Loading }
  /** Calls may follow. */
  | { type: "ready" }
  /** A session began, is left, or ended, in whatever tab. */
  | { type: "session"; event: SessionEvent };

type Message =
  | { type: "call"; id: number; method: string; args: unknown[]; progress: boolean }
  | { type: "abort"; id: number }
  | { type: "event"; id: number; event: unknown }
  | { type: "result"; id: number; value: unknown }
  | { type: "error"; id: number; error: WireError };

/** What a Worker, a worker's own scope and a MessagePort have in common. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message" | "messageerror", listener: (event: MessageEvent) => void): void;
  start?(): void;
}

/** A callback of the page's. Its own type says what events it takes. */
export type Listener = (event: unknown) => void;

/** Calls a listener of the page's. What it throws is the page's to hear of, and changes nothing here. */
export function report(listener: Listener | undefined, event: unknown): void {
  try {
    listener?.(event);
  } catch (error) {
    reportError(error);
  }
}

/** What becomes of a call to a signer that was closed. */
export const closed: WireError = { code: "CLOSED", message: "the signer was closed", retryable: false };

/** What a call has besides its arguments. */
export interface Call {
  signal: AbortSignal;
  onProgress: Listener | undefined;
}

/** One side of the protocol. */
export class Peer {
  readonly #port: Port;
  readonly #answer: (method: string, args: unknown[], call: Call) => unknown;
  /** Our calls that were not answered yet. */
  readonly #calls = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void; onProgress: Listener | undefined }>();
  /** Theirs that we have not answered. */
  readonly #answering = new Map<number, AbortController>();
  #nextId = 0;
  #ended: WireError | undefined;

  /** `answer` answers the other side's calls. What it throws that is not ours crosses as `INTERNAL`. */
  constructor(port: Port, answer: (method: string, args: unknown[], call: Call) => unknown) {
    this.#port = port;
    this.#answer = answer;
    port.addEventListener("message", ({ data }) => this.#receive(data as Message));
    port.start?.();
  }

  /** Calls a method of the other side. Rejects with the signal's reason when it fires. `transfer`: buffers that move there. */
  call(method: string, args: unknown[], { signal, onProgress }: Call, transfer: Transferable[] = []): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended) throw fromWire(this.#ended);
      signal.throwIfAborted();
      const id = this.#nextId++;
      const message = { type: "call", id, method, args, progress: onProgress !== undefined } as const;
      try {
        this.#send(message, transfer);
      } catch (cause) {
        // Plain data can be copied, unless there is too much of it.
        throw new GridSignerError("ARGUMENT_INVALID", `${method}: too large`, { cause });
      }
      this.#calls.set(id, { resolve, reject, onProgress });
      signal.addEventListener("abort", () => {
        if (!this.#calls.delete(id)) return;
        this.#send({ type: "abort", id });
        reject(signal.reason);
      });
    });
  }

  /** Rejects our calls, and whatever comes later, and aborts theirs. */
  end(error: WireError): void {
    this.#ended = error;
    for (const { reject } of this.#calls.values()) reject(fromWire(error));
    this.#calls.clear();
    for (const aborter of this.#answering.values()) aborter.abort();
  }

  #receive(message: Message): void {
    if (this.#ended) return;
    const { id } = message;
    if (message.type === "call") return void this.#respond(message);
    if (message.type === "abort") return this.#answering.get(id)?.abort();
    const call = this.#calls.get(id); // none, if it was given up
    if (message.type === "event") return report(call?.onProgress, message.event);
    this.#calls.delete(id);
    if (message.type === "result") call?.resolve(message.value);
    else call?.reject(fromWire(message.error));
  }

  async #respond({ id, method, args, progress }: Message & { type: "call" }): Promise<void> {
    const aborter = new AbortController();
    this.#answering.set(id, aborter);
    const onProgress = progress ? (event: unknown) => this.#send({ type: "event", id, event }) : undefined;
    try {
      this.#send({ type: "result", id, value: await this.#answer(method, args, { signal: aborter.signal, onProgress }) });
    } catch (error) {
      this.#send({ type: "error", id, error: toWire(error) });
    } finally {
      this.#answering.delete(id);
    }
  }

  #send(message: Message, transfer: Transferable[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}
