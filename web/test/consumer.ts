// How an app uses the package. Compiled, never run: it holds the declarations
// to what apps need of them, and to what they must refuse.
import { type AuthSession, createSigner, GridSignerError, type Intent, type LoadProgress, type Signer } from "gridsigner";

export async function start(token: () => Promise<string>, bar: HTMLProgressElement): Promise<Signer> {
  return createSigner({
    bridgeUrl: "/api/grid",
    headers: async () => ({ Authorization: `Bearer ${await token()}` }),
    onProgress({ phase, loaded, total }: LoadProgress) {
      bar.hidden = phase === "ready";
      bar.value = loaded / total;
    },
  });
}

export async function signOut(signer: Signer, keyId: string, session: AuthSession, signal: AbortSignal): Promise<string> {
  try {
    const { status } = await signer.revokeSession(session.id, { key: keyId, signal });
    return status === "revoked" ? "signed out" : "was signed out already";
  } catch (error) {
    if (error instanceof GridSignerError && error.code === "INTENT_MISMATCH") return "refused to sign";
    if (error instanceof GridSignerError && error.retryable) return `try again: ${error.message}`;
    throw error;
  }
}

export async function addPasskey(signer: Signer, challenge: Response, attestationObject: string): Promise<Response> {
  const [key] = await signer.keys();
  const intent: Intent = { name: "add-credential", type: "PASSKEY", attestationObject };
  if (!key) throw new Error("no key");
  const { headers } = await signer.signChallenge(await challenge.json(), { key, intent });
  return fetch("/api/grid/auth/credentials", { method: "POST", headers });
}

export function mistakes(signer: Signer): unknown[] {
  return [
    // @ts-expect-error the bridge is not optional
    createSigner({}),
    // @ts-expect-error a misspelt option
    createSigner({ bridgeUrl: "/", wasmURL: "/signer.wasm" }),
    // @ts-expect-error no such curve
    signer.createKey({ curve: "P-384" }),
    // @ts-expect-error hex is not bytes
    signer.importKey({ curve: "P-256", privateKey: "00" }),
    // @ts-expect-error a new session needs the key it is made out to
    signer.signChallenge({ payloadToSign: "", requestId: "", expiresAt: "" }, { key: "", intent: "refresh-session" }),
    // @ts-expect-error an e-mail credential has an e-mail address
    { name: "add-credential", type: "EMAIL_OTP", phoneNumber: "" } satisfies Intent,
    // @ts-expect-error no such code
    new GridSignerError("NO_SUCH_CODE", ""),
  ];
}
