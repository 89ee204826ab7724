// The demo page: the smallest real use of gridsigner, with every step shown.
import { type AuthMethod, type AuthSession, type Curve, type SessionBinding, type SessionEvent, type Signer } from "gridsigner";
import { Credentials, type Host } from "./credentials.ts";
import { chosenCurve, explainCurves } from "./curves.ts";
import { deeds } from "./deeds.ts";
import { el } from "./dom.ts";
import { keepInView } from "./exchange.ts";
import { clearFailure, explain, showFailure } from "./failure.ts";
import { loadSigner } from "./loading.ts";
import { describe, type Device, ownAccount, RequestError, signIn } from "./login.ts";
import { endingOf, goneOn, inWords, type Outcome, outcomeOf, pending } from "./outcome.ts";
import { announce, atSessions, atWays, page } from "./page.ts";
import { actingKey, forgetName, keepNames, nameOf, rememberActing } from "./remembered.ts";
import { describeKey, SessionList, showDevices } from "./sessions.ts";
import { SignOutList } from "./signouts.ts";
import { Stage, type Task } from "./stage.ts";

const bridgeUrl = "/api/grid";
const deviceNames = ["This laptop", "Phone", "Tablet", "Work laptop", "Old phone", "Library computer"];
const unstored = "This browser refuses to store keys: a reload forgets them, while their sessions run on at Grid until they expire.";
/** Shaped like an attempt to leave the sessions' path. The signer refuses it before anything is sent. */
const malformedId = "Session:../../customers";

/** How long a sign-out is waited for. It goes on after that, and the page shows it in any case. */
const patienceMs = 5_000;

/** What the page says of keys, unless this browser makes it untrue. */
const stored = page.custody.textContent;

/** The page once the signer is there. */
class Demo implements Host {
  readonly signer: Signer;
  readonly #list = new SessionList(page.sessionList, {
    revoke: (sessionId) => void this.revoke(sessionId),
    refresh: () => void this.refreshSession(),
  });
  readonly #ways = new Credentials(this);
  readonly #signOuts = new SignOutList(page.signOutList);
  /** What changes the devices waits for this: one thing at a time. */
  #turn: Promise<void> = Promise.resolve();
  #devices: readonly Device[] = [];
  #sessions: readonly AuthSession[] = [];
  #acting: Device | undefined;
  readonly #stage = new Stage(() => this.#show(), () => this.#follow());
  #signingIn = false;
  #refreshes = 0;
  #listFailure: HTMLElement | undefined;
  #lastEnded = "";
  /** Sessions that were refreshed: each has gone on to another one, and is being ended. */
  readonly #replaced = new Set<string>();

  constructor(signer: Signer) {
    this.signer = signer;
  }

  acting(): Device | undefined {
    return this.#acting;
  }

  isRunning(): boolean {
    return this.#stage.running !== undefined;
  }

  cameFrom(): AuthSession | undefined {
    return this.#sessions.find(({ id }) => id === this.#acting?.session.id);
  }

  /** Takes over the keys that are there before this page does anything, and the sign-outs that are not finished. */
  async start(): Promise<void> {
    page.sessions.hidden = false;
    this.signer.on("session", (event) => this.#hear(event));
    await this.#follow();
    void this.refresh();
    ownAccount().then((accountId) => this.#ways.refresh(accountId), () => {}); // signing in says what is wrong
    page.deviceName.value = this.#nextName();
    const unfinished = this.#signOuts.unfinished().map(({ name }) => name);
    const acting = this.#acting && ` You are still signed in as ${this.#acting.name}.`;
    const leaving = unfinished.length > 0 && ` Grid has not been told yet of the sign-out of ${unfinished.join(", ")}.`;
    announce(`The signer is ready.${acting || ""}${leaving || ""}`);
  }

  async signIn(name: string, curve: Curve, way: AuthMethod | undefined): Promise<void> {
    if (this.#signingIn) return;
    this.#clearNews();
    this.#setSigningIn(true);
    try {
      await this.#inTurn(async () => {
        keepNames([...this.#devices.map(({ key }) => key.id), ...this.#signOuts.unfinished().map(({ keyId }) => keyId)]);
        const device = await signIn(this.signer, bridgeUrl, name, curve, way);
        this.#devices = [...this.#devices, device];
        this.#act(device);
      });
      page.deviceName.value = this.#nextName();
      announce(`Signed in as ${name}, with a key of its own.`);
      await this.refresh();
    } catch (error) {
      showFailure(page.signInError, "Not signed in.", explain(error));
      if (error instanceof RequestError && error.status === 404) void this.#ways.refresh(); // that way is gone
    } finally {
      this.#setSigningIn(false);
    }
  }

  /** Takes in what the signer tells of a session, whichever tab it comes from. */
  #hear(event: SessionEvent): void {
    const { key, session } = event;
    if (event.type === "expiring") return; // it is being refreshed
    const name = nameOf(key);
    const isNews = !this.#stage.isBringing(event); // what this tab itself is doing is told where it is done
    if (event.type === "leaving") {
      const outcome = pending(session.expiresAt, this.#devices.find((device) => device.key.id === key)?.key);
      this.#signOuts.add(event, name, outcome);
      if (isNews) this.#tell(session.id, name, outcome);
    } else if (event.type === "ended") {
      const outcome = endingOf(event);
      this.#signOuts.end(session.id, outcome);
      this.#stage.exchange?.end(session.id, outcome);
      if (isNews) this.#tell(session.id, name, outcome);
      forgetName(key);
    } else if (event.type === "refreshed" && isNews) {
      announce(`${name}: ${goneOn(session).title}`);
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
        for (const key of await this.signer.keys()) {
          if (key.session === undefined) continue; // about to sign in, or another app's
          devices.push(before.find(({ session }) => session.id === key.session?.id) ?? (await describe(key, key.session)));
        }
        this.#devices = devices;
        for (const { key, session } of devices) {
          const old = before.find((device) => device.key.id === key.id)?.session;
          if (old !== undefined && old.id !== session.id) this.#goOn(old.id, session);
        }
        const acting = this.#acting?.key.id ?? actingKey();
        this.#act(devices.find(({ key }) => key.id === acting) ?? devices.at(-1));
      });
    } catch (error) {
      showFailure(page.sessionsError, "The keys of this browser could not be listed.", explain(error), [
        { label: "Try again", run: () => { clearFailure(); void this.#follow(); } },
      ]);
    }
  }

  /** A session was refreshed: its row goes on, and the one before, which is being ended, has none any more. */
  #goOn(before: string, next: SessionBinding): void {
    this.#list.goOn(before, next);
    this.#replaced.add(before);
    const now = new Date().toISOString();
    this.#sessions = this.#sessions
      .filter(({ id }) => id !== next.id)
      .map((session) => (session.id === before ? { ...session, id: next.id, expiresAt: next.expiresAt, updatedAt: now } : session));
  }

  /** Asks Grid for the list. A device whose session is no longer on it has a key that opens nothing: it is signed out. */
  async refresh(): Promise<void> {
    const accountId = this.#acting?.session.accountId;
    const asked = this.#devices.filter(({ session }) => session.accountId === accountId); // one that signs in while we ask is not on the list yet
    const turn = ++this.#refreshes;
    if (accountId === undefined) return;
    try {
      const sessions = await this.signer.listSessions(accountId);
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
    if (this.isRunning()) return; // a key in use stays; the end of the exchange asks again
    for (const { key, session } of asked) {
      if (this.#sessions.some(({ id }) => id === session.id)) continue;
      // By its id: the key may have gone on to another one. Where this fails it is gone already, or the next list says it again.
      this.signer.revokeSession(session.id, { key }).catch(() => {});
    }
  }

  /** Ends a session with the acting device's key, and draws how. */
  async revoke(sessionId: string): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.isRunning()) return;
    const target = this.#devices.find(({ session }) => session.id === sessionId);
    const own = target === actor;
    const listed = this.#sessions.some(({ id }) => id === sessionId);
    const [whose, deed] = own ? [actor.name, "signs out"]
      : target !== undefined ? [target.name, `ends the session of ${target.name}`]
      : listed ? ["Another browser", "ends the session of another browser"]
      : ["The id that you gave", "ends the session with the id that you gave"];
    const abort = new AbortController();
    const running = { kind: "end", actor, sessionId, ...(own ? {} : { abort }) } as const;
    this.#clearNews();
    const exchange = this.#stage.begin(running, { sentence: deed, deed: deeds.endSession(sessionId) });
    const onProgress = exchange.record.bind(exchange);
    try {
      const result = own
        ? await this.signer.signOut(actor.key, { timeoutMs: patienceMs, unreachable: page.forget.checked ? "forget" : "keep-trying", onProgress })
        : await this.signer.revokeSession(sessionId, { key: actor.key, signal: abort.signal, onProgress });
      const outcome = outcomeOf(result);
      const failure = "error" in result ? explain(result.error) : undefined;
      exchange.finish(outcome, result.status, failure);
      await this.#stage.end();
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
      await this.#stage.end();
      this.#stage.fail(exchange, own ? "Not signed out." : "Not revoked.", error, () => void this.revoke(sessionId));
    }
  }

  async perform(task: Task): Promise<boolean> {
    if (this.#acting === undefined || this.isRunning()) return false;
    this.#clearNews();
    const done = await this.#stage.perform(this.#acting, task);
    if (done) void this.refresh();
    return done;
  }

  /** Has the acting device's session go on now, which it does by itself when it is time. */
  async refreshSession(): Promise<void> {
    const sessionId = this.#acting?.session.id;
    if (sessionId === undefined) return;
    await this.perform({
      kind: "refresh",
      place: atSessions,
      deed: deeds.refreshSession(sessionId),
      sentence: "goes on to a new session",
      failed: "Not refreshed.",
      act: async ({ key, ...options }) => {
        const { session } = await this.signer.refreshSession(key, options);
        return { outcome: goneOn(session!), status: "refreshed" };
      },
      again: () => void this.refreshSession(),
    });
  }

  /** Ends every session but the acting device's own, and says of each what became of it. */
  async signOutOthers(): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.isRunning()) return;
    const known = this.#devices;
    const whose = (sessionId: string | undefined) => known.find(({ session }) => session.id === sessionId)?.name ?? "Another browser";
    this.#clearNews();
    const exchange = this.#stage.begin({ kind: "end-others", actor }, { sentence: "ends every other session, one after the other" });
    try {
      const outcomes = await this.signer.signOut(actor.key, { scope: "others" });
      exchange.finishOthers(outcomes, whose);
      await this.#stage.end();
      const left = outcomes.filter(({ status }) => status === undefined).map(({ sessionId }) => whose(sessionId));
      announce(`${outcomes.length - left.length} of ${outcomes.length} other sessions are over.${left.length > 0 ? ` Still signed in: ${left.join(", ")}.` : ""}`);
      void this.refresh();
    } catch (error) {
      await this.#stage.end();
      this.#stage.fail(exchange, "It is not certain that all others are signed out.", error, () => void this.signOutOthers());
    }
  }

  /** Asks before {@link signOutOthers}: it cannot be taken back. */
  #askForOthers(): void {
    const acting = this.#acting;
    if (acting === undefined || this.isRunning()) return;
    const others = this.#listed().filter(({ id }) => id !== acting.session.id).length;
    page.confirmText.textContent = `This ends ${others === 1 ? "1 session" : `${others} sessions`} at Grid. ${acting.name} stays signed in.`;
    page.confirm.showModal();
  }

  /** Says how it went, in short where a row of its own says more. */
  #tell(sessionId: string, whose: string, outcome: Outcome, more = ""): void {
    announce(`${whose}: ${this.#signOuts.has(sessionId) ? outcome.title : inWords(outcome)}${more}`);
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
    return this.#acting === undefined ? [] : this.#sessions.filter(({ id }) => !this.#signOuts.has(id) && !this.#replaced.has(id));
  }

  #show(): void {
    const acting = this.#acting;
    const { running } = this.#stage;
    const sessions = this.#listed();
    const focused = document.activeElement;
    page.signInTitle.textContent = acting === undefined ? "Sign in" : "Sign in on another device";
    page.devices.hidden = acting === undefined;
    page.nobody.hidden = acting !== undefined;
    page.refresh.hidden = acting === undefined;
    page.stop.hidden = running?.abort === undefined;
    page.signOutOthers.hidden = !sessions.some(({ id }) => id !== acting?.session.id);
    page.signOutOthers.setAttribute("aria-disabled", String(running !== undefined));
    page.advanced.hidden = acting === undefined;
    const state = { busy: running?.sessionId, refreshing: running?.kind === "refresh", running: running !== undefined };
    this.#list.update({ sessions, devices: this.#devices, acting, ...state });
    this.#list.tick(Date.now());
    this.#ways.show();
    // Not to the next row's button: a second press of Enter would end another session.
    if (focused !== null && (!focused.isConnected || focused.closest("[hidden]") !== null)) {
      (page.ways.contains(focused) ? atWays : atSessions).home.focus();
    }
  }

  #clearNews(): void {
    clearFailure();
    page.waysStatus.replaceChildren();
    page.status.after(page.toExchange, page.stop);
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
      void this.signIn(page.deviceName.value.trim() || this.#nextName(), chosenCurve(), this.#ways.chosen);
    });
    page.advancedForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.revoke(page.advancedId.value.trim());
    });
    page.refresh.addEventListener("click", () => {
      this.#clearNews();
      void this.refresh();
    });
    this.#ways.connect();
    page.signOutOthers.addEventListener("click", () => this.#askForOthers());
    page.confirmed.addEventListener("click", () => void this.signOutOthers());
    page.stop.addEventListener("click", () => this.#stage.running?.abort?.abort());
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
    signer = await loadSigner(bridgeUrl);
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

page.deviceNames.append(...deviceNames.map((name) => el("option", { value: name })));
explainCurves();
keepInView();
void load();
