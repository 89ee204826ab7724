// From signing in to signing out, by clicking through the demo, with a reload
// and a second tab on the way: what only a whole browser can show, in Chromium once for
// each curve. What counts is what the simulator says afterwards, and what went over
// the wire.
import assert from "node:assert/strict";
import { test } from "node:test";
import { engine } from "../test/browser.js";
import { visitDemo } from "./visit.js";
import { assertSignedRetry } from "./wire.js";

const curves = ["P-256", "secp256k1"];
const once = engine === "chromium" || process.env.SOAK ? curves : curves.slice(0, 1);
const protection = { "P-256": "non-extractable", secp256k1: "encrypted at rest" };

for (const curve of once) {
  test(`${curve}: signed in, reloaded, another device and then this one signed out`, () =>
    visitDemo({}, async (guest, demo) => {
      const named = async () => (await guest.rows()).map(({ id, own, text }) => [id, own, text.split("\n")[0]]);
      const signer = { profile: "modern", curve };

      const phone = await guest.signIn(curves.find((other) => other !== curve));
      const laptop = await guest.signIn(curve);
      assert.deepEqual(await demo.sessions(), [phone, laptop].sort());
      const before = await named();
      await guest.reload();
      await guest.shows(phone, laptop);
      assert.deepEqual(await named(), before, "the same devices, names and choice");
      assert.match((await guest.rows()).find(({ own }) => own).text, new RegExp(` · ${curve}\\s+${protection[curve]} · stored`));
      assert.match(await guest.page.$eval("#custody", (text) => text.textContent), /a reload or a second tab finds them again/);

      const revoked = await guest.revoke(phone);
      assert.equal(revoked.status, "revoked");
      assert.deepEqual(await demo.sessions(), [laptop]);
      assertSignedRetry(guest.recorder, revoked, { ...signer, sessionId: phone, signerId: laptop });

      const tab = await guest.openTab();
      await tab.shows(laptop);
      await guest.look();
      const signedOut = await guest.revoke(laptop);
      assert.equal(signedOut.status, "revoked");
      assert.match(signedOut.text, /key in this browser is destroyed/);
      assert.deepEqual(await demo.sessions(), []);
      assertSignedRetry(guest.recorder, signedOut, { ...signer, sessionId: laptop, signerId: laptop });
      await tab.signedOut();

      await guest.look();
      await guest.reload();
      await guest.signedOut();
      assert.deepEqual(await guest.page.evaluate(() => Object.keys(localStorage)), [], "no name outlives its key");
    }));
}
