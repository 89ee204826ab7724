// The devices of this page and the list of sessions at Grid.
import { type AuthSession, type SessionBinding, type SessionKey } from "gridsigner";
import { kind } from "./credentials.ts";
import { type Device } from "./device.ts";
import { clock, el, icon, type IconName, ring, setRing } from "./dom.ts";

/** What the list shows at one moment. */
export interface SessionsModel {
  readonly sessions: readonly AuthSession[];
  readonly devices: readonly Device[];
  readonly acting: Device | undefined;
  /** The session that is being revoked right now. */
  readonly busy: string | undefined;
  /** The acting one is being refreshed. */
  readonly refreshing: boolean;
  /** No other can be revoked meanwhile. */
  readonly running: boolean;
}

interface Row {
  readonly item: HTMLLIElement;
  readonly face: HTMLElement;
  readonly who: HTMLElement;
  readonly badge: HTMLElement;
  readonly button: HTMLButtonElement;
  readonly refresh: HTMLButtonElement;
  readonly until: HTMLElement;
  readonly left: HTMLElement;
  readonly ring: SVGSVGElement;
  /** The session itself began here, and what it goes back to by refreshes perhaps earlier. */
  startedAt: number;
  expiresAt: number;
  /** tick has reported that the session ran out. */
  reported: boolean;
  /** As it was last drawn. */
  device: Device | undefined;
}

/** Where nearly-over begins: the countdown changes its colour. */
const soonMs = 60_000;

/** Time for Grid's clock, of whole seconds, to agree that a session is over. */
const graceMs = 1_000;

/** What the rows' buttons do. */
interface Acts {
  revoke(sessionId: string): void;
  refresh(): void;
}

/** The rows of one list, kept between updates so that focus and position survive. */
export class SessionList {
  readonly #list: HTMLUListElement;
  readonly #acts: Acts;
  readonly #rows = new Map<string, Row>();

  constructor(list: HTMLUListElement, acts: Acts) {
    this.#list = list;
    this.#acts = acts;
  }

  /** A session has gone on to another one: its row does, too. */
  goOn(before: string, next: SessionBinding): void {
    const row = this.#rows.get(before);
    if (row === undefined || this.#rows.has(next.id)) return;
    this.#rows.delete(before);
    this.#rows.set(next.id, row);
    row.item.dataset["sessionId"] = next.id;
    row.startedAt = Date.now();
    setEnd(row, next.expiresAt);
  }

  /** Shows the model, newest first. */
  update(model: SessionsModel): void {
    const order = [...model.sessions].reverse().sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
    const ids = new Set(order.map((session) => session.id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.item.remove();
      this.#rows.delete(id);
    }
    order.forEach((session, position) => {
      const device = model.devices.find((device) => device.session.id === session.id);
      let row = this.#rows.get(session.id);
      if (row === undefined) {
        row = this.#make(session);
        this.#rows.set(session.id, row);
        this.#list.insertBefore(row.item, this.#list.children[position] ?? null);
      }
      if (row.expiresAt !== Date.parse(session.expiresAt)) setEnd(row, session.expiresAt);
      if (row.device !== device || row.who.childElementCount === 0) describeRow(row, session, device);
      const own = device !== undefined && device === model.acting;
      const busy = model.busy === session.id;
      row.item.dataset["own"] = String(own);
      row.badge.hidden = !own;
      row.refresh.hidden = !own;
      row.refresh.textContent = model.refreshing && own ? "Refreshing…" : "Refresh now";
      row.refresh.setAttribute("aria-disabled", String(model.running));
      row.button.textContent = own ? (busy ? "Signing out…" : "Sign out") : (busy ? "Revoking…" : "Revoke");
      row.button.setAttribute("aria-label", own ? `Sign out ${title(device)}, this device` : `Revoke ${title(device)}`);
      row.button.setAttribute("aria-disabled", String(model.running));
    });
  }

  /**
   * Moves the countdowns on; true once for each session that ran out.
   * The text is in no live region: a screen reader says it when asked, not each second.
   */
  tick(now: number): boolean {
    let ranOut = false;
    for (const row of this.#rows.values()) {
      const left = row.expiresAt - now;
      if (left <= -graceMs && !row.reported) ranOut = row.reported = true;
      row.left.textContent = left > 0 ? timeLeft(left) : "over";
      row.item.dataset["soon"] = String(left < soonMs);
      setRing(row.ring, Math.min(1, Math.max(0, left / (row.expiresAt - row.startedAt))));
    }
    return ranOut;
  }

  #make(session: AuthSession): Row {
    const badge = el("span", { class: "badge" }, "This device");
    const button = el("button", { type: "button", class: "revoke", "data-testid": "revoke" });
    const refresh = el("button", { type: "button", class: "link", "data-testid": "refresh-session" });
    refresh.addEventListener("click", () => this.#acts.refresh());
    const left = el("time", { class: "left" });
    const dial = ring();
    const until = el("p", { class: "expiry" }, dial, left);
    const [face, who] = [el("span", { class: "face" }), el("div", { class: "who" })];
    const item = el(
      "li",
      { class: "session", "data-testid": "session", "data-session-id": session.id },
      face,
      who,
      el("div", { class: "until" }, until, refresh),
      button,
    );
    button.addEventListener("click", () => this.#acts.revoke(item.dataset["sessionId"] ?? ""));
    const row = { item, face, who, badge, button, refresh, until, left, ring: dial, startedAt: Date.parse(session.updatedAt), expiresAt: 0, reported: false, device: undefined };
    setEnd(row, session.expiresAt);
    return row;
  }
}

function setEnd(row: Row, expiresAt: string): void {
  row.expiresAt = Date.parse(expiresAt);
  row.reported = false;
  row.until.title = `Until ${clock(expiresAt)}`;
  row.left.setAttribute("datetime", expiresAt);
}

/** Says whose session it is. That can change: a key comes from another tab, or goes before its session does. */
function describeRow(row: Row, session: AuthSession, device: Device | undefined): void {
  row.device = device;
  row.face.replaceChildren(icon(device === undefined ? "unknown" : deviceIcon(device.name)));
  row.who.replaceChildren(
    el("h3", {}, title(device), " ", row.badge),
    el("p", {}, `${kind(session.type)} · ${session.nickname} · since `, el("time", { datetime: session.createdAt }, clock(session.createdAt))),
    device === undefined
      ? el("p", {}, "Its key is not in this browser.")
      : el("p", { class: "is-key" }, icon("key"), el("span", { class: "mono" }, device.fingerprint), ` · ${device.key.curve}`),
    device === undefined ? "" : el("p", { class: "is-key" }, keyWords(device.key)),
  );
}

/** Draws the choice of the acting device. */
export function showDevices(at: HTMLElement, devices: readonly Device[], acting: Device, choose: (device: Device) => void): void {
  at.replaceChildren(...devices.map((device) => {
    const radio = el("input", { type: "radio", name: "acting", value: device.session.id });
    radio.checked = device === acting; // the attribute alone would lose to the reader's own choice
    radio.addEventListener("change", () => choose(device));
    return el("label", {}, radio, el("span", {}, icon(deviceIcon(device.name)), el("b", {}, device.name)));
  }));
}

/** One line on the key of a device, and honestly what guards it. */
export function describeKey(device: Device): Array<Node | string> {
  return [
    icon("key"),
    el("span", { class: "mono" }, device.fingerprint),
    ` · ${protectionWords[device.key.protection]} ${persistenceWords[device.key.persistence]}`,
  ];
}

/** What script on the page, which an attacker may have brought, could do with the key. */
const protectionWords: Readonly<Record<SessionKey["protection"], string>> = {
  "non-extractable": "The browser signs with it. Script on this page could use it, and cannot read it.",
  "encrypted-at-rest": "A worker signs with it, and it is stored encrypted. Script on this page could have it decrypted, and read it.",
  "wasm-memory": "A worker signs with it, and only its memory has it. Script on this page could use it, and cannot read it.",
};

const persistenceWords: Readonly<Record<SessionKey["persistence"], string>> = {
  indexeddb: "It survives a reload.",
  memory: "This browser did not store it: a reload loses it.",
};

function keyWords(key: SessionKey): string {
  const protection = { "non-extractable": "non-extractable", "encrypted-at-rest": "encrypted at rest", "wasm-memory": "in the worker" };
  const persistence = { indexeddb: "stored", memory: "in memory only" };
  return `${protection[key.protection]} · ${persistence[key.persistence]}`;
}

function title(device: Device | undefined): string {
  return device?.name ?? "Another browser or an earlier sign-in";
}

function deviceIcon(name: string): IconName {
  if (/phone|pixel/i.test(name)) return "phone";
  return /tablet|pad/i.test(name) ? "tablet" : "laptop";
}

/** Whole minutes, and seconds in the last one: in digits it would read as a time of day. */
function timeLeft(ms: number): string {
  if (ms < soonMs) return `${Math.floor(ms / 1000)} s left`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 120 ? `${minutes} min left` : `${Math.floor(minutes / 60)} h left`;
}
