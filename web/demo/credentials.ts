// The ways to sign in: the list, the form that adds one, and the question, in place, before one is removed.
import { type AuthMethod, type CredentialType, type Signer } from "gridsigner";
import { deeds } from "./deeds.ts";
import { el, since } from "./dom.ts";
import { clearFailure, explain, showFailure } from "./failure.ts";
import { type Device, freshToken } from "./login.ts";
import { atWays, page } from "./page.ts";
import { type Task } from "./stage.ts";

/** What the list needs of the page around it. */
export interface Host {
  readonly signer: Signer;
  acting(): Device | undefined;
  /** How the acting session names the way to sign in that it came from. */
  cameFrom(): { readonly type: string; readonly nickname: string } | undefined;
  isRunning(): boolean;
  /** Has the acting device sign it, and draws how. Says whether it was done. */
  perform(task: Task): Promise<boolean>;
}

const typeWords: Readonly<Record<string, string>> = { OAUTH: "OAuth", EMAIL_OTP: "Code by email", SMS_OTP: "Code by SMS", PASSKEY: "Passkey" };

/** The kind of a way to sign in. Grid may add some. */
export function kind(type: string): string {
  return typeWords[type] ?? type;
}

const people = ["work@example.com", "home@example.com", "spare@example.com"];

interface Row {
  readonly item: HTMLLIElement;
  readonly facts: HTMLElement;
  readonly remove: HTMLButtonElement;
  readonly confirm: HTMLButtonElement;
}

export class Credentials {
  readonly #host: Host;
  /** Kept between updates, so that focus, and a question that is open, survive. */
  readonly #rows = new Map<string, Row>();
  #methods: readonly AuthMethod[] = [];
  #busy: string | undefined;
  #accountId: string | undefined;
  #updates = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** The one that was chosen for signing in; undefined as long as none is known. */
  get chosen(): AuthMethod | undefined {
    return this.#methods.find(({ id }) => id === page.way.value);
  }

  /** Asks Grid for the list. Where nobody looks at it, a failure is not worth a word: it is asked for again. */
  async refresh(accountId = this.#host.acting()?.session.accountId ?? this.#accountId): Promise<void> {
    if (accountId === undefined) return;
    this.#accountId = accountId;
    const turn = ++this.#updates;
    try {
      const methods = await this.#host.signer.listCredentials(accountId);
      if (turn !== this.#updates) return; // overtaken by a later one
      this.#methods = methods;
      this.show();
    } catch (error) {
      if (turn !== this.#updates || !page.waysFold.open || page.ways.hidden) return;
      showFailure(page.waysError, "The ways to sign in could not be listed.", explain(error), [
        { label: "Try again", run: () => { clearFailure(); void this.refresh(accountId); } },
      ]);
    }
  }

  show(): void {
    const running = this.#host.isRunning();
    page.ways.hidden = this.#host.acting() === undefined;
    page.waysCount.textContent = this.#methods.length > 0 ? String(this.#methods.length) : "";
    page.addWayButton.setAttribute("aria-disabled", String(running));
    const ids = new Set(this.#methods.map(({ id }) => id));
    for (const [id, { item }] of this.#rows) {
      if (ids.has(id)) continue;
      const hadFocus = item.contains(document.activeElement);
      item.remove();
      this.#rows.delete(id);
      if (hadFocus) page.waysSummary.focus();
    }
    const from = this.#host.cameFrom();
    const isFrom = ({ type, nickname }: AuthMethod) => type === from?.type && nickname === from.nickname;
    const sure = this.#methods.filter(isFrom).length === 1; // names may repeat
    for (const method of this.#methods) {
      let row = this.#rows.get(method.id);
      if (row === undefined) {
        row = this.#make(method);
        this.#rows.set(method.id, row);
        page.wayList.append(row.item); // Grid's order is that in which they came
      }
      row.facts.textContent = `${kind(method.type)} · since ${since(method.createdAt)}${sure && isFrom(method) ? " · began this session" : ""}`;
      row.remove.textContent = this.#busy === method.id ? "Removing…" : "Remove";
      for (const button of [row.remove, row.confirm]) button.setAttribute("aria-disabled", String(running));
    }
    this.#showChoice();
    if (this.#methods.length > 0 && page.identity.value === "" && page.identity !== document.activeElement) page.identity.value = this.#nextPerson();
  }

  /** Offers the choice of a way to sign in where there is one. */
  #showChoice(): void {
    const usable = this.#methods.filter(({ type }) => type === "OAUTH"); // this page has no other
    const shown = Array.from(page.way.options, ({ value }) => value);
    page.wayField.hidden = usable.length < 2;
    if (shown.join() === usable.map(({ id }) => id).join()) return;
    const { value } = page.way;
    page.way.replaceChildren(...usable.map(({ id, nickname }) => el("option", { value: id }, nickname)));
    page.way.value = usable.some(({ id }) => id === value) ? value : (usable[0]?.id ?? "");
  }

  async #add(person: string): Promise<void> {
    if (person === "" || this.#host.isRunning()) return;
    page.addWayButton.textContent = "Adding…";
    const done = await this.#host.perform({
      kind: "credentials",
      place: atWays,
      deed: deeds.addCredential(),
      sentence: `adds ${person} as a way to sign in`,
      failed: "Not added.",
      act: async (options) => {
        const { nickname } = await this.#host.signer.addCredential({ type: "OAUTH", oidcToken: await freshToken(person) }, options);
        return { outcome: { state: "over", title: "One more way to sign in.", text: `${nickname} opens this account now.` }, status: "added" };
      },
      again: () => void this.#add(person),
      refusal: ({ status }) =>
        status === 400 && this.#methods.some(({ nickname }) => nickname === person) ? `${person} is a way to sign in already.` : undefined,
    });
    page.addWayButton.textContent = "Add";
    if (!done) return;
    const hadFocus = page.addWay.contains(document.activeElement);
    page.identity.value = "";
    page.addWay.open = false;
    if (hadFocus) page.addWaySummary.focus();
    await this.refresh();
  }

  async #remove(method: AuthMethod): Promise<void> {
    if (this.#host.isRunning()) return;
    this.#busy = method.id;
    const done = await this.#host.perform({
      kind: "credentials",
      place: atWays,
      deed: deeds.removeCredential(method.id),
      sentence: `removes ${method.nickname} as a way to sign in`,
      failed: "Not removed.",
      act: async (options) => {
        const { status } = await this.#host.signer.removeCredential(method.id, { ...options, type: method.type as CredentialType });
        this.#methods = this.#methods.filter(({ id }) => id !== method.id);
        const title = status === "removed" ? "It is removed." : "It was removed already.";
        return { outcome: { state: "over", title, text: `${method.nickname} opens this account no more. Sessions that it began are over.` }, status };
      },
      again: () => void this.#remove(method),
      refusal: ({ status, upstreamCode }) => {
        if (status === 400 && this.#methods.length === 1) return "It is the only way to sign in, and an account keeps one. Add another first.";
        if (status !== 401 || upstreamCode !== "WALLET_SIGNATURE_INVALID") return undefined;
        return "A session does not remove the way to sign in that it came from. Sign in with another one, and remove this one from there.";
      },
    });
    this.#busy = undefined;
    this.show();
    if (done) await this.refresh();
  }

  #make(method: AuthMethod): Row {
    const { nickname } = method;
    const facts = el("p");
    const remove = el("button", { type: "button", class: "revoke", "data-testid": "remove-way", "aria-label": `Remove ${nickname}` });
    const keep = el("button", { type: "button", "data-testid": "keep-way" }, "Keep it");
    const confirm = el("button", { type: "button", class: "revoke", "data-testid": "confirm-way" }, "Remove it");
    const question = el(
      "div",
      { class: "question", role: "group", "aria-label": `Remove ${nickname}?`, hidden: true },
      el("p", {}, el("b", {}, "Remove it for good?"), " Its sessions end too."),
      el("div", { class: "actions" }, keep, confirm),
    );
    const ask = (open: boolean) => {
      question.hidden = !open;
      remove.hidden = open;
      (open ? keep : remove).focus();
    };
    remove.addEventListener("click", () => {
      if (!this.#host.isRunning()) ask(true);
    });
    keep.addEventListener("click", () => ask(false));
    question.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") ask(false);
    });
    confirm.addEventListener("click", () => {
      if (this.#host.isRunning()) return;
      ask(false);
      void this.#remove(method);
    });
    const item = el("li", { class: "way", "data-testid": "way-row", "data-way-id": method.id }, el("div", { class: "who" }, el("h3", {}, nickname), facts), remove, question);
    return { item, facts, remove, confirm };
  }

  #nextPerson(): string {
    return people.find((person) => !this.#methods.some(({ nickname }) => nickname === person)) ?? "";
  }

  /** Connects the section's controls. */
  connect(): void {
    page.addWayForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#add(page.identity.value.trim());
    });
    page.waysFold.addEventListener("toggle", () => {
      if (page.waysFold.open) void this.refresh();
    });
  }
}
