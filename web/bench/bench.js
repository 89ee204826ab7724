// What users wait for, measured in headless Chromium against the real demo
// server, through the public API. It judges nothing: it prints one table.
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { startDemo } from "../e2e/demo.js";
import { record } from "../e2e/recorder.js";
import { launch } from "../test/engines.js";
import { dist } from "../test/server.js";

const navigations = 15;
const signatures = { warmUp: 500, sequential: 2_000, parallel: 5_000, inFlight: 100 };
const curves = ["P-256", "secp256k1"];

/** The smallest page that signs: nothing of the demo's is measured. */
const page = {
  "index.html": `<!doctype html><title>bench</title><link rel="icon" href="data:,"><script type="module" src="bench.js"></script>`,
  "bench.js": `
    import { createSigner } from "/gridsigner.js";
    const parameters = { apiKeyIds: ["api_key"], userId: "user" };
    const payload = { organizationId: "org", parameters, timestampMs: "1775681700000", type: "ACTIVITY_TYPE_DELETE_API_KEYS" };
    const challenge = {
      payloadToSign: JSON.stringify(payload),
      requestId: "Request:019542f5-b3e7-1d02-0000-000000000007",
      expiresAt: new Date(Date.now() + 3600_000).toISOString(),
    };
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await signer.createKey({ curve: location.hash.slice(1) });
    const sign = () => signer.signChallenge(challenge, { key });
    await sign();
    Object.assign(globalThis, { sign, firstSignature: performance.now() }); // since the navigation began
  `,
};

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Milliseconds from navigation to first signature. */
async function load(browserPage, demo, curve) {
  await browserPage.goto("about:blank"); // or only the fragment would change
  await browserPage.goto(`${demo.origin}/bench/#${curve}`);
  return (await browserPage.waitForFunction(() => globalThis.firstSignature)).jsonValue();
}

async function cold(browser, demo, curve) {
  const times = [];
  for (let i = 0; i < navigations; i++) {
    const context = await browser.createBrowserContext();
    times.push(await load(await context.newPage(), demo, curve));
    await context.close();
  }
  return median(times);
}

async function warm(browser, demo, curve) {
  const context = await browser.createBrowserContext();
  const browserPage = await context.newPage();
  for (let i = 0; i < 3; i++) await load(browserPage, demo, curve); // fills the caches, that of compiled code too
  const times = [];
  for (let i = 0; i < navigations; i++) times.push(await load(browserPage, demo, curve));
  await context.close();
  return median(times);
}

/** Microseconds a signature: one after another, and many at once. */
async function speed(browser, demo, curve) {
  const context = await browser.createBrowserContext();
  const browserPage = await context.newPage();
  await load(browserPage, demo, curve);
  const times = await browserPage.evaluate(async ({ warmUp, sequential, parallel, inFlight }) => {
    const run = async (count, atOnce) => {
      const start = performance.now();
      for (let i = 0; i < count; i += atOnce) await Promise.all(Array.from({ length: atOnce }, sign));
      return ((performance.now() - start) / count) * 1000;
    };
    await run(warmUp, inFlight);
    return [await run(sequential, 1), await run(parallel, inFlight)];
  }, signatures);
  await context.close();
  return times;
}

/** The files of a first visit, by what they weighed on the wire. */
async function weigh(browser, demo) {
  const recorder = await record();
  const context = await browser.createBrowserContext({ proxyServer: recorder.address, proxyBypassList: ["<-loopback>"] });
  await load(await context.newPage(), demo, curves[0]);
  await context.close();
  recorder.close();
  return recorder.exchanges.filter(({ path }) => !path.startsWith("/bench/"));
}

/** Lines up the columns: the first to the left, the others to the right. */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  ").trimEnd();
  return rows.map(line).join("\n");
}

const figure = (value) => Math.round(value).toLocaleString("en");

async function measure(browser, demo) {
  const columns = [];
  for (const curve of curves) {
    const times = [await cold(browser, demo, curve), await warm(browser, demo, curve), ...(await speed(browser, demo, curve))];
    columns.push([curve, ...times.map(figure)]);
  }
  const labels = [
    `Chromium ${(await browser.version()).split("/")[1]}, ${cpus().length} CPUs`,
    `ms to first signature, empty cache (median of ${navigations})`,
    "ms to first signature, warm cache",
    "us a signature, one after another",
    `us a signature, ${signatures.inFlight} in flight`,
  ];
  const files = await weigh(browser, demo);
  const bytes = (list, field) => figure(list.reduce((sum, exchange) => sum + exchange[field].length, 0));
  return table([
    ...labels.map((label, row) => [label, ...columns.map((column) => column[row])]),
    ["", "", ""],
    ["bytes of a first visit", "on the wire", "decoded"],
    ...files.map((file) => [file.path, bytes([file], "answerBody"), bytes([file], "decoded")]),
    ["all", bytes(files, "answerBody"), bytes(files, "decoded")],
  ]);
}

const site = await mkdtemp(join(tmpdir(), "gridsigner-bench-"));
let browser, demo;
try {
  await cp(dist, site, { recursive: true });
  await mkdir(join(site, "bench"));
  for (const [name, content] of Object.entries(page)) await writeFile(join(site, "bench", name), content);
  browser = await launch("chromium");
  demo = await startDemo("--web", site);
  console.log(await measure(browser, demo));
} finally {
  await browser?.close();
  await demo?.kill();
  await rm(site, { recursive: true });
}
