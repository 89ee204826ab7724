/**
 * The public API, as declarations only: this file is shipped verbatim as gridsigner.d.ts, and index.ts is checked
 * against it. Three rules hold for everything below.
 *
 * - A function that fails rejects with a {@link GridSignerError}; {@link Signer.on}, which is not async, throws it.
 *   `@throws` lists its codes. Any call may also fail with `ARGUMENT_INVALID`, `CLOSED`, `WORKER_FAILED`,
 *   `LOAD_FAILED`, `CSP_BLOCKED`, `TIMEOUT` or `INTERNAL`, and one that takes a `signal` with `ABORTED`.
 * - Arguments are copied before the function returns, each own property read once, inherited ones never: what is
 *   changed later is not seen, and a polluted `Object.prototype` sets no option.
 * - What is returned is plain data. A key is named by its id; no object that reaches the page can sign.
 *
 * @module gridsigner
 */

/** The curve of a session key. `"P-256"` is what Grid's guides ask for. */
export type Curve = "P-256" | "secp256k1";

/** The form of `Grid-Wallet-Signature`: `"stamp"` is what Grid asks for today, `"der"` what it did until April 2026. */
export type SignatureFormat = "stamp" | "der";

/** Why a call failed. The codes are stable; messages are for people. */
export type ErrorCode =
  /** An argument of the wrong type or shape, an option that does not exist, or a getter that threw. */
  | "ARGUMENT_INVALID"
  /** A private or public key of the wrong length, range or encoding. */
  | "KEY_MALFORMED"
  /** No key with this id is known to this signer. */
  | "KEY_NOT_FOUND"
  /** A key's normal end: signed out or removed (in any tab), session over, or dropped by the browser. Sign in again. */
  | "KEY_LOST"
  /** The browser's storage refuses, or does not answer: whether the key is still there is not known. Retryable. */
  | "STORAGE_FAILED"
  /** A curve other than those of {@link Curve}. */
  | "CURVE_UNSUPPORTED"
  /** Bytes that are not a strictly encoded signature. */
  | "SIGNATURE_MALFORMED"
  /** A header value that is not a strictly encoded stamp. */
  | "STAMP_MALFORMED"
  /** A challenge without one of its fields, or with one of the wrong grammar. */
  | "CHALLENGE_MALFORMED"
  /** A challenge at or past its `expiresAt`. Ask for a new one. */
  | "CHALLENGE_EXPIRED"
  /** A payload that is neither a strictly formed activity, nor such a JWT, nor canonical base64. */
  | "PAYLOAD_MALFORMED"
  /** The payload is not what the intent says. Nothing was signed: do not retry, report it. */
  | "INTENT_MISMATCH"
  /** The payload names another organization than the one for which Grid has accepted this key's signature. */
  | "ORGANIZATION_MISMATCH"
  /** What answered is not the bridge, or not Grid behind it: look at `bridgeUrl`, then for a captive portal. */
  | "RESPONSE_MALFORMED"
  /** A final refusal; see {@link GridSignerError.status} and {@link GridSignerError.upstreamCode}. */
  | "UPSTREAM_REFUSED"
  /** Still 429, 502, 503, 504 or processing when the time was used up, or another 5xx at once. Retryable. */
  | "UPSTREAM_UNAVAILABLE"
  /** The bridge could not be reached. Retryable. */
  | "NETWORK_FAILED"
  /** The `headers` function threw, or what it gave are no headers; see `cause`. Retryable. */
  | "HEADERS_FAILED"
  /** A one-time code that Grid does not take. Another may be submitted, as often as Grid allows. */
  | "OTP_INCORRECT"
  /** A one-time code that ran out, was used, or was tried too often: have a new one sent. */
  | "OTP_EXPIRED"
  /** A bundle that none of the pinned enclave keys has signed: do not retry, report it. Nothing was sealed to it or opened. */
  | "ENCLAVE_UNTRUSTED"
  /** Something sealed that does not open with the key it was asked for with, or is not what it was to be. */
  | "UNSEAL_FAILED"
  /** The person, or the browser, did not go on with a passkey. */
  | "PASSKEY_CANCELLED"
  /** No passkeys here: an old browser, an origin that is an IP address, an `rpId` of elsewhere, a frame that may not. */
  | "PASSKEY_UNSUPPORTED"
  /** The authenticator has a passkey of the account already. */
  | "PASSKEY_EXISTS"
  /** A browser that cannot take over the sealed key of a session: its WebCrypto does not do all that this takes. */
  | "SEALED_KEY_UNSUPPORTED"
  /** Not finished within the time allowed, or no answer from the worker. Retryable. */
  | "TIMEOUT"
  /** The caller's `AbortSignal` fired. */
  | "ABORTED"
  /** {@link Signer.close} was called. */
  | "CLOSED"
  /** The worker or the module could not be loaded or started, be it the first or one that replaces a dead one. */
  | "LOAD_FAILED"
  /** The worker died during the call. Retryable: the next starts another. Stored keys remain; others are `KEY_LOST`. */
  | "WORKER_FAILED"
  /**
   * Whether something has expired cannot be said: this device's clock and the server contradict each other, or the
   * server cannot be asked. {@link GridSignerError.skewMs} tells by how much they differ. Nothing was destroyed.
   */
  | "CLOCK_SKEW"
  /** A content security policy forbids something that the signer needs; the message names it. */
  | "CSP_BLOCKED"
  /** A bug of ours. */
  | "INTERNAL";

/** What a {@link GridSignerError} knows besides its code and message. */
export interface ErrorDetails {
  /** Whether the same call may succeed when it is made again. Default `false`. */
  retryable?: boolean | undefined;
  /** The HTTP status of the answer that caused the error. */
  status?: number | undefined;
  /** The `code` of Grid's, or the bridge's, error envelope. */
  upstreamCode?: string | undefined;
  /** The challenge that the error is about. */
  requestId?: string | undefined;
  /** How far this device's clock is ahead, in ms, at least. */
  skewMs?: number | undefined;
  /** How long the server asks to wait before the next try, in ms. */
  retryAfterMs?: number | undefined;
  /** The underlying error, where there is one. */
  cause?: unknown;
}

/** The only error that this package throws. Its message holds no key and no payload. */
export declare class GridSignerError extends Error {
  constructor(code: ErrorCode, message: string, details?: ErrorDetails);
  readonly name: "GridSignerError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  /** All of it but `cause`, for logs. */
  toJSON(): object;
}
export interface GridSignerError extends Readonly<Omit<ErrorDetails, "retryable" | "cause">> {}

/** How far the module has been loaded. */
export interface LoadProgress {
  /** `"download"`, then `"compile"`, then `"ready"`; each is reported at least once. Or, at any moment, `"failed"`. */
  phase: "download" | "compile" | "ready" | "failed";
  /** Bytes of the module so far, after decompression. */
  loaded: number;
  /** Bytes of the whole module. Equals `loaded` once the download is over. Of `"failed"` both are 0. */
  total: number;
  /** Of `"failed"`: what calls that need the module reject with. Where it is `retryable`, the next one loads it anew. */
  error?: GridSignerError;
}

/** Request headers, as a plain object or a `Headers`. */
export type BridgeHeaders = Headers | Record<string, string>;

/** Options of {@link createSigner}; any other is an error. Relative URLs are resolved against the document. */
export interface CreateSignerOptions {
  /** Where the bridge is mounted, such as `"/api/grid"`: http or https, without credentials, query or fragment. */
  bridgeUrl: string | URL;
  /** Where signer.wasm is. Default: beside gridsigner.js, or where the bundler has put it; `npx gridsigner copy` is for those that do not. */
  wasmUrl?: string | URL | undefined;
  /** Where worker.js is, and runtime.js beside it. Default: beside gridsigner.js. Must be http or https, of the page's own origin. */
  workerUrl?: string | URL | undefined;
  /**
   * Whether the module runs in a dedicated worker. Default `true`. With `false` it runs on the page's own thread: page
   * code can then read secp256k1 keys and imported keys out of its memory, and signing blocks the page.
   */
  worker?: boolean | undefined;
  /**
   * Headers for every request to the bridge but the `HEAD` that asks for its time, such as `Authorization`. The two of
   * {@link SignedChallenge} are refused. A function is called when a call first needs them, and once more where the
   * bridge answers `BRIDGE_UNAUTHENTICATED`, so it can hand out a fresh token; also while a sign-out is being finished
   * that no call waits for any more. Its `signal` fires when nobody waits for the headers.
   */
  headers?: BridgeHeaders | ((options: { signal: AbortSignal }) => BridgeHeaders | Promise<BridgeHeaders>) | undefined;
  /** Whether cookies go to the bridge. Default `"same-origin"`. */
  credentials?: "omit" | "same-origin" | "include" | undefined;
  /** How long the worker may take to start, and each call without a `timeoutMs` or default of its own, in ms. Default 30000. */
  timeoutMs?: number | undefined;
  /**
   * Where keys are kept. Default `"indexeddb"`: they survive a reload and are shared by all tabs of the origin. Where
   * the browser refuses, or is silent for 5 seconds, a key says `"memory"` and works until the page goes away.
   */
  persistence?: "indexeddb" | "memory" | undefined;
  /** Keeps keys of an origin's apps apart; no border against its scripts. 1 to 64 of `A-Za-z0-9._-`. Default: none. */
  namespace?: string | undefined;
  /**
   * What is signed at all. Default `"all"`: activities, sign-in tokens and the opaque text of Grid's contract of April
   * 2026. `"activities"` refuses that text: enough for an app that talks to today's Grid only.
   */
  payloads?: "all" | "activities" | undefined;
  /**
   * Whether sessions stay alive as long as a page of the app is open: each is refreshed before it ends, by one tab, as by
   * {@link Signer.refreshSession}, again and again while that fails. Default `false`.
   */
  autoRefresh?: boolean | undefined;
  /**
   * The enclave keys that may vouch for what a one-time code is sealed to, and for an exported wallet: uncompressed P-256,
   * 130 hex digits. Default: those of Grid's production upstream. Name others for a sandbox or a simulator, whose you trust
   * with the codes or the wallets of your users: a bundle that none of them has signed is `ENCLAVE_UNTRUSTED`.
   */
  otpSigners?: readonly string[] | undefined;
  exportSigners?: readonly string[] | undefined;
  /** Called while the module is loaded, also after there is a signer: see {@link createSigner}. */
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Stops it, as long as there is no signer yet: `ABORTED`. */
  signal?: AbortSignal | undefined;
}

/** Options of the calls that can take a while. */
export interface CallOptions {
  /** Rejects the call with `ABORTED` at once and stops what it was doing. */
  signal?: AbortSignal | undefined;
  /** How long the call may take, all retries included, in ms. Default: the signer's. A silent worker gets 2 s more. */
  timeoutMs?: number | undefined;
}

/** The session that a key signs for, as Grid issued it. Each refresh makes another. */
export interface SessionBinding {
  /** `Session:<uuid>`. In {@link Signer.revokeSession} those of before a refresh stand for it, too. */
  readonly id: string;
  /** `InternalAccount:<uuid>` */
  readonly accountId: string;
  /** RFC 3339. */
  readonly expiresAt: string;
}

/** A key that this signer holds. The private part never reaches the page. */
export interface SessionKey {
  /** Names the key in other calls, in every tab of the origin if it is stored. */
  readonly id: string;
  readonly curve: Curve;
  /**
   * The compressed public key, 66 lower-case hex digits: Grid's `clientPublicKey`. Each refresh makes another. Of a key that
   * was made `sealed`: uncompressed, 130, until it has signed in.
   */
  readonly publicKey: string;
  /**
   * What keeps the private key from being read:
   * - `"non-extractable"`: the browser itself, from everybody. Script on the page can sign with a stored key, and
   *   cannot read it. Of a key that was imported, or sealed by Grid, copies of what came in may be left in the worker's
   *   memory until it ends.
   * - `"wasm-memory"`: it is in the memory of the worker and nowhere else. Page code cannot look into that, unless the
   *   signer was made with `worker: false`.
   * - `"encrypted-at-rest"`: the same while it is used, and stored as ciphertext under a wrapping key that the browser
   *   does not export. Script on the page cannot export that key, but could have the browser decrypt with it. Where
   *   that matters more than surviving a reload, use `persistence: "memory"`, or P-256.
   *
   * Browsers write stored non-extractable keys, the wrapping key too, to the disk as they are: no stored key is safe
   * from somebody who reads the browser's profile there.
   */
  readonly protection: "non-extractable" | "wasm-memory" | "encrypted-at-rest";
  /** `"indexeddb"`: survives a reload. `"memory"`: lives until the signer is closed or the page goes away. */
  readonly persistence: "indexeddb" | "memory";
  /** Set by {@link Signer.bindSession} and {@link Signer.refreshSession}. The key ends with its session. */
  readonly session?: SessionBinding;
}

/** A challenge as Grid sends it. Hand it over untouched; fields not listed here are ignored. */
export interface Challenge {
  /** What is signed: exactly these characters, as UTF-8. */
  payloadToSign: string;
  /** Echoed exactly in the `Request-Id` header. */
  requestId: string;
  /** RFC 3339. */
  expiresAt: string;
  /** The credential type, where Grid sends it. */
  type?: string | undefined;
}

/** The kinds of credentials, as Grid spells them. */
export type CredentialType = "EMAIL_OTP" | "SMS_OTP" | "OAUTH" | "PASSKEY";

/** A way to sign in, as Grid lists it: handed on as it came, with no more checked than its ids and type. */
export interface AuthMethod {
  /** `AuthMethod:<uuid>` */
  readonly id: string;
  readonly accountId: string;
  /** One of {@link CredentialType}; Grid may add some. */
  readonly type: string;
  readonly nickname: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** The WebAuthn credential, of a passkey. */
  readonly credentialId?: string;
  /** What the first code is sealed to, where Grid has sent one along: see {@link Signer.addCredential}. */
  readonly otpEncryptionTargetBundle?: string;
}

/** How {@link Signer.signIn} is to sign in. */
export type SignIn =
  /**
   * By an OIDC token, fresh and made out to this key: its `nonce` is {@link Signer.oauthNonce}. The token is the app's to get;
   * a key that is stored is there again when the page comes back from the provider.
   */
  | { credentialId: string; oidcToken: string; key: SessionKey | string }
  /** By a passkey, which the browser asks the person for. `key`: one that is to be the session's; default: a new one. */
  | { credentialId: string; passkey: PasskeyOptions; key?: SessionKey | string | undefined };

/** How the browser asks for a passkey: what WebAuthn's options of these names mean. */
export interface PasskeyOptions {
  /** Default: the page's host. A passkey answers only to the one that it was made for. */
  rpId?: string | undefined;
  /** Default `"preferred"`. */
  userVerification?: "required" | "preferred" | "discouraged" | undefined;
}

/** Options of {@link Signer.signIn}, {@link Signer.startOtp} and {@link OtpSignIn.submit}. */
export interface SignInOptions extends CallOptions {
  /** Of the key that is made. Default `"P-256"`. */
  curve?: Curve | undefined;
  /** Called at each step, in order. What it throws is reported and changes nothing. */
  onProgress?: ((event: CallEvent) => void) | undefined;
}

/** A one-time code that is on its way. */
export interface OtpSignIn {
  readonly credentialId: string;
  readonly accountId: string;
  readonly type: "EMAIL_OTP" | "SMS_OTP";
  /** Grid's name of the credential: the address or the number that the code went to. */
  readonly nickname: string;
  /**
   * Signs in with the code, blanks in which are left out. Each call makes a key of its own, seals the code together with it
   * for Grid's enclave, checks the token that comes back, and signs it.
   * @throws `OTP_INCORRECT`: ask for the code again. `OTP_EXPIRED`: {@link Signer.startOtp} again. Besides, as {@link Signer.signIn}
   */
  submit(code: string, options?: SignInOptions): Promise<SessionKey>;
}

/** What {@link createPasskey} is to make. */
export interface NewPasskeyOptions {
  /** Grid's name for it, for the person to know it by: 1 to 100 letters, digits, blanks and `. _ - ' ( )`. */
  nickname: string;
  /** The account as the authenticator shows it, such as an e-mail address. */
  userName: string;
  /** Default: `userName`. */
  displayName?: string | undefined;
  /** WebAuthn's user handle, base64url. Default: random. One that is used again replaces the passkey that has it. */
  userId?: string | undefined;
  /** Your app's name. Default: the page's host. */
  rpName?: string | undefined;
  /** Default: the page's host. */
  rpId?: string | undefined;
  /** From a server of yours that wants to check the attestation too, base64url. Default: random. */
  challenge?: string | undefined;
  /** The ways to sign in that there are: an authenticator that holds one of their passkeys says `PASSKEY_EXISTS`. */
  exclude?: readonly AuthMethod[] | undefined;
  userVerification?: PasskeyOptions["userVerification"];
  signal?: AbortSignal | undefined;
  /** How long the person may take, in ms. Default 120000. */
  timeoutMs?: number | undefined;
}

/**
 * Has the browser make a passkey, for {@link Signer.addCredential}. Call it from a click: browsers want one.
 * @throws `PASSKEY_CANCELLED`, `PASSKEY_UNSUPPORTED`, `PASSKEY_EXISTS`, `TIMEOUT`, `ABORTED`, `ARGUMENT_INVALID`
 */
export declare function createPasskey(options: NewPasskeyOptions): Promise<Extract<NewAuthMethod, { type: "PASSKEY" }>>;

/** What {@link Signer.addCredential} adds. The challenge must add exactly this. */
export type NewAuthMethod =
  /** Codes go where Grid's customer record says. Name the address or number that the person saw: another is not signed. */
  | { type: "EMAIL_OTP"; email: string }
  | { type: "SMS_OTP"; phoneNumber: string }
  /** A fresh OIDC token: Grid takes none that is older than a minute. */
  | { type: "OAUTH"; oidcToken: string }
  /** What `navigator.credentials.create` returned, each in base64url. `challenge`: the one it was created for. */
  | {
      type: "PASSKEY";
      nickname: string;
      challenge: string;
      attestation: { credentialId: string; clientDataJson: string; attestationObject: string; transports?: string[] | undefined };
    };

/** The credential that an `add-credential` challenge must add, as submitted to Grid. */
export type NewCredential =
  | Exclude<NewAuthMethod, { type: "PASSKEY" }>
  /** The id alone would not do: a backend could keep it and put a key of its own behind it. */
  | { type: "PASSKEY"; attestationObject: string };

/**
 * What the person agreed to. The payload must mean exactly this, or nothing is signed. Whatever adds a way in, takes
 * one away, mints a session, exports a wallet or moves money is signed only when it is named here.
 */
export type Intent =
  /** Opaque text is signed as this too. Its meaning cannot be checked: see {@link CreateSignerOptions.payloads}. */
  | "revoke-session"
  /** These two are judged by their kind alone: amounts, destinations and the text to sign are not looked into. */
  | "update-wallet"
  | "send-payment"
  /** An OTP sign-in token, made out to nobody else than the key that signs it, which has no session yet. */
  | "sign-in"
  /** `type`: that of the credential which the person saw. Which one of that type it is, the payload does not tell. */
  | { name: "remove-credential"; type: CredentialType }
  /** `targetPublicKey`: the new session's public key, from {@link Signer.createKey}. */
  | { name: "refresh-session"; targetPublicKey: string }
  /** `targetPublicKey`: the public key that the export is encrypted to. */
  | { name: "export-wallet"; targetPublicKey: string }
  | ({ name: "add-credential" } & NewCredential);

/** The name of an {@link Intent}. */
export type IntentName = Extract<Intent, string> | Extract<Intent, { name: string }>["name"];

/** Options of {@link Signer.signChallenge}. */
export interface SignOptions extends CallOptions {
  /** The key, or its id. */
  key: SessionKey | string;
  /** Default `"revoke-session"`. */
  intent?: Intent | undefined;
  /** Default `"auto"`: `"stamp"` for a JSON object or a JWT, else `"der"`. Opaque text is signed as `"der"` alone. */
  format?: "auto" | SignatureFormat | undefined;
}

/** A signed challenge: repeat the request that was challenged, with these headers added. */
export interface SignedChallenge {
  readonly headers: { readonly "Grid-Wallet-Signature": string; readonly "Request-Id": string };
  /** The value of `Grid-Wallet-Signature`. */
  readonly signature: string;
  readonly requestId: string;
  readonly format: SignatureFormat;
  readonly intent: IntentName;
}

/** A step of a signed request, for showing. `attempt` counts from 1, anew in each try of a sign-out or a refresh. */
export type CallEvent =
  /** A request leaves: leg 1 asks for a challenge, leg 2 carries the signature. */
  | { step: "request"; leg: 1 | 2; attempt: number }
  | { step: "response"; leg: 1 | 2; attempt: number; status: number }
  /**
   * A challenge came. It has not been judged yet; without a `kind` it is about to be refused. The payload of a sign-in is a
   * token that, with the signature of the next step, is good for a session: show it, and log neither.
   */
  | {
      step: "challenge";
      requestId: string;
      expiresAt: string;
      type?: string;
      payload: string;
      kind?: "activity" | "jwt" | "opaque";
      activityType?: string;
    }
  | { step: "signed"; format: SignatureFormat; signature: string }
  /** A pause before the next request. `"processing"`: Grid is still at it, and is sent the identical request again. */
  | { step: "wait"; ms: number; reason: string };

/** Options of {@link Signer.refreshSession}. */
export interface RefreshOptions extends CallOptions {
  /** Called at each step, in order. What it throws is reported and changes nothing. */
  onProgress?: ((event: CallEvent) => void) | undefined;
}

/** Options of the calls that have Grid's challenge signed. */
export interface SignedCallOptions extends RefreshOptions {
  /** The key of any active session of the same account, or its id. */
  key: SessionKey | string;
}

/** Options of {@link Signer.removeCredential}. */
export interface RemoveCredentialOptions extends SignedCallOptions {
  /** The type of the credential, as the person saw it: a challenge that removes one of another type is not signed. */
  type: CredentialType;
}

/** Options of {@link Signer.exportWallet}. */
export interface ExportOptions extends SignedCallOptions {
  /** Takes an export that no enclave has signed, as Grid's sandbox sends it. Of a real wallet that would prove nothing. */
  allowUnsigned?: boolean | undefined;
}

/** How a removal ended: in both cases the user whom the bridge knows has no such credential any more. */
export interface RemoveCredentialResult {
  /** `"removed"`: Grid removed it just now. `"gone"`: it was not there, or is another user's. */
  readonly status: "removed" | "gone";
  readonly credentialId: string;
}

/** How a revocation ended: in both cases the user whom the bridge knows has no such session any more. */
export interface RevokeResult {
  /** `"revoked"`: Grid ended it just now. `"inactive"`: it had ended before, never existed, or is another user's. */
  readonly status: "revoked" | "inactive";
  readonly sessionId: string;
}

/** How far a sign-out came. The key signs nothing any more but, while it is `"pending"`, the end of its own session. */
export type SignOutResult =
  | RevokeResult
  | {
      /**
       * `"pending"`: signed out here, and Grid has not been told yet. It is written down, and goes on by itself: in
       * this tab or another, when the network returns, or at the next visit; {@link Signer.on} tells of the end.
       * `"forgotten"`: Grid could not be told and will not be; `unreachable: "forget"` had the key destroyed.
       */
      readonly status: "pending" | "forgotten";
      readonly sessionId: string;
      /** Until then the session may live on at Grid. RFC 3339. */
      readonly sessionExpiresAt: string;
      /** Why Grid has not been told, where something failed. */
      readonly error?: GridSignerError;
    };

/** What became of one session in {@link Signer.signOut}: a result, or why there is none. */
export type SessionOutcome =
  | (SignOutResult & { readonly error?: GridSignerError })
  /** Without a `sessionId`: the others could not be listed. */
  | { readonly sessionId?: string; readonly status?: never; readonly error: GridSignerError };

/** Options of {@link Signer.signOut}. */
export interface SignOutOptions {
  /** What ends: the key's own session (`"this"`, default), its account's `"others"`, or `"all"`: those, and then it. */
  scope?: "this" | "others" | "all" | undefined;
  /**
   * What becomes of the key when Grid could not be told in time. Default `"keep-trying"`: it is kept for that alone.
   * `"forget"`: it is destroyed, and its session lives on until its time is up.
   */
  unreachable?: "keep-trying" | "forget" | undefined;
  /** How long to wait for Grid's word, in ms. Default 10000; 0 does not wait at all. */
  timeoutMs?: number | undefined;
  /** Called at each step of the end of the key's own session, as of {@link Signer.revokeSession}. */
  onProgress?: ((event: CallEvent) => void) | undefined;
}

/** Why a key ended. */
export type EndReason =
  /** A sign-out is finished: Grid ended its session. */
  | "signed-out"
  /** Its session's time is up. */
  | "expired"
  /** Grid says that its session is gone: revoked from elsewhere, or by a sign-out whose answer was lost. */
  | "revoked"
  /** {@link Signer.removeKey}: its session may live on. */
  | "removed"
  /** A sign-out could not tell Grid, and was to forget the key then: its session may live on. */
  | "forgotten"
  /** The browser dropped it, or cannot open it any more. */
  | "lost";

/** News of a session that a key of this browser signs for, whichever tab they come from. */
export type SessionEvent = { /** The key's id. */ readonly key: string; readonly session: SessionBinding } & (
  | { /** A key was bound to it. */ readonly type: "started" }
  | { /** It will soon be over: time to refresh it, which `autoRefresh` does. */ readonly type: "expiring" }
  | { /** The key has gone on to this one, with another public key. */ readonly type: "refreshed" }
  | { /** It is signed out here, and Grid is being told. */ readonly type: "leaving" }
  | { /** The key has ended. */ readonly type: "ended"; readonly reason: EndReason }
);

/**
 * An active session, as Grid lists it: handed on as it came, with no more checked than that `id` is a session's and
 * `expiresAt` a text. Grid may add fields and types.
 */
export interface AuthSession extends SessionBinding {
  /** The type of the credential that issued it, such as `"OAUTH"`. */
  readonly type: string;
  readonly nickname: string;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** The WebAuthn credential, for a passkey's session. */
  readonly credentialId?: string;
}

/** Holds keys and signs with them. Made by {@link createSigner}. */
export interface Signer {
  /**
   * Makes a key, by default P-256, and stores it where possible. {@link signIn} makes it a session's. Who signs in by other
   * means sends its `publicKey` to Grid as `clientPublicKey`, and then binds it. A stored key without a session goes after
   * 30 days.
   *
   * `sealed`: a key to which Grid seals one of its own making, which it takes in at {@link signIn} by token or passkey and
   * then is. That is Grid's way of before August 2026, for wallets that still need it; it signs nothing before that.
   * @throws `CURVE_UNSUPPORTED`; `SEALED_KEY_UNSUPPORTED`, in Firefox and in WebKitGTK
   */
  createKey(options?: { curve?: Curve | undefined; sealed?: boolean | undefined }): Promise<SessionKey>;

  /**
   * Takes over an existing private key: its 32 bytes, big-endian. The caller's array is overwritten with zeros before
   * the call returns, whatever comes of it; copies made earlier are the caller's to erase. `publicKey`, of a P-256 key
   * only: uncompressed, 130 hex digits. Firefox cannot find it by itself, and refuses the key without it.
   * @throws `CURVE_UNSUPPORTED`, `KEY_MALFORMED`, also where the two halves do not belong together
   */
  importKey(options: { curve: Curve; privateKey: Uint8Array; publicKey?: string | undefined }): Promise<SessionKey>;

  /** The keys that may sign, of this origin and of this signer's memory, oldest first. Never waits for the network. */
  keys(): Promise<SessionKey[]>;

  /**
   * Destroys a key, in every tab. Says whether there was one. Does not end its session: that is {@link signOut}, and a
   * key that is being signed out stays for it, as does the half that a refresh has left over.
   *
   * WebAssembly cannot promise that no copy of a secp256k1 key is left in its memory, nor JavaScript of an imported
   * P-256 key. To be sure of that, {@link close} the signer too: it ends the worker.
   * @throws `STORAGE_FAILED`: in the browser's storage it still is. This signer uses it no more.
   */
  removeKey(key: SessionKey | string): Promise<boolean>;

  /** The active key: the one that signed in last, where there are several. Never waits for the network. */
  session(): Promise<SessionKey | undefined>;

  /** The `nonce` that an OIDC token must have to sign this key in: 64 lower-case hex digits. @throws `KEY_NOT_FOUND`, `KEY_LOST` */
  oauthNonce(key: SessionKey | string): Promise<string>;

  /**
   * Signs in, by a token or a passkey, and binds the session to the key. Where it fails there is no such key any more, also
   * none that was given. A session that Grid has made all the same, though its answer was lost or the tab closed, is ended
   * by itself after a minute where Grid's list leaves no doubt which it is, and else is over when its time is up. So the proof
   * is not sent twice where its answer was lost. Other keys and their sessions stay.
   *
   * A passkey takes up to 2 minutes by default. Call it from a click, which browsers want to be recent: after a slow answer of
   * the bridge's they may say no, which is `PASSKEY_CANCELLED`. What it vouches for is a hash, so that it is a new session
   * for this key is Grid's word alone.
   *
   * After `ABORTED` or `TIMEOUT` it may still have succeeded, as the `started` event of {@link on} says. After
   * `STORAGE_FAILED` a key that was given may be there as it was, if nothing was sent.
   * @throws every code of {@link listSessions}; `KEY_NOT_FOUND`, `KEY_LOST`, `STORAGE_FAILED`; `ARGUMENT_INVALID`, also for
   * a key that has a session; `PASSKEY_CANCELLED`, `PASSKEY_UNSUPPORTED`; `UNSEAL_FAILED`; `UPSTREAM_REFUSED` with `status`
   * 401 where Grid takes the proof for none
   */
  signIn(how: SignIn, options?: SignInOptions): Promise<SessionKey>;

  /**
   * Has Grid send a one-time code, and checks whom it may be sealed to: by a key that `otpSigners` names.
   * @throws `ENCLAVE_UNTRUSTED`, and as {@link listSessions}
   */
  startOtp(credentialId: string, options?: SignInOptions): Promise<OtpSignIn>;

  /**
   * Tells a key which session it signs for. It ends with that session, in every tab, when both the server's clock and
   * this device's say that its time is up. A later call replaces an earlier one.
   * @throws `KEY_NOT_FOUND`; `KEY_LOST`, also for a session that is over already; `CLOCK_SKEW`, `STORAGE_FAILED`
   */
  bindSession(key: SessionKey | string, session: SessionBinding): Promise<SessionKey>;

  /**
   * Goes on to another session before this one is over. The key keeps its id, in every call and every tab, and gets a new
   * private half: Grid wants one for each session. The half before is kept for some seconds, for calls that are under way,
   * and then ends its own session at Grid, as {@link signOut} does. Where it fails the key and its session are as they
   * were. After `ABORTED` or `TIMEOUT` it may still succeed, as the `refreshed` event of {@link on} says.
   * @throws every code of {@link signChallenge} and {@link listSessions}; `ARGUMENT_INVALID`, also for a key without a
   * session; `KEY_LOST`, also where Grid has no such session any more: only signing in helps then
   */
  refreshSession(key: SessionKey | string, options?: RefreshOptions): Promise<SessionKey>;

  /**
   * Signs a challenge, if it is well formed, not expired, and its payload means what `intent` says.
   * @throws `KEY_NOT_FOUND`, `KEY_LOST`, `STORAGE_FAILED`, `CLOCK_SKEW`, `CHALLENGE_MALFORMED`, `CHALLENGE_EXPIRED`,
   * `PAYLOAD_MALFORMED`, `INTENT_MISMATCH`, `ORGANIZATION_MISMATCH`
   */
  signChallenge(challenge: Challenge, options: SignOptions): Promise<SignedChallenge>;

  /**
   * Ends all other sessions of the key's account, and with `"all"` then its own, as without a `scope`. Resolves to each
   * session's outcome, its own last. Of those that could not be ended, only its own is tried again by itself.
   * @throws as without a `scope`; of `"others"` also `CLOCK_SKEW`, and what {@link listSessions} throws
   */
  signOut(key: SessionKey | string, options: SignOutOptions & { scope: "others" | "all" }): Promise<SessionOutcome[]>;
  /**
   * Signs out: ends the key's session at Grid, and the key with it. That is written down before the first request. From
   * then on the key signs nothing but that, and what fails is tried again: the result is then `"pending"`, no rejection.
   * An interrupted sign-out is finished by whoever comes next: this tab, another one, the next visit.
   * @throws `ARGUMENT_INVALID`, also for a key without a session; `KEY_NOT_FOUND`, `KEY_LOST`; `STORAGE_FAILED`, where
   * it could not be written down and Grid not be told in time: this tab goes on as long as it lives
   */
  signOut(key: SessionKey | string, options?: SignOutOptions): Promise<SignOutResult>;

  /**
   * Ends a session at Grid, through the bridge: asks for the challenge, checks and signs it, sends it back, and retries
   * where that is safe, for as long as `timeoutMs` allows. Without an id it is the session that the key is bound to.
   *
   * A key's own session takes the key along: it is the same as {@link signOut}, and an abort ends the waiting, not the
   * sign-out. Of any other session only `"revoked"` and `"inactive"` are results; a key of this browser that was bound
   * to it ends.
   * @throws every code of {@link signChallenge} and {@link listSessions}. After `TIMEOUT`, `ABORTED` or
   * `NETWORK_FAILED` the session may or may not be over: call again, which is safe.
   */
  revokeSession(sessionId: string | undefined, options: SignedCallOptions): Promise<SignOutResult>;

  /**
   * The active sessions of an account, through the bridge, but for those that a refresh has left over here and that are
   * being ended; retries for as long as `timeoutMs` allows.
   * @throws `UPSTREAM_REFUSED`, `UPSTREAM_UNAVAILABLE`, `NETWORK_FAILED`, `RESPONSE_MALFORMED`, `HEADERS_FAILED`
   */
  listSessions(accountId: string, options?: CallOptions): Promise<AuthSession[]>;

  /** The ways to sign in to an account, through the bridge. @throws as {@link listSessions} */
  listCredentials(accountId: string, options?: CallOptions): Promise<AuthMethod[]>;

  /**
   * Adds a way to sign in to the account of the key's session. After a lost answer Grid may call a credential a duplicate
   * that this call has added: {@link listCredentials} tells.
   * @throws every code of {@link signChallenge} and {@link listSessions}; `ARGUMENT_INVALID`, also for a key without a session
   */
  addCredential(credential: NewAuthMethod, options: SignedCallOptions): Promise<AuthMethod>;

  /**
   * Removes a way to sign in, and with it every session that it has started. It takes the key of a session that another
   * credential has started, and an account keeps its last one: `UPSTREAM_REFUSED` otherwise.
   * @throws every code of {@link signChallenge} and {@link listSessions}
   */
  removeCredential(credentialId: string, options: RemoveCredentialOptions): Promise<RemoveCredentialResult>;

  /**
   * The recovery phrase of a wallet, which is sealed to a key of the moment and opened here. Whoever has it has the wallet:
   * show it when the person has asked for it, and keep it nowhere. It is in no event, error or storage of the signer's.
   * @throws every code of {@link signChallenge} and {@link listSessions}; `ENCLAVE_UNTRUSTED`, `UNSEAL_FAILED`
   */
  exportWallet(accountId: string, options: ExportOptions): Promise<string>;

  /** Tells of sessions, in every tab. Returns its undo. The first listener hears of earlier visits' sign-outs, too. */
  on(type: "session", listener: (event: SessionEvent) => void): () => void;

  /**
   * Ends the worker, and with it every key that is only in memory. Stored keys stay. Calls under way reject with
   * `CLOSED`, and so do later ones. Does not revoke any session. Never throws.
   */
  close(): void;
}

/**
 * Starts a worker, and resolves as soon as it makes and lists keys. The module, which signs and asks Grid, is loaded
 * meanwhile: a call that needs it waits for it. Where it cannot be had, such calls reject with `LOAD_FAILED` or `CSP_BLOCKED`;
 * those that are `retryable` load it anew. A worker that did not start leaves nothing behind: call again to try again.
 * @throws `LOAD_FAILED`, whose `retryable` says whether trying again may help; `CSP_BLOCKED`
 */
export declare function createSigner(options: CreateSignerOptions): Promise<Signer>;
