// Revoking sessions by clicking through the demo, in both generations of
// Grid's contract and on both curves. What counts is what the simulator says
// afterwards, and what went over the wire.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visit, visitOnce } from "./visit.js";
import { assertSignedRetry, profiles } from "./wire.js";

const curves = ["P-256", "secp256k1"];

for (const profile of Object.keys(profiles)) {
  const all = Object.assign({}, ...curves.map((curve) => revocations(profile, curve)), { "sessions that are over already": overAlready });
  // Of the contract of April 2026, what it signs in another way: with each curve, once.
  const other = ["P-256: another session", "secp256k1: its own session, and its key with it"];
  const scenarios = profile === "modern" || process.env.SOAK ? all : Object.fromEntries(other.map((name) => [name, all[name]]));
  test(profile, (t) => visitOnce(t, { flags: ["--profile", profile] }, scenarios));
}

function revocations(profile, curve) {
  return {
    async [`${curve}: another session`](guest, demo) {
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
    },

    async [`${curve}: its own session, and its key with it`](guest, demo) {
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
    },
  };
}

/** Signed out in another browser, behind the page's back. */
async function overAlready(guest, demo) {
  await visit(demo, {}, async (other) => {
    for (const curve of curves) {
      const own = await guest.signIn(curve);
      const foreign = await other.signIn(curve);
      await guest.look();
      await guest.page.click('[data-testid="refresh"]');
      await guest.shows(own, foreign);
      assert.equal((await other.revoke(foreign)).status, "revoked");
      for (const act of [() => guest.revoke(foreign), () => guest.revokeById(foreign)]) {
        const shown = await act();
        assert.deepEqual([shown.status, shown.code], ["inactive", undefined]);
        assert.deepEqual(shown.steps, ["request", "response", "result"]);
        await guest.says("It was already over");
      }
      assert.deepEqual(await demo.sessions(), [own]);
      await guest.shows(own);
      assert.equal((await guest.revoke(own)).status, "revoked");
    }
  });
}
