// How an app uses the package. Compiled, never run: it holds the declarations
// to what apps need of them, and to what they must refuse.
import {
  type AuthMethod,
  type AuthSession,
  type CallEvent,
  type Challenge,
  createSigner,
  type CredentialType,
  type EndReason,
  GridSignerError,
  type Intent,
  type LoadProgress,
  type NewAuthMethod,
  type RefreshOptions,
  type RemoveCredentialOptions,
  type RemoveCredentialResult,
  type SessionEvent,
  type SessionOutcome,
  type SessionKey,
  type SignedCallOptions,
  type Signer,
  type SignOutResult,
} from "gridsigner";
import { type SessionState, useSession } from "gridsigner/react";
import { createTestGrid, createTestSigner, type TestGrid, type TestGridOptions, type TestSigner, type TestSignerOptions } from "gridsigner/testing";

export async function start(token: () => Promise<string>, bar: HTMLProgressElement): Promise<Signer> {
  return createSigner({
    bridgeUrl: "/api/grid",
    headers: async ({ signal }) => (signal.throwIfAborted(), { Authorization: `Bearer ${await token()}` }),
    namespace: "wallet",
    payloads: "activities",
    autoRefresh: true,
    onProgress({ phase, loaded, total }: LoadProgress) {
      bar.hidden = phase === "ready";
      bar.value = loaded / total;
    },
  });
}

/** What an app has not set it may hand on, under exactOptionalPropertyTypes too. */
export async function unset(signer: Signer, key: SessionKey, bytes: Uint8Array, challenge: Challenge): Promise<void> {
  const [none]: undefined[] = [];
  await createSigner({
    bridgeUrl: new URL("https://app.example/api/grid"),
    wasmUrl: none,
    workerUrl: none,
    worker: none,
    headers: none,
    credentials: none,
    timeoutMs: none,
    persistence: none,
    namespace: none,
    payloads: none,
    autoRefresh: none,
    onProgress: none,
    signal: none,
  });
  await signer.createKey({ curve: none });
  await signer.importKey({ curve: "P-256", privateKey: bytes, publicKey: none });
  await signer.signChallenge({ ...challenge, type: none }, { key, intent: none, format: none, signal: none, timeoutMs: none });
  await signer.revokeSession(none, { key, signal: none, timeoutMs: none, onProgress: none });
  await signer.signOut(key, { scope: none, unreachable: none, timeoutMs: none, onProgress: none });
  await signer.listSessions("InternalAccount:…", { signal: none, timeoutMs: none });
  await signer.refreshSession(key, { signal: none, timeoutMs: none, onProgress: none });
  await signer.listCredentials("InternalAccount:…", { signal: none, timeoutMs: none });
  await signer.addCredential({ type: "OAUTH", oidcToken: "h.p.s" }, { key, signal: none, timeoutMs: none, onProgress: none });
  await signer.removeCredential("AuthMethod:…", { key, type: "PASSKEY", signal: none, timeoutMs: none, onProgress: none });
  new GridSignerError("TIMEOUT", "late", { retryable: none, status: none, upstreamCode: none, requestId: none, skewMs: none, retryAfterMs: none, cause: none });
}

/** Of one session there is one result, of several a list. */
export async function signOut(signer: Signer, key: string, everywhere: boolean): Promise<string> {
  const own: SignOutResult = everywhere ? (await last(signer.signOut(key, { scope: "all" }))) : await signer.signOut(key);
  switch (own.status) {
    case "revoked":
    case "inactive":
      return "signed out";
    case "pending":
    case "forgotten":
      return `until ${own.sessionExpiresAt} Grid may not know of it: ${own.error?.code ?? "no answer yet"}`;
  }
}

async function last(outcomes: Promise<SessionOutcome[]>): Promise<SignOutResult> {
  const own = (await outcomes).at(-1);
  if (own?.status === undefined) throw own?.error ?? new Error("nothing");
  return own;
}

export async function signOutOthers(signer: Signer, key: SessionKey): Promise<string[]> {
  const outcomes = await signer.signOut(key, { scope: "others", timeoutMs: 5000 });
  return outcomes.map(({ sessionId, status, error }) => `${sessionId ?? "the others"}: ${status ?? error.message}`);
}

export async function revoke(signer: Signer, keyId: string, session: AuthSession, signal: AbortSignal): Promise<string> {
  try {
    const { status } = await signer.revokeSession(session.id, { key: keyId, signal });
    return status;
  } catch (error) {
    if (error instanceof GridSignerError && error.code === "INTENT_MISMATCH") return "refused to sign";
    if (error instanceof GridSignerError && error.retryable) return `try again: ${error.message}`;
    throw error;
  }
}

export function listen(signer: Signer, show: (text: string) => void): () => void {
  const reasons: Record<EndReason, string> = {
    "signed-out": "signed out",
    expired: "time is up",
    revoked: "ended elsewhere",
    removed: "",
    forgotten: "",
    lost: "the browser has dropped it",
  };
  return signer.on("session", (event: SessionEvent) => {
    const until: string = event.session.expiresAt;
    if (event.type === "ended") show(reasons[event.reason]);
    else if (event.type === "expiring") show("soon over");
    else show(event.type === "leaving" ? "signing out" : `until ${until}`);
  });
}

/** An app that asks the person first. The key is the same one afterwards, with another public key. */
export async function stay(signer: Signer, key: SessionKey, ask: () => Promise<boolean>): Promise<SessionKey | undefined> {
  const options: RefreshOptions = { timeoutMs: 60_000, onProgress: ({ step }: CallEvent) => console.log(step) };
  try {
    return (await ask()) ? await signer.refreshSession(key, options) : undefined;
  } catch (error) {
    if (error instanceof GridSignerError && error.code === "KEY_LOST") return undefined;
    throw error;
  }
}

/** Grid may add types and fields, and says where the first code of a new one went. */
export async function methods(signer: Signer, accountId: string): Promise<string[]> {
  const rows: AuthMethod[] = await signer.listCredentials(accountId);
  return rows.map(({ type, nickname, credentialId, otpEncryptionTargetBundle }) => `${type} ${nickname} ${credentialId ?? ""} ${otpEncryptionTargetBundle ?? ""}`);
}

export async function registerPasskey(signer: Signer, options: SignedCallOptions, made: PublicKeyCredential, challenge: string): Promise<AuthMethod> {
  const { clientDataJSON, attestationObject, getTransports } = made.response as AuthenticatorAttestationResponse;
  const text = (bytes: ArrayBuffer) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
  const credential: NewAuthMethod = {
    type: "PASSKEY",
    nickname: "Phone",
    challenge,
    attestation: {
      credentialId: made.id,
      clientDataJson: text(clientDataJSON),
      attestationObject: text(attestationObject),
      transports: getTransports.call(made.response),
    },
  };
  return signer.addCredential(credential, options);
}

export async function unregister(signer: Signer, key: SessionKey, { id }: AuthMethod, type: CredentialType): Promise<boolean> {
  const options: RemoveCredentialOptions = { key, type };
  const { status, credentialId }: RemoveCredentialResult = await signer.removeCredential(id, options);
  return status === "removed" && credentialId === id;
}

export async function addPasskey(signer: Signer, challenge: Response, attestationObject: string): Promise<Response> {
  const [key] = await signer.keys();
  const intent: Intent = { name: "add-credential", type: "PASSKEY", attestationObject };
  if (!key) throw new Error("no key");
  const { headers } = await signer.signChallenge(await challenge.json(), { key, intent });
  return fetch("/api/grid/auth/credentials", { method: "POST", headers });
}

/** The type is that of the credential which the person saw. */
export const removal = (type: CredentialType): Intent => ({ name: "remove-credential", type });

/** With a status comes what belongs to it. */
export function greeting(signer: Signer | undefined, signOut: (key: SessionKey) => void): string {
  const { status, key, session, error } = useSession(signer);
  if (status === "loading") return error ? `${error.code}: ${error.retryable}` : "";
  if (status === "signed-out") return "sign in";
  if (error?.code === "CLOSED") signOut(key);
  return session.expiresAt;
}

export const isOver = (state: SessionState): boolean => state.status !== "signed-in" && state.key === undefined;

/** An app's own tests: what they hand to the app is a signer like any other. */
export async function test(app: (make: () => Promise<Signer>) => Promise<void>, given: TestGridOptions): Promise<boolean> {
  const grid: TestGrid = createTestGrid({ ...given, credentials: ["SMS_OTP"], now: () => 0 });
  const options: TestSignerOptions = { grid, signedIn: "SMS_OTP", autoRefresh: true };
  await app(() => createTestSigner(options));
  const signer: TestSigner = await createTestSigner();
  signer.grid.failNext("submit", "OTP_EXPIRED", { status: 401 });
  signer.grid.offline = true;
  const release: () => void = signer.grid.hold();
  release();
  await grid.advance(60_000);
  grid.endSession(grid.sessions[0]?.id ?? grid.token({ email: grid.credential("SMS_OTP").nickname }) + grid.code());
  return (await signer.keys()).length > 0;
}

export function mistakes(signer: Signer): unknown[] {
  return [
    // @ts-expect-error the bridge is not optional
    createSigner({}),
    // @ts-expect-error a misspelt option
    createSigner({ bridgeUrl: "/", wasmURL: "/signer.wasm" }),
    // @ts-expect-error no such payloads
    createSigner({ bridgeUrl: "/", payloads: "opaque" }),
    // @ts-expect-error no such curve
    signer.createKey({ curve: "P-384" }),
    // @ts-expect-error hex is not bytes
    signer.importKey({ curve: "P-256", privateKey: "00" }),
    // @ts-expect-error a new session needs the key it is made out to
    signer.signChallenge({ payloadToSign: "", requestId: "", expiresAt: "" }, { key: "", intent: "refresh-session" }),
    // @ts-expect-error a removal needs the type
    signer.signChallenge({ payloadToSign: "", requestId: "", expiresAt: "" }, { key: "", intent: "remove-credential" }),
    // @ts-expect-error an e-mail credential has an e-mail address
    { name: "add-credential", type: "EMAIL_OTP", phoneNumber: "" } satisfies Intent,
    // @ts-expect-error a sign-out is not aborted
    signer.signOut("", { signal: new AbortController().signal }),
    // @ts-expect-error a text is no boolean
    createSigner({ bridgeUrl: "/", autoRefresh: "yes" }),
    // @ts-expect-error the key is the first argument
    signer.refreshSession("", { key: "" }),
    // @ts-expect-error a key signs it
    signer.addCredential({ type: "OAUTH", oidcToken: "" }),
    // @ts-expect-error the person saw an address
    signer.addCredential({ type: "EMAIL_OTP" }, { key: "" }),
    // @ts-expect-error a number is not an address
    signer.addCredential({ type: "EMAIL_OTP", phoneNumber: "" }, { key: "" }),
    // @ts-expect-error the account is the key's
    signer.addCredential({ type: "OAUTH", oidcToken: "", accountId: "" }, { key: "" }),
    // @ts-expect-error a removal names the type
    signer.removeCredential("", { key: "" }),
    // @ts-expect-error no such type
    signer.removeCredential("", { key: "", type: "FAX" }),
    // @ts-expect-error of one session there is no list
    signer.signOut("", { scope: "this" }).then((outcomes) => outcomes.length),
    // @ts-expect-error no other events
    signer.on("keys", () => {}),
    // @ts-expect-error nobody may be signed in
    useSession(signer).session.id,
    // @ts-expect-error a signer that is still being made is none
    useSession(createSigner({ bridgeUrl: "/" })),
    // @ts-expect-error no such credential
    createTestSigner({ signedIn: "FAX" }),
    // @ts-expect-error nothing to fail
    createTestGrid().failNext("close", "TIMEOUT"),
    // @ts-expect-error the real one has no Grid of a test's
    signer.grid,
    // @ts-expect-error no such code
    new GridSignerError("NO_SUCH_CODE", ""),
  ];
}
