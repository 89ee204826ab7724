// The package in a service worker, which has an origin and a secure context, and no page. In Node and in jsdom: unit/.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open } from "./browser.js";
import { send, serve } from "./server.js";

const script = `
  import { createSigner, GridSignerError } from "/gridsigner.js";
  import * as worker from "/worker.js";
  addEventListener("message", async ({ source }) => {
    const got = [Object.keys(worker).join()];
    for (const options of [{}, { worker: false }]) {
      const error = await createSigner({ bridgeUrl: "/api/grid", timeoutMs: 1000, ...options }).catch((error) => error);
      got.push(error instanceof GridSignerError ? [error.code, error.retryable, error.message] : String(error));
    }
    source.postMessage(got);
  });`;

let server;
before(() => (server = serve({ "/service.js": (_, response) => send(response, script, "text/javascript") })));
after(() => server?.close());

test("in a service worker all of it can be imported, and using it is refused by a code and what to do", async () => {
  const page = await open(server);
  const [exported, ...refused] = await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.register("/service.js", { type: "module" });
    const { active } = await navigator.serviceWorker.ready;
    const answered = new Promise((resolve) => navigator.serviceWorker.addEventListener("message", ({ data }) => resolve(data)));
    active.postMessage("start");
    const got = await answered;
    await registration.unregister();
    return got;
  });
  assert.equal(exported, "serve");
  for (const [code, retryable, message] of refused) {
    assert.deepEqual([code, retryable], ["LOAD_FAILED", false]);
    assert.match(message, /there is no browser's page here/);
  }
  await page.close();
});
