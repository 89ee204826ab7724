// What a key is asked to sign, in plain words. For the reader's eyes only: the
// signer judges the payload itself, more strictly, and refuses what was not asked for.
import { type Fact } from "./dom.ts";
import { claimsOf, personOf } from "./identity.ts";

/** The signer's own verdict on what it has before it. */
export type PayloadKind = "activity" | "jwt" | "opaque";

export interface PayloadWords {
  readonly sentence: string;
  /** What that comes to, where it is known. */
  readonly meaning?: string;
  readonly facts: readonly Fact[];
}

const unreadable: Readonly<Record<PayloadKind | "broken", string>> = {
  activity: "An activity that this page cannot read.",
  jwt: "A sign-in token. It is no part of this.",
  opaque: "A text without readable meaning, as Grid issued it in April 2026. That it does what you asked for, and no more, is by agreement only.",
  broken: "Something that breaks the rules for payloads, so that it could be read in two ways.",
};

type Fields = Readonly<Record<string, unknown>>;

interface Meaning {
  readonly sentence: string;
  readonly meaning: string;
  readonly facts: readonly Fact[];
}

/** Reads the parameters of an activity; undefined where they are not what this page would ask for. */
const meanings: Readonly<Record<string, (parameters: Fields, organisation: string) => Meaning | undefined>> = {
  ACTIVITY_TYPE_DELETE_API_KEYS: ({ apiKeyIds, userId }, organisation) => {
    const id = only(apiKeyIds);
    return id === undefined ? undefined
      : { sentence: `Delete one API key (${brief(id)}) of user ${brief(userId)} in ${organisation},`, meaning: "that is: end this session.", facts: [["API key", word(id)]] };
  },
  ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2: ({ targetPublicKey }, organisation) => ({
    sentence: `Create a session in ${organisation} for the public key ${brief(targetPublicKey)},`,
    meaning: "that is: a new session for this key.",
    facts: [["Public key", word(targetPublicKey)]],
  }),
  ACTIVITY_TYPE_CREATE_OAUTH_PROVIDERS: ({ oauthProviders, userId }, organisation) => {
    const provider = only(oauthProviders);
    if (provider === undefined) return undefined;
    const { oidcToken, providerName } = fields(provider);
    const person = personOf(word(oidcToken)) ?? "somebody whom the token does not name";
    return {
      sentence: `Add one identity (${person}, by ${word(providerName)}) to user ${brief(userId)} in ${organisation},`,
      meaning: "that is: add one OAuth sign-in.",
      facts: [["Provider", word(providerName)], ["Identity", person]],
    };
  },
  ACTIVITY_TYPE_DELETE_OAUTH_PROVIDERS: ({ providerIds, userId }, organisation) => {
    const id = only(providerIds);
    return id === undefined ? undefined
      : { sentence: `Delete one identity (${brief(id)}) of user ${brief(userId)} in ${organisation},`, meaning: "that is: remove one OAuth sign-in.", facts: [["Identity", word(id)]] };
  },
  ACTIVITY_TYPE_CREATE_AUTHENTICATORS_V2: ({ authenticators, userId }, organisation) => {
    const authenticator = only(authenticators);
    if (authenticator === undefined) return undefined;
    const { authenticatorName } = fields(authenticator);
    return {
      sentence: `Add one authenticator (${word(authenticatorName)}) to user ${brief(userId)} in ${organisation},`,
      meaning: "that is: add this passkey.",
      facts: [["Passkey", word(authenticatorName)]],
    };
  },
  ACTIVITY_TYPE_DELETE_AUTHENTICATORS: ({ authenticatorIds, userId }, organisation) => {
    const id = only(authenticatorIds);
    return id === undefined ? undefined
      : { sentence: `Delete one authenticator (${brief(id)}) of user ${brief(userId)} in ${organisation},`, meaning: "that is: remove one passkey.", facts: [["Passkey", word(id)]] };
  },
  ACTIVITY_TYPE_UPDATE_USER_EMAIL: ({ userEmail, userId }, organisation) => contact("email address", "email", userEmail, userId, organisation),
  ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER: ({ userPhoneNumber, userId }, organisation) => contact("phone number", "SMS", userPhoneNumber, userId, organisation),
  ACTIVITY_TYPE_EXPORT_WALLET: ({ targetPublicKey, walletId }, organisation) => ({
    sentence: `Export wallet ${brief(walletId)} of ${organisation}, sealed to the public key ${brief(targetPublicKey)},`,
    meaning: "that is: its recovery phrase, for this browser alone to open.",
    facts: [["Wallet", word(walletId)], ["Sealed to", word(targetPublicKey)]],
  }),
};

/** An address or number is where codes go; an empty one is none any more. */
function contact(what: string, by: string, value: unknown, userId: unknown, organisation: string): Meaning {
  const user = `user ${brief(userId)} in ${organisation}`;
  if (value === "") return { sentence: `Take the ${what} from ${user},`, meaning: `that is: remove codes by ${by}.`, facts: [] };
  return { sentence: `Give ${user} the ${what} ${word(value)},`, meaning: `that is: send codes by ${by} there.`, facts: [["Codes go to", word(value)]] };
}

/** Puts a payload into words. Never throws: what it cannot read it says so of. Of a sign-in by code it is a token. */
export function describePayload(payload: string, kind: PayloadKind | undefined, isToken = false): PayloadWords {
  if (isToken && kind === "jwt") return describeToken(payload);
  const activity = kind === "activity" ? parse(payload) : undefined;
  if (activity === undefined) return { sentence: unreadable[kind ?? "broken"], facts: [] };
  const parameters = fields(activity["parameters"]);
  const madeAt = Number(activity["timestampMs"]);
  const type = word(activity["type"]);
  const meant = Object.hasOwn(meanings, type) ? meanings[type]?.(parameters, `organisation ${brief(activity["organizationId"])}`) : undefined;
  const user = parameters["userId"];
  const facts: Fact[] = [["Activity", type], ...(meant?.facts ?? [])];
  if (user !== undefined) facts.push(["User", word(user)]);
  facts.push(["Organisation", word(activity["organizationId"])]);
  if (Number.isFinite(madeAt)) facts.push(["Made at", new Date(madeAt).toLocaleString()]);
  if (meant === undefined) return { sentence: `Perform ${type}.`, facts };
  return { sentence: meant.sentence, meaning: meant.meaning, facts };
}

/** The word of Grid's enclave that the code was right, and which key it came with. */
function describeToken(token: string): PayloadWords {
  const claims = claimsOf(token);
  if (claims === undefined) return { sentence: "A sign-in token that this page cannot read.", facts: [] };
  const key = claims["public_key"];
  return {
    sentence: `A token that says: the code to ${word(claims["contact"])} was right${key === undefined ? "," : `, and it came with the key ${brief(key)},`}`,
    meaning: "that is: begin a session for this key.",
    facts: claimFacts(claims),
  };
}

const claimNames: Readonly<Record<string, string>> = {
  iss: "Issuer", aud: "For app", sub: "Subject", email: "Email", nonce: "Nonce", iat: "Issued", exp: "Good until",
  contact: "Code sent to", verification_type: "Kind", public_key: "Public key", organization_id: "Organisation",
};

/** What a token says, claim by claim. */
export function claimFacts(claims: Fields): Fact[] {
  return Object.entries(claims).map(([name, value]) => [claimNames[name] ?? name, name === "iat" || name === "exp" ? instant(value) : String(value)]);
}

/** Seconds, or milliseconds: both are found. */
function instant(value: unknown): string {
  const number = Number(value);
  const date = new Date(number < 1e11 ? number * 1000 : number);
  return Number.isNaN(date.getTime()) ? String(value) : date.toLocaleString();
}

export interface Stamp {
  readonly publicKey: string;
  readonly scheme: string;
  readonly signature: string;
}

/** Opens the stamp of a signature header for display; undefined if it is none. */
export function openStamp(header: string): Stamp | undefined {
  try {
    const stamp = parse(atob(header.replaceAll("-", "+").replaceAll("_", "/")));
    if (stamp === undefined) return undefined;
    return { publicKey: word(stamp["publicKey"]), scheme: word(stamp["scheme"]), signature: word(stamp["signature"]) };
  } catch {
    return undefined; // not base64: atob throws
  }
}

function parse(json: string): Fields | undefined {
  try {
    return fields(JSON.parse(json));
  } catch {
    return undefined;
  }
}

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}

/** The one element of a list; undefined if there are more or none. */
function only(list: unknown): unknown {
  return Array.isArray(list) && list.length === 1 ? list[0] : undefined;
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "not given";
}

function brief(value: unknown): string {
  const full = word(value);
  return full.length > 18 ? `${full.slice(0, 14)}…` : full;
}
