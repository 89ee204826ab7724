/**
 * Reads what callers hand in. Each own property is read once, so that a getter or a proxy cannot show one value to a
 * check and another to its use; inherited ones are not read, so that a polluted prototype sets nothing.
 */
import { isAborted } from "./client.ts";
import { GridSignerError } from "./errors.ts";
import type { Listener } from "./rpc.ts";
import type { SessionBinding } from "./types.ts";

/** A refusal of an argument. */
export function invalid(message: string, cause?: unknown): GridSignerError {
  return new GridSignerError("ARGUMENT_INVALID", message, cause === undefined ? {} : { cause });
}

/** Runs code of the caller's. Whatever it throws becomes the cause of a refusal. */
function guarded<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw invalid(`${what} could not be read`, cause);
  }
}

/** The named own properties of an object, as they are now. Absent ones are undefined. */
export function fields<K extends string>(what: string, value: unknown, names: readonly K[]): { [P in K]?: unknown } {
  if (typeof value !== "object" || value === null) throw invalid(`${what} must be an object`);
  return guarded(what, () => {
    const copy: { [P in K]?: unknown } = Object.create(null);
    for (const name of names) {
      if (Object.hasOwn(value, name)) copy[name] = (value as Record<K, unknown>)[name];
    }
    return copy;
  });
}

/** Like {@link fields}, for options, where a name that is not known is a mistake. */
export function options<K extends string>(what: string, value: unknown, names: readonly K[]): { [P in K]?: unknown } {
  const copy = fields(`the options of ${what}`, value, names);
  refuseOthers(what, value as object, names);
  return copy;
}

/** Refuses an object that has other properties than the named ones. */
export function refuseOthers(what: string, value: object, names: readonly string[]): void {
  for (const key of guarded(what, () => Reflect.ownKeys(value))) {
    if (typeof key !== "string" || !names.includes(key)) throw invalid(`${what} has no option ${String(key)}`);
  }
}

export function string(what: string, value: unknown): string {
  if (typeof value !== "string") throw invalid(`${what} must be a string`);
  return value;
}

/** Those of the fields that are there, each of which must be a string. */
export function strings(what: string, values: Record<string, unknown>): Record<string, string> {
  const copy: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined) copy[name] = string(`${what}.${name}`, value);
  }
  return copy;
}

export function list(what: string, value: unknown): unknown[] {
  const copy = guarded(what, () => (Array.isArray(value) ? Array.from(value as unknown[]) : undefined));
  if (!copy) throw invalid(`${what} must be an array`);
  return copy;
}

function listOfStrings(what: string, value: unknown): string[] {
  return list(what, value).map((text) => string(`each of ${what}`, text));
}

/** Public keys of enclaves. None given: the module's own. */
export function signers(what: string, value: unknown): string[] {
  const keys = value === undefined ? [] : listOfStrings(what, value);
  if (value !== undefined && keys.length === 0) throw invalid(`${what} must name a key`);
  return keys.map((key) => matching(`each of ${what}`, key, /^04[0-9a-fA-F]{128}$/));
}

/** A one-time code, without the blanks that people type. Grid's have 4 to 12 letters or digits. */
export function otpCode(value: unknown): string {
  return matching("code", string("code", value).replace(/\s/g, ""), /^[0-9A-Za-z]{4,12}$/);
}

/** What Grid takes for a nickname. */
export function nickname(value: unknown): string {
  return matching("nickname", value, /^[\p{L}\p{N} ._\-'()]{1,100}$/u);
}

export function boolean(what: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== "boolean") throw invalid(`${what} must be a boolean`);
  return value ?? false;
}

export function listener(what: string, value: unknown): Listener | undefined {
  if (value !== undefined && typeof value !== "function") throw invalid(`${what} must be a function`);
  return value as Listener | undefined;
}

/** A key's id, of the key or of the id itself. */
export function keyId(value: unknown): string {
  const id = typeof value === "object" && value !== null ? fields("key", value, ["id"]).id : value;
  if (typeof id !== "string") throw invalid("key must be a SessionKey or the id of one");
  return id;
}

/** What a key is bound to, of anything that has these fields: an AuthSession does. */
export function session(value: unknown): SessionBinding {
  const { id, accountId, expiresAt } = fields("session", value, ["id", "accountId", "expiresAt"]);
  return {
    id: matching("session.id", id, /^Session:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/),
    accountId: matching("session.accountId", accountId, /^InternalAccount:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/),
    expiresAt: matching("session.expiresAt", expiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/),
  };
}

function matching(what: string, value: unknown, grammar: RegExp): string {
  const text = string(what, value);
  if (!grammar.test(text) || (what.endsWith("At") && Number.isNaN(Date.parse(text)))) throw invalid(`${what} is malformed`);
  return text;
}

/** An intent by name, or with the facts that its payload must contain. The module knows which belong to which. */
export function intent(value: unknown): string | Record<string, string> | undefined {
  if (value === undefined || typeof value === "string") return value;
  const facts = ["targetPublicKey", "type", "email", "phoneNumber", "oidcToken", "attestationObject"];
  return strings("intent", options("intent", value, ["name", ...facts]));
}

/** What a caller wants to add: one of NewAuthMethod. The module knows which fields belong to which type. */
export function credential(value: unknown): object {
  const { attestation, ...texts } = options("credential", value, [
    "type", "email", "phoneNumber", "oidcToken", "nickname", "challenge", "attestation",
  ]);
  const copy = strings("credential", texts);
  if (attestation === undefined) return copy;
  const { transports, ...parts } = options("attestation", attestation, ["credentialId", "clientDataJson", "attestationObject", "transports"]);
  const list = transports === undefined ? {} : { transports: listOfStrings("transports", transports) };
  return { ...copy, attestation: { ...strings("attestation", parts), ...list } };
}

/** A day. A delay past 2**31 ms would make setTimeout fire at once. */
const maxTimeoutMs = 86_400_000;

export function timeout(value: unknown, otherwise: number, least = 1): number {
  if (value === undefined) return otherwise;
  if (typeof value !== "number" || !(value >= least && value <= maxTimeoutMs)) {
    throw invalid(`timeoutMs must be a number from ${least} to ${maxTimeoutMs}`);
  }
  return value;
}

export function signal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  try {
    isAborted(value as AbortSignal);
  } catch (cause) {
    throw invalid("signal must be an AbortSignal", cause);
  }
  return value as AbortSignal;
}

export function url(what: string, read: () => unknown, base: string): URL {
  const text = guarded(what, () => {
    const value = read();
    return value instanceof URL ? value.href : value;
  });
  try {
    return new URL(string(what, text), base);
  } catch (cause) {
    throw invalid(`${what} must be a URL`, cause);
  }
}

/** The bridge's absolute URL, ready for the module to append paths to. */
export function bridgeUrl(value: unknown, base: string): string {
  const { protocol, username, password, href } = url("bridgeUrl", () => value, base);
  if (protocol !== "https:" && protocol !== "http:") throw invalid("bridgeUrl must be http or https");
  if (username || password || /[?#]/.test(href)) throw invalid("bridgeUrl must have no credentials, query or fragment");
  return href.replace(/\/+$/, "");
}

/** One of these texts, the first where none is given. */
export function choice<T extends string>(what: string, value: unknown, values: readonly [T, ...T[]]): T {
  if (value === undefined) return values[0];
  if (!values.includes(value as T)) throw invalid(`${what} must be ${values.map((value) => `"${value}"`).join(" or ")}`);
  return value as T;
}

/** What sets the keys of two apps of one origin apart. */
export function namespace(value: unknown): string | undefined {
  return value === undefined ? undefined : matching("namespace", value, /^[\w.-]{1,64}$/);
}

/** Headers as plain data, checked by the platform's own rules. */
export function headers(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) throw invalid("headers must be an object");
  const copy = guarded("headers", () => Object.fromEntries(new Headers(value as HeadersInit)));
  for (const name of ["grid-wallet-signature", "request-id"]) {
    if (Object.hasOwn(copy, name)) throw invalid(`headers must not hold ${name}: it is the signer's`);
  }
  return copy;
}

// Taken before a page can put another in its place.
const { fill } = Uint8Array.prototype;
/** Overwrites bytes with zeros, where they have not been moved away. */
export function erase(bytes: Uint8Array): void {
  try {
    fill.call(bytes, 0);
  } catch {
    // There are none any more.
  }
}

/** The name of a typed array's kind, by its internal slot: one of a frame passes, no proxy and no look-alike does. */
const kindOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!;

/** The bytes of a private key, moved: the caller's array is zeroed, even where its length is wrong. */
export function secret(what: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (kindOf.call(value) !== "Uint8Array") throw invalid(`${what} must be a Uint8Array`);
  return guarded(what, () => {
    const copy = new Uint8Array(value as Uint8Array); // throws where its buffer was moved away
    erase(value as Uint8Array);
    return copy;
  });
}
