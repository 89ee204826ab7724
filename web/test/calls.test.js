// Calls with the real module: what it refuses, and what reaches the bridge. The
// page's own checks, deadlines and protocol: unit/.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, refuse, revocation } from "./bridge.js";
import { open, workers, workersEnded } from "./browser.js";
import { json, serve } from "./server.js";
import { parseHeader, verifies } from "./verify.js";

const session = "Session:019542f5-b3e7-1d02-0000-000000000003";
const requestId = "Request:019542f5-b3e7-1d02-0000-00000000000a";
const payloadToSign = revocation();
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

let server, page;
/** Of the newest request that gets no answer: called when it arrives, and whether the browser has dropped it. */
let arrived, dropped;
before(async () => {
  server = serve({
    "/api/grid/": bridge,
    "/silent/"(request) {
      dropped = new Promise((resolve) => request.on("close", resolve));
      arrived?.();
    },
    // Knows the second token alone.
    "/tokens/"({ headers }, response) {
      if (headers.authorization === "Bearer 2") return json(response, 200, { data: [listed] });
      refuse(response, 401, "BRIDGE_UNAUTHENTICATED");
    },
    "/refusing/": (_, response) => refuse(response, 403, "FORBIDDEN"),
  });
});
after(() => server?.close());
beforeEach(async () => {
  server.requests.length = 0;
  page = await open(server);
  await page.evaluate(
    async (session, account) => {
      Object.assign(globalThis, { session, account });
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid" });
      globalThis.key = await signer.createKey();
    },
    session,
    account,
  );
});
afterEach(async () => {
  assert.deepEqual(await page.evaluate(() => problems), []);
  await page.close();
});

const toBridge = () => server.requests.filter(({ path }) => /^\/(api|silent|refusing)\//.test(path));

/** A signer whose bridge never answers. */
const makeSilent = () =>
  page.evaluate(async () => {
    globalThis.silent = await createSigner({ bridgeUrl: "/silent", persistence: "memory" });
  });

test("wrong arguments that only the module can tell are refused by code, and the signer lives on", async () => {
  const got = await page.evaluate(async () => {
    const sign = (extra, change) => signer.signChallenge({ ...challenge(), ...change }, { key, ...extra });
    const calls = {
      "importKey: no curve": () => signer.importKey({ privateKey: new Uint8Array(32).fill(1) }),
      "revoke: neither session nor binding": () => signer.revokeSession(undefined, { key }),
      "sign out: not bound": () => signer.signOut(key),
      "import: publicKey is no text": () => signer.importKey({ curve: "P-256", privateKey: new Uint8Array(32).fill(1), publicKey: new Uint8Array(65) }),
      "revoke: id malformed": () => signer.revokeSession("Session:../../customers", { key }),
      "revoke: id of something else": () => signer.revokeSession(account, { key }),
      "list: id of something else": () => signer.listSessions(session),
      "sign: payload inherited": () => signer.signChallenge(Object.create(challenge()), { key }),
      "sign: payload of 10 MB": () => sign({}, { payloadToSign: "x".repeat(10_000_000) }),
      "sign: a lone surrogate": () => sign({}, { payloadToSign: "x\ud800" }),
      "sign: a removal without a type": () => sign({ intent: { name: "remove-credential" } }),
      "sign: intent with unknown facts": () => sign({ intent: { name: "revoke-session", amount: "1" } }),
      "sign: signal a proxy": () => sign({ signal: new Proxy(new AbortController().signal, {}) }), // which Node takes for one
    };
    const got = {};
    for (const [name, call] of Object.entries(calls)) {
      const { code, uncoded, value } = await outcome(call());
      got[name] = code ?? uncoded ?? `resolved: ${value}`;
    }
    return { codes: got, alive: (await signer.signChallenge(challenge(), { key })).format };
  });
  const wrong = Object.entries(got.codes).filter(([, code]) => code !== "ARGUMENT_INVALID");
  assert.deepEqual(wrong, []);
  assert.equal(got.alive, "der");
  assert.deepEqual(toBridge(), []);
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
      signer.signOut(foreign({}), { scope: "others" }),
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

test("the module's own codes arrive", async () => {
  const got = await page.evaluate(async () => {
    const codes = async (...promises) => Promise.all(promises.map(async (promise) => (await outcome(promise)).code));
    const transfer = '{"organizationId":"o","parameters":{},"timestampMs":"1","type":"ACTIVITY_TYPE_SIGN_TRANSACTION_V2"}';
    return codes(
      signer.createKey({ curve: "P-521" }),
      signer.importKey({ curve: "P-256", privateKey: new Uint8Array(31).fill(7) }),
      signer.importKey({ curve: "ed25519", privateKey: new Uint8Array(32).fill(7) }),
      signer.signChallenge(challenge(), { key: "no such key" }),
      signer.signChallenge({ ...challenge(), expiresAt: "2020-01-01T00:00:00Z" }, { key }),
      signer.signChallenge({ ...challenge(), requestId: "Request:\r\nx" }, { key }),
      signer.signChallenge(challenge('{"type":1,"type":2}'), { key }),
      signer.signChallenge(challenge(transfer), { key }),
    );
  });
  assert.deepEqual(got, [
    "CURVE_UNSUPPORTED",
    "KEY_MALFORMED",
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

test("headers go along, fresh for each call, and cookies unless they are omitted", async () => {
  const code = await page.evaluate(async () => {
    let calls = 0;
    const headers = async () => ({ Authorization: `Bearer ${++calls}` });
    document.cookie = "who=me";
    const fresh = await createSigner({ bridgeUrl: "/api/grid", headers });
    await fresh.listSessions(account);
    await fresh.revokeSession(session, { key: await fresh.createKey() });
    const omitting = await createSigner({ bridgeUrl: "/api/grid", headers, credentials: "omit" });
    await omitting.listSessions(account);
    document.cookie = "who=; max-age=0"; // it is other origins' of this host too
    return (await outcome(createSigner({ bridgeUrl: "/api/grid", headers: { "Request-Id": "mine" } }))).code;
  });
  assert.equal(code, "ARGUMENT_INVALID", "the signer's own headers are not the app's to set");
  const sent = toBridge().map(({ headers }) => [headers.authorization, headers.cookie]);
  assert.deepEqual(sent, [["Bearer 1", "who=me"], ["Bearer 2", "who=me"], ["Bearer 2", "who=me"], ["Bearer 3", undefined]]);
});

test("headers are asked for once more where the bridge does not know the user, and what they fail with is the cause", async () => {
  const got = await page.evaluate(async () => {
    let calls = 0;
    const remote = await createSigner({ bridgeUrl: "/tokens", headers: () => ({ Authorization: `Bearer ${++calls}` }) });
    const sessions = (await remote.listSessions(account)).length;
    const late = await outcome(remote.listSessions(account));
    const failing = await createSigner({ bridgeUrl: "/api/grid", headers: async () => { throw new Error("no token"); } });
    const failed = await outcome(failing.listSessions(account));
    return [sessions, late.code, late.upstreamCode, calls, failed.code, failed.retryable, failed.cause];
  });
  assert.deepEqual(got, [1, "UPSTREAM_REFUSED", "BRIDGE_UNAUTHENTICATED", 4, "HEADERS_FAILED", true, "Error: no token"]);
});

test("abort goes all the way: the request is dropped", async () => {
  await makeSilent();
  const reached = new Promise((resolve) => (arrived = resolve));
  await page.evaluate(() => {
    globalThis.controller = new AbortController();
    globalThis.pending = outcome(silent.listSessions(account, { signal: controller.signal }));
  });
  await reached;
  const got = await page.evaluate(async () => {
    controller.abort();
    return [(await pending).code, (await silent.keys()).length];
  });
  assert.deepEqual(got, ["ABORTED", 0]);
  await dropped;
});

test("timeoutMs is kept by the module itself", async () => {
  await makeSilent();
  const late = await page.evaluate(() => outcome(silent.listSessions(account, { timeoutMs: 200 })));
  assert.deepEqual([late.code, late.retryable], ["TIMEOUT", true]);
  assert.doesNotMatch(late.message, /no answer within/, "it was not the page that gave up");
});

test("close ends the worker, what is pending and what comes later", async () => {
  await makeSilent();
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
