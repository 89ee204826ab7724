// Signing in, in each of the four ways, and the export of the wallet, by clicking
// as a person would. What counts is what the simulator says afterwards, and that
// what is secret goes nowhere. The passkeys are real ones, of an authenticator
// that Chromium has for tests, which other engines have not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { engine } from "../test/browser.js";
import { verifies } from "../test/verify.js";
import { holds } from "./traces.js";
import { visitDemo } from "./visit.js";

/** Wrong codes and passkeys are refused, which Chromium logs. */
const options = { flags: ["--control"], tolerates: /^Failed to load resource/ };

const token = ["note", "request", "response", "result"];
const code = ["note", "request", "response", "challenge", "signed", "request", "response", "result"];
const passkey = ["request", "response", "note", "request", "response", "result"];
const signed = ["request", "response", "challenge", "signed", "request", "response"];

const asked = ({ url, headers, body }) => Buffer.concat([Buffer.from(`${url}\n${headers.join("\n")}\n`), body]);
const verified = ({ recorder }) => recorder.exchanges.filter(({ path }) => path.endsWith("/verify"));
const claims = (jwt) => JSON.parse(Buffer.from(jwt.split(".")[1], "base64url"));
const other = (code) => code.replace(/.$/, (digit) => (Number(digit) + 5) % 10);

/** The code, as a word of its own: longer numbers and hex may hold its digits by accident. Or what is sealed together with it. */
const holdsCode = (text, code) => new RegExp(`(?<!\\w)${code}(?!\\w)`).test(text) || holds(text, Buffer.from(`{"otp_code":"${code}"`));

test("by a token, and by codes that come by email and SMS", () =>
  visitDemo(options, async (guest, demo) => {
    const { page } = guest;
    const laptop = await guest.signIn("P-256");
    const shown = await guest.outcome();
    assert.deepEqual([shown.status, shown.steps], ["begun", token]);
    assert.match(shown.text, /with any other key it is of no use/);
    const [proof] = verified(guest).map(({ body }) => JSON.parse(body));
    assert.ok(shown.text.includes(proof.clientPublicKey) && shown.text.includes(claims(proof.oidcToken).nonce));
    assert.ok(!(await page.evaluate(() => document.body.innerHTML)).includes(proof.oidcToken), "the token itself is not shown");

    const added = await guest.addWay(undefined, "SMS_OTP");
    assert.deepEqual([added.status, added.steps], ["added", [...signed, "result"]]);
    assert.match(added.text, /the phone number \+12025550123, that is: send codes by SMS there\./);
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="way-row"]').length === 3);
    const [, , sms] = await guest.ways();
    assert.match(sms.text, /^\+12025550123\s+Code by SMS/);

    // By SMS, with a wrong code first, by the keyboard.
    await guest.chooseWay("code", sms.id);
    const known = await guest.ids();
    const sent = await guest.sendCode("secp256k1");
    assert.match(sent, /^\d{6}$/);
    assert.equal(await guest.focused(), "code");
    assert.match((await guest.outcome()).text, /Checked: whom the code may be sealed to.*is found out.*\+12025550123/s);
    await guest.type(other(sent));
    await page.keyboard.press("Enter");
    assert.equal(await guest.errorCode(), "OTP_INCORRECT");
    assert.deepEqual(await demo.sessions(), [laptop]);
    assert.equal(await guest.focused(), "code");
    await guest.type(sent); // in the place of the other: it is selected
    await page.keyboard.press("Enter");
    const phone = await guest.entered(known);
    const by = await guest.outcome();
    assert.deepEqual([by.status, by.steps, by.code], ["begun", code, undefined]);
    assert.ok(!(await page.evaluate(() => document.body.innerHTML)).includes(sent), "the code is shown no more");
    assert.match(by.text, /the code to \+12025550123 was right, and it came with the key .*that is: begin a session for this key\./s);
    assert.match((await guest.rows()).find(({ own }) => own).text, /^Phone.*Code by SMS · \+12025550123 .*secp256k1/s);
    assert.deepEqual(await demo.sessions(), [laptop, phone].sort());

    const [leg1, leg2] = verified(guest).slice(-2);
    assert.deepEqual([leg1.status, leg2.status], [202, 200]);
    assert.ok(leg1.body.equals(leg2.body), "the same is sent twice, and the second time signed");
    const { payloadToSign } = leg1.json;
    assert.deepEqual(by.payloads, [payloadToSign], "the page shows what was signed");
    const [header] = leg2.all("Grid-Wallet-Signature");
    const stamp = JSON.parse(Buffer.from(header, "base64url"));
    assert.equal(stamp.publicKey, claims(payloadToSign).public_key);
    assert.ok(verifies("secp256k1", stamp.publicKey, Buffer.from(stamp.signature, "hex"), payloadToSign));

    // By email, with the button beside the code.
    const [, email] = await guest.ways();
    await guest.chooseWay("code", email.id);
    const before = await guest.ids();
    const second = await guest.sendCode();
    await page.click('[data-testid="use-code"]');
    await page.click('[data-testid="code-sign-in"]');
    await guest.entered(before);
    assert.match((await guest.rows()).find(({ own }) => own).text, /Code by email · ada@example\.com/);
    assert.equal((await demo.sessions()).length, 3);

    for (const exchange of guest.recorder.exchanges) {
      for (const secret of [sent, second]) assert.ok(!holdsCode(asked(exchange), secret), `${exchange.method} ${exchange.path} holds a code`);
    }
    await guest.signOutOthers();
    await guest.chooseWay("oauth");
    await guest.leave();
    assert.deepEqual(await demo.sessions(), []);
  }));

if (engine === "chromium") {
  test("a code that runs out, and another one", () =>
    visitDemo(options, async (guest, demo) => {
      const { page } = guest;
      await guest.ready();
      await guest.chooseWay("code");
      const late = await guest.sendCode();
      await demo.advance(301);
      await guest.type(late);
      await page.keyboard.press("Enter");
      assert.equal(await guest.errorCode(), "OTP_EXPIRED");
      await guest.answerError("Send another code");
      await guest.arrived(late);
      await page.click('[data-testid="another-way"]');
      assert.equal(await guest.focused(), "by-code");
      const sent = await guest.sendCode();
      for (let tries = 0; tries < 4; tries++) { // Grid takes no more than three
        await guest.type(other(sent));
        await page.keyboard.press("Enter");
        await page.waitForSelector(`[data-code="${tries < 3 ? "OTP_INCORRECT" : "OTP_EXPIRED"}"]`);
        await page.waitForSelector('[data-testid="code-sign-in"][aria-disabled="false"]');
      }
      await page.click('[data-testid="send-another"]');
      await guest.arrived(sent);
      await page.click('[data-testid="use-code"]');
      await page.keyboard.press("Enter"); // it has the focus
      const own = await guest.entered([]);
      assert.equal(await guest.focused(), "sessions-title");
      assert.deepEqual(await demo.sessions(), [own]);
    }));

  test("a bridge that has the code sealed to a key of its own", () =>
    visitDemo(options, async (guest) => {
      await guest.ready();
      guest.recorder.onAnswer = (exchange) => {
        if (!exchange.path.endsWith("/challenge")) return;
        const bundle = JSON.parse(exchange.json.otpEncryptionTargetBundle);
        const forged = JSON.stringify({ ...bundle, data: bundle.data.replace(/.$/, (digit) => (digit === "d" ? "e" : "d")) });
        exchange.answerBody = Buffer.from(JSON.stringify({ ...exchange.json, otpEncryptionTargetBundle: forged }));
      };
      await guest.chooseWay("code");
      await guest.page.click('[data-testid="sign-in"]');
      assert.equal(await guest.errorCode(), "ENCLAVE_UNTRUSTED");
      assert.equal(await guest.page.$eval("#code-form", (form) => form.hidden), true, "nobody is asked for the code");
    }));

  let authenticator;
  const withAuthenticator = async (page) => {
    const devtools = await page.createCDPSession();
    await devtools.send("WebAuthn.enable");
    const able = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true };
    const { authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options: able });
    authenticator = (method, more) => devtools.send(`WebAuthn.${method}`, { authenticatorId, ...more });
  };

  test("a passkey is added, signs in, and is removed", () =>
    visitDemo({ ...options, before: withAuthenticator }, async (guest, demo) => {
      const { page } = guest;
      await guest.ready();
      await page.click('[data-testid="by-passkey"]');
      await guest.says("This account has no passkey. Come in another way and add one");
      await page.click('[data-testid="sign-in"]');
      assert.equal(guest.recorder.exchanges.filter(({ method, path }) => method === "POST" && path.startsWith("/api/")).length, 0);

      await guest.chooseWay("oauth");
      const laptop = await guest.signIn("P-256");
      await page.click('[data-testid="by-passkey"]');
      await page.click('[data-testid="add-missing"]');
      assert.equal(await guest.focused(), "add-type");
      await page.click('[data-testid="add-way-button"]');
      const added = await guest.outcome();
      assert.deepEqual([added.status, added.steps], ["added", [...signed, "result"]]);
      assert.match(added.text, /Add one authenticator \(My passkey\).*that is: add this passkey\./s);
      await page.waitForFunction(() => document.querySelectorAll('[data-testid="way-row"]').length === 3);
      await guest.addWay(undefined, "PASSKEY");
      assert.equal(await guest.errorCode(), "PASSKEY_EXISTS");

      // Nobody says yes, and then somebody does.
      const { credentials: [made] } = await authenticator("getCredentials");
      await authenticator("clearCredentials");
      await page.click('[data-testid="sign-in"]');
      assert.equal(await guest.errorCode(), "PASSKEY_CANCELLED");
      assert.deepEqual(await demo.sessions(), [laptop]);
      await authenticator("addCredential", { credential: made });
      const phone = await guest.signIn("secp256k1");
      const shown = await guest.outcome();
      assert.deepEqual([shown.status, shown.steps, shown.code], ["begun", passkey, undefined]);
      assert.match(shown.text, /The browser adds the name of this site.*localhost:/s);
      assert.match((await guest.rows()).find(({ own }) => own).text, /^Phone.*Passkey · My passkey .*secp256k1/s);
      assert.deepEqual(await demo.sessions(), [laptop, phone].sort());
      const proof = verified(guest).at(-1);
      assert.deepEqual([proof.all("Grid-Wallet-Signature").length, proof.all("Request-Id").length], [0, 1]);

      await authenticator("setResponseOverrideBits", { isBogusSignature: true });
      await page.click('[data-testid="sign-in"]');
      await page.waitForSelector('#sign-in-error [data-code="UPSTREAM_REFUSED"]');
      assert.match(await page.$eval("#sign-in-error", (box) => box.innerText), /Grid does not take this for a proof of who you are/);
      await authenticator("setResponseOverrideBits", {});

      await page.click(`#device-choices label:first-child`);
      await page.waitForSelector(`[data-session-id="${laptop}"][data-own="true"]`);
      const removed = await guest.removeWay((await guest.ways()).at(-1).id);
      assert.equal(removed.status, "removed");
      assert.match(removed.text, /that is: remove one passkey\./);
      await guest.shows(laptop);
      assert.deepEqual(await demo.sessions(), [laptop]);
    }));

  const logged = [];
  const listening = (page) => page.on("console", (message) => logged.push(message.text()));

  test("the recovery phrase is shown after a warning, hidden again, and nowhere else", () =>
    visitDemo({ ...options, before: listening }, async (guest) => {
      const { page } = guest;
      await guest.signIn("P-256");
      await page.click('[data-testid="wallet"]');
      const exports = () => guest.recorder.exchanges.filter(({ path }) => path.endsWith("/export"));
      const words = () => page.$$eval("#words li", (items) => items.map((item) => item.textContent));
      await page.click('[data-testid="export"]');
      assert.equal(await guest.focused(), "keep-sealed", "not on the button that shows them");
      await page.keyboard.press("Enter");
      assert.equal(await guest.focused(), "export");
      assert.equal(exports().length, 0, "nothing is asked for until it is wanted twice");

      await page.keyboard.press("Enter");
      await page.click('[data-testid="show-phrase"]');
      await page.waitForSelector("#phrase:not([hidden])");
      const shown = await guest.outcome();
      assert.deepEqual([shown.status, shown.steps], ["exported", [...signed, "note", "result"]]);
      assert.match(shown.text, /Export wallet .*that is: its recovery phrase, for this browser alone to open\./s);
      const phrase = (await words()).join(" ");
      assert.match(phrase, /^([a-z]+ ){11}[a-z]+$/);
      assert.equal(await guest.focused(), "hide-phrase");
      assert.ok(!shown.text.includes(phrase.split(" ")[5]), "the drawing has no word of it");

      await page.click('[data-testid="hide-phrase"]');
      await page.waitForSelector("#phrase", { hidden: true });
      assert.deepEqual(await words(), []);
      assert.ok(!(await page.evaluate(() => document.documentElement.innerHTML)).includes(phrase.split(" ")[5]));

      const secret = Buffer.from(phrase.slice(0, 24));
      assert.equal(exports().length, 2);
      for (const exchange of guest.recorder.exchanges) {
        assert.ok(!holds(asked(exchange), secret) && !holds(exchange.decoded, secret), `${exchange.path} holds the phrase`);
      }
      assert.ok(!holds(JSON.stringify([logged, await page.evaluate(stored)]), secret));
    }));
}

/** Runs in the page: all that it has stored. */
async function stored() {
  const wait = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const all = [{ ...localStorage }, { ...sessionStorage }];
  for (const { name } of await indexedDB.databases()) {
    const database = await wait(indexedDB.open(name));
    for (const store of database.objectStoreNames) all.push(await wait(database.transaction(store).objectStore(store).getAll()));
    database.close();
  }
  return JSON.stringify(all);
}
