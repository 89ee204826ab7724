/**
 * Finishes sign-outs. A key that is `leaving` is gone for everybody but this: from when that was written down,
 * whichever tab is there tells Grid, again and again, until it has answered or the session's time is up.
 */
import { toWire, type WireError } from "../errors.ts";
import type { EndReason, RevokeEvent, RevokeResult } from "../types.ts";
import type { Keyring } from "./keyring.ts";
import { type KeyRecord, leaseMs, type Move } from "./machine.ts";

/** How long one try may take. */
const tryMs = 8000;

/** Pauses between tries grow from first to last. The server may ask for more, up to most: a visit may be short. */
const [firstMs, lastMs, mostMs] = [1000, 8000, 120_000];

type OnProgress = (event: RevokeEvent) => void;

/** Tells Grid once. Rejects where that came to nothing. */
export type Tell = (record: KeyRecord, options: { timeoutMs: number; onProgress: OnProgress }) => Promise<RevokeResult>;

/** A sign-out that is not finished. */
interface Job {
  readonly id: string;
  /** Whoever waits for it: what is called in the end, and what meanwhile. */
  readonly waiting: Map<() => void, OnProgress | undefined>;
  tries: number;
  trying: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Why the last try came to nothing. */
  error: WireError | undefined;
  /** How the key has ended. */
  reason: EndReason | undefined;
}

export class Leaving {
  readonly #keyring: Keyring;
  readonly #tell: Tell;
  /** Names this worker in leases. */
  readonly holder = crypto.randomUUID();
  readonly #jobs = new Map<string, Job>();
  #closed = false;

  constructor(keyring: Keyring, tell: Tell) {
    this.#keyring = keyring;
    this.#tell = tell;
  }

  /** Sees to it that a sign-out is being finished. */
  start(id: string): Job {
    let job = this.#jobs.get(id);
    if (!job) {
      job = { id, waiting: new Map(), tries: 0, trying: false, timer: undefined, error: undefined, reason: undefined };
      this.#jobs.set(id, job);
      void this.#try(job);
    }
    return job;
  }

  /** A key has ended, by whichever tab: whoever waits for its sign-out hears so. */
  settle(id: string, reason: EndReason): void {
    const job = this.#jobs.get(id);
    if (!job) return;
    clearTimeout(job.timer);
    this.#jobs.delete(id);
    job.reason = reason;
    job.waiting.forEach((_, done) => done());
  }

  /** The network is back: nobody waits out a pause. */
  hurry(): void {
    for (const job of this.#jobs.values()) void this.#try(job);
  }

  /** How it stands with a sign-out once the key has ended, the time is up, or the signal fires. */
  wait(id: string, timeoutMs: number, signal?: AbortSignal, onProgress?: OnProgress): Promise<Job> {
    const job = this.start(id);
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        job.waiting.delete(done);
        resolve(job);
      };
      const timer = setTimeout(done, timeoutMs);
      signal?.addEventListener("abort", done);
      job.waiting.set(done, onProgress);
    });
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#jobs.values()) clearTimeout(timer);
  }

  async #try(job: Job): Promise<void> {
    if (job.trying || this.#closed) return;
    job.trying = true;
    clearTimeout(job.timer);
    const lease = () => this.#move(job.id, { type: "lease", holder: this.holder, now: Date.now() });
    const renewal = setInterval(() => this.#closed || lease().catch(() => {}), leaseMs / 3);
    let pauseMs: number;
    try {
      const record = await lease();
      if (record.state !== "leaving") return; // settled
      const { holder = this.holder, until = 0 } = record.lease ?? {};
      if (holder === this.holder) {
        const onProgress: OnProgress = (event) => job.waiting.forEach((listener) => listener?.(event));
        const { status } = await this.#tell(record, { timeoutMs: tryMs, onProgress });
        const reason = status === "revoked" ? "signed-out" : "revoked";
        await this.#move(job.id, { type: "end", reason, now: Date.now(), session: record.session });
        return;
      }
      pauseMs = Math.max(0, until - Date.now());
    } catch (error) {
      job.error = toWire(error);
      const asked = Math.min(job.error.retryAfterMs ?? 0, mostMs);
      pauseMs = Math.max(asked, Math.min(firstMs * 2 ** job.tries++, lastMs));
    } finally {
      clearInterval(renewal);
      job.trying = false;
    }
    if (this.#closed || job.reason) return;
    // Tabs that wait for one thing must not all come at once.
    job.timer = setTimeout(() => void this.#try(job), pauseMs * (1 + Math.random() / 4) + 50);
  }

  /** Where storage fails, what is known here counts: better two tabs tell Grid than none, and Grid's word holds. */
  #move(id: string, move: Move): Promise<KeyRecord> {
    return this.#keyring.move(id, move).catch(() => this.#keyring.find(id));
  }
}
