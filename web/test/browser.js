// The one browser of this process, of the engine that ENGINE names: all files
// that run in the process share it. And pages in it.
import { after } from "node:test";
import { launch } from "./engines.js";

// Whoever ends this process must end the browser's too: its driver would catch the signal, or never get it, and both live on;
// also while it starts.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

export const engine = process.env.ENGINE ?? "chromium";
export const browser = await launch(engine);
after(() => browser.close());

/** By server: a page that a test is done with. Opening another takes longer than most tests. */
const idle = new Map();

/** Opens a page that knows nothing of what other tests did: its origin is one that nobody has used before. */
export async function open(server, path = "/") {
  const page = idle.get(server) ?? (await (await browser.createBrowserContext()).newPage());
  idle.delete(server);
  page.origin = await server.listen();
  page.close = async () => {
    await page.goto("about:blank"); // ends what it ran
    idle.set(server, page);
  };
  await show(page, path);
  return page;
}

/** Opens a tab of a profile, which it shares with the others of the same profile. */
export async function openTab(profile, server, path = "/") {
  const page = await profile.newPage();
  page.origin = profile.origin ??= await server.listen();
  await show(page, path);
  return page;
}

/** Goes to another page of the same origin. */
export async function show(page, path) {
  await page.goto(page.origin + path);
  await loaded(page);
}

/** Waits for page.js, as after a reload. */
export const loaded = (page) => page.waitForFunction(() => "createSigner" in globalThis);

/** The workers of the page's profile that live: each holds a lock, which the browser takes from a dead one. */
export const workers = (page) => page.evaluate(() => livingWorkers());

/** Waits until no more than this many workers live. */
export const workersEnded = (page, left) => page.waitForFunction(async (left) => (await livingWorkers()) <= left, {}, left);
