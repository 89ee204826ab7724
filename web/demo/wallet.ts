// The wallet's recovery phrase: behind a warning and a second click, and hidden again. It is nowhere but in the page's list of words.
import { type Signer } from "gridsigner";
import { deeds } from "./deeds.ts";
import { type Device } from "./device.ts";
import { el, shorten } from "./dom.ts";
import { type Config } from "./login.ts";
import { announce, atWallet, page } from "./page.ts";
import { type Task } from "./stage.ts";

/** How long the words are shown. */
const shownMs = 60_000;

/** What the card needs of the page around it. */
export interface Owner {
  readonly signer: Signer;
  readonly config: Config;
  acting(): Device | undefined;
  isRunning(): boolean;
  perform(task: Task): Promise<boolean>;
}

export class Wallet {
  readonly #owner: Owner;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whose words are shown. */
  #shownTo: string | undefined;

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  show(): void {
    const acting = this.#owner.acting();
    page.wallet.hidden = acting === undefined;
    for (const button of [page.exportButton, page.showPhrase]) button.setAttribute("aria-disabled", String(this.#owner.isRunning()));
    if (acting?.key.id !== this.#shownTo) this.#hide();
  }

  async #export(): Promise<void> {
    const actor = this.#owner.acting();
    if (actor === undefined || this.#owner.isRunning()) return;
    const { accountId } = actor.session;
    const { signer, config } = this.#owner;
    let phrase = "";
    await this.#owner.perform({
      kind: "wallet",
      place: atWallet,
      deed: deeds.exportWallet(accountId),
      sentence: "asks for the wallet’s recovery phrase",
      failed: "Not exported.",
      act: async (options) => {
        phrase = await signer.exportWallet(accountId, options);
        return {
          outcome: { state: "over", title: "The phrase is opened.", text: "In this browser alone. It is hidden again after a minute." },
          status: "exported",
          note: {
            icon: "lock", isKey: true,
            title: "Checked, and opened in the browser",
            sentence: "The phrase came sealed to a key of this moment, in an envelope that Grid’s enclave has signed:",
            meaning: "nobody on the way could read it or put in another. It is not in this drawing.",
            facts: [["Signed by", config.exportSigners.map((key) => shorten(key, 18, 8)).join(" or ")]],
          },
        };
      },
      again: () => this.#ask(true),
    });
    if (phrase !== "" && this.#owner.acting()?.key.id === actor.key.id) this.#reveal(phrase, actor.key.id);
  }

  #reveal(phrase: string, keyId: string): void {
    this.#hide();
    this.#shownTo = keyId;
    page.words.replaceChildren(...phrase.split(" ").map((word) => el("li", {}, word)));
    page.phrase.hidden = false;
    page.exportButton.hidden = true;
    page.hidePhrase.focus();
    this.#timer = setTimeout(() => this.#hide(), shownMs);
  }

  #hide(): void {
    if (this.#shownTo === undefined) return;
    const hadFocus = page.phrase.contains(document.activeElement);
    clearTimeout(this.#timer);
    this.#shownTo = undefined;
    page.words.replaceChildren();
    page.phrase.hidden = true;
    page.exportButton.hidden = false;
    announce("The words are hidden again.", atWallet);
    if (hadFocus) page.exportButton.focus();
  }

  #ask(open: boolean): void {
    page.exportQuestion.hidden = !open;
    page.exportButton.hidden = open;
    (open ? page.keepSealed : page.exportButton).focus();
  }

  /** Connects the card's controls. */
  connect(): void {
    page.exportButton.addEventListener("click", () => {
      if (!this.#owner.isRunning()) this.#ask(true);
    });
    page.keepSealed.addEventListener("click", () => this.#ask(false));
    page.exportQuestion.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.#ask(false);
    });
    page.showPhrase.addEventListener("click", () => {
      if (this.#owner.isRunning()) return;
      this.#ask(false);
      void this.#export();
    });
    page.hidePhrase.addEventListener("click", () => this.#hide());
    page.walletFold.addEventListener("toggle", () => {
      if (!page.walletFold.open) this.#hide();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#hide();
    });
  }
}
