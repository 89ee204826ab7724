// What Grid is asked to do, in the words of the drawing.
import { shorten } from "./dom.ts";

export interface Deed {
  /** After "Ask to". */
  readonly ask: string;
  readonly request: string;
  /** What goes along, in words. */
  readonly carries?: string;
  /** What the answers that Grid alone gives mean here, by their status. */
  readonly answers: Readonly<Record<number, string>>;
  /** A sign-in by code: what is signed is the token that says that the code was right. */
  readonly signsToken?: boolean;
}

const always = { 200: "still at it", 202: "sign this first" };

const credential = (id: string, what: string) => `POST …${id.slice(-4)}/${what}`; // more has no room

export const deeds = {
  endSession: (id: string): Deed => ({
    ask: "end it",
    request: `DELETE ${shorten(id, 11, 4)}`,
    answers: { ...always, 204: "the session is over", 404: "no such active session" },
  }),
  refreshSession: (id: string): Deed => ({
    ask: "refresh it",
    request: `POST ${shorten(id, 11, 4)}/refresh`,
    answers: { ...always, 201: "a new session" },
  }),
  addCredential: (): Deed => ({
    ask: "add it",
    request: "POST /auth/credentials",
    answers: { ...always, 201: "it is added" },
  }),
  removeCredential: (id: string): Deed => ({
    ask: "remove it",
    request: `DELETE ${shorten(id, 14, 4)}`,
    answers: { ...always, 204: "it is removed", 404: "no such credential" },
  }),
  sendCode: (id: string): Deed => ({
    ask: "send a code",
    request: credential(id, "challenge"),
    answers: { 200: "sent; seal it to this" },
  }),
  signInByCode: (id: string): Deed => ({
    ask: "sign in",
    request: credential(id, "verify"),
    carries: "code and key, sealed",
    answers: { 200: "it is taken", 202: "right; sign this first" },
    signsToken: true,
  }),
  signInByToken: (id: string): Deed => ({
    ask: "sign in",
    request: credential(id, "verify"),
    carries: "token and public key",
    answers: { 200: "it is taken" },
  }),
  askForPasskey: (id: string): Deed => ({
    ask: "begin",
    request: credential(id, "challenge"),
    carries: "public key",
    answers: { 200: "vouch for this" },
  }),
  signInByPasskey: (id: string): Deed => ({
    ask: "sign in",
    request: credential(id, "verify"),
    carries: "the passkey’s signature",
    answers: { 200: "it is taken" },
  }),
  exportWallet: (accountId: string): Deed => ({
    ask: "hand it out",
    request: `POST …${accountId.slice(-4)}/export`,
    carries: "a key of this moment",
    answers: { 200: "it is taken", 202: "sign this first" },
  }),
};
