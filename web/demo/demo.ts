// The demo page: the smallest real use of gridsigner, with every step shown.
import { type AuthSession, createSigner, type Curve, type LoadProgress, type SessionEvent, type Signer } from "gridsigner";
import { el } from "./dom.ts";
import { Exchange } from "./exchange.ts";
import { clearFailure, explain, showFailure } from "./failure.ts";
import { appHeaders, describe, type Device, signIn } from "./login.ts";
import { endingOf, inWords, type Outcome, outcomeOf, pending } from "./outcome.ts";
import { announce, page } from "./page.ts";
import { actingKey, forgetName, keepNames, nameOf, rememberActing } from "./remembered.ts";
import { describeKey, SessionList, showDevices } from "./sessions.ts";
import { SignOutList } from "./signouts.ts";

const bridgeUrl = "/api/grid";
const deviceNames = ["This laptop", "Phone", "Tablet", "Work laptop", "Old phone", "Library computer"];
const curveHints: Readonly<Record<Curve, string>> = {
  "P-256": "The browser makes the key and keeps it: non-extractable, so not even this page can read it.",
  secp256k1: "Browsers lack this curve, so a worker makes and uses the key, and stores it encrypted. Script on this page could have it decrypted.",
};
const unstored = "This browser refuses to store keys: a reload forgets them, while their sessions run on at Grid until they expire.";
/** Shaped like an attempt to leave the sessions' path. The signer refuses it before anything is sent. */
const malformedId = "Session:../../customers";

/** How long a sign-out is waited for. It goes on after that, and the page shows it in any case. */
const patienceMs = 5_000;

/** What the page says of keys, unless this browser makes it untrue. */
const stored = page.custody.textContent;

/** The exchange under way. There is one at a time: the page has room to draw one. */
interface Running {
  /** Undefined for all others. */
  readonly sessionId: string | undefined;
  /** Only what ends another session can be stopped. */
  readonly abort?: AbortController;
}

/** The page once the signer is there. */
class Demo {
  readonly #signer: Signer;
  readonly #list = new SessionList(page.sessionList, (sessionId) => void this.revoke(sessionId));
  readonly #signOuts = new SignOutList(page.signOutList);
  /** What changes the devices waits for this: one thing at a time. */
  #turn: Promise<void> = Promise.resolve();
  #devices: readonly Device[] = [];
  #sessions: readonly AuthSession[] = [];
  #acting: Device | undefined;
  #running: Running | undefined;
  /** The one that is drawn. */
  #exchange: Exchange | undefined;
  #signingIn = false;
  #refreshes = 0;
  #listFailure: HTMLElement | undefined;
  #lastEnded = "";

  constructor(signer: Signer) {
    this.#signer = signer;
  }

  /** Takes over the keys that are there before this page does anything, and the sign-outs that are not finished. */
  async start(): Promise<void> {
    page.sessions.hidden = false;
    this.#signer.on("session", (event) => this.#hear(event));
    await this.#follow();
    void this.refresh();
    page.deviceName.value = this.#nextName();
    const unfinished = this.#signOuts.unfinished().map(({ name }) => name);
    const acting = this.#acting && ` You are still signed in as ${this.#acting.name}.`;
    const leaving = unfinished.length > 0 && ` Grid has not been told yet of the sign-out of ${unfinished.join(", ")}.`;
    announce(`The signer is ready.${acting || ""}${leaving || ""}`);
  }

  async signIn(name: string, curve: Curve): Promise<void> {
    if (this.#signingIn) return;
    this.#clearNews();
    this.#setSigningIn(true);
    try {
      await this.#inTurn(async () => {
        keepNames([...this.#devices.map(({ key }) => key.id), ...this.#signOuts.unfinished().map(({ keyId }) => keyId)]);
        const device = await signIn(this.#signer, bridgeUrl, name, curve);
        this.#devices = [...this.#devices, device];
        this.#act(device);
      });
      page.deviceName.value = this.#nextName();
      announce(`Signed in as ${name}, with a key of its own.`);
      await this.refresh();
    } catch (error) {
      showFailure(page.signInError, "Not signed in.", explain(error));
    } finally {
      this.#setSigningIn(false);
    }
  }

  /** Takes in what the signer tells of a session, whichever tab it comes from. */
  #hear(event: SessionEvent): void {
    const { key, session } = event;
    const name = nameOf(key);
    // What this tab itself is doing is told where it is done.
    const isNews = this.#running === undefined || ![undefined, session.id].includes(this.#running.sessionId);
    if (event.type === "leaving") {
      const outcome = pending(session.expiresAt, this.#devices.find((device) => device.key.id === key)?.key);
      this.#signOuts.add(event, name, outcome);
      if (isNews) this.#tell(session.id, name, outcome);
    } else if (event.type === "ended") {
      const outcome = endingOf(event);
      this.#signOuts.end(session.id, outcome);
      this.#exchange?.end(session.id, outcome);
      if (isNews) this.#tell(session.id, name, outcome);
      forgetName(key);
    }
    const followed = this.#follow();
    if (event.type !== "leaving") void followed.then(() => this.refresh()); // of that, Grid has not been told
  }

  /** Brings the devices in line with the keys. */
  async #follow(): Promise<void> {
    try {
      await this.#inTurn(async () => {
        const before = this.#devices;
        const devices: Device[] = [];
        for (const key of await this.#signer.keys()) {
          if (key.session === undefined) continue; // about to sign in, or another app's
          devices.push(before.find(({ session }) => session.id === key.session?.id) ?? (await describe(key, key.session)));
        }
        this.#devices = devices;
        const acting = this.#acting?.key.id ?? actingKey();
        this.#act(devices.find(({ key }) => key.id === acting) ?? devices.at(-1));
      });
    } catch (error) {
      showFailure(page.sessionsError, "The keys of this browser could not be listed.", explain(error), [
        { label: "Try again", run: () => { clearFailure(); void this.#follow(); } },
      ]);
    }
  }

  /** Asks Grid for the list. A device whose session is no longer on it has a key that opens nothing: it is signed out. */
  async refresh(): Promise<void> {
    const accountId = this.#acting?.session.accountId;
    const asked = this.#devices.filter(({ session }) => session.accountId === accountId); // one that signs in while we ask is not on the list yet
    const turn = ++this.#refreshes;
    if (accountId === undefined) return;
    try {
      const sessions = await this.#signer.listSessions(accountId);
      if (turn !== this.#refreshes) return; // overtaken by a later one
      this.#sessions = sessions;
      this.#listFailure?.remove();
    } catch (error) {
      if (turn !== this.#refreshes) return;
      this.#listFailure = showFailure(page.sessionsError, "The list could not be loaded.", explain(error), [
        { label: "Try again", run: () => { clearFailure(); void this.refresh(); } },
      ]);
      return;
    }
    this.#show();
    if (this.#running !== undefined) return; // a key in use stays; the end of the exchange asks again
    for (const { key, session } of asked) {
      if (this.#sessions.some(({ id }) => id === session.id)) continue;
      this.#signer.signOut(key, { timeoutMs: 0 }).catch(() => {}); // it is gone already, or the next list says it again
    }
  }

  /** Ends a session with the acting device's key, and draws how. */
  async revoke(sessionId: string): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.#running !== undefined) return;
    const target = this.#devices.find(({ session }) => session.id === sessionId);
    const own = target === actor;
    const listed = this.#sessions.some(({ id }) => id === sessionId);
    const [whose, deed] = own ? [actor.name, "signs out"]
      : target !== undefined ? [target.name, `ends the session of ${target.name}`]
      : listed ? ["Another browser", "ends the session of another browser"]
      : ["The id that you gave", "ends the session with the id that you gave"];
    const abort = new AbortController();
    const exchange = this.#begin(actor, own ? { sessionId } : { sessionId, abort }, deed);
    const onProgress = exchange.record.bind(exchange);
    try {
      const result = own
        ? await this.#signer.signOut(actor.key, { timeoutMs: patienceMs, unreachable: page.forget.checked ? "forget" : "keep-trying", onProgress })
        : await this.#signer.revokeSession(sessionId, { key: actor.key, signal: abort.signal, onProgress });
      const outcome = outcomeOf(result);
      const failure = "error" in result ? explain(result.error) : undefined;
      exchange.finish(outcome, result.status, failure);
      await this.#end();
      if (outcome.state === "over") {
        this.#lastEnded = sessionId;
        page.fillEnded.hidden = false;
        this.#sessions = this.#sessions.filter(({ id }) => id !== sessionId);
        this.#show();
        void this.refresh();
      }
      this.#tell(sessionId, whose, outcome, own && this.#acting ? ` You act as ${this.#acting.name}.` : "");
      // Trying on may not help: the person must know why.
      if (failure?.retryable === false) showFailure(page.sessionsError, "Signed out here, and not at Grid.", failure);
    } catch (error) {
      await this.#end();
      this.#fail(exchange, own ? "Not signed out." : "Not revoked.", error, () => void this.revoke(sessionId));
    }
  }

  /** Ends every session but the acting device's own, and says of each what became of it. */
  async signOutOthers(): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.#running !== undefined) return;
    const known = this.#devices;
    const whose = (sessionId: string | undefined) => known.find(({ session }) => session.id === sessionId)?.name ?? "Another browser";
    const exchange = this.#begin(actor, { sessionId: undefined }, "ends every other session, one after the other");
    try {
      const outcomes = await this.#signer.signOut(actor.key, { scope: "others" });
      exchange.finishOthers(outcomes, whose);
      await this.#end();
      const left = outcomes.filter(({ status }) => status === undefined).map(({ sessionId }) => whose(sessionId));
      announce(`${outcomes.length - left.length} of ${outcomes.length} other sessions are over.${left.length > 0 ? ` Still signed in: ${left.join(", ")}.` : ""}`);
      void this.refresh();
    } catch (error) {
      await this.#end();
      this.#fail(exchange, "It is not certain that all others are signed out.", error, () => void this.signOutOthers());
    }
  }

  /** Asks before {@link signOutOthers}: it cannot be taken back. */
  #askForOthers(): void {
    const acting = this.#acting;
    if (acting === undefined || this.#running !== undefined) return;
    const others = this.#listed().filter(({ id }) => id !== acting.session.id).length;
    page.confirmText.textContent = `This ends ${others === 1 ? "1 session" : `${others} sessions`} at Grid. ${acting.name} stays signed in.`;
    page.confirm.showModal();
  }

  /** Says how it went, in short where a row of its own says more. */
  #tell(sessionId: string, whose: string, outcome: Outcome, more = ""): void {
    announce(`${whose}: ${this.#signOuts.has(sessionId) ? outcome.title : inWords(outcome)}${more}`);
  }

  /** Clears the drawing for an exchange, and says what it is. */
  #begin(actor: Device, running: Running, deed: string): Exchange {
    this.#clearNews();
    const sentence = `${actor.name} ${deed}.`;
    page.exchangeIntro.textContent = sentence;
    page.toExchange.hidden = false;
    page.preview.hidden = true;
    announce(sentence);
    this.#exchange = new Exchange({ sessionId: running.sessionId, own: running.sessionId === actor.session.id, signer: actor.name });
    this.#setRunning(running);
    return this.#exchange;
  }

  async #end(): Promise<void> {
    this.#setRunning(undefined);
    await this.#follow();
  }

  /** Says what failed where the person acts, and marks the place in the drawing. */
  #fail(exchange: Exchange, title: string, error: unknown, again: () => void): void {
    const failure = explain(error);
    page.status.replaceChildren(); // the error speaks for itself
    exchange.fail(title);
    showFailure(page.sessionsError, title, failure, failure.retryable ? [{ label: "Try again", run: again }] : []);
  }

  tick(): void {
    if (this.#list.tick(Date.now())) void this.refresh();
  }

  /** Draws the devices, and the page as one of them sees it. */
  #act(device: Device | undefined): void {
    this.#acting = device;
    if (device !== undefined) rememberActing(device.key.id);
    page.keyLine.replaceChildren(...(device === undefined ? [] : describeKey(device)));
    page.custody.textContent = this.#devices.some(({ key }) => key.persistence === "memory") ? unstored : stored;
    this.#showDevices();
    this.#show();
  }

  /** Runs this after what came before has ended, well or not. */
  #inTurn(act: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(act);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  #showDevices(): void {
    if (this.#acting === undefined) return;
    const hadFocus = page.deviceChoices.contains(document.activeElement);
    showDevices(page.deviceChoices, this.#devices, this.#acting, (device) => {
      this.#act(device);
      announce(`You act as ${device.name}.`);
    });
    if (hadFocus) page.deviceChoices.querySelector<HTMLInputElement>(":checked")?.focus();
  }

  /** The sessions that count as signed in: one that is being signed out has a row of its own. */
  #listed(): AuthSession[] {
    return this.#acting === undefined ? [] : this.#sessions.filter(({ id }) => !this.#signOuts.has(id));
  }

  #show(): void {
    const acting = this.#acting;
    const sessions = this.#listed();
    const focused = document.activeElement;
    page.signInTitle.textContent = acting === undefined ? "Sign in" : "Sign in on another device";
    page.devices.hidden = acting === undefined;
    page.nobody.hidden = acting !== undefined;
    page.refresh.hidden = acting === undefined;
    page.stop.hidden = this.#running?.abort === undefined;
    page.signOutOthers.hidden = !sessions.some(({ id }) => id !== acting?.session.id);
    page.signOutOthers.setAttribute("aria-disabled", String(this.#running !== undefined));
    page.advanced.hidden = acting === undefined;
    this.#list.update({ sessions, devices: this.#devices, acting, busy: this.#running?.sessionId, running: this.#running !== undefined });
    this.#list.tick(Date.now());
    // Not to the next row's button: a second press of Enter would end another session.
    if (focused !== null && (!focused.isConnected || focused.closest("[hidden]") !== null)) page.sessionsTitle.focus();
  }

  #setRunning(running: Running | undefined): void {
    this.#running = running;
    this.#show();
    if (running === undefined) page.status.scrollIntoView({ block: "nearest" });
  }

  #clearNews(): void {
    clearFailure();
    this.#signOuts.clearEnded();
  }

  #setSigningIn(on: boolean): void {
    this.#signingIn = on;
    page.signInButton.setAttribute("aria-disabled", String(on));
    page.signInButton.textContent = on ? "Signing in…" : "Sign in";
  }

  #nextName(): string {
    const taken = this.#devices.map((device) => device.name);
    return deviceNames.find((name) => !taken.includes(name)) ?? `Device ${taken.length + 1}`;
  }

  /** Connects the page's controls. */
  connect(): void {
    page.signInForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.signIn(page.deviceName.value.trim() || this.#nextName(), chosenCurve());
    });
    page.advancedForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.revoke(page.advancedId.value.trim());
    });
    page.refresh.addEventListener("click", () => {
      this.#clearNews();
      void this.refresh();
    });
    page.signOutOthers.addEventListener("click", () => this.#askForOthers());
    page.confirmed.addEventListener("click", () => void this.signOutOthers());
    page.stop.addEventListener("click", () => this.#running?.abort?.abort());
    page.fillEnded.addEventListener("click", () => { page.advancedId.value = this.#lastEnded; });
    page.fillMalformed.addEventListener("click", () => { page.advancedId.value = malformedId; });
    setInterval(() => this.tick(), 500);
  }
}

async function load(): Promise<void> {
  clearFailure();
  page.load.hidden = false;
  let signer: Signer | undefined;
  try {
    signer = await createSigner({ bridgeUrl, headers: appHeaders, onProgress: showLoad });
    const demo = new Demo(signer);
    await demo.start();
    demo.connect();
    page.signInForm.hidden = false;
    document.documentElement.dataset["ready"] = "true";
  } catch (error) {
    signer?.close();
    showFailure(page.signInError, "The signer could not be loaded.", explain(error), [{ label: "Try again", run: () => void load() }]);
  } finally {
    page.load.hidden = true;
  }
}

function showLoad({ phase, loaded, total }: LoadProgress): void {
  page.loadProgress.max = total;
  page.loadProgress.value = loaded;
  page.loadAmount.textContent = phase === "download" ? `${megabytes(loaded)} of ${megabytes(total)} MB` : "Starting…";
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}

function chosenCurve(): Curve {
  return new FormData(page.signInForm).get("curve") === "secp256k1" ? "secp256k1" : "P-256";
}

function showCurveHint(): void {
  page.curveHint.textContent = curveHints[chosenCurve()];
}

page.deviceNames.append(...deviceNames.map((name) => el("option", { value: name })));
page.signInForm.addEventListener("change", showCurveHint);
showCurveHint();
void load();
