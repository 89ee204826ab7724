// A sign-out that something gets in the way of: once that has gone, or at the
// next visit, the session is over by the word of the simulator. Meanwhile
// nothing else is signed, and no page calls the device signed in.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visitDemo } from "./visit.js";

/** How many at once: most of the time they wait. */
const atOnce = 6;

/** How soon it must be over at Grid. */
const withinMs = 30_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A promise and the function that resolves it. */
function signal() {
  let fire;
  const fired = new Promise((resolve) => (fire = resolve));
  return { fired, fire };
}

async function until(what, isSo) {
  const deadline = Date.now() + withinMs;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await pause(100);
  }
}

const isSigned = (exchange) => exchange.all("Grid-Wallet-Signature").length > 0;
const isLeg = (exchange, leg) => exchange.method === "DELETE" && isSigned(exchange) === (leg === 2);
const isOfApp = ({ path }) => path.startsWith("/api/") || path === "/demo/login";

/** Runs in the page: complains on its console, which must be silent, as soon as it calls a device signed in. */
function watch() {
  const look = () => {
    const rows = document.querySelectorAll('[data-testid="session"]').length;
    const text = document.body.innerText.replace("No device of this browser is signed in.", "");
    if (rows === 0 && !/signed in|you act as/i.test(text)) return;
    observer.disconnect();
    console.error(`signed out, and the page shows ${rows} sessions and says: ${text}`);
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
}

/** A guest who is signed in and out, and what is between them and Grid. */
class SignOut {
  /** Called with what is about to leave, and with what was answered. What throws is lost. */
  onRequest = () => {};
  onAnswer = () => {};
  #pressed = false;

  /** `prelude` comes before the script of each worker. */
  constructor(recorder, prelude = "") {
    this.recorder = recorder;
    recorder.onRequest = (exchange) => this.onRequest(exchange);
    recorder.onAnswer = async (exchange) => {
      if (exchange.path === "/worker.js") exchange.prepend(prelude);
      if (exchange.path === "/demo/demo.js") exchange.prepend(this.#pressed ? `(${watch})();` : "");
      await this.onAnswer(exchange);
    };
  }

  async signIn(guest, demo, curve) {
    Object.assign(this, { guest, demo, tabs: [guest] });
    this.id = await this.guest.signIn(curve);
    assert.deepEqual(await this.demo.sessions(), [this.id]);
  }

  /** Presses the button: from now on nobody is signed in. */
  async press() {
    this.#pressed = true;
    await this.guest.look();
    await this.guest.page.$eval(`[data-session-id="${this.id}"] [data-testid="revoke"]`, (button) => button.click());
  }

  /** Presses, and waits until every tab shows it. */
  async begin() {
    await this.press();
    for (const { page } of this.tabs) {
      const isShown = () => document.querySelector('[data-testid="sign-out"]') && !document.querySelector('[data-testid="session"]');
      await page.waitForFunction(isShown, { polling: 50 });
      await page.evaluate(watch);
    }
  }

  async openTab() {
    const tab = await this.guest.openTab();
    await tab.ready();
    this.tabs.push(tab);
  }

  async closeTab() {
    await this.tabs.shift().page.close();
  }

  async killWorker() {
    const [worker] = this.guest.page.workers();
    await worker.evaluate(() => close()).catch(() => {}); // it may die before it has answered
  }

  /** Signs out, and does something while the answer of a leg is on its way, which is then lost. */
  async during(leg, act) {
    const [reached, done] = [signal(), signal()];
    this.onAnswer = async (exchange) => {
      if (!isLeg(exchange, leg)) return;
      reached.fire();
      await done.fired;
      throw new Error("lost");
    };
    await this.begin();
    await reached.fired;
    this.onAnswer = () => {};
    try {
      await act();
    } finally {
      done.fire();
    }
  }

  /** Signs out while every request of the app is answered like this, until that has been seen a few times. */
  async whileAnswered(status, type, body, headers = [], times = 2) {
    const seen = signal();
    this.onAnswer = (exchange) => {
      if (!isOfApp(exchange)) return;
      const date = exchange.answerHeaders[exchange.answerHeaders.indexOf("Date") + 1];
      const answerBody = Buffer.from(typeof body === "string" ? body : JSON.stringify({ status, ...body }));
      Object.assign(exchange, { status, answerBody, answerHeaders: ["Date", date, "Content-Type", type, ...headers] });
      if (--times <= 0) seen.fire();
    };
    await this.begin();
    await seen.fired;
    assert.deepEqual(await this.demo.sessions(), [this.id]);
    this.onAnswer = () => {};
  }

  /** Signs out while there is no network, from the signed leg on. */
  async whileCutOff(ms) {
    const cut = signal();
    let down = false;
    this.onRequest = (exchange) => {
      if (isLeg(exchange, 2)) down = true;
      if (!down || !isOfApp(exchange)) return;
      cut.fire();
      throw new Error("no network");
    };
    await this.begin();
    await cut.fired;
    await pause(ms);
    assert.deepEqual(await this.demo.sessions(), [this.id]);
    this.onRequest = () => {};
  }

  /** Nothing is in the way any more. */
  async assertEnds() {
    await until("over at Grid", async () => (await this.demo.sessions()).length === 0);
    await until("over in every tab", async () => {
      const states = await Promise.all(this.tabs.map((tab) => tab.signOuts()));
      return states.flatMap(Object.values).every(({ state }) => state === "over");
    });
    for (const tab of this.tabs) await tab.signedOut();
    await this.tabs[0].reload();
    await this.tabs[0].signedOut();
    assert.deepEqual(await this.tabs[0].signOuts(), {}, "nothing is left to do");
    const signed = this.recorder.exchanges.filter(isSigned);
    assert.ok(signed.length > 0);
    for (const { method, path } of signed) assert.equal(`${method} ${path}`, `DELETE /api/grid/auth/sessions/${this.id}`);
  }
}

const json = "application/json";
const unauthenticated = { code: "BRIDGE_UNAUTHENTICATED", message: "who are you?" };
const tooMany = [429, json, { code: "RATE_LIMITED", message: "too many requests" }, ["Retry-After", "60"], 1];

/** Of the pauses, shortens the one that Retry-After: 60 asks for. */
const impatient = `{
  const wait = setTimeout;
  self.setTimeout = (act, ms, ...rest) => wait(act, ms > 60_000 ? 500 : ms, ...rest);
}`;

/** What gets in the way, and goes. */
const scenarios = {
  "401 of the app": (it) => it.whileAnswered(401, json, unauthenticated, [], 4),
  "429 with Retry-After: 60, which passes": Object.assign((it) => it.whileAnswered(...tooMany), { prelude: impatient }),
  "429 with Retry-After: 60, and a tab comes": async (it) => {
    await it.whileAnswered(...tooMany);
    await it.openTab();
  },
  "503": (it) => it.whileAnswered(503, json, { code: "UNAVAILABLE", message: "not now" }, [], 3),
  "a captive portal": (it) => it.whileAnswered(200, "text/html", "<!doctype html><title>Welcome</title>Accept our terms"),
  "no network for 10 s": (it) => it.whileCutOff(10_000),
  "the tab is closed 5 ms after the click": async (it) => {
    await it.press();
    await pause(5);
    await it.closeTab();
    await it.openTab();
  },
  "a second tab goes on where the first is closed": async (it) => {
    await it.openTab();
    await it.during(1, () => it.closeTab());
  },
};
// death.test.js has every step in between, without the demo.
for (const leg of [1, 2]) {
  scenarios[`a reload before the answer of leg ${leg}`] = (it) => it.during(leg, () => it.guest.reload());
  scenarios[`the worker killed before the answer of leg ${leg}`] = (it) => it.during(leg, () => it.killWorker());
}

test("signing out, whatever is in the way", { concurrency: atOnce }, async (t) => {
  const runs = Object.entries(scenarios).flatMap(([name, act]) =>
    ["P-256", "secp256k1"].map((curve) => t.test(`${curve}: ${name}`, () => run(curve, act))),
  );
  await Promise.all(runs);
});

async function run(curve, act) {
  let it;
  const before = (_, recorder) => void (it = new SignOut(recorder, act.prelude));
  const tolerates = /^Failed to load resource/; // what Chromium says of a provoked failure
  await visitDemo({ before, tolerates }, async (guest, demo) => {
    await it.signIn(guest, demo, curve);
    await act(it);
    await it.assertEnds();
  });
}
