// The ways to sign in: the list, the form that adds one, and the question, in place, before one is removed.
import { type AuthMethod, createPasskey, type CredentialType, type NewAuthMethod, type Signer } from "gridsigner";
import { deeds } from "./deeds.ts";
import { type Device } from "./device.ts";
import { el, since } from "./dom.ts";
import { clearFailure, explain, showFailure } from "./failure.ts";
import { type Config, freshToken } from "./login.ts";
import { atWays, page } from "./page.ts";
import { type Task } from "./stage.ts";

/** What the list needs of the page around it. */
export interface Host {
  readonly signer: Signer;
  readonly config: Config;
  /** Draws the page anew. */
  show(): void;
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

/** What the form that adds one says, by type. */
const additions: Readonly<Record<string, { readonly label: string; readonly hint: string }>> = {
  OAUTH: { label: "Account at the identity provider", hint: "In real life the provider's own page opens and vouches for you. The sandbox takes any name." },
  EMAIL_OTP: { label: "Address", hint: "Where codes go is in Grid's customer record. This browser signs for the address that you see, and for no other." },
  SMS_OTP: { label: "Number", hint: "Where codes go is in Grid's customer record. This browser signs for the number that you see, and for no other." },
  PASSKEY: { label: "Name", hint: "Your browser makes a real passkey, for this site. The name is for you to know it by." },
};

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
  #isKnown = false;
  #isAdding = false;
  #busy: string | undefined;
  #accountId: string | undefined;
  #updates = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Undefined as long as Grid has not said. */
  get methods(): readonly AuthMethod[] | undefined {
    return this.#isKnown ? this.#methods : undefined;
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
      this.#isKnown = true;
      this.#host.show();
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
    this.#suggest();
  }

  /** Puts into the form what is likely. */
  #suggest(): void {
    const { email, phoneNumber } = this.#host.config;
    const type = page.addType.value;
    const { label, hint } = additions[type]!;
    const isFixed = type === "EMAIL_OTP" || type === "SMS_OTP";
    if (page.identity.dataset["type"] !== type) page.identity.value = "";
    page.identity.dataset["type"] = type;
    page.identityLabel.textContent = label;
    page.identityHint.textContent = hint;
    page.identity.readOnly = isFixed;
    page.addWayButton.textContent = this.#isAdding ? "Adding…" : "Add";
    if (page.identity.value !== "" || (this.#methods.length === 0 && !isFixed) || page.identity === document.activeElement) return;
    page.identity.value = type === "EMAIL_OTP" ? email : type === "SMS_OTP" ? phoneNumber : type === "PASSKEY" ? this.#nextPasskey() : this.#nextPerson();
  }

  /** Opens the form for one of this type. */
  showAdding(type: string): void {
    page.waysFold.open = page.addWay.open = true;
    page.addType.value = type;
    this.#suggest();
    page.addType.focus();
  }

  async #add(type: string, name: string): Promise<void> {
    if (name === "" || this.#host.isRunning()) return;
    this.#isAdding = true;
    const done = await this.#host.perform({
      kind: "credentials",
      place: atWays,
      deed: deeds.addCredential(),
      sentence: `adds ${name} as a way to sign in`,
      failed: "Not added.",
      act: async (options) => {
        const { nickname } = await this.#host.signer.addCredential(await this.#submission(type, name, options.signal), options);
        return { outcome: { state: "over", title: "One more way to sign in.", text: `${kind(type)}: ${nickname} opens this account now.` }, status: "added" };
      },
      again: () => void this.#add(type, name),
      refusal: ({ status }) => {
        const isThere = this.#methods.some((method) => method.type === type && method.nickname === name);
        return status === 400 && isThere ? `${name} is a way to sign in already.` : undefined;
      },
    });
    this.#isAdding = false;
    this.#suggest();
    if (!done) return;
    const hadFocus = page.addWay.contains(document.activeElement);
    page.identity.value = "";
    page.addWay.open = false;
    if (hadFocus) page.addWaySummary.focus();
    await this.refresh();
  }

  /** What is to be added. A passkey the browser makes now, which wants a click. */
  async #submission(type: string, name: string, signal: AbortSignal | undefined): Promise<NewAuthMethod> {
    const { email, phoneNumber } = this.#host.config;
    switch (type) {
      case "EMAIL_OTP": return { type, email };
      case "SMS_OTP": return { type, phoneNumber };
      case "PASSKEY": return createPasskey({ nickname: name, userName: email, rpName: "gridsigner demo", exclude: this.#methods, signal });
      default: return { type: "OAUTH", oidcToken: await freshToken(name) };
    }
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
    this.#host.show();
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

  #nextPasskey(): string {
    const count = this.#methods.filter(({ type }) => type === "PASSKEY").length;
    return count === 0 ? "My passkey" : `My passkey ${count + 1}`;
  }

  /** Connects the section's controls. */
  connect(): void {
    page.addWayForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#add(page.addType.value, page.identity.value.trim());
    });
    page.addType.addEventListener("change", () => this.#suggest());
    page.waysFold.addEventListener("toggle", () => {
      if (page.waysFold.open) void this.refresh();
    });
  }
}
