// The demo page: the smallest real use of gridsigner, with every step shown.
import { type AuthSession, type SessionBinding, type SessionEvent, type SessionKey, type Signer } from "gridsigner";
import { Credentials, type Host } from "./credentials.ts";
import { explainCurves } from "./curves.ts";
import { deeds } from "./deeds.ts";
import { describe, type Device } from "./device.ts";
import { el } from "./dom.ts";
import { Endings, type Room } from "./endings.ts";
import { type Exchange, keepInView } from "./exchange.ts";
import { clearFailure, explain, showFailure } from "./failure.ts";
import { loadSigner, showNotLoaded } from "./loading.ts";
import { type Config, ownAccount, readConfig } from "./login.ts";
import { endingOf, goneOn, inWords, type Outcome, pending } from "./outcome.ts";
import { announce, atSessions, atWallet, atWays, page } from "./page.ts";
import { actingKey, forgetName, keepNames, nameOf, onNamed, rememberActing } from "./remembered.ts";
import { describeKey, SessionList, showDevices } from "./sessions.ts";
import { type Door, SignInCard } from "./signin.ts";
import { SignOutList } from "./signouts.ts";
import { Stage, type Task } from "./stage.ts";
import { Wallet } from "./wallet.ts";

const bridgeUrl = "/api/grid";
const deviceNames = ["This laptop", "Phone", "Tablet", "Work laptop", "Old phone", "Library computer"];
const unstored = "This browser refuses to store keys: a reload forgets them, while their sessions run on at Grid until they expire.";
/** What the page says of keys, unless this browser makes it untrue. */
const stored = page.custody.textContent;

/** The page once the signer is there. */
class Demo implements Host, Door, Room {
  readonly signer: Signer;
  readonly config: Config;
  readonly #list = new SessionList(page.sessionList, {
    revoke: (sessionId) => void this.#endings.revoke(sessionId),
    refresh: () => void this.refreshSession(),
  });
  readonly #endings = new Endings(this);
  readonly #entrance = new SignInCard(this);
  readonly #ways = new Credentials(this);
  readonly #wallet = new Wallet(this);
  readonly #signOuts = new SignOutList(page.signOutList);
  /** What changes the devices waits for this: one thing at a time. */
  #turn: Promise<void> = Promise.resolve();
  devices: readonly Device[] = [];
  #sessions: readonly AuthSession[] = [];
  #acting: Device | undefined;
  readonly stage = new Stage(() => this.show(), () => this.#follow());
  #refreshes = 0;
  #listFailure: HTMLElement | undefined;
  /** Sessions that were refreshed: each has gone on to another one, and is being ended. */
  readonly #replaced = new Set<string>();

  constructor(signer: Signer, config: Config) {
    this.signer = signer;
    this.config = config;
  }

  acting(): Device | undefined {
    return this.#acting;
  }

  isRunning(): boolean {
    return this.stage.running !== undefined;
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
    this.refreshWays();
    page.deviceName.value = this.nextName();
    const unfinished = this.#signOuts.unfinished().map(({ name }) => name);
    const acting = this.#acting && ` You are still signed in as ${this.#acting.name}.`;
    const leaving = unfinished.length > 0 && ` Grid has not been told yet of the sign-out of ${unfinished.join(", ")}.`;
    announce(`The signer is ready.${acting || ""}${leaving || ""}`);
  }

  begin(name: string, sentence: string): Exchange | undefined {
    this.clearNews();
    keepNames([...this.devices.map(({ key }) => key.id), ...this.#signOuts.unfinished().map(({ keyId }) => keyId)]);
    return this.stage.beginSignIn(name, sentence);
  }

  async welcome(key: SessionKey): Promise<void> {
    await this.#inTurn(async () => {
      const device = await describe(key, key.session!);
      this.devices = [...this.devices.filter((other) => other.key.id !== key.id), device];
      this.#act(device);
    });
    page.deviceName.value = this.nextName();
    announce(`Signed in as ${nameOf(key.id)}, with a key of its own.`);
    await this.refresh();
  }

  refreshWays(): void {
    ownAccount().then((accountId) => this.#ways.refresh(accountId), () => {}); // signing in says what is wrong
  }

  showAdding(type: string): void {
    this.#ways.showAdding(type);
  }

  /** Takes in what the signer tells of a session, whichever tab it comes from. */
  #hear(event: SessionEvent): void {
    const { key, session } = event;
    if (event.type === "expiring") return; // it is being refreshed
    const name = nameOf(key);
    const isNews = !this.stage.isBringing(event); // what this tab itself is doing is told where it is done
    if (event.type === "leaving") {
      const outcome = pending(session.expiresAt, this.devices.find((device) => device.key.id === key)?.key);
      this.#signOuts.add(event, name, outcome);
      this.#leave(key);
      if (isNews) this.tell(session.id, name, outcome);
    } else if (event.type === "ended") {
      const outcome = endingOf(event);
      this.#signOuts.end(session.id, outcome);
      this.stage.exchange?.end(session.id, outcome);
      if (isNews) this.tell(session.id, name, outcome);
      forgetName(key);
    } else if (event.type === "refreshed" && isNews) {
      announce(`${name}: ${goneOn(session).title}`);
    }
    const followed = this.#follow();
    if (event.type !== "leaving") void followed.then(() => this.refresh()); // of that, Grid has not been told
  }

  /** Takes a device away in the moment in which its sign-out is shown: to list the keys takes time, in which the page would say both. */
  #leave(keyId: string): void {
    this.devices = this.devices.filter(({ key }) => key.id !== keyId);
    this.#act(this.#acting?.key.id === keyId ? this.devices.at(-1) : this.#acting);
  }

  /** Brings the devices in line with the keys. */
  async #follow(): Promise<void> {
    try {
      await this.#inTurn(async () => {
        const before = this.devices;
        const devices: Device[] = [];
        for (const key of await this.signer.keys()) {
          if (key.session === undefined || this.#signOuts.has(key.session.id)) continue; // about to sign in, another app's, or just signed out
          const known = before.find(({ session, name }) => session.id === key.session?.id && name === nameOf(key.id));
          devices.push(known ?? (await describe(key, key.session)));
        }
        this.devices = devices;
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
    const asked = this.devices.filter(({ session }) => session.accountId === accountId); // one that signs in while we ask is not on the list yet
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
    this.show();
    if (this.isRunning()) return; // a key in use stays; the end of the exchange asks again
    for (const { key, session } of asked) {
      if (this.#sessions.some(({ id }) => id === session.id)) continue;
      // By its id: the key may have gone on to another one. Where this fails it is gone already, or the next list says it again.
      this.signer.revokeSession(session.id, { key }).catch(() => {});
    }
  }

  drop(sessionId: string): void {
    this.#sessions = this.#sessions.filter(({ id }) => id !== sessionId);
    this.show();
    void this.refresh();
  }

  async perform(task: Task): Promise<boolean> {
    if (this.#acting === undefined || this.isRunning()) return false;
    this.clearNews();
    const done = await this.stage.perform(this.#acting, task);
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

  /** Says how it went, in short where a row of its own says more. */
  tell(sessionId: string, whose: string, outcome: Outcome, more = ""): void {
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
    page.custody.textContent = this.devices.some(({ key }) => key.persistence === "memory") ? unstored : stored;
    this.#showDevices();
    this.show();
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
    showDevices(page.deviceChoices, this.devices, this.#acting, (device) => {
      this.#act(device);
      announce(`You act as ${device.name}.`);
    });
    if (hadFocus) page.deviceChoices.querySelector<HTMLInputElement>(":checked")?.focus();
  }

  /** The sessions that count as signed in: one that is being signed out has a row of its own. */
  listed(): AuthSession[] {
    return this.#acting === undefined ? [] : this.#sessions.filter(({ id }) => !this.#signOuts.has(id) && !this.#replaced.has(id));
  }

  show(): void {
    const acting = this.#acting;
    const { running } = this.stage;
    const sessions = this.listed();
    const focused = document.activeElement;
    page.devices.hidden = acting === undefined;
    page.nobody.hidden = acting !== undefined;
    page.refresh.hidden = acting === undefined;
    page.stop.hidden = running?.abort === undefined;
    page.signOutOthers.hidden = !sessions.some(({ id }) => id !== acting?.session.id);
    page.signOutOthers.setAttribute("aria-disabled", String(running !== undefined));
    page.advanced.hidden = acting === undefined;
    const state = { busy: running?.sessionId, refreshing: running?.kind === "refresh", running: running !== undefined };
    this.#list.update({ sessions, devices: this.devices, acting, ...state });
    this.#list.tick(Date.now());
    this.#ways.show();
    this.#wallet.show();
    this.#entrance.show(this.#ways.methods, acting !== undefined);
    // Not to the next row's button: a second press of Enter would end another session.
    if (focused !== null && (!focused.isConnected || focused.closest("[hidden]") !== null)) {
      (page.ways.contains(focused) ? atWays : page.wallet.contains(focused) && acting ? atWallet : atSessions).home.focus();
    }
  }

  clearNews(): void {
    clearFailure();
    for (const { status } of [atWays, atWallet]) status.replaceChildren();
    page.status.after(page.toExchange, page.stop);
    this.#signOuts.clearEnded();
  }

  nextName(): string {
    const taken = this.devices.map((device) => device.name);
    return deviceNames.find((name) => !taken.includes(name)) ?? `Device ${taken.length + 1}`;
  }

  /** Connects the page's controls. */
  connect(): void {
    page.refresh.addEventListener("click", () => {
      this.clearNews();
      void this.refresh();
    });
    this.#endings.connect();
    this.#entrance.connect();
    this.#ways.connect();
    this.#wallet.connect();
    onNamed(() => void this.#follow());
    setInterval(() => this.tick(), 500);
  }
}

async function load(): Promise<void> {
  clearFailure();
  page.load.hidden = false; // until the module is there
  let signer: Signer | undefined;
  try {
    const config = await readConfig();
    signer = await loadSigner(bridgeUrl, config);
    const demo = new Demo(signer, config);
    await demo.start();
    demo.connect();
    page.entrance.hidden = false;
    document.documentElement.dataset["ready"] = "true";
  } catch (error) {
    signer?.close();
    showNotLoaded(error, () => void load());
  }
}

page.deviceNames.append(...deviceNames.map((name) => el("option", { value: name })));
explainCurves();
keepInView();
void load();
