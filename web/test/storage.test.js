// Storage that refuses, fails late, or does not answer: sign-in works all the
// same, and says what it has.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { open } from "./browser.js";
import { sendWorker, serve } from "./server.js";

/** In the worker, before ours: every open() from the first on, or every transaction from number n on, ends as `how` says. */
const failing = `
  const parameters = new URLSearchParams(location.search);
  let [n, how] = [Number(parameters.get("n") ?? Infinity), parameters.get("how")];
  const later = (what) => setTimeout(what, 0);
  const no = (name) => new DOMException("as the test has it", name);

  // Nobody need wait the five seconds for what will never be answered.
  let silenced = how === "open-silent";
  const after = globalThis.setTimeout;
  globalThis.setTimeout = (what, ms, ...rest) => after(what, silenced && ms === 5000 ? 0 : ms, ...rest);

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
    "silent"(tx) {
      silenced = true;
      Object.defineProperties(tx, { oncomplete: { set() {} }, onabort: { set() {} } });
    },
  };
  const { transaction } = IDBDatabase.prototype;
  let count = 0;
  IDBDatabase.prototype.transaction = function (stores, ...rest) {
    const tx = transaction.call(this, stores, ...rest);
    if (count++ >= n) transactions[how]?.(tx, tx.objectStore(stores[0]));
    return tx;
  };
  answers.arm = (change) => {
    const seen = count;
    [n, how, count] = [change.n, change.how, 0];
    return seen;
  };
`;

/** In the worker, before ours: call number \`n\` to storage throws, or every one from there on. */
const stubbed = `
  let [n, only, calls] = [Infinity, false, 0];
  answers.arm = (change) => {
    const seen = calls;
    [n, only, calls] = [change.n, change.only, 0];
    return seen;
  };
  for (const [prototype, names] of [
    [IDBFactory.prototype, ["open"]],
    [IDBDatabase.prototype, ["transaction"]],
    [IDBTransaction.prototype, ["objectStore"]],
    [IDBObjectStore.prototype, ["add", "put", "get", "getAll", "getKey", "delete", "openCursor"]],
  ]) {
    for (const name of names) {
      const original = prototype[name];
      prototype[name] = function (...args) {
        const call = calls++;
        if (only ? call === n : call >= n) throw new DOMException(name + " is stubbed", "UnknownError");
        return original.apply(this, args);
      };
    }
  }
`;

/** In the worker, before ours: a browser that denies the page whatever tabs could share. */
const unshared = `
  globalThis.BroadcastChannel = class { constructor() { throw new DOMException("denied", "SecurityError"); } };
  LockManager.prototype.request = () => Promise.reject(new DOMException("denied", "SecurityError"));
  Object.defineProperty(self, "indexedDB", { get() { throw new DOMException("denied", "SecurityError"); } });
`;

const bridge = makeBridge();
let server, page;
before(async () => {
  const script = (before) => (_, response) => sendWorker(response, { before });
  server = serve({
    "/api/grid/": bridge.handler,
    "/failing.js": script(failing),
    "/stubbed.js": script(stubbed),
    "/unshared.js": script(unshared),
    "/no-database.js": script("Object.defineProperty(self, 'indexedDB', { value: undefined });"),
    "/no-clone.js": script("IDBObjectStore.prototype.add = () => { throw new DOMException('no', 'DataCloneError') };"),
  });
});
after(() => server?.close());
beforeEach(async () => {
  page = await open(server);
  await page.evaluate(() => {
    /** Signs in, and signs. Says what became of the key. */
    globalThis.signIn = async (signer, curve, session) => {
      const { id } = await signer.createKey({ curve });
      await signer.bindSession(id, session);
      const { format } = await signer.signChallenge(challenge(), { key: id });
      const key = (await signer.keys()).find((key) => key.id === id);
      return { format, persistence: key?.persistence, session: key?.session?.id };
    };
    /** The same with storage failing so, from an empty storage. Says how often it was asked. */
    globalThis.signInArmed = async (signer, curve, session, change) => {
      await signer.keys(); // its first look, which it takes by itself, is not to be counted
      await settled(indexedDB.deleteDatabase("gridsigner"));
      await askWorker("arm", change);
      const got = await signIn(signer, curve, session);
      return { ...got, count: await askWorker("arm", { n: Infinity }) };
    };
  });
});
afterEach(() => page.close());

for (const how of ["open-silent", "open-blocked", "open-error"]) {
  test(`${how}: sign-in works, and the key is in memory`, async () => {
    const session = bridge.signIn();
    const got = await page.evaluate(
      async (how, session) => {
        const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/failing.js?how=${how}` });
        return [await signIn(signer, "P-256", session), await signIn(signer, "secp256k1", session)];
      },
      how,
      session,
    );
    assert.deepEqual(got, Array(2).fill({ format: "der", persistence: "memory", session: session.id }));
  });
}

for (const curve of ["P-256", "secp256k1"]) {
  for (const how of ["abort", "request-error", "quota", "silent"]) {
    test(`${curve}, ${how} from each transaction on: sign-in works, and the key ends up in memory`, async () => {
      const session = bridge.signIn();
      const [sound, ...outcomes] = await page.evaluate(
        async (curve, how, session) => {
          const start = (query) => createSigner({ bridgeUrl: "/api/grid", workerUrl: `/failing.js${query}` });
          let signer = await start("");
          const sound = await signInArmed(signer, curve, session, { n: Infinity });
          const outcomes = [sound];
          for (let n = 0; n < sound.count; n++) {
            outcomes.push(await signInArmed(signer, curve, session, { n, how }));
            if (how !== "silent") continue;
            signer.close(); // it believes in storage no more
            signer = await start("");
          }
          return outcomes;
        },
        curve,
        how,
        session,
      );
      assert.equal(sound.persistence, "indexeddb");
      assert.ok(sound.count >= 4, `${sound.count} transactions`);
      assert.equal(outcomes.length, sound.count);
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

for (const name of ["no-database", "no-clone"]) {
  test(`${name}: sign-in works, and the keys say that they are in memory`, async () => {
    const keys = await page.evaluate(async (workerUrl) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl });
      const keys = [];
      for (const curve of ["P-256", "secp256k1"]) {
        keys.push(await signer.createKey({ curve }));
        await signer.signChallenge(challenge(), { key: keys.at(-1) });
      }
      return keys;
    }, `/${name}.js`);
    assert.deepEqual(keys.map(({ protection, persistence }) => [protection, persistence]), [
      ["non-extractable", "memory"],
      ["wasm-memory", "memory"],
    ]);
  });
}

for (const curve of ["P-256", "secp256k1"]) {
  test(`${curve}: with storage failing at each call in turn, sign-in works and says what it has`, async () => {
    const session = bridge.signIn();
    const { sound, from, once } = await page.evaluate(
      async (curve, session) => {
        const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/stubbed.js" });
        const sound = await signInArmed(signer, curve, session, { n: Infinity });
        const [from, once] = [[], []];
        for (let n = 0; n < sound.count; n++) {
          from.push(await signInArmed(signer, curve, session, { n }));
          once.push(await signInArmed(signer, curve, session, { n, only: true }));
        }
        return { sound, from, once };
      },
      curve,
      session,
    );
    assert.equal(sound.persistence, "indexeddb");
    assert.ok(sound.count > 15, `${sound.count} calls`);
    for (const [n, got] of from.entries()) assert.deepEqual([n, got.format, got.persistence], [n, "der", "memory"]);
    // A storage that recovers: what it has may be either, but works and is bound.
    for (const [n, got] of once.entries()) assert.deepEqual([n, got.format, got.session], [n, "der", session.id]);
  });
}
