// The contract of the storage port (src/keys/storage.ts), as each engine's
// IndexedDB keeps it: what makes tabs safe from each other, and a key from the
// death of its tab. Who stores what, and what becomes of a key where this
// fails: custody.test.js, faults.test.js.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { browser, loaded, openTab } from "./browser.js";
import { send, serve } from "./server.js";

let server, profile, tabs;
before(() => {
  const compiled = new URL("../.tsc/", import.meta.url); // where tsc leaves it
  server = serve({ "/src/": async ({ url }, response) => send(response, await readFile(new URL(`.${url}`, compiled)), "text/javascript") });
});
after(() => server?.close());
beforeEach(async () => {
  profile = await browser.createBrowserContext();
  tabs = [await openTab(profile, server), await openTab(profile, server)];
  await Promise.all(tabs.map(connect));
});
afterEach(() => profile.close());

/** Makes the port in a tab. Nothing is opened before it is needed. */
const connect = (tab) =>
  tab.evaluate(async () => {
    const { IndexedDB } = await import("/src/keys/storage.js");
    globalThis.storage = new IndexedDB("contract");
    globalThis.transactions = 0;
    const { transaction } = IDBDatabase.prototype;
    IDBDatabase.prototype.transaction = function (...args) {
      transactions++;
      return transaction.apply(this, args);
    };
  });

test("add, get, all, update: each one transaction, and what was added last is listed too", async () => {
  const got = await tabs[0].evaluate(async () => {
    const steps = [];
    const step = async (promise) => steps.push([(await promise) ?? "nothing", transactions]);
    await step(storage.all());
    await step(storage.get("a"));
    await step(storage.add({ id: "a", n: 1 }));
    await step(storage.get("a"));
    await step(storage.update("a", (record) => ({ ...record, n: record.n + 1 })));
    await step(storage.update("a", () => undefined));
    await step(storage.add({ id: "b" }));
    await step(storage.all());
    await step(storage.update("b", (record) => [{ ...record, n: 1 }, { id: "c" }, { id: "a", n: 3 }]));
    await step(storage.all());
    return steps.map(([value, count], i) => [value, count - (steps[i - 1]?.[1] ?? 0)]);
  });
  assert.deepEqual(got, [
    [[], 1],
    ["nothing", 1],
    ["nothing", 1],
    [{ id: "a", n: 1 }, 1],
    [{ id: "a", n: 2 }, 1],
    [{ id: "a", n: 2 }, 1],
    ["nothing", 1],
    [[{ id: "a", n: 2 }, { id: "b" }], 1],
    [{ id: "b", n: 1 }, 1],
    [[{ id: "a", n: 3 }, { id: "b", n: 1 }, { id: "c" }], 1],
  ]);
});

test("an id is added once; a change of null removes; what is not there is not changed; a change that throws leaves all as it is", async () => {
  const got = await tabs[0].evaluate(async () => {
    const failed = (promise) => promise.then(() => false, () => true);
    let called = 0;
    await storage.add({ id: "a", n: 1 });
    return {
      twice: await failed(storage.add({ id: "a", n: 2 })),
      still: await storage.get("a"),
      threw: await failed(storage.update("a", () => { throw new Error("no"); })),
      unclonable: await failed(storage.update("a", (record) => ({ ...record, f() {} }))),
      after: await storage.get("a"),
      removed: (await storage.update("a", () => null)) ?? "nothing",
      gone: [(await storage.update("a", () => called++)) ?? "nothing", called, await storage.all()],
    };
  });
  const one = { id: "a", n: 1 };
  assert.deepEqual(got, { twice: true, still: one, threw: true, unclonable: true, after: one, removed: "nothing", gone: ["nothing", 0, []] });
});

test("a change that brings further records is there with all of them or not at all", async () => {
  const got = await tabs[0].evaluate(async () => {
    const failed = (promise) => promise.then(() => false, () => true);
    const change = (...others) => failed(storage.update("a", ({ id, n }) => [{ id, n: n + 1 }, ...others]));
    await storage.add({ id: "a", n: 1 });
    const refused = [await change({ id: "b" }, { id: "c", f() {} }), await change({ id: "b" }, { n: 1 })];
    const { commit } = IDBTransaction.prototype;
    IDBTransaction.prototype.commit = function () {
      this.abort();
    };
    refused.push(await change({ id: "b" }));
    IDBTransaction.prototype.commit = commit;
    return [refused, await storage.all(), await change({ id: "b" }), await storage.all()];
  });
  assert.deepEqual(got, [[true, true, true], [{ id: "a", n: 1 }], false, [{ id: "a", n: 2 }, { id: "b" }]]);
});

test("a tab that dies in the middle of such a change leaves none of it, one that dies after it all, and any other time no half", async () => {
  await tabs[0].evaluate(async () => {
    await storage.add({ id: "a", n: 0 });
    await storage.update("a", (record) => [{ ...record, n: 1 }, { id: "b1" }]);
    // Written, and not committed: the transaction goes on as long as the tab lives.
    const { put } = IDBObjectStore.prototype;
    IDBTransaction.prototype.commit = () => {};
    const written = new Promise((resolve) => {
      IDBObjectStore.prototype.put = function (record) {
        const request = put.call(this, record);
        const goOn = () => (this.count().onsuccess = goOn);
        if (record.id === "b2") request.onsuccess = () => (resolve(), goOn());
        return request;
      };
    });
    await Promise.race([written, storage.update("a", (record) => [{ ...record, n: 2 }, { id: "b2" }])]);
  });
  await tabs[0].close();
  assert.deepEqual(await tabs[1].evaluate(() => storage.all()), [{ id: "a", n: 1 }, { id: "b1" }]);

  const writer = await openTab(profile, server);
  await connect(writer);
  await writer.evaluate(async () => {
    const change = () => storage.update("a", ({ id, n }) => [{ id, n: n + 1 }, { id: `b${n + 1}` }]);
    const goOn = () => change().then(goOn, () => {});
    await change();
    for (let i = 0; i < 4; i++) goOn();
  });
  await tabs[1].waitForFunction(async () => (await storage.get("a")).n > 10); // it is at it
  await writer.close();
  const records = await tabs[1].evaluate(() => storage.all());
  const { n } = records.find(({ id }) => id === "a");
  assert.deepEqual(records.map(({ id }) => id).sort(), ["a", ...Array.from({ length: n }, (_, i) => `b${i + 1}`)].sort());
});

test("two tabs that change one record at once lose no change, and see none twice", async () => {
  await tabs[0].evaluate(() => storage.add({ id: "a", n: 0 }));
  const seen = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(async () => {
        const changes = Array.from({ length: 40 }, () => storage.update("a", ({ id, n }) => ({ id, n: n + 1 })));
        return (await Promise.all(changes)).map(({ n }) => n);
      }),
    ),
  );
  assert.deepEqual(seen.flat().sort((a, b) => a - b), Array.from({ length: 80 }, (_, i) => i + 1));
  assert.equal((await tabs[1].evaluate(() => storage.get("a"))).n, 80);
});

test("of two tabs that add one id at once, one does", async () => {
  const added = await Promise.all(tabs.map((tab, i) => tab.evaluate((i) => storage.add({ id: "a", i }).then(() => true, () => false), i)));
  assert.deepEqual([...added].sort(), [false, true]);
  assert.equal((await tabs[0].evaluate(() => storage.get("a"))).i, added.indexOf(true));
});

test("what a tab wrote is there for the others, and when it is gone; a CryptoKey comes back as what it was", async () => {
  const publicKey = await tabs[0].evaluate(async () => {
    const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    await storage.add({ id: "a", privateKey });
    await storage.update("a", (record) => ({ ...record, n: 1 }));
    return [...new Uint8Array(await crypto.subtle.exportKey("raw", publicKey))];
  });
  await tabs[0].close();
  const got = await tabs[1].evaluate(async (point) => {
    const { n, privateKey } = await storage.get("a");
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const message = new TextEncoder().encode("message");
    const signature = await crypto.subtle.sign(algorithm, privateKey, message);
    const publicKey = await crypto.subtle.importKey("raw", new Uint8Array(point), algorithm, false, ["verify"]);
    return [n, privateKey.extractable, await crypto.subtle.verify(algorithm, publicKey, signature, message)];
  }, publicKey);
  assert.deepEqual(got, [1, false, true]);
});

test("two tabs that make a wrapping key at once have the same one, and so has a later visit", async () => {
  assert.equal(await tabs[0].evaluate(async () => (await storage.wrappingKey()) ?? "none"), "none");
  const wrapped = await Promise.all(
    tabs.map((tab) =>
      tab.evaluate(async () => {
        const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
        const key = await storage.wrappingKey(made);
        return [...new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv: new Uint8Array(12) }, key, new Uint8Array(4)))];
      }),
    ),
  );
  assert.deepEqual(wrapped[0], wrapped[1]);
  await tabs[0].reload();
  await loaded(tabs[0]);
  await connect(tabs[0]);
  const opened = await tabs[0].evaluate(async (bytes) => {
    const key = await storage.wrappingKey();
    return [...new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv: new Uint8Array(12) }, key, new Uint8Array(bytes)))];
  }, wrapped[0]);
  assert.deepEqual(opened, [0, 0, 0, 0]);
});

test("a database that is deleted, or of a later version, does not wait for us; the next use connects anew, or is refused", async () => {
  const got = await tabs[0].evaluate(async () => {
    const failed = (promise) => promise.then(() => false, () => true);
    await storage.add({ id: "a" });
    await settled(indexedDB.deleteDatabase("contract"));
    const empty = await storage.all();
    await storage.add({ id: "b" });
    const later = await settled(indexedDB.open("contract", 4));
    const refused = await failed(storage.get("b"));
    const left = await settled(later.transaction("keys").objectStore("keys").count());
    return [empty, refused, left];
  });
  assert.deepEqual(got, [[], true, 1]);
});

test("a database of each earlier version is emptied, and takes records again", async () => {
  const got = await tabs[0].evaluate(async () => {
    const { IndexedDB } = await import("/src/keys/storage.js");
    const got = [];
    for (const [version, names] of [[1, ["keys", "tombstones"]], [2, ["keys", "wrapping"]]]) {
      const request = indexedDB.open(`version ${version}`, version);
      request.onupgradeneeded = () => {
        for (const name of names) request.result.createObjectStore(name, name === "wrapping" ? {} : { keyPath: "id" }).put({ id: "old" }, ...(name === "wrapping" ? [0] : []));
      };
      (await settled(request)).close();
      const storage = new IndexedDB(`version ${version}`);
      const before = [await storage.all(), (await storage.wrappingKey()) ?? "none"];
      await storage.add({ id: "new" });
      got.push([...before, await storage.all(), (await settled(indexedDB.open(`version ${version}`))).version]);
    }
    return got;
  });
  assert.deepEqual(got, Array(2).fill([[], "none", [{ id: "new" }], 3]));
});

test("an earlier shape that another tab keeps open holds nobody up for ever", async () => {
  await tabs[1].evaluate(async () => {
    const request = indexedDB.open("contract", 1);
    request.onupgradeneeded = () => {
      for (const name of ["keys", "tombstones"]) request.result.createObjectStore(name, { keyPath: "id" }).add({ id: name });
    };
    globalThis.old = await settled(request);
  });
  const refused = await tabs[0].evaluate(async () => {
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (what, ms) => setTimeout(what, ms === 5000 ? 0 : ms); // the time that storage has to answer
    const refused = await storage.all().then(() => false, () => true);
    globalThis.setTimeout = setTimeout;
    return refused;
  });
  assert.equal(refused, true);
  await tabs[1].evaluate(() => old.close());
  const got = await tabs[0].evaluate(async () => {
    let all;
    do {
      await new Promise((resolve) => setTimeout(resolve)); // when exactly it is answered, nobody says
      all = await storage.all().catch(() => undefined);
    } while (!all);
    const database = await settled(indexedDB.open("contract"));
    return [all, database.version, [...database.objectStoreNames]];
  });
  assert.deepEqual(got, [[], 3, ["keys", "wrapping"]]);
});

test("closed, it opens nothing any more", async () => {
  const got = await tabs[0].evaluate(async () => {
    const failed = (promise) => promise.then(() => false, () => true);
    await storage.all();
    storage.close();
    await settled(indexedDB.deleteDatabase("contract")); // which waits for every connection
    const { IndexedDB } = await import("/src/keys/storage.js");
    const early = new IndexedDB("contract");
    const opening = failed(early.all());
    early.close();
    await opening;
    return [await failed(storage.all()), (await settled(indexedDB.deleteDatabase("contract"))) ?? "deleted"];
  });
  assert.deepEqual(got, [true, "deleted"]);
});
