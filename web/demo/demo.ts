// The demo page: the smallest real use of gridsigner, with every step shown.
import { type AuthSession, createSigner, type Curve, GridSignerError, type LoadProgress, type SessionKey, type Signer } from "gridsigner";
import { clock, el } from "./dom.ts";
import { Exchange } from "./exchange.ts";
import { type Action, clearFailure, explain, showFailure } from "./failure.ts";
import { type Device, restore, signIn } from "./login.ts";
import { announce, page } from "./page.ts";
import { actingKey, keepNames, rememberActing } from "./remembered.ts";
import { describeKey, SessionList, showDevices } from "./sessions.ts";

const bridgeUrl = "/api/grid";
const deviceNames = ["This laptop", "Phone", "Tablet", "Work laptop", "Old phone", "Library computer"];
const curveHints: Readonly<Record<Curve, string>> = {
  "P-256": "The browser makes the key and keeps it: non-extractable, so not even this page can read it.",
  secp256k1: "Browsers lack this curve, so a worker uses the key, out of this page’s reach, and stores it encrypted.",
};
const unstored = "This browser refuses to store keys: a reload forgets them, while their sessions run on at Grid until they expire.";
/** Shaped like an attempt to leave the sessions' path. The signer refuses it before anything is sent. */
const malformedId = "Session:../../customers";

/** What the page says of keys, unless this browser makes it untrue. */
const stored = page.custody.textContent;

/** The revocation under way. There is one at a time: the page has room to draw one. */
interface Running {
  /** Undefined for all others. */
  readonly sessionId: string | undefined;
  readonly abort: AbortController;
}

/** What calls to the bridge carry: the acting device's token. */
let bearer: string | undefined;

/** The page once the signer is there. */
class Demo {
  readonly #signer: Signer;
  readonly #list = new SessionList(page.sessionList, (sessionId) => void this.revoke(sessionId));
  /** As the signer last told them; {@link #follow} makes them devices. */
  #keys: readonly SessionKey[] = [];
  /** Keys that this tab itself puts an end to: their going is no news. */
  readonly #leaving = new Set<string>();
  /** What changes the devices waits for this: one thing at a time. */
  #turn: Promise<void> = Promise.resolve();
  #devices: readonly Device[] = [];
  #sessions: readonly AuthSession[] = [];
  #acting: Device | undefined;
  #running: Running | undefined;
  #signingIn = false;
  #refreshes = 0;
  #lastEnded = "";

  constructor(signer: Signer) {
    this.#signer = signer;
  }

  async signIn(name: string, curve: Curve): Promise<void> {
    if (this.#signingIn) return;
    clearFailure();
    this.#setSigningIn(true);
    try {
      await this.#inTurn(async () => {
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

  /** Takes over the keys that are there before this page does anything. */
  async start(): Promise<void> {
    const keys = await this.#signer.keys();
    keepNames(keys.map(({ id }) => id));
    await this.follow(keys);
    page.deviceName.value = this.#nextName();
    announce(`The signer is ready.${this.#acting === undefined ? "" : ` You are still signed in as ${this.#acting.name}.`}`);
  }

  /** Brings the devices in line with the keys, whichever tab changed them. */
  follow(keys: readonly SessionKey[] = this.#keys): Promise<void> {
    this.#keys = keys;
    return this.#inTurn(() => this.#follow());
  }

  async #follow(): Promise<void> {
    if (this.#running !== undefined) return; // a key in use stays; the end of the exchange asks again
    const before = this.#devices;
    const devices: Device[] = [];
    for (const key of this.#keys) {
      if (key.session === undefined) continue; // about to sign in, or another app's
      const known = before.find((device) => device.key.id === key.id);
      try {
        devices.push(known === undefined ? await restore(key, key.session) : { ...known, key });
      } catch (error) {
        showFailure(page.signInError, "A device could not be restored.", explain(error), [
          { label: "Try again", run: () => { clearFailure(); void this.follow(); } },
        ]);
      }
    }
    const without = (others: readonly Device[]) => (device: Device) => !others.some(({ key }) => key.id === device.key.id);
    const [came, gone] = [devices.filter(without(before)), before.filter(without(devices))];
    this.#devices = devices;
    const acting = this.#acting?.key.id ?? actingKey();
    this.#act(devices.find(({ key }) => key.id === acting) ?? devices.at(-1));
    const news = gone.filter(({ key }) => !this.#leaving.delete(key.id));
    if (news.length > 0) announce(`Signed out, and the key destroyed: ${names(news)}.`);
    if (came.length + news.length > 0) void this.refresh();
  }

  /** Asks Grid for the list. A device whose session is no longer on it has a key that opens nothing: it goes. */
  async refresh(): Promise<void> {
    const asked = new Set(this.#devices.map(({ session }) => session.id)); // one that signs in while we ask is not on the list yet
    const accountId = this.#acting?.session.accountId;
    const turn = ++this.#refreshes;
    if (accountId === undefined) return;
    const over: Device[] = [];
    try {
      const sessions = await this.#signer.listSessions(accountId);
      if (turn !== this.#refreshes) return; // overtaken by a later one
      this.#sessions = sessions;
      if (this.#running !== undefined) return this.#show(); // a key in use stays; the end of the exchange asks again
      const listed = new Set(this.#sessions.map((session) => session.id));
      over.push(...this.#devices.filter(({ session }) => asked.has(session.id) && !listed.has(session.id)));
      await this.#forget(...over);
    } catch (error) {
      if (turn !== this.#refreshes) return;
      showFailure(page.sessionsError, "The list could not be loaded.", explain(error), [
        { label: "Try again", run: () => { clearFailure(); void this.refresh(); } },
      ]);
      return;
    }
    if (over.length > 0) announce(`Over, and the key destroyed: ${names(over)}.`);
    this.#show();
  }

  /** Ends a session with the acting device's key, and draws how. */
  async revoke(sessionId: string): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.#running !== undefined) return;
    clearFailure();
    const target = this.#devices.find((device) => device.session.id === sessionId);
    const own = target === actor;
    const whose = target?.name ?? (this.#sessions.some(({ id }) => id === sessionId) ? "another browser" : "an id that you gave");
    const sentence = own ? `${actor.name} signs itself out.` : `${actor.name} ends the session of ${whose}.`;
    const exchange = new Exchange(page.exchange, { sessionId, own, signer: actor.name }, announce);
    page.exchangeIntro.textContent = sentence;
    page.toExchange.hidden = false;
    page.preview.hidden = true;
    announce(sentence);
    const abort = new AbortController();
    this.#setRunning({ sessionId, abort });
    try {
      // Without an id it is the key's own session, and the key goes with it.
      const result = await this.#signer.revokeSession(own ? undefined : sessionId, {
        key: actor.key,
        signal: abort.signal,
        onProgress: (event) => exchange.record(event),
      });
      if (target !== undefined) this.#leaving.add(target.key.id);
      if (target !== undefined && !own) await this.#drop(target.key);
      exchange.finish(result);
      this.#setRunning(undefined);
      await this.follow();
      this.#ended(sessionId, target, result.status === "inactive");
    } catch (error) {
      const destroyed = error instanceof GridSignerError && error.sessionExpiresAt !== undefined;
      if (destroyed) this.#leaving.add(actor.key.id);
      this.#setRunning(undefined);
      await this.follow();
      page.status.replaceChildren(); // the error speaks for itself
      const failure = explain(error);
      const actions: Action[] = [];
      if (failure.retryable) actions.push({ label: "Try again", run: () => void this.revoke(sessionId) });
      if (destroyed && this.#acting !== undefined) {
        actions.push({ label: `End it as ${this.#acting.name}`, run: () => void this.revoke(sessionId) });
      }
      if (own && this.#devices.some(({ key }) => key.id === actor.key.id)) actions.push({ label: "Forget the key anyway", run: () => void this.#forgetAnyway(actor) });
      exchange.fail(destroyed ? "Signed out in this browser only." : own ? "Not signed out." : "Not revoked.", failure, actions);
    }
  }

  /** Ends every session but the acting device's own, and says of each what became of it. */
  async revokeOthers(): Promise<void> {
    const actor = this.#acting;
    if (actor === undefined || this.#running !== undefined) return;
    clearFailure();
    const known = this.#devices;
    const device = (sessionId: string): Device | undefined => known.find(({ session }) => session.id === sessionId);
    const exchange = new Exchange(page.exchange, { sessionId: "", own: false, signer: actor.name }, announce);
    const sentence = `${actor.name} ends every other session, one after the other.`;
    page.exchangeIntro.textContent = sentence;
    announce(sentence);
    page.toExchange.hidden = false;
    page.preview.hidden = true;
    const abort = new AbortController();
    this.#setRunning({ sessionId: undefined, abort });
    try {
      const outcomes = await this.#signer.revokeOtherSessions(actor.session.accountId, { key: actor.key, signal: abort.signal });
      const over = outcomes.filter(({ status }) => status !== undefined);
      for (const { key } of over.flatMap(({ sessionId }) => device(sessionId) ?? [])) {
        this.#leaving.add(key.id);
        await this.#drop(key);
      }
      exchange.finishOthers(outcomes, (sessionId) => device(sessionId)?.name ?? "Another browser");
      announce(`${over.length} of ${outcomes.length} other sessions are over.`);
    } catch (error) {
      page.status.replaceChildren();
      exchange.fail("It is not certain that all others are signed out.", explain(error), [
        { label: "Try again", run: () => void this.revokeOthers() },
      ]);
    }
    this.#setRunning(undefined);
    await this.follow();
    await this.refresh();
  }

  /** Removes the key of a session that is over. Should that fail, the session is over all the same: the next refresh tries again. */
  async #drop(key: SessionKey): Promise<void> {
    await this.#signer.removeKey(key).catch(() => {});
  }

  stop(): void {
    this.#running?.abort.abort();
  }

  tick(): void {
    if (this.#list.tick(Date.now())) void this.refresh();
  }

  #ended(sessionId: string, target: Device | undefined, before: boolean): void {
    this.#lastEnded = sessionId;
    page.fillEnded.hidden = false;
    this.#sessions = this.#sessions.filter(({ id }) => id !== sessionId);
    this.#show();
    const then = this.#acting === undefined ? " You are signed out." : target === undefined ? "" : ` You act as ${this.#acting.name}.`;
    const whose = target === undefined ? "Session" : `Session of ${target.name}`;
    announce(before ? `${whose}: it was already over.${then}` : `${whose} revoked.${then}`);
    void this.refresh();
  }

  /** For someone who must leave now: the key goes, and the page says what that does not do. */
  async #forgetAnyway(device: Device): Promise<void> {
    clearFailure();
    try {
      await this.#forget(device);
    } catch (error) {
      showFailure(page.sessionsError, "The key could not be destroyed.", explain(error));
      return;
    }
    this.#show();
    announce(`Key destroyed. The session runs on at Grid until ${clock(device.session.expiresAt)}.`);
  }

  async #forget(...devices: Device[]): Promise<void> {
    for (const { key } of devices) {
      this.#leaving.add(key.id);
      await this.#signer.removeKey(key);
    }
    await this.follow();
  }

  /** Draws the devices, and the page as one of them sees it. */
  #act(device: Device | undefined): void {
    this.#acting = device;
    bearer = device?.accessToken;
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

  #show(): void {
    const acting = this.#acting;
    page.signInTitle.textContent = acting === undefined ? "Sign in" : "Sign in on another device";
    if (acting === undefined) {
      const focusIsLost = page.sessions.contains(document.activeElement);
      page.sessions.hidden = true;
      this.#sessions = [];
      this.#list.clear();
      if (focusIsLost) page.signInTitle.focus();
      return;
    }
    page.sessions.hidden = false;
    const alone = !this.#sessions.some(({ id }) => id !== acting.session.id);
    if (alone && document.activeElement === page.revokeOthers) page.sessionsTitle.focus();
    page.revokeOthers.hidden = alone;
    page.revokeOthers.setAttribute("aria-disabled", String(this.#running !== undefined));
    const kept = this.#list.update({ sessions: this.#sessions, devices: this.#devices, acting, busy: this.#running?.sessionId, running: this.#running !== undefined });
    if (!kept) page.sessionsTitle.focus();
    this.#list.tick(Date.now());
  }

  #setRunning(running: Running | undefined): void {
    if (running === undefined && document.activeElement === page.stop) page.exchangeTitle.focus();
    this.#running = running;
    page.stop.hidden = running === undefined;
    this.#show();
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
      clearFailure();
      void this.refresh();
    });
    page.revokeOthers.addEventListener("click", () => void this.revokeOthers());
    page.stop.addEventListener("click", () => this.stop());
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
    const headers = (): Record<string, string> => (bearer === undefined ? {} : { Authorization: `Bearer ${bearer}` });
    let demo: Demo | undefined;
    const onKeysChanged = (keys: SessionKey[]): void => void demo?.follow(keys);
    signer = await createSigner({ bridgeUrl, headers, onProgress: showLoad, onKeysChanged });
    demo = new Demo(signer);
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

function names(devices: readonly Device[]): string {
  return devices.map(({ name }) => name).join(", ");
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
