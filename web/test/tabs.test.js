// Several tabs of one origin: in every order that the seeds below give, and a
// sign-out that any of them finishes.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { browser, loaded, openTab } from "./browser.js";
import { random } from "./random.js";
import { sendWorker, serve } from "./server.js";

let bridge, server;
before(async () => {
  // As a tab is that sleeps: no message reaches it.
  const deaf = "Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set() {} });";
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/deaf.js": (_, response) => sendWorker(response, { before: deaf }),
  });
});
after(() => server?.close());
beforeEach(() => (bridge = makeBridge()));

/** Opens this many tabs of one profile, each with a signer whose requests name the tab. */
async function openTabs(count) {
  const profile = await browser.createBrowserContext();
  const tabs = [];
  for (let i = 0; i < count; i++) tabs.push(await openTab(profile, server));
  await Promise.all(tabs.map((tab, i) => tab.evaluate((tab) => start({ headers: { tab } }), String(i))));
  return { tabs, profile };
}

/** Signs in in one tab. All of them have heard of it when this is over. */
async function signIn(tabs, curve) {
  const session = bridge.signIn();
  const key = await tabs[0].evaluate(async (session, curve) => signer.bindSession((await signer.createKey({ curve })).id, session), session, curve);
  for (const tab of tabs) {
    await tab.evaluate((id) => (globalThis.key = { id }), key.id);
    await heard(tab, "started");
  }
  return { key, session };
}

/** Waits until the tab was told this of its key. */
const heard = (tab, what) => tab.waitForFunction((what) => told().includes(what), {}, what);
const told = (tab) => tab.evaluate(() => told());
const sign = (tab) => tab.evaluate(() => sign());

/** Which tabs have asked to end this session, in the order of their first request. */
const askers = (session) => [...new Set(bridge.legs(session).map(({ headers }) => Number(headers.tab)))];

const actions = {
  async signIn(tab, mine, pick) {
    const curve = pick(["P-256", "secp256k1"]);
    const session = bridge.signIn();
    const key = await tab.evaluate(async (curve, session) => signer.bindSession(await signer.createKey({ curve }), session), curve, session);
    mine.set(key.id, session.id);
  },
  /** A new key and session in the place of the old one, as an app does it. */
  async refresh(tab, mine, pick) {
    const old = pick([...mine.keys()]);
    await actions.signIn(tab, mine, pick);
    if (!old) return;
    await tab.evaluate((key) => signer.removeKey(key), old);
    bridge.sessions.delete(mine.get(old));
    mine.delete(old);
  },
  async signOut(tab, mine, pick) {
    const key = pick([...mine.keys()]);
    if (!key) return;
    const { status } = await tab.evaluate((key) => signer.signOut(key), key);
    assert.equal(status, "revoked");
    mine.delete(key);
  },
};

const short = [[3, [1], 12]];
for (const [count, seeds, steps] of process.env.SOAK ? [[2, [1, 2, 3, 4], 12], [5, [5, 6], 15]] : short) {
  for (const seed of seeds) {
    test(`${count} tabs sign in, refresh and sign out at once, seed ${seed}`, async () => {
      const next = random(seed);
      const pick = (values) => values[Math.floor(next() * values.length)];
      const { tabs, profile } = await openTabs(count);
      // What each tab signed in, which nobody else signs out: a neighbour that is gone was harmed.
      const mine = tabs.map(() => new Map());
      for (let step = 0; step < steps; step += count) {
        const chosen = tabs.map(() => pick(Object.values(actions)));
        await Promise.all(tabs.map((tab, i) => chosen[i](tab, mine[i], pick)));
      }
      const expected = mine.flatMap((keys) => [...keys.keys()]).sort();
      assert.ok(expected.length > 0);
      for (const tab of tabs) {
        const keys = await tab.evaluate(() => signer.keys());
        assert.deepEqual(keys.map(({ id }) => id).sort(), expected, "every tab agrees");
        const live = await tab.evaluate(() => {
          const last = new Map(events.map((event) => [event.key, event.type]));
          return [...last].flatMap(([key, type]) => (type === "started" ? [key] : []));
        });
        assert.deepEqual(live.sort(), expected, "and its page was told");
        for (const { id, session } of keys) {
          assert.ok(bridge.sessions.has(session.id), "no key without its session");
          assert.equal(await tab.evaluate((id) => sign(id), id), "der", "each key works in each tab");
        }
      }
      assert.deepEqual([...bridge.sessions.keys()].sort(), mine.flatMap((keys) => [...keys.values()]).sort(), "no session without a key");
      await profile.close();
    });
  }
}

test("a key destroyed in one tab is destroyed in all, also in one that heard nothing of it", async () => {
  const { tabs: [first], profile } = await openTabs(1);
  const deaf = await openTab(profile, server);
  await deaf.evaluate(() => start({ workerUrl: "/deaf.js" }));
  const key = await first.evaluate(async () => (globalThis.key = await signer.createKey({ curve: "secp256k1" })));
  await deaf.evaluate((id) => (globalThis.key = { id }), key.id);
  assert.equal(await sign(deaf), "der");
  await first.evaluate(() => signer.removeKey(key));
  assert.deepEqual([await sign(first), await sign(deaf)], ["KEY_LOST", "KEY_LOST"]);
  assert.deepEqual(await deaf.evaluate(() => signer.keys()), []);
  await profile.close();
});

test("signing out in one tab leaves the others' keys, and signs out no one else", async () => {
  const { tabs, profile } = await openTabs(2);
  for (const tab of tabs) {
    await tab.evaluate(async (session) => signer.bindSession((globalThis.key = await signer.createKey()), session), bridge.signIn());
  }
  await tabs[0].evaluate(() => signer.signOut(key));
  assert.equal(bridge.sessions.size, 1);
  assert.deepEqual([await sign(tabs[0]), await sign(tabs[1])], ["KEY_LOST", "der"]);
  await profile.close();
});

test("every tab hears how a sign-out goes, and none of them signs with its key", async () => {
  const { tabs, profile } = await openTabs(3);
  const { key, session } = await signIn(tabs, "secp256k1");
  let release;
  const heardByAll = new Promise((resolve) => (release = resolve));
  bridge.onRequest = ({ method }) => (method === "DELETE" ? heardByAll : undefined);
  const out = tabs[0].evaluate(() => signer.signOut(key.id));
  for (const tab of tabs) await heard(tab, "leaving");
  for (const tab of tabs) assert.deepEqual([await sign(tab), await tab.evaluate(async () => (await signer.keys()).length)], ["KEY_LOST", 0]);
  release();
  assert.deepEqual(await out, { status: "revoked", sessionId: session.id });
  for (const tab of tabs) {
    await heard(tab, "signed-out");
    assert.deepEqual(await told(tab), ["started", "leaving", "signed-out"]);
    const [event] = await tab.evaluate(() => events);
    assert.deepEqual([event.key, event.session], [key.id, { id: session.id, accountId: session.accountId, expiresAt: session.expiresAt }]);
  }
  assert.deepEqual([bridge.legs(session, 1).length, bridge.legs(session, 2).length], [1, 1], "one tab has told Grid, once");
  await profile.close();
});

test("every tab hears of a key that another removed", async () => {
  const { tabs, profile } = await openTabs(2);
  await signIn(tabs);
  await tabs[1].evaluate(() => signer.removeKey(key.id));
  for (const tab of tabs) {
    await heard(tab, "removed");
    assert.deepEqual(await told(tab), ["started", "removed"]);
  }
  await profile.close();
});

test("tabs that sign out of one session at the same moment all say that it is over, and one tells Grid", async () => {
  const { tabs, profile } = await openTabs(3);
  const { session } = await signIn(tabs);
  const said = await Promise.all(tabs.map((tab) => tab.evaluate(() => signer.signOut(key.id))));
  assert.deepEqual(said, Array(3).fill({ status: "revoked", sessionId: session.id }));
  assert.deepEqual([bridge.legs(session, 1).length, bridge.legs(session, 2).length], [1, 1]);
  await profile.close();
});

test("a pending sign-out is one tab's at a time; when that tab is closed, another finishes it", async () => {
  const { tabs, profile } = await openTabs(3);
  const { session } = await signIn(tabs, "secp256k1");
  bridge.down = true;
  const { status } = await tabs[0].evaluate(() => signer.signOut(key.id, { timeoutMs: 300 }));
  assert.equal(status, "pending");
  for (const tab of tabs) await heard(tab, "leaving");
  assert.deepEqual(askers(session), [0]);
  await tabs.shift().close();
  bridge.down = false;
  for (const tab of tabs) {
    await heard(tab, "signed-out");
    assert.deepEqual(await told(tab), ["started", "leaving", "signed-out"]);
  }
  assert.ok(!bridge.sessions.has(session.id));
  assert.equal(askers(session).length, 2, `tabs ${askers(session)}`);
  assert.equal(bridge.legs(session, 2).length, 1);
  await profile.close();
});

test("pending sign-outs are finished after a reload, and the first listener hears of them", async () => {
  const { tabs: [tab], profile } = await openTabs(1);
  const signedIn = [];
  for (const curve of ["P-256", "secp256k1"]) signedIn.push(await signIn([tab], curve));
  bridge.down = true;
  for (const { key } of signedIn) await tab.evaluate((id) => signer.signOut(id, { timeoutMs: 0 }), key.id);
  await tab.reload();
  await loaded(tab);
  bridge.down = false;
  await tab.evaluate(() => start());
  assert.deepEqual(await tab.evaluate(() => signer.keys()), []);
  for (const { key, session } of signedIn) {
    await tab.evaluate((id) => (globalThis.key = { id }), key.id);
    await heard(tab, "signed-out");
    assert.deepEqual(await told(tab), ["leaving", "signed-out"]);
    assert.ok(!bridge.sessions.has(session.id));
  }
  await profile.close();
});
