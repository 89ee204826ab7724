// What ends sessions: one by its button or its id, and all others at once.
import { type AuthSession, type Signer } from "gridsigner";
import { deeds } from "./deeds.ts";
import { type Device } from "./device.ts";
import { explain, showFailure } from "./failure.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { announce, page } from "./page.ts";
import { type Stage } from "./stage.ts";

/** Shaped like an attempt to leave the sessions' path. The signer refuses it before anything is sent. */
const malformedId = "Session:../../customers";

/** How long a sign-out is waited for. It goes on after that, and the page shows it in any case. */
const patienceMs = 8_000;

/** What it needs of the page around it. */
export interface Room {
  readonly signer: Signer;
  readonly stage: Stage;
  readonly devices: readonly Device[];
  acting(): Device | undefined;
  isRunning(): boolean;
  /** The sessions that count as signed in. */
  listed(): readonly AuthSession[];
  /** Asks Grid for them again. */
  refresh(): Promise<void>;
  /** A session is no more. */
  drop(sessionId: string): void;
  clearNews(): void;
  /** Says how the end of a session went. */
  tell(sessionId: string, whose: string, outcome: Outcome, more?: string): void;
}

export class Endings {
  readonly #room: Room;
  #lastEnded = "";

  constructor(room: Room) {
    this.#room = room;
  }

  /** Ends a session with the acting device's key, and draws how. */
  async revoke(sessionId: string): Promise<void> {
    const actor = this.#room.acting();
    if (actor === undefined || this.#room.isRunning()) return;
    const target = this.#room.devices.find(({ session }) => session.id === sessionId);
    const own = target === actor;
    const listed = this.#room.listed().some(({ id }) => id === sessionId);
    const [whose, deed] = own ? [actor.name, "signs out"]
      : target !== undefined ? [target.name, `ends the session of ${target.name}`]
      : listed ? ["Another browser", "ends the session of another browser"]
      : ["The id that you gave", "ends the session with the id that you gave"];
    const abort = new AbortController();
    const running = { kind: "end", actor, sessionId, ...(own ? {} : { abort }) } as const;
    this.#room.clearNews();
    const exchange = this.#room.stage.begin(running, { sentence: deed, deed: deeds.endSession(sessionId) });
    const onProgress = exchange.record.bind(exchange);
    try {
      const result = own
        ? await this.#room.signer.signOut(actor.key, { timeoutMs: patienceMs, unreachable: page.forget.checked ? "forget" : "keep-trying", onProgress })
        : await this.#room.signer.revokeSession(sessionId, { key: actor.key, signal: abort.signal, onProgress });
      const outcome = outcomeOf(result);
      const failure = "error" in result ? explain(result.error) : undefined;
      exchange.finish(outcome, result.status, failure);
      await this.#room.stage.end();
      if (outcome.state === "over") {
        this.#lastEnded = sessionId;
        page.fillEnded.hidden = false;
        this.#room.drop(sessionId);
      }
      const next = own ? this.#room.acting() : undefined;
      this.#room.tell(sessionId, whose, outcome, next ? ` You act as ${next.name}.` : "");
      // Trying on may not help: the person must know why.
      if (failure?.retryable === false) showFailure(page.sessionsError, "Signed out here, and not at Grid.", failure);
    } catch (error) {
      await this.#room.stage.end();
      this.#room.stage.fail(exchange, own ? "Not signed out." : "Not revoked.", error, () => void this.revoke(sessionId));
    }
  }

  /** Ends every session but the acting device's own, and says of each what became of it. */
  async signOutOthers(): Promise<void> {
    const actor = this.#room.acting();
    if (actor === undefined || this.#room.isRunning()) return;
    const known = this.#room.devices;
    const whose = (sessionId: string | undefined) => known.find(({ session }) => session.id === sessionId)?.name ?? "Another browser";
    this.#room.clearNews();
    const exchange = this.#room.stage.begin({ kind: "end-others", actor }, { sentence: "ends every other session, one after the other" });
    try {
      const outcomes = await this.#room.signer.signOut(actor.key, { scope: "others" });
      exchange.finishOthers(outcomes, whose);
      await this.#room.stage.end();
      const left = outcomes.filter(({ status }) => status === undefined).map(({ sessionId }) => whose(sessionId));
      announce(`${outcomes.length - left.length} of ${outcomes.length} other sessions are over.${left.length > 0 ? ` Still signed in: ${left.join(", ")}.` : ""}`);
      void this.#room.refresh();
    } catch (error) {
      await this.#room.stage.end();
      this.#room.stage.fail(exchange, "It is not certain that all others are signed out.", error, () => void this.signOutOthers());
    }
  }

  /** Asks before {@link signOutOthers}: it cannot be taken back. */
  #askForOthers(): void {
    const acting = this.#room.acting();
    if (acting === undefined || this.#room.isRunning()) return;
    const others = this.#room.listed().filter(({ id }) => id !== acting.session.id).length;
    page.confirmText.textContent = `This ends ${others === 1 ? "1 session" : `${others} sessions`} at Grid. ${acting.name} stays signed in.`;
    page.confirm.showModal();
  }

  /** Connects the controls. */
  connect(): void {
    page.advancedForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.revoke(page.advancedId.value.trim());
    });
    page.signOutOthers.addEventListener("click", () => this.#askForOthers());
    page.confirmed.addEventListener("click", () => void this.signOutOthers());
    page.stop.addEventListener("click", () => this.#room.stage.running?.abort?.abort());
    page.fillEnded.addEventListener("click", () => { page.advancedId.value = this.#lastEnded; });
    page.fillMalformed.addEventListener("click", () => { page.advancedId.value = malformedId; });
  }
}
