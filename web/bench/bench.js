// What users wait for, in headless Chromium and through the public API, beside what others offer for it: the two stampers of
// Turnkey and @noble/curves. It prints one table, and fails where we fall behind.
//
//	node bench/bench.js [--dist DIRECTORY]
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { launch } from "../test/engines.js";
import { longestBlock } from "./block.js";
import { slowLink } from "./link.js";
import { candidates, servePages } from "./pages.js";
import { beyondRoundTrips } from "./revoke.js";
import { heading, mostBeyondRoundTrips, mostOfStamper, row, table } from "./table.js";

const visits = { warmUp: 3, loopback: 15, slow: 7, traced: 7 };
const signatures = { warmUp: 200, rounds: 5, sequential: 300, parallel: 1_000, inFlight: 100 };
const link = { bitsPerSecond: 10_000_000, roundTripMs: 40 };

const all = [...candidates.keys()];
const libraries = all.filter((place) => !candidates[place].again); // each once

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const medians = (lists, of = (value) => value) => lists.map((list) => median(list.map(of)));

/** Does something `times` times for each candidate, in turn: what else the machine does falls upon all of them. */
async function inTurn(times, act, places = all) {
  const results = all.map(() => []);
  for (let i = 0; i < times; i++) {
    for (const place of places) results[place].push(await act(place));
  }
  return results;
}

/** A context is a browser without a past: it has no cache and no keys. */
async function inNewContext(browser, act) {
  const context = await browser.createBrowserContext();
  try {
    return await act(context);
  } finally {
    await context.close();
  }
}

/** Opens a candidate's page in a tab of its own. */
async function open(context, port, place) {
  const page = await context.newPage();
  // Puppeteer would stop each worker at its start, to attach to it: some ms that only a page with workers has.
  await page._client().send("Target.setAutoAttach", { autoAttach: false, waitForDebuggerOnStart: false, flatten: true });
  const load = async () => {
    await page.goto(`http://127.0.0.1:${port}/${place}/`, { waitUntil: "domcontentloaded" });
    return page.evaluate(async () => {
      const { ready, signed, publicKey } = await measured;
      return { ready, signed, publicKey };
    });
  };
  return { page, load };
}

async function visit(context, port, place) {
  const { page, load } = await open(context, port, place);
  const times = await load();
  await page.close();
  return times;
}

/** First visits: nothing is cached, and there is no key. */
const first = (browser, port, times, places) =>
  inTurn(times, (place) => inNewContext(browser, (context) => visit(context, port, place)), places);

/** Later visits: all is cached, that of compiled code too, and who keeps a key finds it. */
async function later(browser, port, times, places = all) {
  const contexts = [];
  for (const place of places) contexts[place] = await browser.createBrowserContext();
  const again = (place) => visit(contexts[place], port, place);
  await inTurn(visits.warmUp, again, places);
  const results = await inTurn(times, again, places);
  for (const place of places) {
    const found = results[place].every(({ publicKey }) => publicKey === results[place][0].publicKey);
    if (found !== candidates[place].keepsKey) throw new Error(`${candidates[place].name}: the key was ${found ? "there again" : "lost"}`);
    await contexts[place].close();
  }
  return results;
}

/** The longest block of the page's thread in a first visit. */
const blocks = (browser, port) =>
  inTurn(
    visits.traced,
    (place) =>
      inNewContext(browser, async (context) => {
        const { page, load } = await open(context, port, place);
        return longestBlock(page, load);
      }),
    libraries,
  );

/** Microseconds a signature: one after another, and many at once. */
async function speed(browser, port) {
  const pages = [];
  for (const place of candidates.keys()) {
    const { page, load } = await open(await browser.createBrowserContext(), port, place);
    await load();
    pages.push(page);
  }
  const run = (place, count, atOnce) =>
    pages[place].evaluate(
      async (count, atOnce) => {
        const { sign } = await measured;
        const start = performance.now();
        for (let i = 0; i < count; i += atOnce) await Promise.all(Array.from({ length: atOnce }, sign));
        return ((performance.now() - start) / count) * 1000;
      },
      count,
      atOnce,
    );
  await inTurn(1, (place) => run(place, signatures.warmUp, signatures.inFlight));
  const sequential = await inTurn(signatures.rounds, (place) => run(place, signatures.sequential, 1));
  const parallel = await inTurn(signatures.rounds, (place) => run(place, signatures.parallel, signatures.inFlight));
  for (const page of pages) await page.browserContext().close();
  return [medians(sequential), medians(parallel)];
}

/** The files of one first visit of each: what is loaded twice counts twice. */
async function weigh(browser, { port, sent }) {
  const files = [];
  for (const place of all) {
    sent.length = 0;
    await inNewContext(browser, (context) => visit(context, port, place));
    files.push([...sent]);
  }
  return files;
}

const ready = ({ ready }) => ready;
const signed = ({ signed }) => signed;
const bytes = (files) => files.reduce((sum, { body }) => sum + body.length, 0);

async function measure(browser, pages, slow, dist) {
  const load = loadavg()[0].toFixed(1); // of others: ours is not in it yet
  const files = await weigh(browser, pages);
  const beyond = await beyondRoundTrips(browser, dist);
  const [sequential, parallel] = await speed(browser, pages.port);
  const near = [await first(browser, pages.port, visits.loopback), await later(browser, pages.port, visits.loopback)];
  const block = await blocks(browser, pages.port);
  const far = [await first(browser, slow.port, visits.slow, libraries), await later(browser, slow.port, visits.slow, libraries)];
  const most = mostOfStamper;
  const rows = [
    row("bytes of a first visit", files.map(bytes)),
    heading("on loopback, ms"),
    row("  ready to make a key, first visit", medians(near[0], ready), most.ready),
    row("  ready to make a key, later visits", medians(near[1], ready)),
    row("  first signature, first visit", medians(near[0], signed), most.firstSignature),
    row("  first signature, later visits", medians(near[1], signed), most.firstSignature),
    row("  longest block of the page's thread", medians(block), most.block),
    heading(`at ${link.bitsPerSecond / 1e6} Mbit/s and ${link.roundTripMs} ms, ms`),
    row("  ready to make a key, first visit", medians(far[0], ready), most.ready),
    row("  ready to make a key, later visits", medians(far[1], ready)),
    row("  first signature, first visit *", medians(far[0], signed)),
    row("  first signature, later visits", medians(far[1], signed)),
    heading("us a signature"),
    row("  one after another", sequential),
    row(`  ${signatures.inFlight} in flight`, parallel),
    row("ms of revokeSession beyond its round trips", [median(beyond)], mostBeyondRoundTrips),
  ];
  const title = `Chromium ${(await browser.version()).split("/")[1]}, ${cpus().length} CPUs, load ${load}, ${new Date().toISOString().slice(0, 10)}`;
  const detail = files[0].map(({ path, body, decoded }) => `${path.split("/").at(-1)} ${body.length} (${decoded})`);
  console.log(table(title, rows));
  console.log(`\nMedians of ${visits.loopback} visits, of ${visits.slow} over the slow link. Ours are ${detail.join(", ")} bytes on the wire (decoded).`);
  console.log("* Decided by the bytes, which have a budget of their own (make size): not judged.");
  return rows.some(({ behind }) => behind);
}

const { values } = parseArgs({ options: { dist: { type: "string", default: fileURLToPath(new URL("../dist", import.meta.url)) } } });
let browser, pages, slow;
try {
  pages = await servePages(values.dist);
  slow = await slowLink(pages.port, link);
  browser = await launch("chromium");
  // Of what Puppeteer was asked for when Chromium died, or the bench was told to end, not all is ever answered.
  const gone = new Promise((_, reject) => browser.once("disconnected", () => reject(new Error("Chromium is gone"))));
  if (await Promise.race([measure(browser, pages, slow, values.dist), gone])) process.exitCode = 1;
} finally {
  if (browser?.connected) await browser.close();
  slow?.close();
  pages?.close();
}
