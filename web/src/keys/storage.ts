/**
 * Keys at rest: one IndexedDB database per origin and namespace, shared by all its tabs. What makes tabs safe from
 * each other is that every change is one transaction, which IndexedDB runs one after another, whatever the tabs do.
 *
 * Anything here may reject, at any time: private windows, full disks, a user who clears site data. What then becomes
 * of a key is keyring.ts's to decide.
 */
import { GridSignerError } from "../errors.ts";
import type { KeyRecord } from "./machine.ts";

/** What is to become of a record: another one, which may bring further ones; with `undefined` it stays as it is, with `null` it goes. */
export type Change = (record: KeyRecord) => KeyRecord | [KeyRecord, ...KeyRecord[]] | undefined | null;

/** Where records are kept. memory.ts has the other one. */
export interface Storage {
  /** Every record, tombstones included. */
  all(): Promise<KeyRecord[]>;
  get(id: string): Promise<KeyRecord | undefined>;
  /** Stores a new record. */
  add(record: KeyRecord): Promise<void>;
  /** Changes a record, if it is there, in one transaction. Resolves once that is on the disk, with what is there then. */
  update(id: string, change: Change): Promise<KeyRecord | undefined>;
  /** The key that secp256k1 keys are sealed with: the one that is there, or else the one that is given. */
  wrappingKey(made?: CryptoKey): Promise<CryptoKey | undefined>;
  close(): void;
}

const [keys, wrapping] = ["keys", "wrapping"] as const;

/** Some engines have left open(), or a transaction, without an answer for ever. */
const answerMs = 5000;

/** Connects when needed, and again when a later version, cleared site data or sleeping storage took the connection. */
export class IndexedDB implements Storage {
  readonly #name: string;
  #connection: Promise<IDBDatabase> | undefined;
  /** A transaction that did not answer in time. Until it does, others would only wait behind it. */
  #stuck: IDBTransaction | undefined;
  #closed = false;

  constructor(name: string) {
    this.#name = name;
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  all(): Promise<KeyRecord[]> {
    return this.#run(keys, "readonly", (store) => store.getAll());
  }

  get(id: string): Promise<KeyRecord | undefined> {
    return this.#run(keys, "readonly", (store) => store.get(id));
  }

  add(record: KeyRecord): Promise<void> {
    return this.#run(keys, "readwrite", (store) => store.add(record), () => {});
  }

  update(id: string, change: Change): Promise<KeyRecord | undefined> {
    return this.#run(keys, "readwrite", (store) => store.get(id), (found: KeyRecord | undefined, store) => {
      const changed = found && change(found);
      if (changed === null) return void store.delete(id);
      const [first = found, ...others] = [changed ?? []].flat();
      for (const record of changed ? [first, ...others] : []) store.put(record);
      return first;
    });
  }

  wrappingKey(made?: CryptoKey): Promise<CryptoKey | undefined> {
    const mode = made ? "readwrite" : "readonly";
    return this.#run(wrapping, mode, (store) => store.get(0), (found: CryptoKey | undefined, store) => {
      if (made && !found) store.put(made, 0); // another tab may have been first
      return found ?? made;
    });
  }

  #open(): Promise<IDBDatabase> {
    const opened = new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 3);
      request.onupgradeneeded = () => {
        const database = request.result;
        for (const old of [...database.objectStoreNames]) database.deleteObjectStore(old); // nothing was released
        database.createObjectStore(keys, { keyPath: "id" });
        database.createObjectStore(wrapping);
      };
      request.onerror = () => reject(request.error);
      request.onsuccess = () => resolve(request.result);
    });
    opened.then(
      (database) => {
        if (this.#closed) return database.close();
        this.#connection = opened; // also one that comes late; until then whoever needs it is refused at once
        // Whoever deletes the database, or a later version of this package, must not wait for us.
        database.onversionchange = database.onclose = () => this.#drop();
      },
      () => (this.#connection = undefined),
    );
    return inTime(opened);
  }

  /** Ends the connection. Whoever comes next makes another. */
  #drop(): void {
    this.#connection?.then((database) => database.close(), () => {});
    this.#connection = undefined;
  }

  /**
   * Runs one transaction: one request, and what `use` makes of its answer. Returns that once everything is on the disk:
   * a key must not be reported destroyed that is back after a power cut.
   */
  async #run<T>(
    name: string,
    mode: IDBTransactionMode,
    ask: (store: IDBObjectStore) => IDBRequest,
    use: (answer: any, store: IDBObjectStore) => T = (answer) => answer,
  ): Promise<T> {
    const database = await (this.#connection ??= this.#open());
    if (this.#stuck) throw new Error("the database does not answer");
    let tx: IDBTransaction;
    try {
      tx = database.transaction(name, mode, { durability: "strict" });
    } catch (error) {
      this.#drop(); // not every engine tells that a connection is lost
      throw error;
    }
    const ended = new Promise<T>((resolve, reject) => {
      let value: T;
      tx.oncomplete = () => resolve(value);
      tx.onabort = () => reject(tx.error ?? new Error("the transaction was aborted"));
      const store = tx.objectStore(name);
      const request = ask(store);
      request.onsuccess = () => {
        try {
          value = use(request.result, store);
          if (mode === "readonly") resolve(value); // nothing of it has to reach the disk
          else tx.commit(); // at once: by the time that a write is answered the tab may be gone
        } catch {
          abort(tx); // what fails here fails the transaction, and not the worker
        }
      };
    });
    ended.catch(() => abort(tx)).finally(() => {
      if (this.#stuck === tx) this.#stuck = undefined;
    });
    return inTime(ended, () => {
      this.#stuck = tx;
      abort(tx);
    });
  }
}

/** What callers hear of it. */
export function storageFailed(): GridSignerError {
  return new GridSignerError("STORAGE_FAILED", "the browser's storage refuses, or does not answer", { retryable: true });
}

function inTime<T>(answer: Promise<T>, late = () => {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late();
      reject(new Error("the database does not answer"));
    }, answerMs);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** As far as it can be: one that has committed, or was aborted before, throws. */
function abort(tx: IDBTransaction): void {
  try {
    tx.abort();
  } catch {
    // It is over, and says so by itself.
  }
}
