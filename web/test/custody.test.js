// What a script on the page can get hold of, and what rests in the browser. What
// becomes of keys otherwise: keys.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge, revocation } from "./bridge.js";
import { engine, loaded, open, workersEnded } from "./browser.js";
import { sendWorker, serve } from "./server.js";
import { curves, hex, parseHeader, unhex, verifies } from "./verify.js";

const scalar = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c";

/** In the worker, before ours: counts in the module's memory how often these bytes are there. */
const exposed = `
  const { instantiate } = WebAssembly;
  let memory;
  WebAssembly.instantiate = async (...args) => {
    const made = await instantiate(...args);
    memory = made.exports?.mem; // of a module that was compiled before
    return made;
  };
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

/** In the worker, before ours: says which keys the module holds, and how many it ever held at once. */
const counted = `
  const ids = new Set();
  let [module, most] = [undefined, 0];
  Object.defineProperty(globalThis, "gridsigner", {
    get: () => module,
    set(surface) {
      module = surface;
      if (!surface) return;
      const { createKey, importKey, removeKey } = surface;
      const hold = (key) => (ids.add(key.id), (most = Math.max(most, ids.size)), key);
      surface.createKey = async (...args) => hold(await createKey(...args));
      surface.importKey = async (...args) => hold(await importKey(...args));
      surface.removeKey = (id) => (ids.delete(id), removeKey(id));
    },
  });
  answers.held = () => {
    const seen = [ids.size, most];
    most = ids.size;
    return seen;
  };
`;

let bridge, server, page;
before(async () => {
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/exposed.js": (_, response) => sendWorker(response, { before: exposed }),
    "/counted.js": (_, response) => sendWorker(response, { before: counted }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  page = await open(server);
});
afterEach(() => page.close());

/** Makes a signer and a P-256 and a secp256k1 key of the known scalar, on the page's global scope. */
const importBoth = (options = {}) =>
  page.evaluate(
    async (bytes, options, publicKey) => {
      await start(options);
      globalThis.keys = [];
      for (const curve of ["P-256", "secp256k1"]) {
        const given = curve === "P-256" ? publicKey : undefined; // which Firefox does not find
        keys.push(await signer.importKey({ curve, privateKey: new Uint8Array(bytes), publicKey: given }));
        await signer.signChallenge(challenge(), { key: keys.at(-1) });
      }
      return keys;
    },
    [...unhex(scalar)],
    options,
    hex(curves["P-256"].getPublicKey(unhex(scalar), false)),
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
        found.push(...[value, ...Object.values(value.secret ?? {})].filter((value) => value instanceof CryptoKey));
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
      const custody = { bridgeUrl: `${location.origin}/api/grid`, persistence: "indexeddb", payloads: "all" };
      const start = { wasmUrl: `${location.origin}/signer.wasm`, progress: false, custody };
      worker.postMessage({ type: "call", id: 0, method: "start", args: [start], progress: true });
      answers[method] = await new Promise((resolve) => {
        worker.onmessage = ({ data }) => {
          if (data.event?.type === "ready") worker.postMessage({ type: "call", id: 1, method, args: [id], progress: false });
          else if (data.type !== "event") resolve(data.error?.code);
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
      const [{ secret: { iv, ciphertext } }, key] = await Promise.all([settled(tx.objectStore("keys").get(id)), settled(tx.objectStore("wrapping").get(0))]);
      const additionalData = new TextEncoder().encode(`gridsigner/key/2|secp256k1|${publicKey}`);
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

test("a stored secp256k1 key is in the module while it signs, and one in memory until it ends", async () => {
  for (const [persistence, idle] of [["indexeddb", 0], ["memory", 1]]) {
    const got = await page.evaluate(
      async (persistence, session) => {
        await signIn(session, { curve: "secp256k1", persistence, workerUrl: "/counted.js" });
        const held = [await askWorker("held")];
        const tries = [
          () => sign(),
          () => outcome(signer.signChallenge(challenge("no payload"), { key })),
          () => outcome(signer.signChallenge(challenge(), { key, intent: "send-payment" })),
          () => signer.signOut(key),
        ];
        for (const attempt of tries) {
          await attempt();
          held.push(await askWorker("held"));
        }
        signer.close();
        return held;
      },
      persistence,
      bridge.signIn(),
    );
    assert.deepEqual(got, [[idle, 1], [idle, 1], [idle, 1], [idle, 1], [0, 1]], persistence);
  }
});

test("keys survive a reload, sign again, and say what protects them", async () => {
  const before = await importBoth();
  assert.deepEqual(before.map(({ protection, persistence }) => [protection, persistence]), [
    ["non-extractable", "indexeddb"],
    ["encrypted-at-rest", "indexeddb"],
  ]);
  await page.reload();
  await loaded(page);
  const { keys, signed } = await page.evaluate(async (payload) => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    const keys = await signer.keys();
    const signed = await Promise.all(keys.map((key) => signer.signChallenge(challenge(payload), { key })));
    return { keys, signed };
  }, revocation());
  assert.deepEqual(keys, before);
  for (const [i, { signature }] of signed.entries()) {
    const { curve, publicKey, der } = parseHeader(signature, "stamp");
    assert.deepEqual([curve, publicKey], [keys[i].curve, keys[i].publicKey]);
    assert.ok(verifies(curve, publicKey, der, revocation()), curve);
  }
});
