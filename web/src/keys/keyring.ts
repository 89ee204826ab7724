/**
 * Which keys there are, and what has become of each: the records of storage and
 * those of this worker's memory, and every move of theirs.
 *
 * Storage's word counts, and is asked at every use, so that a tab that slept
 * cannot use what another ended. It is believed in one direction only: what has
 * once been seen to be leaving or ended stays so, though storage refuses to
 * write it down, forgets it, or comes back with an older copy.
 */
import { GridSignerError } from "../errors.ts";
import type { EndReason, SessionEvent } from "../types.ts";
import { forgottenMs, type KeyRecord, later, type Move, type Secret, step } from "./machine.ts";
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

export class Keyring {
  readonly storage: Storage | undefined;
  readonly #memory = new Memory();
  readonly #listeners: KeyringListeners;
  /** Every record that was ever seen, as far on in its life as it was seen. */
  readonly #known = new Map<string, KeyRecord>();
  /** Ids of keys that were here and are not: dropped by the browser, or in the memory of a worker that died. */
  readonly #lost: Set<string>;
  #looked = false;

  /** `lost`: keys that died with an earlier worker. */
  constructor(storage: Storage | undefined, listeners: KeyringListeners, lost: string[] = []) {
    this.storage = storage;
    this.#listeners = listeners;
    this.#lost = new Set(lost);
  }

  /** Stores a new key; where that fails it lives in memory. `seal` makes its secret fit for storage. */
  async add(made: Made, seal: (storage: Storage, id: string) => Promise<Secret>): Promise<KeyRecord> {
    const begin = (persistence: KeyRecord["persistence"]): KeyRecord => {
      return { ...made, id: crypto.randomUUID(), createdAt: Date.now(), state: "new", rev: 0, persistence };
    };
    if (this.storage) {
      const record = begin("indexeddb");
      try {
        const stored = { ...record, secret: await seal(this.storage, record.id) };
        await this.storage.add(stored);
        if (made.secret !== stored.secret) this.#release(made.secret);
        return this.#changed(stored);
      } catch {
        // It may have been written all the same. Then nobody is to use it.
        this.#known.set(record.id, step(record, { type: "end", reason: "removed", now: Date.now() })!);
      }
    }
    const record = begin("memory");
    await this.#memory.add(record);
    return this.#changed(record);
  }

  /**
   * The record of an id, whatever its state.
   *
   * @throws `KEY_NOT_FOUND`, `KEY_LOST`, `STORAGE_FAILED`
   */
  async find(id: string): Promise<KeyRecord> {
    let found = await this.#memory.get(id);
    try {
      if (!found) found = await this.storage?.get(id);
    } catch {
      const known = this.#known.get(id);
      if (known?.state === "leaving" || known?.state === "ended") return known;
      if (!this.#lost.has(id)) throw storageFailed();
    }
    const record = this.#see(id, found);
    if (record) return record;
    if (this.#lost.has(id)) throw lost("the browser has removed it, or it died with its worker");
    throw new GridSignerError("KEY_NOT_FOUND", "no key of this id: it was never made here, or in another browser");
  }

  /**
   * Moves a key on, in one transaction. The record after it: where the move was
   * not possible, as it was found.
   *
   * @throws as {@link find}; after `STORAGE_FAILED` this worker knows better than storage if the key was to leave or to end
   */
  async move(id: string, move: Move): Promise<KeyRecord> {
    const known = this.#known.get(id);
    const inMemory = await this.#memory.get(id);
    let before: KeyRecord | undefined;
    let changed = false;
    const change = (record: KeyRecord) => {
      before = known ? later(record, known) : record;
      const after = step(before, move);
      changed = after !== undefined;
      return after;
    };
    let found: KeyRecord | undefined;
    try {
      found = inMemory || this.storage ? await (inMemory ? this.#memory : this.storage!).update(id, change) : undefined;
    } catch {
      const after = known && step(known, move);
      if (after && (after.state === "leaving" || after.state === "ended")) this.#changed(after);
      throw storageFailed();
    }
    if (!found && known?.state === "leaving") {
      // Dropped by the browser. The copy here is the last that can end the session.
      return this.#changed(step(known, move) ?? known);
    }
    if (!changed || !found) return this.find(id);
    if (inMemory && found.state === "ended") this.#release(before!.secret);
    return this.#changed(found, move.type !== "lease");
  }

  /** Brings what this worker knows in line with storage. */
  async look(): Promise<void> {
    try {
      const records = (await this.storage?.all()) ?? [];
      for (const record of records) this.#see(record.id, record);
      const there = new Set(records.map(({ id }) => id));
      for (const { id, state } of [...this.#known.values()]) {
        if (there.has(id) || state === "ended" || (await this.#memory.get(id))) continue;
        this.#see(id, await this.storage!.get(id)); // it may have come since
      }
      this.#looked = true;
      for (const { id, endedAt } of records) {
        if (endedAt === undefined || Math.abs(Date.now() - endedAt) < forgottenMs) continue; // or the clock was wrong
        await this.storage!.update(id, ({ state }) => (state === "ended" ? null : undefined));
      }
    } catch {
      // What is there and cannot be read just now is not gone.
    }
  }

  /** What this worker knows of keys that have not ended, oldest first. */
  records(): KeyRecord[] {
    return [...this.#known.values()]
      .filter(({ id, state }) => state !== "ended" && !this.#lost.has(id))
      .sort((a, b) => a.createdAt - b.createdAt);
  }

  /** Forgets what is in memory. Stored keys stay. */
  async close(): Promise<void> {
    this.storage?.close();
    for (const { secret } of await this.#memory.all()) this.#release(secret);
  }

  /** Takes note of what was changed here. */
  #changed(record: KeyRecord, isNews = true): KeyRecord {
    this.#note(record.id, record);
    if (isNews) this.#listeners.onChange();
    return record;
  }

  /** Takes note of what storage says. Says what is so. */
  #see(id: string, found: KeyRecord | undefined): KeyRecord | undefined {
    const known = this.#known.get(id);
    const isOver = known?.state === "leaving" || known?.state === "ended";
    const record = found && known ? later(found, known) : (found ?? (isOver ? known : undefined));
    if (found && record !== found) {
      // It knows less than we do: once more, as far as it lets us.
      this.storage?.update(id, (stored) => (later(stored, record!) === stored ? undefined : record)).catch(() => {});
    }
    this.#note(id, record);
    return record;
  }

  /** Remembers a record, and tells the page what is new about it. */
  #note(id: string, record: KeyRecord | undefined): void {
    const known = this.#known.get(id);
    const wasLost = this.#lost.has(id);
    if (record) {
      this.#known.set(id, record);
      this.#lost.delete(id);
    } else if (known && known.state !== "ended") {
      this.#lost.add(id);
    }
    const { session, state, reason } = record ?? known ?? {};
    if (!session) return;
    const tell = (event: { type: "started" | "leaving" } | { type: "ended"; reason: EndReason }) =>
      this.#listeners.onEvent({ key: id, session, ...event });
    if (!record) {
      if (state !== "ended" && !wasLost) tell({ type: "ended", reason: "lost" });
    } else if (state === "active") {
      // What was there before this worker is no news.
      if ((known || this.#looked) && (known?.session?.id !== session.id || wasLost)) tell({ type: "started" });
    } else if (state !== known?.state) {
      if (state === "leaving") tell({ type: "leaving" });
      else if (known) tell({ type: "ended", reason: reason! });
    }
  }

  #release(secret: KeyRecord["secret"]): void {
    if (secret && "held" in secret) this.#listeners.onRelease(secret.held);
  }
}

export function lost(why: string): GridSignerError {
  return new GridSignerError("KEY_LOST", `the key is gone: ${why}`);
}
