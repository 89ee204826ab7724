// What Grid is asked to do, in the words of the drawing.
import { shorten } from "./dom.ts";

export interface Deed {
  /** After "Ask to". */
  readonly ask: string;
  readonly request: string;
  /** What the answers that Grid alone gives mean here, by their status. */
  readonly answers: Readonly<Record<number, string>>;
}

const always = { 200: "still at it", 202: "sign this first" };

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
};
