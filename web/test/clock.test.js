// Time, as keys see it: their session ends by the server's clock, whatever this
// device's says. How the server's time is judged: unit/clock.test.js.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { account, makeBridge } from "./bridge.js";
import { loaded, open } from "./browser.js";
import { sendWorker, serve } from "./server.js";

const minute = 60_000;

/** In the worker, before ours: clocks that a test can turn, as far as JavaScript can see, and the look at them that comes each minute. */
const clocks = `
  const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)];
  globalThis.turned = { wall: Number(new URLSearchParams(location.search).get("wall")), monotonic: 0 };
  Date.now = () => wall() + turned.wall;
  performance.now = () => monotonic() + turned.monotonic;
  answers.turn = (change) => void Object.assign(turned, change);
  let look;
  const later = self.setTimeout;
  self.setTimeout = (what, ms, ...rest) => (ms === 60_000 && (look = what), later(what, ms, ...rest));
  answers.look = () => void look();
`;

let bridge, server, page;
before(async () => {
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/clocks.js": (_, response) => sendWorker(response, { before: clocks }),
  });
});
after(() => server?.close());
beforeEach(async () => {
  bridge = makeBridge();
  page = await open(server);
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

test("the clock jumps forward by an hour: the key lives until the server says otherwise", async () => {
  await signIn();
  await page.evaluate((account) => signer.listSessions(account), account);
  await turn({ wall: 60 * minute });
  assert.equal(code(await sign()), "ok");
  assert.equal((await page.evaluate(() => signer.keys())).length, 1);
  bridge.skewMs = 16 * minute; // that much later
  await turn({ monotonic: 16 * minute });
  assert.equal((await page.evaluate(() => signer.keys())).length, 0);
  assert.equal(code(await sign()), "KEY_LOST");
});

test("asleep for 20 minutes while the monotonic clock stood still: a session of 15 is over, one of 30 is not", async () => {
  await signIn({ ttl: 30 * minute });
  const short = await page.evaluate(
    async (session, account) => {
      const key = await signer.createKey();
      await signer.bindSession(key, session);
      await signer.listSessions(account);
      return key.id;
    },
    bridge.signIn(15 * minute),
    account,
  );
  bridge.skewMs = 20 * minute;
  await turn({ wall: 20 * minute });
  assert.equal(code(await sign()), "ok");
  const over = await page.evaluate((key) => outcome(signer.signChallenge(challenge(), { key })), short);
  assert.equal(code(over), "KEY_LOST");
  assert.equal((await page.evaluate(() => signer.keys())).length, 1);
});

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
  const session = bridge.signIn(15 * minute);
  await page.evaluate(async (session) => {
    globalThis.seen = [];
    const onKeysChanged = (keys) => seen.push(keys.map(({ session }) => session?.id ?? "unbound"));
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/clocks.js?wall=0", onKeysChanged });
    await signer.bindSession(await signer.createKey(), session);
  }, session);
  bridge.skewMs = 16 * minute;
  await turn({ wall: 16 * minute, monotonic: 16 * minute });
  await page.evaluate(() => askWorker("look")); // nobody calls the signer
  await page.waitForFunction(() => seen.at(-1).length === 0);
  assert.deepEqual(await page.evaluate(() => seen), [["unbound"], [session.id], []]);
});

test("a reload after the end of a session finds no key", async () => {
  await signIn();
  bridge.skewMs = 16 * minute;
  await page.reload();
  await loaded(page);
  const keys = await page.evaluate(async (wall) => {
    const signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: `/clocks.js?wall=${wall}` });
    return signer.keys();
  }, 16 * minute);
  assert.deepEqual(keys, []);
});
