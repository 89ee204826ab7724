// The exchange between browser, bridge and Grid, drawn while it happens.
import { type CallEvent, type SessionOutcome } from "gridsigner";
import { type Deed } from "./deeds.ts";
import { clock, el, type Fact, facts, icon, type IconName, shorten } from "./dom.ts";
import { explain, type Failure } from "./failure.ts";
import { inWords, type Outcome, outcomeIcons, outcomeOf } from "./outcome.ts";
import { announce, page } from "./page.ts";
import { describePayload, openStamp } from "./payload.ts";

type Step = CallEvent["step"] | "note" | "result";

/** What happens in the browser between two requests: what is sealed, what is checked. Never what is secret about it. */
export interface Note {
  readonly icon: IconName;
  readonly title: string;
  readonly sentence: string;
  /** What that comes to. */
  readonly meaning: string;
  readonly facts: readonly Fact[];
  /** More of them, folded. */
  readonly more?: { readonly title: string; readonly facts: readonly Fact[] };
  /** It is about the private key. */
  readonly isKey?: boolean;
}

/** What an exchange is about. */
export interface Subject {
  /** Undefined where it is about no session, or about all others. */
  readonly sessionId: string | undefined;
  /** Undefined for all others, whose steps are not drawn. */
  readonly deed: Deed | undefined;
  /** The session ends itself. */
  readonly own: boolean;
  /** Name of the device whose key signs. */
  readonly signer: string;
}

const statusWords: Readonly<Record<number, string>> = {
  200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
  429: "Too Many Requests", 500: "Server Error", 502: "Bad Gateway", 503: "Unavailable", 504: "Gateway Timeout",
};

/** The signer's reasons for a pause that are not plain enough as they are. */
const pauses: Readonly<Record<string, string>> = { network: "no answer from the bridge", processing: "Grid is still at it" };

/** Keeps the drawing in view beside a long list: all of it or, where it is higher than the window, its end. */
export function keepInView(): void {
  const place = () => {
    const top = Math.min(20, window.innerHeight - page.exchangeCard.offsetHeight - 20);
    page.exchangeCard.style.setProperty("--stick", `${top}px`);
  };
  new ResizeObserver(place).observe(page.exchangeCard);
  window.addEventListener("resize", place);
}

/** One exchange in the page's drawing. Starting it clears the one before, of which no more is drawn. */
export class Exchange {
  static #shown: Exchange;
  readonly #list = page.exchange;
  readonly #subject: Subject;
  readonly #legsSeen = new Set<number>();
  #deed: Deed | undefined;
  #isEnded = false;
  #request: HTMLLIElement | undefined;
  /** Says that Grid is still to be told, as long as that is so. */
  #unfinished: HTMLLIElement | undefined;

  constructor(subject: Subject) {
    Exchange.#shown = this;
    this.#subject = subject;
    this.#deed = subject.deed;
    this.#list.replaceChildren();
    this.#setBusy(true);
  }

  /** It goes on with another request. */
  about(deed: Deed): void {
    this.#deed = deed;
    this.#legsSeen.clear();
    this.#setBusy(true);
  }

  /** Whether it is still the one that is drawn, and has no end yet. */
  get isOpen(): boolean {
    return Exchange.#shown === this && !this.#isEnded;
  }

  /** It waits for the person. */
  rest(): void {
    this.#setBusy(false);
  }

  /** Draws what the browser does. Returns its undo. */
  note({ icon: name, title, sentence, meaning, facts: list, more, isKey }: Note): () => void {
    const item = this.#add(
      "note",
      `paper${isKey ? " is-key" : ""}`,
      el("h3", {}, icon(name), title),
      el("p", { class: "sentence" }, sentence, el("strong", {}, ` ${meaning}`)),
      facts(list),
      more && el("details", {}, el("summary", {}, more.title), facts(more.facts)),
    );
    return () => item.remove();
  }

  /** Draws one step. */
  record(event: CallEvent): void {
    switch (event.step) {
      case "request": return this.#drawRequest(event.leg);
      case "response": return this.#drawResponse(event.status);
      case "challenge": return this.#drawChallenge(event);
      case "signed": return this.#drawSigned(event);
      case "wait": return this.#drawWait(event);
    }
  }

  finish(outcome: Outcome, status: string, failure?: Failure): void {
    const key = this.#subject.own && outcome.state === "over" ? " The key in this browser is destroyed too." : "";
    const item = this.#conclude(outcome.state, outcome.title, `${outcome.text}${key}${failure ? " Why:" : ""}`, failure);
    item.dataset["status"] = status;
    this.#unfinished?.remove();
    this.#unfinished = outcome.state === "leaving" ? item : undefined;
  }

  /** What became of a sign-out that was not finished when the exchange was. */
  end(sessionId: string, outcome: Outcome): void {
    if (this.#unfinished !== undefined && sessionId === this.#subject.sessionId) this.finish(outcome, outcome.state);
  }

  /** What became of each session that was not the signer's own. Nothing is said to be over that may not be. */
  finishOthers(results: readonly SessionOutcome[], nameOf: (sessionId: string | undefined) => string): void {
    for (const result of results) {
      const name = nameOf(result.sessionId);
      const item = result.status === undefined
        ? this.#conclude("left", name, "Not signed out:", explain(result.error))
        : this.#conclude(outcomeOf(result).state, name, inWords(outcomeOf(result)));
      item.dataset["sessionId"] = result.sessionId;
      item.dataset["status"] = result.status ?? "left";
    }
    if (results.length === 0) this.#conclude("over", "There was no other.", "Grid lists this session alone.");
  }

  fail(title: string): void {
    this.#conclude("left", title, "").dataset["status"] = "failed";
  }

  #drawRequest(leg: 1 | 2): void {
    const again = this.#legsSeen.has(leg) ? " again" : "";
    this.#legsSeen.add(leg);
    const { ask, request, carries } = this.#deed ?? { ask: "do it", request: "", carries: undefined };
    this.#request = this.#add(
      "request",
      "hop to-grid",
      hop("a", "Browser to bridge", leg === 1 ? `Ask to ${ask}${again}` : `Ask${again}, signed`,
        el("span", { class: "mono" }, request),
        carries === undefined ? undefined : el("span", {}, carries),
        leg === 2 ? el("span", { class: "mono is-key" }, "+ Grid-Wallet-Signature") : undefined,
        leg === 2 ? el("span", { class: "mono is-key" }, "+ Request-Id") : undefined),
    );
  }

  /**
   * Who answered is known only from answers that Grid alone gives. Any other may
   * be the bridge's own refusal, so no way to Grid and back is drawn for it.
   */
  #drawResponse(status: number): void {
    const answer = `${status} ${statusWords[status] ?? ""}`.trim();
    const meaning = this.#deed?.answers[status];
    if (meaning === undefined) {
      this.#add("response", "hop to-browser is-bad", hop("a", "Bridge to browser", answer));
      return;
    }
    this.#request?.append(hop("b", "Bridge to Grid", "Forwarded", el("span", { class: "mono is-secret" }, "+ API credentials")));
    this.#add(
      "response",
      `hop to-browser ${status < 300 ? "is-good" : "is-bad"}`,
      hop("b", "Grid to bridge", answer, el("span", {}, meaning)),
      hop("a", "Bridge to browser", "Passed on", el("span", {}, "byte for byte")),
    );
  }

  #drawChallenge(event: Extract<CallEvent, { step: "challenge" }>): void {
    const words = describePayload(event.payload, event.kind, this.#deed?.signsToken);
    const size = new TextEncoder().encode(event.payload).length;
    this.#add(
      "challenge",
      "paper",
      el("h3", {}, "What the key is asked to sign"),
      el("p", { class: "sentence" }, words.sentence, words.meaning === undefined ? undefined : el("strong", {}, ` ${words.meaning}`)),
      facts([
        ["Request id", event.requestId],
        ["Good until", deadline(event.expiresAt)],
        ...(event.type === undefined ? [] : [["Sign-in type", event.type] as const]),
      ]),
      el("details", {}, el("summary", {}, `Payload, ${size} bytes`), facts(words.facts), el("pre", { class: "mono", tabindex: "0" }, event.payload)),
    );
  }

  #drawSigned(event: Extract<CallEvent, { step: "signed" }>): void {
    const stamp = event.format === "stamp" ? openStamp(event.signature) : undefined;
    const copy = el("button", { type: "button", class: "quiet", "aria-label": "Copy the signature header" }, icon("copy"), "Copy");
    copy.addEventListener("click", () => {
      navigator.clipboard.writeText(event.signature).then(
        () => announce("Signature header copied."),
        () => announce("The browser did not allow copying."),
      );
    });
    this.#add(
      "signed",
      "paper is-key",
      el("h3", {}, icon("key"), `Signed by ${this.#subject.signer}, in the browser`),
      el("p", { class: "header-line" }, el("span", { class: "mono" }, "Grid-Wallet-Signature: ", el("b", {}, shorten(event.signature, 14, 6))), copy),
      stamp === undefined
        ? el("p", { class: "hint" }, `Format der: a base64 ECDSA signature, ${event.signature.length} characters.`)
        : el("details", {}, el("summary", {}, "Format stamp: open it"), facts([
          ["publicKey", stamp.publicKey], ["scheme", stamp.scheme], ["signature", stamp.signature],
        ])),
    );
  }

  #drawWait(event: Extract<CallEvent, { step: "wait" }>): void {
    const seconds = (event.ms / 1000).toLocaleString(undefined, { maximumFractionDigits: 1 });
    this.#add("wait", "pause", icon("wait"), el("p", {}, `Waits ${seconds} s, then tries again: ${pauses[event.reason] ?? event.reason}`));
  }

  #conclude(state: Outcome["state"], title: string, text: string, failure?: Failure): HTMLLIElement {
    const code = failure && el("code", {}, failure.code);
    const item = this.#add("result", `outcome is-${state}`, icon(outcomeIcons[state]), el("p", {}, el("b", {}, title), ` ${text} `, failure && `${failure.message} `, code));
    this.#isEnded = true;
    this.#setBusy(false);
    return item;
  }

  #setBusy(on: boolean): void {
    if (Exchange.#shown === this) this.#list.setAttribute("aria-busy", String(on));
  }

  #add(step: Step, className: string, ...children: Array<Node | undefined>): HTMLLIElement {
    const item = el("li", { class: `step ${className}`, "data-step": step }, ...children);
    if (Exchange.#shown === this) this.#list.append(item);
    return item;
  }
}

/** One arrow between two lanes. On a phone the lanes' names stand where the arrow would be. */
function hop(lane: "a" | "b", route: string, title: string, ...details: Array<Node | undefined>): HTMLElement {
  return el(
    "div",
    { class: `leg leg-${lane}` },
    el("p", { class: "leg-title" }, el("span", { class: "route" }, `${route}: `), el("b", {}, title)),
    el("span", { class: "wire", "aria-hidden": "true" }),
    el("p", { class: "leg-details" }, ...details),
  );
}

/** The challenge is not judged yet when it is shown, so its time may be anything. */
function deadline(instant: string): string {
  const seconds = Math.round((Date.parse(instant) - Date.now()) / 1000);
  if (Number.isNaN(seconds)) return instant;
  if (seconds <= 0) return `${clock(instant)}, which is past`;
  return `${clock(instant)}, ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} from now`;
}
