// What the test signer has besides a signer's behaviours, which are in contract.test.js: what a test makes of its Grid, and what
// it finds around it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { afterEach, test } from "node:test";
import { GridSignerError } from "gridsigner";
import { createTestGrid, createTestSigner } from "gridsigner/testing";
import { parseHeader, verifies } from "../test/verify.js";

const idle = () => new Promise((resolve) => setImmediate(resolve));
const code = (promise) => promise.then(() => "resolved", (error) => (error instanceof GridSignerError ? error.code : error));
const unset = [];
afterEach(() => unset.splice(0).forEach((undo) => undo()));

/** Puts globals in the place of those that there are, for one test. */
function set(values, target = globalThis) {
  for (const [name, value] of Object.entries(values)) {
    const before = Object.getOwnPropertyDescriptor(target, name);
    unset.unshift(() => (before ? Object.defineProperty(target, name, before) : delete target[name]));
    Object.defineProperty(target, name, { value, configurable: true, writable: true });
  }
}

function listen(signer) {
  const told = [];
  signer.on("session", ({ type, reason }) => told.push(reason ?? type));
  return told;
}

test("signed in from the start, by any way, which is no news", async () => {
  for (const signedIn of [true, "OAUTH", "PASSKEY"]) {
    const signer = await createTestSigner({ signedIn });
    const told = listen(signer);
    const { session } = await signer.session();
    const [{ id, type }, ...more] = signer.grid.sessions;
    assert.deepEqual([session.id, type, more, told], [id, signedIn === true ? "EMAIL_OTP" : signedIn, [], []]);
  }
  assert.equal(await code(createTestSigner({ signedIn: "SMS_OTP" })), "ARGUMENT_INVALID");
});

test("ids and codes are the same in every run", async () => {
  const run = async () => {
    const signer = await createTestSigner({ signedIn: true });
    await signer.startOtp(signer.grid.credential("EMAIL_OTP").id);
    return [signer.grid.accountId, signer.grid.sessions[0].id, signer.grid.code()];
  };
  assert.deepEqual(await run(), await run());
});

test("a passkey signs in, and is added, without an authenticator", async () => {
  const signer = await createTestSigner();
  const key = await signer.signIn({ credentialId: signer.grid.credential("PASSKEY").id, passkey: {} });
  const attestation = { credentialId: "aWQ", clientDataJson: "e30", attestationObject: "b2JqZWN0", transports: ["internal"] };
  const added = await signer.addCredential({ type: "PASSKEY", nickname: "Key", challenge: "AAAA", attestation }, { key });
  assert.deepEqual([added.type, added.nickname, added.credentialId], ["PASSKEY", "Key", "aWQ"]);
  signer.grid.failNext("signIn", "PASSKEY_CANCELLED");
  assert.equal(await code(signer.signIn({ credentialId: added.id, passkey: {} })), "PASSKEY_CANCELLED");
  assert.equal((await signer.keys()).length, 1);
});

test("each call fails once, as it was told to, and as the real one would", async () => {
  const signer = await createTestSigner({ signedIn: "OAUTH" });
  const { grid } = signer;
  const key = await signer.session();
  const [email, oauth] = [grid.credential("EMAIL_OTP").id, grid.credential("OAUTH").id];
  const otp = await signer.startOtp(email);
  const challenge = { payloadToSign: "b3BhcXVl", requestId: key.id, expiresAt: key.session.expiresAt };
  const calls = {
    createKey: () => signer.createKey(),
    importKey: () => signer.importKey({ curve: "P-256", privateKey: new Uint8Array(32).fill(1) }),
    keys: () => signer.keys(),
    session: () => signer.session(),
    oauthNonce: () => signer.oauthNonce(key),
    startOtp: () => signer.startOtp(email),
    submit: () => otp.submit("112345"),
    signIn: async () => signer.signIn({ credentialId: oauth, oidcToken: grid.token(), key: await signer.createKey() }),
    bindSession: () => signer.bindSession(key, key.session),
    refreshSession: () => signer.refreshSession(key),
    signChallenge: () => signer.signChallenge(challenge, { key }),
    listSessions: () => signer.listSessions(grid.accountId),
    listCredentials: () => signer.listCredentials(grid.accountId),
    addCredential: () => signer.addCredential({ type: "SMS_OTP", phoneNumber: "+12025550123" }, { key }),
    removeCredential: () => signer.removeCredential(email, { key, type: "EMAIL_OTP" }),
    exportWallet: () => signer.exportWallet(grid.accountId, { key }),
    revokeSession: () => signer.revokeSession("Session:019542f5-b3e7-1d02-0000-0000000000ff", { key }),
    removeKey: () => signer.removeKey(key),
  };
  for (const [name, call] of Object.entries(calls)) {
    grid.failNext(name, "UPSTREAM_UNAVAILABLE", { status: 503, retryAfterMs: 1000 });
    const { code, status, retryable, retryAfterMs } = await call().catch((error) => error);
    assert.deepEqual([code, status, retryable, retryAfterMs], ["UPSTREAM_UNAVAILABLE", 503, name !== "signIn", 1000], name);
    assert.notEqual(await call().catch(({ code }) => code), "UPSTREAM_UNAVAILABLE", `${name}: once`);
  }
  const signOut = await createTestSigner({ signedIn: true });
  signOut.grid.failNext("signOut", "STORAGE_FAILED");
  assert.equal(await code(signOut.signOut(await signOut.session())), "STORAGE_FAILED");
  signOut.grid.failNext("signOut", "UPSTREAM_UNAVAILABLE");
  const told = listen(signOut);
  const { status, error } = await signOut.signOut(await signOut.session());
  assert.deepEqual([status, error.code, error instanceof GridSignerError], ["pending", "UPSTREAM_UNAVAILABLE", true]);
  await signOut.grid.advance(0);
  assert.deepEqual(told, ["leaving", "signed-out"]);
});

test("while Grid is held nothing is answered, and then all", async () => {
  const signer = await createTestSigner({ signedIn: true });
  const release = signer.grid.hold();
  let listed;
  void signer.listSessions(signer.grid.accountId).then((rows) => (listed = rows.length));
  assert.equal((await signer.keys()).length, 1, "what does not ask Grid does not wait");
  await idle();
  assert.equal(listed, undefined);
  const controller = new AbortController();
  const aborted = code(signer.exportWallet(signer.grid.accountId, { key: await signer.session(), signal: controller.signal }));
  controller.abort();
  assert.equal(await aborted, "ABORTED");
  release();
  await signer.listSessions(signer.grid.accountId);
  assert.equal(listed, 1);
});

test("a key that is signed out meanwhile signs nothing else", async () => {
  const signer = await createTestSigner({ signedIn: true });
  const key = await signer.session();
  const release = signer.grid.hold();
  const exported = code(signer.exportWallet(signer.grid.accountId, { key }));
  const out = signer.signOut(key);
  assert.deepEqual(await signer.keys(), []); // it has begun by now
  release();
  assert.deepEqual([await exported, (await out).status], ["KEY_LOST", "revoked"]);
});

test("a key that is removed while it signs in leaves no session", async () => {
  const signer = await createTestSigner();
  const { grid } = signer;
  const key = await signer.createKey();
  const oidcToken = grid.token({ nonce: await signer.oauthNonce(key) });
  const release = grid.hold();
  const pending = code(signer.signIn({ credentialId: grid.credential("OAUTH").id, oidcToken, key }));
  assert.equal((await signer.keys()).length, 1); // it has begun by now
  assert.equal(await signer.removeKey(key), true);
  release();
  assert.deepEqual([await pending, grid.sessions, await signer.keys()], ["KEY_LOST", [], []]);
});

test("time passes by hand: sessions end, or go on where they were to", async () => {
  const [now, minute] = [Date.parse("2026-01-01T00:00:00Z"), 60_000];
  const grid = createTestGrid({ now: () => now, sessionMs: 10 * minute });
  const [one, other] = [await createTestSigner({ grid, signedIn: true }), await createTestSigner({ grid, signedIn: "OAUTH", autoRefresh: true })];
  const [told, news] = [listen(one), listen(other)];
  const { id, session } = await other.session();
  await grid.advance(9 * minute);
  assert.deepEqual([told, news], [["expiring"], ["expiring", "refreshed"]]);
  await grid.advance(60 * minute);
  assert.deepEqual([told, await one.keys()], [["expiring", "expired"], []]);
  const after = await other.session();
  assert.deepEqual([after.id, after.session.id === session.id, after.session.expiresAt > "2026-01-01T01:09:00Z"], [id, false, true]);
  assert.deepEqual(grid.sessions.map(({ id }) => id), [after.session.id], "those of before have ended");
  assert.ok(!news.includes("expired"));
});

test("a clock of the test's own counts at the next call, and listeners hear of it in advance(0)", async () => {
  let now = 1_900_000_000_000;
  const grid = createTestGrid({ now: () => now });
  const [one, other] = [await createTestSigner({ grid, signedIn: true }), await createTestSigner({ grid, signedIn: true })];
  now += 900_000;
  assert.equal(await one.session(), undefined);
  const told = listen(other);
  await grid.advance(0);
  assert.deepEqual([told, grid.sessions], [["expired"], []]);
});

test("with a clock that stands still the last to sign in is the active one", async () => {
  const signer = await createTestSigner({ grid: createTestGrid({ now: () => 1_900_000_000_000 }) });
  const { grid } = signer;
  const made = await signer.createKey();
  await signer.signIn({ credentialId: grid.credential("PASSKEY").id, passkey: {} });
  await signer.signIn({ credentialId: grid.credential("OAUTH").id, oidcToken: grid.token({ nonce: await signer.oauthNonce(made), email: "adä@example.com" }), key: made });
  assert.equal((await signer.session()).id, made.id);
  const last = await signer.signIn({ credentialId: grid.credential("PASSKEY").id, passkey: {} });
  assert.equal((await signer.session()).id, last.id);
});

test("signatures of P-256 keys hold", async () => {
  const signer = await createTestSigner({ signedIn: true });
  const payloadToSign = '{"organizationId":"o","parameters":{"apiKeyIds":["a"],"userId":"u"},"timestampMs":"1","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}';
  for (let i = 0; i < 20; i++) { // an r or s with zeros before it has fewer bytes
    const key = await signer.createKey();
    const { signature } = await signer.signChallenge({ payloadToSign, requestId: key.id, expiresAt: "2100-01-01T00:00:00Z" }, { key });
    const stamp = parseHeader(signature, "stamp");
    assert.ok(verifies("P-256", key.publicKey, stamp.der, payloadToSign));
  }
});

test("without WebCrypto, as in some jsdom, keys are stand-ins, and all else is as it was", async () => {
  set({ subtle: undefined }, crypto);
  const signer = await createTestSigner();
  const { grid } = signer;
  const key = await signer.createKey();
  const nonce = await signer.oauthNonce(key);
  const signedIn = await signer.signIn({ credentialId: grid.credential("OAUTH").id, oidcToken: grid.token({ nonce }), key });
  assert.match(signedIn.publicKey, /^02[0-9a-f]{64}$/);
  assert.equal((await signer.refreshSession(key)).id, key.id);
  assert.equal((await signer.createKey({ sealed: true })).publicKey.length, 130);
  assert.equal(await code(signer.importKey({ curve: "P-256", privateKey: new Uint8Array(32) })), "KEY_MALFORMED");
  assert.equal((await signer.signOut(key)).status, "revoked");
});

test("what a listener throws is heard of, and changes nothing", async () => {
  const reported = [];
  set({ reportError: (error) => reported.push(error) });
  const signer = await createTestSigner({ signedIn: true });
  const throwing = (error) => signer.on("session", () => { throw error; });
  throwing("here");
  const told = listen(signer);
  await signer.signOut(await signer.session());
  assert.deepEqual([reported, told], [["here", "here"], ["leaving", "signed-out"]]);

  set({ reportError: undefined }); // as in Node, whose test runner would take it for a failure, as it should
  const runners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  const heard = [];
  process.on("unhandledRejection", (error) => heard.push(error));
  const other = await createTestSigner({ signedIn: true });
  other.on("session", () => { throw "there"; });
  await other.signOut(await other.session());
  await idle();
  assert.deepEqual(heard, ["there", "there"]);
  process.removeAllListeners("unhandledRejection");
  for (const runner of runners) process.on("unhandledRejection", runner);
});

test("on a page that others can reach it does not start, unless that is wanted", async () => {
  set({ Worker: class {} });
  for (const href of ["https://wallet.example/", "http://192.168.1.2/"]) {
    set({ location: new URL(href) });
    await assert.rejects(createTestSigner(), { name: "GridSignerError", code: "LOAD_FAILED", message: /use createSigner of gridsigner/ });
    await createTestSigner({ insecurePublicPage: true });
  }
  for (const href of ["http://localhost:3000/", "http://127.0.0.1/", "http://app.localhost/", "https://app.test/", "about:blank", "file:///index.html"]) {
    set({ location: new URL(href) });
    await createTestSigner();
  }
  delete globalThis.Worker;
  set({ location: new URL("https://wallet.example/") }); // as a test may tell jsdom
  await createTestSigner();
});

test("wrong options are refused by code", async () => {
  for (const options of [{ grid: {} }, { signedIn: 1 }, { bridgeUrl: "/api/grid" }, { payloads: "some" }, { autoRefresh: "yes" }]) {
    assert.equal(await code(createTestSigner(options)), "ARGUMENT_INVALID", JSON.stringify(options));
  }
  for (const options of [{ now: 1 }, { credentials: ["FAX"] }, { sessionMs: 0 }, { mnemonic: 1 }, { accountId: "" }]) {
    assert.throws(() => createTestGrid(options), { code: "ARGUMENT_INVALID" }, JSON.stringify(options));
  }
  const grid = createTestGrid({ credentials: [] });
  assert.throws(() => grid.code(), { code: "ARGUMENT_INVALID" });
  assert.throws(() => grid.credential("OAUTH"), { code: "ARGUMENT_INVALID" });
  assert.throws(() => grid.failNext("logOut", "TIMEOUT"), { code: "ARGUMENT_INVALID" });
  await assert.rejects(grid.advance(-1), { code: "ARGUMENT_INVALID" });
});

test("opaque text is not signed where only activities are", async () => {
  const signer = await createTestSigner({ payloads: "activities" });
  const key = await signer.createKey();
  const challenge = { payloadToSign: "b3BhcXVl", requestId: key.id, expiresAt: "2100-01-01T00:00:00Z" };
  assert.equal(await code(signer.signChallenge(challenge, { key })), "INTENT_MISMATCH");
});

test("it asks no network, writes nothing down, and keeps no process alive", () => {
  const script = `
    for (const name of ["fetch", "localStorage", "indexedDB", "BroadcastChannel", "WebAssembly"]) {
      Object.defineProperty(globalThis, name, { get: () => { throw new Error(name + " was used"); } });
    }
    const { createTestSigner } = await import("gridsigner/testing");
    const signer = await createTestSigner({ signedIn: true, autoRefresh: true });
    const key = await signer.refreshSession(await signer.session());
    signer.grid.offline = true;
    console.log((await signer.signOut(key)).status);
    signer.grid.hold();
    void signer.keys();`;
  const said = execFileSync(process.execPath, ["--input-type=module", "--eval", script], { cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 20_000 });
  assert.equal(said, "pending\n");
});

test("nothing of it is in gridsigner.js, and nothing of the module's in it", async () => {
  assert.deepEqual(Object.keys(await import("gridsigner")).sort(), ["GridSignerError", "createPasskey", "createSigner"]);
  assert.deepEqual(Object.keys(await import("gridsigner/testing")).sort(), ["createTestGrid", "createTestSigner"]);
});
