/**
 * Which keys there are and how they are kept: what this worker has in memory, in
 * step with storage and with the other tabs.
 *
 * The module holds keys in memory and signs. Storage holds them at rest, for
 * every tab of the origin, and its word counts: each use of a stored key looks
 * there first, so that a tab that slept cannot use what another destroyed. What
 * storage refuses to take stays in memory, and says so.
 */
import { GridSignerError, toWire } from "./errors.ts";
import { importStored, type RawModule, secrets } from "./sealing.ts";
import { Storage, type StoredKey } from "./storage.ts";
import type { SessionBinding, SessionKey } from "./types.ts";

/** A key, as far as this worker knows it. */
export interface Held {
  key: SessionKey;
  createdAt: number;
  organizationId: string;
  /** As last read from storage; undefined for a key that never was there. */
  record?: StoredKey;
  /** Settles when the module has the key. */
  loaded?: Promise<void> | undefined;
}

export interface KeyringSettings {
  persistence: SessionKey["persistence"];
  /** In a worker that replaces one that died: the keys that died with it. */
  lost?: string[] | undefined;
}

/** What the keyring tells of. */
export interface KeyringListeners {
  /** The keys, after a change. */
  onKeys(keys: SessionKey[]): void;
  /** Another tab says that something changed: it is time to look. */
  onNews(): void;
}

export class Keyring {
  readonly #module: RawModule;
  readonly #storage: Storage | undefined;
  readonly #channel = openChannel();
  readonly #listeners: KeyringListeners;
  readonly #held = new Map<string, Held>();
  /** Ids whose keys have ended, as far as this worker saw. */
  readonly #ended: Set<string>;
  /** What other tabs say is destroyed, until storage has been asked. */
  #hints = new Set<string>();
  /** While storage is being read: the keys that changed meanwhile, of which the reading may know less than we do. */
  #changedMeanwhile: Set<string> | undefined;
  #told = "[]";

  constructor(module: RawModule, settings: KeyringSettings, listeners: KeyringListeners) {
    this.#module = module;
    this.#listeners = listeners;
    this.#ended = new Set(settings.lost);
    this.#storage = settings.persistence === "memory" ? undefined : new Storage();
    if (settings.lost) this.#told = "";
    // Page code can post here too, so a message is a hint to look, not a command.
    if (this.#channel) this.#channel.onmessage = ({ data }) => this.#hear(data);
  }

  /** Oldest first. */
  list(): SessionKey[] {
    return this.all().map(({ key }) => key);
  }

  all(): Held[] {
    return [...this.#held.values()].sort((a, b) => a.createdAt - b.createdAt);
  }

  /** Stores a key that the module has just made, or leaves it in memory where that fails. */
  async keep(key: SessionKey): Promise<Held> {
    const held: Held = { key, createdAt: Date.now(), organizationId: "", loaded: Promise.resolve() };
    try {
      if (this.#storage) {
        const { id, curve, publicKey } = key;
        const record = { id, curve, publicKey, createdAt: held.createdAt, ...(await secrets(this.#module, this.#storage, key)) };
        await this.#storage.add(record);
        held.record = record;
        held.key = described(record);
      }
    } catch {
      // Refused: the key lives in memory, as it says.
    }
    this.#held.set(key.id, held);
    this.announce(key.id);
    return held;
  }

  /** The key of an id, as storage knows it now. */
  async find(id: string): Promise<Held> {
    const held = this.#held.get(id);
    if (this.#storage && (!held || held.record)) {
      let found;
      try {
        found = await this.#storage.find(id);
      } catch {
        if (held?.loaded) return this.#demote(held);
        if (!this.#ended.has(id)) throw lost("the browser's storage cannot be read", true);
      }
      if (typeof found === "object") return this.#take(found);
      if (held || found) {
        await this.#forget(id);
        this.tell();
        throw lost(found ? "it was destroyed" : "the browser has removed it");
      }
    } else if (held) {
      return held;
    }
    if (this.#ended.has(id)) throw lost("it was destroyed, or died with its worker");
    throw new GridSignerError("KEY_NOT_FOUND", "no key of this id: it was never made here, or in another browser");
  }

  /** Sees to it that the module has the key. */
  load(held: Held): Promise<void> {
    return (held.loaded ??= this.#load(held));
  }

  /** Brings what this worker knows in line with storage. One at a time. */
  async look(): Promise<void> {
    if (!this.#storage) return;
    const hints = this.#hints;
    this.#hints = new Set();
    const changed = (this.#changedMeanwhile = new Set());
    try {
      const records = await this.#storage.all();
      const there = new Set(records.map(({ id }) => id));
      for (const { key, record } of this.all()) {
        if (record && !there.has(key.id) && !changed.has(key.id)) await this.#forget(key.id);
      }
      for (const record of records) if (!changed.has(record.id)) this.#take(record);
    } catch {
      for (const held of this.all()) {
        const { id } = held.key;
        // Storage cannot contradict: whoever says that it is destroyed is believed.
        // What is there and cannot be read just now is not gone.
        if (hints.has(id)) await this.#forget(id);
        else if (held.loaded) this.#demote(held);
      }
    } finally {
      this.#changedMeanwhile = undefined;
    }
  }

  /** Changes the record of a stored key. */
  async record(held: Held, change: (record: StoredKey) => unknown): Promise<StoredKey | undefined> {
    const { id } = held.key;
    if (this.#held.get(id) !== held) throw lost("it was destroyed");
    if (!this.#storage || !held.record) return undefined;
    let found;
    try {
      found = await this.#storage.update(id, change);
    } catch {
      this.#demote(held);
      return undefined;
    }
    this.#changedMeanwhile?.add(id);
    if (typeof found === "object") return found;
    await this.#forget(id);
    this.tell();
    throw lost("it was destroyed");
  }

  /** Ends a key, here and in every tab. Says whether there was one. */
  async destroy(id: string): Promise<boolean> {
    const held = this.#held.get(id);
    await this.#forget(id);
    let found = held !== undefined;
    if (this.#storage && (!held || held.record)) {
      try {
        found = await this.#remove(id);
      } catch {
        throw new GridSignerError("INTERNAL", "the browser did not remove the stored key", { retryable: true });
      }
    }
    await this.#gone(id);
    return found;
  }

  /**
   * Ends a key whose session was judged to be over. Not if it has been bound to
   * another one meanwhile, in whatever tab: that is what `false` says. Where
   * storage fails the key is gone from here, and the next look tries again.
   */
  async expire({ key: { id }, record }: Held, judged: SessionBinding | undefined): Promise<boolean> {
    const rebound = ({ session }: { session?: SessionBinding }) => session !== undefined && !isSame(session, judged);
    const now = this.#held.get(id);
    if (now && rebound(now.key)) return false;
    let removed = true;
    if (this.#storage && record) {
      try {
        removed = await this.#remove(id, rebound);
      } catch {
        await this.#forget(id);
        return true;
      }
    }
    if (removed) await this.#gone(id);
    return removed;
  }

  /** Tells this page and the other tabs that a key changed, or went. */
  announce(id: string): void {
    this.#changedMeanwhile?.add(id);
    try {
      this.#channel?.postMessage(this.#held.has(id) ? {} : { removed: id });
    } catch {
      // Closed: a call that was under way ends here.
    }
    this.tell();
  }

  /** Tells this page, if what it last heard is no longer so. */
  tell(): void {
    const keys = this.list();
    const text = JSON.stringify(keys);
    if (text === this.#told) return;
    this.#told = text;
    this.#listeners.onKeys(keys);
  }

  /** Forgets what is in memory. Stored keys stay. */
  async close(): Promise<void> {
    this.#channel?.close();
    this.#storage?.close();
    const ids = [...this.#held.keys()];
    this.#held.clear(); // what is still being loaded finds that it is not wanted
    for (const id of ids) await this.#module.removeKey(id);
  }

  async #load(held: Held): Promise<void> {
    const { id } = held.key;
    try {
      const { publicKey } = await importStored(this.#module, this.#storage!, held.record!);
      if (publicKey !== held.key.publicKey) throw new GridSignerError("KEY_MALFORMED", "the stored key is another");
    } catch (error) {
      held.loaded = undefined;
      const { code } = toWire(error);
      if (code === "WORKER_FAILED") throw error; // says nothing of the key
      // What does not open today will not tomorrow; a storage that fails might.
      if (code === "KEY_MALFORMED") await this.destroy(id);
      throw lost("what the browser has stored cannot be opened", code !== "KEY_MALFORMED");
    }
    if (this.#held.get(id) !== held) {
      await this.#module.removeKey(id); // destroyed while it was being loaded
      throw lost("it was destroyed");
    }
  }

  /** Takes the key out of the module, which keeps what it has signed for: the next load begins anew. */
  async unload(held: Held): Promise<void> {
    held.loaded = undefined;
    await this.#module.removeKey(held.key.id);
  }

  /** Takes over what storage says of a key. What it had refused to take is made up for. */
  #take(record: StoredKey): Held {
    const held = this.#held.get(record.id) ?? ({} as Held);
    const { createdAt, organizationId = held.organizationId ?? "" } = record;
    const refused = record.session ? undefined : held.key?.session;
    const unpinned = record.organizationId ? undefined : held.organizationId;
    const key = described(refused ? { ...record, session: refused } : record);
    Object.assign(held, { key, createdAt, organizationId, record });
    this.#held.set(record.id, held);
    const makeUp = (record: StoredKey) => {
      if (refused) record.session ??= refused;
      if (unpinned) record.organizationId ??= unpinned;
    };
    if (refused || unpinned) void this.record(held, makeUp).catch(() => {});
    return held;
  }

  /** Storage fails: what this worker has of the key is all that can be counted on. What it had stored may still be there. */
  #demote(held: Held): Held {
    held.key = { ...held.key, persistence: "memory" };
    return held;
  }

  /** Removes a key from storage: where that fails, once more, over another connection. */
  #remove(id: string, stays?: (key: StoredKey) => boolean): Promise<boolean> {
    const remove = () => this.#storage!.remove(id, stays);
    return remove().catch(remove);
  }

  async #gone(id: string): Promise<void> {
    await this.#forget(id); // again: a look that had begun before may have brought it back
    this.announce(id);
  }

  async #forget(id: string): Promise<void> {
    if (this.#held.delete(id)) this.#ended.add(id);
    await this.#module.removeKey(id);
  }

  #hear(message: unknown): void {
    const { removed } = Object(message) as { removed?: unknown };
    // A key that never was in storage is this tab's alone.
    if (typeof removed === "string" && this.#held.get(removed)?.record) this.#hints.add(removed);
    this.#listeners.onNews();
  }
}

/** Undefined where the browser denies the page whatever tabs could share. */
function openChannel(): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel("gridsigner");
  } catch {
    return undefined;
  }
}

/** A stored key as the page sees it. */
function described({ id, curve, publicKey, session }: StoredKey): SessionKey {
  const protection = curve === "P-256" ? "non-extractable" : "encrypted-at-rest";
  return { id, curve, publicKey, protection, persistence: "indexeddb", ...(session && { session }) };
}

function isSame(a: SessionBinding, b: SessionBinding | undefined): boolean {
  return a.id === b?.id && a.expiresAt === b.expiresAt;
}

export function lost(why: string, retryable = false): GridSignerError {
  return new GridSignerError("KEY_LOST", `the key is gone: ${why}`, { retryable });
}
