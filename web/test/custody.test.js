// What a script on the page can get hold of, what rests in the browser, and
// what becomes of a key that the browser lets go of, or holds up.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { engine, loaded, open, workersEnded } from "./browser.js";
import { sendWorker, serve } from "./server.js";
import { parseHeader, unhex, verifies } from "./verify.js";

const scalar = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c";

/** In the worker, before ours: counts in the module's memory how often these bytes are there. */
const exposed = `
  const { instantiate, instantiateStreaming } = WebAssembly;
  let memory;
  const expose = async (made) => ((memory = (await made).instance.exports.mem), made);
  WebAssembly.instantiate = (...args) => expose(instantiate(...args));
  WebAssembly.instantiateStreaming = (...args) => expose(instantiateStreaming(...args));
  answers.occurrences = (wanted) => {
    const bytes = new Uint8Array(memory.buffer);
    let count = 0;
    for (let i = bytes.indexOf(wanted[0]); i >= 0; i = bytes.indexOf(wanted[0], i + 1)) {
      if (wanted.every((byte, j) => bytes[i + j] === byte)) count++;
      if (wanted.every((byte, j) => bytes[i - j] === byte)) count++; // little-endian limbs
    }
    return count;
  };
`;

/** In the worker, before ours: while the test says so, the five seconds that storage has to answer are over at once. */
const hurried = `
  let over = new URLSearchParams(location.search).has("now");
  const later = globalThis.setTimeout;
  globalThis.setTimeout = (what, ms, ...rest) => later(what, over && ms === 5000 ? 0 : ms, ...rest);
  answers.hurry = (on) => void (over = on);
`;

const bridge = makeBridge();
let server, page;
before(async () => {
  server = serve({
    "/api/grid/": bridge.handler,
    "/exposed.js": (_, response) => sendWorker(response, { before: exposed }),
    "/hurried.js": (_, response) => sendWorker(response, { before: hurried }),
  });
});
after(() => server?.close());
beforeEach(async () => (page = await open(server)));
afterEach(() => page.close());

/** Makes a signer and a P-256 and a secp256k1 key of the known scalar, on the page's global scope. */
const importBoth = (options = {}) =>
  page.evaluate(
    async (bytes, options) => {
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", ...options });
      globalThis.keys = [];
      for (const curve of ["P-256", "secp256k1"]) {
        keys.push(await signer.importKey({ curve, privateKey: new Uint8Array(bytes) }));
        await signer.signChallenge(challenge(), { key: keys.at(-1) });
      }
      return keys;
    },
    [...unhex(scalar)],
    options,
  );

/** Every form in which text may hold the scalar. */
const encodings = () => {
  const bytes = Buffer.from(scalar, "hex");
  const backwards = Buffer.from(bytes).reverse();
  return [bytes, backwards].flatMap((bytes) => [
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    bytes.toString("latin1"),
    [...bytes].join(","),
    BigInt(`0x${bytes.toString("hex")}`).toString(),
  ]);
};

/** All that IndexedDB holds for the page, with each CryptoKey replaced by its description. */
const dump = () =>
  page.evaluate(async () => {
    const found = { keys: [], text: "", bytes: [] };
    const walk = (value) => {
      if (value instanceof CryptoKey) found.keys.push([value.type, value.algorithm.name, value.extractable]);
      else if (value instanceof ArrayBuffer) found.bytes.push([...new Uint8Array(value)]);
      else if (ArrayBuffer.isView(value)) found.bytes.push([...new Uint8Array(value.buffer)]);
      else if (typeof value === "object" && value !== null) Object.values(value).forEach(walk);
      else found.text += ` ${value}`;
    };
    for (const { name } of await indexedDB.databases()) {
      const database = await settled(indexedDB.open(name));
      for (const store of database.objectStoreNames) walk(await settled(database.transaction(store).objectStore(store).getAll()));
      database.close();
    }
    return found;
  });

test("no CryptoKey that script can reach gives its key away, in any format or as a clone", async () => {
  await importBoth();
  const got = await page.evaluate(async () => {
    const database = await settled(indexedDB.open("gridsigner"));
    const found = [];
    for (const store of ["keys", "wrapping"]) {
      for (const value of await settled(database.transaction(store).objectStore(store).getAll())) {
        found.push(...[value, ...Object.values(value)].filter((value) => value instanceof CryptoKey));
      }
    }
    const aes = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["wrapKey"]);
    const outcomes = [];
    for (const key of [...found, ...found.map((key) => structuredClone(key))]) {
      for (const format of ["raw", "pkcs8", "spki", "jwk"]) {
        const tries = [
          crypto.subtle.exportKey(format, key),
          crypto.subtle.wrapKey(format, key, aes, { name: "AES-GCM", iv: new Uint8Array(12) }),
        ];
        for (const result of await Promise.allSettled(tries)) outcomes.push(result.status);
      }
    }
    return { found: found.length, outcomes };
  });
  assert.equal(got.found, 2);
  assert.equal(got.outcomes.length, 32);
  assert.deepEqual([...new Set(got.outcomes)], ["rejected"]);
});

test("no export of ours, and nothing that hangs on one, is a key, bytes or memory", async () => {
  await importBoth();
  const found = await page.evaluate(async () => {
    const frame = document.createElement("iframe");
    document.body.append(frame);
    const usual = new Set(Object.getOwnPropertyNames(frame.contentWindow));
    frame.remove();
    const added = Object.getOwnPropertyNames(globalThis).filter((name) => !usual.has(name)).map((name) => globalThis[name]);
    const seen = new Set([signer, keys, await signer.keys(), createSigner, GridSignerError, ...added]);
    const platform = new Set([globalThis, Object.prototype, Function.prototype, Array.prototype, Error.prototype, Error]);
    const secret = [CryptoKey, ArrayBuffer, WebAssembly.Memory, WebAssembly.Instance, Worker, MessagePort];
    const bad = [];
    for (const value of seen) {
      if (Object(value) !== value || platform.has(value)) continue;
      if (ArrayBuffer.isView(value) || secret.some((type) => value instanceof type)) bad.push(String(value));
      seen.add(Object.getPrototypeOf(value));
      for (const { value: held, get, set } of Object.values(Object.getOwnPropertyDescriptors(value))) {
        for (const next of [held, get, set]) seen.add(next);
      }
    }
    return { bad, walked: seen.size };
  });
  assert.deepEqual(found.bad, []);
  assert.ok(found.walked > 30, `${found.walked} values walked`);
});

// Script on the page can start a worker of ours itself. It must get no more out of that than out of a signer.
test("a worker that page script drives itself gives out no key", async () => {
  const [, { id }] = await importBoth();
  const got = await page.evaluate(async (id) => {
    const answers = {};
    for (const method of ["lendKey", "__proto__"]) { // and others in unit/protocol.test.js
      const worker = new Worker("/worker.js", { type: "module", name: "gridsigner" });
      const custody = { bridgeUrl: `${location.origin}/api/grid`, persistence: "indexeddb" };
      worker.postMessage({ type: "start", wasmUrl: `${location.origin}/signer.wasm`, progress: false, custody });
      answers[method] = await new Promise((resolve) => {
        worker.onmessage = ({ data }) => {
          if (data.type === "ready") worker.postMessage({ type: "call", id: 1, method, args: [id], progress: false });
          else if (data.type !== "keys") resolve(data.error?.code);
        };
      });
      worker.terminate();
    }
    return answers;
  }, id);
  assert.deepEqual([...new Set(Object.values(got))], ["WORKER_FAILED"]);
});

// Chromium's inspector alone can search a heap. What JavaScript can reach is walked above, in every engine.
const inspector = { skip: engine !== "chromium" && "needs the inspector of Chromium" };
test("the page's heap holds no scalar, no CryptoKey and no memory of a module", inspector, async () => {
  await importBoth();
  const cdp = await page.createCDPSession();
  const chunks = [];
  cdp.on("HeapProfiler.addHeapSnapshotChunk", ({ chunk }) => chunks.push(chunk));
  await cdp.send("HeapProfiler.takeHeapSnapshot", { captureNumericValue: true });
  const snapshot = chunks.join("");
  assert.ok(snapshot.includes("createSigner"), "the snapshot is of this page");
  for (const text of encodings()) assert.ok(!snapshot.includes(text), text);

  const instances = async (prototype) => {
    const { result } = await cdp.send("Runtime.evaluate", { expression: `${prototype}.prototype` });
    const { objects } = await cdp.send("Runtime.queryObjects", { prototypeObjectId: result.objectId });
    return objects.objectId;
  };
  const count = async (objectId, body) => {
    const functionDeclaration = `function (hex) { ${body} }`;
    const { result } = await cdp.send("Runtime.callFunctionOn", { objectId, functionDeclaration, arguments: [{ value: scalar }], returnByValue: true });
    return result.value;
  };
  assert.equal(await count(await instances("WebAssembly.Memory"), "return this.length"), 0);
  assert.equal(await count(await instances("CryptoKey"), "return this.length"), 0);
  const holding = await count(
    await instances("ArrayBuffer"),
    `return this.filter((b) => Array.from(new Uint8Array(b), (byte) => byte.toString(16).padStart(2, "0")).join("").includes(hex)).length`,
  );
  assert.equal(holding, 0);
});

test("a dump of IndexedDB holds no scalar, in any encoding", async () => {
  await importBoth();
  const { keys, text, bytes } = await dump();
  assert.deepEqual(keys.sort(), [["private", "ECDSA", false], ["secret", "AES-GCM", false]]);
  assert.ok(text.includes("secp256k1"));
  for (const form of encodings()) {
    assert.ok(!text.includes(form), form);
    for (const content of bytes) assert.ok(!Buffer.from(content).toString("latin1").includes(form), form);
  }
});

// Not a promise of ours but the limit of one: types.ts states it, and so it has to be true.
test("script on the page can have the browser decrypt a stored secp256k1 key, and not one in memory", async () => {
  const [, { id, publicKey }] = await importBoth();
  const decrypted = await page.evaluate(
    async (id, publicKey) => {
      const tx = (await settled(indexedDB.open("gridsigner"))).transaction(["keys", "wrapping"]);
      const [{ iv, ciphertext }, key] = await Promise.all([settled(tx.objectStore("keys").get(id)), settled(tx.objectStore("wrapping").get(0))]);
      const additionalData = new TextEncoder().encode(`gridsigner/key/1|secp256k1|${publicKey}|${id}`);
      return [...new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, ciphertext))];
    },
    id,
    publicKey,
  );
  assert.equal(Buffer.from(decrypted).toString("hex"), scalar);

  await page.close();
  page = await open(server);
  await importBoth({ persistence: "memory" });
  assert.deepEqual((await dump()).bytes, []);
});

test("after removeKey and close no worker is left, and before that what can be reached is wiped", async () => {
  await importBoth({ workerUrl: "/exposed.js", persistence: "memory" });
  const occurrences = () => page.evaluate((wanted) => askWorker("occurrences", wanted), [...Buffer.from(scalar, "hex")]);
  const held = await occurrences();
  assert.ok(held > 0, "the search finds a key that is there");
  await page.evaluate(async () => {
    for (const key of keys) await signer.removeKey(key);
  });
  const left = await occurrences();
  assert.ok(left < held, `${left} copies left of ${held}`); // not none: Go and its stacks copy, see signer/doc.go
  await page.evaluate(() => signer.close());
  await workersEnded(page, 0);
});

test("keys survive a reload, sign again, and say what protects them", async () => {
  const before = await importBoth();
  assert.deepEqual(before.map(({ protection, persistence }) => [protection, persistence]), [
    ["non-extractable", "indexeddb"],
    ["encrypted-at-rest", "indexeddb"],
  ]);
  await page.reload();
  await loaded(page);
  const { keys, signed } = await page.evaluate(async () => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const keys = await signer.keys();
    const signed = await Promise.all(keys.map((key) => signer.signChallenge(challenge(), { key, format: "stamp" })));
    return { keys, signed };
  });
  assert.deepEqual(keys, before);
  for (const [i, { signature }] of signed.entries()) {
    const { curve, publicKey, der } = parseHeader(signature, "stamp");
    assert.deepEqual([curve, publicKey], [keys[i].curve, keys[i].publicKey]);
    assert.ok(verifies(curve, publicKey, der, "opaque"), curve);
  }
});

test("a stored key is held to the organization of its earlier life", async () => {
  const got = await page.evaluate(async () => {
    const payload = (organization) =>
      `{"organizationId":"${organization}","parameters":{"apiKeyIds":["key"],"userId":"user"},"timestampMs":"1","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`;
    const first = await createSigner({ bridgeUrl: "/api/grid" });
    const key = await first.createKey({ curve: "secp256k1" });
    await first.signChallenge(challenge(payload("org_a")), { key });
    first.close();
    const second = await createSigner({ bridgeUrl: "/api/grid" });
    const other = await outcome(second.signChallenge(challenge(payload("org_b")), { key }));
    return [other.code, (await second.signChallenge(challenge(payload("org_a")), { key })).format];
  });
  assert.deepEqual(got, ["ORGANIZATION_MISMATCH", "stamp"]);
});

for (const [curve, what, change] of [
  ["secp256k1", "its ciphertext is changed", { ciphertext: new Array(48).fill(1) }],
  ["secp256k1", "it is passed off as another", { id: "0".repeat(32) }],
  ["secp256k1", "its public key is another", { publicKey: `02${"11".repeat(32)}` }],
  ["P-256", "its public key is another", { publicKey: `02${"11".repeat(32)}` }],
]) {
  test(`a stored ${curve} key is KEY_LOST, not a crash, where ${what}`, async () => {
    await importBoth();
    const got = await page.evaluate(async (curve, change) => {
      signer.close();
      const store = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite").objectStore("keys");
      const key = (await settled(store.getAll())).find((key) => key.curve === curve);
      await settled(store.delete(key.id));
      Object.assign(key, change, change.ciphertext && { ciphertext: new Uint8Array(change.ciphertext).buffer });
      await settled(store.put(key));
      const next = await createSigner({ bridgeUrl: "/api/grid" });
      const codes = [];
      for (let i = 0; i < 2; i++) codes.push((await outcome(next.signChallenge(challenge(), { key: key.id }))).code);
      return { codes, left: (await next.keys()).map(({ curve }) => curve) };
    }, curve, change);
    assert.deepEqual(got, { codes: ["KEY_LOST", "KEY_LOST"], left: [curve === "P-256" ? "secp256k1" : "P-256"] });
  });
}

test("a key that the browser has dropped is KEY_LOST, and one that never was is KEY_NOT_FOUND", async () => {
  await importBoth();
  const codes = await page.evaluate(async () => {
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    await settled(tx.objectStore("keys").clear()); // what clearing site data does to an open page
    const ids = [...keys.map(({ id }) => id), "f".repeat(32)];
    return Promise.all(ids.map(async (key) => (await outcome(signer.signChallenge(challenge(), { key }))).code));
  });
  assert.deepEqual(codes, ["KEY_LOST", "KEY_LOST", "KEY_NOT_FOUND"]);
});

test("a database that opens late is used from then on", async () => {
  const got = await page.evaluate(async () => {
    // What another script of the origin can do: a deletion that waits for a connection of its own.
    const connection = await settled(indexedDB.open("gridsigner", 1));
    const deleted = settled(indexedDB.deleteDatabase("gridsigner"));
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/hurried.js?now" });
    const before = await signer.createKey();
    await askWorker("hurry", false);
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
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/hurried.js" });
    const first = await signer.createKey();
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    let released = false;
    const hold = () => released || (tx.objectStore("keys").count().onsuccess = hold);
    hold();
    const over = new Promise((resolve) => (tx.oncomplete = resolve));
    await askWorker("hurry", true);
    const second = await signer.createKey();
    await askWorker("hurry", false);
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
