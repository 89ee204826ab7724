// Time: clocks that are wrong, jump, or stand still while the device sleeps.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { launch, open } from "./browsers.js";
import { sendWorker, serve } from "./server.js";

const minute = 60_000;

/** In the worker, before ours: clocks that a test can turn, as far as JavaScript can see. */
const clocks = `
  const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)];
  globalThis.turned = { wall: Number(new URLSearchParams(location.search).get("wall")), monotonic: 0 };
  Date.now = () => wall() + turned.wall;
  performance.now = () => monotonic() + turned.monotonic;
  answers.turn = (change) => void Object.assign(turned, change);
  let asked = 0; // by us: a browser may repeat by itself what was lost
  const original = self.fetch;
  self.fetch = (url, init) => (init?.method === "HEAD" && asked++, original(url, init));
  answers.asked = () => asked;
`;

let bridge, browser, server, page;
/** What a cache in front of the bridge has kept of its answer to a request for its root. */
let cached;
before(async () => {
  browser = await launch();
  server = await serve({
    "/api/grid/"(request, response) {
      if (!cached || request.method !== "HEAD") return bridge.handler(request, response);
      response.sendDate = false;
      response.writeHead(405, cached).end();
    },
    "/clocks.js": (_, response) => sendWorker(response, { before: clocks }),
  });
});
after(async () => {
  await browser?.close();
  server?.close();
});
beforeEach(async () => {
  bridge = makeBridge();
  cached = undefined;
  page = await open(browser, server);
});
afterEach(() => page.close());

/** A signer whose own clock is this wrong, and a key bound to a session of so long. */
async function signIn({ wall = 0, ttl = 15 * minute } = {}) {
  const session = bridge.signIn(ttl);
  const bound = await page.evaluate(
    async (wall, session) => {
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/clocks.js?wall=${wall}` });
      globalThis.key = await signer.createKey();
      return outcome(signer.bindSession(key, session));
    },
    wall,
    session,
  );
  return { session, bound };
}

const turn = (change) => page.evaluate((change) => askWorker("turn", change), change);
const sign = (expiresAt = new Date(Date.now() + bridge.skewMs + 5 * minute).toISOString()) =>
  page.evaluate((expiresAt) => outcome(signer.signChallenge({ ...challenge(), expiresAt }, { key })), expiresAt);
const code = ({ code, value, uncoded }) => code ?? uncoded ?? (value ? "ok" : "nothing");

for (const [name, wall] of [["an hour ahead", 60 * minute], ["an hour behind", -60 * minute]]) {
  test(`this device's clock is ${name}: sessions and challenges are judged by the server's`, async () => {
    const { session, bound } = await signIn({ wall });
    assert.equal(code(bound), "ok");
    assert.equal(code(await sign()), "ok");
    // So that the clock is learnt in either direction.
    await page.evaluate((account) => signer.listSessions(account), account);
    assert.equal(code(await sign()), "ok");
    assert.equal(code(await sign(new Date(Date.now() - minute).toISOString())), "CHALLENGE_EXPIRED");
    assert.equal((await page.evaluate(() => signer.keys())).length, 1);
    const revoked = await page.evaluate(() => outcome(signer.revokeSession(undefined, { key })));
    assert.deepEqual(revoked.value, { status: "revoked", sessionId: session.id });
  });
}

test("the clock is an hour ahead and the bridge does not tell the time: CLOCK_SKEW says by how much", async () => {
  bridge.date = false;
  const { bound } = await signIn({ wall: 60 * minute });
  assert.equal(bound.code, "CLOCK_SKEW");
  assert.ok(Math.abs(bound.skewMs - 45 * minute) < minute, `${bound.skewMs} ms`);
  const other = bridge.signIn();
  const revoked = await page.evaluate((id) => outcome(signer.revokeSession(id, { key })), other.id);
  assert.equal(revoked.code, "CLOCK_SKEW");
  assert.ok(Math.abs(revoked.skewMs - 55 * minute) < minute, `${revoked.skewMs} ms`);
  assert.ok(bridge.sessions.has(other.id), "nothing was signed");
});

test("the bridge cannot be reached: a key that seems over is refused with CLOCK_SKEW, and kept", async () => {
  await signIn();
  bridge.down = true;
  await turn({ wall: 60 * minute });
  const refused = await sign();
  assert.equal(refused.code, "CLOCK_SKEW");
  assert.ok(Math.abs(refused.skewMs - 45 * minute) < minute, `${refused.skewMs} ms`);
  bridge.down = false;
  assert.equal(code(await sign()), "ok");
});

test("an answer of this origin without a Date is not the bridge's: nothing is ended by it", async () => {
  await signIn();
  cached = {}; // what a service worker makes up, for one
  await turn({ wall: 60 * minute });
  assert.equal((await sign()).code, "CLOCK_SKEW");
  assert.equal((await page.evaluate(() => signer.keys())).length, 1);
  cached = undefined;
  assert.equal(code(await sign()), "ok");
});

for (const [name, change] of [["forward", 60 * minute], ["back", -60 * minute]]) {
  test(`the clock jumps ${name} by an hour: the key lives until the server says otherwise`, async () => {
    await signIn();
    await page.evaluate((account) => signer.listSessions(account), account);
    await turn({ wall: change });
    assert.equal(code(await sign()), "ok");
    assert.equal((await page.evaluate(() => signer.keys())).length, 1);
    bridge.skewMs = 16 * minute; // that much later
    await turn({ monotonic: 16 * minute });
    assert.equal((await page.evaluate(() => signer.keys())).length, 0);
    assert.equal(code(await sign()), "KEY_LOST");
  });
}

for (const [name, monotonic] of [["stood still", 0], ["ran on", 20 * minute]]) {
  test(`asleep for 20 minutes while the monotonic clock ${name}: a session of 15 is over, one of 30 is not`, async () => {
    for (const [ttl, want] of [[15, "KEY_LOST"], [30, "ok"]]) {
      await page.close();
      bridge = makeBridge();
      page = await open(browser, server);
      await signIn({ ttl: ttl * minute });
      await page.evaluate((account) => signer.listSessions(account), account);
      bridge.skewMs = 20 * minute;
      await turn({ wall: 20 * minute, monotonic });
      assert.equal(code(await sign()), want, `${ttl} minutes`);
      const keys = await page.evaluate(() => signer.keys());
      assert.equal(keys.length, want === "ok" ? 1 : 0);
    }
  });
}

test("a session that is over cannot be bound to: the key goes", async () => {
  await signIn();
  const got = await page.evaluate(
    async (account, over) => {
      await signer.listSessions(account);
      const other = await signer.createKey();
      const bound = await outcome(signer.bindSession(other, { ...over }));
      return [bound.code, (await outcome(signer.signChallenge(challenge(), { key: other }))).code, (await signer.keys()).length];
    },
    account,
    { ...bridge.signIn(-minute) },
  );
  assert.deepEqual(got, ["KEY_LOST", "KEY_LOST", 1]);
});

test("a key ends with its session by itself, and the page is told", async () => {
  const key = await page.evaluate(async () => {
    globalThis.seen = [];
    globalThis.ended = new Promise((ended) => {
      const onKeysChanged = (keys) => {
        seen.push(keys.map(({ session }) => session?.id ?? "unbound"));
        if (keys.length === 0) ended(seen);
      };
      globalThis.loaded = createSigner({ bridgeUrl: "/api/grid", onKeysChanged });
    });
    return (await loaded).createKey();
  });
  const session = bridge.signIn(5000); // only now: it is not to be over before the key is bound
  const bind = async (key, session) => (await loaded).bindSession(key, session);
  await page.evaluate(bind, key, session);
  assert.deepEqual(await page.evaluate(() => ended), [["unbound"], [session.id], []]);
});

test("a reload after the end of a session finds no key", async () => {
  await signIn();
  bridge.skewMs = 16 * minute;
  await page.reload();
  await page.waitForFunction(() => "createSigner" in globalThis);
  const keys = await page.evaluate(async (wall) => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/clocks.js?wall=${wall}` });
    return signer.keys();
  }, 16 * minute);
  assert.deepEqual(keys, []);
});

test("an answer out of a cache tells when it was made, and how long ago that was", async () => {
  cached = { Date: new Date().toUTCString(), Age: "1200" };
  const { bound } = await signIn({ wall: 20 * minute }); // as late as it really is
  assert.equal(bound.code, "KEY_LOST");
});

test("an answer out of a cache that does not tell its age cannot turn the clock back", async () => {
  const session = bridge.signIn(15 * minute);
  await page.evaluate(
    async (session, account) => {
      globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/clocks.js" });
      globalThis.key = await signer.createKey();
      await signer.bindSession(key, session);
      await signer.listSessions(account);
    },
    session,
    account,
  );
  assert.equal(code(await sign()), "ok");
  // Asleep for 20 minutes, of which the monotonic clock has counted 14.
  cached = { Date: new Date().toUTCString() };
  bridge.skewMs = 20 * minute;
  await turn({ wall: 20 * minute, monotonic: 14 * minute });
  assert.equal(code(await sign()), "CLOCK_SKEW", "neither over nor not");
  cached = undefined;
  assert.equal(code(await sign()), "KEY_LOST");
});

test("however many keys there are, a look at them asks the bridge the time once", async () => {
  const sessions = Array.from({ length: 5 }, () => bridge.signIn());
  await page.evaluate(async (sessions) => {
    const signer = await createSigner({ bridgeUrl: "/api/grid" });
    for (const session of sessions) await signer.bindSession(await signer.createKey(), session);
    signer.close();
  }, sessions);
  bridge.down = true;
  const [left, asked] = await page.evaluate(async (wall) => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/clocks.js?wall=${wall}` });
    return [(await signer.keys()).length, await askWorker("asked")];
  }, 60 * minute);
  assert.equal(left, 5, "and while it cannot be asked they stay");
  assert.ok(asked >= 1 && asked <= 2, `asked ${asked} times`); // once by itself, once by the call
});
