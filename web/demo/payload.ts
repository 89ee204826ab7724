// What a key is asked to sign, in plain words. For the reader's eyes only: the
// signer judges the payload itself, more strictly, and refuses what is not a revocation.
import { type Fact } from "./dom.ts";

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
  jwt: "A sign-in token. It is no part of ending a session.",
  opaque: "A text without readable meaning, as Grid issued it in April 2026. That it ends this session is by agreement only.",
  broken: "Something that breaks the rules for payloads, so that it could be read in two ways.",
};

/** Puts a payload of a revocation into words. Never throws: what it cannot read it says so of. */
export function describePayload(payload: string, kind: PayloadKind | undefined): PayloadWords {
  const activity = kind === "activity" ? parse(payload) : undefined;
  if (activity === undefined) return { sentence: unreadable[kind ?? "broken"], facts: [] };
  const parameters = fields(activity["parameters"]);
  const ids = parameters["apiKeyIds"];
  const keyIds = Array.isArray(ids) ? ids.map(String) : [];
  const madeAt = Number(activity["timestampMs"]);
  const type = word(activity["type"]);
  const facts: Fact[] = [["Activity", type]];
  for (const id of keyIds) facts.push(["API key", id]);
  facts.push(["User", word(parameters["userId"])], ["Organisation", word(activity["organizationId"])]);
  if (Number.isFinite(madeAt)) facts.push(["Made at", new Date(madeAt).toLocaleString()]);
  if (type !== "ACTIVITY_TYPE_DELETE_API_KEYS" || keyIds.length !== 1) return { sentence: `Perform ${type}.`, facts };
  const who = `user ${brief(parameters["userId"])} in organisation ${brief(activity["organizationId"])}`;
  return { sentence: `Delete one API key (${brief(keyIds[0])}) of ${who},`, meaning: "that is: end this session.", facts };
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

function parse(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return fields(JSON.parse(json));
  } catch {
    return undefined;
  }
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value)) : {};
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "not given";
}

function brief(value: unknown): string {
  const full = word(value);
  return full.length > 18 ? `${full.slice(0, 14)}…` : full;
}
