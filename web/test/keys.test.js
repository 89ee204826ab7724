// Keys as an app has them: taken over, held to what they are for, set apart by
// namespace; and what becomes of one that the browser lets go of, or holds up.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge, revocation } from "./bridge.js";
import { engine, loaded, open } from "./browser.js";
import { makeGrid, mnemonic, organizationId } from "./grid.js";
import { makeRelay } from "./relay.js";
import { sendWorker, serve } from "./server.js";
import { curves, hex, parseHeader, unhex, verifies } from "./verify.js";

const scalar = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c";
const point = (curve, bytes = scalar) => hex(curves[curve].getPublicKey(unhex(bytes), false));

/** Firefox does not find the public half of a P-256 key by itself. */
const findsPoints = engine !== "firefox";

/** In the worker, before ours: while the test says so, the five seconds that storage has to answer are over at once. */
const hurried = `
  let over = new URLSearchParams(location.search).has("now");
  const later = globalThis.setTimeout;
  globalThis.setTimeout = (what, ms, ...rest) => later(what, over && ms === 5000 ? 0 : ms, ...rest);
  answers.hurry = (on) => void (over = on);
`;

/** `relay`: a bridge with all of Grid behind it, in the tests that want one. */
let bridge, relay, server, page;
before(async () => {
  server = serve({
    "/api/grid/": (...exchange) => (relay ?? bridge).handler(...exchange),
    "/hurried.js": (_, response) => sendWorker(response, { before: hurried }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  relay = undefined;
  page = await open(server);
  await page.evaluate(() => {
    globalThis.makeBoth = async () => {
      await start();
      globalThis.keys = [await signer.createKey(), await signer.createKey({ curve: "secp256k1" })];
    };
  });
});
afterEach(() => page.close());

/** Imports a private key; with what it came to, whether the caller's bytes are zeroed. */
const importKey = (options, bytes = scalar) =>
  page.evaluate(
    async (options, bytes) => {
      globalThis.signer ??= await createSigner({ bridgeUrl: "/api/grid" });
      const privateKey = new Uint8Array(bytes);
      const got = await outcome(signer.importKey({ ...options, privateKey }));
      return { ...got, zeroed: privateKey.every((byte) => byte === 0) };
    },
    options,
    [...unhex(bytes)],
  );

test("a key is held to the organization of which Grid has accepted a signature, in every tab; a poisoned challenge does it no harm", async () => {
  const [own, other] = [bridge.signIn(), bridge.signIn()];
  const sign = (organization) =>
    page.evaluate(async (payload) => {
      const signed = [];
      for (const tab of tabs) {
        const { code, value } = await outcome(tab.signChallenge(challenge(payload), { key }));
        signed.push(code ?? value.format);
      }
      return signed.join(" ");
    }, revocation(organization));
  const revoke = () => page.evaluate((id) => outcome(signer.revokeSession(id, { key })), other.id);

  await page.evaluate(async (session) => {
    await signIn(session, { curve: "secp256k1" });
    globalThis.tabs = [signer, await createSigner({ bridgeUrl: "/api/grid" })]; // each has a worker, as of a tab
  }, own);
  bridge.payload = revocation("org_poisoned");
  bridge.refusals.set(other.id, [401, "UNAUTHORIZED"]); // and so is what is signed for it
  assert.equal(await sign("org_poisoned"), "stamp stamp");
  assert.equal((await revoke()).code, "UPSTREAM_REFUSED");
  bridge.refusals.clear();
  bridge.payload = revocation("org_sim");
  assert.equal((await revoke()).value?.status, "revoked");
  assert.equal(await sign("org_poisoned"), "ORGANIZATION_MISMATCH ORGANIZATION_MISMATCH");
  assert.equal(await sign("org_sim"), "stamp stamp");
  await page.reload();
  await loaded(page);
  await page.evaluate(async () => {
    await start();
    [globalThis.key] = await signer.keys();
    globalThis.tabs = [signer];
  });
  assert.deepEqual([await sign("org_poisoned"), await sign("org_sim")], ["ORGANIZATION_MISMATCH", "stamp"]);
});

test("a P-256 key is imported as the engine can: its public half is found, or must be given", async () => {
  const alone = await importKey({ curve: "P-256" });
  if (findsPoints) assert.equal(alone.value?.publicKey, hex(curves["P-256"].getPublicKey(unhex(scalar))));
  else assert.equal(alone.code, "ARGUMENT_INVALID");
  assert.ok(alone.zeroed);
  for (const publicKey of [point("P-256"), point("P-256").toUpperCase()]) {
    const given = await importKey({ curve: "P-256", publicKey });
    assert.deepEqual([given.value?.publicKey, given.zeroed], [hex(curves["P-256"].getPublicKey(unhex(scalar))), true]);
  }
});

test("what is no private key, or not the one of its public half, is KEY_MALFORMED, and its bytes are zeroed", async () => {
  const own = point("P-256");
  const { n, p } = curves["P-256"].Point.CURVE();
  const refused = {
    "another's": [{ publicKey: point("P-256", "01".padStart(64, "0")) }],
    "its negative": [{ publicKey: own.slice(0, 66) + (p - BigInt(`0x${own.slice(66)}`)).toString(16).padStart(64, "0") }],
    "a point of no curve": [{ publicKey: `04${"1".repeat(128)}` }],
    compressed: [{ publicKey: hex(curves["P-256"].getPublicKey(unhex(scalar))) }],
    "no hex": [{ publicKey: `04${"x".repeat(128)}` }],
    "31 bytes": [{ publicKey: own }, scalar.slice(2)],
    "33 bytes": [{ publicKey: own }, `00${scalar}`],
    nought: [{ publicKey: own }, "00".repeat(32)],
    "the order": [{ publicKey: own }, n.toString(16)],
    "31 bytes of secp256k1": [{ curve: "secp256k1" }, scalar.slice(2)],
    "nought of secp256k1": [{ curve: "secp256k1" }, "00".repeat(32)],
    "the order of secp256k1": [{ curve: "secp256k1" }, curves.secp256k1.Point.CURVE().n.toString(16)],
  };
  for (const [name, [options, bytes]] of Object.entries(refused)) {
    const { code, zeroed } = await importKey({ curve: "P-256", ...options }, bytes);
    assert.deepEqual([name, code, zeroed], [name, "KEY_MALFORMED", true]);
  }
  const { code, zeroed } = await importKey({ curve: "secp256k1", publicKey: point("secp256k1") });
  assert.deepEqual([code, zeroed], ["ARGUMENT_INVALID", true], "a public half is given of P-256 alone");
  assert.deepEqual(await page.evaluate(() => signer.keys()), []);
});

test("a key that is bound signs nobody in, and one that is not only itself", async () => {
  const got = await page.evaluate(async (session) => {
    await start();
    globalThis.key = await signer.createKey();
    const encode = (value) => btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const token = (claims) => challenge(`${encode({ alg: "ES256" })}.${encode({ sub: "x", ...claims })}.c2ln`);
    const signIn = async (claims) => {
      const { code, value } = await outcome(signer.signChallenge(token(claims), { key, intent: "sign-in" }));
      return code ?? value.format;
    };
    const claims = [{}, { public_key: key.publicKey }, { public_key: `02${"11".repeat(32)}` }];
    const before = [];
    for (const claim of claims) before.push(await signIn(claim));
    await signer.bindSession(key, session);
    const after = [];
    for (const claim of claims) after.push(await signIn(claim));
    return { before, after, signs: await sign() };
  }, bridge.signIn());
  assert.deepEqual(got, { before: ["stamp", "stamp", "INTENT_MISMATCH"], after: Array(3).fill("INTENT_MISMATCH"), signs: "der" });
});

for (const [what, change] of [
  ["its ciphertext is changed", { ciphertext: new Array(48).fill(1) }],
  ["its ciphertext is cut off", { ciphertext: [] }],
  ["its public key is another", { publicKey: `02${"11".repeat(32)}` }],
]) {
  test(`a stored secp256k1 key is KEY_LOST, not a crash, where ${what}`, async () => {
    const got = await page.evaluate(async (change) => {
      await makeBoth();
      signer.close();
      const store = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite").objectStore("keys");
      const key = (await settled(store.getAll())).find(({ curve }) => curve === "secp256k1");
      await settled(store.delete(key.id));
      const { ciphertext, ...rest } = change;
      Object.assign(key, rest, ciphertext && { secret: { ...key.secret, ciphertext: new Uint8Array(ciphertext).buffer } });
      await settled(store.put(key));
      const next = await createSigner({ bridgeUrl: "/api/grid" });
      const codes = [];
      for (let i = 0; i < 2; i++) codes.push((await outcome(next.signChallenge(challenge(), { key: key.id }))).code);
      return { codes, left: (await next.keys()).map(({ curve }) => curve) };
    }, change);
    assert.deepEqual(got, { codes: ["KEY_LOST", "KEY_LOST"], left: ["P-256"] });
  });
}

test("a key that the browser has dropped is KEY_LOST, and one that never was is KEY_NOT_FOUND", async () => {
  const codes = await page.evaluate(async () => {
    await makeBoth();
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    await settled(tx.objectStore("keys").clear()); // what clearing site data does to an open page
    const ids = [...keys.map(({ id }) => id), "f".repeat(32)];
    return Promise.all(ids.map(async (key) => (await outcome(signer.signChallenge(challenge(), { key }))).code));
  });
  assert.deepEqual(codes, ["KEY_LOST", "KEY_LOST", "KEY_NOT_FOUND"]);
});

test("two namespaces do not see each other's keys", async () => {
  const got = await page.evaluate(async () => {
    const signers = await Promise.all([undefined, "one", "two"].map((namespace) => createSigner({ bridgeUrl: "/api/grid", namespace })));
    const keys = [];
    for (const signer of signers) keys.push(await signer.createKey({ curve: "secp256k1" }));
    const seen = [];
    for (const [i, signer] of signers.entries()) {
      globalThis.signer = signer;
      const listed = (await signer.keys()).map(({ id }) => keys.findIndex((key) => key.id === id));
      seen.push([listed, await Promise.all(keys.map((key) => sign(key))), await signer.removeKey(keys[(i + 1) % 3])]);
    }
    return { seen, names: (await indexedDB.databases()).map(({ name, version }) => `${name} ${version}`).sort() };
  });
  const no = "KEY_NOT_FOUND";
  assert.deepEqual(got.seen, [
    [[0], ["der", no, no], false],
    [[1], [no, "der", no], false],
    [[2], [no, no, "der"], false],
  ]);
  assert.deepEqual(got.names, ["gridsigner 3", "gridsigner/one 3", "gridsigner/two 3"]);
});

test("a database that opens late is used from then on", async () => {
  const got = await page.evaluate(async () => {
    // What another script of the origin can do: a deletion that waits for a connection of its own.
    const connection = await settled(indexedDB.open("gridsigner", 3));
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

test("a transaction that never ends holds up one call, and no key: STORAGE_FAILED until it is over, and a new key is in memory", async () => {
  const got = await page.evaluate(async () => {
    await start({ workerUrl: "/hurried.js" });
    const stored = await signer.createKey();
    const tx = (await settled(indexedDB.open("gridsigner"))).transaction("keys", "readwrite");
    let released = false;
    const hold = () => released || (tx.objectStore("keys").count().onsuccess = hold);
    hold();
    const over = new Promise((resolve) => (tx.oncomplete = resolve));
    await askWorker("hurry", true);
    const refused = await outcome(signer.signChallenge(challenge(), { key: stored }));
    const made = await signer.createKey();
    const listed = (await signer.keys()).map(({ id }) => id);
    const during = [refused.code, refused.retryable, made.persistence, await sign(made), listed.includes(made.id)];
    await askWorker("hurry", false);
    released = true;
    await over;
    let signs;
    do signs = await sign(stored); // when exactly the worker's own transaction hears that it may end, nobody says
    while (signs === "STORAGE_FAILED");
    return { during, after: [signs, await sign(made), (await signer.createKey()).persistence, (await signer.keys()).length] };
  });
  assert.deepEqual(got.during, ["STORAGE_FAILED", true, "memory", "der", true]);
  assert.deepEqual(got.after, ["der", "der", "indexeddb", 3]);
});

test("a database that is deleted takes its keys along, and the next key is stored again", async () => {
  const got = await page.evaluate(async (session) => {
    await signIn(session);
    await sign();
    await settled(indexedDB.deleteDatabase("gridsigner"));
    return [await sign(), told(), (await signer.createKey()).persistence, (await signer.keys()).length];
  }, bridge.signIn());
  assert.deepEqual(got, ["KEY_LOST", ["started", "lost"], "indexeddb", 1]);
});

/** A signer that trusts the enclave of a Grid, which is behind the bridge from now on. */
async function startWithGrid() {
  const grid = makeGrid();
  relay = makeRelay(async ({ body, ...request }) => grid.answer({ ...request, body: body || undefined }));
  await page.evaluate((signers) => start({ otpSigners: signers, exportSigners: signers }), [grid.enclave.publicKey]);
  return grid;
}

const live = ({ sessions }) => [...sessions.values()].map(({ id, publicKey }) => [id, publicKey]);

for (const curve of ["P-256", "secp256k1"]) {
  test(`a code is sealed, a session begins, and a wallet is opened: ${curve}`, async () => {
    const grid = await startWithGrid();
    const way = grid.addCredential("EMAIL_OTP");
    await page.evaluate(async (id) => (globalThis.otp = await signer.startOtp(id)), way.id);
    const key = await page.evaluate(async (code, curve) => (globalThis.key = await otp.submit(code, { curve })), grid.codeOf(way.id), curve);
    assert.deepEqual(live(grid), [[key.session.id, key.publicKey]]);
    assert.ok(relay.asked.every(({ body }) => !body.includes(key.publicKey)), "sealed");
    assert.equal(await page.evaluate((account) => signer.exportWallet(account, { key }), way.accountId), mnemonic);
    assert.equal((await page.evaluate(() => signer.signOut(key))).status, "revoked");
    assert.deepEqual(live(grid), []);
  });
}

/** The others do not find the public half of a private one, or read no compressed one. */
const takesSealed = engine === "chromium";

test(takesSealed ? "a key that Grid has sealed is taken in, and signs after a reload" : "a browser that could not take in a sealed key makes no key for it", async () => {
  const grid = await startWithGrid();
  const way = grid.addCredential("OAUTH");
  const made = await page.evaluate(() => outcome(signer.createKey({ sealed: true })));
  if (!takesSealed) {
    assert.deepEqual([made.code, made.retryable], ["SEALED_KEY_UNSUPPORTED", false]);
    return assert.deepEqual(await page.evaluate(async () => [await signer.keys(), await stored()]), [[], []]);
  }
  const { id, publicKey } = made.value;
  assert.match(publicKey, /^04[0-9a-f]{128}$/);
  const token = grid.token(publicKey);
  assert.equal(JSON.parse(Buffer.from(token.split(".")[1], "base64url")).nonce, await page.evaluate((id) => signer.oauthNonce(id), id));
  await page.reload(); // as from the provider of the token
  await loaded(page);
  const key = await page.evaluate(async (credentialId, oidcToken, key) => (await start(), signer.signIn({ credentialId, oidcToken, key })), way.id, token, id);
  assert.equal(key.id, id);
  assert.deepEqual(live(grid), [[key.session.id, key.publicKey]]);
  await page.reload();
  await loaded(page);
  const payload = revocation(organizationId);
  const { signature } = await page.evaluate(async (id, payload) => (await start(), signer.signChallenge(challenge(payload), { key: id })), id, payload);
  const stamp = parseHeader(signature, "stamp");
  assert.deepEqual([stamp.publicKey, verifies("P-256", key.publicKey, stamp.der, payload)], [key.publicKey, true]);
  assert.equal(await page.evaluate(async () => (await stored()).some(({ secret }) => secret?.handle?.extractable)), false);
  assert.equal((await page.evaluate((id) => signer.signOut(id), id)).status, "revoked");
  assert.deepEqual(live(grid), []);
});
