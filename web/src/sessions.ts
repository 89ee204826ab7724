/**
 * What the page knows of sessions, by what its workers tell: who listens to that, and what becomes of a sign-out
 * whose worker dies in the middle.
 */
import type { Outcome } from "./custody.ts";
import { toWire } from "./errors.ts";
import { type Listener, report } from "./rpc.ts";
import type { ErrorCode, SessionEvent } from "./types.ts";

/** With these codes there is nothing to sign out: no such key, or one without a session. */
const nothingToSignOut: ErrorCode[] = ["KEY_LOST", "KEY_NOT_FOUND", "ARGUMENT_INVALID"];

export class Sessions {
  readonly #listeners = new Set<Listener>();
  /** The last news of each key. */
  readonly #last = new Map<string, SessionEvent>();
  /** Whether somebody listens, or has. */
  #isHeard = false;
  readonly #notes: string;

  constructor(namespace = "") {
    this.#notes = `gridsigner/leave/${namespace}/`;
  }

  /** Whether a sign-out goes on in a worker. */
  get unfinished(): boolean {
    return [...this.#last.values()].some(({ type }) => type === "leaving");
  }

  hear(event: SessionEvent): void {
    if (event.type === "leaving" || event.type === "ended") this.#note(event.key, false); // it is written down
    this.#last.set(event.key, event);
    for (const listener of this.#listeners) report(listener, event);
  }

  /** The first who listens hears what came before, too. Returns its undo. */
  listen(listener: Listener): () => void {
    const mine: Listener = (event) => listener(event); // the same function twice is two listeners
    this.#listeners.add(mine);
    const early = this.#isHeard ? [] : [...this.#last.values()];
    this.#isHeard = true;
    queueMicrotask(() => early.forEach((event) => this.#listeners.has(mine) && report(mine, event)));
    return () => void this.#listeners.delete(mine);
  }

  /**
   * Carries out a call that signs a key out. `named`: what it ends instead, the id of a session, which may be the key's
   * own, or "others". What a worker that dies has begun, the next one goes on with; once the sign-out is written down
   * the call fails no more.
   */
  async signOut(key: string, named: string | undefined, timeoutMs: number, ask: (timeoutMs: number) => Promise<Outcome | Outcome[]>): Promise<Outcome[]> {
    const asked = performance.now();
    if (named === undefined) this.#note(key, true);
    try {
      const outcomes = await ask(timeoutMs).catch((error) => {
        const left = timeoutMs - (performance.now() - asked);
        if (error.code !== "WORKER_FAILED" || left <= 0) throw error;
        return ask(left);
      });
      if (named === undefined) this.#note(key, false);
      return [outcomes].flat();
    } catch (error) {
      const wire = toWire(error);
      if (named === undefined && nothingToSignOut.includes(wire.code)) this.#note(key, false);
      const last = this.#last.get(key);
      // The last three: the caller's own wish, or not written down after all.
      if (last?.type !== "leaving" || ["CLOSED", "ABORTED", "STORAGE_FAILED"].includes(wire.code)) throw error;
      const { id, expiresAt } = last.session;
      if (named !== undefined && named.toLowerCase() !== id.toLowerCase()) throw error;
      return [{ status: "pending", sessionId: id, sessionExpiresAt: expiresAt, error: wire }];
    }
  }

  /** The keys of sign-outs that a page had noted when it was closed. */
  noted(): string[] {
    const names = guarded(() => Object.keys(localStorage)) ?? [];
    return names.filter((name) => name.startsWith(this.#notes)).map((name) => name.slice(this.#notes.length));
  }

  /**
   * A sign-out is noted from when it is asked for until the worker has written it down: a tab that is closed at that
   * moment takes its worker along, and only what localStorage takes is kept at once. The note stays where the call came
   * to nothing, and there may be such a key.
   */
  #note(key: string, isWanted: boolean): void {
    guarded(() => (isWanted ? localStorage.setItem(this.#notes + key, "") : localStorage.removeItem(this.#notes + key)));
  }
}

/** Undefined where the browser denies the page its storage. */
function guarded<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}
