// One exchange at a time, from the button to what comes of it: the page has room to draw one.
import { GridSignerError, type SessionEvent, type SignedCallOptions } from "gridsigner";
import { type Deed } from "./deeds.ts";
import { type Device } from "./device.ts";
import { Exchange, type Note, type Subject } from "./exchange.ts";
import { explain, showFailure } from "./failure.ts";
import { inWords, type Outcome } from "./outcome.ts";
import { announce, atSessions, page, type Place } from "./page.ts";

/** The exchange under way. */
export interface Running {
  readonly kind: "end" | "end-others" | "refresh" | "credentials" | "wallet";
  readonly actor: Device;
  /** The session that is ended or refreshed, if it is one. */
  readonly sessionId?: string;
  /** A sign-out cannot be stopped. */
  readonly abort?: AbortController;
}

/** Where an exchange is told of, and how. */
interface Telling {
  readonly place?: Place;
  /** After the name of the device that signs. */
  readonly sentence: string;
  /** Of one thing: how its steps are drawn. */
  readonly deed?: Deed;
}

/** Something that the acting device is to sign. */
export interface Task extends Telling {
  readonly kind: "refresh" | "credentials" | "wallet";
  readonly place: Place;
  /** The title of a failure. */
  readonly failed: string;
  act(options: SignedCallOptions): Promise<{ readonly outcome: Outcome; readonly status: string; readonly note?: Note }>;
  again(): void;
  /** What a refusal means here; undefined where that is nothing special. */
  refusal?(error: GridSignerError): string | undefined;
}

export class Stage {
  running: Running | undefined;
  /** The one that is drawn. */
  exchange: Exchange | undefined;
  readonly #show: () => void;
  readonly #follow: () => Promise<void>;

  /** `show` draws the page anew; `follow` brings it in line with the keys. */
  constructor(show: () => void, follow: () => Promise<void>) {
    this.#show = show;
    this.#follow = follow;
  }

  /** Whether the exchange under way is what brings the event about. */
  isBringing({ type, key, session }: SessionEvent): boolean {
    switch (this.running?.kind) {
      case "end": return this.running.sessionId === session.id;
      case "end-others": return true;
      case "refresh": return type === "refreshed" && key === this.running.actor.key.id;
      default: return false;
    }
  }

  /** Clears the drawing for an exchange, and says what it is. */
  begin(running: Running, { place = atSessions, sentence, deed }: Telling): Exchange {
    const { actor, sessionId, kind } = running;
    place.status.after(page.toExchange, page.stop);
    announce(`${actor.name} ${sentence}.`, place);
    const own = kind === "end" && sessionId === actor.session.id;
    const exchange = this.#draw(sentence, { sessionId, own, signer: actor.name, deed });
    this.running = running;
    this.#show();
    return exchange;
  }

  /** Clears the drawing for a sign-in, which waits for nothing else: beside an exchange it is not drawn. */
  beginSignIn(name: string, sentence: string): Exchange | undefined {
    if (this.running !== undefined) return undefined;
    return this.#draw(sentence, { sessionId: undefined, own: false, signer: name, deed: undefined });
  }

  #draw(sentence: string, subject: Subject): Exchange {
    page.exchangeIntro.textContent = `${subject.signer} ${sentence}.`;
    page.toExchange.hidden = false;
    page.preview.hidden = true;
    this.exchange = new Exchange(subject);
    return this.exchange;
  }

  async end({ status }: Place = atSessions): Promise<void> {
    this.running = undefined;
    this.#show();
    status.scrollIntoView({ block: "nearest" });
    await this.#follow();
  }

  /** Says what failed where the person acts, and marks the place in the drawing. */
  fail(exchange: Exchange, title: string, error: unknown, again: () => void, place = atSessions, advice?: string): void {
    const failure = explain(error);
    place.status.replaceChildren(); // the error speaks for itself
    exchange.fail(title);
    const actions = failure.retryable ? [{ label: "Try again", run: again }] : [];
    showFailure(place.error, title, { ...failure, ...(advice && { advice }) }, actions);
  }

  /** Has the device sign what the task asks for, and draws how. Says whether it was done. */
  async perform(actor: Device, task: Task): Promise<boolean> {
    const { kind, place, failed } = task;
    const abort = new AbortController();
    const exchange = this.begin({ kind, actor, abort }, task);
    try {
      const { outcome, status, note } = await task.act({ key: actor.key, signal: abort.signal, onProgress: exchange.record.bind(exchange) });
      if (note !== undefined) exchange.note(note);
      exchange.finish(outcome, status);
      await this.end(place);
      announce(inWords(outcome), place);
      return true;
    } catch (error) {
      await this.end(place);
      const advice = error instanceof GridSignerError ? task.refusal?.(error) : undefined;
      this.fail(exchange, failed, error, () => task.again(), place, advice);
      return false;
    }
  }
}
