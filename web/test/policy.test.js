// Content security policies: the strictest that works, and what is said of
// those that do not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { engine, open, show } from "./browser.js";
import { sendWorker, serve } from "./server.js";

const strict = {
  "default-src": "'none'",
  "script-src": "'self'",
  "connect-src": "'self'",
  "worker-src": "'self'",
  "img-src": "data:",
};
const strictWorker = { "default-src": "'none'", "script-src": "'self' 'wasm-unsafe-eval'", "connect-src": "'self'" };
const policy = (directives) => Object.entries(directives).map(([name, value]) => `${name} ${value}`).join("; ");

let server, pagePolicy, workerPolicy;
before(async () => {
  server = serve({
    "/policy"(_, response) {
      response.writeHead(200, { "Content-Type": "text/html", "Content-Security-Policy": policy(pagePolicy) });
      response.end(`<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`);
    },
    "/policy-worker.js": (_, response) => sendWorker(response, { policy: policy(workerPolicy) }),
    "/api/grid/": (_, response) => response.writeHead(405).end(),
  });
});
after(() => server?.close());

/** Loads and signs under these policies. */
async function sign(page = {}, ofWorker = {}, options = {}) {
  [pagePolicy, workerPolicy] = [{ ...strict, ...page }, { ...strictWorker, ...ofWorker }];
  const tab = await open(server);
  await show(tab, "/policy"); // never one that was there under another policy
  const got = await tab.evaluate(async (options) => {
    return outcome(
      (async () => {
        const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/policy-worker.js", ...options });
        const signed = [];
        for (const curve of ["P-256", "secp256k1"]) {
          const key = await signer.createKey({ curve });
          signed.push((await signer.signChallenge(challenge(), { key })).format, key.persistence);
        }
        signer.close();
        return signed.join(" ");
      })(),
    );
  }, options);
  const problems = await tab.evaluate(() => globalThis.problems);
  await tab.close();
  return { ...got, problems };
}

/** WebKit does not tell a worker that its policy is why a request fails. */
const refusedFetch = engine === "webkit" ? [/connect-src may forbid/, "LOAD_FAILED"] : [/connect-src does not allow/];

const works = "der indexeddb der indexeddb";

test("works under default-src 'none', and 'wasm-unsafe-eval' in the worker's own response alone", async () => {
  const { value, problems } = await sign();
  assert.equal(value, works);
  assert.deepEqual(problems, []);
});

for (const directives of [
  { "require-trusted-types-for": "'script'" },
  { "require-trusted-types-for": "'script'", "trusted-types": "gridsigner" },
  { "trusted-types": "another" }, // allows no policy of ours, and needs none
]) {
  test(`works under ${policy(directives)}`, async () => {
    const { value, problems } = await sign(directives);
    assert.equal(value, works);
    assert.deepEqual(problems.filter((text) => !directives["trusted-types"]?.includes("another") || !/trusted-types/.test(text)), []);
  });
}

for (const [name, page, ofWorker, options, message, code = "CSP_BLOCKED"] of [
  ["worker-src 'none'", { "worker-src": "'none'" }, {}, {}, /worker-src does not allow/],
  ["no wasm-unsafe-eval in the worker", {}, { "script-src": "'self'" }, {}, /'wasm-unsafe-eval'/],
  ["connect-src 'none' in the worker", {}, { "connect-src": "'none'" }, {}, ...refusedFetch],
  ["trusted types without ours", { "require-trusted-types-for": "'script'", "trusted-types": "another" }, {}, {}, /trusted-types gridsigner/],
  ["no wasm-unsafe-eval on the page's own thread", {}, {}, { worker: false }, /'wasm-unsafe-eval'/],
]) {
  test(`${code}: ${name}`, async () => {
    const got = await sign(page, ofWorker, options);
    assert.equal(got.code, code, got.message);
    assert.equal(got.retryable, code === "LOAD_FAILED");
    assert.match(got.message, message);
  });
}
