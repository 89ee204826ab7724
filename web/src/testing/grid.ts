/**
 * Grid in memory: an account, its ways to sign in, its sessions, and the time. It believes whoever asks, and refuses what
 * test/contract.js holds against the simulator.
 */
import * as args from "../arguments.ts";
import { GridSignerError } from "../errors.ts";
import type { AuthMethod, AuthSession, CredentialType, ErrorCode, ErrorDetails, NewAuthMethod } from "../types.ts";
import { decode } from "./judge.ts";
import type * as api from "./types.ts";

/** A signer, as far as time and the network concern it. */
export interface Device {
  /** When it wants to look next. */
  times(): number[];
  /** Notices what has come to pass. */
  look(): Promise<void>;
}

/** A session as Grid knows it. */
export interface Session {
  row: AuthSession;
  credentialId: string;
  publicKey: string;
}

/** A code that was sent. Whoever submits one names which. */
interface Sent {
  id: string;
  code: string;
  wrong: number;
  expires: number;
}

const types = ["EMAIL_OTP", "SMS_OTP", "OAUTH", "PASSKEY"] as const;
/** Where codes go, and what else Grid's customer record says. */
export const nicknames: Record<CredentialType, string> = { EMAIL_OTP: "ada@example.com", SMS_OTP: "+12025550123", OAUTH: "ada@example.com", PASSKEY: "Ada's phone" };
/** What can be made to fail: what a signer does, and the code that is submitted. */
const calls = [
  "createKey", "importKey", "keys", "session", "removeKey", "oauthNonce", "signIn", "startOtp", "submit", "bindSession", "refreshSession", "signChallenge",
  "revokeSession", "signOut", "listSessions", "listCredentials", "addCredential", "removeCredential", "exportWallet",
] as const satisfies Parameters<api.TestGrid["failNext"]>[0][];
const retryable: ErrorCode[] = ["STORAGE_FAILED", "UPSTREAM_UNAVAILABLE", "NETWORK_FAILED", "HEADERS_FAILED", "TIMEOUT", "WORKER_FAILED"];

/** How long a challenge and a code are good for, and how often a wrong code may be tried. */
export const challengeMs = 300_000;
const otpTries = 3;
/** How old a token may be. */
const tokenMs = 60_000;

export const refused = (status: number, upstreamCode: string) =>
  new GridSignerError("UPSTREAM_REFUSED", `refused with ${status} ${upstreamCode}`, { status, upstreamCode });

const isOtp = ({ type }: { type: string }) => type === "EMAIL_OTP" || type === "SMS_OTP";
/** JSON in base64url. btoa takes no more than Latin-1. */
export function encode(part: object): string {
  const text = JSON.stringify(part).replace(/[^\0-\x7f]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** What a token says; null where it is but a placeholder, as tests have them. */
function claimsOf(token: string): { nonce?: string; iat?: number; email?: string; sub?: string } | null {
  try {
    return JSON.parse(decode(token.split(".")[1] ?? "") ?? "null");
  } catch {
    return null;
  }
}

/** The grammar of Grid's ids. */
function checkId(kind: "InternalAccount" | "AuthMethod" | "Session", id: string): void {
  if (!new RegExp(`^${kind}:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`).test(id)) throw args.invalid(`the id must be ${kind}:<uuid>`);
}

export const isSame = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

export class Grid implements api.TestGrid {
  readonly accountId: string;
  readonly mnemonic: string;
  readonly organizationId = "gridsigner-testing";
  readonly devices = new Set<Device>();
  readonly #sessionMs: number;
  readonly #clock: () => number;
  readonly #ways: AuthMethod[] = [];
  readonly #sent = new Map<string, Sent>();
  readonly #planned: { call: string; error: GridSignerError }[] = [];
  #sessions: Session[] = [];
  #offline = false;
  #held: Promise<void> | undefined;
  #passed = 0;
  #ids = 0;
  #codes = 0;

  constructor(value: unknown = {}) {
    const options = args.options("createTestGrid", value, ["credentials", "sessionMs", "now", "mnemonic"]);
    const { now = Date.now, mnemonic = `${"abandon ".repeat(11)}about` } = options;
    if (typeof now !== "function") throw args.invalid("now must be a function");
    this.#clock = () => (now === Date.now ? Date.now() : (now as () => number)()); // a test runner may turn it later
    this.#sessionMs = args.timeout(options.sessionMs, 900_000);
    this.mnemonic = args.string("mnemonic", mnemonic);
    this.accountId = this.id("InternalAccount");
    const credentials = args.list("credentials", options.credentials ?? ["EMAIL_OTP", "OAUTH", "PASSKEY"]);
    for (const type of credentials) this.#keep(args.choice<string>("credentials", type, types) as CredentialType);
  }

  get sessions(): AuthSession[] {
    return this.#live().map(({ row }) => ({ ...row }));
  }

  credential(type: CredentialType): AuthMethod {
    const found = this.#ways.find((way) => way.type === type);
    if (!found) throw args.invalid(`the account has no credential of type ${type}`);
    return { ...found };
  }

  code(): string {
    const last = [...this.#sent.values()].pop();
    if (!last) throw args.invalid("no code has been sent");
    return last.code;
  }

  token(value: unknown = {}): string {
    const { nonce, email = nicknames.OAUTH } = args.options("token", value, ["nonce", "email"]);
    const iat = Math.floor(this.now() / 1000);
    const claims = { iss: "https://accounts.google.com", sub: email, email, nonce, iat, exp: iat + 3600 };
    return `${encode({ alg: "none" })}.${encode(claims)}.dGVzdA`;
  }

  get offline(): boolean {
    return this.#offline;
  }

  set offline(value: boolean) {
    this.#offline = value;
    if (!value) for (const device of this.devices) void device.look();
  }

  hold(): () => void {
    let release!: () => void;
    this.#held = new Promise((resolve) => (release = resolve));
    return release;
  }

  failNext(call: string, code: ErrorCode, details: ErrorDetails = {}): void {
    args.choice("call", call ?? null, calls);
    const error = new GridSignerError(code, `a test has ${call} fail`, { retryable: retryable.includes(code), ...details });
    this.#planned.push({ call, error });
  }

  endSession(sessionId?: string): void {
    this.#sessions = this.#sessions.filter(({ row }) => sessionId !== undefined && !isSame(row.id, sessionId));
  }

  async advance(ms: number): Promise<void> {
    if (typeof ms !== "number" || !(ms >= 0)) throw args.invalid("ms must be a number that is not negative");
    const end = this.now() + ms;
    for (;;) {
      const now = this.now();
      const times = [...this.devices].flatMap((device) => device.times()).filter((time) => time > now);
      this.#passed += Math.max(0, Math.min(end, ...times) - now);
      for (const device of this.devices) await device.look();
      if (this.now() >= end) return;
    }
  }

  // From here on it is Grid's own, and the signer's.

  now(): number {
    return this.#clock() + this.#passed;
  }

  id(kind: string): string {
    return `${kind}:00000000-0000-4000-8000-${String(++this.#ids).padStart(12, "0")}`;
  }

  /** RFC 3339, in whole seconds. */
  stamp(ms: number = this.now()): string {
    return new Date(ms).toISOString().replace(/\.\d+Z/, "Z");
  }

  /** The failure that a test has planned for this call, which is used up. */
  planned(call: string): GridSignerError | undefined {
    const index = this.#planned.findIndex((planned) => planned.call === call);
    return index < 0 ? undefined : this.#planned.splice(index, 1)[0]!.error;
  }

  /** Before each request: whether it arrives. */
  async reach(signal?: AbortSignal): Promise<void> {
    const aborted = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve()));
    await Promise.race([this.#held, aborted]);
    if (signal?.aborted) throw new GridSignerError("ABORTED", "nobody waits for it any more");
    if (this.#offline) throw new GridSignerError("NETWORK_FAILED", "the test's Grid is offline", { retryable: true });
  }

  /** Refuses an account of somebody else's. */
  checkAccount(id: string): void {
    checkId("InternalAccount", id);
    if (!isSame(id, this.accountId)) throw refused(404, "BRIDGE_NOT_FOUND");
  }

  get ways(): AuthMethod[] {
    return this.#ways.map((way) => ({ ...way }));
  }

  way(id: string): AuthMethod {
    checkId("AuthMethod", id);
    const found = this.#ways.find((way) => isSame(way.id, id));
    if (!found) throw refused(404, "BRIDGE_NOT_FOUND");
    return found;
  }

  session(id: string): Session | undefined {
    checkId("Session", id);
    return this.#live().find(({ row }) => isSame(row.id, id));
  }

  checkSession(id: string): void {
    if (!this.session(id)) throw refused(404, "BRIDGE_NOT_FOUND");
  }

  /** Whether a key is of an active session that may sign this: of any, unless that is narrowed down. */
  knows(publicKey: string, may: (session: Session) => boolean = () => true): boolean {
    return this.#live().some((session) => session.publicKey === publicKey && may(session));
  }

  send(way: AuthMethod): Sent {
    if (!isOtp(way)) throw refused(400, "INVALID_INPUT");
    const sent = { id: this.id("Code"), code: String(100_000 + 12_345 * ++this.#codes).slice(-6), wrong: 0, expires: this.now() + challengeMs };
    this.#sent.delete(way.id); // so that the last is the last
    this.#sent.set(way.id, sent);
    return sent;
  }

  /** The code is looked at before it is signed for, and used up by that. */
  checkCode(way: AuthMethod, id: string, code: string): Sent {
    const sent = this.#sent.get(way.id);
    const refuse = (code: ErrorCode) => new GridSignerError(code, "Grid does not take the code", { status: 401, upstreamCode: "UNAUTHORIZED" });
    if (sent?.id !== id || this.now() >= sent.expires || sent.wrong >= otpTries) throw refuse("OTP_EXPIRED");
    if (code === sent.code) return sent;
    sent.wrong++;
    throw refuse("OTP_INCORRECT");
  }

  useCode(way: AuthMethod): void {
    this.#sent.delete(way.id);
  }

  /** Nobody looks at the signature of a token, as in Grid's sandbox. */
  checkToken(token: string, nonce?: string): { email: string } {
    const claims = claimsOf(token);
    if (!claims) throw refused(400, "INVALID_INPUT");
    const isFresh = Math.abs(this.now() - (claims.iat ?? 0) * 1000) <= tokenMs;
    if (!isFresh || (nonce !== undefined && claims.nonce !== nonce)) throw refused(401, "UNAUTHORIZED");
    return { email: claims.email ?? claims.sub ?? "" };
  }

  /** Starts a session; `before`: the one that it takes the place of. */
  start(credentialId: string, publicKey: string, before?: AuthSession): AuthSession {
    const { type, nickname, accountId, credentialId: passkey } = this.way(credentialId);
    const row: AuthSession = {
      id: this.id("Session"), accountId, type, nickname,
      createdAt: before?.createdAt ?? this.stamp(), updatedAt: this.stamp(), expiresAt: this.stamp(this.now() + this.#sessionMs),
      ...(passkey !== undefined && { credentialId: passkey }),
    };
    this.#sessions.push({ row, credentialId, publicKey });
    return row;
  }

  /** Whether the account can have the credential, and under which name. */
  checkAddition(credential: NewAuthMethod): string {
    const { type } = credential;
    const nickname = type === "PASSKEY" ? credential.nickname : type === "OAUTH" ? this.checkToken(credential.oidcToken).email : nicknames[type];
    const isThere = this.#ways.some((way) => way.type === type && (isOtp(way) || (type === "OAUTH" && way.nickname === nickname)));
    if (isThere) throw refused(400, type === "OAUTH" ? "INVALID_INPUT" : `${type}_CREDENTIAL_ALREADY_EXISTS`);
    return nickname;
  }

  add(credential: NewAuthMethod): AuthMethod {
    const passkey = credential.type === "PASSKEY" ? credential.attestation.credentialId : undefined;
    const way = this.#keep(credential.type, this.checkAddition(credential), passkey);
    if (isOtp(way)) this.send(way);
    return { ...way };
  }

  checkRemoval(id: string): void {
    this.way(id);
    if (this.#ways.length === 1) throw refused(400, "INVALID_INPUT");
  }

  remove(id: string): void {
    this.#ways.splice(this.#ways.indexOf(this.way(id)), 1);
    this.#sessions = this.#sessions.filter(({ credentialId }) => credentialId !== id);
  }

  #keep(type: CredentialType, nickname: string = nicknames[type], passkey?: string): AuthMethod {
    const at = this.stamp();
    const way: AuthMethod = {
      id: this.id("AuthMethod"), accountId: this.accountId, type, nickname, createdAt: at, updatedAt: at,
      ...(type === "PASSKEY" && { credentialId: passkey ?? "dGVzdA" }),
    };
    this.#ways.push(way);
    return way;
  }

  #live(): Session[] {
    return (this.#sessions = this.#sessions.filter(({ row }) => this.now() < Date.parse(row.expiresAt)));
  }
}
