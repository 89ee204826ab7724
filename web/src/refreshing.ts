/**
 * Refreshes sessions: another half that signs, a session of Grid's for it, and the two in the place of the old ones, in
 * one transaction. Whatever fails before that leaves the old ones as they were; whoever loses the race of two tabs has
 * made a session too many, and ends that one.
 *
 * A refresh whose answer is lost may have made a session that nobody knows of. That is written down before each
 * signature, and strays.ts looks for it.
 */
import { fromWire, GridSignerError } from "./errors.ts";
import { type Grid, isRefusal, type Patience, words } from "./grid.ts";
import { type Job, Jobs } from "./keys/jobs.ts";
import { isSameId, type Keyring, lost } from "./keys/keyring.ts";
import { due, type KeyRecord, type Strays } from "./keys/machine.ts";
import { makeKey, seal } from "./keys/secrets.ts";
import type { Leaving } from "./leaving.ts";
import type { RawModule } from "./module.ts";
import { endStrays, holding, settleMs, slackMs } from "./strays.ts";
import type { CallEvent, SessionBinding } from "./types.ts";

/** How long a key is left alone, unless by a call: after a refusal, which a second time would not change, and after a look at Grid's list. */
const [refusedMs, lookedMs] = [60_000, 10_000];

export class Refreshing extends Jobs {
  protected readonly state = "active";
  protected readonly tryMs = 60_000; // Grid may be at it for a while
  readonly #grid: Grid;
  readonly #module: RawModule;
  readonly #leaving: Leaving;
  readonly #auto: boolean;
  /** Until when each key is left alone, by the monotonic clock. */
  readonly #resting = new Map<string, number>();

  /** `leaving` ends sessions that are too many. `auto`: one that is due is refreshed though no call waits for it. */
  constructor(keyring: Keyring, grid: Grid, module: RawModule, leaving: Leaving, holder: string, auto: boolean) {
    super(keyring, holder);
    this.#grid = grid;
    this.#module = module;
    this.#leaving = leaving;
    this.#auto = auto;
  }

  /** Whether it is time for it. */
  isDue({ state, dueAt = Infinity }: KeyRecord): boolean {
    return state === "active" && this.#grid.clock.now() >= dueAt;
  }

  /** Sees to what there is to do for a key without being called. */
  look(record: KeyRecord): void {
    const { id, state, strays } = record;
    const isResting = performance.now() < (this.#resting.get(id) ?? 0);
    if (state === "active" && !isResting && (strays || (this.#auto && this.isDue(record)))) this.start(id);
  }

  /** The key once its session is another, whichever tab has seen to it. */
  async refresh(id: string, { timeoutMs, signal, onProgress }: Patience): Promise<KeyRecord> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (signal?.aborted) throw new GridSignerError("ABORTED", "nobody waits for it any more");
      const { settled, error } = await this.wait(id, Math.max(1, deadline - performance.now()), signal, onProgress);
      const record = await this.keyring.find(id);
      if (record.state !== "active") throw lost(words[record.reason ?? "leaving"]);
      if (settled) return record;
      if (error) throw fromWire(error);
      if (performance.now() >= deadline) {
        throw new GridSignerError("TIMEOUT", "the session was not refreshed in time", { retryable: true });
      }
    }
  }

  protected async run(record: KeyRecord, options: Patience, job: Job): Promise<void> {
    if (job.waiting.size > 0 || (this.#auto && this.isDue(record))) return this.#refresh(record, options);
    if (!record.strays) return;
    // Whoever has come meanwhile wants something else, and does not hear of it.
    const tidied = endStrays(this.keyring, this.#grid, this.holder, record, record.strays, options);
    await tidied.catch((error) => job.waiting.size > 0 || Promise.reject(error));
    this.#rest(record, lookedMs);
  }

  protected goesOn(job: Job): boolean {
    const isFinal = job.error?.retryable === false;
    if (isFinal) this.#rest(job, refusedMs);
    return !isFinal && (this.#auto || job.waiting.size > 0);
  }

  #rest({ id }: { id: string }, ms: number): void {
    this.#resting.set(id, performance.now() + ms);
  }

  async #refresh(record: KeyRecord, { timeoutMs, onProgress }: Patience): Promise<void> {
    const { id, curve, strays } = record;
    const session = record.session!;
    const began = performance.now();
    const before = await this.#listed(record, timeoutMs);
    const made = await makeKey(this.#module, curve);
    let [ends, isWritten, isOpen, isTaken, isUnsure, isInUse] = [NaN, false, false, false, false, false];
    const watch = (event: CallEvent) => {
      if (event.step === "challenge") ends = Date.parse(event.expiresAt);
      if (event.step === "signed") [isUnsure, isOpen, isTaken] = [isUnsure || isOpen, true, false];
      if (event.step === "response" && event.leg === 2) {
        isTaken ||= event.status === 200; // Grid is at it: who refuses to hear of it again does not undo that
        if (isRefusal(event.status)) isOpen = isTaken;
      }
      onProgress?.(event);
    };
    const write = (strays: Strays | undefined) => this.keyring.move(id, { type: "stray", holder: this.holder, strays });
    const { from, until } = strays ?? { from: this.#grid.clock.now() - slackMs, until: 0 };
    const possible = (): Strays => ({ from, until: Math.max(until, ends + settleMs), before: strays?.before ?? before });
    const allow = async () => {
      const now = await write(possible());
      isWritten = true;
      if (now.state !== "active") throw lost(words[now.reason ?? "leaving"]); // since it was looked at
      holding(now, this.holder);
    };
    try {
      const secret = await this.keyring.sealed(record, made, (storage, record) => seal(this.#module, storage, record));
      const parameters = { id: session.id, account: session.accountId, body: { clientPublicKey: made.publicKey } };
      const patience = { timeoutMs: Math.max(1, timeoutMs - (performance.now() - began)), onProgress: watch };
      const { value } = await this.#grid.perform("refresh-session", parameters, patience, record, allow);
      const next: SessionBinding = { id: value.id, accountId: value.accountId, expiresAt: value.expiresAt };
      if (this.keyring.boundTo(next.id) || (await this.#grid.isPast(next.expiresAt, "the new session"))) {
        throw new GridSignerError("RESPONSE_MALFORMED", "the answer is another key's session, or one that is over");
      }
      const refreshed = { publicKey: made.publicKey, secret, session: next, dueAt: due(next, this.#grid.clock.now()) };
      const leftOver = await this.keyring.refresh(record, { ...refreshed, strays: isUnsure ? possible() : strays }, this.holder);
      isInUse = secret === made.secret;
      this.#leaving.start(leftOver.id);
    } catch (error) {
      if (isWritten && !isUnsure && !isOpen) await write(strays).catch(() => {});
      throw error;
    } finally {
      if (!isInUse) this.keyring.release(made.secret);
    }
  }

  /** The sessions that there are. Grid refuses one that it has ended like one that it never had: its list tells. */
  async #listed({ id, session }: KeyRecord, timeoutMs: number): Promise<string[]> {
    const rows = await this.#grid.list("list-sessions", session!.accountId, { timeoutMs });
    if (rows.some((row) => isSameId(row.id, session!.id))) return rows.map((row) => row.id);
    const reason = this.#grid.clock.judge(Date.parse(session!.expiresAt)) ? "expired" : "revoked";
    await this.keyring.move(id, { type: "end", reason, now: Date.now(), session }).catch(() => {});
    throw lost(words[reason]);
  }
}
