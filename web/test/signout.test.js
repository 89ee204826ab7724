// A sign-out: how it ends, and that what it began is finished. Between tabs:
// tabs.test.js. Where storage fails: faults.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { makeBridge } from "./bridge.js";
import { open } from "./browser.js";
import { serve } from "./server.js";

let bridge, server, page;
before(() => {
  server = serve({ "/api/grid/": (...exchange) => bridge.handler(...exchange) });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  page = await open(server);
});
afterEach(async () => {
  assert.deepEqual(await page.evaluate(() => problems), []);
  await page.close();
});

const signIn = async (options) => {
  const session = bridge.signIn();
  await page.evaluate((session, options) => signIn(session, options), session, options);
  await page.evaluate(() => sign()); // the module is there: the time that a sign-out may take is none of its download's
  return session;
};

/** Signs out, and says what is so right after it. */
const signOut = (options) =>
  page.evaluate(async (options) => {
    const { value, ...failure } = await outcome(signer.signOut(key, options));
    const error = value?.error && [value.error instanceof GridSignerError, value.error.code];
    return { result: value ? { ...value, ...(error && { error }) } : failure, signs: await sign(), keys: (await signer.keys()).length };
  }, options);

/** What the page is told, once its key has ended. */
const ended = async () => {
  await page.waitForFunction(() => events.some(({ type }) => type === "ended"));
  return page.evaluate(() => told());
};

/** What is left in storage of each key. */
const left = () =>
  page.evaluate(async () => {
    const records = await stored();
    return records.map(({ state, reason, secret, lease }) => [state, reason, (secret || lease) && "with its secret"].filter(Boolean).join(", "));
  });

for (const curve of ["P-256", "secp256k1"]) {
  for (const persistence of ["indexeddb", "memory"]) {
    test(`${curve}, ${persistence}: revoked`, async () => {
      const session = await signIn({ curve, persistence });
      assert.deepEqual(await signOut(), { result: { status: "revoked", sessionId: session.id }, signs: "KEY_LOST", keys: 0 });
      assert.equal(bridge.sessions.size, 0);
      assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
      assert.deepEqual([bridge.legs(session, 1).length, bridge.legs(session, 2).length], [1, 1]);
      if (persistence === "indexeddb") assert.deepEqual(await left(), ["ended, signed-out"]);
    });
  }
}

test("inactive: Grid has no such session any more", async () => {
  const session = await signIn();
  bridge.sessions.clear();
  assert.deepEqual(await signOut(), { result: { status: "inactive", sessionId: session.id }, signs: "KEY_LOST", keys: 0 });
  assert.deepEqual(await ended(), ["started", "leaving", "revoked"]);
  assert.deepEqual(await left(), ["ended, revoked"]);
});

test("asked twice it says the same, and asks Grid once", async () => {
  const session = await signIn();
  const twice = await page.evaluate(() => Promise.all([signer.signOut(key), signer.revokeSession(undefined, { key })]));
  assert.deepEqual(twice, Array(2).fill({ status: "revoked", sessionId: session.id }));
  assert.deepEqual((await signOut()).result, twice[0], "and later too");
  assert.equal(bridge.legs(session).length, 2);
});

test("pending: the bridge is down; when it is back the sign-out is finished by itself", async () => {
  const session = await signIn();
  bridge.down = true;
  const { result, ...rest } = await signOut({ timeoutMs: 300 });
  assert.deepEqual(result, { status: "pending", sessionId: session.id, sessionExpiresAt: session.expiresAt });
  assert.deepEqual(rest, { signs: "KEY_LOST", keys: 0 });
  assert.deepEqual(await page.evaluate(() => told()), ["started", "leaving"]);
  assert.ok(bridge.sessions.has(session.id));
  bridge.down = false;
  assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
  assert.equal(bridge.sessions.size, 0);
});

test("pending: Grid refuses, and is asked again until it does not", async () => {
  const session = await signIn();
  bridge.refusals.set(session.id, [403, "FORBIDDEN"]);
  const { result } = await signOut({ timeoutMs: 300 });
  assert.deepEqual([result.status, result.error], ["pending", [true, "UPSTREAM_REFUSED"]]);
  bridge.refusals.clear();
  assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
});

test("timeoutMs 0 does not wait, and the sign-out goes on", async () => {
  const session = await signIn();
  const { result, ...rest } = await signOut({ timeoutMs: 0 });
  assert.deepEqual(result, { status: "pending", sessionId: session.id, sessionExpiresAt: session.expiresAt });
  assert.deepEqual(rest, { signs: "KEY_LOST", keys: 0 });
  assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
});

for (const curve of ["P-256", "secp256k1"]) {
  test(`${curve}: forgotten where Grid cannot be told: the key is destroyed, and nothing goes on`, async () => {
    const session = await signIn({ curve });
    bridge.down = true;
    assert.deepEqual(await signOut({ unreachable: "forget", timeoutMs: 300 }), {
      result: { status: "forgotten", sessionId: session.id, sessionExpiresAt: session.expiresAt },
      signs: "KEY_LOST",
      keys: 0,
    });
    assert.deepEqual(await ended(), ["started", "leaving", "forgotten"]);
    assert.deepEqual(await left(), ["ended, forgotten"]);
    bridge.down = false;
    // The next one is tried as often as it takes, and so would this one have been.
    const next = await signIn({ curve });
    assert.equal((await signOut({ unreachable: "forget" })).result.status, "revoked");
    assert.equal(bridge.legs(next, 2).length, 1);
    assert.equal(bridge.legs(session, 2).length, 0);
    assert.ok(bridge.sessions.has(session.id));
  });
}

test("a sign-out under way is forgotten too, where that is asked for later", async () => {
  await signIn();
  bridge.down = true;
  assert.equal((await signOut({ timeoutMs: 0 })).result.status, "pending");
  assert.equal((await signOut({ unreachable: "forget", timeoutMs: 0 })).result.status, "forgotten");
  assert.deepEqual(await left(), ["ended, forgotten"]);
});

test("removeKey does not touch a key that is being signed out", async () => {
  const session = await signIn();
  bridge.down = true;
  await signOut({ timeoutMs: 0 });
  assert.equal(await page.evaluate(() => signer.removeKey(key)), false);
  assert.deepEqual(await left(), ["leaving, with its secret"]);
  bridge.down = false;
  assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
  assert.ok(!bridge.sessions.has(session.id));
});

test("an abort ends the waiting of revokeSession, and not the sign-out", async () => {
  const session = await signIn();
  bridge.down = true;
  const { code } = await page.evaluate(async (id) => {
    const aborted = new AbortController();
    const onProgress = () => aborted.abort();
    return outcome(signer.revokeSession(id, { key, signal: aborted.signal, onProgress }));
  }, session.id);
  assert.equal(code, "ABORTED");
  assert.equal(await page.evaluate(() => sign()), "KEY_LOST");
  bridge.down = false;
  assert.deepEqual(await ended(), ["started", "leaving", "signed-out"]);
});

test("each step is told to whoever asks, also of a sign-out that goes on already", async () => {
  await signIn();
  bridge.down = true;
  await signOut({ timeoutMs: 0 });
  await page.evaluate(() => {
    globalThis.steps = [];
    const onProgress = ({ step, leg, status }) => steps.push([step, leg, status].filter(Boolean).join(" "));
    globalThis.signingOut = signer.signOut(key, { onProgress });
  });
  await page.waitForFunction(() => steps.includes("request 1")); // one that is lost: it is heard now, whatever comes
  bridge.down = false;
  const steps = await page.evaluate(() => signingOut.then(() => steps));
  assert.deepEqual(steps.slice(-5), ["response 1 202", "challenge", "signed", "request 2", "response 2 204"]);
});

// Of the others: one is there, one is gone when its turn comes, one is refused. And one has a key here.
for (const scope of ["others", "all"]) {
  test(`scope ${scope}: each outcome, and its own ${scope === "all" ? "last" : "left alone"}`, async () => {
    const [there, gone, refused, here] = Array.from({ length: 4 }, () => bridge.signIn());
    const own = await signIn();
    await page.evaluate(async (session) => {
      globalThis.second = await signer.createKey();
      await signer.bindSession(second, session);
    }, here);
    bridge.refusals.set(refused.id, [403, "FORBIDDEN"]);
    bridge.onRequest = async ({ id }) => void (id === gone.id && bridge.sessions.delete(id));
    const got = await page.evaluate(async (scope) => {
      const outcomes = await signer.signOut(key, { scope });
      const short = outcomes.map(({ sessionId, status, error }) => [sessionId, status ?? [error instanceof GridSignerError, error.code]]);
      return { short, signs: [await sign(), await sign(second)], told: [told(), told(second.id)] };
    }, scope);
    const others = [
      [there.id, "revoked"],
      [gone.id, "inactive"],
      [refused.id, [true, "UPSTREAM_REFUSED"]],
      [here.id, "revoked"],
    ];
    assert.deepEqual(got.short, scope === "all" ? [...others, [own.id, "revoked"]] : others);
    assert.deepEqual(got.signs, [scope === "all" ? "KEY_LOST" : "der", "KEY_LOST"]);
    assert.deepEqual(got.told, [scope === "all" ? ["started", "leaving", "signed-out"] : ["started"], ["started", "revoked"]]);
    assert.deepEqual([...bridge.sessions.keys()], scope === "all" ? [refused.id] : [refused.id, own.id]);
  });
}

test("the others cannot be listed: of \"others\" that is the error, of \"all\" its own is ended all the same", async () => {
  const own = await signIn();
  const other = bridge.signIn();
  bridge.refusals.set("sessions", [403, "FORBIDDEN"]);
  const got = await page.evaluate(async () => {
    const others = await outcome(signer.signOut(key, { scope: "others" }));
    const all = await signer.signOut(key, { scope: "all" });
    return { others: others.code, all: all.map(({ sessionId, status, error }) => [sessionId ?? "unknown", status ?? error.code]) };
  });
  assert.deepEqual(got, { others: "UPSTREAM_REFUSED", all: [["unknown", "UPSTREAM_REFUSED"], [own.id, "revoked"]] });
  assert.deepEqual([...bridge.sessions.keys()], [other.id]);
});

test("a key without a session cannot be signed out, in any scope, and stays", async () => {
  const got = await page.evaluate(async () => {
    await start();
    globalThis.key = await signer.createKey();
    const codes = [];
    for (const scope of ["this", "others", "all"]) codes.push((await outcome(signer.signOut(key, { scope }))).code);
    return [codes, await sign()];
  });
  assert.deepEqual(got, [Array(3).fill("ARGUMENT_INVALID"), "der"]);
});

test("a key's own session is its own, in whichever case its id is written", async () => {
  const own = bridge.signIn();
  const other = bridge.signIn();
  const got = await page.evaluate(async (session) => {
    await signIn({ ...session, id: `Session:${session.id.slice("Session:".length).toUpperCase()}` });
    const outcomes = await signer.signOut(key, { scope: "others" });
    return [outcomes, (await signer.revokeSession(session.id, { key })).status, (await signer.keys()).length];
  }, own);
  assert.deepEqual(got, [[{ sessionId: other.id, status: "revoked" }], "revoked", 0]);
});

test("the listener is told once what an earlier one was told, and no more when it is taken off", async () => {
  await signIn();
  const got = await page.evaluate(async () => {
    const [mine, late] = [[], []];
    const off = signer.on("session", ({ type }) => mine.push(type));
    signer.on("session", () => { throw new Error("a listener's own"); }); // is reported, and changes nothing
    signer.on("session", ({ type }) => late.push(type));
    const leaving = new Promise((resolve) => signer.on("session", resolve));
    const out = signer.signOut(key);
    await leaving;
    off();
    off();
    await out;
    return [mine, late, problems.splice(0).length];
  });
  assert.deepEqual(got, [["leaving"], ["leaving", "ended"], 2]);
});
