// What index.html has for the script to work with.
import { el, find } from "./dom.ts";

export const page = {
  load: find("load", HTMLElement),
  loadAmount: find("load-amount", HTMLElement),
  loadProgress: find("load-progress", HTMLProgressElement),
  signInTitle: find("sign-in-title", HTMLElement),
  signInForm: find("sign-in-form", HTMLFormElement),
  signInButton: find("sign-in", HTMLButtonElement),
  signInError: find("sign-in-error", HTMLElement),
  deviceName: find("device-name", HTMLInputElement),
  deviceNames: find("device-names", HTMLElement),
  curveHint: find("curve-hint", HTMLElement),
  sessions: find("sessions", HTMLElement),
  sessionsTitle: find("sessions-title", HTMLElement),
  sessionList: find("session-list", HTMLUListElement),
  signOutList: find("sign-out-list", HTMLUListElement),
  nobody: find("nobody", HTMLElement),
  sessionsError: find("sessions-error", HTMLElement),
  devices: find("devices", HTMLElement),
  deviceChoices: find("device-choices", HTMLElement),
  keyLine: find("key-line", HTMLElement),
  refresh: find("refresh", HTMLButtonElement),
  signOutOthers: find("sign-out-others", HTMLButtonElement),
  confirm: find("confirm", HTMLDialogElement),
  confirmText: find("confirm-text", HTMLElement),
  confirmed: find("confirmed", HTMLButtonElement),
  advanced: find("advanced", HTMLElement),
  advancedForm: find("advanced-form", HTMLFormElement),
  advancedId: find("advanced-id", HTMLInputElement),
  forget: find("forget", HTMLInputElement),
  fillEnded: find("fill-ended", HTMLButtonElement),
  fillMalformed: find("fill-malformed", HTMLButtonElement),
  toExchange: find("to-exchange", HTMLAnchorElement),
  exchangeIntro: find("exchange-intro", HTMLElement),
  preview: find("preview", HTMLElement),
  exchange: find("exchange", HTMLOListElement),
  stop: find("stop", HTMLButtonElement),
  custody: find("custody", HTMLElement),
  status: find("status", HTMLElement),
};

/** Says what has happened, politely, beside the list. */
export function announce(text: string): void {
  page.status.replaceChildren(el("span", {}, text)); // a new element: the same words twice are said twice
}
