// Signing in: a new key, then a token bound to it, then a session at Grid, which the key is told of.
import { type Curve, type SessionBinding, type SessionKey, type Signer } from "gridsigner";
import { nameOf, rememberName } from "./remembered.ts";

/** A device of this page: in real life each would be its own browser. */
export interface Device {
  readonly name: string;
  readonly key: SessionKey;
  /** The start of the public key's SHA-256, in groups: for comparing by eye. */
  readonly fingerprint: string;
  /** What the key is bound to. */
  readonly session: SessionBinding;
  /** The bearer token by which the bridge knows this user. It cannot sign anything. */
  readonly accessToken: string;
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
 * Signs in as a new device. The order matters: the token's nonce is the hash
 * of the public key, so a stolen token is of no use with any other key.
 *
 * @throws GridSignerError from the signer, {@link RequestError} from the
 * server, TypeError if the server cannot be reached. The new key is removed
 * again in all three cases.
 */
export async function signIn(signer: Signer, bridgeUrl: string, name: string, curve: Curve): Promise<Device> {
  const key = await signer.createKey({ curve });
  try {
    const login = await post("/demo/login", { publicKey: key.publicKey });
    const accessToken = text(login, "accessToken");
    rememberName(key.id, name);
    const credential = encodeURIComponent(text(login, "credentialId"));
    const session = await post(
      `${bridgeUrl}/auth/credentials/${credential}/verify`,
      { type: "OAUTH", oidcToken: text(login, "oidcToken"), clientPublicKey: key.publicKey },
      accessToken,
    );
    const binding = { id: text(session, "id"), accountId: text(session, "accountId"), expiresAt: text(session, "expiresAt") };
    return await device(await signer.bindSession(key, binding), binding, accessToken);
  } catch (error) {
    await signer.removeKey(key.id).catch(() => {}); // why it is removed counts for more
    throw error;
  }
}

/**
 * The device of a key that was there before this page, or came from another
 * tab. Its session goes on; only the bridge's token, which no page stores, is
 * fetched anew. In real life that is the app's own login.
 *
 * @throws {@link RequestError}, TypeError if the server cannot be reached
 */
export async function restore(key: SessionKey, session: SessionBinding): Promise<Device> {
  const login = await post("/demo/login", { publicKey: key.publicKey });
  return device(key, session, text(login, "accessToken"));
}

async function device(key: SessionKey, session: SessionBinding, accessToken: string): Promise<Device> {
  return { name: nameOf(key.id), key, fingerprint: await fingerprint(key.publicKey), session, accessToken };
}

type Fields = Readonly<Record<string, unknown>>;

async function post(url: string, body: Fields, bearer?: string): Promise<Fields> {
  const headers: Record<string, string> = { "Content-Type": "application/json", "X-Gridsigner": "1" };
  if (bearer !== undefined) headers["Authorization"] = `Bearer ${bearer}`;
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
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
