/** What is asked of Grid in memory: requests, their challenges, and signatures, each told as the real signer tells its steps. */
import * as args from "../arguments.ts";
import { toWire } from "../errors.ts";
import { type Patience, words } from "../grid.ts";
import { type Keyring, lost } from "../keys/keyring.ts";
import type { KeyRecord } from "../keys/machine.ts";
import { hexOf } from "../keys/secrets.ts";
import type { CallEvent, Challenge, CredentialType, NewAuthMethod } from "../types.ts";
import { challengeMs, encode, type Grid, nicknames, refused, type Session } from "./grid.ts";
import { type Judged, judge, parse, submitted } from "./judge.ts";
import { sign } from "./keys.ts";

/** What Grid wants signed, for what, and what comes of it. */
interface Operation<T> {
  type?: string | undefined;
  /** The name of the activity and its parameters; none for a sign-in by a code, whose token is signed. */
  activity: [string, object] | undefined;
  intent: string | { name: string; [fact: string]: string };
  /** The first leg, before there is a challenge. */
  check?(): unknown;
  status: number;
  work(): T;
}

export class Requests {
  readonly #grid: Grid;
  readonly #keyring: Keyring;
  readonly #payloads: "all" | "activities";

  constructor(grid: Grid, keyring: Keyring, payloads: "all" | "activities") {
    this.#grid = grid;
    this.#keyring = keyring;
    this.#payloads = payloads;
  }

  /** One request that nobody signs. */
  ask<T>(options: Patience, work: () => T | Promise<T>): Promise<T> {
    return this.#leg(options, 1, 200, work);
  }

  async #leg<T>({ signal, onProgress }: Patience, leg: 1 | 2, status: number, work: () => T | Promise<T>): Promise<T> {
    onProgress?.({ step: "request", leg, attempt: leg });
    const answer = (status: number) => onProgress?.({ step: "response", leg, attempt: leg, status });
    await this.#grid.reach(signal);
    try {
      const value = await work();
      answer(status);
      return value;
    } catch (error) {
      const refusal = toWire(error).status;
      if (refusal !== undefined) answer(refusal);
      throw error;
    }
  }

  /** A request, its challenge, which is signed where it says what it should, and the request again. */
  async perform<T>(record: KeyRecord, options: Patience, { type, activity, intent, check, status, work }: Operation<T>): Promise<T> {
    const payload = activity ? this.#activity(...activity) : this.#token(record);
    const tell = (event: CallEvent) => options.onProgress?.(event);
    await this.#leg(options, 1, 202, () => check?.());
    const [requestId, expiresAt] = [this.#grid.id("Request"), this.#grid.stamp(this.#grid.now() + challengeMs)];
    const { kind, activityType } = parse(payload)!;
    tell({ step: "challenge", requestId, expiresAt, ...(type && { type }), payload, kind, ...(activityType && { activityType }) });
    const { format, signature, organizationId } = await this.sign(record, { payloadToSign: payload, requestId, expiresAt }, intent);
    tell({ step: "signed", format, signature });
    const { state, reason = "leaving" } = await this.#keyring.find(record.id);
    if (state !== record.state) throw lost(words[reason]);
    const value = await this.#leg(options, 2, status, work);
    if (organizationId !== undefined) await this.#keyring.move(record.id, { type: "accept", organizationId });
    return value;
  }

  /** Signs a challenge, if it is what the intent says. `signature`: the value of Grid-Wallet-Signature. */
  async sign(record: KeyRecord, challenge: Challenge, intent: Operation<unknown>["intent"] | undefined, format?: string): Promise<Judged & { signature: string }> {
    const { publicKey, organizationId, curve } = record;
    const judged = judge(challenge, { intent, format, publicKey, payloads: this.#payloads, organizationId, now: this.#grid.now() });
    const der = await sign(record, challenge.payloadToSign);
    if (judged.format === "der") return { ...judged, signature: btoa(String.fromCharCode(...der)) };
    const scheme = `SIGNATURE_SCHEME_TK_API_${curve === "P-256" ? "P256" : "SECP256K1"}`;
    return { ...judged, signature: encode({ publicKey, scheme, signature: hexOf(der) }) };
  }

  #activity(name: string, parameters: object): string {
    const { organizationId } = this.#grid;
    return JSON.stringify({ organizationId, parameters, timestampMs: this.#grid.now().toFixed(), type: `ACTIVITY_TYPE_${name}` });
  }

  /** Grid takes the signature only of a key that it knows. */
  mustKnow({ publicKey }: KeyRecord, may?: (session: Session) => boolean): void {
    if (!this.#grid.knows(publicKey, may)) throw refused(401, "WALLET_SIGNATURE_INVALID");
  }

  /** The token that a code is good for, made out to the key that is to sign it. */
  #token({ publicKey }: KeyRecord): string {
    const claims = { organization_id: this.#grid.organizationId, public_key: publicKey };
    return `${encode({ alg: "ES256" })}.${encode(claims)}.dGVzdA`;
  }
}

type Wanted = Pick<Operation<unknown>, "type" | "activity" | "intent">;

/** The fields of each type of credential that is added, sorted. */
const shapes: Record<string, string[]> = { EMAIL_OTP: ["email"], SMS_OTP: ["phoneNumber"], OAUTH: ["oidcToken"], PASSKEY: ["attestation", "challenge", "nickname"] };

/** What adds a credential. Where codes go Grid's customer record says, and not who asks. */
export function adding(credential: NewAuthMethod): Wanted {
  const { type } = credential;
  const given = Object.keys(credential).filter((name) => name !== "type").sort();
  if (given.join() !== shapes[type]?.join()) throw args.invalid("the credential is not one of those that can be added");
  const wanted = (fact: string, activity: string, parameters: object): Wanted => ({
    type, activity: [activity, { ...parameters, userId: "user" }], intent: { name: "add-credential", type, [submitted[type]!]: fact },
  });
  switch (credential.type) {
    case "EMAIL_OTP":
      return wanted(credential.email, "UPDATE_USER_EMAIL", { userEmail: nicknames.EMAIL_OTP });
    case "SMS_OTP":
      return wanted(credential.phoneNumber, "UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: nicknames.SMS_OTP });
    case "OAUTH":
      return wanted(credential.oidcToken, "CREATE_OAUTH_PROVIDERS", { oauthProviders: [{ oidcToken: credential.oidcToken, providerName: "google" }] });
    case "PASSKEY": {
      const { attestation, nickname, challenge } = credential;
      const authenticator = { attestation, authenticatorName: nickname, challenge, transports: [] };
      return wanted(attestation.attestationObject, "CREATE_AUTHENTICATORS_V2", { authenticators: [authenticator] });
    }
  }
}

/** What removes a credential. `named`: the type that the caller has named. */
export function removing(type: CredentialType, named: CredentialType): Wanted {
  const [activity, parameters] = {
    EMAIL_OTP: ["UPDATE_USER_EMAIL", { userEmail: "" }] as const,
    SMS_OTP: ["UPDATE_USER_PHONE_NUMBER", { userPhoneNumber: "" }] as const,
    OAUTH: ["DELETE_OAUTH_PROVIDERS", { providerIds: ["provider"] }] as const,
    PASSKEY: ["DELETE_AUTHENTICATORS", { authenticatorIds: ["authenticator"] }] as const,
  }[type];
  return { type, activity: [activity, { ...parameters, userId: "user" }], intent: { name: "remove-credential", type: named } };
}

/** How the end of something went, of which Grid may say that there is none. */
export async function unlessGone<S extends string, G extends string>(ended: Promise<unknown>, status: S, gone: G): Promise<S | G> {
  try {
    await ended;
    return status;
  } catch (error) {
    if (toWire(error).status === 404) return gone;
    throw error;
  }
}
