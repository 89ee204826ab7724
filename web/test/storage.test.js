// Storage that fails late, does not answer, or goes away: sign-in works all the
// same, and says what it has. Storage that refuses at once: see custody.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { launch, open } from "./browsers.js";
import { sendWorker, serve } from "./server.js";

/** In the worker, before ours: every open() from the first on, or every transaction from number n on, ends as `how` says. */
const failing = `
  const parameters = new URLSearchParams(location.search);
  const [n, how] = [Number(parameters.get("n")), parameters.get("how")];
  const later = (what) => setTimeout(what, 0);
  const no = (name) => new DOMException("as the test has it", name);

  const opens = {
    "open-silent": () => {},
    "open-blocked": (request) => later(() => request.onblocked?.()),
    "open-error": (request) => later(() => ((request.error = no("UnknownError")), request.onerror?.())),
  };
  const { open } = IDBFactory.prototype;
  if (how in opens) {
    IDBFactory.prototype.open = () => {
      const request = {};
      opens[how](request);
      return request;
    };
  }

  const transactions = {
    // Its requests have error events, and it an abort event.
    "abort": (tx) => queueMicrotask(() => tx.abort()),
    // Of one request, whose own error then aborts the transaction.
    "request-error": (tx, store) => {
      if (tx.mode === "readonly") return tx.abort();
      store.put({ id: "twice" }, ...(store.keyPath ? [] : ["twice"]));
      store.add({ id: "twice" }, ...(store.keyPath ? [] : ["twice"]));
    },
    "quota": (tx) => {
      Object.defineProperty(tx, "error", { value: no("QuotaExceededError") });
      queueMicrotask(() => tx.abort());
    },
    "silent": (tx) => Object.defineProperties(tx, { oncomplete: { set() {} }, onabort: { set() {} } }),
  };
  const { transaction } = IDBDatabase.prototype;
  let count = 0;
  IDBDatabase.prototype.transaction = function (stores, ...rest) {
    const tx = transaction.call(this, stores, ...rest);
    if (count++ >= n) transactions[how]?.(tx, tx.objectStore(stores[0]));
    return tx;
  };
  const channel = new BroadcastChannel(parameters.get("id"));
  channel.onmessage = () => channel.postMessage(count);
`;

/** In the worker, before ours: a browser that denies the page whatever tabs could share. */
const unshared = `
  globalThis.BroadcastChannel = class { constructor() { throw new DOMException("denied", "SecurityError"); } };
  LockManager.prototype.request = () => Promise.reject(new DOMException("denied", "SecurityError"));
  Object.defineProperty(self, "indexedDB", { get() { throw new DOMException("denied", "SecurityError"); } });
`;

const bridge = makeBridge();
let browser, server, page;
before(async () => {
  browser = await launch();
  const script = (before) => (_, response) => sendWorker(response, { before });
  server = await serve({ "/api/grid/": bridge.handler, "/failing.js": script(failing), "/unshared.js": script(unshared) });
});
after(async () => {
  await browser?.close();
  server?.close();
});
beforeEach(async () => {
  page = await open(browser, server);
  await page.evaluate(() => {
    /** Signs in, and signs. Says what became of the key, and how many transactions that took. */
    globalThis.signIn = async (curve, query, session) => {
      const id = crypto.randomUUID();
      const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/failing.js?id=${id}&${query}` });
      const key = await signer.createKey({ curve });
      await signer.bindSession(key, session);
      const { format } = await signer.signChallenge(challenge(), { key });
      const last = (await signer.keys()).find(({ id }) => id === key.id);
      const channel = new BroadcastChannel(id);
      const count = new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
      channel.postMessage("how many?");
      const got = { format, persistence: last?.persistence, session: last?.session?.id, count: await count };
      channel.close();
      signer.close();
      return got;
    };
    globalThis.settled = (request) =>
      new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
  });
});
afterEach(() => page.close());

for (const curve of ["P-256", "secp256k1"]) {
  for (const how of ["open-silent", "open-blocked", "open-error"]) {
    test(`${curve}, ${how}: sign-in works, and the key is in memory`, async () => {
      const session = bridge.signIn();
      const got = await page.evaluate((...args) => signIn(...args), curve, `n=Infinity&how=${how}`, session);
      assert.deepEqual({ ...got, count: 0 }, { format: "der", persistence: "memory", session: session.id, count: 0 });
    });
  }

  for (const how of ["abort", "request-error", "quota", "silent"]) {
    test(`${curve}, ${how} from each transaction on: sign-in works, and the key ends up in memory`, async () => {
      const session = bridge.signIn();
      const sound = await page.evaluate((...args) => signIn(...args), curve, "n=Infinity", session);
      assert.equal(sound.persistence, "indexeddb");
      assert.ok(sound.count >= 5, `${sound.count} transactions`);
      // All at once: what does not answer takes its time.
      const outcomes = await page.evaluate(
        (curve, how, session, count) => Promise.all(Array.from({ length: count }, (_, n) => signIn(curve, `n=${n}&how=${how}`, session))),
        curve,
        how,
        session,
        sound.count - 1, // the last one may be the look that a message from elsewhere asked for
      );
      for (const [n, { count, ...got }] of outcomes.entries()) {
        assert.deepEqual([n, got], [n, { format: "der", persistence: "memory", session: session.id }]);
      }
    });
  }
}

test("no storage, no channel, no locks: sign-in works, and the worker is not taken for dead", async () => {
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/unshared.js" });
    const key = await signer.createKey();
    await signer.signChallenge(challenge(), { key });
    return [key.persistence, (await signer.keys()).length, await signer.removeKey(key)];
  });
  assert.deepEqual(got, ["memory", 1, true]);
});

test("keys that cannot be read just now are not said to be gone", async () => {
  const got = await page.evaluate(async () => {
    const first = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await first.createKey();
    first.close();
    const told = [];
    const onKeysChanged = (keys) => told.push(keys.length);
    // It reads once, and never again.
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/failing.js?n=1&how=abort", onKeysChanged });
    const listed = [await signer.keys(), await signer.keys()].map((keys) => keys.map(({ id }) => id === key.id));
    const { code, retryable } = await outcome(signer.signChallenge(challenge(), { key }));
    return { listed, told, code, retryable };
  });
  assert.deepEqual(got, { listed: [[true], [true]], told: [1], code: "KEY_LOST", retryable: true });
});

test("a database that opens late is used from then on", async () => {
  const got = await page.evaluate(async () => {
    // What another script of the origin can do: a deletion that waits for a connection of its own.
    const connection = await settled(indexedDB.open("gridsigner", 1));
    const deleted = settled(indexedDB.deleteDatabase("gridsigner"));
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const before = await signer.createKey();
    connection.close();
    await deleted;
    let after;
    do after = await signer.createKey(); // when exactly our own open() is answered, nobody says
    while (after.persistence !== "indexeddb");
    const keys = await signer.keys();
    return [before.persistence, keys.find(({ id }) => id === before.id).persistence, keys.at(-1).persistence];
  });
  assert.deepEqual(got, ["memory", "memory", "indexeddb"]);
});

test("a transaction that never ends holds up one call, and no key: what comes later is stored again", async () => {
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const first = await signer.createKey();
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    let released = false;
    const hold = () => released || (tx.objectStore("keys").count().onsuccess = hold);
    hold();
    const over = new Promise((resolve) => (tx.oncomplete = resolve));
    const second = await signer.createKey();
    const signed = await signer.signChallenge(challenge(), { key: second });
    released = true;
    await over;
    let third;
    do third = await signer.createKey(); // when exactly the worker's own transaction hears that it may end, nobody says
    while (third.persistence !== "indexeddb");
    const keys = await signer.keys();
    return [first, second, third].map(({ id, persistence }) => [persistence, keys.find((key) => key.id === id)?.persistence, signed.format]);
  });
  assert.deepEqual(got, [["indexeddb", "indexeddb", "der"], ["memory", "memory", "der"], ["indexeddb", "indexeddb", "der"]]);
});

test("a database that is deleted takes its keys along, in memory too, and the next key is stored again", async () => {
  const got = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await signer.createKey();
    await signer.signChallenge(challenge(), { key });
    await settled(indexedDB.deleteDatabase("gridsigner"));
    const code = (await outcome(signer.signChallenge(challenge(), { key }))).code;
    return [code, (await signer.createKey()).persistence, (await signer.keys()).length];
  });
  assert.deepEqual(got, ["KEY_LOST", "indexeddb", 1]);
});
