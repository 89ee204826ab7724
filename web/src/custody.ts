/**
 * What may be done with a key, and when it ends. Runs in the worker, between the protocol (serve.ts) and the module:
 * joins the keys (keys/) with the sessions that they sign for, the server's time (clock.ts), and the calls to Grid.
 */
import { Clock } from "./clock.ts";
import { GridSignerError, toWire, type WireError } from "./errors.ts";
import { Keyring, lost } from "./keys/keyring.ts";
import { Leaving } from "./keys/leaving.ts";
import { described, forgottenMs, type KeyRecord, maySign } from "./keys/machine.ts";
import { type Given, importKey, makeKey, type Made, type RawModule, seal, withKey } from "./keys/secrets.ts";
import { IndexedDB, type Storage } from "./keys/storage.ts";
import type { Challenge, EndReason, RevokeEvent, RevokeResult, SessionBinding, SessionEvent, SessionKey } from "./types.ts";

/** What the page tells a new worker. */
export interface CustodySettings {
  bridgeUrl: string;
  credentials: string;
  payloads: string;
  persistence: SessionKey["persistence"];
  namespace: string | undefined;
  /** The keys that died with an earlier worker. */
  lost?: string[];
  /** Keys whose sign-out a page had noted when it was closed. */
  leave?: string[];
}

/** What the page does for its worker. */
export interface Page {
  onEvent(event: SessionEvent): void;
  /** The headers of requests to the bridge, asked for anew. Rejects where they are not to be had, or the signal fires. */
  headers(signal: AbortSignal): Promise<Record<string, string>>;
}

/** Options as the protocol hands them over: the key's id, and what else the call has. */
interface Options {
  key: string;
  timeoutMs: number;
  signal?: AbortSignal;
  onProgress?: (event: RevokeEvent) => void;
  scope?: string;
  unreachable?: string;
}

/** What became of a session, as it crosses to the page. */
export interface Outcome {
  status?: "revoked" | "inactive" | "pending" | "forgotten";
  sessionId?: string;
  sessionExpiresAt?: string;
  error?: WireError;
}

/** How often the clocks are looked at while a session runs: a timer alone does not see sleep and jumps. */
const lookMs = 60_000;

export class Custody {
  readonly #module: RawModule;
  readonly #page: Page;
  readonly #settings: CustodySettings;
  readonly #clock: Clock;
  readonly #channel: BroadcastChannel | undefined;
  readonly #keyring: Keyring;
  readonly #leaving: Leaving;
  readonly #ended = new AbortController();
  /** The look under way, and the one after it, which whoever comes now waits for. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How soon the bridge is asked about what is over by this device's clock: at once, and then now and again. */
  #doubtMs = 0;

  constructor(module: RawModule, settings: CustodySettings, page: Page, storage?: Storage) {
    const { bridgeUrl, persistence, namespace, lost, leave = [] } = settings;
    const name = namespace === undefined ? "gridsigner" : `gridsigner/${namespace}`;
    this.#module = module;
    this.#page = page;
    this.#settings = settings;
    this.#clock = new Clock(bridgeUrl);
    this.#channel = openChannel(name);
    const listeners = {
      onEvent: (event: SessionEvent) => {
        page.onEvent(event);
        if (event.type === "ended") this.#leaving.settle(event.key, event.reason);
      },
      onChange: () => {
        if (!this.#ended.signal.aborted) this.#channel?.postMessage(null);
        this.#setTimer();
      },
      onRelease: (held: string) => void module.removeKey(held),
    };
    this.#keyring = new Keyring(persistence === "memory" ? undefined : (storage ?? new IndexedDB(name)), listeners, lost);
    this.#leaving = new Leaving(this.#keyring, (record, options) => this.#tell(record, options));
    // Page code can post here too, so whatever is said is a reason to look, and nothing more.
    if (this.#channel) this.#channel.onmessage = () => void this.#look();
    addEventListener("online", () => this.#leaving.hurry(), { signal: this.#ended.signal });
    const leaving = leave.map((id) => this.#leave(id).catch(() => {})); // if it is there, and signed in
    this.#looking = Promise.all(leaving).then(() => {});
    void this.#look();
  }

  async createKey({ curve }: { curve?: string }, options: Pick<Options, "signal">): Promise<SessionKey> {
    return this.#keep(await makeKey(this.#module, curve), options);
  }

  async importKey(given: Given, options: Pick<Options, "signal">): Promise<SessionKey> {
    return this.#keep(await importKey(this.#module, given), options);
  }

  /** Every key of this origin and of this worker that may sign, oldest first. */
  async keys(): Promise<SessionKey[]> {
    await this.#look();
    return this.#keyring.records().filter(({ state }) => state !== "leaving").map(described);
  }

  async removeKey(id: string): Promise<boolean> {
    // To all but its sign-out a key that is leaving is gone already. Where storage cannot be asked, it may be there.
    const isStorageFailed = (error: unknown) => toWire(error).code === "STORAGE_FAILED";
    const isThere = await this.#keyring.find(id).then(usable).then(() => true, isStorageFailed);
    if (!isThere) return false;
    const isRemoved = ({ reason }: KeyRecord) => reason === "removed";
    return this.#end(id, "removed").then(isRemoved, (error) => isStorageFailed(error) && Promise.reject(error));
  }

  async bindSession(id: string, session: SessionBinding): Promise<SessionKey> {
    usable(await this.#keyring.find(id));
    if (await this.#isPast(session.expiresAt, "the session")) {
      await this.#end(id, "expired"); // but not one that has another session
      throw lost(words.expired);
    }
    return described(usable(await this.#keyring.move(id, { type: "bind", session })));
  }

  async signChallenge(challenge: Challenge, options: Options & { intent?: string | { name: string } }): Promise<unknown> {
    const left = stopwatch(options);
    const { intent = "revoke-session" } = options;
    const record = await this.#use(options.key, typeof intent === "string" ? intent : intent.name);
    await this.#isPast(challenge.expiresAt, "the challenge"); // that it is over the module says
    return this.#withKey(record, (conditions) => this.#module.signChallenge(challenge, { ...options, ...conditions, timeoutMs: left() }));
  }

  /** Without a session id, the key's own session. */
  async revokeSession(sessionId: string | undefined, options: Options): Promise<Outcome> {
    const left = stopwatch(options);
    const { session } = await this.#keyring.find(options.key);
    if (sessionId === undefined || (session && isSameId(sessionId, session.id))) return this.#signOut(options, left);
    const result = await this.#revoke(await this.#use(options.key), sessionId, { ...options, timeoutMs: left() });
    for (const { id, session, state } of this.#keyring.records()) {
      if (state === "active" && isSameId(session!.id, sessionId)) await this.#end(id, "revoked", session).catch(() => {});
    }
    return result;
  }

  async signOut(options: Options): Promise<Outcome | Outcome[]> {
    const left = stopwatch(options);
    const { scope = "this" } = options;
    if (scope === "this") return this.#signOut(options, left);
    const others = await this.#revokeOthers(options, left);
    return scope === "others" ? others : [...others, await this.#signOut(options, left)];
  }

  async listSessions(accountId: string, options: Pick<Options, "timeoutMs" | "signal">): Promise<{ id: string }[]> {
    return this.#module.listSessions(accountId, { ...options, ...this.#bridge() });
  }

  /** Forgets what is in memory. Stored keys stay. */
  async close(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#leaving.close();
    this.#keyring.close();
  }

  async #signOut({ key: id, unreachable, signal, onProgress }: Options, left: () => number): Promise<Outcome> {
    let failed: unknown;
    // Before anything else: this tab may be closed any moment. What cannot be written down is done all the same, as long as it lives.
    const record = await this.#leave(id).catch((error) => ((failed = error), this.#keyring.find(id)));
    if (!record.session) throw record.state === "ended" ? lost(words[record.reason!]) : unbound();
    const { id: sessionId, expiresAt: sessionExpiresAt } = record.session;
    const job = record.state === "leaving" ? await this.#leaving.wait(id, left(), signal, onProgress) : undefined;
    const { reason } = job ?? record;
    if (!reason) {
      const forget = unreachable === "forget";
      if (forget) await this.#end(id, "forgotten").catch(() => {});
      else if (failed) throw failed;
      return { status: forget ? "forgotten" : "pending", sessionId, sessionExpiresAt, ...(job?.error && { error: job.error }) };
    }
    if (reason === "signed-out") return { status: "revoked", sessionId };
    if (reason === "revoked" || reason === "expired") return { status: "inactive", sessionId };
    throw lost(words[reason]);
  }

  /** Every active session of the account but the key's own, one after the other. */
  async #revokeOthers({ key, signal, scope }: Options, left: () => number): Promise<Outcome[]> {
    const options = () => ({ key, timeoutMs: left(), ...(signal && { signal }) });
    const outcomes: Outcome[] = [];
    try {
      const { session } = await this.#use(key);
      if (!session) throw unbound();
      for (const { id: sessionId } of await this.listSessions(session.accountId, options())) {
        if (isSameId(sessionId, session.id)) continue;
        outcomes.push(await this.revokeSession(sessionId, options()).catch((error) => ({ sessionId, error: toWire(error) })));
      }
    } catch (error) {
      if (scope === "others") throw error;
      outcomes.push({ error: toWire(error) }); // who wants out of everything is signed out here all the same
    }
    return outcomes;
  }

  async #keep(made: Made, { signal }: Pick<Options, "signal">): Promise<SessionKey> {
    const record = await this.#keyring.add(made, (storage, record) => seal(this.#module, storage, record));
    if (!signal?.aborted) return described(record);
    await this.#end(record.id, "removed"); // whoever wanted it has given up: nobody would ever use it
    throw new GridSignerError("ABORTED", "nobody waits for the key any more");
  }

  #leave(id: string): Promise<KeyRecord> {
    return this.#keyring.move(id, { type: "leave", holder: this.#leaving.holder, now: Date.now() });
  }

  #end(id: string, reason: EndReason, session?: SessionBinding): Promise<KeyRecord> {
    return this.#keyring.move(id, { type: "end", reason, now: Date.now(), session });
  }

  /** The key, if it may sign for this and its session is not over. */
  async #use(id: string, intent = "revoke-session"): Promise<KeyRecord> {
    const record = usable(await this.#keyring.find(id));
    if (!maySign(record, intent)) throw new GridSignerError("INTENT_MISMATCH", "the key has its session: it signs nobody in");
    if (record.session && (await this.#isPast(record.session.expiresAt, "the session"))) {
      usable(await this.#end(id, "expired", record.session));
      return this.#use(id, intent); // bound to another session meanwhile
    }
    return record;
  }

  /** Whether an instant has passed, by the server's clock and this device's. What is no date is for others to refuse. */
  async #isPast(date: string, what: string): Promise<boolean> {
    const instant = Date.parse(date);
    return !Number.isNaN(instant) && ((await this.#clock.isPast(instant)) ?? this.#doubt(what, instant));
  }

  #doubt(what: string, instant: number): never {
    const message = `whether ${what} is over, this device's clock and the server's do not agree`;
    throw new GridSignerError("CLOCK_SKEW", message, { skewMs: this.#clock.ahead(instant) });
  }

  /** Lets `work` sign with a key, under the conditions that hold for it. */
  async #withKey<T>(record: KeyRecord, work: (conditions: object) => Promise<T>): Promise<T> {
    const { id, state, organizationId } = record;
    const conditions = {
      payloads: this.#settings.payloads,
      clock: this.#clock,
      ...(organizationId !== undefined && { organizationId }),
      // Asked when nothing but the signature is missing: the call may have taken long.
      allow: async () => {
        const now = await this.#keyring.find(id);
        if (now.state !== state) throw lost(words[now.reason ?? "leaving"]);
      },
    };
    try {
      return await withKey(this.#module, this.#keyring.storage, record, (key) => work({ ...conditions, key }));
    } catch (error) {
      if (toWire(error).code !== "KEY_MALFORMED") throw error;
      await this.#end(id, "lost").catch(() => {}); // what does not open today will not tomorrow
      throw lost(words.lost);
    }
  }

  async #revoke(record: KeyRecord, sessionId: string, options: Omit<Options, "key">): Promise<RevokeResult> {
    let ends = NaN;
    const onProgress = (event: RevokeEvent) => {
      if (event.step === "challenge") ends = Date.parse(event.expiresAt);
      options.onProgress?.(event);
    };
    try {
      const { organizationId, ...result } = await this.#withKey(record, (conditions) =>
        this.#module.revokeSession(sessionId, { ...options, ...conditions, ...this.#bridge(), onProgress }),
      );
      // Grid has accepted it: from now on the key is held to that organization.
      if (organizationId !== undefined) await this.#keyring.move(record.id, { type: "accept", organizationId }).catch(() => {});
      return result;
    } catch (error) {
      // It came just now: one of the two clocks is wrong.
      if (toWire(error).code === "CHALLENGE_EXPIRED" && !this.#clock.judge(ends)) this.#doubt("a challenge", ends);
      throw error;
    }
  }

  /** Tells Grid of a sign-out. */
  async #tell(record: KeyRecord, options: Omit<Options, "key">): Promise<RevokeResult> {
    const { id, accountId } = record.session!;
    const result = await this.#revoke(record, id, options);
    // Whoever is signed in to the app by now may be somebody else, to whom the bridge says of any session that there is none.
    if (result.status === "inactive" && (await this.listSessions(accountId, options)).some((session) => isSameId(session.id, id))) {
      throw new GridSignerError("RESPONSE_MALFORMED", "the session is said to be gone, and is listed");
    }
    return result;
  }

  #bridge(): object {
    const { bridgeUrl, credentials } = this.#settings;
    return { bridgeUrl, credentials, clock: this.#clock, headers: ({ signal }: { signal: AbortSignal }) => this.#page.headers(signal) };
  }

  /** Looks at storage and at the clocks. One look at a time, however many ask: any script of the origin can make us look. */
  #look(): Promise<void> {
    const look = async () => {
      this.#next = undefined;
      await this.#keyring.look();
      for (const { id, session, createdAt } of this.#keyring.records()) {
        const ends = session ? Date.parse(session.expiresAt) : createdAt + forgottenMs;
        if (this.#clock.judge(ends)) await this.#end(id, "expired", session).catch(() => {}); // here it has ended at least
      }
      for (const { id, state } of this.#keyring.records()) if (state === "leaving") this.#leaving.start(id);
      this.#setTimer();
    };
    return (this.#next ??= this.#looking = this.#looking.then(look, look));
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const ends = this.#keyring.records().flatMap(({ session }) => (session ? [Date.parse(session.expiresAt)] : []));
    if (ends.length === 0 || this.#ended.signal.aborted) return;
    const next = Math.min(...ends);
    const left = next - this.#clock.now();
    // To ask is to learn the server's time, where that is what is missing.
    const look = () => void this.#clock.isPast(next).then(() => this.#look());
    this.#timer = setTimeout(look, left > 0 ? Math.min(left, lookMs) : this.#doubtMs);
    if (left <= 0) this.#doubtMs = lookMs;
  }
}

/** Why a key signs no more. */
const words: Record<EndReason | "leaving", string> = {
  leaving: "it is signed out",
  "signed-out": "it was signed out",
  expired: "its session is over",
  revoked: "its session was revoked",
  removed: "it was removed",
  forgotten: "it was signed out, and destroyed",
  lost: "what the browser has stored cannot be opened",
};

function usable(record: KeyRecord): KeyRecord {
  if (record.state === "leaving" || record.state === "ended") throw lost(words[record.reason ?? "leaving"]);
  return record;
}

const unbound = () => new GridSignerError("ARGUMENT_INVALID", "the key is not bound to a session");

/** What is left of a call's time from now on: storage and clocks take theirs of it. */
function stopwatch({ timeoutMs }: { timeoutMs: number }): () => number {
  const deadline = performance.now() + timeoutMs;
  return () => Math.max(1, deadline - performance.now());
}

/** Their hex digits may come in either case. */
const isSameId = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

/** Undefined where the browser denies the page whatever tabs could share. */
function openChannel(name: string): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel(name);
  } catch {
    return undefined;
  }
}
