// A session that is refreshed: its key in storage and in every tab, a network that
// loses requests and answers, and tabs that race. Thousands of them, by the
// test's own time: unit/refreshing.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { revocation } from "./bridge.js";
import { browser, loaded, openTab } from "./browser.js";
import { makeGrid } from "./grid.js";
import { random } from "./random.js";
import { makeRelay, stamp } from "./relay.js";
import { sendWorker, serve } from "./server.js";
import { parseHeader, verifies } from "./verify.js";

/** In the worker, before ours: clocks that a test can turn, as far as JavaScript can see. */
const clocks = `
  const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)];
  let turned = 0;
  Date.now = () => wall() + turned;
  performance.now = () => monotonic() + turned;
  answers.turn = (ms) => void (turned = ms);
  answers.hurry = () => {
    turned += 6000;
    dispatchEvent(new Event("online"));
  };
`;

/** How far Grid's clock is ahead of this machine's; what goes wrong with a request; and what it waits for before that. */
let skewMs, fault, hold;
let grid, relay, server, profile;
const now = () => Date.now() + skewMs;
before(() => {
  server = serve({
    "/api/grid/": (...exchange) => relay.handler(...exchange),
    "/clocks.js": (_, response) => sendWorker(response, { before: clocks }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  [skewMs, fault, hold] = [0, () => undefined, async () => {}];
  grid = makeGrid({ now });
  relay = makeRelay(answer, now);
  profile = await browser.createBrowserContext();
});
afterEach(() => profile.close());

const refusals = { 401: "UNAUTHORIZED", 503: "BUSY" };

async function answer({ method, path, headers, body, leg }) {
  await hold({ method, leg });
  const wrong = fault({ method, leg });
  if (wrong === "request") return "lost";
  const refused = wrong in refusals && { status: wrong, body: { status: wrong, code: refusals[wrong], message: "as the test has it" } };
  const answered = refused || grid.answer({ method, path, headers, body: body || undefined });
  if (wrong === "answer") return "lost";
  return wrong === "torn" ? "torn" : answered;
}

/** Opens this many tabs, each with a signer whose requests name the tab, and signs in in the first one. */
async function signIn({ tabs: count = 2, curve, ...given } = {}) {
  const options = { workerUrl: "/clocks.js", ...given };
  const tabs = [];
  for (let i = 0; i < count; i++) tabs.push(await openTab(profile, server));
  await Promise.all(tabs.map((tab, i) => tab.evaluate((options) => start(options), { headers: { tab: String(i) }, ...options })));
  const made = await tabs[0].evaluate((curve) => signer.createKey({ curve }), curve);
  const session = grid.add(made.publicKey);
  const key = await tabs[0].evaluate((id, session) => signer.bindSession(id, session), made.id, session);
  for (const tab of tabs) {
    await tab.evaluate((id) => (globalThis.key = { id }), key.id);
    await heard(tab, ["started"]);
  }
  return { tabs, key };
}

const refresh = (tab) => tab.evaluate(() => outcome(signer.refreshSession(key)));
const live = () => [...grid.sessions.values()].map(({ id, publicKey }) => [id, publicKey]);

/**
 * Waits until this is what the tab was told of its key. As it is told, and not at
 * the next frame, as waitForFunction does: Firefox draws a tab that is not in front
 * ever more rarely.
 */
async function heard(tab, news) {
  const got = await tab.evaluate(
    (count) =>
      new Promise((resolve) => {
        const look = () => told().length >= count && resolve(told());
        signer.on("session", look);
        setTimeout(() => resolve(told()), 30_000); // too few
        look();
      }),
    news.length,
  );
  assert.deepEqual(got, news);
}

/** The public key of what the tab signs with. */
async function signer(tab) {
  const asked = { payloadToSign: revocation(), requestId: "Request:019542f5-b3e7-1d02-0000-000000000007", expiresAt: stamp(now() + 300_000) };
  const { signature } = await tab.evaluate((asked) => signer.signChallenge(asked, { key }), asked);
  const { curve, publicKey, der } = parseHeader(signature, "stamp");
  assert.ok(verifies(curve, publicKey, der, revocation()));
  return publicKey;
}

/** What storage holds, but for tombstones: of each record its state, its public key, and whether it can sign. */
const records = async (tab) => {
  const list = await tab.evaluate(async () => (await stored()).map(({ state, publicKey, secret }) => [state, publicKey, secret !== undefined]));
  return list.filter(([state, , signs]) => state !== "ended" || signs).sort();
};

/** Waits until the one record in storage is that of a key with nothing left to do. */
async function tidied(tab) {
  const left = await tab.evaluate(async () => {
    const end = performance.now() + 30_000;
    let records;
    do {
      await askWorker("hurry"); // what waits for calls under way, and between two looks at Grid's list
      for (const soon = performance.now() + 1000; performance.now() < soon && records?.join() !== "active"; ) {
        await signer.keys(); // which looks
        records = (await stored()).filter(({ state }) => state !== "ended").map(({ state, strays }) => [state, ...(strays ? ["in doubt"] : [])].join());
      }
    } while (records.join() !== "active" && performance.now() < end);
    return records;
  });
  assert.deepEqual(left, ["active"]);
}

for (const curve of process.env.SOAK ? ["P-256", "secp256k1"] : ["P-256"]) {
  test(`${curve}: every tab goes on with the new key, and the old half ends its session before it goes`, async () => {
    const { tabs, key: old } = await signIn({ curve });
    let release;
    const told = new Promise((resolve) => (release = resolve));
    hold = ({ method }) => (method === "DELETE" ? told : undefined);
    const { value: key } = await refresh(tabs[0]);
    assert.deepEqual({ ...old, publicKey: key.publicKey, session: key.session }, key, "the same but for these two");
    assert.notEqual(key.publicKey, old.publicKey);
    assert.equal(grid.sessions.get(key.session.id).publicKey, key.publicKey);
    for (const tab of tabs) {
      await heard(tab, ["started", "refreshed"]);
      assert.deepEqual(await tab.evaluate(() => signer.keys()), [key]);
      assert.equal(await signer(tab), key.publicKey);
      const { type, ...news } = await tab.evaluate(() => events.at(-1));
      assert.deepEqual(news, { key: old.id, session: key.session });
    }
    assert.deepEqual(await records(tabs[0]), [["active", key.publicKey, true], ["leaving", old.publicKey, true]]);
    release();
    await tidied(tabs[0]);
    assert.deepEqual(live(), [[key.session.id, key.publicKey]]);
    assert.deepEqual(await records(tabs[1]), [["active", key.publicKey, true]]);
    const steps = relay.asked.map(({ method, leg }) => `${method} ${leg}`);
    assert.deepEqual(steps, ["GET 1", "POST 1", "POST 2", "DELETE 1", "DELETE 2"]);
    for (const tab of tabs) assert.deepEqual(await tab.evaluate(() => events.length), 2, "what is left over is no news");
  });

  test(`${curve}: after a reload the new key signs, and the old one's session is ended`, async () => {
    const { tabs: [tab], key: old } = await signIn({ tabs: 1, curve });
    hold = ({ method }) => (method === "DELETE" ? new Promise(() => {}) : undefined);
    const { value: key } = await refresh(tab);
    await tab.reload();
    await loaded(tab);
    hold = async () => {};
    await tab.evaluate(async (id) => {
      globalThis.key = { id };
      await start({ workerUrl: "/clocks.js" });
    }, key.id);
    assert.deepEqual(await tab.evaluate(() => signer.keys()), [key]);
    assert.equal(await signer(tab), key.publicKey);
    await tidied(tab);
    assert.deepEqual(live(), [[key.session.id, key.publicKey]]);
    const { value: next } = await refresh(tab);
    assert.deepEqual([next.id, [old, key].some(({ publicKey }) => publicKey === next.publicKey)], [key.id, false]);
    await tidied(tab);
    assert.deepEqual(live(), [[next.session.id, next.publicKey]]);
    assert.deepEqual(await tab.evaluate(() => signer.signOut(key.id)), { status: "revoked", sessionId: next.session.id });
    assert.deepEqual(live(), []);
  });
}

const races = process.env.SOAK ? [[2, [1, 2, 3, 4], 25], [4, [5, 6, 7], 25]] : [[2, [1], 6]];
for (const [count, seeds, refreshes] of races) {
  for (const seed of seeds) {
    test(`${count} tabs race, ${refreshes} refreshes over a network that fails, seed ${seed}: one session is left, and its key`, async () => {
      const chance = random(seed);
      const dice = (n) => Math.floor(chance() * n);
      grid = makeGrid({ now, ttlMs: 7_200_000, processing: () => (dice(8) === 0 ? 1 : 0) });
      fault = () => ["request", "answer", "torn", 401, 503][dice(50)];
      const { tabs } = await signIn({ tabs: count });
      for (let done = 0; done < refreshes; ) {
        const got = await Promise.all(tabs.map(refresh));
        for (const { code, status, retryable, message } of got.filter(({ value }) => !value)) {
          assert.ok(retryable || status === 401, `${code}: ${message}`);
        }
        if (got.some(({ value }) => value)) done++;
        const keys = await Promise.all(tabs.map((tab) => tab.evaluate(() => signer.keys())));
        for (const list of keys) assert.equal(list.length, 1);
      }
      fault = () => undefined;
      skewMs = 400_000; // no challenge is open any more, and what Grid was still at is done
      await tidied(tabs[0]);
      const [key] = await tabs[0].evaluate(() => signer.keys());
      assert.deepEqual(live(), [[key.session.id, key.publicKey]]);
      for (const tab of tabs) {
        assert.deepEqual(await tab.evaluate(() => signer.keys()), [key], "every tab agrees");
        assert.equal(await signer(tab), key.publicKey);
      }
      assert.deepEqual(await records(tabs[0]), [["active", key.publicKey, true]]);
    });
  }
}

test("autoRefresh: by one of two tabs, when it is time, again and again, as each is told", async () => {
  const { tabs, key } = await signIn({ autoRefresh: true });
  const news = ["started"];
  let [before] = live();
  for (let round = 0; round < 2; round++) {
    // Whoever is faster waits for the other: a tab that hears late hears no more that it is time.
    let release;
    const known = new Promise((resolve) => (release = resolve));
    hold = ({ method }) => (method === "POST" ? known : undefined);
    relay.asked.length = 0;
    const { dueAt } = await tabs[0].evaluate(async (id) => (await stored()).find((record) => record.id === id), key.id);
    skewMs = dueAt - 500 - Date.now(); // almost
    await tabs[0].evaluate(async (ms) => {
      await askWorker("turn", ms); // each worker hears it, and the message after it
      new BroadcastChannel("gridsigner").postMessage(null);
    }, skewMs);
    for (const tab of tabs) await heard(tab, [...news, "expiring"]);
    release();
    news.push("expiring", "refreshed");
    for (const tab of tabs) await heard(tab, news);
    await tidied(tabs[0]);
    const [after, ...more] = live();
    assert.deepEqual(more, []);
    assert.notDeepEqual(after, before);
    assert.deepEqual([await signer(tabs[0]), await signer(tabs[1])], [after[1], after[1]]);
    const minted = relay.signed().filter(({ method }) => method === "POST");
    assert.equal(minted.length, 1, "one tab, once");
    before = after;
  }
});
