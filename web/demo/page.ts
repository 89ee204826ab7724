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
  entrance: find("entrance", HTMLElement),
  wayLabel: find("way-label", HTMLElement),
  way: find("way", HTMLSelectElement),
  wayMissing: find("way-missing", HTMLElement),
  addMissing: find("add-missing", HTMLButtonElement),
  curveHint: find("curve-hint", HTMLElement),
  codeForm: find("code-form", HTMLFormElement),
  codeTo: find("code-to", HTMLElement),
  code: find("code", HTMLInputElement),
  codeButton: find("code-button", HTMLButtonElement),
  codeHint: find("code-hint", HTMLElement),
  inboxMail: find("inbox-mail", HTMLElement),
  inboxCode: find("inbox-code", HTMLOutputElement),
  useCode: find("use-code", HTMLButtonElement),
  sendAnother: find("send-another", HTMLButtonElement),
  anotherWay: find("another-way", HTMLButtonElement),
  signInFoot: find("sign-in-foot", HTMLElement),
  signInProgress: find("sign-in-progress", HTMLElement),
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
  ways: find("ways", HTMLElement),
  waysFold: find("ways-fold", HTMLDetailsElement),
  waysSummary: find("ways-summary", HTMLElement),
  waysCount: find("ways-count", HTMLElement),
  wayList: find("way-list", HTMLUListElement),
  addWay: find("add-way", HTMLDetailsElement),
  addWaySummary: find("add-way-summary", HTMLElement),
  addWayForm: find("add-way-form", HTMLFormElement),
  addType: find("add-type", HTMLSelectElement),
  addWayButton: find("add-way-button", HTMLButtonElement),
  identity: find("identity", HTMLInputElement),
  identityLabel: find("identity-label", HTMLElement),
  identityHint: find("identity-hint", HTMLElement),
  waysStatus: find("ways-status", HTMLElement),
  waysError: find("ways-error", HTMLElement),
  wallet: find("wallet", HTMLElement),
  walletFold: find("wallet-fold", HTMLDetailsElement),
  walletSummary: find("wallet-summary", HTMLElement),
  walletStatus: find("wallet-status", HTMLElement),
  walletError: find("wallet-error", HTMLElement),
  exportButton: find("export", HTMLButtonElement),
  exportQuestion: find("export-question", HTMLElement),
  keepSealed: find("keep-sealed", HTMLButtonElement),
  showPhrase: find("show-phrase", HTMLButtonElement),
  phrase: find("phrase", HTMLElement),
  words: find("words", HTMLOListElement),
  hidePhrase: find("hide-phrase", HTMLButtonElement),
  toExchange: find("to-exchange", HTMLAnchorElement),
  exchangeIntro: find("exchange-intro", HTMLElement),
  exchangeCard: find("exchange-card", HTMLElement),
  preview: find("preview", HTMLElement),
  exchange: find("exchange", HTMLOListElement),
  stop: find("stop", HTMLButtonElement),
  custody: find("custody", HTMLElement),
  status: find("status", HTMLElement),
};

/** Where a person acts, and is told what comes of it. */
export interface Place {
  readonly status: HTMLElement;
  readonly error: HTMLElement;
  /** Has the focus when what had it is gone. */
  readonly home: HTMLElement;
}

export const atSessions: Place = { status: page.status, error: page.sessionsError, home: page.sessionsTitle };
export const atWays: Place = { status: page.waysStatus, error: page.waysError, home: page.waysSummary };
export const atWallet: Place = { status: page.walletStatus, error: page.walletError, home: page.walletSummary };

/** Says what has happened, politely, where the person acts. */
export function announce(text: string, { status }: Place = atSessions): void {
  status.replaceChildren(el("span", {}, text)); // a new element: the same words twice are said twice
}
