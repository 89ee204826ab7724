/**
 * Sessions that a refresh has made without anybody knowing, because its answer was lost. Their private half is gone, so
 * they are of use to nobody, and over by themselves after a quarter of an hour. They are ended before that where Grid's
 * list leaves no doubt which they are.
 */
import { GridSignerError } from "./errors.ts";
import type { Grid, Patience } from "./grid.ts";
import { isSameId, type Keyring } from "./keys/keyring.ts";
import type { KeyRecord, Strays } from "./keys/machine.ts";
import type { AuthSession } from "./types.ts";

/**
 * Ends them, and writes down that there are none once none can come any more. One of them was not listed before, was made
 * in the time of the refresh, began when the refreshed session did, as Grid has it of every refresh (contract 2.3), and
 * is bound to no key here. Where a session that is not ours began then too, that tells nothing, and none is ended.
 */
export async function endStrays(keyring: Keyring, grid: Grid, holder: string, record: KeyRecord, strays: Strays, options: Patience): Promise<void> {
  const { id, session } = record;
  const now = grid.clock.now(); // a list from before that time is none from after it
  const rows = await grid.list<AuthSession>("list-sessions", session!.accountId, options);
  await keyring.look(); // at what other tabs have bound
  const own = rows.find((row) => isSameId(row.id, session!.id));
  if (!own) return; // this key has nothing to say any more
  const alike = rows.filter((row) => own.createdAt && row.createdAt === own.createdAt && row.type === own.type && !keyring.boundTo(row.id));
  const isOld = (row: AuthSession) => strays.before.some((id) => isSameId(id, row.id));
  const isStray = (row: AuthSession) => {
    const made = Date.parse(row.updatedAt);
    return strays.from <= made && made <= strays.until;
  };
  for (const row of alike.some(isOld) ? [] : alike.filter(isStray)) {
    const allow = async () => {
      holding(await keyring.find(id), holder);
      if (keyring.boundTo(row.id)) throw new GridSignerError("KEY_LOST", "the session has a key by now");
    };
    await grid.perform("revoke-session", { id: row.id }, options, record, allow);
  }
  if (now >= strays.until) await keyring.move(id, { type: "stray", holder, strays: undefined });
}

/** Rejects where another tab has taken over: it may know what this one does not. */
export function holding({ lease }: KeyRecord, holder: string): void {
  if (lease?.holder !== holder) throw new GridSignerError("TIMEOUT", "another tab goes on with it", { retryable: true });
}
