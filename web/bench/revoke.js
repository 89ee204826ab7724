// What revokeSession takes beyond its two round trips, against the real demo: the time of the call as the page sees it, without
// the time of its requests as the worker that makes them sees those.
import { createECDH } from "node:crypto";
import { startDemo } from "../e2e/demo.js";
import { signInWith } from "../e2e/page.js";

const revocations = { warmUp: 3, measured: 16 }; // as many as the bridge allows a user at once

/** Milliseconds, of each revocation. */
export async function beyondRoundTrips(browser, dist) {
  const demo = await startDemo("--web", dist);
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    await page.goto(`${demo.origin}/build-info.json`); // of the origin, and without the demo's own signer
    await page.evaluate(`globalThis.signInWith = ${signInWith}`);
    await page.evaluate(signIn);
    const times = [];
    for (let i = 0; i < revocations.warmUp + revocations.measured; i++) {
      const other = await demo.signIn(createECDH("prime256v1").generateKeys("hex"));
      const whole = await page.evaluate(revoke, other);
      const requests = await page.workers()[0].evaluate(roundTrips);
      if (requests.length !== 2) throw new Error(`a revocation of ${requests.length} requests`);
      times.push(whole - requests[0] - requests[1]);
    }
    return times.slice(revocations.warmUp);
  } finally {
    await context.close();
    await demo.kill();
  }
}

/** Runs in the page. */
async function signIn() {
  const { createSigner } = await import("/gridsigner.js");
  let session;
  globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", headers: () => ({ Authorization: `Bearer ${session.accessToken}` }) });
  globalThis.key = await signer.createKey();
  session = await signInWith(key.publicKey);
}

/** Runs in the page: ends another session, and returns how long the call took, in ms. */
async function revoke(other) {
  const begin = performance.now();
  await signer.revokeSession(other, { key });
  return performance.now() - begin;
}

/** Runs in the worker: how long each of the requests took since it was last asked, in ms. */
function roundTrips() {
  const requests = performance.getEntriesByType("resource").filter(({ name }) => name.includes("/auth/sessions/"));
  performance.clearResourceTimings();
  return requests.map(({ duration }) => duration);
}
