// Storage that refuses, fails late, or does not answer, at each step in turn. A
// new key is then in memory, and says so. A stored one is STORAGE_FAILED until
// storage is back, and not lost. And nothing that was ended signs again.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { browser, loaded, openTab } from "./browser.js";
import { sendWorker, serve } from "./server.js";

/**
 * In the worker, before ours: every open() ends as `how` says, or, from number
 * n on, every transaction, or every call to storage, or only that one. Arming it
 * anew says how many there were, and answers what was held back.
 */
const failing = `
  let armed = { n: Infinity, how: new URLSearchParams(location.search).get("how") };
  let [count, round] = [0, 0];
  let hurried = armed.how === "open-silent";
  const held = [];
  const no = (name) => new DOMException("as the test has it", name);
  const later = globalThis.setTimeout;
  // Nobody need wait the five seconds for what will never be answered.
  globalThis.setTimeout = (what, ms, ...rest) => later(what, hurried && ms === 5000 ? 0 : ms, ...rest);

  const opens = {
    "open-silent": () => ({}),
    "open-error"() {
      const request = { error: no("UnknownError") };
      later(() => request.onerror?.());
      return request;
    },
    "open-throws"() { throw no("SecurityError"); },
  };
  const { open } = IDBFactory.prototype;
  IDBFactory.prototype.open = function (...args) { return armed.how in opens ? opens[armed.how]() : open.apply(this, args); };

  const abort = (tx) => {
    tx.commit = () => tx.abort();
    queueMicrotask(() => { try { tx.abort(); } catch {} });
  };
  const transactions = {
    abort,
    "read-only": (tx) => tx.mode === "readwrite" && abort(tx),
    // Of one request, whose own error then aborts the transaction.
    "request-error": (tx, store) => {
      if (tx.mode === "readonly") return abort(tx);
      for (const name of ["put", "add"]) store[name]({ id: "twice" }, ...(store.keyPath ? [] : ["twice"]));
    },
    // What it has to say it says when it is armed anew.
    "silent"(tx) {
      const mine = round;
      hurried = true;
      for (const type of ["complete", "abort"]) {
        const set = (answer) => tx.addEventListener(type, () => (mine === round ? held.push(answer) : answer()));
        Object.defineProperty(tx, "on" + type, { set });
      }
    },
  };
  const { transaction } = IDBDatabase.prototype;
  IDBDatabase.prototype.transaction = function (store, ...rest) {
    const tx = transaction.call(this, store, ...rest);
    if (armed.how in transactions && count++ >= armed.n) transactions[armed.how](tx, tx.objectStore(store));
    return tx;
  };

  for (const [prototype, names] of [
    [IDBFactory.prototype, ["open"]],
    [IDBDatabase.prototype, ["transaction"]],
    [IDBTransaction.prototype, ["objectStore", "commit"]],
    [IDBObjectStore.prototype, ["add", "put", "get", "getAll", "delete"]],
  ]) {
    for (const name of names) {
      const original = prototype[name];
      prototype[name] = function (...args) {
        if (armed.how === "call" || armed.how === "only call") {
          const call = count++;
          if (armed.how === "call" ? call >= armed.n : call === armed.n) throw no("UnknownError");
        }
        return original.apply(this, args);
      };
    }
  }

  answers.arm = (next) => {
    const seen = count;
    [armed, count, hurried] = [next, 0, false];
    round++;
    for (const answer of held.splice(0)) answer();
    return seen;
  };
`;

/** In the worker, before ours: a browser that denies the page whatever tabs could share. */
const unshared = `
  globalThis.BroadcastChannel = class { constructor() { throw new DOMException("denied", "SecurityError"); } };
  LockManager.prototype.request = () => Promise.reject(new DOMException("denied", "SecurityError"));
  Object.defineProperty(self, "indexedDB", { get() { throw new DOMException("denied", "SecurityError"); } });
`;

let bridge, server, profile, page;
before(() => {
  const script = (before) => (_, response) => sendWorker(response, { before });
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/failing.js": script(failing),
    "/unshared.js": script(unshared),
    "/no-database.js": script("Object.defineProperty(self, 'indexedDB', { value: undefined });"),
    "/no-clone.js": script("IDBObjectStore.prototype.add = () => { throw new DOMException('no', 'DataCloneError') };"),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  profile = await browser.createBrowserContext();
  page = await openTab(profile, server);
  await page.evaluate(() => {
    globalThis.arm = (how, n = 0) => askWorker("arm", { how, n });
    /** Storage works again. Says how many steps there were, when what was under way is over. */
    globalThis.disarm = async () => {
      const steps = await arm(null);
      while ((await sign("no key")) !== "KEY_NOT_FOUND");
      return steps;
    };
    globalThis.code = async (promise) => {
      const { code, value } = await outcome(promise);
      return code ?? value?.status ?? value?.persistence ?? "ok";
    };
  });
});
afterEach(() => profile.close());

const start = (workerUrl) => page.evaluate((workerUrl) => start({ workerUrl }), workerUrl);

const opens = ["open-silent", "open-error", "open-throws"].map((how) => `/failing.js?how=${how}`);
for (const path of [...opens, "/no-database.js", "/no-clone.js", "/unshared.js"]) {
  test(`${path}: sign-in works, the keys are in memory and say so, and a sign-out is one`, async () => {
    await start(path);
    const got = await page.evaluate(
      async (sessions) => {
        const got = [];
        for (const [curve, session] of sessions) {
          globalThis.key = await signer.bindSession(await signer.createKey({ curve }), session);
          got.push([key.protection, key.persistence, await sign(), (await signer.keys()).length, (await signer.signOut(key)).status, await sign()]);
        }
        return got;
      },
      [["P-256", bridge.signIn()], ["secp256k1", bridge.signIn()]],
    );
    const rest = ["memory", "der", 1, "revoked", "KEY_LOST"];
    assert.deepEqual(got, [["non-extractable", ...rest], ["wasm-memory", ...rest]]);
    assert.equal(bridge.sessions.size, 0);
  });
}

/** How storage fails in a sweep, and from which transaction or call on. */
const hows = ["abort", "request-error", "silent", "call", "only call"];

for (const curve of ["P-256", "secp256k1"]) {
  // What a secp256k1 key has of its own is that it is wrapped, which storage may refuse or leave open.
  for (const how of curve === "P-256" || process.env.SOAK ? hows : ["silent"]) {
    test(`${curve}, ${how} at each step of a sign-in: what is made is kept, and works when storage does`, async () => {
      await start("/failing.js");
      const rounds = await page.evaluate(
        async (curve, how, session) => {
          const rounds = [];
          for (let n = 0, more = true; more; n++) {
            await signer.keys(); // what it looks at by itself is not to be counted
            await arm(how, n);
            const made = await signer.createKey({ curve });
            const failed = [await code(signer.bindSession(made, session)), await sign(made), (await signer.keys()).some(({ id }) => id === made.id)];
            more = (await disarm()) > n;
            rounds.push([made.persistence, failed, await code(signer.bindSession(made, session)), await sign(made)]);
            await signer.removeKey(made);
          }
          return [rounds, (await signer.keys()).length];
        },
        curve,
        how,
        bridge.signIn(),
      );
      const [steps, left] = rounds;
      assert.equal(left, 0);
      assert.ok(steps.length > 4, `${steps.length} steps`);
      assert.deepEqual(steps.pop(), ["indexeddb", ["indexeddb", "der", true], "indexeddb", "der"], "none of them failed");
      for (const [n, [persistence, [bound, signs, listed], again, signsAgain]] of steps.entries()) {
        const allowed = persistence === "memory" ? [["memory"], ["der"]] : [["STORAGE_FAILED", "indexeddb"], ["STORAGE_FAILED", "der"]];
        assert.deepEqual([n, allowed[0].includes(bound), allowed[1].includes(signs), listed], [n, true, true, true], `${persistence} ${bound} ${signs}`);
        assert.deepEqual([n, again, signsAgain], [n, persistence, "der"]);
      }
      if (how !== "only call") assert.deepEqual([steps[0][0], steps.at(-1)[0]], ["memory", "indexeddb"], "there is a step from which on it is stored");
    });
  }
}

// The one thing that counts: whatever is said to be ended is, in this worker at once, and for the others when Grid says so.
// A secp256k1 key cannot be opened while storage cannot be read: each of its steps takes a pause.
for (const [curve, hows] of [["P-256", ["abort", "silent", "read-only", "call"]], ["secp256k1", process.env.SOAK ? ["read-only", "silent"] : ["silent"]]]) {
  for (const how of hows) {
    test(`${curve}, ${how} at each step of a sign-out: what it says is so, and nothing that was ended signs again`, async () => {
      await start("/failing.js");
      let steps = 0;
      for (let more = true; more; steps++) {
        const session = bridge.signIn();
        const got = await page.evaluate(
          async (curve, how, n, session) => {
            globalThis.key = await signer.bindSession(await signer.createKey({ curve }), session);
            await signer.keys();
            await arm(how, n);
            const said = await code(signer.revokeSession(session.id, { key, timeoutMs: 500 }));
            const during = [await sign(), (await signer.keys()).length];
            const more = (await disarm()) > n;
            return { said, during, after: [await sign(), (await signer.keys()).length], more };
          },
          curve,
          how,
          steps,
          session,
        );
        const name = `step ${steps}: ${got.said}`;
        if (got.said === "STORAGE_FAILED" && got.during[1] === 1) {
          // It never began, and can be asked for again.
          assert.ok(bridge.sessions.has(session.id), name);
          assert.deepEqual([got.during, got.after], [["STORAGE_FAILED", 1], ["der", 1]], name);
          assert.equal(await page.evaluate(() => code(signer.signOut(key))), "revoked", name);
        } else {
          assert.ok(["revoked", "pending", "STORAGE_FAILED"].includes(got.said), name);
          assert.deepEqual([got.during, got.after], [["KEY_LOST", 0], ["KEY_LOST", 0]], name);
          if (got.said !== "revoked") await page.waitForFunction(() => told().includes("signed-out")); // this tab goes on
        }
        assert.ok(!bridge.sessions.has(session.id), name);
        more = got.more;
      }
      assert.ok(steps > 2, `${steps} steps`);
    });
  }
}

test("revoked while storage refuses to delete: the same worker says KEY_LOST, and another one what Grid says", async () => {
  const session = bridge.signIn();
  const got = await page.evaluate(async (session) => {
    await signIn(session, { workerUrl: "/failing.js" });
    await signer.keys();
    await arm("read-only");
    const said = await code(signer.revokeSession(undefined, { key }));
    return [said, await sign(), (await signer.keys()).length, told(), (await stored()).map(({ state }) => state)];
  }, session);
  assert.deepEqual(got, ["revoked", "KEY_LOST", 0, ["started", "leaving", "signed-out"], ["active"]]);
  const id = await page.evaluate(() => key.id);
  await page.reload(); // before it can be written down
  await loaded(page);
  const later = await page.evaluate(async (id) => {
    await start();
    const { status } = await signer.signOut(id);
    return [status, await sign(id), (await stored()).map(({ state, reason }) => `${state} ${reason}`)];
  }, id);
  assert.deepEqual(later, ["inactive", "KEY_LOST", ["ended revoked"]]);
});

test("what could not be written down is, as soon as storage takes it", async () => {
  const got = await page.evaluate(async (session) => {
    await signIn(session, { workerUrl: "/failing.js" });
    await signer.keys();
    await arm("read-only");
    const said = [await code(signer.revokeSession(undefined, { key })), await code(signer.createKey())];
    await disarm();
    let states;
    do {
      await signer.keys();
      states = (await stored()).map(({ state, reason }) => `${state} ${reason}`);
    } while (states[0] !== "ended signed-out");
    return said;
  }, bridge.signIn());
  assert.deepEqual(got, ["revoked", "memory"]);
});

test("removeKey where storage refuses: STORAGE_FAILED, and this signer uses the key no more", async () => {
  for (const curve of ["P-256", "secp256k1"]) {
    const got = await page.evaluate(async (curve) => {
      await start({ workerUrl: "/failing.js" });
      globalThis.key = await signer.createKey({ curve });
      await arm("read-only");
      const removed = await outcome(signer.removeKey(key));
      return [removed.code, removed.retryable, await sign(), (await signer.keys()).filter(({ id }) => id === key.id).length];
    }, curve);
    assert.deepEqual(got, ["STORAGE_FAILED", true, "KEY_LOST", 0]);
    await page.evaluate(() => signer.close());
  }
});

test("signed out with neither storage nor Grid to be had: STORAGE_FAILED, and this tab goes on", async () => {
  const session = bridge.signIn();
  bridge.down = true;
  const got = await page.evaluate(async (session) => {
    await signIn(session, { workerUrl: "/failing.js" });
    await signer.keys();
    await arm("read-only");
    const { code, retryable } = await outcome(signer.signOut(key, { timeoutMs: 300 }));
    return [code, retryable, await sign(), (await signer.keys()).length, told()];
  }, session);
  assert.deepEqual(got, ["STORAGE_FAILED", true, "KEY_LOST", 0, ["started", "leaving"]]);
  bridge.down = false;
  await page.waitForFunction(() => told().includes("signed-out"));
  assert.ok(!bridge.sessions.has(session.id));
});

test("keys that cannot be read just now are not said to be gone", async () => {
  const got = await page.evaluate(async (session) => {
    await signIn(session);
    signer.close();
    await start({ workerUrl: "/failing.js" });
    const before = (await signer.keys()).map(({ id }) => id === key.id);
    await arm("abort");
    const during = [(await signer.keys()).map(({ id }) => id === key.id), await sign()];
    await disarm();
    return { before, during, after: await sign(), told: told() };
  }, bridge.signIn());
  assert.deepEqual(got, { before: [true], during: [[true], "STORAGE_FAILED"], after: "der", told: [] });
});
