// Being signed in and out, with tabs, reloads, a network that is gone, sessions
// that run out, and storage that refuses: what counts is what the simulator says
// afterwards.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hurried, visit, visitDemo, visitOnce } from "./visit.js";

const curves = ["P-256", "secp256k1"];
const other = (curve) => curves.find((name) => name !== curve);

const footer = (guest) => guest.page.$eval("#custody", (text) => text.textContent);

/** These come to one visit, so each ends with nobody signed in; the last two move Grid's clock, and leave a session behind. */
const scenarios = {};

for (const curve of process.env.SOAK ? curves : ["P-256"]) {
  scenarios[`${curve}: two tabs stay in step`] = async (guest, demo) => {
    const tab = await guest.openTab();
    await tab.ready();
    await tab.signedOut();
    const laptop = await guest.signIn(curve);
    await tab.shows(laptop);
    assert.equal(await tab.own(), laptop, "signed in there too");
    const phone = await tab.signIn(other(curve));
    await guest.shows(laptop, phone);
    assert.deepEqual([await guest.own(), await tab.own()], [laptop, phone], "each acts as it did");

    assert.equal((await guest.revoke(laptop)).status, "revoked");
    await tab.shows(phone);
    assert.deepEqual(await demo.sessions(), [phone]);
    assert.equal((await tab.revoke(phone)).status, "revoked");
    await guest.signedOut();
    assert.deepEqual(await demo.sessions(), []);
    await tab.page.close();
  };
}

scenarios["a key signs in the tab that did not make it"] = async (guest, demo) => {
  for (const curve of curves) {
    const own = await guest.signIn(curve);
    const tab = await guest.openTab();
    await tab.ready();
    await tab.shows(own);
    assert.equal((await tab.revoke(own)).status, "revoked");
    await guest.signedOut();
    assert.deepEqual(await demo.sessions(), []);
    await tab.page.close();
  }
};

/** Takes the bridge and the app's login away. The page itself can still be loaded. */
function cutOff(recorder) {
  recorder.onRequest = ({ path }) => {
    if (path.startsWith("/api/") || path === "/demo/login") throw new Error("no network");
  };
  return () => (recorder.onRequest = undefined);
}

scenarios["a sign-out without a network is shown as what it is, and finished when the network is back"] = async (guest, demo) => {
  const phone = await guest.signIn("secp256k1");
  const laptop = await guest.signIn("P-256");
  const tab = await guest.openTab();
  await tab.shows(phone, laptop);
  const restore = cutOff(guest.recorder);
  await guest.look();
  const shown = await guest.revokeInVain(laptop);
  assert.equal(shown.status, "pending");
  assert.match(shown.text, /Grid has not been told yet.*may live on, until/);
  for (const page of [guest, tab]) {
    await page.signOutIs(laptop, "leaving");
    assert.match((await page.signOuts())[laptop].text, /^Phone\s+Signed out here\. Grid has not been told yet\..*as soon as it can be reached/);
    await page.shows(phone);
    assert.equal(await page.own(), phone);
  }
  assert.deepEqual(await demo.sessions(), [phone, laptop].sort());

  restore();
  for (const page of [guest, tab]) {
    await page.signOutIs(laptop, "over");
    await page.page.waitForSelector('[data-testid="error"]', { hidden: true });
  }
  assert.deepEqual(await demo.sessions(), [phone]);
  assert.match((await guest.outcome()).text, /The session is over\. Grid confirmed it\./);
  await tab.page.close();
};

scenarios["after a reload nobody is signed in, and the sign-out is finished"] = async (guest, demo) => {
  const own = await guest.signIn("secp256k1");
  const restore = cutOff(guest.recorder);
  await guest.press(own);
  await guest.signOutIs(own, "leaving");
  await guest.signedOut();
  await guest.reload();
  await guest.signOutIs(own, "leaving");
  await guest.signedOut();
  assert.match((await guest.signOuts())[own].text, /^This laptop\s+Signed out here/);
  assert.doesNotMatch(await guest.page.evaluate(() => document.body.innerText), /signed in as/);
  assert.deepEqual(await demo.sessions(), [own]);

  restore();
  await guest.signOutIs(own, "over");
  assert.deepEqual(await demo.sessions(), []);
  await guest.reload();
  await guest.signedOut();
  assert.deepEqual(await guest.signOuts(), {});
  assert.deepEqual(await guest.page.evaluate(() => Object.keys(localStorage)), []);
};

scenarios["all other devices are signed out, and each outcome is told"] = async (guest, demo) => {
  const [phone, tablet] = [await guest.signIn("P-256"), await guest.signIn("secp256k1")];
  const laptop = await guest.signIn("P-256");
  await visit(demo, {}, async (elsewhere) => {
    const foreign = await elsewhere.signIn("secp256k1");
    let attempts = 0;
    guest.recorder.onAnswer = (exchange) => {
      if (exchange.method !== "DELETE" || !exchange.path.endsWith(tablet)) return;
      attempts++;
      exchange.answerBody = Buffer.from("{}"); // no challenge
    };
    const shown = await guest.signOutOthers();
    assert.equal(attempts, 1);
    const told = await guest.page.$$eval('[data-testid="exchange"] > li', (items) => items.map(({ dataset }) => [dataset.sessionId, dataset.status]));
    assert.deepEqual(Object.fromEntries(told), { [phone]: "revoked", [tablet]: "left", [foreign]: "revoked" });
    assert.match(shown.text, /Not signed out: .*CHALLENGE_MALFORMED/);
    await guest.says("2 of 3 other sessions are over. Still signed in: Phone.");
    assert.deepEqual(await demo.sessions(), [tablet, laptop].sort());
    await guest.shows(tablet, laptop);
    assert.equal(await guest.own(), laptop);

    guest.recorder.onAnswer = undefined;
    await guest.signOutOthers();
    await guest.shows(laptop);
    assert.deepEqual(await demo.sessions(), [laptop]);
    await guest.page.waitForSelector('[data-testid="sign-out-others"]', { hidden: true });
  });
};

scenarios["a session that runs out takes its key along, in every tab"] = async (guest, demo) => {
  const own = await guest.signIn("P-256");
  const tab = await guest.openTab();
  await tab.shows(own);
  await demo.advance(901);
  await guest.look();
  await guest.page.click('[data-testid="refresh"]');
  await guest.signedOut();
  await guest.signOutIs(own, "over");
  await tab.signedOut();
  await guest.reload();
  await guest.signedOut();
  await tab.page.close();
};

scenarios["a key that is to be forgotten when Grid cannot be told is, and that is said"] = async (guest, demo) => {
  const own = await guest.signIn("P-256");
  await guest.openAdvanced();
  await guest.page.click('[data-testid="forget"]');
  const restore = cutOff(guest.recorder);
  const shown = await guest.revokeInVain(own);
  assert.equal(shown.status, "forgotten");
  assert.match(shown.text, /Grid was not told, and will not be\. The session may live on until/);
  await guest.signOutIs(own, "left");
  restore();
  await guest.reload();
  await guest.signedOut();
  assert.deepEqual(await guest.signOuts(), {});
  assert.deepEqual(await demo.sessions(), [own], "as the page said");
};

const options = { flags: ["--control"], tolerates: /^Failed to load resource/, prelude: hurried };

test("signed in and out", (t) => visitOnce(t, options, scenarios));

const scenario = (name, options, act) => test(name, () => visitDemo(options, act));

const refuseStorage = (_, recorder) => {
  recorder.onAnswer = (exchange) => {
    if (exchange.path !== "/demo/demo.js") return;
    // The page's own storage; the worker's is what the scenario below is about.
    exchange.prepend(`
      for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(globalThis, name, { get: () => { throw new DOMException("no", "SecurityError"); } });
      }
    `);
  };
};

scenario("names that cannot be stored cost the names alone", { before: refuseStorage }, async (guest, demo) => {
  const own = await guest.signIn("secp256k1");
  assert.match((await guest.rows())[0].text, /^This laptop/);
  await guest.reload();
  await guest.shows(own);
  assert.match((await guest.rows())[0].text, /^A device/);
  assert.equal((await guest.revoke(own)).status, "revoked");
  assert.deepEqual(await demo.sessions(), []);
});

/** The worker is refused IndexedDB, as in some private windows. */
const refuseDatabase = (_, recorder) => {
  const refuse = 'Object.defineProperty(self, "indexedDB", { get() { throw new DOMException("no", "SecurityError"); } });';
  recorder.onAnswer = (exchange) => {
    if (exchange.path === "/worker.js") exchange.prepend(refuse);
  };
};

scenario("keys that cannot be stored are said to be in memory alone, and are", { before: refuseDatabase }, async (guest, demo) => {
  const signedIn = [];
  for (const curve of curves) signedIn.push(await guest.signIn(curve));
  const kept = { "P-256": "non-extractable", secp256k1: "in the worker" };
  for (const { id, text } of await guest.rows()) {
    assert.match(text, new RegExp(`${kept[curves[signedIn.indexOf(id)]]} · in memory only`));
  }
  assert.match(await footer(guest), /refuses to store keys: a reload forgets them, while their sessions run on at Grid/);
  await guest.reload();
  await guest.signedOut();
  assert.deepEqual(await demo.sessions(), signedIn.sort(), "as the page said");
});
