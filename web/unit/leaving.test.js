// A sign-out is finished by whoever is there: how often Grid is asked, by which tab, and what is said meanwhile.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Custody } from "../.tsc/src/custody.js";
import { GridSignerError } from "../.tsc/src/errors.js";
import { Memory } from "../.tsc/src/keys/memory.js";
import { idle, outcome, performing } from "./ports.js";

const session = { id: "Session:019542f5-b3e7-1d02-0000-000000000003", accountId: "InternalAccount:019542f5-b3e7-1d02-0000-000000000001" };
const second = 1000;

let grid, storage, tabs, id;
beforeEach(async () => {
  grid = { tries: [], underWay: 0, most: 0, lists: [], answer: () => Promise.reject(unavailable()) };
  storage = new Memory();
  tabs = [];
  const { id: made } = await open().createKey({}, {}); // WebCrypto waits for no timer of ours
  id = made;
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_900_000_000_000 });
  mock.method(performance, "now", () => Date.now());
  mock.method(Math, "random", () => 0);
  mock.method(globalThis, "fetch", () => Promise.reject(new TypeError("offline")));
  await tabs[0].bindSession(id, { ...session, expiresAt: new Date(Date.now() + 900 * second).toISOString() });
});
afterEach(async () => {
  for (const tab of tabs) await tab.close();
  mock.timers.reset();
  mock.reset();
});

const unavailable = (details = {}) => new GridSignerError("UPSTREAM_UNAVAILABLE", "HTTP 503", { retryable: true, ...details });
const key = (options = {}) => ({ key: id, timeoutMs: 10 * second, ...options });

/** Another tab of the origin. */
function open() {
  const module = performing({
    async revokeSession(sessionId, options) {
      grid.tries.push(Date.now());
      grid.most = Math.max(grid.most, ++grid.underWay);
      try {
        await options.allow();
        return { sessionId, status: await grid.answer(options) };
      } finally {
        grid.underWay--;
      }
    },
    listSessions: async () => grid.lists,
  });
  let online;
  globalThis.addEventListener = (_, listener) => (online = listener); // the only one that custody has
  const events = [];
  const settings = { bridgeUrl: "https://wallet.example/api", credentials: "omit", payloads: "all", persistence: "indexeddb" };
  const tab = new Custody(module, settings, { onEvent: (event) => events.push(event) }, storage);
  delete globalThis.addEventListener;
  tabs.push(tab);
  return Object.assign(tab, { events, online });
}

/** Time passes, in steps that leave room for what waits for more than one timer. */
async function pass(ms, step = 100) {
  for (let passed = 0; passed < ms; passed += step) {
    await idle();
    mock.timers.tick(step);
  }
  await idle();
}

test("tries go on with growing pauses, up to eight seconds, until Grid has said so", async () => {
  const [tab] = tabs;
  const waiting = tab.signOut(key());
  await pass(60 * second);
  const { status, error, sessionExpiresAt } = await waiting;
  assert.deepEqual([status, error.code], ["pending", "UPSTREAM_UNAVAILABLE"]);
  assert.ok(Date.parse(sessionExpiresAt) > Date.now());
  const pauses = grid.tries.slice(1).map((at, i) => Math.round((at - grid.tries[i]) / second));
  assert.deepEqual(pauses.slice(0, 6), [1, 2, 4, 8, 8, 8]);
  assert.deepEqual(await tab.keys(), []);

  grid.answer = async () => "revoked";
  await pass(9 * second);
  assert.deepEqual(tab.events.map(({ type, reason }) => reason ?? type), ["started", "leaving", "signed-out"]);
  assert.deepEqual(await tab.signOut(key()), { status: "revoked", sessionId: session.id }); // asked again, it says so again
});

test("what the server asks to wait is waited, for two minutes at most, but not when the network has returned", async () => {
  const [tab] = tabs;
  grid.answer = () => Promise.reject(unavailable({ retryAfterMs: 60 * second }));
  void tab.signOut(key({ timeoutMs: 0 }));
  await pass(59 * second);
  assert.equal(grid.tries.length, 1);
  await pass(2 * second);
  assert.equal(grid.tries.length, 2);
  grid.answer = () => Promise.reject(unavailable({ retryAfterMs: 1e9 }));
  await pass(61 * second);
  assert.equal(grid.tries.length, 3);
  await pass(118 * second);
  assert.equal(grid.tries.length, 3);
  tab.online();
  await idle();
  assert.equal(grid.tries.length, 4);
  await pass(121 * second);
  assert.equal(grid.tries.length, 5);
});

test("of three tabs one at a time tells Grid, and another takes over soon after that one is gone", async () => {
  const [first] = tabs;
  const others = [open(), open()];
  await idle();
  let answer;
  grid.answer = () => new Promise((resolve) => (answer = resolve)); // as slow as it may be
  const waiting = first.signOut(key());
  const alsoWaiting = others[0].signOut(key({ timeoutMs: 60 * second }));
  await pass(7 * second);
  assert.equal(grid.tries.length, 1);
  await first.close(); // without a word, as a tab that is closed
  await pass(1 * second);
  const before = grid.tries.length;
  await pass(5 * second);
  assert.equal(grid.tries.length, before + 1);
  answer("revoked");
  await pass(1 * second);
  assert.equal((await alsoWaiting).status, "revoked");
  for (const tab of others) assert.equal(tab.events.at(-1).reason, "signed-out");
  await pass(10 * second);
  assert.equal((await waiting).status, "pending"); // a tab that is closed hears nothing
});

test("the tab that signs out is the one that tells Grid, and shows it, also where another sees first that it is left", async () => {
  const [first] = tabs;
  const other = open();
  await other.keys();
  const { update } = storage;
  storage.update = async (...args) => {
    const record = await update.apply(storage, args);
    if (record.state === "leaving") await other.keys();
    return record;
  };
  grid.answer = async ({ onProgress }) => (onProgress({ step: "signed" }), "revoked");
  const events = [];
  const waiting = first.signOut(key({ onProgress: (event) => events.push(event) }));
  await pass(1 * second);
  assert.equal((await waiting).status, "revoked");
  assert.deepEqual([grid.tries.length, events], [1, [{ step: "signed" }]]);
});

test("one that comes later finishes what nobody is left to finish", async () => {
  const waiting = tabs[0].signOut(key({ timeoutMs: 0 }));
  await pass(1 * second);
  assert.equal((await waiting).status, "pending");
  await tabs[0].close();
  await pass(100 * second);
  const tries = grid.tries.length;
  grid.answer = async () => "revoked";
  const later = open();
  assert.deepEqual(await later.keys(), []); // and not for a moment does it say that somebody is signed in
  await pass(1 * second);
  assert.equal(grid.tries.length, tries + 1);
  assert.deepEqual(later.events.map(({ type, reason }) => reason ?? type), ["leaving", "signed-out"]);
});

test("a session that is said to be gone, and is listed, is somebody else's to ask about: it is asked again", async () => {
  const [tab] = tabs;
  grid.answer = async () => "inactive";
  grid.lists = [{ id: session.id.toUpperCase().replace("SESSION", "Session") }];
  const waiting = tab.signOut(key());
  await pass(11 * second);
  assert.equal((await waiting).status, "pending");
  grid.lists = Promise.reject(new GridSignerError("UPSTREAM_REFUSED", "HTTP 404 BRIDGE_NOT_FOUND")); // of an account that is not theirs
  grid.lists.catch(() => {});
  await pass(9 * second);
  assert.equal(tab.events.at(-1).type, "leaving");
  grid.lists = [];
  await pass(9 * second);
  assert.equal(tab.events.at(-1).reason, "revoked");
  assert.deepEqual(await tab.signOut(key()), { status: "inactive", sessionId: session.id });
});

test("the time of the session ends it, at the word of two clocks", async () => {
  const [tab] = tabs;
  void tab.signOut(key({ timeoutMs: 0 }));
  await pass(1000 * second, second);
  assert.equal(tab.events.at(-1).type, "leaving"); // this device's clock alone
  fetch.mock.mockImplementation(async () => new Response(null, { headers: { Date: new Date(Date.now()).toUTCString() } }));
  await pass(120 * second, second);
  assert.equal(tab.events.at(-1).reason, "expired");
  const { length } = grid.tries;
  await pass(60 * second, second);
  assert.equal(grid.tries.length, length);
});

for (const refuses of ["update", "get", "all"]) {
  test(`a storage whose ${refuses} refuses lets nobody sign again who has signed out`, async () => {
    const [tab] = tabs;
    const works = storage[refuses];
    storage[refuses] = () => Promise.reject(new Error("refused"));
    grid.answer = async () => "revoked";
    const got = await outcome(tab.signOut(key()));
    storage[refuses] = works;
    const challenge = { payloadToSign: "b3BhcXVl", requestId: "Request:1", expiresAt: "2100-01-01T00:00:00Z" };
    assert.equal(got.value.status, "revoked");
    assert.equal((await outcome(tab.signChallenge(challenge, key()))).code, "KEY_LOST");
    await tab.keys();
    await idle();
    assert.equal((await storage.get(id)).state, "ended"); // made up for, once it was well again
  });
}

test("a sign-out that storage does not take is not called pending", async () => {
  const [tab] = tabs;
  storage.update = () => Promise.reject(new Error("refused"));
  const waiting = outcome(tab.signOut(key()));
  await pass(11 * second);
  assert.equal((await waiting).code, "STORAGE_FAILED");
  assert.deepEqual(await tab.keys(), []); // and the key is out of use all the same
  grid.answer = async () => "revoked";
  await pass(9 * second);
  assert.equal(tab.events.at(-1).reason, "signed-out"); // as long as this tab lives
});

test("who wants no key left behind gets none", async () => {
  const [tab] = tabs;
  const waiting = tab.signOut(key({ unreachable: "forget" }));
  await pass(11 * second);
  assert.equal((await waiting).status, "forgotten");
  assert.equal("secret" in (await storage.get(id)), false);
  assert.equal(tab.events.at(-1).reason, "forgotten");
  const { length } = grid.tries;
  await pass(30 * second);
  assert.equal(grid.tries.length, length);
});
