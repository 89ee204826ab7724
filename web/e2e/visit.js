// A person at the demo page.
import assert from "node:assert/strict";
import { startDemo } from "./demo.js";
import { browser } from "../test/browser.js";
import { record } from "./recorder.js";

const wide = { width: 1280, height: 900 };

/**
 * For a worker: its pauses between two tries of a sign-out, which without chance are
 * of so many ms, are short. How long they are: unit/leaving.test.js.
 */
export const hurried = `{
  Math.random = () => 0;
  const wait = setTimeout;
  self.setTimeout = (act, ms, ...rest) => wait(act, ms % 1000 === 50 ? 250 : ms, ...rest);
}`;

/**
 * Opens the page in a browser profile of its own, behind a recorder, and lets
 * `act` use it. Afterwards the page must have reported no error but those that
 * `tolerates` matches. `prelude` comes before the script of each worker.
 */
export async function visit(demo, { viewport = wide, tolerates, before, prelude = "" } = {}, act) {
  const recorder = Object.assign(await record(), { prelude });
  const context = await browser.createBrowserContext({
    proxyServer: recorder.address,
    proxyBypassList: ["<-loopback>"], // loopback is not to be an exception
  });
  const problems = [];
  try {
    const page = await context.newPage();
    watch(page, problems, tolerates);
    await page.setViewport(viewport);
    await before?.(page, recorder);
    await page.goto(demo.page);
    const openTab = async () => {
      const tab = await context.newPage();
      watch(tab, problems, tolerates);
      await tab.setViewport(viewport);
      await tab.goto(demo.page);
      return new Visit(tab, recorder, openTab);
    };
    await act(new Visit(page, recorder, openTab));
    assert.deepEqual(problems, [], "the console is silent");
    for (const { url } of recorder.exchanges) assert.ok(url.startsWith(`${demo.origin}/`), `${url} is of the page's own origin`);
  } catch (error) {
    if (problems.length > 0) error.message += `\nThe page reported: ${problems.join("\n")}`;
    throw error;
  } finally {
    await context.close();
    recorder.close();
  }
}

/** The same at a demo of its own, which is started with `flags`. `act` gets it too. */
export async function visitDemo({ flags = [], ...options }, act) {
  const demo = await startDemo(...flags);
  try {
    await visit(demo, options, (guest) => act(guest, demo));
  } finally {
    await demo.kill();
  }
}

/**
 * The same, shared by scenarios, each of which is a test of its own and begins with
 * nobody signed in: to load the page and the module takes longer than most of them.
 */
export async function visitOnce(t, options, scenarios) {
  await visitDemo(options, async (guest, demo) => {
    for (const [name, act] of Object.entries(scenarios)) {
      await t.test(name, () => act(guest, demo));
      await guest.leave();
    }
  });
}

/** Adds the errors and warnings of a page and its workers to the problems. */
function watch(page, problems, tolerates) {
  const add = (text) => {
    if (!tolerates?.test(text)) problems.push(text);
  };
  page.on("pageerror", (error) => add(String(error)));
  page.on("console", (message) => {
    if (["error", "warn", "assert"].includes(message.type())) add(message.text());
  });
  page.on("error", (error) => add(String(error))); // the page's process crashed
}

export class Visit {
  /** `openTab` opens the page once more in the same browser profile, behind the same recorder. */
  constructor(page, recorder, openTab) {
    this.page = page;
    this.recorder = recorder;
    this.openTab = openTab;
  }

  /** Turns to this tab: those behind it draw nothing, and waiting for what they show would not end. */
  async look() {
    await this.page.bringToFront();
  }

  /** Waits until the signer is loaded. */
  async ready() {
    await this.look();
    await this.page.waitForSelector("html[data-ready=true]");
  }

  async reload() {
    await this.page.reload();
    await this.ready();
  }

  /** Signs in as one more device, by the way that is chosen, and returns the id of its session. */
  async signIn(curve) {
    await this.ready();
    const known = await this.ids();
    await this.page.click(`[data-testid="curve-${curve}"]`);
    await this.page.click('[data-testid="sign-in"]');
    return this.entered(known);
  }

  /** Waits until there is another session than the known ones, and returns the id. */
  async entered(known) {
    const session = await this.page.waitForFunction(
      (known) => {
        const own = document.querySelector('[data-testid="session"][data-own="true"]')?.dataset.sessionId;
        const done = document.querySelector('[data-testid="sign-in"]').getAttribute("aria-disabled") === "false";
        return done && !known.includes(own) && own;
      },
      { polling: 50 },
      known,
    );
    return session.jsonValue();
  }

  /** Chooses how to sign in, and with which of several, as soon as there is one. */
  async chooseWay(by, id) {
    await this.page.click(`[data-testid="by-${by}"]`);
    await this.page.waitForSelector('[data-testid="sign-in"][aria-disabled="false"]');
    if (id !== undefined) await this.select("way", id);
  }

  /** Has a code sent, and returns what the inbox shows. */
  async sendCode(curve = "P-256") {
    await this.page.click(`[data-testid="curve-${curve}"]`);
    await this.page.click('[data-testid="sign-in"]');
    return this.arrived();
  }

  /** Waits for a code to come, and returns it. */
  async arrived(before = "") {
    const isThere = (before) => document.querySelector("#code-form:not([hidden]) #inbox-code")?.value.replace(before, "");
    return (await this.page.waitForFunction(isThere, { polling: 50 }, before)).jsonValue();
  }

  /** Presses the keys of a text, into what has the focus. */
  async type(text) {
    for (const key of text) await this.page.keyboard.press(key);
  }

  /** What has the focus, by its test id or id. */
  focused() {
    return this.page.evaluate(() => document.activeElement.dataset.testid ?? document.activeElement.id);
  }

  /** Chooses from a list. */
  async select(name, value) {
    const choose = (list, value) => {
      list.value = value;
      list.dispatchEvent(new Event("change", { bubbles: true }));
    };
    await this.page.$eval(`[data-testid="${name}"]`, choose, value);
  }

  /** The sessions that are shown, from the top. */
  rows() {
    return this.page.$$eval('[data-testid="session"]', (rows) =>
      rows.map((row) => ({ id: row.dataset.sessionId, own: row.dataset.own === "true", text: row.innerText })),
    );
  }

  /** The id of the session that the page acts with. */
  async own() {
    return (await this.rows()).find(({ own }) => own)?.id;
  }

  async ids() {
    return (await this.rows()).map(({ id }) => id).sort();
  }

  /** Waits until no device is signed in. */
  async signedOut() {
    await this.look();
    await this.page.waitForSelector("#sessions:not([hidden]) #nobody:not([hidden])");
    assert.deepEqual(await this.rows(), []);
  }

  /** Waits until these words are said, and announced: that is a moment after an exchange has ended. */
  async says(words) {
    const isSaid = (words) => Array.from(document.querySelectorAll('[role="status"]')).some(({ textContent }) => textContent.includes(words));
    await this.page.waitForFunction(isSaid, { polling: 50 }, words);
  }

  /** The sign-outs that are shown, by session. */
  async signOuts() {
    const rows = await this.page.$$eval('[data-testid="sign-out"]', (rows) =>
      rows.map((row) => [row.dataset.sessionId, { state: row.dataset.state, text: row.innerText }]),
    );
    return Object.fromEntries(rows);
  }

  /** Waits until the sign-out of a session is shown as this: `leaving`, `over` or `left`. */
  async signOutIs(sessionId, state) {
    await this.look();
    await this.page.waitForSelector(`[data-testid="sign-out"][data-session-id="${sessionId}"][data-state="${state}"]`);
  }

  /** Waits until exactly these sessions are shown. */
  async shows(...ids) {
    await this.look();
    await this.page.waitForFunction(
      (want) => {
        const rows = document.querySelectorAll('#sessions:not([hidden]) [data-testid="session"]');
        return Array.from(rows, (row) => row.dataset.sessionId).sort().join() === want;
      },
      { polling: 50 },
      ids.sort().join(),
    );
  }

  /** Waits until a session is not shown any more. */
  async gone(sessionId) {
    await this.page.waitForSelector(`[data-testid="session"][data-session-id="${sessionId}"]`, { hidden: true });
  }

  /** Presses the button of a session. What comes of it is for {@link outcome}. */
  async press(sessionId) {
    await this.look();
    await this.page.click(`[data-session-id="${sessionId}"] [data-testid="revoke"]`);
  }

  /** Revokes a session by its button. */
  async revoke(sessionId) {
    await this.press(sessionId);
    return this.outcome();
  }

  /** The same where Grid cannot be told: the page would wait eight seconds for it, and waits this long. */
  async revokeInVain(sessionId, patienceMs = 500) {
    await this.page.evaluate((timeoutMs) => {
      const { postMessage } = Worker.prototype;
      Worker.prototype.postMessage = function (message, ...rest) {
        if (message.method === "signOut") {
          message.args[0].timeoutMs = timeoutMs;
          Worker.prototype.postMessage = postMessage;
        }
        postMessage.call(this, message, ...rest);
      };
    }, patienceMs);
    return this.revoke(sessionId);
  }

  /** Nothing is in the way any more, and every device is signed out. */
  async leave() {
    Object.assign(this.recorder, { onRequest: undefined, onAnswer: undefined });
    await this.look();
    await this.page.waitForSelector('[data-testid="exchange"][aria-busy="true"]', { hidden: true });
    await this.page.waitForSelector('[data-testid="session"][data-own="true"], #sessions:not([hidden]) #nobody:not([hidden])');
    for (let own; (own = await this.own()); ) {
      await this.revoke(own);
      await this.gone(own);
    }
    await this.signedOut();
    await this.page.$eval("#device-name", (input) => (input.value = "This laptop")); // as the page names the first
  }

  /** Revokes by the advanced form. */
  async revokeById(id) {
    await this.openAdvanced();
    await this.page.$eval('[data-testid="advanced-session-id"]', (input, id) => (input.value = id), id);
    await this.page.click('[data-testid="advanced-revoke"]');
    return this.outcome();
  }

  /** Signs all others out, and confirms it. */
  async signOutOthers() {
    await this.look();
    await this.page.click('[data-testid="sign-out-others"]');
    await this.page.click('[data-testid="confirmed"]');
    return this.outcome();
  }

  /** Has the session of the page's own device go on now. */
  async refreshNow() {
    await this.look();
    await this.page.click('[data-own="true"] [data-testid="refresh-session"]');
    return this.outcome();
  }

  /** The ways to sign in that are shown, in order. */
  async ways() {
    await this.look();
    await this.page.$eval('[data-testid="ways"]', (summary) => (summary.parentElement.open = true));
    return this.page.$$eval('[data-testid="way-row"]', (rows) => rows.map((row) => ({ id: row.dataset.wayId, text: row.innerText })));
  }

  /** Adds a way to sign in: a person of the identity provider's, or what the page suggests for another type. */
  async addWay(name, type = "OAUTH") {
    await this.ways();
    await this.page.$eval('[data-testid="add-way"]', (summary) => (summary.parentElement.open = true));
    await this.select("add-type", type);
    if (name !== undefined) await this.page.$eval('[data-testid="identity"]', (input, name) => (input.value = name), name);
    await this.page.click('[data-testid="add-way-button"]');
    return this.outcome();
  }

  /** Removes a way to sign in, and confirms it. */
  async removeWay(id) {
    for (const button of ["remove-way", "confirm-way"]) await this.page.click(`[data-way-id="${id}"] [data-testid="${button}"]`);
    return this.outcome();
  }

  async openAdvanced() {
    await this.page.$eval('[data-testid="advanced"]', (summary) => (summary.parentElement.open = true));
  }

  /** Waits for the end of the exchange, and returns what is shown of it. */
  async outcome() {
    await this.page.waitForSelector('[data-testid="exchange"][aria-busy="false"]');
    return this.page.$eval('[data-testid="exchange"]', (list) => ({
      steps: Array.from(list.children, (step) => step.dataset.step),
      status: list.querySelector('[data-step="result"]')?.dataset.status,
      code: document.querySelector('[data-testid="error"]')?.dataset.code,
      payloads: Array.from(list.querySelectorAll('[data-step="challenge"] pre'), (shown) => shown.textContent),
      text: list.innerText,
    }));
  }

  /** The code of the error that is shown. */
  async errorCode() {
    return (await this.page.waitForSelector('[data-testid="error"]')).evaluate((box) => box.dataset.code);
  }

  /** Presses the button with these words in the error box. */
  async answerError(label) {
    await this.page.waitForSelector('[data-testid="error"] button');
    await this.page.$$eval(
      '[data-testid="error"] button',
      (buttons, label) => buttons.find(({ textContent }) => textContent.trim() === label).click(),
      label,
    );
  }
}
