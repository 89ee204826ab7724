/**
 * Keys at rest: one IndexedDB database per origin, shared by all its tabs.
 *
 * What makes tabs safe from each other is that every change is one transaction,
 * which IndexedDB runs one after another, whatever the tabs do: a key that was
 * removed cannot be put back by a tab that did not know, and two tabs that
 * need a wrapping key at once get the same one.
 *
 * Anything here may reject, at any time: private windows, full disks, a user
 * who clears site data. What then becomes of a key is keyring.ts's to decide.
 */
import type { Curve, SessionBinding } from "./types.ts";

/** A key as it is stored: no scalar in it, but for the ciphertext of a secp256k1 key. */
export interface StoredKey {
  id: string;
  curve: Curve;
  publicKey: string;
  /** Orders keys(). */
  createdAt: number;
  session?: SessionBinding;
  /** The organization that the key signed for first: see signer.Key.BindOrganization. */
  organizationId?: string;
  /** Of a P-256 key: the non-extractable CryptoKey and the public key's 65 bytes. */
  handle?: CryptoKey;
  point?: Uint8Array;
  /** Of a secp256k1 key: AES-256-GCM, see sealing.ts. */
  iv?: Uint8Array;
  ciphertext?: ArrayBuffer;
}

/** What is known of an id: its key, that it was destroyed, or nothing. */
export type Finding = StoredKey | "destroyed" | undefined;

const databaseName = "gridsigner";
const [keys, tombstones, wrapping] = ["keys", "tombstones", "wrapping"] as const;

/** Some engines have left open(), or a transaction, without an answer for ever. */
const answerMs = 5000;

/** Longer than any tab sleeps that still believes in its session. */
const tombstoneMs = 30 * 86_400_000;

/**
 * Connects when it is first needed, and again when the connection was lost: to
 * a later version of this package, to a user who cleared site data, or to a
 * browser that put its storage to sleep.
 */
export class Storage {
  #connection: Promise<IDBDatabase> | undefined;
  /** A transaction that did not answer in time. Until it does, others would only wait behind it. */
  #stuck: IDBTransaction | undefined;
  #closed = false;

  close(): void {
    this.#closed = true;
    this.#connection?.then((database) => database.close(), () => {});
  }

  all(): Promise<StoredKey[]> {
    return this.#run([keys], "readonly", (tx, done) => {
      tx.objectStore(keys).getAll().onsuccess = result(done);
    });
  }

  find(id: string): Promise<Finding> {
    return this.#run([keys, tombstones], "readonly", (tx, done) => {
      tx.objectStore(keys).get(id).onsuccess = result((key: StoredKey | undefined) => {
        done(key);
        if (key) return;
        tx.objectStore(tombstones).getKey(id).onsuccess = result((dead: unknown) => {
          if (dead !== undefined) done("destroyed");
        });
      });
    });
  }

  /** Stores a new key. */
  add(key: StoredKey): Promise<void> {
    return this.#run([keys], "readwrite", (tx) => void tx.objectStore(keys).add(key));
  }

  /** Changes a key that is still there; says what it found, changed. */
  update(id: string, change: (key: StoredKey) => void): Promise<Finding> {
    return this.#run([keys], "readwrite", (tx, done) => {
      const store = tx.objectStore(keys);
      store.get(id).onsuccess = result((key: StoredKey | undefined) => {
        if (key) {
          change(key);
          store.put(key);
        }
        done(key);
      });
    });
  }

  /**
   * Removes a key, and leaves a tombstone for tabs that hear of it only when
   * they wake. Says whether it did: there may be none, or one that is to stay.
   */
  remove(id: string, stays?: (key: StoredKey) => boolean): Promise<boolean> {
    const at = Date.now();
    return this.#run([keys, tombstones], "readwrite", (tx, done) => {
      const store = tx.objectStore(keys);
      done(false);
      // Read only where that is needed: what cannot be read any more can still be removed.
      const request = (stays ? store.get(id) : store.getKey(id)) as IDBRequest<unknown>;
      request.onsuccess = result((found: unknown) => {
        // No tombstone then: one for each id that is asked for would fill the disk.
        if (found === undefined || stays?.(found as StoredKey)) return;
        store.delete(id);
        const graves = tx.objectStore(tombstones);
        graves.openCursor().onsuccess = result((cursor: IDBCursorWithValue | null) => {
          if (!cursor) return;
          if (Math.abs(at - cursor.value.at) > tombstoneMs) cursor.delete(); // or the clock was wrong
          cursor.continue();
        });
        graves.put({ id, at });
        done(true);
      });
    });
  }

  /** The key that secp256k1 keys are sealed with, if there is one. */
  wrappingKey(): Promise<CryptoKey | undefined> {
    return this.#run([wrapping], "readonly", (tx, done) => {
      tx.objectStore(wrapping).get(0).onsuccess = result(done);
    });
  }

  /** The same, made where there is none. Not extractable: it can be used here, and read nowhere. */
  async makeWrappingKey(): Promise<CryptoKey> {
    const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    return this.#run([wrapping], "readwrite", (tx, done) => {
      const store = tx.objectStore(wrapping);
      store.get(0).onsuccess = result((found: CryptoKey | undefined) => {
        if (!found) store.put(made, 0); // another tab may have been first
        done(found ?? made);
      });
    });
  }

  /**
   * The connection. One that comes late is still taken; until then whoever needs
   * it is refused at once.
   */
  #connect(): Promise<IDBDatabase> {
    return (this.#connection ??= this.#open());
  }

  #open(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the database does not open")), answerMs);
      const failed = (error: unknown) => {
        clearTimeout(timer);
        reject(error);
        queueMicrotask(() => (this.#connection = undefined)); // when it is set: open() may throw at once
      };
      try {
        const request = indexedDB.open(databaseName, 1);
        request.onupgradeneeded = () => {
          request.result.createObjectStore(keys, { keyPath: "id" });
          request.result.createObjectStore(tombstones, { keyPath: "id" });
          request.result.createObjectStore(wrapping);
        };
        request.onblocked = () => reject(new Error("another tab keeps the database back"));
        request.onerror = () => failed(request.error);
        request.onsuccess = () => {
          clearTimeout(timer);
          const database = request.result;
          if (this.#closed) {
            database.close();
            return reject(new Error("the database was closed"));
          }
          const opened = Promise.resolve(database);
          this.#connection = opened;
          // Whoever deletes the database, or a later version of this package, must not wait for us.
          database.onversionchange = () => this.#drop(opened);
          database.onclose = () => this.#drop(opened);
          resolve(database);
        };
      } catch (error) {
        failed(error);
      }
    });
  }

  /** Ends a connection. Whoever comes next makes another. */
  #drop(connection: Promise<IDBDatabase>): void {
    if (this.#connection === connection) this.#connection = undefined;
    void connection.then((database) => database.close());
  }

  /**
   * Runs one transaction. What `work` hands to `done` last is returned, once
   * everything is on the disk: a key must not be reported destroyed that is
   * back after a power cut.
   */
  async #run<T>(
    stores: string[],
    mode: "readonly" | "readwrite",
    work: (tx: IDBTransaction, done: (value: T) => void) => void,
  ): Promise<T> {
    const database = await this.#connect();
    if (this.#stuck) throw new Error("the database does not answer");
    const tx = this.#begin(database, stores, mode);
    return new Promise((resolve, reject) => {
      let value: T;
      const timer = setTimeout(() => {
        this.#stuck = tx;
        reject(new Error("the database does not answer"));
        abort(tx);
      }, answerMs);
      const ended = () => {
        clearTimeout(timer);
        if (this.#stuck === tx) this.#stuck = undefined;
      };
      tx.oncomplete = () => (ended(), resolve(value));
      tx.onabort = () => (ended(), reject(tx.error ?? new Error("the transaction was aborted")));
      try {
        work(tx, (v) => (value = v));
      } catch (error) {
        reject(error);
        abort(tx);
      }
    });
  }

  #begin(database: IDBDatabase, stores: string[], mode: IDBTransactionMode): IDBTransaction {
    try {
      return database.transaction(stores, mode, { durability: "strict" });
    } catch (error) {
      // Not every engine tells that a connection is lost.
      if (this.#connection) this.#drop(this.#connection);
      throw error;
    }
  }
}

/** Hands on what a request came to. What fails then fails the transaction, and not the worker. */
function result<T>(use: (value: T) => void): (event: Event) => void {
  return ({ target }) => {
    const { result, transaction } = target as IDBRequest<T>;
    try {
      use(result);
    } catch {
      abort(transaction!);
    }
  };
}

/** As far as it can be: one that has committed, or was aborted before, throws. */
function abort(tx: IDBTransaction): void {
  try {
    tx.abort();
  } catch {
    // It is over, and says so by itself.
  }
}
