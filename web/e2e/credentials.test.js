// Sessions that go on, by themselves and by clicking, and ways to sign in that
// are added and removed, once for each curve. What counts is what the simulator
// says afterwards, and that nothing but what was asked for is signed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { visitDemo } from "./visit.js";

/** Each signed request is answered with PROCESSING first. Refusals are provoked below. */
const options = { flags: ["--processing-replies", "1", "--seed-email-otp=false"], tolerates: /^Failed to load resource/ };

const asked = ["request", "response", "challenge", "signed", "request", "response"];
const done = [...asked, "wait", "request", "response", "result"];

// Beside each other, as most of it is waiting.
test("a session goes on, and the way that it came from is removed", { concurrency: true }, (t) =>
  Promise.all((process.env.SOAK ? ["P-256", "secp256k1"] : ["P-256"]).map((curve) => t.test(curve, () =>
    visitDemo(options, async (guest, demo) => {
      const { page, recorder } = guest;
      await guest.ready();
      await page.evaluate(() => {
        globalThis.said = [];
        for (const status of document.querySelectorAll('[role="status"]')) {
          new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
        }
      });

      // The key is told that its session is a short one, so that it is soon time. The last third is for a busy machine.
      recorder.onAnswer = (exchange) => {
        if (!exchange.path.endsWith("/verify")) return;
        exchange.answerBody = Buffer.from(JSON.stringify({ ...exchange.json, expiresAt: new Date(Date.now() + 15_000).toISOString() }));
      };
      const began = await guest.signIn(curve);
      recorder.onAnswer = undefined;
      await page.waitForFunction(() => said.some((text) => text.startsWith("This laptop: The session goes on until")));
      const later = await guest.own();
      await guest.shows(later);
      assert.notEqual(later, began);
      assert.equal((await page.evaluate(() => said)).filter((text) => text.includes("goes on")).length, 1, "said once");

      const refreshed = await guest.refreshNow();
      assert.deepEqual([refreshed.status, refreshed.steps], ["refreshed", done]);
      assert.match(refreshed.text, /that is: a new session for this key\..*Grid is still at it.*201 Created/s);
      const laptop = await guest.own();
      assert.ok(![began, later].includes(laptop));
      // By its key's word the first one's time is up before it could be ended; the other one is ended.
      const left = async () => (await demo.sessions()).filter((id) => id !== began);
      while ((await left()).join() !== laptop) await new Promise((resolve) => setTimeout(resolve, 100));
      assert.match((await guest.rows())[0].text, /^This laptop/);

      const [first] = await guest.ways();
      assert.match(first.text, /^ada@example\.com\s+OAuth · since .* · began this session/);
      await page.click('[data-testid="remove-way"]');
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "keep-way");
      await page.keyboard.press("Escape");
      assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), "remove-way", "the focus is back");
      await guest.removeWay(first.id);
      assert.match(await error(guest), /Not removed.*It is the only way to sign in, and an account keeps one/s);

      const added = await guest.addWay("work@example.com");
      assert.deepEqual([added.status, added.steps], ["added", done]);
      assert.match(added.text, /Add one identity \(work@example\.com, by google\).*that is: add one OAuth sign-in\./s);
      await page.waitForFunction(() => document.querySelectorAll('[data-testid="way-row"]').length === 2);
      assert.equal(await page.evaluate(() => document.activeElement.id), "add-way-summary");
      await guest.addWay("work@example.com");
      assert.match(await error(guest), /Not added.*work@example\.com is a way to sign in already/s);

      const refused = await guest.removeWay(first.id);
      assert.deepEqual(refused.steps, [...asked, "result"]);
      assert.match(await error(guest), /Not removed.*A session does not remove the way to sign in that it came from/s);
      assert.deepEqual(await left(), [laptop]);

      const [, second] = await guest.ways();
      await guest.chooseWay("oauth", second.id);
      const phone = await guest.signIn(curve);
      assert.match((await guest.rows()).find(({ own }) => own).text, /OAuth · work@example\.com/);
      const removed = await guest.removeWay(first.id);
      assert.deepEqual([removed.status, removed.steps], ["removed", done]);
      assert.match(removed.text, /that is: remove one OAuth sign-in\./);
      await guest.signOutIs(laptop, "over");
      await guest.shows(phone);
      assert.deepEqual((await guest.ways()).map(({ id }) => id), [second.id]);
      assert.deepEqual(await demo.sessions(), [phone]);

      // What the page has asked for, and nothing else, was signed.
      const signed = recorder.exchanges.filter((exchange) => exchange.all("Grid-Wallet-Signature").length > 0);
      const kinds = new Set(signed.map(({ method, path }) => `${method} ${path.replace(/:[0-9a-f-]{36}/, "")}`));
      assert.deepEqual([...kinds].sort(), [
        "DELETE /api/grid/auth/credentials/AuthMethod",
        "DELETE /api/grid/auth/sessions/Session",
        "POST /api/grid/auth/credentials",
        "POST /api/grid/auth/sessions/Session/refresh",
      ]);
    })))));

async function error({ page }) {
  return (await page.waitForSelector('#ways-error [data-testid="error"]')).evaluate((box) => box.innerText);
}
