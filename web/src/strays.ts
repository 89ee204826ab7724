/**
 * Sessions that a refresh or a sign-in has made without anybody knowing, because its answer was lost. They are over by
 * themselves after a quarter of an hour, and ended before that where Grid's list leaves no doubt which they are.
 */
import { GridSignerError, toWire, type WireError } from "./errors.ts";
import type { Grid, Patience } from "./grid.ts";
import { isSameId, type Keyring } from "./keys/keyring.ts";
import type { KeyRecord, Strays } from "./keys/machine.ts";
import type { AuthSession } from "./types.ts";

/** How long after the end of a challenge, or of a sign-in, Grid may still be at what it was sent. */
export const settleMs = 60_000;

/** How long Grid's sessions live by default: whoever could not be asked until then need not be asked any more. */
const lifeMs = 900_000;

/** Grid's times are in whole seconds, and our knowledge of its clock is no better. */
export const slackMs = 2000;

/**
 * Ends them, and writes down that there are none once none can come any more. One of them was not listed before, was made
 * in the time of the refresh, began when the refreshed session did, as in Grid's example of a refresh, and
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
    await grid.perform("revoke-session", { id: row.id }, options, record, unlessBound(keyring, holder, record, row));
  }
  if (now >= strays.until) await keyring.move(id, { type: "stray", holder, strays: undefined });
}

/**
 * Ends the session that a sign-in may have started, by its own key, once no session of it can come any more: Grid takes the
 * signature only of a key that has a session, which is listed then. So where the list has one that it can be, it is that, or
 * there is none. Of a token whose answer was lost nothing tells the account: only the tab that signs in may still learn of it.
 */
export async function endStarted(keyring: Keyring, grid: Grid, holder: string, record: KeyRecord, options: Patience): Promise<void> {
  const { accountId, since, until, type } = record.signIn!;
  const agoMs = Math.abs(Date.now() - until);
  if (agoMs < settleMs) {
    throw new GridSignerError("TIMEOUT", "Grid may still start the session", { retryable: true, retryAfterMs: settleMs - agoMs });
  }
  if (agoMs > lifeMs || accountId === undefined) return;
  const rows = await grid.list<AuthSession>("list-sessions", accountId, options);
  await keyring.look(); // at what other tabs have bound
  const started = rows.filter((row) => row.type === type && Date.parse(row.createdAt) >= since! - slackMs && !keyring.boundTo(row.id));
  if (started.length !== 1) return;
  const revocation = grid.perform("revoke-session", { id: started[0]!.id }, options, record, unlessBound(keyring, holder, record, started[0]!));
  await revocation.catch((error) => (isUnknownKey(toWire(error)) ? undefined : Promise.reject(error)));
}

/** Grid's word that no session is of this key: it has several (its schema Error401). */
const isUnknownKey = ({ status, upstreamCode = "" }: WireError) => status === 401 && /^(WALLET_SIGNATURE_INVALID|UNAUTHORIZED)$/.test(upstreamCode);

/** Asked right before the end of a session is signed for. */
function unlessBound(keyring: Keyring, holder: string, { id }: KeyRecord, row: AuthSession): () => Promise<void> {
  return async () => {
    holding(await keyring.find(id), holder);
    if (keyring.boundTo(row.id)) throw new GridSignerError("KEY_LOST", "the session has a key by now");
  };
}

/** Rejects where another tab has taken over: it may know what this one does not. */
export function holding({ lease }: KeyRecord, holder: string): void {
  if (lease?.holder !== holder) throw new GridSignerError("TIMEOUT", "another tab goes on with it", { retryable: true });
}
