// Calls: hostile arguments, deadlines, abort and close, and what reaches the bridge.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { launch, open, workers, workersEnded } from "./browsers.js";
import { json, serve } from "./server.js";
import { parseHeader, verifies } from "./verify.js";

const session = "Session:019542f5-b3e7-1d02-0000-000000000003";
const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";
const requestId = "Request:019542f5-b3e7-1d02-0000-00000000000a";
const payloadToSign =
  '{"organizationId":"org_sim","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}';
const listed = {
  id: session,
  accountId: account,
  type: "OAUTH",
  nickname: "Phone",
  createdAt: "2026-04-08T15:30:01Z",
  updatedAt: "2026-04-08T15:30:01Z",
  expiresAt: "2026-04-08T15:45:01Z",
};

/** The least that a bridge can be. */
function bridge(request, response) {
  if (request.method === "GET") return json(response, 200, { data: [listed] });
  if (request.headers["grid-wallet-signature"]) return response.writeHead(204).end();
  const expiresAt = new Date(Date.now() + 300_000).toISOString().replace(/\.\d+Z/, "Z");
  json(response, 202, { payloadToSign, requestId, expiresAt, type: "OAUTH" });
}

let browser, server, page;
/** Of the newest request that gets no answer: called when it arrives, and whether the browser has dropped it. */
let arrived, dropped;
before(async () => {
  browser = await launch();
  server = await serve({
    "/api/grid/": bridge,
    "/silent/"(request) {
      dropped = new Promise((resolve) => request.on("close", resolve));
      arrived?.();
    },
    "/refusing/": (_, response) => json(response, 403, { status: 403, code: "FORBIDDEN", message: "no" }),
  });
});
after(async () => {
  await browser?.close();
  server?.close();
});
beforeEach(async () => {
  server.requests.length = 0;
  page = await open(browser, server);
  await page.evaluate(
    async (session, account) => {
      Object.assign(globalThis, { session, account });
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid" });
      globalThis.key = await signer.createKey();
      globalThis.silent = await createSigner({ bridgeUrl: "/silent", persistence: "memory" });
      globalThis.silentKey = await silent.createKey();
    },
    session,
    account,
  );
});
afterEach(async () => {
  assert.deepEqual(await page.evaluate(() => problems), []);
  await page.close();
});

const toBridge = () => server.requests.filter(({ path }) => /^\/(api|silent|refusing|a)\//.test(path));

test("wrong arguments are refused by code, and the signer lives on", async () => {
  const got = await page.evaluate(async () => {
    const sign = (extra, change) => signer.signChallenge({ ...challenge(), ...change }, { key, ...extra });
    const revoke = (extra) => signer.revokeSession(session, { key, ...extra });
    const create = (extra) => createSigner({ bridgeUrl: "/api/grid", ...extra });
    const calls = {
      "no options": () => createSigner(),
      "options null": () => createSigner(null),
      "no bridgeUrl": () => createSigner({}),
      "bridgeUrl a number": () => create({ bridgeUrl: 1 }),
      "bridgeUrl an object": () => create({ bridgeUrl: {} }),
      "bridgeUrl unparsable": () => create({ bridgeUrl: "http://" }),
      "bridgeUrl of another scheme": () => create({ bridgeUrl: "javascript:alert(1)" }),
      "bridgeUrl with credentials": () => create({ bridgeUrl: "https://a:b@example.com/" }),
      "bridgeUrl with a query": () => create({ bridgeUrl: "/api/grid?" }),
      "bridgeUrl with a fragment": () => create({ bridgeUrl: "/api/grid#x" }),
      "an unknown option": () => create({ wasmURL: "/signer.wasm" }),
      "a symbol as an option": () => create({ [Symbol("x")]: 1 }),
      "__proto__ as an option": () => createSigner(JSON.parse('{"bridgeUrl":"/api/grid","__proto__":{}}')),
      "worker not a boolean": () => create({ worker: 1 }),
      "credentials unknown": () => create({ credentials: "always" }),
      "headers a string": () => create({ headers: "Authorization: x" }),
      "headers null": () => create({ headers: null }),
      "headers with a line break": () => create({ headers: { a: "b\r\nc: d" } }),
      "timeoutMs zero": () => create({ timeoutMs: 0 }),
      "timeoutMs NaN": () => create({ timeoutMs: NaN }),
      "timeoutMs endless": () => create({ timeoutMs: Infinity }),
      "timeoutMs a string": () => create({ timeoutMs: "100" }),
      "onProgress not a function": () => create({ onProgress: {} }),
      "createKey: unknown option": () => signer.createKey({ extractable: true }),
      "createKey: curve a number": () => signer.createKey({ curve: 1 }),
      "createKey: curve by name": () => signer.createKey("P-256"),
      "importKey: nothing": () => signer.importKey(),
      "importKey: hex": () => signer.importKey({ curve: "P-256", privateKey: "00".repeat(32) }),
      "importKey: an array": () => signer.importKey({ curve: "P-256", privateKey: Array(32).fill(1) }),
      "importKey: a buffer": () => signer.importKey({ curve: "P-256", privateKey: new ArrayBuffer(32) }),
      "importKey: other words": () => signer.importKey({ curve: "P-256", privateKey: new Uint16Array(32) }),
      "importKey: a proxy": () => signer.importKey({ curve: "P-256", privateKey: new Proxy(new Uint8Array(32), {}) }),
      "importKey: no curve": () => signer.importKey({ privateKey: new Uint8Array(32).fill(1) }),
      "persistence unknown": () => create({ persistence: "localStorage" }),
      "onKeysChanged not a function": () => create({ onKeysChanged: {} }),
      "bind: nothing": () => signer.bindSession(),
      "bind: no session": () => signer.bindSession(key),
      "bind: a getter that throws": () => signer.bindSession(key, { get id() { throw new Error("hostile"); } }),
      "bind: id of something else": () => signer.bindSession(key, { id: account, accountId: account, expiresAt: "2026-04-08T15:45:01Z" }),
      "bind: no date": () => signer.bindSession(key, { id: session, accountId: account, expiresAt: "tomorrow" }),
      "bind: no such date": () => signer.bindSession(key, { id: session, accountId: account, expiresAt: "2026-04-99T15:45:01Z" }),
      "revoke: neither session nor binding": () => signer.revokeSession(undefined, { key }),
      "revoke others: not bound": () => signer.revokeOtherSessions(account, { key }),
      "revoke others: no key": () => signer.revokeOtherSessions(account, {}),
      "removeKey: nothing": () => signer.removeKey(),
      "removeKey: no id": () => signer.removeKey({}),
      "sign: no arguments": () => signer.signChallenge(),
      "sign: challenge a string": () => signer.signChallenge("{}", { key }),
      "sign: challenge null": () => signer.signChallenge(null, { key }),
      "sign: payload a number": () => sign({}, { payloadToSign: 1 }),
      "sign: payload null": () => sign({}, { payloadToSign: null }),
      "sign: payload a String": () => sign({}, { payloadToSign: new String("opaque") }),
      "sign: payload inherited": () => signer.signChallenge(Object.create(challenge()), { key }),
      "sign: payload of 10 MB": () => sign({}, { payloadToSign: "x".repeat(10_000_000) }),
      "sign: a lone surrogate": () => sign({}, { payloadToSign: "x\ud800" }),
      "sign: key a number": () => sign({ key: 1 }),
      "sign: key without id": () => sign({ key: { publicKey: key.publicKey } }),
      "sign: intent a number": () => sign({ intent: 1 }),
      "sign: intent null": () => sign({ intent: null }),
      "sign: intent with unknown facts": () => sign({ intent: { name: "revoke-session", amount: "1" } }),
      "sign: format a number": () => sign({ format: 1 }),
      "sign: unknown option": () => sign({ intents: "send-payment" }),
      "sign: signal a look-alike": () => sign({ signal: { aborted: false, addEventListener() {}, removeEventListener() {} } }),
      "sign: signal another target": () => sign({ signal: document }),
      "sign: signal a proxy": () => sign({ signal: new Proxy(new AbortController().signal, {}) }),
      "sign: timeoutMs negative": () => sign({ timeoutMs: -1 }),
      "sign: a getter that throws": () =>
        signer.signChallenge({ ...challenge(), get payloadToSign() { throw new Error("hostile"); } }, { key }),
      "sign: an option's getter that throws": () => signer.signChallenge(challenge(), { get key() { throw null; } }),
      "sign: a proxy that throws": () =>
        signer.signChallenge(new Proxy({}, { getOwnPropertyDescriptor() { throw new Error("hostile"); } }), { key }),
      "sign: options that throw when listed": () =>
        signer.signChallenge(challenge(), new Proxy({ key }, { ownKeys() { throw new Error("hostile"); } })),
      "sign: a revoked proxy": () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return signer.signChallenge(proxy, { key });
      },
      "revoke: id not a string": () => signer.revokeSession(1, { key }),
      "revoke: id malformed": () => signer.revokeSession("Session:../../customers", { key }),
      "revoke: id of something else": () => signer.revokeSession(account, { key }),
      "revoke: no options": () => signer.revokeSession(session),
      "revoke: unknown option": () => revoke({ intent: "send-payment" }),
      "revoke: onProgress not a function": () => revoke({ onProgress: 1 }),
      "list: id of something else": () => signer.listSessions(session),
      "list: unknown option": () => signer.listSessions(account, { key }),
    };
    const got = {};
    for (const [name, call] of Object.entries(calls)) {
      let promise;
      try {
        promise = call();
      } catch {
        got[name] = "thrown, not rejected";
        continue;
      }
      const { code, uncoded, value } = await outcome(promise);
      got[name] = code ?? uncoded ?? `resolved: ${value}`;
    }
    return { codes: got, alive: (await signer.signChallenge(challenge(), { key })).format };
  });
  const wrong = Object.entries(got.codes).filter(([, code]) => code !== "ARGUMENT_INVALID");
  assert.deepEqual(wrong, []);
  assert.equal(got.alive, "der");
  assert.deepEqual(toBridge(), []);
});

test("arguments are read once, at the call, and own properties only", async () => {
  const got = await page.evaluate(async () => {
    const reads = {};
    const counting = (object) =>
      new Proxy(object, { get: (target, name) => ((reads[name] = (reads[name] ?? 0) + 1), target[name]) });
    const original = challenge("opaque");
    const mutable = { ...original };
    const promise = signer.signChallenge(counting(mutable), counting({ key: counting({ ...key }), format: "der" }));
    mutable.payloadToSign = "something else";
    const signed = await promise;
    Object.prototype.intent = "send-payment"; // refused, if it were read
    const polluted = await outcome(signer.signChallenge(original, { key }));
    delete Object.prototype.intent;
    return { reads, signature: signed.signature, publicKey: key.publicKey, polluted: polluted.value?.intent };
  });
  assert.deepEqual(got.reads, { key: 1, format: 1, payloadToSign: 1, requestId: 1, expiresAt: 1, id: 1 });
  assert.ok(verifies("P-256", got.publicKey, parseHeader(got.signature, "der").der, "opaque"));
  assert.equal(got.polluted, "revoke-session");
});

test("objects of another realm: what they hold is taken, what they pretend is not", async () => {
  const got = await page.evaluate(async () => {
    const frame = document.createElement("iframe");
    document.body.append(frame);
    const other = frame.contentWindow;
    const foreign = (fields) => other.Object.assign(new other.Object(), fields);
    const privateKey = new other.Uint8Array(32).fill(7);
    const imported = await signer.importKey(foreign({ curve: "secp256k1", privateKey }));
    const erased = privateKey.every((byte) => byte === 0);
    const options = foreign({ key: foreign(imported), signal: new other.AbortController().signal });
    const signed = await signer.signChallenge(foreign(challenge()), options);
    const remote = await createSigner(foreign({ bridgeUrl: "/api/grid", headers: new other.Headers({ a: "b" }) }));
    const sessions = await remote.listSessions(account);
    const bound = await outcome(signer.bindSession(foreign(imported), foreign(sessions[0])));
    const aborted = new other.AbortController();
    aborted.abort();
    const codes = [
      signer.signChallenge(foreign(challenge()), { key, signal: aborted.signal }),
      signer.signChallenge(new other.Proxy(challenge(), { getOwnPropertyDescriptor: () => { throw new other.Error("hostile"); } }), { key }),
      signer.importKey({ curve: "P-256", privateKey: new other.Proxy(new other.Uint8Array(32), {}) }),
      signer.importKey({ curve: "P-256", privateKey: foreign({ length: 32, [other.Symbol.toStringTag]: "Uint8Array" }) }),
      signer.bindSession(key, foreign({ id: account, accountId: session, expiresAt: "tomorrow" })),
      signer.bindSession(key, foreign(JSON.parse('{"__proto__":{"id":"x"}}'))),
      signer.revokeOtherSessions(foreign({}), { key }),
    ];
    frame.remove(); // its realm is gone, its objects are not
    return {
      erased,
      format: signed.format,
      sessions: sessions.length,
      bound: bound.code, // that session was over long ago
      codes: await Promise.all(codes.map(async (promise) => (await outcome(promise)).code)),
    };
  });
  assert.deepEqual(got, {
    erased: true,
    format: "der",
    sessions: 1,
    bound: "KEY_LOST",
    codes: ["ABORTED", ...Array(6).fill("ARGUMENT_INVALID")],
  });
});

test("importKey erases the caller's bytes, whatever comes of it", async () => {
  const got = await page.evaluate(async () => {
    const results = [];
    const cases = [["secp256k1", 32], ["P-256", 32], ["P-256", 31], ["ed25519", 32], [1, 32], ["P-256", 32, { extractable: false }]];
    for (const [curve, length, extra] of cases) {
      const privateKey = new Uint8Array(length).fill(7);
      const promise = signer.importKey({ curve, privateKey, ...extra });
      const erased = privateKey.every((byte) => byte === 0);
      const { value, code } = await outcome(promise);
      results.push([erased, value?.curve ?? code, privateKey.length]);
    }
    return results;
  });
  assert.deepEqual(got, [
    [true, "secp256k1", 32],
    [true, "P-256", 32],
    [true, "KEY_MALFORMED", 31],
    [true, "CURVE_UNSUPPORTED", 32],
    [true, "ARGUMENT_INVALID", 32],
    [true, "ARGUMENT_INVALID", 32],
  ]);
});

test("the module's own codes arrive", async () => {
  const got = await page.evaluate(async () => {
    const codes = async (...promises) => Promise.all(promises.map(async (promise) => (await outcome(promise)).code));
    const transfer = '{"organizationId":"o","parameters":{},"timestampMs":"1","type":"ACTIVITY_TYPE_SIGN_TRANSACTION_V2"}';
    return codes(
      signer.createKey({ curve: "P-521" }),
      signer.signChallenge(challenge(), { key: "no such key" }),
      signer.signChallenge({ ...challenge(), expiresAt: "2020-01-01T00:00:00Z" }, { key }),
      signer.signChallenge({ ...challenge(), requestId: "Request:\r\nx" }, { key }),
      signer.signChallenge(challenge('{"type":1,"type":2}'), { key }),
      signer.signChallenge(challenge(transfer), { key }),
    );
  });
  assert.deepEqual(got, [
    "CURVE_UNSUPPORTED",
    "KEY_NOT_FOUND",
    "CHALLENGE_EXPIRED",
    "CHALLENGE_MALFORMED",
    "PAYLOAD_MALFORMED",
    "INTENT_MISMATCH",
  ]);
});

test("keys: made, listed, removed", async () => {
  const got = await page.evaluate(async () => {
    const other = await signer.createKey({ curve: "secp256k1" });
    const listed = await signer.keys();
    const removed = [await signer.removeKey(key), await signer.removeKey(key.id)];
    const { code } = await outcome(signer.signChallenge(challenge(), { key }));
    return { key, other, listed, removed, code, left: await signer.keys() };
  });
  assert.equal(got.code, "KEY_LOST");
  assert.deepEqual(got.listed, [got.key, got.other]);
  assert.deepEqual(got.removed, [true, false]);
  assert.deepEqual(got.left, [got.other]);
});

test("revokeSession: both legs, each step told, a signature that holds", async () => {
  const got = await page.evaluate(async () => {
    const events = [];
    const result = await signer.revokeSession(session, { key, onProgress: (event) => events.push(event) });
    return { result, events, publicKey: key.publicKey };
  });
  assert.deepEqual(got.result, { status: "revoked", sessionId: session });
  assert.deepEqual(
    got.events.map(({ step, leg, attempt, status, kind }) => [step, leg, attempt, status, kind].filter((v) => v !== undefined)),
    [["request", 1, 1], ["response", 1, 1, 202], ["challenge", "activity"], ["signed"], ["request", 2, 2], ["response", 2, 2, 204]],
  );
  const [first, second, ...more] = toBridge();
  assert.deepEqual(more, []);
  assert.equal(first.url, `/api/grid/auth/sessions/${encodeURIComponent(session)}`);
  assert.equal(first.headers["grid-wallet-signature"], undefined);
  assert.equal(second.url, first.url);
  assert.equal(second.headers["request-id"], requestId);
  const stamp = parseHeader(second.headers["grid-wallet-signature"], "stamp");
  assert.equal(stamp.publicKey, got.publicKey);
  assert.ok(verifies("P-256", stamp.publicKey, stamp.der, payloadToSign));
});

test("listSessions: what the bridge lists, or its refusal", async () => {
  const got = await page.evaluate(async () => {
    const refusing = await createSigner({ bridgeUrl: "/refusing" });
    return { sessions: await signer.listSessions(account), refusal: await outcome(refusing.listSessions(account)) };
  });
  assert.deepEqual(got.sessions, [listed]);
  const { code, status, upstreamCode, retryable } = got.refusal;
  assert.deepEqual([code, status, upstreamCode, retryable], ["UPSTREAM_REFUSED", 403, "FORBIDDEN", false]);
});

test("bridgeUrl is resolved against the document and trimmed", async () => {
  await page.evaluate(async () => {
    for (const bridgeUrl of ["/a/", "a//", new URL("/a", location.href), `${location.origin}/a`]) {
      const signer = await createSigner({ bridgeUrl });
      await outcome(signer.listSessions(account));
      signer.close();
    }
  });
  assert.deepEqual([...new Set(toBridge().map(({ path }) => path))], ["/a/auth/sessions"]);
});

test("headers go along, fresh for each call", async () => {
  const got = await page.evaluate(async () => {
    let calls = 0;
    const list = async (headers, credentials) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid", headers, ...(credentials && { credentials }) });
      const result = await outcome(signer.listSessions(account));
      signer.close();
      return result.code ?? "sent";
    };
    const fresh = await createSigner({ bridgeUrl: "/api/grid", headers: async () => ({ Authorization: `Bearer ${++calls}` }) });
    document.cookie = "who=me";
    await fresh.listSessions(account);
    await fresh.revokeSession(session, { key: await fresh.createKey() });
    const codes = [
      await list({ "X-Tenant": "plain" }),
      await list(new Headers({ "X-Tenant": "object" })),
      await list(() => new Headers({ "X-Tenant": "function" }), "omit"),
      await list({ "Request-Id": "mine" }),
      await list(() => ({ "bad name": "x" })),
      await list(() => 1),
    ];
    const failing = await createSigner({
      bridgeUrl: "/api/grid",
      headers() {
        throw new Error("no token");
      },
    });
    return { codes, failed: await outcome(failing.listSessions(account)) };
  });
  assert.deepEqual(got.codes, ["sent", "sent", "sent", "ARGUMENT_INVALID", "ARGUMENT_INVALID", "ARGUMENT_INVALID"]);
  assert.equal(got.failed.code, "ARGUMENT_INVALID");
  assert.match(got.failed.cause, /no token/);
  const sent = toBridge().map(({ headers }) => headers.authorization ?? headers["x-tenant"]);
  assert.deepEqual(sent, ["Bearer 1", "Bearer 2", "Bearer 2", "plain", "object", "function"]);
  assert.deepEqual(toBridge().map(({ headers }) => headers.cookie), [...Array(5).fill("who=me"), undefined]);
});

test("abort: at once, before, during and while the headers are awaited", async () => {
  const reached = new Promise((resolve) => (arrived = resolve));
  const aborted = await page.evaluate(async () => {
    globalThis.controller = new AbortController();
    const aborted = await outcome(silent.revokeSession(session, { key: silentKey, signal: AbortSignal.abort("no more") }));
    globalThis.pending = outcome(silent.listSessions(account, { signal: controller.signal }));
    return aborted;
  });
  await reached;
  const got = await page.evaluate(async () => {
    // The signal's own methods have been replaced by hostile ones: they are not what is used.
    controller.signal.removeEventListener = () => {
      throw new Error("hostile");
    };
    controller.abort();
    const during = await pending;
    const waiting = await createSigner({ bridgeUrl: "/api/grid", headers: () => new Promise(() => {}) });
    const fetching = await outcome(waiting.listSessions(account, { signal: AbortSignal.timeout(100) }));
    return { during, fetching, alive: (await silent.keys()).length };
  });
  assert.equal(aborted.code, "ABORTED");
  assert.equal(aborted.cause, "no more");
  assert.equal(got.during.code, "ABORTED");
  assert.equal(got.fetching.code, "ABORTED");
  assert.equal(got.alive, 1);
  assert.equal(toBridge().length, 1, "only the call that was under way reached the bridge");
  await dropped; // the abort went all the way: the request was dropped
});

test("timeoutMs: of the call, or else of the signer, also while the headers are awaited", async () => {
  const got = await page.evaluate(async () => {
    const late = [await outcome(silent.listSessions(account, { timeoutMs: 200 }))];
    const options = { bridgeUrl: "/api/grid", timeoutMs: 54_321, headers: () => new Promise(() => {}) };
    const waiting = await createSigner(options); // which has all of that time to load
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (what, ms) => setTimeout(what, ms >= 54_321 ? 0 : ms); // and then it is over
    late.push(await outcome(waiting.listSessions(account)));
    globalThis.setTimeout = setTimeout;
    return late.map(({ code, retryable }) => [code, retryable]);
  });
  assert.deepEqual(got, [["TIMEOUT", true], ["TIMEOUT", true]]);
});

test("close ends the worker, what is pending and what comes later", async () => {
  const before = await workers(page);
  const got = await page.evaluate(async () => {
    const pending = outcome(silent.listSessions(account));
    silent.close();
    silent.close();
    const later = [outcome(silent.keys()), outcome(silent.createKey()), outcome(silent.listSessions(account))];
    return (await Promise.all([pending, ...later])).map(({ code }) => code);
  });
  assert.deepEqual(got, ["CLOSED", "CLOSED", "CLOSED", "CLOSED"]);
  await workersEnded(page, before - 1);
});

test("a private key is in no request", async () => {
  const scalar = "5a".repeat(32);
  await page.evaluate(async (scalar) => {
    for (const curve of ["P-256", "secp256k1"]) {
      const bytes = Uint8Array.from(scalar.match(/../g), (pair) => parseInt(pair, 16));
      const key = await signer.importKey({ curve, privateKey: bytes });
      await signer.revokeSession(session, { key });
    }
  }, scalar);
  const sent = JSON.stringify(server.requests);
  assert.equal(toBridge().length, 4);
  for (const encoding of ["hex", "base64", "base64url"]) {
    const text = Buffer.from(scalar, "hex").toString(encoding);
    assert.ok(!sent.toLowerCase().includes(text.toLowerCase().replace(/=+$/, "")), encoding);
  }
});
