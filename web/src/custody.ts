/**
 * What may be done with a key, and when it ends. Runs in the worker, between the
 * protocol (serve.ts) and the module: joins the keys (keyring.ts) with the
 * sessions that they sign for and with the server's time (clock.ts).
 */
import { Clock } from "./clock.ts";
import { GridSignerError, toWire, type WireError } from "./errors.ts";
import { type Held, Keyring, type KeyringSettings, lost } from "./keyring.ts";
import type { RawModule } from "./sealing.ts";
import type { Challenge, RevokeEvent, RevokeResult, SessionBinding, SessionKey } from "./types.ts";

/** What the page tells a new worker. */
export interface CustodySettings extends KeyringSettings {
  bridgeUrl: string;
}

/** Options as the protocol hands them over: those of the module, and the key's id. */
type Options = { key: string; timeoutMs?: number; signal?: AbortSignal; onProgress?: (event: RevokeEvent) => void };

/** How often the clocks are looked at while a session runs: a timer alone does not see sleep and jumps. */
const lookMs = 60_000;

/** A stored key that nobody has bound to a session by then has none: no session of Grid's lasts as long. */
const unboundMs = 30 * 86_400_000;

export class Custody {
  readonly #module: RawModule;
  readonly #clock: Clock;
  readonly #keyring: Keyring;
  /** The look under way, and the one after it, which whoever comes now waits for. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(module: RawModule, settings: CustodySettings, onKeys: (keys: SessionKey[]) => void) {
    this.#module = module;
    this.#clock = new Clock(settings.bridgeUrl);
    this.#keyring = new Keyring(module, settings, { onKeys, onNews: () => this.#refresh() });
    this.#refresh();
  }

  async createKey(options: unknown, { signal }: { signal?: AbortSignal }): Promise<SessionKey> {
    return this.#keep(await this.#module.createKey(options), signal);
  }

  /** Takes these two and no more: an id or a handle is for what comes from storage. */
  async importKey(
    { curve, privateKey }: { curve: unknown; privateKey: unknown },
    { signal }: { signal?: AbortSignal },
  ): Promise<SessionKey> {
    return this.#keep(await this.#module.importKey({ curve, privateKey }), signal);
  }

  /** Every key of this origin and of this worker, oldest first; those whose session is over go. */
  async keys(): Promise<SessionKey[]> {
    // One look at a time, however many ask: any script of the origin can make us look.
    const look = () => {
      this.#next = undefined;
      return this.#look();
    };
    await (this.#next ??= this.#looking = this.#looking.then(look, look));
    return this.#keyring.list();
  }

  async removeKey(id: string): Promise<boolean> {
    return this.#keyring.destroy(id);
  }

  async bindSession(id: string, { id: sessionId, accountId, expiresAt }: SessionBinding): Promise<SessionKey> {
    const held = await this.#use(id);
    const ends = Date.parse(expiresAt);
    const past = await this.#clock.isPast(ends);
    // Nobody binds a session that is long over: without the server's word, the clock is the likelier culprit.
    if (past === undefined || (past && !this.#clock.known)) throw skewed("the session is over by this device's clock alone", ends);
    if (past) {
      await this.#keyring.destroy(id);
      throw lost("its session is over");
    }
    const session = { id: sessionId, accountId, expiresAt };
    await this.#keyring.record(held, (record) => (record.session = session));
    held.key = { ...held.key, session };
    this.#keyring.announce(id);
    this.#setTimer();
    return held.key;
  }

  async signChallenge(challenge: Challenge, options: Options): Promise<unknown> {
    const left = stopwatch(options);
    const held = await this.#use(options.key);
    const ends = Date.parse(challenge.expiresAt);
    // What is no date is the module's to refuse.
    if (!Number.isNaN(ends) && (await this.#clock.isPast(ends)) === undefined) {
      throw skewed("the challenge is over by this device's clock, and the bridge cannot be asked", ends);
    }
    const signed = await this.#module.signChallenge(challenge, this.#moduleOptions(held, options, left())).catch(orLost);
    await this.#pin(held);
    return signed;
  }

  /** Without a session id, the key's own session. */
  async revokeSession(sessionId: string | undefined, options: Options): Promise<RevokeResult> {
    const left = stopwatch(options);
    const held = await this.#use(options.key);
    const own = held.key.session;
    const target = sessionId ?? own?.id;
    if (target === undefined) throw new GridSignerError("ARGUMENT_INVALID", "the key is not bound to a session: name one");
    if (!own || !isSameId(target, own.id)) return this.#revoke(held, target, options, left());

    // Whoever signs out is signed out here, whatever becomes of it at Grid. Where
    // storage fails now, the stored key ends with its session, and is not called destroyed.
    const destroyed = () => this.#keyring.destroy(held.key.id).then(() => true, () => false);
    try {
      const result = await this.#revoke(held, target, options, left());
      await destroyed();
      return result;
    } catch (error) {
      const { code, message, ...details } = toWire(error);
      if (undone.has(code) || !(await destroyed())) throw error;
      throw new GridSignerError(code, `${message}; the key is destroyed, but the session may live on until ${own.expiresAt}`, {
        ...details,
        sessionExpiresAt: own.expiresAt,
      });
    }
  }

  /** Every active session of the account but the key's own, one after the other. */
  async revokeOtherSessions(
    accountId: string,
    options: Options,
  ): Promise<(RevokeResult | { sessionId: string; error: WireError })[]> {
    const left = stopwatch(options);
    const held = await this.#use(options.key);
    const own = held.key.session;
    if (!own) throw new GridSignerError("ARGUMENT_INVALID", "the key is not bound to a session: which are the others?");
    const sessions = await this.listSessions(accountId, { ...options, timeoutMs: left() });
    const outcomes = [];
    for (const { id: sessionId } of sessions) {
      if (isSameId(sessionId, own.id)) continue;
      outcomes.push(
        await this.#revoke(held, sessionId, options, left()).then(
          (result) => result,
          (error) => ({ sessionId, error: toWire(error) }),
        ),
      );
    }
    return outcomes;
  }

  listSessions(accountId: string, options: object): Promise<{ id: string }[]> {
    return this.#module.listSessions(accountId, { ...options, clock: this.#clock });
  }

  /** Forgets what is in memory. Stored keys stay. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#keyring.close();
  }

  async #keep(made: SessionKey, signal: AbortSignal | undefined): Promise<SessionKey> {
    const { key } = await this.#keyring.keep(made);
    if (signal?.aborted) {
      await this.#keyring.destroy(key.id); // whoever wanted it has given up: nobody would ever use it
      throw new GridSignerError("ABORTED", "nobody waits for the key any more");
    }
    return key;
  }

  /** The key, ready to sign, if it still exists and its session is not over. */
  async #use(id: string): Promise<Held> {
    const held = await this.#keyring.find(id);
    const { session } = held.key;
    if (session) {
      const ends = Date.parse(session.expiresAt);
      const past = await this.#clock.isPast(ends);
      if (past === undefined) throw skewed("the session is over by this device's clock, and the bridge cannot be asked", ends);
      if (past) {
        if (await this.#keyring.expire(held, session)) throw lost("its session is over");
        return this.#use(id); // bound to another session meanwhile, or destroyed
      }
    }
    await this.#keyring.load(held);
    return held;
  }

  #refresh(): void {
    this.keys().catch(() => {}); // a module that crashed has said so
  }

  async #look(): Promise<void> {
    try {
      await this.#keyring.look();
      // All at once: where the bridge has to be asked the time, once is enough.
      await Promise.all(this.#keyring.all().map((held) => this.#endIfOver(held)));
    } finally {
      this.#keyring.tell();
      this.#setTimer();
    }
  }

  async #endIfOver(held: Held): Promise<void> {
    const { session } = held.key;
    if (session) {
      if (await this.#clock.isPast(Date.parse(session.expiresAt))) await this.#keyring.expire(held, session);
    } else if (held.record) {
      // Its age is by this device's clock, so both clocks have to say so.
      const ends = held.createdAt + unboundMs;
      if (Date.now() > ends && (await this.#clock.isPast(ends))) await this.#keyring.expire(held, undefined);
    }
  }

  /** Remembers the organization that the key has signed for. In two tabs at once there may have been two. */
  async #pin(held: Held): Promise<void> {
    if (held.organizationId) return; // the module was held to it
    const { organizationId } = await this.#module.stateOf(held.key.id).catch(orLost);
    if (!organizationId) return;
    const record = await this.#keyring.record(held, (record) => (record.organizationId ??= organizationId));
    held.organizationId = record?.organizationId ?? organizationId;
    if (held.organizationId !== organizationId) {
      await this.#keyring.unload(held); // the module holds it to the other one, and would sign for that again
      throw new GridSignerError("ORGANIZATION_MISMATCH", "the key has signed for another organization in another tab");
    }
  }

  async #revoke(held: Held, sessionId: string, options: Options, timeoutMs: number): Promise<RevokeResult> {
    let ends = NaN;
    const onProgress = (event: RevokeEvent) => {
      if (event.step === "challenge") ends = Date.parse(event.expiresAt);
      options.onProgress?.(event);
    };
    try {
      const withProgress = { ...options, onProgress };
      return await this.#module.revokeSession(sessionId, this.#moduleOptions(held, withProgress, timeoutMs)).catch(orLost);
    } catch (error) {
      // It came just now. Had its answer had a Date, the clock would have been right.
      if (toWire(error).code === "CHALLENGE_EXPIRED" && !this.#clock.known) {
        throw skewed("a challenge was over when it came", ends);
      }
      throw error;
    } finally {
      await this.#pin(held).catch(() => {}); // the outcome is the caller's to hear, whatever storage says
    }
  }

  #moduleOptions({ organizationId }: Held, options: Options, timeoutMs: number): object {
    return { ...options, timeoutMs, organizationId, clock: this.#clock };
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const ends = this.#keyring.list().flatMap(({ session }) => (session ? [Date.parse(session.expiresAt)] : []));
    if (ends.length === 0 || this.#closed) return;
    const left = Math.min(...ends) - this.#clock.now();
    this.#timer = setTimeout(() => this.#refresh(), left > 0 ? Math.min(left, lookMs) : lookMs);
  }
}

/** After these nothing was done, or nothing is left to do: the key stays as it is. */
const undone = new Set(["ABORTED", "ARGUMENT_INVALID", "KEY_NOT_FOUND", "KEY_LOST"]);

/** What is left of a call's time from now on: storage and clocks take theirs of it. */
function stopwatch({ timeoutMs = 30_000 }: Options): () => number {
  const deadline = performance.now() + timeoutMs;
  return () => Math.max(1, deadline - performance.now());
}

/** A key that was there a moment ago and is not in the module any more was destroyed: by another call, or another tab. */
function orLost(error: unknown): never {
  throw toWire(error).code === "KEY_NOT_FOUND" ? lost("it was destroyed") : error;
}

/** Their hex digits may come in either case. */
function isSameId(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function skewed(what: string, ends: number): GridSignerError {
  return new GridSignerError("CLOCK_SKEW", what, { skewMs: Date.now() - ends });
}
