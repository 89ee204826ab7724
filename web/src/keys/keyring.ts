/**
 * Which keys there are, and what has become of each: the records of storage and those of this worker's memory, and
 * every move of theirs.
 *
 * Storage's word counts, and is asked at every use, so that a tab that slept cannot use what another ended. It is
 * believed in one direction only: what has once been seen to be leaving or ended stays so, though storage refuses to
 * write it down, forgets it, or comes back with an older copy.
 */
import { GridSignerError } from "../errors.ts";
import type { EndReason, SessionEvent } from "../types.ts";
import { forgottenMs, isOver, type KeyRecord, later, type Move, type Refreshed, refreshed, type Secret, step, unseenMs } from "./machine.ts";
import { Memory } from "./memory.ts";
import type { Made } from "./secrets.ts";
import { type Storage, storageFailed } from "./storage.ts";

/** What the keyring tells of. */
export interface KeyringListeners {
  onEvent(event: SessionEvent): void;
  /** A record was changed here: it is time for other tabs to look. */
  onChange(): void;
  /** A secret that is in the module's memory is needed no more. */
  onRelease(held: string): void;
}

type Seal = (storage: Storage, record: KeyRecord) => Promise<Secret>;

export class Keyring {
  readonly storage: Storage | undefined;
  readonly #memory = new Memory();
  readonly #listeners: KeyringListeners;
  /** Every record that was ever seen, as far on in its life as it was seen. */
  readonly #known = new Map<string, KeyRecord>();
  /** Ids of keys that were here and are not: dropped by the browser, or in the memory of a worker that died. */
  readonly #lost: Set<string>;
  #looked = false;
  readonly #began = Date.now();

  /** `lost`: keys that died with an earlier worker. */
  constructor(storage: Storage | undefined, listeners: KeyringListeners, lost: string[] = []) {
    this.storage = storage;
    this.#listeners = listeners;
    this.#lost = new Set(lost);
  }

  /** Stores a new key, its secret as `seal` makes it fit for that; where that fails it lives in memory as it is. */
  async add(made: Made, seal: Seal, more: Pick<KeyRecord, "signIn" | "unseen"> = {}): Promise<KeyRecord> {
    const begin = (persistence: KeyRecord["persistence"]): KeyRecord => {
      return { ...made, ...more, id: crypto.randomUUID(), createdAt: Date.now(), state: "new", rev: 0, persistence };
    };
    if (this.storage) {
      const record = begin("indexeddb");
      try {
        const stored = { ...record, secret: await seal(this.storage, record) };
        await this.storage.add(stored);
        this.release(made.secret);
        return this.#changed(stored);
      } catch {
        // It may have been written all the same. Then nobody is to use it.
        this.#note(step({ ...record, signIn: undefined }, { type: "end", reason: "removed", now: Date.now() })!);
      }
    }
    const record = begin("memory");
    await this.#memory.add(record);
    return this.#changed(record);
  }

  /** A secret as it may rest where the record of this key does. */
  async sealed(record: KeyRecord, { publicKey, secret }: Made, seal: Seal): Promise<Secret> {
    if (record.persistence === "memory") return secret;
    return seal(this.storage!, { ...record, publicKey, secret }).catch(() => Promise.reject(storageFailed()));
  }

  /**
   * Takes in what a refresh of `record` has made, in one transaction; see {@link refreshed}. Resolves to the record which
   * is to end the session that is too many. After `STORAGE_FAILED` nothing is known of it, and whoever looks next will see.
   */
  async refresh(record: KeyRecord, made: Refreshed, holder: string): Promise<KeyRecord> {
    const known = this.#known.get(record.id);
    const change = (found: KeyRecord) => (after = refreshed(later(found, known), record.session!, made, holder, Date.now()));
    let after: [KeyRecord, KeyRecord] | undefined;
    let found: KeyRecord | undefined;
    try {
      const home = this.#home(record.id);
      found = await home.update(record.id, change);
      if (!found) await home.add(change({ ...record, state: "ended" })[1]); // dropped by the browser meanwhile
    } catch {
      throw storageFailed();
    }
    if (found) this.#note(after![0]);
    return this.#changed(after![1]);
  }

  /** What this worker last knew of a key. Whoever goes by it asks storage all the same. */
  known(id: string): KeyRecord | undefined {
    return this.#lost.has(id) ? undefined : this.#known.get(id);
  }

  /** The record of an id, whatever its state. Rejects with `KEY_NOT_FOUND`, `KEY_LOST`, or `STORAGE_FAILED`. */
  async find(id: string): Promise<KeyRecord> {
    let found: KeyRecord | undefined;
    try {
      found = await this.#home(id).get(id);
    } catch {
      if (!isOver(this.#known.get(id)) && !this.#lost.has(id)) throw storageFailed();
    }
    const record = this.#see(id, found);
    if (record) return record;
    if (this.#lost.has(id)) throw lost("the browser has removed it, or it died with its worker");
    throw new GridSignerError("KEY_NOT_FOUND", "no key of this id: it was never made here, or in another browser");
  }

  /**
   * Moves a key on, in one transaction. The record after it: where the move was not possible, as it was found. Rejects
   * as `find` does; after `STORAGE_FAILED` this worker knows better than storage if the key was to leave or to end.
   */
  async move(id: string, move: Move): Promise<KeyRecord> {
    const known = this.#known.get(id);
    let after: KeyRecord | undefined;
    try {
      const found = await this.#home(id).update(id, (record) => (after = step(later(record, known), move)));
      // Dropped by the browser. The copy here is the last that can end the session.
      if (!found && known?.state === "leaving") after = step(known, move);
    } catch {
      const meant = known && step(known, move);
      if (isOver(meant)) this.#changed(meant);
      throw storageFailed();
    }
    if (!after) return this.find(id);
    return move.type === "lease" || move.type === "renew" || move.type === "stray" ? this.#note(after) : this.#changed(after);
  }

  /** Brings what this worker knows in line with storage. */
  async look(): Promise<void> {
    try {
      const records = (await this.storage?.all()) ?? [];
      for (const record of records) this.#see(record.id, record);
      const there = new Set(records.map(({ id }) => id));
      for (const { id, state } of [...this.#known.values()]) {
        if (!there.has(id) && state !== "ended") this.#see(id, await this.#home(id).get(id)); // it may have come since
      }
      this.#looked = true;
      for (const { id, endedAt, unseen } of records) {
        const keptMs = unseen ? unseenMs : forgottenMs;
        if (endedAt === undefined || Math.abs(Date.now() - endedAt) < keptMs) continue; // or the clock was wrong
        await this.storage!.update(id, ({ state }) => (state === "ended" ? null : undefined));
        if (unseen) this.#known.delete(id);
      }
    } catch {
      // What is there and cannot be read just now is not gone.
    }
  }

  /** The key that a session is bound to, as far as this worker knows, or was. */
  boundTo(sessionId: string): KeyRecord | undefined {
    return [...this.#known.values()].find(({ session }) => session && isSameId(session.id, sessionId));
  }

  /** What this worker knows of keys that have not ended, oldest first. */
  records(): KeyRecord[] {
    return [...this.#known.values()]
      .filter(({ id, state }) => state !== "ended" && !this.#lost.has(id))
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  /** Forgets what is in memory. Stored keys stay. */
  close(): void {
    this.storage?.close();
    for (const { secret } of this.#known.values()) this.release(secret);
  }

  /** Lets go of a secret that no record has. */
  release(secret: KeyRecord["secret"]): void {
    if (secret && "held" in secret) this.#listeners.onRelease(secret.held);
  }

  /** Where the record of an id is, if there is one. */
  #home(id: string): Storage {
    return this.storage && this.#known.get(id)?.persistence !== "memory" ? this.storage : this.#memory;
  }

  /** Takes note of what storage says. Says what is so. */
  #see(id: string, found: KeyRecord | undefined): KeyRecord | undefined {
    const known = this.#known.get(id);
    if (!found) {
      if (isOver(known)) return known;
      if (known && !this.#lost.has(id)) {
        this.#lost.add(id);
        this.#tell(known, { type: "ended", reason: "lost" });
      }
      return undefined;
    }
    const record = later(found, known);
    if (record !== found) {
      // It knows less than we do: once more, as far as it lets us.
      this.#home(id).update(id, (stored) => (later(stored, record) === stored ? undefined : record)).catch(() => {});
    }
    return this.#note(record);
  }

  /** Takes note of what was changed here. */
  #changed(record: KeyRecord): KeyRecord {
    this.#note(record);
    this.#listeners.onChange();
    return record;
  }

  /** Remembers a record, and tells the page what is new about it. */
  #note(record: KeyRecord): KeyRecord {
    const { id, session, state, secret, reason } = record;
    const known = this.#known.get(id);
    const wasLost = this.#lost.delete(id);
    this.#known.set(id, record);
    if (!secret) this.release(known?.secret);
    if (state === "active") {
      // What was there before this worker is no news. A key that was made later is, though it had its session before the first look.
      const isNews = known ? wasLost || known.session?.id !== session?.id : this.#looked || record.createdAt >= this.#began;
      const isSame = !known?.session || known.publicKey === record.publicKey;
      if (isNews) this.#tell(record, { type: isSame ? "started" : "refreshed" });
    } else if (state !== known?.state) {
      if (state === "leaving") this.#tell(record, { type: "leaving" });
      else if (known && reason) this.#tell(record, { type: "ended", reason });
    }
    return record;
  }

  /** Keys without a session are no news to the page. */
  #tell({ id, session, unseen }: KeyRecord, news: { type: "started" | "refreshed" | "leaving" } | { type: "ended"; reason: EndReason }) {
    if (session && !unseen) this.#listeners.onEvent({ key: id, session, ...news });
  }

}

/** Their hex digits may come in either case. */
export const isSameId = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

export function lost(why: string): GridSignerError {
  return new GridSignerError("KEY_LOST", `the key is gone: ${why}`);
}
