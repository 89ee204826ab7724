// Revoking sessions by clicking through the demo, in both generations of
// Grid's contract and on both curves. What counts is what the simulator says
// afterwards, and what went over the wire.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visit, visitDemo } from "./visit.js";
import { assertSignedRetry, profiles } from "./wire.js";

const curves = ["P-256", "secp256k1"];

for (const profile of Object.keys(profiles)) {
  for (const curve of curves) {
    const scenario = (name, act) =>
      test(`${profile}, ${curve}: ${name}`, () => visitDemo({ flags: ["--profile", profile] }, act));

    scenario("another session", async (guest, demo) => {
      const phone = await guest.signIn(curve);
      const tablet = await guest.signIn(curves.find((other) => other !== curve));
      const laptop = await guest.signIn(curve);
      assert.deepEqual(await demo.sessions(), [phone, tablet, laptop].sort());
      assert.deepEqual(await guest.ids(), await demo.sessions());

      const shown = await guest.revoke(phone);
      assert.equal(shown.status, "revoked");
      assert.deepEqual(shown.steps, ["request", "response", "challenge", "signed", "request", "response", "result"]);
      assert.deepEqual(await demo.sessions(), [tablet, laptop].sort());
      await guest.shows(tablet, laptop);
      assertSignedRetry(guest.recorder, shown, { sessionId: phone, signerId: laptop, profile, curve });
    });

    scenario("its own session, and its key with it", async (guest, demo) => {
      const phone = await guest.signIn(curve);
      const laptop = await guest.signIn(curve);
      const shown = await guest.revoke(laptop);
      assert.equal(shown.status, "revoked");
      assert.match(shown.text, /key in this browser is destroyed/);
      assert.deepEqual(await demo.sessions(), [phone]);
      assertSignedRetry(guest.recorder, shown, { sessionId: laptop, signerId: laptop, profile, curve });

      // The page falls back to the other device, and then to signing in.
      await guest.shows(phone);
      assert.equal((await guest.rows())[0].own, true);
      assert.equal((await guest.revoke(phone)).status, "revoked");
      assert.deepEqual(await demo.sessions(), []);
      await guest.signedOut();
      assert.equal(await guest.page.$eval("#sign-in-title", (title) => title.textContent), "Sign in");
      assert.equal((await guest.signIn(curve)).length, phone.length, "and signs in again");
    });

    scenario("sessions that are over already", async (guest, demo) => {
      const own = await guest.signIn(curve);
      let foreign;
      await visit(demo, {}, async (other) => {
        foreign = await other.signIn(curve);
        await guest.page.click('[data-testid="refresh"]');
        await guest.shows(own, foreign);
        assert.equal((await other.revoke(foreign)).status, "revoked"); // behind the first page's back
      });
      for (const shown of [await guest.revoke(foreign), await guest.revokeById(foreign)]) {
        assert.deepEqual([shown.status, shown.code], ["inactive", undefined]);
        assert.deepEqual(shown.steps, ["request", "response", "result"]);
        await guest.says("It was already over");
      }
      assert.deepEqual(await demo.sessions(), [own]);
      await guest.shows(own);
    });
  }
}
