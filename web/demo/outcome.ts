// What became of a session, in the same words wherever the page says it.
import { type EndReason, type SessionBinding, type SessionEvent, type SessionKey, type SignOutResult } from "gridsigner";
import { clock, type IconName } from "./dom.ts";

export interface Outcome {
  /** `"leaving"`: Grid is still to be told. `"left"`: Grid was not told, and will not be. */
  readonly state: "over" | "leaving" | "left";
  /** Enough where there is little room. */
  readonly title: string;
  readonly text: string;
}

export type Ended = Extract<SessionEvent, { type: "ended" }>;

export const outcomeIcons: Readonly<Record<Outcome["state"], IconName>> = { over: "check", leaving: "wait", left: "alert" };

const over = "The session is over.";

/** A sign-out that is written down, and not finished. `key`, where it is known, says where it is written. */
export function pending(expiresAt: string, key?: SessionKey): Outcome {
  return {
    state: "leaving",
    title: "Signed out here. Grid has not been told yet.",
    text: `It will be, as soon as it can be reached. ${
      key?.persistence === "memory" ? "Keep this page open: nothing else can tell it. " : ""
    }The session may live on, until ${clock(expiresAt)} at the latest.`,
  };
}

export function outcomeOf(result: SignOutResult): Outcome {
  switch (result.status) {
    case "revoked": return { state: "over", title: over, text: "Grid confirmed it." };
    case "inactive": return { state: "over", title: "It was already over.", text: "Grid knows no active session of this id." };
    case "pending": return pending(result.sessionExpiresAt);
    case "forgotten": return keyGone("The key is destroyed.", result.sessionExpiresAt);
  }
}

/** Of a sign-in. */
export function begun({ expiresAt }: SessionBinding): Outcome {
  return { state: "over", title: "The session has begun.", text: `It is for this key alone, until ${clock(expiresAt)}.` };
}

/** Of a session that has gone on to another one. */
export function goneOn({ expiresAt }: SessionBinding): Outcome {
  return { state: "over", title: `The session goes on until ${clock(expiresAt)}.`, text: "It is refreshed: a new session, with a new key." };
}

export function endingOf({ reason, session }: Ended): Outcome {
  const endings: Readonly<Record<EndReason, Outcome>> = {
    "signed-out": { state: "over", title: over, text: "Grid confirmed it." },
    expired: { state: "over", title: over, text: "Its time is up." },
    revoked: { state: "over", title: over, text: "Grid has no such session any more." },
    removed: keyGone("The key is destroyed.", session.expiresAt),
    forgotten: keyGone("The key is destroyed.", session.expiresAt),
    lost: keyGone("The browser has lost the key.", session.expiresAt),
  };
  return endings[reason];
}

/** Grid was not told, and the key that could have told it is no more. */
function keyGone(title: string, expiresAt: string): Outcome {
  return { state: "left", title, text: `Grid was not told, and will not be. The session may live on until ${clock(expiresAt)}.` };
}

export function inWords({ title, text }: Outcome): string {
  return `${title} ${text}`;
}
