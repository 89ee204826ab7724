// Time, as keys see it: their session ends when the server's clock and this
// device's both say so, and the word of one alone ends nothing. How they are
// judged: unit/clock.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { browser, loaded, openTab } from "./browser.js";
import { sendWorker, serve } from "./server.js";

const minute = 60_000;

/** In the worker, before ours: clocks that a test can turn, as far as JavaScript can see, and the look at them that comes each minute. */
const clocks = `
  const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)];
  globalThis.turned = { wall: Number(new URLSearchParams(location.search).get("wall")), monotonic: 0 };
  Date.now = () => wall() + turned.wall;
  performance.now = () => monotonic() + turned.monotonic;
  answers.turn = (change) => void Object.assign(turned, change);
  let look;
  const later = self.setTimeout;
  self.setTimeout = (what, ms, ...rest) => (ms === 60_000 && (look = what), later(what, ms, ...rest));
  answers.look = () => void look();
`;

let bridge, server, profile, page;
before(async () => {
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/clocks.js": (_, response) => sendWorker(response, { before: clocks }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  profile = await browser.createBrowserContext();
  page = await openTab(profile, server);
});
afterEach(() => profile.close());

/** A key bound to a session of so long, in a tab whose own clock is this wrong. */
async function signIn({ wall = 0, ttl = 15 * minute } = {}) {
  const session = bridge.signIn(ttl);
  const bound = await page.evaluate((session, workerUrl) => outcome(signIn(session, { workerUrl })), session, `/clocks.js?wall=${wall}`);
  return { session, bound };
}

/** Another tab of the same browser, or the same one after a reload, with such a clock. */
async function visit(tab, wall = 0) {
  await tab.evaluate((workerUrl) => start({ workerUrl }), `/clocks.js?wall=${wall}`);
  return tab;
}

const keys = (tab = page) => tab.evaluate(async () => (await signer.keys()).length);
const list = (tab = page) => tab.evaluate((account) => outcome(signer.listSessions(account)), account);
const turn = (change) => page.evaluate((change) => askWorker("turn", change), change);
const sign = (expiresAt = new Date(Date.now() + bridge.skewMs + 5 * minute).toISOString()) =>
  page.evaluate((expiresAt) => outcome(signer.signChallenge({ ...challenge(), expiresAt }, { key })), expiresAt);
const code = ({ code, value, uncoded }) => code ?? uncoded ?? (value ? "ok" : "nothing");
const isAbout = (got, want) => assert.ok(Math.abs(got - want) < minute, `${got} ms, and not ${want}`);

test("this device's clock is an hour ahead: sessions and challenges are judged by the server's", async () => {
  const { session, bound } = await signIn({ wall: 60 * minute });
  assert.equal(code(bound), "ok");
  assert.equal(code(await sign()), "ok");
  assert.equal(code(await sign(new Date(Date.now() - minute).toISOString())), "CHALLENGE_EXPIRED");
  assert.equal(await keys(), 1);
  const revoked = await page.evaluate(() => signer.revokeSession(undefined, { key }));
  assert.deepEqual(revoked, { status: "revoked", sessionId: session.id });
});

test("this device's clock is an hour behind: what is over by the server's is refused, and not destroyed", async () => {
  const { session } = await signIn({ wall: -60 * minute });
  await list();
  assert.equal(code(await sign()), "ok");
  const over = await sign(new Date(Date.now() - minute).toISOString());
  assert.equal(over.code, "CLOCK_SKEW");
  isAbout(over.skewMs, -60 * minute);
  bridge.skewMs = 16 * minute; // that much later
  await turn({ wall: -44 * minute, monotonic: 16 * minute });
  assert.equal((await sign()).code, "CLOCK_SKEW");
  assert.equal(await keys(), 1);
  const revoked = await page.evaluate(() => signer.revokeSession(undefined, { key }));
  assert.deepEqual(revoked, { status: "revoked", sessionId: session.id });
});

test("the clock is an hour ahead and the bridge does not tell the time: CLOCK_SKEW says by how much", async () => {
  bridge.date = false;
  const { bound } = await signIn({ wall: 60 * minute });
  assert.equal(bound.code, "CLOCK_SKEW");
  isAbout(bound.skewMs, 45 * minute);
  const other = bridge.signIn();
  const revoked = await page.evaluate((id) => outcome(signer.revokeSession(id, { key })), other.id);
  assert.equal(revoked.code, "CLOCK_SKEW");
  isAbout(revoked.skewMs, 55 * minute);
  assert.ok(bridge.sessions.has(other.id), "nothing was signed");
});

test("the bridge cannot be reached: a key that seems over is refused with CLOCK_SKEW, and kept", async () => {
  await signIn();
  bridge.down = true;
  await turn({ wall: 60 * minute });
  const refused = await sign();
  assert.equal(refused.code, "CLOCK_SKEW");
  isAbout(refused.skewMs, 45 * minute);
  assert.equal(await keys(), 1);
  bridge.down = false;
  assert.equal(code(await sign()), "ok");
});

test("the bridge does not answer: a use that cannot be judged says so within about a second, and keys() waits for none of it", async () => {
  await signIn();
  bridge.silent = true;
  await page.reload();
  await loaded(page);
  await visit(page, 60 * minute);
  const got = await page.evaluate(async () => {
    const [key] = await signer.keys();
    globalThis.key = key;
    const begin = performance.now();
    const order = [];
    const used = sign().then((code) => order.push(code));
    await signer.keys().then(() => order.push("keys"));
    await used;
    return { order, took: performance.now() - begin };
  });
  assert.deepEqual(got.order, ["keys", "CLOCK_SKEW"]);
  assert.ok(got.took < 2500, `${got.took} ms`);
  bridge.silent = false;
  assert.equal(code(await sign()), "ok");
});

test("one wrong Date, of 2099: uses are refused and nothing is destroyed, in any tab; a right one heals it", async () => {
  await signIn();
  const id = await page.evaluate(() => key.id);
  const other = await visit(await openTab(profile, server));
  bridge.date = Date.UTC(2099, 0);
  for (const tab of [page, other]) {
    await list(tab);
    await tab.evaluate(() => askWorker("look")); // the one of each minute
    assert.equal(await keys(tab), 1);
  }
  const refused = await sign();
  assert.equal(refused.code, "CLOCK_SKEW");
  isAbout(refused.skewMs, Date.now() - Date.UTC(2099, 0));
  const use = (tab) => tab.evaluate((id) => sign(id), id);
  assert.deepEqual([await use(page), await use(other)], ["CLOCK_SKEW", "CLOCK_SKEW"]);
  assert.equal((await page.evaluate((session) => outcome(signer.bindSession(key, session)), bridge.signIn())).code, "CLOCK_SKEW");

  bridge.date = true; // whoever is in doubt asks
  assert.deepEqual([await use(page), await use(other)], ["der", "der"]);
  assert.deepEqual([await keys(page), await keys(other)], [1, 1]);
});

test("a sign-out under a wrong Date is pending, and finished under a right one", async () => {
  const { session } = await signIn();
  assert.equal(code(await sign()), "ok"); // the module is there: none of the half second is for its download
  bridge.date = Date.UTC(2099, 0);
  const { status, error } = await page.evaluate(async () => {
    const { status, error } = await signer.signOut(key, { timeoutMs: 500 });
    return { status, error: error?.code };
  });
  assert.deepEqual([status, error], ["pending", "CLOCK_SKEW"]);
  bridge.date = true;
  await page.waitForFunction(() => told().includes("signed-out"));
  assert.ok(!bridge.sessions.has(session.id));
});

test("the clock jumps forward by an hour: the key lives until the server says otherwise", async () => {
  await signIn();
  await list();
  await turn({ wall: 60 * minute });
  assert.equal(code(await sign()), "ok");
  assert.equal(await keys(), 1);
  bridge.skewMs = 16 * minute; // that much later
  await turn({ wall: 76 * minute, monotonic: 16 * minute });
  assert.equal(await keys(), 0);
  assert.equal(code(await sign()), "KEY_LOST");
});

test("asleep for 20 minutes while the monotonic clock stood still: a session of 15 is over, one of 30 is not", async () => {
  await signIn({ ttl: 30 * minute });
  await page.evaluate(async (session) => {
    globalThis.short = await signer.createKey();
    await signer.bindSession(short, session);
  }, bridge.signIn(15 * minute));
  await list();
  bridge.skewMs = 20 * minute;
  await turn({ wall: 20 * minute });
  assert.equal(code(await sign()), "ok");
  assert.equal(await page.evaluate(() => sign(short)), "KEY_LOST");
  assert.equal(await keys(), 1);
  assert.deepEqual(await page.evaluate(() => told(short.id)), ["started", "expired"]);
});

test("a session that is over cannot be bound to: the key goes", async () => {
  await signIn();
  await list();
  const got = await page.evaluate(async (over) => {
    const other = await signer.createKey();
    const { code } = await outcome(signer.bindSession(other, over));
    return [code, await sign(other), (await signer.keys()).length];
  }, bridge.signIn(-minute));
  assert.deepEqual(got, ["KEY_LOST", "KEY_LOST", 1]);
});

test("a key ends with its session by itself, and every tab is told", async () => {
  const { session } = await signIn();
  const other = await visit(await openTab(profile, server));
  await list();
  bridge.skewMs = 16 * minute;
  await turn({ wall: 16 * minute, monotonic: 16 * minute }); // in both
  await page.evaluate(() => askWorker("look")); // nobody calls the signer
  for (const tab of [page, other]) {
    await tab.waitForFunction((id) => events.some(({ type, session }) => type === "ended" && session.id === id), {}, session.id);
    assert.deepEqual(await tab.evaluate(() => events.at(-1).reason), "expired");
  }
});

test("after a reload past the end of a session its key is used no more", async () => {
  await signIn();
  const id = await page.evaluate(() => key.id);
  bridge.skewMs = 16 * minute;
  await page.reload();
  await loaded(page);
  await visit(page, 16 * minute);
  const got = await page.evaluate(async (id) => [await sign(id), (await signer.keys()).length, told(id)], id);
  assert.deepEqual(got, ["KEY_LOST", 0, ["expiring", "expired"]]);
});
