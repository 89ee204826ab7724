/**
 * Work on a key that goes on, whichever tab is there, until it is done: a sign-out is told Grid, again and again, until
 * it has answered or the session's time is up; a session is refreshed. One tab at a time is at it, by a lease in the
 * key's record.
 */
import { toWire, type WireError } from "../errors.ts";
import type { CallEvent } from "../types.ts";
import type { Keyring } from "./keyring.ts";
import { type KeyRecord, leaseMs, type State } from "./machine.ts";

/** Pauses between tries grow from first to last. The server may ask for more, up to most: a visit may be short. */
const [firstMs, lastMs, mostMs] = [1000, 8000, 120_000];

type OnProgress = (event: CallEvent) => void;

/** What kind of work it is. */
export interface Work {
  /** Only a key in this state needs it; one that has left it is settled. */
  readonly state: State;
  /** How long one try may take. */
  readonly tryMs: number;
  /** One try. Rejects where it came to nothing. */
  run(record: KeyRecord, options: { timeoutMs: number; onProgress: OnProgress }, job: Job): Promise<unknown>;
  /** Whether there is another try after one that has failed. */
  goesOn(job: Job): boolean;
}

/** Work that is not done. */
export interface Job {
  readonly id: string;
  /** Whoever waits for it: what is called in the end, and what meanwhile. */
  readonly waiting: Map<() => void, OnProgress | undefined>;
  tries: number;
  trying: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Why the last try came to nothing. */
  error: WireError | undefined;
  /** Whether the key has moved on. */
  settled: boolean;
}

export class Jobs {
  readonly #keyring: Keyring;
  readonly #holder: string;
  readonly #work: Work;
  readonly #jobs = new Map<string, Job>();
  #closed = false;

  /** `holder` names this worker in leases. */
  constructor(keyring: Keyring, holder: string, work: Work) {
    this.#keyring = keyring;
    this.#holder = holder;
    this.#work = work;
  }

  /** Sees to it that the work on a key is done. */
  start(id: string): Job {
    let job = this.#jobs.get(id);
    if (!job) {
      job = { id, waiting: new Map(), tries: 0, trying: false, timer: undefined, error: undefined, settled: false };
      this.#jobs.set(id, job);
      void this.#try(job);
    }
    return job;
  }

  /** A key has moved on, by whichever tab: whoever waits hears so. */
  settle(id: string): void {
    const job = this.#jobs.get(id);
    if (job) this.#end(job, true);
  }

  /** The network is back: nobody waits out a pause. */
  hurry(): void {
    for (const job of this.#jobs.values()) void this.#try(job);
  }

  /** How it stands with the work once the key has moved on, there is no further try, the time is up, or the signal fires. */
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

  #end(job: Job, settled: boolean): void {
    clearTimeout(job.timer);
    this.#jobs.delete(job.id);
    job.settled = settled;
    job.waiting.forEach((_, done) => done());
  }

  async #try(job: Job): Promise<void> {
    if (job.trying || this.#closed) return;
    job.trying = true;
    clearTimeout(job.timer);
    const lease = () => this.#keyring.move(job.id, { type: "lease", holder: this.#holder, now: Date.now() });
    const renewal = setInterval(() => this.#closed || lease().catch(() => {}), leaseMs / 3);
    let pauseMs: number;
    try {
      // Where storage fails, what is known here counts: better two tabs tell Grid than none, and Grid's word holds.
      const record = await lease().catch(() => this.#keyring.find(job.id));
      if (job.settled || record.state !== this.#work.state) return this.#end(job, true);
      const { holder = this.#holder, until = 0 } = record.lease ?? {};
      if (holder === this.#holder) {
        const onProgress: OnProgress = (event) => job.waiting.forEach((listener) => listener?.(event));
        await this.#work.run(record, { timeoutMs: this.#work.tryMs, onProgress }, job);
        if (!job.settled) this.#end(job, false);
        return;
      }
      pauseMs = Math.max(0, until - Date.now());
    } catch (error) {
      job.error = toWire(error);
      if (!job.settled && !this.#work.goesOn(job)) return this.#end(job, false);
      const asked = Math.min(job.error.retryAfterMs ?? 0, mostMs);
      pauseMs = Math.max(asked, Math.min(firstMs * 2 ** job.tries++, lastMs));
    } finally {
      clearInterval(renewal);
      job.trying = false;
    }
    if (this.#closed || job.settled) return;
    // Tabs that wait for one thing must not all come at once.
    job.timer = setTimeout(() => void this.#try(job), pauseMs * (1 + Math.random() / 4) + 50);
  }
}
