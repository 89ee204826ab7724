/**
 * Refreshes sessions: another half that signs, a session of Grid's for it, and the two in the place of the old ones, in
 * one transaction. Whatever fails before that leaves the old ones as they were; whoever loses the race of two tabs has
 * made a session too many, and ends that one.
 *
 * A refresh whose answer is lost may have made a session that nobody knows of. That is written down before each
 * signature, and until it is known to have come to nothing whoever is there looks for it: Grid lists it with the time at
 * which the first session of its line began.
 */
import { fromWire, GridSignerError, toWire } from "./errors.ts";
import { type CallOptions, type Grid, isSameId, words } from "./grid.ts";
import { Jobs } from "./keys/jobs.ts";
import { type Keyring, lost } from "./keys/keyring.ts";
import { due, type KeyRecord } from "./keys/machine.ts";
import { makeKey, type RawModule, seal } from "./keys/secrets.ts";
import type { AuthSession, CallEvent, SessionBinding } from "./types.ts";

/** How long one try may take: Grid may be at it for a while. */
const tryMs = 60_000;

/** How long a key is left alone, unless by a call, after what a second time would not change. */
const restMs = 60_000;

/** How long after the end of a challenge Grid may still be at what was signed. */
const settleMs = 60_000;

export class Refreshing {
  readonly #keyring: Keyring;
  readonly #grid: Grid;
  readonly #module: RawModule;
  readonly #leaving: Jobs;
  readonly #holder: string;
  readonly #auto: boolean;
  readonly #jobs: Jobs;
  /** Until when each key is left alone, by performance.now(). */
  readonly #resting = new Map<string, number>();

  /** `leaving` ends sessions that are replaced. `auto`: one that is due is refreshed though no call waits for it. */
  constructor(keyring: Keyring, grid: Grid, module: RawModule, leaving: Jobs, holder: string, auto: boolean) {
    this.#keyring = keyring;
    this.#grid = grid;
    this.#module = module;
    this.#leaving = leaving;
    this.#holder = holder;
    this.#auto = auto;
    this.#jobs = new Jobs(keyring, holder, {
      state: "active",
      tryMs,
      run: (record, options, job) => {
        const isWanted = job.waiting.size > 0 || (auto && this.isDue(record));
        return isWanted ? this.#refresh(record, options) : this.tidy(record, options).then(() => this.#rest(record));
      },
      goesOn: (job) => {
        if (!job.error!.retryable) this.#rest(job);
        return job.error!.retryable && (auto || job.waiting.size > 0);
      },
    });
  }

  /** Whether it is time for it. */
  isDue({ state, dueAt = Infinity }: KeyRecord): boolean {
    return state === "active" && this.#grid.clock.now() >= dueAt;
  }

  /** Sees to what there is to do for a key without being called. */
  look(record: KeyRecord): void {
    const { id, state, strays } = record;
    const isWanted = state === "active" && (strays !== undefined || (this.#auto && this.isDue(record)));
    if (isWanted && performance.now() >= (this.#resting.get(id) ?? 0)) this.#jobs.start(id);
  }

  #rest({ id }: { id: string }): void {
    this.#resting.set(id, performance.now() + restMs);
  }

  /** The key once its session is another, whichever tab has seen to it. */
  async refresh(id: string, { timeoutMs, signal, onProgress }: CallOptions): Promise<KeyRecord> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { settled, error } = await this.#jobs.wait(id, Math.max(1, deadline - performance.now()), signal, onProgress);
      const record = await this.#keyring.find(id);
      if (record.state !== "active") throw lost(words[record.reason ?? "leaving"]);
      if (settled) return record;
      if (error) throw fromWire(error);
      if (signal?.aborted || performance.now() >= deadline) {
        throw new GridSignerError("TIMEOUT", "the session was not refreshed in time", { retryable: true });
      }
    }
  }

  settle(id: string): void {
    this.#jobs.settle(id);
  }

  hurry(): void {
    this.#jobs.hurry();
  }

  close(): void {
    this.#jobs.close();
  }

  async #refresh(record: KeyRecord, { timeoutMs, onProgress }: CallOptions): Promise<void> {
    const { id, curve, session, strays } = record;
    const made = await makeKey(this.#module, curve);
    let [ends, isOpen, isUnsure, isInUse] = [NaN, false, false, false];
    const watch = (event: CallEvent) => {
      if (event.step === "challenge") ends = Date.parse(event.expiresAt);
      if (event.step === "signed") [isUnsure, isOpen] = [isUnsure || isOpen, true];
      if (event.step === "response" && event.leg === 2 && isRefusal(event.status)) isOpen = false;
      onProgress?.(event);
    };
    const doubt = (until: number | undefined) => this.#keyring.move(id, { type: "doubt", holder: this.#holder, strays: until });
    const until = () => Math.max(strays ?? 0, ends + settleMs);
    const allow = async () => this.#hold(await doubt(until()));
    try {
      const secret = await this.#keyring.sealed(record, made, (storage, record) => seal(this.#module, storage, record));
      const parameters = { id: session!.id, account: session!.accountId, body: { clientPublicKey: made.publicKey } };
      const { value } = await this.#grid.perform("refresh-session", parameters, { timeoutMs, onProgress: watch }, record, allow);
      const next: SessionBinding = { id: value.id, accountId: value.accountId, expiresAt: value.expiresAt };
      if (this.#isBound(next.id) || (await this.#grid.isPast(next.expiresAt, "the new session"))) {
        throw new GridSignerError("RESPONSE_MALFORMED", "the answer is another key's session, or one that is over");
      }
      const refreshed = { publicKey: made.publicKey, secret, session: next, dueAt: due(next, this.#grid.clock.now()) };
      const leftOver = await this.#keyring.refresh(record, { ...refreshed, strays: isUnsure ? until() : strays }, this.#holder);
      isInUse = secret === made.secret;
      this.#leaving.start(leftOver.id);
    } catch (error) {
      if (!isUnsure && !isOpen) await doubt(strays).catch(() => {});
      throw await this.#explained(record, error, timeoutMs);
    } finally {
      if (!isInUse) this.#keyring.release(made.secret);
    }
  }

  /** Ends what lost answers have made too many: sessions of this one's line that are bound to no key. */
  async tidy(record: KeyRecord, options: CallOptions): Promise<void> {
    const { id, session, strays } = record;
    const rows = await this.#grid.list<AuthSession>("list-sessions", session!.accountId, options);
    await this.#keyring.look(); // at what other tabs have bound
    const own = rows.find((row) => isSameId(row.id, session!.id));
    const isStray = (row: AuthSession) => isOfOneLine(row, own) && !this.#isBound(row.id);
    const allow = async () => this.#hold(await this.#keyring.find(id));
    for (const row of rows.filter(isStray)) await this.#grid.perform("revoke-session", { id: row.id }, options, record, allow);
    if (own && this.#grid.clock.now() >= strays!) await this.#keyring.move(id, { type: "doubt", holder: this.#holder, strays: undefined });
  }

  /** Another tab may have taken over, and bind what this one takes for one too many. */
  #hold({ lease }: KeyRecord): void {
    if (lease?.holder !== this.#holder) throw new GridSignerError("TIMEOUT", "another tab goes on with it", { retryable: true });
  }

  #isBound(sessionId: string): boolean {
    return this.#keyring.everyRecord().some(({ session }) => session && isSameId(session.id, sessionId));
  }

  /** Grid refuses a session that it has ended like one that it never had. A list tells. */
  async #explained({ id, session }: KeyRecord, error: unknown, timeoutMs: number): Promise<unknown> {
    const { code, status } = toWire(error);
    if (code !== "UPSTREAM_REFUSED" || (status !== 401 && status !== 404)) return error;
    const rows = await this.#grid.list("list-sessions", session!.accountId, { timeoutMs }).catch(() => undefined);
    if (!rows || rows.some((row) => isSameId(row.id, session!.id))) return error;
    await this.#keyring.move(id, { type: "end", reason: "revoked", now: Date.now(), session }).catch(() => {});
    return lost(words.revoked);
  }
}

/** Whether one was refreshed for the other, however often. Grid is not taken at its word that both have no beginning. */
const isOfOneLine = (a: AuthSession, b: AuthSession | undefined) => Boolean(a.createdAt) && a.createdAt === b?.createdAt && a.type === b.type;

/** Whether Grid has surely done nothing: a 401 may be of a challenge that was used. */
const isRefusal = (status: number) => status >= 400 && status < 500 && ![401, 408, 409].includes(status);
