/**
 * The life of a key, as one state machine. The stored record is the truth; each move below is one transaction that
 * looks at the record as it then is, so two tabs cannot disagree. States only go forward.
 *
 *     new ──bind──▶ active ──leave──▶ leaving ──end──▶ ended      (end: from each of the others)
 *      ╰────────give up────────────────▶
 *
 * A refresh leaves a record `active` with another half that signs and another session; what it had before goes to a
 * record of its own, which is `leaving` from its beginning. See {@link refreshed}.
 *
 * A key that signs in is `new`. Where that is given up it ends, or, as Grid may have started its session all the same, it is
 * `leaving` too.
 *
 * A `leaving` key signs the end of its own session, and of those that its refreshes have made too many, and nothing else;
 * an ended one has no secret any more, and stays as a tombstone, for tabs that wake later.
 */
import type { Curve, EndReason, SessionBinding, SessionKey } from "../types.ts";

export const states = ["new", "active", "leaving", "ended"] as const;
export type State = (typeof states)[number];

/** The part of a key that signs, or, of one to which Grid is to seal another, that opens that. */
export type Secret =
  /** P-256: a CryptoKey that is not extractable. */
  | { readonly handle: CryptoKey }
  /** secp256k1, at rest: AES-256-GCM, see secrets.ts. */
  | { readonly iv: Uint8Array<ArrayBuffer>; readonly ciphertext: ArrayBuffer }
  /** secp256k1, in memory: under this id in the module. */
  | { readonly held: string };

export interface KeyRecord {
  readonly id: string;
  readonly curve: Curve;
  readonly publicKey: string;
  /** By this device's clock, as all times here: orders keys(). */
  readonly createdAt: number;
  readonly state: State;
  /** Counts the moves: of two copies in one state the one with more is the newer. */
  readonly rev: number;
  readonly persistence: SessionKey["persistence"];
  /** When it got its session by signing in, and not by a refresh. */
  readonly boundAt?: number;
  /** Of every state but `ended`. */
  readonly secret?: Secret;
  readonly session?: SessionBinding;
  /** The organization of the first payload whose signature Grid accepted: no other is signed for. */
  readonly organizationId?: string;
  /** Of `new`: it is signing in. Of `leaving`, without a session: it was. */
  readonly signIn?: SignIn | undefined;
  /** Who tells Grid of a sign-out or refreshes the session, and until when nobody else does. */
  readonly lease?: { readonly holder: string; readonly until: number };
  /** Of `active`, by the server's clock: from when the session should be refreshed. */
  readonly dueAt?: number;
  /** Of a refresh that was signed, and whose outcome is not known. */
  readonly strays?: Strays | undefined;
  /** The sessions that it had before it was refreshed, the newest last. An app may still name them. */
  readonly formerly?: readonly string[];
  /** What a refresh has left over, or a key that signs in. The page has never heard of it. */
  readonly unseen?: true | undefined;
  /** Of that: until then calls that were under way may still use it. */
  readonly notBefore?: number;
  /** Of `ended`. */
  readonly reason?: EndReason;
  readonly endedAt?: number;
}

/** A session too many may turn up at Grid: one that a refresh has made, though its answer was lost. */
export interface Strays {
  /** When Grid may make it, by the server's clock. */
  readonly from: number;
  readonly until: number;
  /** Those that Grid listed before. */
  readonly before: readonly string[];
}

/** A sign-in that is under way. */
export interface SignIn {
  /** Tells it apart from another one with the same key. */
  readonly attempt: string;
  /** By this device's clock: from then on nobody goes on with it, and whoever finds it ends it. */
  readonly until: number;
  /** When Grid was first sent what starts the session, by the server's clock. Before that there is none. */
  readonly since?: number;
  /** What is known of the session, then. Of a token's account only the answer tells. */
  readonly accountId?: string | undefined;
  readonly type?: string;
}

/** How long before its end a session should be refreshed, but for a short one. */
const leadMs = 120_000;

/** How long a tab that tells Grid may be silent, before another takes over. */
export const leaseMs = 3000;

/** Longer than any tab sleeps that still believes in its session. A key that was never bound goes as late. */
export const forgottenMs = 30 * 86_400_000;

/** How long what a refresh has left over waits for calls that were under way. */
export const lingerMs = 5000;

/** How many former sessions a key knows: a day's. */
const maxFormerly = 100;

/** What a refresh has left over stays for as long, once it has ended: a tab that did not see the end would tell Grid again. */
export const unseenMs = 60_000;

/**
 * What can happen to a key. `session`: that of which somebody says that it is over, or, of a sign-in that is given up, the
 * one that it has started. `attempt`: the sign-in that binds; none where an app binds by itself.
 */
export type Move =
  | { type: "bind"; session: SessionBinding; now: number; attempt?: string; made?: Pick<KeyRecord, "publicKey"> & { secret: Secret } }
  | { type: "sign-in"; signIn: SignIn }
  /** Grid is about to be sent what starts the session. */
  | { type: "sent"; signIn: SignIn & { since: number }; now: number }
  | { type: "accept"; organizationId: string }
  /** `isRefused`: Grid has said that there is no session of it. */
  | { type: "give-up"; holder: string; now: number; session?: SessionBinding | undefined; isRefused?: boolean }
  | { type: "leave" | "lease" | "renew"; holder: string; now: number }
  | { type: "stray"; holder: string; strays: Strays | undefined }
  | { type: "end"; reason: EndReason; now: number; session?: SessionBinding | undefined };

/** From which states each is possible, an end by its reason. At a caller's wish `leaving` ends as `forgotten` only. */
const from: Record<Exclude<Move["type"], "end"> | EndReason, readonly State[]> = {
  bind: ["new", "active"],
  "sign-in": ["new"],
  sent: ["new"],
  "give-up": ["new", "active", "leaving"],
  accept: ["new", "active"],
  leave: ["active"],
  lease: ["active", "leaving"],
  renew: ["active", "leaving"],
  stray: ["active"],
  "signed-out": ["leaving"],
  revoked: ["active", "leaving"],
  expired: ["new", "active", "leaving"],
  removed: ["new", "active"],
  forgotten: ["leaving"],
  lost: ["new", "active", "leaving"],
};

/** The record after a move; undefined where that is not possible, and nothing changes. */
export function step(record: KeyRecord, move: Move): KeyRecord | undefined {
  if (!from[move.type === "end" ? move.reason : move.type].includes(record.state)) return undefined;
  const after = { ...record, rev: record.rev + 1 };
  switch (move.type) {
    case "bind":
      if (record.signIn?.attempt !== move.attempt) return undefined; // the session that it is getting is another
      return {
        ...after, ...move.made, state: "active", session: move.session, dueAt: due(move.session, move.now), boundAt: move.now,
        strays: undefined, signIn: undefined, unseen: undefined,
      };
    case "sign-in":
      return record.signIn ? undefined : { ...after, signIn: move.signIn }; // one at a time
    case "sent": {
      const { signIn } = record;
      if (signIn?.attempt !== move.signIn.attempt || signIn.until <= move.now) return undefined; // it was given up
      return { ...after, signIn: { ...move.signIn, since: signIn.since ?? move.signIn.since } };
    }
    case "accept":
      return record.organizationId === undefined ? { ...after, organizationId: move.organizationId } : undefined;
    case "give-up": {
      const { session, holder, now } = move;
      const { signIn, state } = record;
      const left = { ...after, state: "leaving", lease: { holder, until: now + leaseMs } } as const;
      // It was bound all the same, though storage said that it was not, or nobody waited any more.
      if (state === "active") return session && record.session!.id === session.id ? left : undefined;
      if (!signIn) return undefined;
      // Its session turns up only now.
      if (state === "leaving") return session && !record.session ? { ...after, session } : undefined;
      // For a session of which only a sealed key could sign nobody can do anything: it is over when its time is up.
      const isNothing = move.isRefused || signIn.since === undefined || isSealing(record);
      if (isNothing) return ended(after, "removed", now);
      return { ...left, unseen: true, signIn: { ...signIn, until: Math.min(signIn.until, now) }, ...(session && { session }) };
    }
    case "leave": // the tab that signs out is the first to tell Grid, and shows it
      return { ...after, state: "leaving", lease: { holder: move.holder, until: move.now + leaseMs } };
    case "lease": {
      const { holder, now } = move;
      const left = (record.lease?.until ?? 0) - now;
      // One that runs for much longer than any does was given by another clock.
      if (record.lease && record.lease.holder !== holder && left > 0 && left <= 2 * leaseMs) return undefined;
      return { ...after, lease: { holder, until: now + leaseMs } };
    }
    case "renew": // one that somebody else has had meanwhile is lost for good: a tab that was frozen does not know what they did
      return record.lease?.holder === move.holder ? { ...after, lease: { holder: move.holder, until: move.now + leaseMs } } : undefined;
    case "stray": // whoever has lost the lease does not sign
      return record.lease?.holder === move.holder ? { ...after, strays: move.strays } : undefined;
    case "end": {
      const { reason, session, now } = move;
      const isOther = record.session?.id !== session?.id || record.session?.expiresAt !== session?.expiresAt;
      // It may have been bound to another one since that was judged, or have got one.
      if (isOther && (reason === "expired" || reason === "revoked" || (reason === "signed-out" && !session))) return undefined;
      // It may have one by now: it is given up.
      if (reason === "removed" && record.signIn) return undefined;
      return ended(after, reason, now);
    }
  }
}

function ended({ secret: _, lease: __, ...tombstone }: KeyRecord, reason: EndReason, now: number): KeyRecord {
  return { ...tombstone, state: "ended", reason, endedAt: now };
}

/** When a session should be refreshed. */
export function due({ expiresAt }: SessionBinding, now: number): number {
  const ends = Date.parse(expiresAt);
  return ends - Math.min(leadMs, Math.max(0, ends - now) / 3);
}

/** What a refresh has made: a half that signs, and the session for it. */
export type Refreshed = Pick<KeyRecord, "publicKey" | "dueAt" | "strays"> & { secret: Secret; session: SessionBinding };

/**
 * The record after a refresh of the session `before`, and another one, which is to end the session that is too many: the
 * one before. Where the key was signed out meanwhile, bound anew, or refreshed by another tab, whose lease it then was,
 * it is the one that was made.
 */
export function refreshed(record: KeyRecord, before: SessionBinding, made: Refreshed, holder: string, now: number): [KeyRecord, KeyRecord] {
  const { curve, createdAt, persistence, organizationId, lease } = record;
  const isOurs = record.state === "active" && record.session!.id === before.id && lease?.holder === holder;
  const { publicKey, secret, session } = isOurs ? record : made;
  const formerly = [...(record.formerly ?? []), before.id].slice(-maxFormerly);
  const leftOver: KeyRecord = {
    id: crypto.randomUUID(), curve, publicKey, createdAt, persistence, secret: secret!, session: session!, rev: 0,
    ...(organizationId !== undefined && { organizationId }),
    state: "leaving", unseen: true, lease: { holder, until: now + leaseMs }, ...(isOurs && { notBefore: now + lingerMs }),
  };
  return [isOurs ? { ...record, ...made, formerly, rev: record.rev + 1 } : record, leftOver];
}

/** Whichever of two copies of a record is further on in the key's life; the first where there is no difference. */
export function later(a: KeyRecord, b: KeyRecord = a): KeyRecord {
  const [further, other] = (states.indexOf(b.state) - states.indexOf(a.state) || b.rev - a.rev) > 0 ? [b, a] : [a, b];
  const isBehind = other.rev >= further.rev && other.session?.id !== further.session?.id;
  if (further.state !== "leaving" || other.state !== "active" || !isBehind) return further;
  // Signed out where that could not be written down, and refreshed by another tab: what leaves is what there is by now.
  return { ...other, state: "leaving", rev: other.rev + 1, ...(further.lease && { lease: further.lease }) };
}

/** Whether a key is known to sign no more, except perhaps the end of its own session. */
export function isOver(record: KeyRecord | undefined): record is KeyRecord & { state: "leaving" | "ended" } {
  return record?.state === "leaving" || record?.state === "ended";
}

/** Whether a key may sign for an intent that a caller names. */
export function maySign({ state }: KeyRecord, intent: string): boolean {
  // A token signs a new key in. One that has its session needs none.
  return state === "new" || (state === "active" && intent !== "sign-in");
}

/** Whether Grid is to seal another key to this one, which signs nothing. */
export function isSealing({ publicKey }: KeyRecord): boolean {
  return publicKey.startsWith("04");
}

/** A key as the page sees it. */
export function described({ id, curve, publicKey, session, persistence }: KeyRecord): SessionKey {
  const ofWasm = persistence === "memory" ? "wasm-memory" : "encrypted-at-rest";
  const protection = curve === "P-256" ? "non-extractable" : ofWasm;
  return { id, curve, publicKey, protection, persistence, ...(session && { session }) };
}
