/**
 * A signer for an app's own tests, as declarations only: this file is shipped verbatim as testing.d.ts, and index.ts
 * beside it is checked against it.
 *
 * It is no signer of anything: Grid is an object in memory, which believes whoever asks, and no request leaves the process.
 * It needs no browser, no worker and no WebAssembly, and starts no timer that outlives a call. Each call behaves as
 * `gridsigner` says, and every error is of its class; one list of behaviours is run against this one and the real one.
 * P-256 keys are real ones of WebCrypto's, where there is that. All others are stand-ins: their public keys are random
 * digits, and no verifier takes their signatures.
 *
 * @module gridsigner/testing
 */
import type { AuthMethod, AuthSession, CredentialType, ErrorCode, ErrorDetails, Signer } from "gridsigner";

/** Options of {@link createTestGrid}; any other is an error. */
export interface TestGridOptions {
  /** The types of the account's ways to sign in. Default `["EMAIL_OTP", "OAUTH", "PASSKEY"]`. */
  credentials?: readonly CredentialType[] | undefined;
  /** How long a session lives, in ms. Default 900000. */
  sessionMs?: number | undefined;
  /** The time, in ms since 1970, by which sessions, challenges and codes end. Default `Date.now`, so also your test runner's. */
  now?: (() => number) | undefined;
  /** What {@link Signer.exportWallet} gives. Default: the phrase of twelve words that everybody knows. */
  mnemonic?: string | undefined;
}

/** Grid, with one account, as a test sees it and has its way with it. Its ids and codes are the same in every run. */
export interface TestGrid {
  readonly accountId: string;
  /** The sessions that there are at Grid, the oldest first: whether a sign-out has really got there. */
  readonly sessions: readonly AuthSession[];
  /** The account's first way to sign in of a type. */
  credential(type: CredentialType): AuthMethod;
  /** The one-time code that was sent last. */
  code(): string;
  /** An OIDC token of the account's identity, issued now, with the `nonce` that {@link Signer.oauthNonce} gives; or of another address. */
  token(claims?: { nonce?: string | undefined; email?: string | undefined }): string;

  /** Whether Grid cannot be reached: `NETWORK_FAILED`, and a sign-out is `"pending"`. Set to `false`, it lets those finish. */
  offline: boolean;
  /** From now on Grid does not answer, so that a test can look at what the app shows meanwhile. Returns what ends that. */
  hold(): () => void;
  /**
   * The next call of this name rejects with this code, at the point where the real one would; `"submit"` is that of a
   * code. A sign-out that Grid does not hear of is `"pending"` instead, with the error.
   */
  failNext(call: Exclude<keyof Signer, "on" | "close"> | "submit", code: ErrorCode, details?: ErrorDetails): void;
  /** Ends a session, or all, as another device does. As in life the signer is not told: it finds out when it asks Grid. */
  endSession(sessionId?: string): void;
  /**
   * Lets time pass on top of the clock, and has signers notice at each point what they would: they tell of sessions that
   * end, and refresh where they were made to. Resolves once they have; with 0, of what a clock of yours has done.
   */
  advance(ms: number): Promise<void>;
}

/** Makes an account at a Grid in memory. Signers that share one are devices of one person. @throws `ARGUMENT_INVALID` */
export declare function createTestGrid(options?: TestGridOptions): TestGrid;

/** Options of {@link createTestSigner}; any other is an error. */
export interface TestSignerOptions {
  /** Default: one of its own. */
  grid?: TestGrid | undefined;
  /** Whether there is a session from the start, as after a reload; or how it was started. `true`: the account's first way. */
  signedIn?: boolean | CredentialType | undefined;
  /** As of `createSigner`; it happens in {@link TestGrid.advance}. */
  autoRefresh?: boolean | undefined;
  /** As of `createSigner`. */
  payloads?: "all" | "activities" | undefined;
  /**
   * Lets it start on a page of a browser that other machines can reach, such as a published catalogue of components. Without
   * it that is refused: an app that shipped this signer by mistake would sign people out of nothing.
   */
  insecurePublicPage?: boolean | undefined;
}

/** A signer that can do all that the real one does, and whatever a test wants of its Grid. */
export interface TestSigner extends Signer {
  readonly grid: TestGrid;
}

/**
 * Makes a signer that keeps its keys in memory: each is a device, or a tab that shares nothing.
 * @throws `ARGUMENT_INVALID`; `LOAD_FAILED` on a public page
 */
export declare function createTestSigner(options?: TestSignerOptions): Promise<TestSigner>;
