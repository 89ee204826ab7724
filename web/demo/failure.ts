// What a person is told when something fails: what happened, and what to do.
import { GridSignerError, type ErrorCode } from "gridsigner";
import { el, type Fact, facts, icon } from "./dom.ts";
import { RequestError } from "./login.ts";

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  /** The same may work when it is tried again. */
  readonly retryable: boolean;
  readonly details: readonly Fact[];
}

/** A way out that an error box offers. */
export interface Action {
  readonly label: string;
  run(): void;
}

/** Complete by its type: a code that is added to the signer must be explained here before this compiles. */
const advice: Readonly<Record<ErrorCode, string>> = {
  ARGUMENT_INVALID: "Check the value and try again. Nothing was sent.",
  KEY_MALFORMED: "Sign in again to make a new key.",
  KEY_NOT_FOUND: "This device's key is gone. Sign in again, then do it from there.",
  KEY_LOST: "This key has ended: it was signed out here or in another tab, or its session is over. Sign in again.",
  STORAGE_FAILED: "This browser’s storage does not answer. Try again; if it stays, close other tabs of this page or free some space.",
  CURVE_UNSUPPORTED: "Choose the other curve.",
  SIGNATURE_MALFORMED: "Nothing was sent. Try again; if it stays, report it.",
  STAMP_MALFORMED: "Nothing was sent. Try again; if it stays, report it.",
  CHALLENGE_MALFORMED: "Nothing was signed. The bridge's answer is not a challenge: check the bridge.",
  CHALLENGE_EXPIRED: "Nothing was signed. Try again for a fresh challenge, and check this device's clock.",
  PAYLOAD_MALFORMED: "Nothing was signed. The payload cannot be read without doubt: check the bridge.",
  INTENT_MISMATCH: "Nothing was signed. You asked for one thing and were given another to sign: do not trust this bridge.",
  ORGANIZATION_MISMATCH: "Nothing was signed. The payload names another organisation than before: do not trust this bridge.",
  RESPONSE_MALFORMED: "The server answered in an unknown form. Check the bridge and its upstream.",
  UPSTREAM_REFUSED: "The server refused for good: asking the same again will not help.",
  UPSTREAM_UNAVAILABLE: "The server is up but cannot answer now. Try again in a moment.",
  NETWORK_FAILED: "The bridge cannot be reached. Check that it runs, then try again.",
  HEADERS_FAILED: "The app’s own login did not answer, so the bridge was not asked. Check the connection, then try again.",
  OTP_INCORRECT: "That is not the code that was sent. Look again and type it once more.",
  OTP_EXPIRED: "This code is of no use any more: it ran out, was used, or was tried too often. Have a new one sent.",
  ENCLAVE_UNTRUSTED: "Nothing was sent and nothing was opened. What came is not signed by Grid's enclave: do not trust this bridge.",
  UNSEAL_FAILED: "What came does not open with the key that asked for it. Try again; if it stays, report it.",
  PASSKEY_CANCELLED: "No passkey was used. Try again when you are ready.",
  PASSKEY_UNSUPPORTED: "This browser or this address has no passkeys. Sign in another way.",
  PASSKEY_EXISTS: "This device has a passkey of the account already: sign in with that.",
  SEALED_KEY_UNSUPPORTED: "This browser cannot take over such a key. Use another one, or a key of your own.",
  TIMEOUT: "No answer in time. Try again: if it is done already, you will be told so.",
  ABORTED: "You stopped it. It may be done all the same: the list tells.",
  CLOSED: "The signer was closed. Reload the page.",
  LOAD_FAILED: "Check the connection and reload the page. Older browsers lack what the signer needs.",
  WORKER_FAILED: "The signer's worker stopped. Try again: another one starts by itself.",
  CLOCK_SKEW: "This device's clock contradicts the server. Set the clock, then try again.",
  CSP_BLOCKED: "This site's own security policy forbids what the signer needs. See the headers in the README.",
  INTERNAL: "A fault of the signer, not of yours. Reload the page and try again.",
};

/** Puts any thrown value into words. Unknown values get a fixed text: they may quote anything. */
export function explain(error: unknown): Failure {
  if (error instanceof GridSignerError) {
    const details: Fact[] = [];
    if (error.status !== undefined) details.push(["HTTP status", String(error.status)]);
    if (error.upstreamCode !== undefined) details.push(["Server's code", error.upstreamCode]);
    if (error.requestId !== undefined) details.push(["Request id", error.requestId]);
    if (error.skewMs !== undefined) details.push(["Clock is off", skew(error.skewMs)]);
    const signInAgain = error.status === 401 && error.upstreamCode === "BRIDGE_UNAUTHENTICATED";
    return {
      code: error.code,
      message: error.code === "HEADERS_FAILED" ? "the app’s own login did not answer" : error.message, // the signer does not know what it asked
      advice: signInAgain ? "Your sign-in at the bridge has run out. Sign in again." : advice[error.code],
      retryable: error.retryable || error.code === "ABORTED",
      details,
    };
  }
  if (error instanceof RequestError) {
    return {
      code: error.code,
      message: error.message,
      advice: error.status >= 500 ? "Check the bridge, then try again." : "Try to sign in again.",
      retryable: error.status >= 500,
      details: [["HTTP status", String(error.status)]],
    };
  }
  if (error instanceof TypeError) {
    return { code: "NETWORK_FAILED", message: "The server could not be reached.", advice: advice.NETWORK_FAILED, retryable: true, details: [] };
  }
  return { code: "INTERNAL", message: "Something unexpected went wrong.", advice: advice.INTERNAL, retryable: false, details: [] };
}

function skew(ms: number): string {
  const [amount, unit] = Math.abs(ms) < 120_000 ? [ms / 1000, "s"] : [ms / 60_000, "min"];
  return `at least ${Math.floor(Math.abs(amount))} ${unit} ${ms < 0 ? "behind" : "ahead"}`;
}

let shown: HTMLElement | undefined;

/** Shows the failure inside at, in place of any earlier one: the page has one error at a time. Returns the box. */
export function showFailure(at: Element, title: string, failure: Failure, actions: readonly Action[] = []): HTMLElement {
  clearFailure();
  const buttons = actions.map((action) => {
    const button = el("button", { type: "button" }, action.label);
    button.addEventListener("click", () => {
      const heading = at.closest("section")?.querySelector("h2");
      action.run();
      if (document.activeElement === document.body) heading?.focus(); // the button went with the box
    });
    return button;
  });
  shown = el(
    "div",
    { class: "error", role: "alert", "data-testid": "error", "data-code": failure.code },
    icon("alert"),
    el("p", { class: "error-title" }, title, " ", el("code", {}, failure.code)),
    el("p", {}, failure.advice),
    facts([["Reason", failure.message], ...failure.details]),
    buttons.length > 0 ? el("div", { class: "actions" }, ...buttons) : undefined,
  );
  at.append(shown);
  shown.scrollIntoView({ block: "nearest" });
  return shown;
}

export function clearFailure(): void {
  shown?.remove();
  shown = undefined;
}
