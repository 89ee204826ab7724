// The code of the front page, as it stands, in a page of an app: with the real package, bridge and simulator.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { browser } from "../test/browser.js";
import { startDemo } from "./demo.js";

const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
const [, code] = /<!-- run by web\/e2e\/readme\.test\.js -->\n```js\n(.*?)```/s.exec(readme);

/** What the reader brings: the app's own login, which is the demo's here, and where its account and its enclave are. */
const app = ({ accountId, otpSigner }) => `
  globalThis.accountId = ${JSON.stringify(accountId)};
  globalThis.otpSigners = [${JSON.stringify(otpSigner)}];
  globalThis.appToken = async () => {
    const headers = { "Content-Type": "application/json", "X-Gridsigner": "1" };
    const response = await fetch("/demo/login", { method: "POST", headers, body: JSON.stringify({ publicKey: "02" + "00".repeat(32) }) });
    return (await response.json()).accessToken;
  };`;

const page = (demo) => `<!doctype html><title>app</title>
<script>${app(demo)}</script>
<script type="importmap">{ "imports": { "gridsigner": "/gridsigner.js" } }</script>
<script type="module">${code}; globalThis.done = status;</script>`;

test("the front page's app signs in, lists, and signs out", async () => {
  const demo = await startDemo("--control");
  const context = await browser.createBrowserContext();
  try {
    const tab = await context.newPage();
    const [logged, problems] = [[], []];
    tab.on("console", (message) => logged.push(message.text()));
    tab.on("pageerror", ({ message }) => problems.push(message));
    tab.on("dialog", async (dialog) => {
      const [{ code, to }] = await demo.inbox();
      assert.ok(dialog.message().includes(to), dialog.message());
      await dialog.accept(` ${code.slice(0, 3)} ${code.slice(3)}`);
    });
    await tab.setBypassCSP(true); // of the demo, which has no inline scripts
    await tab.goto(`${demo.origin}/build-info.json`);
    await tab.setContent(page(demo));
    await tab.waitForFunction(() => globalThis.done).catch((error) => assert.fail([...problems, ...logged, error].join("\n")));
    assert.deepEqual(problems, []);
    assert.equal(await tab.evaluate(() => globalThis.done), "revoked");
    assert.equal(logged.length, 1, logged.join());
    assert.match(logged[0], /^ada@example\.com \d{4}-/);
    assert.deepEqual(await demo.sessions(), []);
  } finally {
    await context.close();
    await demo.kill();
  }
});
