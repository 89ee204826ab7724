/**
 * What may be done with a key, and when it ends. Runs in the worker, between the protocol (serve.ts) and the module:
 * joins the keys (keys/) with the sessions that they sign for, the server's time (clock.ts), and the calls to Grid.
 */
import { GridSignerError, toWire, type WireError } from "./errors.ts";
import { type AskedPasskey, Entering, type SentOtp } from "./entering.ts";
import { Grid, type Patience, stopwatch, usable, words } from "./grid.ts";
import { isSameId, Keyring, lost } from "./keys/keyring.ts";
import { described, forgottenMs, isSealing, type KeyRecord, maySign } from "./keys/machine.ts";
import { type Given, hexOf, importKey, makeKey, makeSealedKey, makeSealingKey, type Made, seal } from "./keys/secrets.ts";
import { IndexedDB, type Storage } from "./keys/storage.ts";
import { Leaving } from "./leaving.ts";
import type { RawModule } from "./module.ts";
import { Refreshing } from "./refreshing.ts";
import type {
  AuthMethod, AuthSession, Challenge, EndReason, NewAuthMethod, RemoveCredentialResult, RevokeResult, SessionBinding, SessionEvent, SessionKey,
} from "./types.ts";

/** What the page tells a new worker. */
export interface CustodySettings {
  bridgeUrl: string;
  credentials: string;
  payloads: string;
  persistence: SessionKey["persistence"];
  namespace: string | undefined;
  autoRefresh?: boolean;
  otpSigners?: readonly string[];
  exportSigners?: readonly string[];
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
interface Options extends Patience {
  key: string;
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
  readonly #channel: BroadcastChannel | undefined;
  readonly #keyring: Keyring;
  readonly #grid: Grid;
  readonly #leaving: Leaving;
  readonly #refreshing: Refreshing;
  readonly #entering: Entering;
  readonly #exportSigners: readonly string[];
  readonly #auto: boolean;
  /** Names this worker in leases. */
  readonly #holder = crypto.randomUUID();
  /** By key, the session of which the page was told that it will soon be over. */
  readonly #announced = new Map<string, string>();
  readonly #ended = new AbortController();
  /** The look under way, and the one after it, which whoever comes now waits for. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How soon the bridge is asked about what is over by this device's clock: at once, and then now and again. */
  #doubtMs = 0;

  constructor(module: RawModule, settings: CustodySettings, page: Page, storage?: Storage) {
    const { persistence, namespace, autoRefresh = false, otpSigners = [], exportSigners = [], lost, leave = [] } = settings;
    const name = namespace === undefined ? "gridsigner" : `gridsigner/${namespace}`;
    this.#module = module;
    this.#page = page;
    this.#auto = autoRefresh;
    this.#exportSigners = exportSigners;
    this.#channel = openChannel(name);
    const listeners = {
      onEvent: (event: SessionEvent) => {
        page.onEvent(event);
        if (event.type === "ended") this.#leaving.settle(event.key);
        if (event.type !== "started") this.#refreshing.settle(event.key);
      },
      onChange: () => {
        if (!this.#ended.signal.aborted) this.#channel?.postMessage(null);
        this.#setTimer();
      },
      onRelease: (held: string) => void module.removeKey(held),
    };
    this.#keyring = new Keyring(persistence === "memory" ? undefined : (storage ?? new IndexedDB(name)), listeners, lost);
    this.#grid = new Grid(module, settings, page, this.#keyring);
    this.#leaving = new Leaving(this.#keyring, this.#grid, this.#holder);
    this.#refreshing = new Refreshing(this.#keyring, this.#grid, module, this.#leaving, this.#holder, autoRefresh);
    this.#entering = new Entering(this.#keyring, this.#grid, module, this.#leaving, this.#holder, otpSigners);
    // Page code can post here too, so whatever is said is a reason to look, and nothing more.
    if (this.#channel) this.#channel.onmessage = () => void this.#look();
    const hurry = () => (this.#leaving.hurry(), this.#refreshing.hurry());
    addEventListener("online", hurry, { signal: this.#ended.signal });
    const leaving = leave.map((id) => this.#leave(id).catch(() => {})); // if it is there, and signed in
    this.#looking = Promise.all(leaving).then(() => {});
    void this.#look().then(() => this.#lookInTime());
  }

  async createKey({ curve, sealed }: { curve?: string; sealed?: boolean }, options: Pick<Options, "signal">): Promise<SessionKey> {
    return this.#keep(await (sealed ? makeSealedKey() : makeKey(this.#module, curve)), options);
  }

  async importKey(given: Given, options: Pick<Options, "signal">): Promise<SessionKey> {
    return this.#keep(await importKey(this.#module, given), options);
  }

  /** Every key of this origin and of this worker that may sign, oldest first. */
  async keys(): Promise<SessionKey[]> {
    await this.#look();
    return this.#keyring.records().filter(({ state, unseen }) => state !== "leaving" && !unseen).map(described);
  }

  async session(): Promise<SessionKey | undefined> {
    await this.#look();
    const active = this.#keyring.records().filter(({ state }) => state === "active");
    const [last] = active.sort((a, b) => (b.boundAt ?? b.createdAt) - (a.boundAt ?? a.createdAt));
    return last && described(last);
  }

  /** Of the key as it is sent, in hex, and not of its bytes (Grid's guide Sandbox testing). */
  async oauthNonce(id: string): Promise<string> {
    const { publicKey } = usable(await this.#keyring.find(id));
    return hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(publicKey))));
  }

  async signInWithToken(key: string, credentialId: string, oidcToken: string, options: Patience): Promise<SessionKey> {
    return described(await this.#entering.withToken(key, credentialId, oidcToken, options));
  }

  async startPasskey(credentialId: string, key: string | undefined, options: Patience): Promise<AskedPasskey> {
    return this.#entering.startPasskey(credentialId, key, options);
  }

  async finishPasskey(asked: AskedPasskey, assertion: object, options: Patience): Promise<SessionKey> {
    return described(await this.#entering.finishPasskey(asked, assertion, options));
  }

  async giveUp(id: string): Promise<void> {
    return this.#entering.giveUp(id);
  }

  async startOtp(credentialId: string, options: Patience): Promise<SentOtp> {
    return this.#entering.startOtp(credentialId, options);
  }

  async submitOtp(otp: SentOtp, code: string, options: Patience): Promise<SessionKey> {
    return described(await this.#entering.submitOtp(otp, code, options));
  }

  async removeKey(id: string): Promise<boolean> {
    // To all but its sign-out a key that is leaving is gone already. Where storage cannot be asked, it may be there.
    const isStorageFailed = (error: unknown) => toWire(error).code === "STORAGE_FAILED";
    const isThere = await this.#keyring.find(id).then(usable).then(() => true, isStorageFailed);
    if (!isThere) return false;
    const record = await this.#end(id, "removed").catch((error) => (isStorageFailed(error) ? Promise.reject(error) : undefined));
    if (record?.state !== "new") return record?.reason === "removed";
    await this.#entering.giveUp(id); // it is signing in, and may have a session by now
    return true;
  }

  async bindSession(id: string, session: SessionBinding): Promise<SessionKey> {
    able(usable(await this.#keyring.find(id)));
    if (await this.#grid.isPast(session.expiresAt, "the session")) {
      await this.#end(id, "expired"); // but not one that has another session
      throw lost(words.expired);
    }
    return described(able(usable(await this.#keyring.move(id, { type: "bind", session, now: this.#grid.clock.now() }))));
  }

  async refreshSession({ key, ...options }: Options): Promise<SessionKey> {
    const left = stopwatch(options);
    signedIn(await this.#use(key, "refresh-session"));
    return described(await this.#refreshing.refresh(key, { ...options, timeoutMs: left() }));
  }

  async signChallenge(challenge: Challenge, options: Options & { intent?: string | { name: string }; format?: string }): Promise<unknown> {
    const left = stopwatch(options);
    const { intent: named = "revoke-session" } = options;
    const intent = typeof named === "string" ? named : named.name;
    await this.#module.ready?.(left());
    // Storage is asked beside the signing, not before it: until it has answered, no signature leaves this worker.
    const asked = this.#use(options.key, intent);
    const known = this.#keyring.known(options.key);
    const record = known && maySign(known, intent) && !isSealing(known) ? known : await asked;
    const { format } = options; // and no signal: it is over before one could matter
    const sign = async (record: KeyRecord) => {
      await this.#grid.isPast(challenge.expiresAt, "the challenge"); // that it is over the module says
      return this.#grid.withKey(record, (conditions) => this.#module.signChallenge(challenge, { intent: named, format, ...conditions, timeoutMs: left() }));
    };
    const signing = sign(record);
    signing.catch(() => {}); // storage's word comes first
    const now = await asked;
    const signed = await (now.rev === record.rev ? signing : sign(now)); // refreshed or bound meanwhile, by whichever tab
    usable(this.#keyring.known(options.key) ?? (await this.#keyring.find(options.key))); // or ended, by this one
    return signed;
  }

  /** Without a session id, the key's own session. */
  async revokeSession(sessionId: string | undefined, options: Options): Promise<Outcome> {
    const left = stopwatch(options);
    // Also by the id of a session that it was before a refresh: an app may not have heard yet.
    const record = await this.#keyring.find(options.key);
    const { session, formerly = [] } = record;
    const own = session ? [session.id, ...formerly] : [];
    if (sessionId === undefined || own.some((id) => isSameId(id, sessionId))) return this.#signOut(options, left);
    const result = await this.#revoke(await this.#use(options.key, undefined, record), sessionId, { ...options, timeoutMs: left() });
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

  /** Without those that a refresh has left over, and that are being ended. */
  async listSessions(accountId: string, options: Patience): Promise<AuthSession[]> {
    const rows = await this.#grid.list<AuthSession>("list-sessions", accountId, options);
    return rows.filter(({ id }) => !this.#keyring.boundTo(id)?.unseen);
  }

  async listCredentials(accountId: string, options: Patience): Promise<AuthMethod[]> {
    return this.#grid.list("list-credentials", accountId, options);
  }

  async addCredential(credential: NewAuthMethod, options: Options): Promise<AuthMethod> {
    const left = stopwatch(options);
    const record = signedIn(await this.#use(options.key, "add-credential"));
    // Where codes go Grid knows, and is not told: the challenge has to say it.
    const { [credential.type === "SMS_OTP" ? "phoneNumber" : "email"]: contact, ...submitted } = credential as Record<string, unknown>;
    const parameters = { body: { accountId: record.session!.accountId, ...submitted }, ...(contact !== undefined && { contact: contact as string }) };
    const { value } = await this.#grid.perform("add-credential", parameters, { ...options, timeoutMs: left() }, record);
    return value;
  }

  async removeCredential(credentialId: string, options: Options & { type: string }): Promise<RemoveCredentialResult> {
    const left = stopwatch(options);
    const record = await this.#use(options.key, "remove-credential");
    const parameters = { id: credentialId, credentialType: options.type };
    const { status } = await this.#grid.perform("remove-credential", parameters, { ...options, timeoutMs: left() }, record);
    return { status: status as RemoveCredentialResult["status"], credentialId };
  }

  async exportWallet(accountId: string, { allowUnsigned, ...options }: Options & { allowUnsigned: boolean }): Promise<string> {
    const left = stopwatch(options);
    const record = await this.#use(options.key, "export-wallet");
    const key = await makeSealingKey();
    const parameters = { id: accountId, body: { clientPublicKey: key.publicKey } };
    const { value, organizationId } = await this.#grid.perform("export-wallet", parameters, { ...options, timeoutMs: left() }, record);
    // Of the organization that was signed for, and no other.
    const conditions = { exportSigners: this.#exportSigners, allowUnsigned, organizationId };
    return this.#module.openExport(value.encryptedWalletCredentials, { ...key, ...conditions, timeoutMs: left() });
  }

  /** Forgets what is in memory. Stored keys stay. */
  async close(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#leaving.close();
    this.#refreshing.close();
    this.#keyring.close();
  }

  async #signOut({ key: id, unreachable, signal, onProgress }: Options, left: () => number): Promise<Outcome> {
    let failed: unknown;
    // Before anything else: this tab may be closed any moment. What cannot be written down is done all the same, as long as it lives.
    let record = await this.#leave(id).catch((error) => ((failed = error), this.#keyring.find(id)));
    const { session } = record;
    if (!session) {
      if (record.state === "new") await this.#entering.giveUp(id); // where it is signing in: who wants out gets out
      throw record.state === "ended" ? lost(words[record.reason!]) : unbound();
    }
    const { id: sessionId, expiresAt: sessionExpiresAt } = session;
    const job = record.state === "leaving" ? await this.#leaving.wait(id, left(), signal, onProgress) : undefined;
    if (job?.settled) record = await this.#keyring.find(id);
    const { reason } = record;
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
      const { accountId } = signedIn(await this.#use(key)).session!;
      for (const { id: sessionId } of await this.listSessions(accountId, options())) {
        const { session } = await this.#keyring.find(key); // which a refresh may have changed by now
        if (isSameId(sessionId, session!.id) || this.#keyring.boundTo(sessionId)?.unseen) continue;
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
    return this.#keyring.move(id, { type: "leave", holder: this.#holder, now: Date.now() });
  }

  #end(id: string, reason: EndReason, session?: SessionBinding): Promise<KeyRecord> {
    return this.#keyring.move(id, { type: "end", reason, now: Date.now(), session });
  }

  /** The key, if it may sign for this and its session is not over. `found`: what storage has just told of it. */
  async #use(id: string, intent = "revoke-session", found: KeyRecord | Promise<KeyRecord> = this.#keyring.find(id)): Promise<KeyRecord> {
    const record = able(usable(await found));
    if (!maySign(record, intent)) throw new GridSignerError("INTENT_MISMATCH", "the key has its session: it signs nobody in");
    if (record.session && (await this.#grid.isPast(record.session.expiresAt, "the session"))) {
      usable(await this.#end(id, "expired", record.session));
      return this.#use(id, intent); // bound to another session meanwhile
    }
    return record;
  }

  async #revoke(record: KeyRecord, sessionId: string, options: Patience): Promise<RevokeResult> {
    const { status } = await this.#grid.perform("revoke-session", { id: sessionId }, options, record);
    return { status: status as RevokeResult["status"], sessionId };
  }

  /** Looks at storage and at the clocks. One look at a time, however many ask: any script of the origin can make us look. */
  #look(): Promise<void> {
    const look = async () => {
      this.#next = undefined;
      await this.#keyring.look();
      for (const { id, session, createdAt } of this.#keyring.records()) {
        const ends = session ? Date.parse(session.expiresAt) : createdAt + forgottenMs;
        if (this.#grid.clock.judge(ends)) await this.#end(id, "expired", session).catch(() => {}); // here it has ended at least
      }
      for (const record of this.#keyring.records()) {
        this.#entering.look(record);
        if (record.state === "leaving") this.#leaving.start(record.id);
        this.#refreshing.look(record);
        if (!this.#refreshing.isDue(record) || this.#announced.get(record.id) === record.session!.id) continue;
        this.#announced.set(record.id, record.session!.id);
        this.#page.onEvent({ type: "expiring", key: record.id, session: record.session! });
      }
      this.#setTimer();
    };
    return (this.#next ??= this.#looking = this.#looking.then(look, look));
  }

  /** By a clock that is behind, a session would be refreshed when it is over. */
  async #lookInTime(): Promise<void> {
    const { clock } = this.#grid;
    if (!this.#auto || clock.isKnown || !this.#keyring.records().some(({ state }) => state === "active")) return;
    await clock.ask();
    if (clock.isKnown) await this.#look();
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const times = this.#keyring.records().flatMap(({ id, state, session, dueAt, signIn }) => {
      if (!session) return state === "new" && signIn ? signIn.until : [];
      return state === "active" && dueAt !== undefined && this.#announced.get(id) !== session.id ? dueAt : Date.parse(session.expiresAt);
    });
    if (times.length === 0 || this.#ended.signal.aborted) return;
    const next = Math.min(...times);
    const left = next - this.#grid.clock.now();
    // To ask is to learn the server's time, where that is what is missing.
    const look = () => void this.#grid.clock.isPast(next).then(() => this.#look()).then(() => this.#lookInTime());
    this.#timer = setTimeout(look, left > 0 ? Math.min(left, lookMs) : this.#doubtMs);
    if (left <= 0) this.#doubtMs = lookMs;
  }
}

/** Refuses a key that is not the caller's to use: it signs in, or has to before it can sign anything. */
function able(record: KeyRecord): KeyRecord {
  const isEntering = record.state === "new" && record.signIn;
  if (isEntering || isSealing(record)) {
    throw new GridSignerError("ARGUMENT_INVALID", isEntering ? "the key is signing in" : "Grid seals another key to this one: it has to sign in first");
  }
  return record;
}

const unbound = () => new GridSignerError("ARGUMENT_INVALID", "the key is not bound to a session");

function signedIn(record: KeyRecord): KeyRecord {
  if (!record.session) throw unbound();
  return record;
}

/** Undefined where the browser denies the page whatever tabs could share. */
function openChannel(name: string): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel(name);
  } catch {
    return undefined;
  }
}
