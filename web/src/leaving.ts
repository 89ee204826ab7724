/**
 * Finishes sign-outs. A key that is `leaving` is gone for everybody but this: from when that was written down,
 * whichever tab is there tells Grid, again and again, until it has answered or the session's time is up.
 */
import { GridSignerError } from "./errors.ts";
import type { Grid, Patience } from "./grid.ts";
import { type Job, Jobs } from "./keys/jobs.ts";
import { isSameId, type Keyring } from "./keys/keyring.ts";
import type { KeyRecord } from "./keys/machine.ts";
import { endStarted, endStrays } from "./strays.ts";

/** How long the sessions that a key may have lost count of can hold up the end of its own. */
const straysMs = 2000;

export class Leaving extends Jobs {
  protected readonly state = "leaving";
  protected readonly tryMs = 8000;
  readonly #grid: Grid;

  constructor(keyring: Keyring, grid: Grid, holder: string) {
    super(keyring, holder);
    this.#grid = grid;
  }

  protected goesOn(): boolean {
    return true;
  }

  /** Where storage fails, what is known here counts: better two tabs tell Grid than none, and Grid's word holds. */
  protected override withoutLease({ id }: Job): Promise<KeyRecord> {
    return this.keyring.find(id);
  }

  protected async run(record: KeyRecord, options: Patience): Promise<void> {
    const { id, session, strays } = record;
    if (!session) {
      await endStarted(this.keyring, this.#grid, this.holder, record, options);
      await this.keyring.move(id, { type: "end", reason: "signed-out", now: Date.now() });
      return;
    }
    const { id: sessionId, accountId } = session;
    if (strays) await endStrays(this.keyring, this.#grid, this.holder, record, strays, { timeoutMs: straysMs }).catch(() => {});
    const { status } = await this.#grid.perform("revoke-session", { id: sessionId }, options, record);
    if (status === "inactive") await this.#checkGone(sessionId, accountId, options);
    const reason = status === "revoked" ? "signed-out" : "revoked";
    await this.keyring.move(id, { type: "end", reason, now: Date.now(), session }).catch(() => this.keyring.find(id));
  }

  /** Whoever is signed in to the app by now may be somebody else, to whom the bridge says of any session that there is none. */
  async #checkGone(sessionId: string, accountId: string, options: Patience): Promise<void> {
    const rows = await this.#grid.list("list-sessions", accountId, options);
    if (rows.some((row) => isSameId(row.id, sessionId))) {
      throw new GridSignerError("RESPONSE_MALFORMED", "the session is said to be gone, and is listed");
    }
  }
}
