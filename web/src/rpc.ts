/**
 * The protocol between the page (client.ts) and the thread that runs the module
 * (serve.ts): a worker, or the page itself over a MessageChannel.
 *
 *     page -> module   { type: "start", wasmUrl, progress, alive, custody }   the first message, once
 *     module -> page   { type: "load", progress }                while loading, if asked for
 *     module -> page   { type: "ready", alive }                  calls may follow, or
 *     module -> page   { type: "failed", error }                 the end, before or after ready
 *     page -> module   { type: "call", id, method, args, progress }
 *     page -> module   { type: "abort", id }
 *     module -> page   { type: "event", id, event }              if the call asked for progress
 *     module -> page   { type: "result", id, value } or { type: "error", id, error }
 *     module -> page   { type: "session", event }                a session began, is left, or ended, in whatever tab
 *     module -> page   { type: "ask", id }                       headers are needed, or { type: "enough", id } no more
 *     page -> module   { type: "headers", id, headers }          without headers: there are none to be had
 *     page -> module   { type: "ping" }, module -> page { type: "pong" }
 *     page -> module   { type: "close" }                         forget every key in memory
 *
 * Everything in it is plain data. An AbortSignal and a callback cannot cross,
 * so both sides have their own, and the ids join them.
 */
import type { CustodySettings } from "./custody.ts";
import type { WireError } from "./errors.ts";
import type { LoadProgress, SessionEvent } from "./types.ts";

/** The name our workers have: worker.js serves itself only in a worker of this name. */
export const workerName = "gridsigner";

/**
 * What a page may call. The module and its custody have more, which hands out
 * keys: nothing but these names may ever be looked up for a message.
 */
export const methods = [
  "createKey",
  "importKey",
  "keys",
  "removeKey",
  "bindSession",
  "signChallenge",
  "revokeSession",
  "signOut",
  "listSessions",
] as const;
export type Method = (typeof methods)[number];

/** How the page wants the module to be started. */
export interface Start {
  wasmUrl: string;
  /** Whether somebody wants to hear how loading goes. */
  progress: boolean;
  /** A lock for the worker to hold as long as it lives. */
  alive?: string | undefined;
  custody: CustodySettings;
}

export type ToModule =
  | ({ type: "start" } & Start)
  | { type: "call"; id: number; method: Method; args: unknown[]; progress: boolean }
  | { type: "abort"; id: number }
  | { type: "headers"; id: number; headers: Record<string, string> | undefined }
  | { type: "ping" }
  | { type: "close" };

export type ToPage =
  | { type: "load"; progress: LoadProgress }
  | { type: "ready"; alive: boolean } // whether the lock is held: nobody may wait for one that never was
  | { type: "pong" }
  | { type: "session"; event: SessionEvent }
  | { type: "ask" | "enough"; id: number }
  | { type: "failed"; error: WireError }
  | { type: "event"; id: number; event: unknown }
  | { type: "result"; id: number; value: unknown }
  | { type: "error"; id: number; error: WireError };

/** What a Worker, a worker's own scope and a MessagePort have in common. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message" | "messageerror", listener: (event: MessageEvent) => void): void;
  start?(): void;
}
