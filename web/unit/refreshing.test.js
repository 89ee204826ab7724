// Two tabs refresh one session, again and again, over a network that loses requests and answers, through a bridge that
// is busy and a Grid that takes its time. The module is the real one; time passes by the test's hand.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Custody } from "../.tsc/src/custody.js";
import { Memory } from "../.tsc/src/keys/memory.js";
import { account, makeGrid } from "../test/grid.js";
import { random } from "../test/random.js";
import { startModule } from "./module.js";
import { idle, outcome } from "./ports.js";

const second = 1000;
const bridgeUrl = "https://wallet.example/api/grid";

/** What the tabs share. */
class Shared extends Memory {
  async wrappingKey(made) {
    return (this.made ??= made);
  }
}

let grid, storage, tabs, faults, before;
beforeEach(() => {
  storage = new Shared();
  [tabs, faults] = [[], () => undefined];
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_900_000_000_000 });
  const begin = Date.now();
  before = { now: performance.now, fetch: globalThis.fetch };
  performance.now = () => Date.now() - begin; // no mock, which would keep every call
  globalThis.fetch = transport;
  globalThis.addEventListener = () => {};
});
afterEach(async () => {
  for (const tab of tabs) await tab.close();
  delete globalThis.addEventListener;
  mock.timers.reset();
  performance.now = before.now;
  globalThis.fetch = before.fetch;
});

const refusals = { 401: "UNAUTHORIZED", 503: "BUSY" };
const answerWith = ({ status, body }) =>
  new Response(body && JSON.stringify(body), { status, headers: { Date: new Date(Date.now()).toUTCString() } });

/** What is between a tab and Grid. */
async function transport(url, { method, headers, body, signal } = {}) {
  const path = url.slice(bridgeUrl.length);
  if (method === "HEAD") return answerWith({ status: 404 });
  const request = { method, path, headers: Object.fromEntries(headers), body: body ?? undefined };
  const fault = faults(request);
  if (fault === "frozen") await steal();
  if (fault === "request") throw new TypeError("the request is lost");
  if (typeof fault === "number") return answerWith({ status: fault, body: { status: fault, code: refusals[fault], message: "m" } });
  const answer = answerWith(grid.answer(request));
  if (fault === "answer") throw new TypeError("the answer is lost");
  if (fault === "slow") await new Promise((resolve) => setTimeout(resolve, 5000));
  return answer;
}

/** As after a tab was frozen for a while: another has taken over, and has gone again. */
async function steal() {
  const freed = (record) => (record.state === "active" ? { ...record, rev: record.rev + 1, lease: { holder: "another", until: Date.now() } } : undefined);
  for (const { id } of await storage.all()) await storage.update(id, freed);
}

async function open({ autoRefresh = false } = {}) {
  const settings = { bridgeUrl, credentials: "omit", payloads: "activities", persistence: "indexeddb", namespace: undefined, autoRefresh };
  const events = [];
  const page = { onEvent: (event) => events.push(event), headers: async () => ({}) };
  const tab = new Custody(await startModule(), settings, page, storage);
  tabs.push(tab);
  return Object.assign(tab, { events });
}

/** Time passes, in steps that leave room for what waits for more than one timer. */
async function pass(ms, step = 50) {
  for (let passed = 0; passed < ms; passed += step) {
    await settled();
    mock.timers.tick(step);
  }
  await settled();
}

/** Everything has happened that waits for no time: WebCrypto and channels take their turns. */
async function settled() {
  for (let turn = 0; turn < 8; turn++) await idle();
}

/** What a promise comes to, as time passes. */
async function soon(promise, atMostMs = 120 * second) {
  let done = false;
  const got = outcome(promise).finally(() => (done = true));
  for (let passed = 0; !done && passed < atMostMs; passed += 50) {
    await settled();
    if (!done) mock.timers.tick(50);
  }
  assert.ok(done, "it never ends");
  return got;
}

/** A key that is signed in. */
async function signIn(tab, curve) {
  const { value: made } = await soon(tab.createKey({ curve }, {}));
  const session = grid.add(made.publicKey);
  return (await soon(tab.bindSession(made.id, session))).value;
}

const refresh = (tab, key, timeoutMs = 60 * second) => soon(tab.refreshSession({ key, timeoutMs }));
const live = () => [...grid.sessions.values()];

for (const curve of ["P-256", "secp256k1"]) {
  test(`a session goes on with a new key, and the old one is ended by its own: ${curve}`, async () => {
    grid = makeGrid();
    const tab = await open();
    const other = await open();
    const old = await signIn(tab, curve);
    const { value: key } = await refresh(tab, old.id);
    assert.deepEqual([key.id, key.curve], [old.id, curve]);
    assert.notEqual(key.publicKey, old.publicKey);
    await pass(10 * second); // calls that were under way have some time
    assert.deepEqual(live().map(({ id, publicKey }) => [id, publicKey]), [[key.session.id, key.publicKey]]);
    for (const { events } of [tab, other]) {
      assert.deepEqual(events.map(({ type, key, session }) => [type, key, session.id]), [
        ["started", old.id, old.session.id],
        ["refreshed", old.id, key.session.id],
      ]);
    }
    assert.deepEqual((await soon(other.keys())).value, [key]);
    assert.deepEqual(await soon(other.signOut({ key: old.id, timeoutMs: 9000 })), { value: { status: "revoked", sessionId: key.session.id } });
    assert.deepEqual(live(), []);
    for (const { state, secret } of await storage.all()) assert.deepEqual([state, secret], ["ended", undefined]);
  });
}

test("a session too many is looked for until a list shows that there is none, and not one from before that time", async () => {
  grid = makeGrid();
  const tab = await open();
  const { id, session } = await signIn(tab, "P-256");
  const stray = () => grid.add(`02${"11".repeat(32)}`, grid.sessions.get(session.id));
  faults = ({ method, headers }) => (method === "POST" && headers["grid-wallet-signature"] ? "request" : undefined);
  assert.ok((await refresh(tab, id, 2 * second)).code);
  await pass(60 * second, second); // whatever is under way has given up
  faults = () => undefined;
  const { strays } = await storage.get(id);
  stray();
  await pass(strays.until - Date.now() - 4 * second, second);
  faults = ({ method }) => (method === "GET" ? "slow" : undefined);
  stray();
  const looking = tab.keys();
  await pass(2 * second);
  stray(); // when Grid had listed them
  await pass(6 * second);
  await looking;
  faults = () => undefined;
  for (let looks = 0; looks < 20 && (live().length > 1 || (await storage.get(id)).strays); looks++) {
    await soon(tab.keys());
    await pass(5 * second, second);
  }
  assert.deepEqual(live().map(({ id }) => id), [session.id]);
  assert.equal((await storage.get(id)).strays, undefined);
});

test("1,000 refreshes by two tabs that race, with everything that can go wrong on the way", { timeout: 300_000 }, async () => {
  const chance = random(10);
  const dice = (n) => Math.floor(chance() * n);
  grid = makeGrid({ processing: () => (dice(5) === 0 ? 1 + dice(3) : 0) });
  faults = () => ["request", "answer", "answer", 401, 503, "slow", "frozen"][dice(50)];
  const [first, second_] = [await open(), await open()];
  const { id } = await signIn(first, "P-256");
  let count = 0;
  while (count < 1000) {
    const calls = [first, second_].map((tab) => refresh(tab, id));
    const got = await Promise.all(calls);
    const refreshed = got.filter(({ value }) => value);
    for (const { code, status, retryable } of got.filter(({ code }) => code)) assert.ok(retryable || status === 401, code);
    if (refreshed.length === 0) continue;
    count++;
    assert.equal(new Set(refreshed.map(({ value }) => value.publicKey)).size, 1, "both tabs have the same key");
  }
  faults = () => undefined;
  await pass(600 * second, second);
  const [key, ...others] = (await soon(first.keys())).value;
  assert.deepEqual(others, []);
  assert.deepEqual(live().map(({ id, publicKey }) => [id, publicKey]), [[key.session.id, key.publicKey]]);
  const { lease: _, ...record } = await storage.get(key.id);
  assert.equal(record.strays, undefined);
});
