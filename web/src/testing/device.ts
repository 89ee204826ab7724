/**
 * What stands in for the worker: the calls of rpc.ts, with the keys and the states of keys/, and Grid in memory. What takes
 * retries, leases and the wishes of other tabs in custody.ts is decided here at once.
 */
import * as args from "../arguments.ts";
import type { Outcome, Page } from "../custody.ts";
import type { AskedPasskey, SentOtp } from "../entering.ts";
import { fromWire, GridSignerError, toWire, type WireError } from "../errors.ts";
import { type Patience, usable, words } from "../grid.ts";
import { Keyring, lost } from "../keys/keyring.ts";
import { described, due, isSealing, type KeyRecord, maySign } from "../keys/machine.ts";
import type { Given, Made } from "../keys/secrets.ts";
import type { Service } from "../serve.ts";
import type {
  AuthMethod, AuthSession, Challenge, CredentialType, EndReason, ErrorCode, NewAuthMethod, RemoveCredentialResult, RevokeResult, SessionBinding, SessionKey,
} from "../types.ts";
import { type Grid, isSame, refused } from "./grid.ts";
import { make, makeSealed, nonceOf, take } from "./keys.ts";
import { adding, Requests, removing, unlessGone } from "./requests.ts";

interface Options extends Patience {
  key: string;
  scope?: string;
  unreachable?: string;
}

/** Of what no call waits for. */
const patient: Patience = { timeoutMs: 30_000 };

/** What a sign-out survives: Grid has not been told, and will be. */
const survivable: ErrorCode[] = ["UPSTREAM_REFUSED", "UPSTREAM_UNAVAILABLE", "NETWORK_FAILED", "RESPONSE_MALFORMED", "HEADERS_FAILED", "TIMEOUT", "CLOCK_SKEW"];

interface Settings {
  autoRefresh: boolean;
  payloads: "all" | "activities";
}

export class Device {
  readonly #grid: Grid;
  readonly #settings: Settings;
  readonly #keyring: Keyring;
  readonly #requests: Requests;
  readonly #onEvent: Page["onEvent"];
  readonly #holder = crypto.randomUUID();
  /** By key, the session of which the page was told that it will soon be over. */
  readonly #announced = new Map<string, string>();
  /** How many were bound: of two at one moment of a clock that stands still, the later is the later. */
  #bound = 0;
  /** What is under way of a key: the end of its session, or its refresh. */
  readonly #jobs = new Map<string, Promise<void>>();

  constructor(grid: Grid, page: Pick<Page, "onEvent">, settings: Settings) {
    this.#grid = grid;
    this.#settings = settings;
    this.#onEvent = page.onEvent;
    this.#keyring = new Keyring(undefined, { onEvent: page.onEvent, onChange: () => {}, onRelease: () => {} });
    this.#requests = new Requests(grid, this.#keyring, settings.payloads);
    grid.devices.add(this);
  }

  /** Has a session from the start. */
  async enter(type: CredentialType | undefined): Promise<void> {
    const way = type === undefined ? this.#grid.ways[0] : this.#grid.credential(type);
    if (!way) throw args.invalid("the account has no way to sign in");
    const { id, publicKey } = await this.#add(await make());
    await this.#bind(id, this.#grid.start(way.id, publicKey));
  }

  close = async (): Promise<void> => {
    this.#grid.devices.delete(this);
    this.#keyring.close();
  };

  times(): number[] {
    return this.#active().flatMap((record) => [record.dueAt!, Date.parse(record.session!.expiresAt)]);
  }

  async look(): Promise<void> {
    for (const { id, state, session } of this.#keyring.records()) {
      if (session && this.#isOver(session)) await this.#end(id, "expired", session);
      else if (state === "leaving") await this.#tell(id, patient).catch(() => {}); // the next look is the next try
    }
    for (const record of this.#active().filter(({ dueAt }) => this.#grid.now() >= dueAt!)) {
      const { id, session } = record as KeyRecord & { session: SessionBinding };
      if (this.#announced.get(id) !== session.id) this.#onEvent({ type: "expiring", key: id, session });
      this.#announced.set(id, session.id);
      if (this.#settings.autoRefresh) await this.#refresh(id, patient).catch(() => {});
    }
  }

  readonly methods = {
    createKey: async ({ curve, sealed }: { curve?: string; sealed?: boolean }): Promise<SessionKey> => {
      this.#fail("createKey");
      return described(await this.#add(await (sealed ? makeSealed() : make(curve))));
    },

    importKey: async (given: Given): Promise<SessionKey> => {
      this.#fail("importKey");
      return described(await this.#add(await take(given)));
    },

    keys: async (): Promise<SessionKey[]> => {
      this.#fail("keys");
      await this.#expire();
      return this.#keyring.records().filter(({ state, unseen }) => state !== "leaving" && !unseen).map(described);
    },

    session: async (): Promise<SessionKey | undefined> => {
      this.#fail("session");
      await this.#expire();
      const [last] = this.#active().sort((a, b) => b.boundAt! - a.boundAt!);
      return last && described(last);
    },

    removeKey: async (id: string): Promise<boolean> => {
      this.#fail("removeKey");
      if (!(await this.#keyring.find(id).then(usable).then(() => true, () => false))) return false;
      const { state } = await this.#end(id, "removed");
      if (state === "new") await this.#giveUp(id);
      return true;
    },

    oauthNonce: async (id: string): Promise<string> => {
      this.#fail("oauthNonce");
      return nonceOf(usable(await this.#keyring.find(id)).publicKey);
    },

    bindSession: async (id: string, session: SessionBinding): Promise<SessionKey> => {
      this.#fail("bindSession");
      able(usable(await this.#keyring.find(id)));
      if (!this.#isOver(session)) return described(able(usable(await this.#bind(id, session))));
      await this.#end(id, "expired");
      throw lost(words.expired);
    },

    signInWithToken: async (key: string, credentialId: string, token: string, options: Patience): Promise<SessionKey> => {
      const record = await this.#begin(key);
      return this.#enter(record, "signIn", options, async (publicKey) => {
        const way = this.#grid.way(credentialId);
        if (way.type !== "OAUTH") throw refused(400, "INVALID_INPUT");
        this.#grid.checkToken(token, await nonceOf(record.publicKey));
        return this.#grid.start(way.id, publicKey);
      });
    },

    startPasskey: async (credentialId: string, key: string | undefined, options: Patience & { curve?: string }): Promise<AskedPasskey> => {
      const record = await this.#begin(key, options.curve);
      try {
        this.#fail("signIn");
        const { id, accountId, type, credentialId: passkeyId = "" } = await this.#requests.ask(options, () => this.#grid.way(credentialId));
        if (type !== "PASSKEY") throw refused(400, "INVALID_INPUT");
        return { key: record.id, credentialId: id, accountId, type, passkeyId, challenge: "00".repeat(32), requestId: this.#grid.id("Request") };
      } catch (error) {
        await this.#giveUp(record.id);
        throw final(record, error);
      }
    },

    finishPasskey: async ({ key, credentialId }: AskedPasskey, _assertion: object, options: Patience): Promise<SessionKey> => {
      const record = usable(await this.#keyring.find(key));
      return this.#enter(record, "signIn", options, (publicKey) => this.#grid.start(this.#grid.way(credentialId).id, publicKey));
    },

    giveUp: (id: string): Promise<void> => this.#giveUp(id),

    startOtp: async (credentialId: string, options: Patience): Promise<SentOtp> => {
      this.#fail("startOtp");
      return this.#requests.ask(options, () => {
        const way = this.#grid.way(credentialId);
        const { id, accountId, type, nickname } = way;
        return { credentialId: id, accountId, type, nickname, bundle: this.#grid.send(way).id };
      });
    },

    submitOtp: async ({ credentialId, bundle }: SentOtp, code: string, options: Patience & { curve?: string }): Promise<SessionKey> => {
      const record = await this.#begin(undefined, options.curve);
      const way = () => this.#grid.way(credentialId);
      const signed = (publicKey: string) =>
        this.#requests.perform(record, options, {
          type: way().type,
          activity: undefined,
          intent: "sign-in",
          check: () => this.#grid.checkCode(way(), bundle, code),
          status: 200,
          work: () => {
            this.#grid.checkCode(way(), bundle, code);
            this.#grid.useCode(way());
            return this.#grid.start(credentialId, publicKey);
          },
        });
      return this.#enter(record, "submit", undefined, signed);
    },

    refreshSession: async ({ key, ...options }: Options): Promise<SessionKey> => {
      signedIn(await this.#use(key, "refresh-session"));
      this.#fail("refreshSession");
      await this.#refresh(key, options).catch((error: GridSignerError) => {
        if (error.code !== "NETWORK_FAILED") throw error;
        throw new GridSignerError("TIMEOUT", "the session was not refreshed in time", { retryable: true }); // it would try for longer than anybody waits
      });
      return described(usable(await this.#keyring.find(key)));
    },

    signChallenge: async (challenge: Challenge, { key, intent, format }: Options & { intent?: string | { name: string }; format?: string }): Promise<object> => {
      const name = typeof intent === "object" ? intent.name : intent;
      const record = await this.#use(key, name);
      this.#fail("signChallenge");
      const { format: chosen, intent: named, signature } = await this.#requests.sign(record, challenge, intent, format);
      const { requestId } = challenge;
      return { headers: { "Grid-Wallet-Signature": signature, "Request-Id": requestId }, signature, requestId, format: chosen, intent: named };
    },

    revokeSession: async (sessionId: string | undefined, options: Options): Promise<Outcome> => {
      const failure = this.#grid.planned("revokeSession");
      const { session, formerly = [] } = await this.#keyring.find(options.key);
      const own = session ? [session.id, ...formerly] : [];
      if (sessionId === undefined || own.some((id) => isSame(id, sessionId))) return this.#signOut(options, failure);
      const record = await this.#use(options.key);
      if (failure) throw failure;
      const result = await this.#revoke(record, sessionId, options);
      for (const { id, session, state } of this.#keyring.records()) {
        if (state === "active" && isSame(session!.id, sessionId)) await this.#end(id, "revoked", session);
      }
      return result;
    },

    signOut: async (options: Options): Promise<Outcome | Outcome[]> => {
      const failure = this.#grid.planned("signOut");
      const { scope = "this" } = options;
      if (scope === "this") return this.#signOut(options, failure);
      const others = await this.#revokeOthers(options, failure);
      return scope === "others" ? others : [...others, await this.#signOut(options)];
    },

    listSessions: async (accountId: string, options: Patience): Promise<AuthSession[]> => {
      this.#fail("listSessions");
      return this.#list(accountId, options);
    },

    listCredentials: async (accountId: string, options: Patience): Promise<AuthMethod[]> => {
      this.#fail("listCredentials");
      return this.#requests.ask(options, () => (this.#grid.checkAccount(accountId), this.#grid.ways));
    },

    addCredential: async (credential: NewAuthMethod, options: Options): Promise<AuthMethod> => {
      const record = signedIn(await this.#use(options.key, "add-credential"));
      this.#fail("addCredential");
      return this.#requests.perform(record, options, {
        ...adding(credential),
        check: () => this.#grid.checkAddition(credential),
        status: 201,
        work: () => (this.#requests.mustKnow(record), this.#grid.add(credential)),
      });
    },

    removeCredential: async (credentialId: string, options: Options & { type: CredentialType }): Promise<RemoveCredentialResult> => {
      const record = await this.#use(options.key, "remove-credential");
      this.#fail("removeCredential");
      const way = this.#grid.ways.find(({ id }) => isSame(id, credentialId));
      const removed = this.#requests.perform(record, options, {
        ...removing((way?.type ?? options.type) as CredentialType, options.type),
        check: () => this.#grid.checkRemoval(credentialId),
        status: 204,
        work: () => {
          this.#requests.mustKnow(record, (session) => session.credentialId !== way!.id);
          this.#grid.remove(way!.id);
        },
      });
      return { status: await unlessGone(removed, "removed", "gone"), credentialId };
    },

    exportWallet: async (accountId: string, options: Options): Promise<string> => {
      const record = await this.#use(options.key, "export-wallet");
      this.#fail("exportWallet");
      const targetPublicKey = `04${"00".repeat(64)}`; // nothing is sealed to it
      return this.#requests.perform(record, options, {
        activity: ["EXPORT_WALLET", { targetPublicKey, walletId: "wallet" }],
        intent: { name: "export-wallet", targetPublicKey },
        check: () => this.#grid.checkAccount(accountId),
        status: 200,
        work: () => (this.#requests.mustKnow(record), this.#grid.mnemonic),
      });
    },
  } satisfies Service["methods"];

  #fail(call: string): void {
    const error = this.#grid.planned(call);
    if (error) throw error;
  }

  #active(): KeyRecord[] {
    return this.#keyring.records().filter(({ state }) => state === "active");
  }

  #isOver({ expiresAt }: SessionBinding): boolean {
    return this.#grid.now() >= Date.parse(expiresAt);
  }

  async #expire(): Promise<void> {
    for (const { id, session } of this.#keyring.records()) if (session && this.#isOver(session)) await this.#end(id, "expired", session);
  }

  #add(made: Made, more?: Pick<KeyRecord, "signIn" | "unseen">): Promise<KeyRecord> {
    return this.#keyring.add(made, async () => made.secret, more);
  }

  #bind(id: string, { id: sessionId, accountId, expiresAt }: SessionBinding, more: { attempt?: string; made?: Made } = {}): Promise<KeyRecord> {
    return this.#keyring.move(id, { type: "bind", session: { id: sessionId, accountId, expiresAt }, now: this.#grid.now() + this.#bound++ / 1000, ...more });
  }

  #end(id: string, reason: EndReason, session?: SessionBinding): Promise<KeyRecord> {
    return this.#keyring.move(id, { type: "end", reason, now: this.#grid.now(), session });
  }

  /** The key, if it may sign for this and its session is not over. */
  async #use(id: string, intent = "revoke-session"): Promise<KeyRecord> {
    const record = able(usable(await this.#keyring.find(id)));
    if (!maySign(record, intent)) throw new GridSignerError("INTENT_MISMATCH", "the key has its session: it signs nobody in");
    if (record.session && this.#isOver(record.session)) return usable(await this.#end(id, "expired", record.session));
    return record;
  }

  /** The key that is to sign in, which nobody else uses from now on. */
  async #begin(id?: string, curve?: string): Promise<KeyRecord> {
    const signIn = { attempt: crypto.randomUUID(), until: Infinity };
    if (id === undefined) return this.#add(await make(curve), { signIn, unseen: true });
    if (usable(await this.#keyring.find(id)).session) throw args.invalid("the key has a session");
    const record = usable(await this.#keyring.move(id, { type: "sign-in", signIn }));
    if (record.signIn?.attempt !== signIn.attempt) throw args.invalid("the key is signing in already");
    return record;
  }

  /** Has Grid start a session, in a request of its own where there are `options` of one. Where it fails the key is gone. */
  async #enter(record: KeyRecord, call: string, options: Patience | undefined, start: (publicKey: string) => AuthSession | Promise<AuthSession>): Promise<SessionKey> {
    const { id, signIn } = record;
    let session: AuthSession | undefined;
    try {
      this.#fail(call);
      const made = isSealing(record) ? await make() : undefined;
      const { publicKey } = made ?? record;
      session = await (options ? this.#requests.ask(options, () => start(publicKey)) : start(publicKey));
      const bound = usable(await this.#bind(id, session, { attempt: signIn!.attempt, ...(made && { made }) }));
      if (bound.session?.id !== session.id) throw lost("its sign-in came to nothing");
      return described(bound);
    } catch (error) {
      if (session) this.#grid.endSession(session.id); // nobody has it
      await this.#giveUp(id);
      throw final(record, error);
    }
  }

  async #giveUp(id: string): Promise<void> {
    await this.#keyring.move(id, { type: "give-up", holder: this.#holder, now: this.#grid.now(), isRefused: true });
  }

  async #list(accountId: string, options: Patience): Promise<AuthSession[]> {
    const rows = await this.#requests.ask(options, () => (this.#grid.checkAccount(accountId), this.#grid.sessions));
    return rows.filter(({ id }) => !this.#keyring.boundTo(id)?.unseen);
  }

  async #revoke(record: KeyRecord, sessionId: string, options: Patience): Promise<RevokeResult> {
    const revoked = this.#requests.perform(record, options, {
      type: this.#grid.session(sessionId)?.row.type,
      activity: ["DELETE_API_KEYS", { apiKeyIds: [sessionId], userId: "user" }],
      intent: "revoke-session",
      check: () => this.#grid.checkSession(sessionId),
      status: 204,
      work: () => (this.#requests.mustKnow(record), this.#grid.endSession(sessionId)),
    });
    return { status: await unlessGone(revoked, "revoked", "inactive"), sessionId };
  }

  /** Does what is to be done of a key once, however many wait for it. */
  #once(name: string, work: () => Promise<void>): Promise<void> {
    const job = this.#jobs.get(name) ?? work().finally(() => this.#jobs.delete(name));
    this.#jobs.set(name, job);
    return job;
  }

  /** Tells Grid of a sign-out. */
  #tell(id: string, options: Patience, failure?: GridSignerError): Promise<void> {
    return this.#once(`leave ${id}`, async () => {
      const record = await this.#keyring.find(id);
      const { session } = record as KeyRecord & { session: SessionBinding };
      if (failure) throw failure;
      const { status } = await this.#revoke(record, session.id, options);
      await this.#end(id, status === "revoked" ? "signed-out" : "revoked", session);
    });
  }

  async #signOut({ key: id, unreachable, ...options }: Options, failure?: GridSignerError): Promise<Outcome> {
    if (failure && !survivable.includes(failure.code)) throw failure;
    let record = await this.#keyring.move(id, { type: "leave", holder: this.#holder, now: this.#grid.now() });
    const { session } = record;
    if (!session) {
      if (record.state === "new") await this.#giveUp(id); // where it is signing in: who wants out gets out
      throw record.state === "ended" ? lost(words[record.reason!]) : unbound();
    }
    const { id: sessionId, expiresAt: sessionExpiresAt } = session;
    let error: WireError | undefined;
    if (record.state === "leaving") {
      const told = this.#tell(id, options, failure).catch((why) => void (error = toWire(why)));
      if (options.timeoutMs > 0) await told;
      record = await this.#keyring.find(id);
    }
    const { reason } = record;
    if (!reason) {
      const forget = unreachable === "forget";
      if (forget) await this.#end(id, "forgotten");
      return { status: forget ? "forgotten" : "pending", sessionId, sessionExpiresAt, ...(error && { error }) };
    }
    if (reason === "signed-out") return { status: "revoked", sessionId };
    if (reason === "revoked" || reason === "expired") return { status: "inactive", sessionId };
    throw lost(words[reason]);
  }

  /** Every active session of the account but the key's own, one after the other. */
  async #revokeOthers(options: Options, failure?: GridSignerError): Promise<Outcome[]> {
    const { key, scope, onProgress: _, ...patience } = options;
    const outcomes: Outcome[] = [];
    try {
      const { session } = signedIn(await this.#use(key));
      if (failure) throw failure;
      for (const { id: sessionId } of await this.#list(session.accountId, patience)) {
        if (isSame(sessionId, session.id)) continue;
        const revoked = this.methods.revokeSession(sessionId, { key, ...patience });
        outcomes.push(await revoked.catch((error) => ({ sessionId, error: toWire(error) })));
      }
    } catch (error) {
      if (scope === "others") throw error;
      outcomes.push({ error: toWire(error) });
    }
    return outcomes;
  }

  #refresh(id: string, options: Patience): Promise<void> {
    return this.#once(`refresh ${id}`, async () => {
      const record = signedIn(usable(await this.#keyring.find(id)));
      const { session, curve } = record;
      const { timeoutMs, signal } = options;
      const isThere = await this.#requests.ask({ timeoutMs, ...(signal && { signal }) }, () => this.#grid.session(session.id) !== undefined);
      if (!isThere) {
        await this.#end(id, "revoked", session);
        throw lost(words.revoked);
      }
      const made = await make(curve);
      const { publicKey, secret } = made;
      const { id: nextId, accountId, expiresAt } = await this.#requests.perform(record, options, {
        activity: ["CREATE_READ_WRITE_SESSION_V2", { targetPublicKey: publicKey }],
        intent: { name: "refresh-session", targetPublicKey: publicKey },
        status: 201,
        work: () => {
          this.#requests.mustKnow(record, ({ row }) => row.id === session.id);
          const { credentialId, row } = this.#grid.session(session.id)!;
          return this.#grid.start(credentialId, publicKey, row);
        },
      });
      const next = { id: nextId, accountId, expiresAt };
      await this.#keyring.move(id, { type: "lease", holder: this.#holder, now: Date.now() });
      const refreshed = { publicKey, secret, session: next, dueAt: due(next, this.#grid.now()), strays: undefined };
      const leftOver = await this.#keyring.refresh(record, refreshed, this.#holder);
      await this.#tell(leftOver.id, patient).catch(() => {}); // the next look is the next try
    });
  }
}

/** Refuses a key that is not the caller's to use. */
function able(record: KeyRecord): KeyRecord {
  const isEntering = record.state === "new" && record.signIn;
  if (isEntering || isSealing(record)) throw args.invalid(isEntering ? "the key is signing in" : "the key has to sign in first");
  return record;
}

const unbound = () => args.invalid("the key is not bound to a session");

function signedIn(record: KeyRecord): KeyRecord & { session: SessionBinding } {
  if (!record.session) throw unbound();
  return record as KeyRecord & { session: SessionBinding };
}

/** Of a key that was given there is nothing left to try again with. */
function final({ unseen }: KeyRecord, error: unknown): unknown {
  return unseen ? error : fromWire({ ...toWire(error), retryable: false });
}
