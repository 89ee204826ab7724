/**
 * What a challenge says, and whether that is what the intent names. The rules are those of signer/payload.go and
 * signer/intent.go, which alone protect anybody: these need only refuse what an app's test would have them refuse.
 */
import { GridSignerError } from "../errors.ts";
import type { Challenge, ErrorCode, IntentName, SignatureFormat } from "../types.ts";

/** An intent as arguments.ts reads it. */
type Facts = { name: string; targetPublicKey?: string; type?: string; email?: string; phoneNumber?: string; oidcToken?: string; attestationObject?: string };

interface Conditions {
  intent: string | Facts | undefined;
  format: string | undefined;
  publicKey: string;
  payloads: "all" | "activities";
  organizationId: string | undefined;
  now: number;
}

type Values = Record<string, unknown>;
interface Payload {
  kind: "activity" | "jwt" | "opaque";
  activityType?: string;
  organizationId?: string;
  /** The parameters of an activity, the claims of a JWT. */
  values: Values;
}

export interface Judged extends Payload {
  format: SignatureFormat;
  intent: IntentName;
}

export function judge(challenge: Challenge, { intent = "revoke-session", format = "auto", publicKey, payloads, organizationId, now }: Conditions): Judged {
  const { payloadToSign = "", requestId = "", expiresAt = "" } = challenge;
  const refuse = (code: ErrorCode, message: string) => new GridSignerError(code, message, { requestId });
  const isRequest = /^(Request:)?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(requestId);
  if (!payloadToSign || payloadToSign.length > 256 << 10 || !isRequest || Number.isNaN(Date.parse(expiresAt))) {
    throw new GridSignerError("CHALLENGE_MALFORMED", "the challenge has not all of its fields as they should be");
  }
  if (now >= Date.parse(expiresAt)) throw refuse("CHALLENGE_EXPIRED", "the challenge has expired");
  const facts: Facts = typeof intent === "string" ? { name: intent } : intent;
  const rule = Object.hasOwn(rules, facts.name) ? rules[facts.name as IntentName] : undefined;
  const names = rule?.needs?.(facts) ?? [];
  const isComplete = names.every((name) => name && facts[name]);
  if (!rule || !isComplete) throw refuse("ARGUMENT_INVALID", `no such intent, or not what ${facts.name} needs`);
  const payload = parse(payloadToSign);
  if (!payload) throw refuse("PAYLOAD_MALFORMED", "the payload is neither an activity, nor a JWT, nor base64");
  const isOpaque = payload.kind === "opaque";
  if (isOpaque && payloads === "activities") throw refuse("INTENT_MISMATCH", "the payload is opaque, and only activities are signed");
  if (!rule.accepts(payload, facts, publicKey)) throw refuse("INTENT_MISMATCH", `the payload is not what ${facts.name} signs`);
  if (!["auto", "stamp", "der"].includes(format)) throw refuse("ARGUMENT_INVALID", "format must be auto, stamp or der");
  if (isOpaque && format === "stamp") throw refuse("INTENT_MISMATCH", "an opaque payload is signed as der only");
  const isOther = payload.organizationId !== undefined && organizationId !== undefined && payload.organizationId !== organizationId;
  if (isOther) throw refuse("ORGANIZATION_MISMATCH", "the payload is for another organization than the key's");
  return { ...payload, format: format === "der" || isOpaque ? "der" : "stamp", intent: facts.name as IntentName };
}

export function parse(text: string): Payload | undefined {
  if (/^\s*\{/.test(text)) {
    const { type, organizationId, timestampMs, parameters, generateAppProofs: _, ...others } = object(text) ?? {};
    const isActivity = isText(type, /^ACTIVITY_TYPE_[A-Z0-9_]+$/) && isText(organizationId, /./) && isText(timestampMs, /^\d{1,19}$/) && isObject(parameters);
    return isActivity && Object.keys(others).length === 0 ? { kind: "activity", activityType: type, organizationId, values: parameters } : undefined;
  }
  const parts = text.split(".");
  if (parts.length === 3) {
    const [header, claims] = parts.slice(0, 2).map((part) => object(decode(part) ?? ""));
    return header && claims && /^[\w-]+$/.test(parts[2]!) ? { kind: "jwt", values: claims } : undefined;
  }
  const isBase64 = /^(?:[\w+/]{4})*(?:[\w+/]{2}==|[\w+/]{3}=)?$/.test(text) && !text.includes("_");
  return isBase64 && text.length >= 4 && text.length <= 4096 && !/^[0-9a-fA-F]*$/.test(text) ? { kind: "opaque", values: {} } : undefined;
}

interface Rule {
  /** The facts that belong to it. */
  needs?(facts: Facts): (keyof Facts | undefined)[];
  accepts(payload: Payload, facts: Facts, publicKey: string): boolean;
}

/** What a credential of each type is known by in an intent. */
export const submitted: Record<string, keyof Facts> = { EMAIL_OTP: "email", SMS_OTP: "phoneNumber", OAUTH: "oidcToken", PASSKEY: "attestationObject" };

const rules: Record<IntentName, Rule> = {
  "revoke-session": {
    accepts: (payload) => payload.kind === "opaque" || (isOf(payload, "DELETE_API_KEYS", "apiKeyIds", "userId") && isOne(payload.values.apiKeyIds)),
  },
  "sign-in": {
    accepts: ({ kind, values }, _, publicKey) => kind === "jwt" && (values.public_key === undefined || values.public_key === publicKey),
  },
  "refresh-session": {
    needs: () => ["targetPublicKey"],
    accepts: (payload, facts) => isOf(payload, "CREATE_READ_WRITE_SESSION_V2", "targetPublicKey") && payload.values.targetPublicKey === facts.targetPublicKey,
  },
  "export-wallet": {
    needs: () => ["targetPublicKey"],
    accepts: (payload, facts) => isOf(payload, "EXPORT_WALLET", "targetPublicKey", "walletId") && payload.values.targetPublicKey === facts.targetPublicKey,
  },
  "update-wallet": { accepts: (payload) => isOf(payload, "SIGN_RAW_PAYLOAD_V2", "encoding", "hashFunction", "payload", "signWith") },
  "send-payment": { accepts: (payload) => isOf(payload, "SIGN_TRANSACTION_V2", "signWith", "type", "unsignedTransaction") },
  "add-credential": {
    needs: ({ type = "" }) => ["type", submitted[type]],
    accepts(payload, facts) {
      const { values } = payload;
      const given = facts[submitted[facts.type!]!];
      if (facts.type === "EMAIL_OTP") return isOf(payload, "UPDATE_USER_EMAIL", "userEmail", "userId") && values.userEmail === given;
      if (facts.type === "SMS_OTP") return isOf(payload, "UPDATE_USER_PHONE_NUMBER", "userPhoneNumber", "userId") && values.userPhoneNumber === given;
      if (facts.type === "OAUTH") return isOf(payload, "CREATE_OAUTH_PROVIDERS", "oauthProviders", "userId") && one(values.oauthProviders)?.oidcToken === given;
      const attestation = one(values.authenticators)?.attestation;
      return isOf(payload, "CREATE_AUTHENTICATORS_V2", "authenticators", "userId") && isObject(attestation) && attestation.attestationObject === given;
    },
  },
  "remove-credential": {
    needs: ({ type = "" }) => [submitted[type] && "type"],
    accepts(payload, { type }) {
      const { values } = payload;
      if (type === "EMAIL_OTP") return isOf(payload, "UPDATE_USER_EMAIL", "userEmail", "userId") && values.userEmail === "";
      if (type === "SMS_OTP") return isOf(payload, "UPDATE_USER_PHONE_NUMBER", "userPhoneNumber", "userId") && values.userPhoneNumber === "";
      if (type === "OAUTH") return isOf(payload, "DELETE_OAUTH_PROVIDERS", "providerIds", "userId") && isOne(values.providerIds);
      return isOf(payload, "DELETE_AUTHENTICATORS", "authenticatorIds", "userId") && isOne(values.authenticatorIds);
    },
  },
};

const isOf = ({ activityType, values }: Payload, activity: string, ...names: string[]) =>
  activityType === `ACTIVITY_TYPE_${activity}` && Object.keys(values).every((name) => names.includes(name));
const isObject = (value: unknown): value is Values => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown, grammar: RegExp): value is string => typeof value === "string" && grammar.test(value);
const isOne = (value: unknown) => Array.isArray(value) && value.length === 1 && isText(value[0], /./);
const one = (value: unknown): Values | undefined => (Array.isArray(value) && value.length === 1 && isObject(value[0]) ? value[0] : undefined);

function object(text: string): Values | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function decode(base64url: string): string | undefined {
  try {
    return /^[\w-]+$/.test(base64url) ? atob(base64url.replaceAll("-", "+").replaceAll("_", "/")) : undefined;
  } catch {
    return undefined;
  }
}
