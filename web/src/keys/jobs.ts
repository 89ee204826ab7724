/**
 * Work on a key that goes on, whichever tab is there, until it is done: leaving.ts and refreshing.ts have what there is
 * of it. One tab at a time is at it, by a lease in the key's record.
 */
import { toWire, type WireError } from "../errors.ts";
import type { CallEvent } from "../types.ts";
import type { Keyring } from "./keyring.ts";
import { type KeyRecord, leaseMs, lingerMs, type State } from "./machine.ts";

/** Pauses between tries grow from first to last. The server may ask for more, up to most: a visit may be short. */
const [firstMs, lastMs, mostMs] = [1000, 8000, 120_000];

type OnProgress = (event: CallEvent) => void;

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

export abstract class Jobs {
  protected readonly keyring: Keyring;
  /** Names this worker in leases. */
  protected readonly holder: string;
  readonly #jobs = new Map<string, Job>();
  #closed = false;

  constructor(keyring: Keyring, holder: string) {
    this.keyring = keyring;
    this.holder = holder;
  }

  /** Only a key in this state needs it; one that has left it is settled. */
  protected abstract readonly state: State;
  /** How long one try may take. */
  protected abstract readonly tryMs: number;
  /** One try. Rejects where it came to nothing. */
  protected abstract run(record: KeyRecord, options: { timeoutMs: number; onProgress: OnProgress }, job: Job): Promise<unknown>;
  /** Whether there is another try after one that has failed, or has found another tab at it. */
  protected abstract goesOn(job: Job): boolean;

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
    if (this.#jobs.get(job.id) === job) this.#jobs.delete(job.id); // and not the next one of this key
    job.settled = settled;
    job.waiting.forEach((_, done) => done());
  }

  async #try(job: Job): Promise<void> {
    if (job.trying || this.#closed) return;
    job.trying = true;
    clearTimeout(job.timer);
    const lease = (type: "lease" | "renew") => this.keyring.move(job.id, { type, holder: this.holder, now: Date.now() });
    const renewal = setInterval(() => this.#closed || lease("renew").catch(() => {}), leaseMs / 3);
    let pauseMs: number;
    try {
      const record = await lease("lease").catch((error) => this.withoutLease(job, error));
      if (job.settled || record.state !== this.state) return this.#end(job, true);
      const { notBefore = 0, lease: { holder, until } = { holder: this.holder, until: 0 } } = record;
      const early = notBefore - Date.now();
      if (holder === this.holder && (early <= 0 || early > lingerMs)) {
        const onProgress: OnProgress = (event) => job.waiting.forEach((listener) => listener?.(event));
        await this.run(record, { timeoutMs: this.tryMs, onProgress }, job);
        job.error = undefined;
        if (!job.settled) this.#end(job, false);
        return;
      }
      if (!this.goesOn(job)) return this.#end(job, false);
      pauseMs = holder === this.holder ? early : Math.max(0, until - Date.now());
    } catch (error) {
      job.error = toWire(error);
      if (!job.settled && !this.goesOn(job)) return this.#end(job, false);
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

  /** What there is to go by where storage takes no lease. */
  protected withoutLease(_job: Job, error: unknown): Promise<KeyRecord> {
    return Promise.reject(error);
  }
}
