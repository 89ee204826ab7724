// The demo for people: by keyboard alone, on a phone's width, and in pictures,
// light and dark.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { engine } from "../test/browser.js";
import { visitDemo } from "./visit.js";

const phone = { width: 360, height: 740 };

const scenario = (name, options, act) => test(name, () => visitDemo(options, act));

/** Presses Tab until the element has the focus, which must be visible. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate((selector) => {
      const { activeElement } = document;
      // The outline of a hidden radio is drawn by its label's text.
      const shown = activeElement.matches("input[type=radio]") ? activeElement.nextElementSibling : activeElement;
      return { there: activeElement.matches(selector), outline: getComputedStyle(shown).outlineStyle, at: activeElement.outerHTML };
    }, selector);
    if (focus.at.startsWith("<body")) continue; // once around
    assert.notEqual(focus.outline, "none", `the focus is visible at ${focus.at.slice(0, 100)}`);
    if (focus.there) return;
  }
  assert.fail(`Tab does not reach ${selector}`);
}

scenario("the keyboard alone signs in, switches device and revokes", {}, async (guest, demo) => {
  const { page } = guest;
  await guest.ready();
  await tabTo(page, "#device-name");
  await page.keyboard.press("Enter"); // submits the form
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="session"]').length === 1);
  const [{ id: laptop }] = await guest.rows();

  await page.waitForSelector('[data-testid="sign-in"][aria-disabled="false"]');
  await tabTo(page, "[name=curve]:checked");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.$eval("[name=curve]:checked", (radio) => radio.value), "secp256k1");
  await tabTo(page, '[data-testid="sign-in"]');
  await page.keyboard.press(" ");
  await page.waitForFunction(() => document.querySelectorAll('[data-testid="session"]').length === 2);
  await page.waitForSelector('[data-testid="sign-in"][aria-disabled="false"]');
  const phone = (await guest.rows()).find(({ own }) => own).id;
  assert.deepEqual(await demo.sessions(), [laptop, phone].sort());

  await tabTo(page, "[name=acting]:checked");
  await page.keyboard.press("ArrowLeft");
  await page.waitForSelector(`[data-session-id="${laptop}"][data-own="true"]`);

  await tabTo(page, `[data-session-id="${phone}"] [data-testid="revoke"]`);
  await page.keyboard.press("Enter");
  assert.equal((await guest.outcome()).status, "revoked");
  await guest.shows(laptop);

  await tabTo(page, `[data-session-id="${laptop}"] [data-testid="revoke"]`); // its own
  await page.keyboard.press(" ");
  await guest.signedOut();
  assert.equal((await guest.outcome()).status, "revoked");
  assert.deepEqual(await demo.sessions(), []);
  assert.equal(await page.evaluate(() => document.activeElement.id), "sessions-title");
});

scenario("Enter pressed twice revokes one device, and no other", {}, async (guest, demo) => {
  const { page } = guest;
  const sessions = [];
  for (let i = 0; i < 3; i++) sessions.push(await guest.signIn("P-256"));
  const [phone, tablet, laptop] = sessions;
  await tabTo(page, `[data-session-id="${tablet}"] [data-testid="revoke"]`);
  for (let presses = 0; presses < 2; presses++) await page.keyboard.press("Enter");
  await guest.shows(phone, laptop);
  assert.equal(await page.evaluate(() => document.activeElement.id), "sessions-title", "the focus is on no other button");
  await page.keyboard.press("Enter"); // also by somebody who is slow
  await guest.outcome();
  assert.equal(guest.recorder.exchanges.filter(({ method, path }) => method === "DELETE" && !path.endsWith(tablet)).length, 0);
  assert.deepEqual(await demo.sessions(), [phone, laptop].sort());
});

scenario("all other devices are signed out when that is confirmed, and not before", {}, async (guest, demo) => {
  const { page } = guest;
  const sessions = [];
  for (let i = 0; i < 3; i++) sessions.push(await guest.signIn("P-256"));
  const isOpen = () => page.$eval("#confirm", (dialog) => dialog.open);
  const focused = () => page.evaluate(() => document.activeElement.dataset.testid);
  await tabTo(page, '[data-testid="sign-out-others"]');
  for (const answer of ["Enter", "Escape"]) {
    await page.keyboard.press("Enter");
    assert.ok(await isOpen());
    assert.match(await page.$eval("#confirm", (dialog) => dialog.innerText), /ends 2 sessions at Grid/);
    assert.equal(await focused(), "cancel");
    await page.keyboard.press(answer);
    await page.waitForFunction(() => !document.querySelector("#confirm").open);
    assert.equal(await focused(), "sign-out-others", "the focus is back");
  }
  assert.equal(guest.recorder.exchanges.filter(({ method }) => method === "DELETE").length, 0);
  assert.deepEqual(await demo.sessions(), [...sessions].sort());

  await page.keyboard.press("Enter");
  await tabTo(page, '[data-testid="confirmed"]');
  await page.keyboard.press("Enter");
  await guest.shows(sessions[2]);
  assert.deepEqual(await demo.sessions(), [sessions[2]]);
  assert.equal(await page.evaluate(() => document.activeElement.id), "sessions-title");
});

scenario("changes are announced, and errors are alerts", {}, async (guest) => {
  await guest.ready();
  await guest.says("ready");
  const phone = await guest.signIn("P-256");
  await guest.says("Signed in as");
  await guest.signIn("P-256");
  await guest.revoke(phone);
  await guest.says("The session is over");
  await guest.revokeById("x");
  assert.equal(await guest.page.$eval('[data-testid="error"]', (box) => box.getAttribute("role")), "alert");
});

scenario("nothing is wider than a phone", { viewport: phone }, async (guest) => {
  const fits = async (state) => {
    const [content, room, window] = await guest.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return [scrollWidth, clientWidth, innerWidth]; // the window has room for a scroll bar too
    });
    assert.equal(content, room, state);
    if (engine !== "webkit") assert.equal(window, phone.width); // its window cannot be as narrow
  };
  await guest.ready();
  await fits("at first");
  await guest.page.click('[data-testid="by-passkey"]');
  await fits("with a way that is not there");
  await guest.chooseWay("code");
  await guest.sendCode();
  await fits("with a code asked for");
  await guest.page.click('[data-testid="another-way"]');
  await guest.chooseWay("oauth");
  const sessions = [];
  for (const curve of ["P-256", "secp256k1", "P-256"]) sessions.push(await guest.signIn(curve));
  await fits("with sessions");
  await guest.page.$eval("#device-name", (input) => (input.value = "W".repeat(40)));
  await guest.signIn("secp256k1");
  await fits("with a long name");
  await guest.revoke(sessions[0]);
  await guest.page.$$eval("details", (all) => all.forEach((details) => (details.open = true)));
  await fits("with an exchange, everything unfolded");
  await guest.page.click('[data-testid="export"]');
  await fits("with a warning");
  await guest.page.click('[data-testid="show-phrase"]');
  await guest.page.waitForSelector("#phrase:not([hidden])");
  await guest.outcome();
  await fits("with the recovery phrase");
  await guest.revokeById("x".repeat(300));
  await fits("with an error");
});

const shots = fileURLToPath(new URL("shots/", import.meta.url));
const picture = fileURLToPath(new URL("../demo/screenshot.png", import.meta.url)); // of the README

for (const [width, viewport] of Object.entries({
  wide: { width: 1280, height: 900 },
  phone: { ...phone, deviceScaleFactor: 2 },
})) {
  // The pictures are for people, and one engine's are enough.
  if (engine !== "chromium" || !(process.env.SOAK || process.env.PICTURES || process.env.UPDATE_PICTURE)) continue;
  scenario(`pictures: ${width}`, { viewport, tolerates: /^Failed to load resource/ }, async (guest) => {
    await mkdir(shots, { recursive: true });
    const { page } = guest;
    await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    await guest.ready();
    await guest.chooseWay("code");
    await guest.sendCode();
    await page.screenshot({ path: `${shots}${width}-code.png`, fullPage: true });
    await page.click('[data-testid="another-way"]');
    await guest.chooseWay("oauth");
    const old = await guest.signIn("secp256k1");
    for (const curve of ["P-256", "secp256k1", "P-256"]) await guest.signIn(curve);
    await guest.revoke(old);
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="session"]').length === 3);
    await page.evaluate(() => {
      document.getAnimations().forEach((animation) => animation.finish());
      document.activeElement.blur();
      scrollTo(0, 0);
    });
    for (const scheme of ["light", "dark"]) {
      await page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value: scheme },
        { name: "prefers-reduced-motion", value: "reduce" },
      ]);
      await page.screenshot({ path: `${shots}${width}-${scheme}.png`, fullPage: true });
      if (process.env.UPDATE_PICTURE && width === "wide" && scheme === "light") {
        const height = await page.$eval(".columns", (columns) => columns.getBoundingClientRect().bottom + 24);
        await page.screenshot({ path: picture, clip: { x: 0, y: 0, width: viewport.width, height }, captureBeyondViewport: true });
      }
    }
    await guest.addWay("work@example.com");
    const [way] = await guest.ways();
    await page.click(`[data-way-id="${way.id}"] [data-testid="remove-way"]`);
    await page.screenshot({ path: `${shots}${width}-ways.png`, fullPage: true });
    await page.click('[data-testid="keep-way"]');
    await page.click('[data-testid="wallet"]');
    await page.click('[data-testid="export"]');
    await page.screenshot({ path: `${shots}${width}-warning.png`, fullPage: true });
    await page.click('[data-testid="show-phrase"]');
    await page.waitForSelector("#phrase:not([hidden])");
    await guest.outcome();
    await page.screenshot({ path: `${shots}${width}-phrase.png`, fullPage: true });
    guest.recorder.onRequest = () => Promise.reject(new Error("no network"));
    const own = await guest.own();
    await guest.press(own);
    await guest.signOutIs(own, "leaving");
    await page.screenshot({ path: `${shots}${width}-leaving.png`, fullPage: true });
  });
}
