// Content security policies: the strictest that works, which is the one that
// web/README.md recommends, and what is said of those that do not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { engine, open, show } from "./browser.js";
import { recommended, sendWorker, serve } from "./server.js";

const directives = (policy) => Object.fromEntries(policy.split("; ").map((directive) => /(\S+) (.+)/.exec(directive).slice(1)));
const policy = (directives) => Object.entries(directives).map(([name, value]) => `${name} ${value}`).join("; ");

let server, pagePolicy, workerPolicy;
before(async () => {
  server = serve({
    "/policy"(_, response) {
      response.writeHead(200, { "Content-Type": "text/html", "Content-Security-Policy": policy(pagePolicy) });
      response.end(`<!doctype html><script type="module" src="/page.js"></script>`);
    },
    "/policy-worker.js": (_, response) => sendWorker(response, { policy: policy(workerPolicy) }),
    "/api/grid/": (_, response) => response.writeHead(405).end(),
  });
});
after(() => server?.close());

/** Loads and signs under these policies. */
async function sign(page = {}, ofWorker = {}, options = {}) {
  [pagePolicy, workerPolicy] = [{ ...directives(recommended.page), ...page }, { ...directives(recommended.worker), ...ofWorker }];
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
  return { ...got, problems: problems.filter((text) => !/img-src .*\/favicon\.ico$/.test(text)) }; // WebKit's own wish, and forbidden
}

/** WebKit does not tell a worker that its policy is why a request fails. */
const refusedFetch = engine === "webkit" ? [/connect-src may forbid/, "LOAD_FAILED"] : [/connect-src does not allow/];

const works = "der indexeddb der indexeddb";

test("works under default-src 'none', and 'wasm-unsafe-eval' in the worker's own response alone", async () => {
  const { value, problems } = await sign();
  assert.equal(value, works);
  assert.deepEqual(problems, []);
});

for (const more of [
  directives(recommended.more),
  { "require-trusted-types-for": "'script'" },
  { "trusted-types": "another" }, // allows no policy of ours, and needs none
]) {
  test(`works under ${policy(more)}`, async () => {
    const { value, problems } = await sign(more);
    assert.equal(value, works);
    assert.deepEqual(problems.filter((text) => !more["trusted-types"]?.includes("another") || !/trusted-types/.test(text)), []);
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
