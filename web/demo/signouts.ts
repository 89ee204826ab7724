// Sign-outs that Grid is being told of, and what became of them: a row for each, also after a reload.
import { type SessionEvent } from "gridsigner";
import { el, icon } from "./dom.ts";
import { type Outcome, outcomeIcons } from "./outcome.ts";

interface Row {
  readonly keyId: string;
  readonly name: string;
  readonly item: HTMLLIElement;
  readonly mark: HTMLElement;
  readonly words: HTMLElement;
}

/** The rows, by session. */
export class SignOutList {
  readonly #list: HTMLUListElement;
  readonly #rows = new Map<string, Row>();

  constructor(list: HTMLUListElement) {
    this.#list = list;
  }

  /** Whether the session has a row here. It is then not listed as signed in. */
  has(sessionId: string): boolean {
    return this.#rows.has(sessionId);
  }

  /** Those that Grid has not been told of. */
  unfinished(): Row[] {
    return [...this.#rows.values()].filter(isUnfinished);
  }

  add({ key, session }: SessionEvent, name: string, outcome: Outcome): void {
    if (this.#rows.has(session.id)) return;
    const [mark, words] = [el("span", { class: "face" }), el("p")];
    const item = el("li", { class: "sign-out", "data-testid": "sign-out", "data-session-id": session.id }, mark, el("div", {}, el("h3", {}, name), words));
    const row = { keyId: key, name, item, mark, words };
    this.#rows.set(session.id, row);
    draw(row, outcome);
    this.#list.append(item);
  }

  /** Says in the session's row, if it has one, what became of it. */
  end(sessionId: string, outcome: Outcome): void {
    const row = this.#rows.get(sessionId);
    if (row !== undefined) draw(row, outcome);
  }

  /** Takes away the rows of those that have ended. */
  clearEnded(): void {
    for (const [sessionId, row] of this.#rows) {
      if (isUnfinished(row)) continue;
      row.item.remove();
      this.#rows.delete(sessionId);
    }
  }
}

function draw({ item, mark, words }: Row, { state, title, text }: Outcome): void {
  item.dataset["state"] = state;
  mark.replaceChildren(icon(outcomeIcons[state]));
  words.replaceChildren(el("b", {}, title), ` ${text}`);
}

function isUnfinished({ item }: Row): boolean {
  return item.dataset["state"] === "leaving";
}
