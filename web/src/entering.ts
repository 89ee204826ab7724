/**
 * Signs in: a key, what Grid wants to see before it starts a session for it, and the session bound to it. The key is
 * nobody's until then, and where it comes to nothing it is gone.
 *
 * A tab may be closed at any moment. What Grid is about to be sent is written down before, so that whoever comes next
 * ends the key, and the session that it may have by then: leaving.ts.
 */
import { fromWire, GridSignerError, toWire } from "./errors.ts";
import { type Grid, isRefusal, type Params, type Patience, usable } from "./grid.ts";
import { type Keyring, lost } from "./keys/keyring.ts";
import { isSealing, type KeyRecord, type Move } from "./keys/machine.ts";
import { importSealedKey, makeKey, type Made, seal, sealingKey } from "./keys/secrets.ts";
import type { Leaving } from "./leaving.ts";
import type { RawModule } from "./module.ts";
import type { CallEvent, SessionBinding } from "./types.ts";

/** How long after its time a sign-in may still say so itself. */
const graceMs = 5000;

/** What is signed in with. The account is known where Grid was asked before. */
interface Entry {
  credentialId: string;
  accountId?: string;
  type: string;
}

/** A code that is on its way, and the key that it is to be sealed to. */
export interface SentOtp extends Entry {
  accountId: string;
  nickname: string;
  bundle: string;
}

/** A passkey that the page is to ask for: the challenge is a text. */
export interface AskedPasskey extends Entry {
  key: string;
  accountId: string;
  passkeyId: string;
  challenge: string;
  requestId: string;
}

type Options = Patience & { curve?: string | undefined };

export class Entering {
  readonly #keyring: Keyring;
  readonly #grid: Grid;
  readonly #module: RawModule;
  readonly #leaving: Leaving;
  readonly #holder: string;
  readonly #otpSigners: readonly string[];

  constructor(keyring: Keyring, grid: Grid, module: RawModule, leaving: Leaving, holder: string, otpSigners: readonly string[]) {
    this.#keyring = keyring;
    this.#grid = grid;
    this.#module = module;
    this.#leaving = leaving;
    this.#holder = holder;
    this.#otpSigners = otpSigners;
  }

  /** Ends what nobody goes on with: its tab is gone, or was asleep. */
  look({ id, state, signIn }: KeyRecord): void {
    if (state === "new" && signIn && Date.now() >= signIn.until) void this.giveUp(id);
  }

  async withToken(key: string, credentialId: string, oidcToken: string, options: Options): Promise<KeyRecord> {
    const record = await this.#begin(key, options);
    const proof = async () => ({ oidcToken, clientPublicKey: record.publicKey });
    return this.#enter(record, { credentialId, type: "OAUTH" }, proof, {}, options);
  }

  async startOtp(credentialId: string, options: Options): Promise<SentOtp> {
    const { value } = await this.#grid.perform("challenge-credential", { id: credentialId, body: {} }, options);
    const { accountId, type, nickname, otpEncryptionTargetBundle: bundle } = value;
    // Looked at before the person is asked for the code, and once more when it is sealed.
    await this.#module.checkOtpTarget(bundle, { otpSigners: this.#otpSigners });
    return { credentialId, accountId, type, nickname: typeof nickname === "string" ? nickname : "", bundle };
  }

  async submitOtp({ bundle, ...entry }: SentOtp, otpCode: string, options: Options): Promise<KeyRecord> {
    const record = await this.#begin(undefined, options);
    const { publicKey } = record;
    const proof = async () => ({
      encryptedOtpBundle: await this.#module.sealOtp(bundle, { otpSigners: this.#otpSigners, otpCode, publicKey }),
    });
    return this.#enter(record, entry, proof, {}, options);
  }

  async startPasskey(credentialId: string, key: string | undefined, options: Options): Promise<AskedPasskey> {
    const record = await this.#begin(key, options);
    const { id, publicKey } = record;
    try {
      const { value } = await this.#grid.perform("challenge-credential", { id: credentialId, body: { clientPublicKey: publicKey } }, options);
      const { accountId, credentialId: passkeyId, challenge, requestId } = value;
      return { key: id, credentialId, accountId, type: "PASSKEY", passkeyId, challenge, requestId };
    } catch (error) {
      await this.giveUp(id);
      throw final(record, error);
    }
  }

  async finishPasskey({ key, requestId, ...entry }: AskedPasskey, assertion: object, options: Options): Promise<KeyRecord> {
    const record = usable(await this.#keyring.find(key));
    return this.#enter(record, entry, async () => ({ assertion }), { requestId, clientKey: record.publicKey }, options);
  }

  /** Destroys a key that has not signed in, once the session that Grid may have started for it is over. */
  async giveUp(id: string, known: Pick<Move & { type: "give-up" }, "session" | "isRefused"> = {}): Promise<void> {
    const move = this.#keyring.move(id, { type: "give-up", holder: this.#holder, now: Date.now(), ...known });
    const left = await move.catch(() => this.#keyring.find(id)).catch(() => undefined);
    if (left?.state === "leaving") this.#leaving.start(id);
  }

  /** The key that is to sign in, which nobody else uses from now on: one of the caller's, or else a new one. */
  async #begin(id: string | undefined, { timeoutMs, signal, curve }: Options): Promise<KeyRecord> {
    const now = Date.now();
    const signIn = { attempt: crypto.randomUUID(), until: now + timeoutMs + graceMs };
    if (id === undefined) {
      const made = await makeKey(this.#module, curve);
      const record = await this.#keyring.add(made, (storage, record) => seal(this.#module, storage, record), { signIn, unseen: true });
      if (!signal?.aborted) return record;
      await this.giveUp(record.id);
      throw aborted();
    }
    if (usable(await this.#keyring.find(id)).session) throw new GridSignerError("ARGUMENT_INVALID", "the key has a session");
    const record = usable(await this.#keyring.move(id, { type: "sign-in", signIn }));
    if (record.signIn?.attempt !== signIn.attempt) throw new GridSignerError("ARGUMENT_INVALID", "the key is signing in already");
    return record;
  }

  /** Shows Grid the proof, and binds the session that it starts. A one-time code is followed by a challenge for the key. */
  async #enter(record: KeyRecord, entry: Entry, proof: () => Promise<object>, more: Params, options: Options): Promise<KeyRecord> {
    const { id } = record;
    const { attempt, until } = record.signIn!;
    const { credentialId, accountId, type } = entry;
    const isSigned = type === "EMAIL_OTP" || type === "SMS_OTP";
    let session: SessionBinding | undefined;
    let [isOpen, isTaken, isUnsure] = [false, false, false];
    const watch = (event: CallEvent) => {
      if ((event.step === "request" || event.step === "response") && event.leg === (isSigned ? 2 : 1)) {
        if (event.step === "request") [isUnsure, isOpen] = [isUnsure || isOpen, true];
        else if (event.status === 200) isTaken = true; // Grid is at it, whatever it says later
        else if (isRefusal(event.status) || (event.status === 401 && !isSigned)) isOpen = isTaken;
      }
      options.onProgress?.(event);
    };
    const sent = async () => {
      const signIn = { attempt, until, since: this.#grid.clock.now(), accountId, type };
      const now = usable(await this.#keyring.move(id, { type: "sent", signIn, now: Date.now() }));
      if (now.signIn?.since === undefined) throw lost("its time to sign in is over");
    };
    try {
      const parameters = { ...more, id: credentialId, ...(accountId && { account: accountId }), body: { type, ...(await proof()) } };
      if (!isSigned) await sent();
      const { value } = await this.#grid.perform("verify-credential", parameters, { ...options, onProgress: watch }, isSigned ? record : undefined, sent);
      const started: SessionBinding = { id: value.id, accountId: value.accountId, expiresAt: value.expiresAt };
      if (this.#keyring.boundTo(started.id)) throw new GridSignerError("RESPONSE_MALFORMED", "the answer is another key's session");
      session = started;
      if (await this.#grid.isPast(started.expiresAt, "the session")) throw new GridSignerError("RESPONSE_MALFORMED", "the session is over");
      const made = isSealing(record) ? await this.#open(record, value.encryptedSessionSigningKey) : undefined;
      if (options.signal?.aborted) throw aborted();
      const bound = usable(await this.#keyring.move(id, { type: "bind", session, attempt, now: this.#grid.clock.now(), ...(made && { made }) }));
      if (bound.session?.id !== session.id) throw lost("its time to sign in is over");
      if (options.signal?.aborted) throw aborted();
      return bound;
    } catch (error) {
      await this.giveUp(id, { session, isRefused: !isOpen && !isUnsure });
      throw final(record, error);
    }
  }

  async #open({ publicKey, secret }: KeyRecord, sealed: string): Promise<Made & { secret: { handle: CryptoKey } }> {
    const { handle } = secret as { handle: CryptoKey };
    return importSealedKey(await this.#module.openSessionKey(sealed, sealingKey(publicKey, handle)));
  }
}

/** Of a key that was given there is nothing left to try again with. */
function final({ unseen }: KeyRecord, error: unknown): unknown {
  return unseen ? error : fromWire({ ...toWire(error), retryable: false });
}

const aborted = () => new GridSignerError("ABORTED", "nobody waits for it any more");
