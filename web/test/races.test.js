// What happens at the same moment: in two tabs, or to a call that somebody has
// given up. No key comes back, none is lost, and none is left over.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { browser, openTab } from "./browser.js";
import { sendWorker, serve } from "./server.js";

const minute = 60_000;
const day = 1440 * minute;

/** In the worker, before ours: another time of day, and answers of storage to a look at all keys that wait for the page's leave. */
const slow = `
  const now = Date.now.bind(Date);
  Date.now = () => now() + Number(new URLSearchParams(location.search).get("wall"));
  let hold = false;
  const held = [];
  const channel = new BroadcastChannel("hold");
  channel.onmessage = ({ data }) => {
    hold = data;
    if (!hold) for (const answer of held.splice(0)) answer();
    channel.postMessage("done");
  };
  const { getAll } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.getAll = function () {
    const request = getAll.call(this);
    const wait = (answer) => {
      held.push(answer);
      channel.postMessage("held");
    };
    if (!hold) return request;
    this.transaction.oncomplete = null; // which comes before that answer then
    Object.defineProperty(request, "onsuccess", { set: (answer) => request.addEventListener("success", () => wait(answer)) });
    return request;
  };
`;

let bridge, server, profile, page;
before(async () => {
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/slow.js": (_, response) => sendWorker(response, { before: slow }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  profile = await browser.createBrowserContext();
  page = await newTab();
});
afterEach(() => profile.close());

async function newTab() {
  const tab = await openTab(profile, server);
  await tab.evaluate(() => {
    const channel = new BroadcastChannel("hold");
    globalThis.heard = (what) =>
      new Promise((resolve) => {
        channel.addEventListener("message", function listener({ data }) {
          if (data !== what) return;
          channel.removeEventListener("message", listener);
          resolve();
        });
      });
    globalThis.hold = (on) => {
      const done = heard("done");
      channel.postMessage(on);
      return done;
    };
  });
  return tab;
}

test("a key that is removed while a look at storage is under way does not come back with it", async () => {
  const got = await page.evaluate(async (session) => {
    await signIn(session, { workerUrl: "/slow.js" });
    await signer.keys();
    await hold(true);
    const held = heard("held");
    const looking = signer.keys();
    await held;
    const removed = await signer.removeKey(key);
    await hold(false);
    return { removed, seen: (await looking).length, told: told() };
  }, bridge.signIn());
  assert.deepEqual(got, { removed: true, seen: 0, told: ["started", "removed"] });
});

test("a key that is bound to another session while a look is under way stays bound to that", async () => {
  const [first, second] = [bridge.signIn(), bridge.signIn()];
  const got = await page.evaluate(
    async (first, second) => {
      await signIn(first, { workerUrl: "/slow.js" });
      await signer.keys();
      await hold(true);
      const held = heard("held");
      const looking = signer.keys();
      await held;
      await signer.bindSession(key, second);
      await hold(false);
      return [(await looking)[0].session.id, events.map(({ type, session }) => [type, session.id])];
    },
    first,
    second,
  );
  assert.deepEqual(got, [second.id, [["started", first.id], ["started", second.id]]]);
});

test("one tab judges a session to be over while another binds the key to a new one: the key stays", async () => {
  const other = await newTab();
  const { id } = await page.evaluate((session) => signIn(session), bridge.signIn(15 * minute));
  // The other tab's clock is ahead, so that it asks the bridge; and there it is as late.
  let asked, answer;
  const asking = new Promise((resolve) => (asked = resolve));
  bridge.onRequest = ({ method }) => {
    if (method === "HEAD") return asked(), new Promise((resolve) => (answer = resolve));
  };
  const sign = (tab) => tab.evaluate((key) => outcome(signer.signChallenge({ ...challenge(), expiresAt: "2999-01-01T00:00:00Z" }, { key })), id);
  await other.evaluate((wall) => start({ workerUrl: `/slow.js?wall=${wall}` }), 20 * minute);
  const using = sign(other);
  await asking;
  await page.evaluate((session) => signer.bindSession(key, session), bridge.signIn(60 * minute));
  bridge.skewMs = 20 * minute;
  bridge.onRequest = async () => {};
  answer();
  for (const signed of [await using, await sign(page), await sign(other)]) assert.equal(signed.value?.format, "der");
});

test("messages of page script that claim a key was removed do no harm to it", async () => {
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await signer.createKey({ curve: "secp256k1" });
    const channel = new BroadcastChannel("gridsigner");
    const signed = [];
    for (let i = 0; i < 30; i++) {
      for (const message of [{ removed: key.id }, { removed: {} }, null, "removed"]) channel.postMessage(message);
      signed.push(outcome(signer.signChallenge(challenge(), { key })));
    }
    channel.close();
    return [[...new Set((await Promise.all(signed)).map(({ code, value }) => code ?? value.format))], (await signer.keys()).length];
  });
  assert.deepEqual(got, [["der"], 1]);
});

test("a key whose maker gave up waiting for it is not left behind", async () => {
  const got = await page.evaluate(async () => {
    await start();
    await signer.keys();
    // Storage does not answer before the call is over, and that it is at once.
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    let released = false;
    const hold = () => released || (tx.objectStore("keys").count().onsuccess = hold);
    hold();
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (what, ms) => setTimeout(what, ms >= 30_000 ? 0 : ms);
    const made = await outcome(signer.createKey());
    globalThis.setTimeout = setTimeout;
    released = true;
    let records;
    do records = await stored();
    while (records[0]?.state !== "ended");
    return [made.code, records.length, records[0].reason, "secret" in records[0], (await signer.keys()).length];
  });
  assert.deepEqual(got, ["TIMEOUT", 1, "removed", false, 0]);
});

test("removing what never was leaves no trace, and removing a key one tombstone, which goes after a month", async () => {
  const got = await page.evaluate(
    async (account, day) => {
      await start();
      const key = await signer.createKey();
      const removed = [];
      for (const id of ["nonsense", "x".repeat(10_000), key.id, key.id]) removed.push(await signer.removeKey(id));
      const [tombstone, ...more] = await stored();
      const store = () => indexedDB.open("gridsigner");
      const age = async (days) => {
        const database = await settled(store());
        await settled(database.transaction("keys", "readwrite").objectStore("keys").put({ ...tombstone, endedAt: tombstone.endedAt - days * day }));
        database.close();
        await signer.keys();
        return (await stored()).length;
      };
      return { removed, tombstone: [tombstone.state, "secret" in tombstone], more, left: [await age(29), await age(31)], signs: await sign(key) };
    },
    account,
    day,
  );
  assert.deepEqual(got, { removed: [false, false, true, false], tombstone: ["ended", false], more: [], left: [1, 0], signs: "KEY_LOST" });
});

test("a stored key that nobody has bound for a month goes, when the server agrees; a younger one and a bound one stay", async () => {
  const got = await page.evaluate(
    async (session, account, day) => {
      await start();
      const [old, young, bound] = [await signer.createKey(), await signer.createKey(), await signer.createKey()];
      await signer.bindSession(bound, session);
      const store = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite").objectStore("keys");
      for (const [{ id }, days] of [[old, 31], [young, 29], [bound, 31]]) {
        const key = await settled(store.get(id));
        await settled(store.put({ ...key, createdAt: key.createdAt - days * day }));
      }
      const listed = async () => {
        const keys = (await signer.keys()).map(({ id }) => id);
        return [old, young, bound].map(({ id }) => keys.includes(id));
      };
      const before = await listed();
      await signer.listSessions(account); // which tells the time
      return [before, await listed()];
    },
    bridge.signIn(),
    account,
    day,
  );
  assert.deepEqual(got, [[true, true, true], [false, true, true]]);
});
