// Being signed in, with tabs, sessions that run out, and storage that refuses:
// what counts is what the simulator says afterwards. A reload: journey.test.js.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visit, visitDemo } from "./visit.js";

const curves = ["P-256", "secp256k1"];
const other = (curve) => curves.find((name) => name !== curve);

const scenario = (name, options, act) => test(name, () => visitDemo(options, act));

const footer = (guest) => guest.page.$eval("#custody", (text) => text.textContent);

for (const curve of curves) {
  scenario(`${curve}: two tabs stay in step`, {}, async (guest, demo) => {
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
  });
}

scenario("a key signs in the tab that did not make it", {}, async (guest, demo) => {
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
});

scenario("all other devices are signed out, and each outcome is told", { tolerates: /^Failed to load resource/ }, async (guest, demo) => {
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
    await guest.look();
    await guest.page.click('[data-testid="revoke-others"]');
    const shown = await guest.outcome();
    assert.equal(attempts, 1);
    const told = await guest.page.$$eval('[data-testid="exchange"] > li', (items) => items.map(({ dataset }) => [dataset.sessionId, dataset.status]));
    assert.deepEqual(Object.fromEntries(told), { [phone]: "revoked", [tablet]: "left", [foreign]: "revoked" });
    assert.match(shown.text, /Not signed out: .*CHALLENGE_MALFORMED/);
    assert.deepEqual(await demo.sessions(), [tablet, laptop].sort());
    await guest.shows(tablet, laptop);
    assert.equal(await guest.own(), laptop);

    guest.recorder.onAnswer = undefined;
    await guest.page.click('[data-testid="revoke-others"]');
    await guest.shows(laptop);
    assert.deepEqual(await demo.sessions(), [laptop]);
    await guest.page.waitForSelector('[data-testid="revoke-others"]', { hidden: true });
  });
});

scenario("a session that runs out takes its key along, in every tab", { flags: ["--control"] }, async (guest, demo) => {
  const own = await guest.signIn("P-256");
  const tab = await guest.openTab();
  await tab.shows(own);
  await demo.advance(901);
  await guest.look();
  await guest.page.click('[data-testid="refresh"]');
  await guest.signedOut();
  await tab.signedOut();
  await guest.reload();
  await guest.signedOut();
});

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
