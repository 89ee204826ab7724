// Several tabs of one origin, in every order that the seeds below give.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { browser, openTab } from "./browser.js";
import { random } from "./random.js";
import { sendWorker, serve } from "./server.js";

const bridge = makeBridge();
let server;
before(async () => {
  // As a tab is that sleeps: no message reaches it.
  const deaf = "Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set() {} });";
  server = serve({
    "/api/grid/": bridge.handler,
    "/deaf.js": (_, response) => sendWorker(response, { before: deaf }),
  });
});
after(() => server?.close());

/** Opens this many tabs of one profile, each with a signer. */
async function openTabs(count) {
  const profile = await browser.createBrowserContext();
  const tabs = [];
  for (let i = 0; i < count; i++) {
    const tab = await openTab(profile, server);
    await tab.evaluate(async () => {
      globalThis.told = [];
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", onKeysChanged: (keys) => (told = keys) });
    });
    tabs.push(tab);
  }
  return { tabs, profile };
}

const actions = {
  async signIn(tab, mine, pick) {
    const curve = pick(["P-256", "secp256k1"]);
    const key = await tab.evaluate((curve) => signer.createKey({ curve }), curve);
    const session = bridge.signIn();
    await tab.evaluate((key, session) => signer.bindSession(key, session), key, session);
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
    const { status } = await tab.evaluate((key) => signer.revokeSession(undefined, { key }), key);
    assert.equal(status, "revoked");
    mine.delete(key);
  },
};

const all = process.env.SOAK;

for (const [count, seeds, steps] of all ? [[2, [1, 2, 3, 4], 12], [5, [5, 6], 15]] : [[2, [1, 2], 12], [5, [5], 15]]) {
  for (const seed of seeds) {
    test(`${count} tabs sign in, refresh and sign out at once, seed ${seed}`, async () => {
      const next = random(seed);
      const pick = (values) => values[Math.floor(next() * values.length)];
      const { tabs, profile } = await openTabs(count);
      bridge.sessions.clear();
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
        const told = await tab.evaluate(() => told);
        assert.deepEqual(told, keys, "and its page was told");
        for (const { id, session } of keys) {
          assert.ok(bridge.sessions.has(session.id), "no key without its session");
          const { format } = await tab.evaluate((key) => signer.signChallenge(challenge(), { key }), id);
          assert.equal(format, "der", "each key works in each tab");
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
  await deaf.evaluate(async () => (globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/deaf.js" })));
  const key = await first.evaluate(() => signer.createKey({ curve: "secp256k1" }));
  const sign = (tab) => tab.evaluate((key) => outcome(signer.signChallenge(challenge(), { key })), key.id);
  assert.equal((await sign(deaf)).value?.format, "der");
  await first.evaluate((key) => signer.removeKey(key), key.id);
  assert.equal((await sign(first)).code, "KEY_LOST");
  assert.equal((await sign(deaf)).code, "KEY_LOST");
  assert.deepEqual(await deaf.evaluate(() => signer.keys()), []);
  await profile.close();
});

test("signing out in one tab leaves the others' keys, and signs out no one else", async () => {
  const { tabs, profile } = await openTabs(2);
  bridge.sessions.clear();
  for (const tab of tabs) {
    await tab.evaluate(async (session) => signer.bindSession((globalThis.key = await signer.createKey()), session), bridge.signIn());
  }
  await tabs[0].evaluate(() => signer.revokeSession(undefined, { key }));
  assert.equal(bridge.sessions.size, 1);
  const left = await tabs[1].evaluate(() => outcome(signer.signChallenge(challenge(), { key })));
  assert.equal(left.value?.format, "der");
  await profile.close();
});

test("revokeOtherSessions ends all but the key's own, and tells of each", async () => {
  const { tabs: [tab], profile } = await openTabs(1);
  bridge.sessions.clear();
  const [own, ...others] = [1, 2, 3].map(() => bridge.signIn());
  const got = await tab.evaluate(
    async (own, account) => {
      const key = await signer.createKey();
      const unbound = await outcome(signer.revokeOtherSessions(account, { key }));
      await signer.bindSession(key, own);
      return { unbound: unbound.code, outcomes: await signer.revokeOtherSessions(account, { key }), keys: await signer.keys() };
    },
    own,
    account,
  );
  assert.equal(got.unbound, "ARGUMENT_INVALID");
  assert.deepEqual(got.outcomes, others.map(({ id }) => ({ sessionId: id, status: "revoked" })));
  assert.deepEqual([...bridge.sessions.keys()], [own.id]);
  assert.equal(got.keys.length, 1);

  bridge.signIn();
  let requests = 0;
  bridge.onRequest = async () => (bridge.down = ++requests > 0);
  const [lost] = await tab.evaluate(async (account) => {
    const [key] = await signer.keys();
    const outcomes = await signer.revokeOtherSessions(account, { key, timeoutMs: 10_000 }); // longer than the retries take
    return outcomes.map(({ error, status }) => [error instanceof GridSignerError, error?.code, status ?? "none"]);
  }, account);
  Object.assign(bridge, { down: false, onRequest: async () => {} });
  assert.deepEqual(lost, [true, "NETWORK_FAILED", "none"]);
  await profile.close();
});
