// Signing in: a new key, then a token bound to it, then a session at Grid, which the key is told of. And the app's own token.
import { type AuthMethod, type Curve, type SessionBinding, type SessionKey, type Signer } from "gridsigner";
import { tokenFor } from "./identity.ts";
import { nameOf, rememberName } from "./remembered.ts";

/** A device of this page: in real life each would be its own browser. */
export interface Device {
  readonly name: string;
  readonly key: SessionKey;
  /** The start of the public key's SHA-256, in groups: for comparing by eye. */
  readonly fingerprint: string;
  /** What the key is bound to. */
  readonly session: SessionBinding;
}

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

/**
 * Signs in as a new device, by the given way if there are several. The order matters: the token's nonce is the hash
 * of the public key, so a stolen token is of no use with any other key.
 *
 * @throws GridSignerError from the signer, {@link RequestError} from the
 * server, TypeError if the server cannot be reached. The new key is removed
 * again in all three cases.
 */
export async function signIn(signer: Signer, bridgeUrl: string, name: string, curve: Curve, way?: AuthMethod): Promise<Device> {
  const key = await signer.createKey({ curve });
  try {
    const login = await post("/demo/login", { publicKey: key.publicKey });
    rememberName(key.id, name);
    const [token, usual] = [text(login, "oidcToken"), text(login, "credentialId")];
    const oidcToken = way === undefined || way.id === usual ? token : tokenFor(token, way.nickname);
    const session = await post(
      `${bridgeUrl}/auth/credentials/${encodeURIComponent(way?.id ?? usual)}/verify`,
      { type: "OAUTH", oidcToken, clientPublicKey: key.publicKey },
      { headers: bearer(login) },
    );
    const binding = { id: text(session, "id"), accountId: text(session, "accountId"), expiresAt: text(session, "expiresAt") };
    return await describe(await signer.bindSession(key, binding), binding);
  } catch (error) {
    await signer.removeKey(key.id).catch(() => {}); // why it is removed counts for more
    throw error;
  }
}

/** A key that nobody has: where no session is to be begun, no token for one is to be of use. */
const nobodysKey = `02${"00".repeat(32)}`;

/**
 * What calls to the bridge carry: the token by which it knows this user, and
 * which cannot sign anything. It is asked for anew each time, so it is never
 * stale, and is there for a sign-out that is finished when no device is signed
 * in any more. In real life this is the app's own login, by its cookie.
 */
export async function appHeaders({ signal }: { signal: AbortSignal }): Promise<Record<string, string>> {
  return bearer(await post("/demo/login", { publicKey: nobodysKey }, { signal }));
}

/** The account of whoever looks at this page. */
export async function ownAccount(): Promise<string> {
  return text(await post("/demo/login", { publicKey: nobodysKey }), "accountId");
}

/** A token which shows that somebody is this person, and begins no session. Grid takes it for a minute. */
export async function freshToken(person: string): Promise<string> {
  return tokenFor(text(await post("/demo/login", { publicKey: nobodysKey }), "oidcToken"), person);
}

function bearer(login: Fields): Record<string, string> {
  return { Authorization: `Bearer ${text(login, "accessToken")}` };
}

/** A key and its session as a device, also of a key that was there before this page, or came from another tab. */
export async function describe(key: SessionKey, session: SessionBinding): Promise<Device> {
  return { name: nameOf(key.id), key, fingerprint: await fingerprint(key.publicKey), session };
}

type Fields = Readonly<Record<string, unknown>>;

async function post(url: string, body: Fields, { headers = {}, signal }: { headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Fields> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Gridsigner": "1", ...headers },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
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
  if (typeof value !== "string") throw new RequestError(200, "RESPONSE_MALFORMED", `The server's answer has no ${name}.`);
  return value;
}

async function fingerprint(publicKey: string): Promise<string> {
  const bytes = Uint8Array.from(publicKey.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const digits = Array.from(hash.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/(.{4})(?=.)/g, "$1 ");
}
