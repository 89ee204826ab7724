// The card that signs in: the choice of a way, the form for a code, and the simulated inbox beside it.
import { type AuthMethod, GridSignerError, type OtpSignIn, type SessionKey, type Signer } from "gridsigner";
import { chosenCurve } from "./curves.ts";
import { el } from "./dom.ts";
import { byCode, byPasskey, byToken, type Newcomer, sendCode, type Telling } from "./entries.ts";
import { type Exchange } from "./exchange.ts";
import { type Action, clearFailure, explain, showFailure } from "./failure.ts";
import { type Config, newestCode, RequestError } from "./login.ts";
import { begun } from "./outcome.ts";
import { atSessions, page } from "./page.ts";

/** What the card needs of the page around it. */
export interface Door {
  readonly signer: Signer;
  readonly config: Config;
  /** Clears what was said before, and the drawing for a sign-in, if there is room for one. */
  begin(name: string, sentence: string): Exchange | undefined;
  /** Acts as the device that has just signed in. */
  welcome(key: SessionKey): Promise<void>;
  refreshWays(): void;
  /** Draws the page anew. */
  show(): void;
  /** Shows where a way is added. */
  showAdding(type: string): void;
  /** A name that no device has. */
  nextName(): string;
}

interface Kind {
  readonly types: readonly string[];
  /** Of the choice between several of the kind. */
  readonly label: string;
  readonly press: string;
  readonly busy: string;
  /** After the name of the device. */
  readonly sentence: string;
  readonly missing: string;
}

const kinds: Readonly<Record<string, Kind>> = {
  oauth: { types: ["OAUTH"], label: "Account", press: "Sign in", busy: "Signing in…", sentence: "signs in by OAuth", missing: "No identity provider vouches for this account." },
  code: { types: ["EMAIL_OTP", "SMS_OTP"], label: "Send the code to", press: "Send a code", busy: "Sending…", sentence: "signs in by a code", missing: "This account has no address or number for codes." },
  passkey: { types: ["PASSKEY"], label: "Passkey", press: "Sign in", busy: "Signing in…", sentence: "signs in by a passkey", missing: "This account has no passkey." },
};

/** A code that the person is asked for. */
interface Asked {
  readonly otp: OtpSignIn;
  readonly way: AuthMethod;
  readonly newcomer: Newcomer;
  readonly drawing: Exchange | undefined;
}

export class SignInCard {
  readonly #door: Door;
  #methods: readonly AuthMethod[] | undefined;
  #asked: Asked | undefined;
  #isBusy = false;
  /** What was chosen among the ways of a kind. */
  readonly #chosen = new Map<Kind, string>();

  constructor(door: Door) {
    this.#door = door;
  }

  /** Draws the choice. `methods` is undefined as long as Grid has not said what there is. */
  show(methods: readonly AuthMethod[] | undefined, isActing: boolean): void {
    this.#methods = methods;
    const kind = this.#kind;
    const usable = this.#usable();
    const title = isActing ? "Sign in on another device" : "Sign in";
    page.signInTitle.textContent = this.#asked === undefined ? title : "Enter the code";
    page.wayLabel.textContent = kind.label;
    page.way.hidden = usable.length === 0;
    const words = ({ type, nickname }: AuthMethod) => (type === "SMS_OTP" ? `${nickname}, by SMS` : type === "EMAIL_OTP" ? `${nickname}, by email` : nickname);
    const shown = Array.from(page.way.options, ({ value }) => value).join();
    if (shown !== usable.map(({ id }) => id).join()) {
      page.way.replaceChildren(...usable.map((method) => el("option", { value: method.id }, words(method))));
    }
    page.way.value = usable.find(({ id }) => id === this.#chosen.get(kind))?.id ?? usable[0]?.id ?? "";
    const isUnknown = methods === undefined && kind.types.includes("OAUTH"); // then by the one that the account began with
    page.wayMissing.hidden = usable.length > 0;
    page.wayMissing.firstChild!.nodeValue = isUnknown ? "The one that this account began with. "
      : methods === undefined ? "Grid has not said yet what there is. "
      : isActing ? `${kind.missing} ` : `${kind.missing} Come in another way and add one, under “Ways to sign in”.`;
    page.addMissing.hidden = methods === undefined || !isActing;
    this.#showState();
  }

  get #kind(): Kind {
    return kinds[String(new FormData(page.signInForm).get("by"))] ?? kinds["oauth"]!;
  }

  #usable(): readonly AuthMethod[] {
    return (this.#methods ?? []).filter(({ type }) => this.#kind.types.includes(type));
  }

  #showState(): void {
    const { press, busy, types } = this.#kind;
    const isMissing = this.#usable().length === 0 && !(types.includes("OAUTH") && this.#methods === undefined);
    page.signInForm.hidden = this.#asked !== undefined;
    page.codeForm.hidden = this.#asked === undefined;
    page.curveHint.hidden = this.#asked !== undefined;
    page.codeHint.hidden = this.#asked === undefined;
    page.signInButton.textContent = this.#isBusy ? busy : press;
    page.signInButton.setAttribute("aria-disabled", String(this.#isBusy || isMissing));
    page.codeButton.textContent = this.#isBusy ? "Signing in…" : "Sign in";
    for (const button of [page.codeButton, page.useCode, page.sendAnother, page.anotherWay]) button.setAttribute("aria-disabled", String(this.#isBusy));
  }

  /** Begins, by the way that is chosen. */
  async #start(): Promise<void> {
    const way = this.#usable().find(({ id }) => id === page.way.value);
    const newcomer = { name: page.deviceName.value.trim() || this.#door.nextName(), curve: chosenCurve() };
    const { types, sentence } = this.#kind;
    if (page.signInButton.getAttribute("aria-disabled") === "true") return;
    const { signer } = this.#door;
    if (types.includes("OAUTH")) await this.#enter(newcomer, sentence, (telling) => byToken(signer, way, newcomer, telling));
    else if (types.includes("PASSKEY")) await this.#enter(newcomer, sentence, (telling) => byPasskey(signer, way!, newcomer, telling));
    else await this.#send(way!, newcomer);
  }

  async #send(way: AuthMethod, newcomer: Newcomer): Promise<void> {
    await this.#work(newcomer, kinds["code"]!.sentence, async (telling) => {
      const otp = await sendCode(this.#door.signer, way, newcomer, telling, this.#door.config.otpSigners);
      this.#asked = { otp, way, newcomer, drawing: telling.drawing };
      page.codeTo.textContent = otp.nickname;
      page.code.value = "";
      page.code.removeAttribute("aria-invalid");
      page.signInTitle.textContent = "Enter the code";
      page.codeForm.hidden = false; // what is hidden cannot have the focus
      page.code.focus();
      void this.#readInbox(otp);
    });
  }

  /** Shows what a person would find in their mail. */
  async #readInbox({ credentialId, nickname }: OtpSignIn): Promise<void> {
    page.inboxMail.textContent = `To ${nickname}`;
    page.inboxCode.value = "";
    const code = await newestCode(credentialId).catch(() => undefined);
    if (this.#asked?.otp.credentialId !== credentialId) return;
    if (code === undefined) page.inboxMail.textContent = "Nothing has come.";
    page.inboxCode.value = code ?? "";
    page.useCode.hidden = code === undefined;
  }

  async #submit(code: string): Promise<void> {
    const asked = this.#asked;
    if (asked === undefined || this.#isBusy || code === "") return;
    const { otp, newcomer, drawing } = asked;
    page.code.removeAttribute("aria-invalid");
    const sentence = kinds["code"]!.sentence;
    const isIn = await this.#enter(newcomer, sentence, (telling) => byCode(otp, code, newcomer, telling), drawing);
    if (isIn) this.#leaveCode(atSessions.home);
  }

  /** Back to the choice of a way. */
  #leaveCode(focus: HTMLElement): void {
    this.#asked = undefined;
    page.code.value = "";
    page.inboxCode.value = "";
    this.#door.show();
    focus.focus();
  }

  /** Signs in, and says whether it came to that. */
  async #enter(newcomer: Newcomer, sentence: string, act: (telling: Telling) => Promise<SessionKey>, drawing?: Exchange): Promise<boolean> {
    return this.#work(newcomer, sentence, async (telling) => {
      const key = await act(telling);
      telling.drawing?.finish(begun(key.session!), "begun");
      await this.#door.welcome(key);
    }, drawing);
  }

  /** Does what takes a while, goes on with `drawing` if that is still open, and says what failed. */
  async #work({ name }: Newcomer, sentence: string, act: (telling: Telling) => Promise<void>, drawing?: Exchange): Promise<boolean> {
    this.#isBusy = true;
    const open = drawing?.isOpen ? drawing : this.#door.begin(name, sentence);
    clearFailure();
    this.#showState();
    try {
      await act({ drawing: open, say: (words) => this.#say(words) });
      return true;
    } catch (error) {
      open?.fail("Not signed in.");
      this.#fail(error);
      return false;
    } finally {
      this.#isBusy = false;
      this.#say("");
      this.#showState();
    }
  }

  #say(words: string): void {
    page.signInProgress.textContent = words;
    page.signInFoot.dataset["busy"] = String(words !== "");
  }

  #fail(error: unknown): void {
    const { code, ...failure } = explain(error);
    const actions: Action[] = code === "OTP_EXPIRED" ? [{ label: "Send another code", run: () => this.#sendAnother() }] : [];
    showFailure(page.signInError, "Not signed in.", { code, ...failure, advice: adviceOn(error) ?? failure.advice }, actions);
    if (this.#asked !== undefined && (code === "OTP_INCORRECT" || code === "ARGUMENT_INVALID")) {
      page.code.setAttribute("aria-invalid", "true");
      page.code.focus();
      page.code.select();
    }
    const isGone = (error instanceof GridSignerError || error instanceof RequestError) && error.status === 404;
    if (isGone) this.#door.refreshWays();
  }

  #sendAnother(): void {
    if (this.#asked !== undefined && !this.#isBusy) void this.#send(this.#asked.way, this.#asked.newcomer);
  }

  /** Connects the card's controls. */
  connect(): void {
    const onSubmit = (form: HTMLFormElement, act: () => Promise<void>) =>
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        void act();
      });
    onSubmit(page.signInForm, () => this.#start());
    onSubmit(page.codeForm, () => this.#submit(page.code.value.trim()));
    page.signInForm.addEventListener("change", ({ target }) => {
      if (target === page.way) this.#chosen.set(this.#kind, page.way.value);
      if (this.#methods === undefined) this.#door.refreshWays();
      this.#door.show();
    });
    page.addMissing.addEventListener("click", () => this.#door.showAdding(this.#kind.types[0]!));
    page.useCode.addEventListener("click", () => {
      if (this.#isBusy) return;
      page.code.value = page.inboxCode.value;
      page.codeButton.focus();
    });
    page.sendAnother.addEventListener("click", () => this.#sendAnother());
    page.anotherWay.addEventListener("click", () => {
      if (this.#isBusy) return;
      clearFailure();
      this.#leaveCode(page.signInForm.querySelector<HTMLInputElement>("[name=by]:checked")!);
    });
  }
}

/** What a refusal means to who signs in; undefined where it is nothing special. */
function adviceOn(error: unknown): string | undefined {
  if (!(error instanceof GridSignerError) || error.code !== "UPSTREAM_REFUSED" || error.upstreamCode?.startsWith("BRIDGE_")) return undefined;
  if (error.status === 404) return "Grid has no such way to sign in any more. Choose another one.";
  if (error.status === 401) return "Grid does not take this for a proof of who you are. Try once more, or choose another way.";
  return undefined;
}
