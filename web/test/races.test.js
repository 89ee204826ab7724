// What happens at the same moment: in two tabs, or to a call that somebody has
// given up. No key comes back, none is lost, and none is left over.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { browser, openTab } from "./browser.js";
import { sendWorker, serve } from "./server.js";

const minute = 60_000;
const day = 1440 * minute;

/** In the worker, before ours: another time of day, and answers of storage to a look that wait for the page's leave. */
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
  const { transaction } = IDBDatabase.prototype;
  IDBDatabase.prototype.transaction = function (stores, mode, ...rest) {
    const tx = transaction.call(this, stores, mode, ...rest);
    if (hold && mode === "readonly" && stores.length === 1 && stores[0] === "keys") {
      Object.defineProperty(tx, "oncomplete", {
        set: (answer) => tx.addEventListener("complete", () => {
          held.push(answer);
          channel.postMessage("held");
        }),
      });
    }
    return tx;
  };
`;

let bridge, server, profile, page, onHead;
before(async () => {
  server = serve({
    async "/api/grid/"(request, response) {
      if (request.method === "HEAD") await onHead();
      bridge.handler(request, response);
    },
    "/slow.js": (_, response) => sendWorker(response, { before: slow }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  onHead = async () => {};
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
  const got = await page.evaluate(async () => {
    let told;
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/slow.js", onKeysChanged: (keys) => (told = keys) });
    const key = await signer.createKey();
    await signer.keys();
    await hold(true);
    const held = heard("held");
    const looking = signer.keys();
    await held;
    const removed = await signer.removeKey(key);
    await hold(false);
    return { removed, seen: (await looking).length, told: told.length };
  });
  assert.deepEqual(got, { removed: true, seen: 0, told: 0 });
});

test("a key that is bound to another session while a look is under way stays bound to that", async () => {
  const got = await page.evaluate(
    async (first, second) => {
      let told;
      const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/slow.js", onKeysChanged: (keys) => (told = keys) });
      const key = await signer.createKey();
      await signer.bindSession(key, first);
      await signer.keys();
      await hold(true);
      const held = heard("held");
      const looking = signer.keys();
      await held;
      await signer.bindSession(key, second);
      await hold(false);
      return [(await looking)[0].session.id, told[0].session.id];
    },
    bridge.signIn(),
    bridge.signIn(),
  );
  const [, second] = bridge.sessions.keys();
  assert.deepEqual(got, [second, second]);
});

test("one tab judges a session to be over while another binds the key to a new one: the key stays", async () => {
  const other = await newTab();
  const id = await page.evaluate(async (session) => {
    globalThis.signer = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await signer.createKey();
    await signer.bindSession(key, session);
    return key.id;
  }, bridge.signIn(15 * minute));
  // The other tab's clock is ahead, so that it asks the bridge; and there it is as late.
  let asked, answer;
  const asking = new Promise((resolve) => (asked = resolve));
  onHead = () => (asked(), new Promise((resolve) => (answer = resolve)));
  await other.evaluate(async (wall) => {
    globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/slow.js?wall=${wall}` });
    globalThis.looking = signer.keys();
  }, 20 * minute);
  await asking;
  await page.evaluate((key, session) => signer.bindSession(key, session), id, bridge.signIn(60 * minute));
  bridge.skewMs = 20 * minute;
  onHead = async () => {};
  answer();
  await other.evaluate(() => looking);
  const sign = (tab) => tab.evaluate((key) => outcome(signer.signChallenge({ ...challenge(), expiresAt: "2999-01-01T00:00:00Z" }, { key })), id);
  for (const tab of [page, other]) assert.equal((await sign(tab)).value?.format, "der");
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
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
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
    let keys;
    do keys = await (await createSigner({ bridgeUrl: "/api/grid" })).keys();
    while (keys.length > 0);
    return made.code;
  });
  assert.equal(got, "TIMEOUT");
});

test("a key that two tabs at once held to two organizations stays with the one that was stored", async () => {
  const got = await page.evaluate(async () => {
    const tabs = [await createSigner({ bridgeUrl: "/api/grid" }), await createSigner({ bridgeUrl: "/api/grid" })];
    const activity = (organizationId) =>
      challenge(JSON.stringify({ organizationId, parameters: { apiKeyIds: ["k"], userId: "u" }, timestampMs: "1", type: "ACTIVITY_TYPE_DELETE_API_KEYS" }));
    const sign = async (i, organization, key) => {
      const { code, value } = await outcome(tabs[i].signChallenge(activity(organization), { key }));
      return code ?? value.format;
    };
    const seen = new Set();
    for (let round = 0; round < 8; round++) {
      const key = await tabs[0].createKey();
      const first = await Promise.all([sign(0, "org_0", key), sign(1, "org_1", key)]);
      const loser = first.indexOf("ORGANIZATION_MISMATCH");
      if (loser < 0) return first;
      // Asked once more it refuses again, and it signs for the right one.
      seen.add([first[1 - loser], await sign(loser, `org_${loser}`, key), await sign(loser, `org_${1 - loser}`, key)].join());
    }
    return [...seen];
  });
  assert.deepEqual(got, ["stamp,ORGANIZATION_MISMATCH,stamp"]);
});

test("removing what never was leaves no trace, and removing a key one tombstone", async () => {
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await signer.createKey();
    const removed = [];
    for (const id of ["nonsense", "x".repeat(10_000), key.id, key.id]) removed.push(await signer.removeKey(id));
    const store = (await settled(indexedDB.open("gridsigner"))).transaction("tombstones").objectStore("tombstones");
    return [removed, (await settled(store.getAllKeys())).length];
  });
  assert.deepEqual(got, [[false, false, true, false], 1]);
});

test("a stored key that nobody has bound for a month goes; a younger one and a bound one stay", async () => {
  const got = await page.evaluate(
    async (session, day) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid" });
      const [old, young, bound] = [await signer.createKey(), await signer.createKey(), await signer.createKey()];
      await signer.bindSession(bound, session);
      const store = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite").objectStore("keys");
      for (const [{ id }, days] of [[old, 31], [young, 29], [bound, 31]]) {
        const key = await settled(store.get(id));
        await settled(store.put({ ...key, createdAt: key.createdAt - days * day }));
      }
      const left = (await signer.keys()).map(({ id }) => id);
      return [old, young, bound].map(({ id }) => left.includes(id));
    },
    bridge.signIn(),
    day,
  );
  assert.deepEqual(got, [false, true, true]);
});

test("a key's own session is its own, in whichever case its id is written", async () => {
  const own = bridge.signIn();
  const other = bridge.signIn();
  const got = await page.evaluate(
    async (session, account) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid" });
      const key = await signer.createKey();
      await signer.bindSession(key, { ...session, id: `Session:${session.id.slice("Session:".length).toUpperCase()}` });
      const outcomes = await signer.revokeOtherSessions(account, { key });
      const { status } = await signer.revokeSession(session.id, { key });
      return [outcomes, status, (await signer.keys()).length];
    },
    own,
    account,
  );
  assert.deepEqual(got, [[{ sessionId: other.id, status: "revoked" }], "revoked", 0]);
});
