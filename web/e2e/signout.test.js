// A sign-out that something gets in the way of: once that has gone, or at the
// next visit, the session is over by the word of the simulator. Meanwhile
// nothing else is signed, and no page calls the device signed in.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hurried, visitDemo } from "./visit.js";

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
  const observer = (globalThis.watching = new MutationObserver(look));
  observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
}

/** A guest who is signed in and out, and what is between them and Grid. */
class SignOut {
  /** Called with what is about to leave, and with what was answered. What throws is lost. */
  onRequest = () => {};
  onAnswer = () => {};
  #pressed = false;
  /** How many exchanges there were before. */
  #from;

  constructor(guest, demo) {
    Object.assign(this, { guest, demo, tabs: [guest], recorder: guest.recorder });
    this.#from = this.recorder.exchanges.length;
    this.recorder.onRequest = (exchange) => this.onRequest(exchange);
    this.recorder.onAnswer = async (exchange) => {
      if (exchange.path === "/demo/demo.js") exchange.prepend(this.#pressed ? `(${watch})();` : "");
      await this.onAnswer(exchange);
    };
  }

  async signIn(curve) {
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

  /** Closes the guest's only tab, and comes back. */
  async comeBack() {
    const [tab] = this.tabs;
    await tab.page.close();
    this.guest = await tab.openTab();
    await this.guest.ready();
    this.tabs = [this.guest];
  }

  async closeTab() {
    await this.tabs.shift().page.close();
    [this.guest] = this.tabs;
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

  /** Signs out while there is no network, from the signed leg on, until that many tries have found none. */
  async whileCutOff(tries) {
    const seen = signal();
    let down = false;
    this.onRequest = (exchange) => {
      if (isLeg(exchange, 2)) down = true;
      if (!down || !isOfApp(exchange)) return;
      if (--tries <= 0) seen.fire();
      throw new Error("no network");
    };
    await this.begin();
    await seen.fired;
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
    for (const tab of this.tabs) {
      await tab.signedOut();
      await tab.page.evaluate(() => watching.disconnect());
    }
    const signed = this.recorder.exchanges.slice(this.#from).filter(isSigned);
    assert.ok(signed.length > 0);
    for (const { method, path } of signed) assert.equal(`${method} ${path}`, `DELETE /api/grid/auth/sessions/${this.id}`);
  }
}

const json = "application/json";
const unauthenticated = { code: "BRIDGE_UNAUTHENTICATED", message: "who are you?" };
const tooMany = [429, json, { code: "RATE_LIMITED", message: "too many requests" }, ["Retry-After", "60"], 1];

/** What a bridge or a network does, and stops doing: the same for each curve. */
const passing = {
  "401 of the app": (it) => it.whileAnswered(401, json, unauthenticated, [], 4),
  "429 with Retry-After: 60, which passes": (it) => it.whileAnswered(...tooMany),
  "503": (it) => it.whileAnswered(503, json, { code: "UNAVAILABLE", message: "not now" }, [], 3),
  "a captive portal": (it) => it.whileAnswered(200, "text/html", "<!doctype html><title>Welcome</title>Accept our terms"),
  "no network, try after try": (it) => it.whileCutOff(4),
};

/** What ends the worker that was finishing it: the next one has the key from storage. */
const ending = {
  "the tab is closed 5 ms after the click": async (it) => {
    await it.press();
    await pause(5);
    await it.comeBack();
  },
};
// death.test.js has every step in between, without the demo.
for (const leg of [1, 2]) {
  ending[`a reload before the answer of leg ${leg}`] = (it) => it.during(leg, () => it.guest.reload());
  ending[`the worker killed before the answer of leg ${leg}`] = (it) => it.during(leg, () => it.killWorker());
}

/** What a second tab does, whichever curve the key is of. Pauses are as long as they are. */
const tabs = {
  "a second tab goes on where the first is closed": async (it) => {
    await it.openTab();
    await it.during(1, () => it.closeTab());
  },
  "429 with Retry-After: 60, and a tab comes": async (it) => {
    await it.whileAnswered(...tooMany);
    await it.openTab();
  },
};

/** death.test.js has the other curve always. */
const curves = process.env.SOAK ? ["P-256", "secp256k1"] : ["P-256"];

/** Runs scenarios one after the other in one visit, at the end of which nothing is left to do. */
async function visitFor(t, curve, prelude, scenarios) {
  const tolerates = /^Failed to load resource/; // what Chromium says of a provoked failure
  const before = (_, recorder) => {
    recorder.onAnswer = (exchange) => exchange.path === "/demo/demo.js" && exchange.strip("etag"); // later it is to be another script
  };
  await visitDemo({ tolerates, before, prelude }, async (guest, demo) => {
    for (const [name, act] of Object.entries(scenarios)) {
      await t.test(name, async () => {
        const it = new SignOut(guest, demo);
        await it.signIn(curve);
        await act(it);
        await it.assertEnds();
        guest = it.guest;
      });
    }
    await guest.reload();
    await guest.signedOut();
    assert.deepEqual(await guest.signOuts(), {}, "nothing is left to do");
  });
}

test("signing out, whatever is in the way", { concurrency: true }, async (t) => {
  const visits = curves.map((curve) => t.test(curve, (t) => visitFor(t, curve, hurried, { ...passing, ...ending })));
  for (const curve of curves) visits.push(t.test(`${curve}, in two tabs`, (t) => visitFor(t, curve, "", tabs)));
  await Promise.all(visits);
});
