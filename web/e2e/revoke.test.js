// Revoking sessions by clicking through the demo, in both generations of
// Grid's contract and on both curves. What counts is what the simulator says
// afterwards, and what went over the wire.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "../test/browsers.js";
import { parseHeader, verifies } from "../test/verify.js";
import { visit, visitDemo } from "./visit.js";

const profiles = {
  modern: { format: "stamp", requestId: /^Request:[0-9a-f-]{36}$/, payload: /^\{"organizationId":/ },
  "legacy-2026-04": { format: "der", requestId: /^[0-9a-f-]{36}$/, payload: /^[A-Za-z0-9+/]{43}=$/ },
};
const curves = ["P-256", "secp256k1"];

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** The public key that a session was made out to, from what the page sent when it signed in. */
function publicKeyOf(recorder, sessionId) {
  const signIn = recorder.exchanges.find((exchange) => exchange.path.endsWith("/verify") && exchange.json.id === sessionId);
  return JSON.parse(signIn.body).clientPublicKey;
}

/** Holds the exchange to the contract, byte by byte. */
function assertSignedRetry(recorder, shown, { sessionId, signerId, profile, curve }) {
  const { format, requestId, payload } = profiles[profile];
  const [asked, signed, ...more] = recorder.revocations(sessionId);
  assert.equal(more.length, 0, "two requests and no more");
  for (const { body } of [asked, signed]) assert.equal(body.length, 0);

  assert.deepEqual([asked.all("Grid-Wallet-Signature"), asked.all("Request-Id")], [[], []]);
  assert.equal(asked.status, 202);
  const challenge = asked.json;
  assert.equal(challenge.type, "OAUTH");
  assert.match(challenge.requestId, requestId);
  assert.match(challenge.payloadToSign, payload);

  const [header, ...repeated] = signed.all("Grid-Wallet-Signature");
  assert.deepEqual(repeated, []);
  assert.deepEqual(signed.all("Request-Id"), [challenge.requestId]);
  assert.equal(signed.status, 204);
  assert.equal(signed.answerBody.length, 0);

  assert.deepEqual(shown.payloads, [challenge.payloadToSign], "the page shows what was signed");
  const publicKey = publicKeyOf(recorder, signerId);
  const signature = parseHeader(header, format);
  if (format === "stamp") assert.deepEqual([signature.publicKey, signature.curve], [publicKey, curve]);
  assert.ok(verifies(curve, publicKey, signature.der, challenge.payloadToSign), "the signature is the signer's");
}

for (const profile of Object.keys(profiles)) {
  for (const curve of curves) {
    const scenario = (name, act) =>
      test(`${profile}, ${curve}: ${name}`, () => visitDemo(browser, { flags: ["--profile", profile] }, act));

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
      await guest.page.waitForSelector("#sessions", { hidden: true });
      assert.equal(await guest.page.$eval("#sign-in-title", (title) => title.textContent), "Sign in");
      assert.equal((await guest.signIn(curve)).length, phone.length, "and signs in again");
    });

    scenario("sessions that are over already", async (guest, demo) => {
      const own = await guest.signIn(curve);
      let foreign;
      await visit(browser, demo, {}, async (other) => {
        foreign = await other.signIn(curve);
        await guest.page.click('[data-testid="refresh"]');
        await guest.shows(own, foreign);
        assert.equal((await other.revoke(foreign)).status, "revoked"); // behind the first page's back
      });
      for (const shown of [await guest.revoke(foreign), await guest.revokeById(foreign)]) {
        assert.deepEqual([shown.status, shown.code], ["inactive", undefined]);
        assert.deepEqual(shown.steps, ["request", "response", "result"]);
      }
      assert.deepEqual(await demo.sessions(), [own]);
      await guest.shows(own);
    });
  }
}
