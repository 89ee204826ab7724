// The demo's own server: the app's login, by which the bridge knows its user, the identity provider, and the inbox.
import { type AuthMethod } from "gridsigner";
import { tokenFor } from "./identity.ts";

/** An answer of the server other than success, outside of the signer's own calls. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** What this page knows before it talks to Grid. */
export interface Config {
  /** The enclave keys that may vouch for whom a code is sealed to, and for a wallet. Another's word is refused. */
  readonly otpSigners: readonly string[];
  readonly exportSigners: readonly string[];
  /** Where codes go by Grid's customer record. */
  readonly email: string;
  readonly phoneNumber: string;
}

export async function readConfig(): Promise<Config> {
  const config = await ask("/demo/config");
  const [email, phoneNumber] = [text(config, "email"), text(config, "phoneNumber")];
  return { otpSigners: texts(config, "otpSigners"), exportSigners: texts(config, "exportSigners"), email, phoneNumber };
}

/**
 * What calls to the bridge carry: the token by which it knows this user, and
 * which cannot sign anything. It is asked for anew each time, so it is never
 * stale, and is there for a sign-out that is finished when no device is signed
 * in any more. In real life this is the app's own login, by its cookie.
 */
export async function appHeaders({ signal }: { signal: AbortSignal }): Promise<Record<string, string>> {
  return { Authorization: `Bearer ${text(await login({}, signal), "accessToken")}` };
}

/** The account of whoever looks at this page. */
export async function ownAccount(): Promise<string> {
  return text(await login({}), "accountId");
}

/** A token which shows that somebody is this person, and begins no session. Grid takes it for a minute. */
export async function freshToken(person: string): Promise<string> {
  return tokenFor(text(await login({}), "oidcToken"), person);
}

/** A token to sign in with, by the given way if there are several. Its nonce makes it one key's: stolen, it is of no use with any other. */
export async function signInToken(way: AuthMethod | undefined, nonce: string): Promise<{ credentialId: string; oidcToken: string }> {
  const answer = await login({ nonce });
  const [token, usual] = [text(answer, "oidcToken"), text(answer, "credentialId")];
  const oidcToken = way === undefined || way.id === usual ? token : tokenFor(token, way.nickname);
  return { credentialId: way?.id ?? usual, oidcToken };
}

/** The code that was sent last for a credential: what a person would find in their mail. */
export async function newestCode(credentialId: string): Promise<string | undefined> {
  const { data } = await ask("/demo/inbox");
  const mine = (Array.isArray(data) ? data : []).filter((message) => isFields(message) && message["credentialId"] === credentialId);
  return mine.length > 0 ? text(mine.at(-1), "code") : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function login(body: Fields, signal?: AbortSignal): Promise<Fields> {
  const headers = { "Content-Type": "application/json" };
  return ask("/demo/login", { method: "POST", headers, body: JSON.stringify(body), signal: signal ?? null });
}

async function ask(url: string, init: RequestInit = {}): Promise<Fields> {
  const response = await fetch(url, init);
  const answer: unknown = await response.json().catch(() => undefined);
  const fields = isFields(answer) ? answer : {};
  if (response.ok) return fields;
  throw new RequestError(
    response.status,
    typeof fields["code"] === "string" ? fields["code"] : `HTTP_${response.status}`,
    typeof fields["message"] === "string" ? fields["message"] : "The server gave no reason.",
  );
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw malformed(name);
  return value;
}

function texts(fields: Fields, name: string): string[] {
  const value = fields[name];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) throw malformed(name);
  return value;
}

function malformed(name: string): RequestError {
  return new RequestError(200, "RESPONSE_MALFORMED", `The server's answer has no ${name}.`);
}
