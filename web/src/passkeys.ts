/** Passkeys, which browsers hand to pages alone: asking for one, and having one made. */
import * as args from "./arguments.ts";
import { onAbort } from "./client.ts";
import type { AskedPasskey } from "./entering.ts";
import { fromWire, GridSignerError } from "./errors.ts";
import { closed } from "./rpc.ts";
import type { AuthMethod, ErrorCode, NewAuthMethod, NewPasskeyOptions, PasskeyOptions } from "./types.ts";

type NewPasskey = Extract<NewAuthMethod, { type: "PASSKEY" }>;

/** How long a person may take. */
export const personMs = 120_000;

/** ES256, and RS256 for the authenticators that have nothing else: COSE algorithm numbers (RFC 9053, RFC 8812). */
const algorithms = [-7, -257];

const requirements = ["preferred", "required", "discouraged"] as const;

export function readPasskeyOptions(value: unknown): PasskeyOptions {
  const { userVerification, ...rest } = args.options("passkey", value, ["rpId", "userVerification"]);
  return { ...args.strings("passkey", rest), userVerification: args.choice("userVerification", userVerification, requirements) };
}

/** The assertion as Grid wants it (its guide Authentication), over the challenge's text: its characters, not what they spell in hex. */
export async function getPasskey(asked: AskedPasskey, options: PasskeyOptions, timeoutMs: number, signal?: AbortSignal, closing?: AbortSignal): Promise<object> {
  const { rpId, userVerification } = options;
  const publicKey: PublicKeyCredentialRequestOptions = {
    ...(rpId !== undefined && { rpId }),
    ...(userVerification && { userVerification }),
    challenge: new TextEncoder().encode(asked.challenge),
    allowCredentials: [{ type: "public-key", id: passkeyId(asked) }],
    timeout: timeoutMs,
  };
  const credential = await ask("signIn", timeoutMs, [signal, closing], (signal) => navigator.credentials.get({ publicKey, signal }));
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response as AuthenticatorAssertionResponse;
  return {
    credentialId: encode(credential.rawId),
    clientDataJson: encode(clientDataJSON),
    authenticatorData: encode(authenticatorData),
    signature: encode(signature),
    ...(userHandle?.byteLength && { userHandle: encode(userHandle) }),
  };
}

function passkeyId({ passkeyId }: AskedPasskey): Uint8Array<ArrayBuffer> {
  try {
    return decode(passkeyId);
  } catch {
    throw new GridSignerError("RESPONSE_MALFORMED", "the passkey that Grid asks for has no id in base64url");
  }
}

/** See types.ts. */
export async function createPasskey(value: NewPasskeyOptions): Promise<NewPasskey> {
  const { exclude = [], userVerification, signal, timeoutMs, ...texts } = args.options("createPasskey", value, [
    "nickname", "userName", "displayName", "userId", "rpName", "rpId", "challenge", "exclude", "userVerification", "signal", "timeoutMs",
  ]);
  const given = args.strings("createPasskey", texts);
  const nickname = args.nickname(given.nickname); // before there is a passkey that Grid does not take
  const userName = args.string("userName", given.userName);
  const patience = args.timeout(timeoutMs, personMs);
  const verification = args.choice("userVerification", userVerification, requirements);
  const challenge = given.challenge ?? encode(random(32));
  const publicKey: PublicKeyCredentialCreationOptions = {
    rp: { name: given.rpName ?? globalThis.location?.hostname, ...(given.rpId !== undefined && { id: given.rpId }) },
    user: { id: given.userId === undefined ? random(32) : userId(given.userId), name: userName, displayName: given.displayName ?? userName },
    challenge: decode(challenge),
    pubKeyCredParams: algorithms.map((alg) => ({ type: "public-key", alg })),
    excludeCredentials: args.list("exclude", exclude).flatMap((method) => {
      const { credentialId } = args.fields("exclude", method, ["credentialId"]) as Partial<AuthMethod>;
      return credentialId === undefined ? [] : { type: "public-key", id: decode(args.string("credentialId", credentialId)) };
    }),
    authenticatorSelection: { residentKey: "preferred", userVerification: verification },
    timeout: patience,
  };
  const credential = await ask("createPasskey", patience, [args.signal(signal)], (signal) => navigator.credentials.create({ publicKey, signal }));
  const { clientDataJSON, attestationObject, getTransports } = credential.response as AuthenticatorAttestationResponse;
  const known = ["usb", "nfc", "ble", "internal", "hybrid"]; // those that Grid documents; a browser may have more
  const transports = getTransports?.call(credential.response).filter((transport) => known.includes(transport));
  return {
    type: "PASSKEY",
    nickname,
    challenge,
    attestation: {
      credentialId: encode(credential.rawId),
      clientDataJson: encode(clientDataJSON),
      attestationObject: encode(attestationObject),
      ...(transports?.length && { transports }),
    },
  };
}

/**
 * What a browser's refusal means. It says NotAllowedError of a person who did not want to, and of one who took too long;
 * OperationError and AbortError where it is asking already. Others it has where there can be no passkey.
 */
const meanings: Record<string, ErrorCode> = {
  NotAllowedError: "PASSKEY_CANCELLED",
  OperationError: "PASSKEY_CANCELLED",
  AbortError: "PASSKEY_CANCELLED",
  UnknownError: "PASSKEY_CANCELLED",
  InvalidStateError: "PASSKEY_EXISTS",
};

async function ask(what: "signIn" | "createPasskey", timeoutMs: number, [signal, closing]: (AbortSignal | undefined)[], show: (signal: AbortSignal) => Promise<Credential | null>): Promise<PublicKeyCredential> {
  if (!("PublicKeyCredential" in globalThis) || !globalThis.navigator?.credentials) {
    throw new GridSignerError("PASSKEY_UNSUPPORTED", "this browser, or this page, has no passkeys");
  }
  const patience = new AbortController();
  const late = new GridSignerError("TIMEOUT", `${what}: no passkey within ${timeoutMs} ms`, { retryable: true });
  const timer = setTimeout(() => patience.abort(late), timeoutMs);
  const enough = new Promise<never>((_, reject) => patience.signal.addEventListener("abort", () => reject(patience.signal.reason)));
  enough.catch(() => {}); // it may have been enough before
  const ignore = onAbort(what, signal, (error) => patience.abort(error));
  const stay = onAbort(what, closing, () => patience.abort(fromWire(closed)));
  const began = performance.now();
  try {
    patience.signal.throwIfAborted();
    // A password manager in the browser's place may go on asking.
    const credential = await Promise.race([enough, show(patience.signal)]);
    if (!credential) throw new GridSignerError("PASSKEY_CANCELLED", "the browser gave no passkey");
    return credential as PublicKeyCredential;
  } catch (cause) {
    if (patience.signal.aborted) throw patience.signal.reason;
    if (cause instanceof GridSignerError) throw cause;
    const { name = "" } = Object(cause) as Partial<DOMException>;
    if (name === "NotAllowedError" && performance.now() - began >= timeoutMs) throw late;
    const code = (Object.hasOwn(meanings, name) && meanings[name]) || "PASSKEY_UNSUPPORTED";
    throw new GridSignerError(code, `the browser gave no passkey: ${name}`, { cause });
  } finally {
    clearTimeout(timer);
    ignore();
    stay();
  }
}

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

/** WebAuthn's user handle has 1 to 64 bytes. */
function userId(text: string): Uint8Array<ArrayBuffer> {
  const id = decode(text);
  if (id.length < 1 || id.length > 64) throw args.invalid("userId must be 1 to 64 bytes");
  return id;
}

/** base64url without padding (RFC 4648 section 5). */
function encode(bytes: ArrayBuffer | Uint8Array): string {
  const text = Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decode(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[\w-]*$/.test(text)) throw args.invalid("not base64url");
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  } catch (cause) {
    throw args.invalid("not base64url", cause);
  }
}
