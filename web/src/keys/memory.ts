import type { KeyRecord } from "./machine.ts";
import type { Change, Storage } from "./storage.ts";

/** Keys of this worker alone: where the caller wants no other, or the browser refuses to store them. */
export class Memory implements Storage {
  readonly #records = new Map<string, KeyRecord>();

  async all(): Promise<KeyRecord[]> {
    return [...this.#records.values()];
  }

  async get(id: string): Promise<KeyRecord | undefined> {
    return this.#records.get(id);
  }

  async add(record: KeyRecord): Promise<void> {
    if (this.#records.has(record.id)) throw new Error("there is a record of this id");
    this.#records.set(record.id, record);
  }

  async update(id: string, change: Change): Promise<KeyRecord | undefined> {
    const found = this.#records.get(id);
    const changed = found && change(found);
    if (changed === null) this.#records.delete(id);
    for (const record of [changed ?? []].flat()) this.#records.set(record.id, record);
    return this.#records.get(id);
  }

  /** Here a key is held by the module as it is: nothing is sealed. */
  async wrappingKey(): Promise<undefined> {}

  close(): void {}
}
