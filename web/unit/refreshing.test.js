// Two tabs refresh one session, again and again, over a network that loses requests and answers, through a bridge that
// is busy and a Grid that takes its time. The module is the real one; time passes by the test's hand.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { random } from "../test/random.js";
import { Browser, isRefresh, lost, refusal, second } from "./browser.js";

let browser;
/** A browser with so many tabs, in the first of which somebody signs in. */
async function begin(count, { curve = "P-256", ...settings } = {}) {
  browser = new Browser(settings);
  const tabs = [];
  for (let i = 0; i < count; i++) tabs.push(await browser.open({ autoRefresh: false }));
  return { tabs, key: await browser.signIn(tabs[0], { curve }) };
}
afterEach(() => browser.close());

const live = () => browser.live.map(({ id, publicKey }) => [id, publicKey]);

for (const curve of ["P-256", "secp256k1"]) {
  test(`a session goes on with a new half that signs, and the old one is ended by its own: ${curve}`, async () => {
    const { tabs: [tab, other], key: old } = await begin(2, { curve });
    const { value: key } = await browser.refresh(tab, old);
    assert.deepEqual([key.id, key.curve], [old.id, curve]);
    assert.notEqual(key.publicKey, old.publicKey);
    await browser.pass(10 * second); // calls that were under way have some time
    assert.deepEqual(live(), [[key.session.id, key.publicKey]]);
    for (const { events } of [tab, other]) {
      assert.deepEqual(events.map(({ type, key, session }) => [type, key, session.id]), [
        ["started", old.id, old.session.id],
        ["refreshed", old.id, key.session.id],
      ]);
    }
    assert.deepEqual((await browser.soon(other.keys())).value, [key]);
    const { value: out } = await browser.soon(other.signOut({ key: old.id, timeoutMs: 9000 }));
    assert.deepEqual(out, { status: "revoked", sessionId: key.session.id });
    assert.deepEqual(live(), []);
    for (const { state, secret } of await browser.storage.all()) assert.deepEqual([state, secret], ["ended", undefined]);
  });
}

test("a call between its legs is not refused because the session is refreshed, and ends the session that it was asked to", async () => {
  const { tabs: [tab], key } = await begin(1);
  const elsewhere = browser.grid.add("02".padEnd(66, "1"));
  let refreshed;
  browser.bridge = async (request, ask) => {
    if (request.method === "DELETE" && request.leg === 2 && !refreshed) {
      refreshed = tab.refreshSession({ key: key.id, timeoutMs: 60 * second });
      await refreshed;
      await new Promise((resolve) => setTimeout(resolve, 3 * second)); // enough for the session before to be ended
    }
    return ask();
  };
  assert.deepEqual((await browser.soon(tab.revokeSession(elsewhere.id, { key: key.id, timeoutMs: 30 * second }))).value.status, "revoked");
  await browser.pass(10 * second);
  await browser.assertOne(tab, key);
});

test("a session that a key had before a refresh stands for its own, and is no other device's", async () => {
  const { tabs: [tab], key: old } = await begin(1);
  const { value: key } = await browser.refresh(tab, old);
  assert.deepEqual(await tab.listSessions(old.session.accountId, { timeoutMs: second }).then((rows) => rows.map(({ id }) => id)), [key.session.id]);
  assert.deepEqual((await browser.soon(tab.signOut({ key: key.id, scope: "others", timeoutMs: 9000 }))).value, []);
  const { value: out } = await browser.soon(tab.revokeSession(old.session.id, { key: key.id, timeoutMs: 9000 }));
  assert.deepEqual(out, { status: "revoked", sessionId: key.session.id });
  await browser.pass(10 * second);
  assert.deepEqual(live(), []);
});

test("who signs in on another device while an answer is lost stays signed in", async () => {
  const { tabs: [tab], key } = await begin(1);
  await browser.pass(60 * second);
  browser.bridge = async (request, ask) => (isRefresh(request, 2) ? (ask(), lost()) : ask());
  await browser.refresh(tab, key, { timeoutMs: second });
  const elsewhere = browser.grid.add("02".padEnd(66, "1")); // another beginning
  await browser.pass(60 * second); // the refresh has given up
  assert.ok(browser.count(2) > 1);
  browser.bridge = (request, ask) => ask();
  await browser.pass(480 * second, 5 * second);
  assert.deepEqual(live().map(([id]) => id).sort(), [key.session.id, elsewhere.id].sort());
});

test("where beginnings do not tell sessions apart, none is taken for one too many", async () => {
  const { tabs: [tab], key } = await begin(1);
  const elsewhere = browser.grid.add("02".padEnd(66, "1"), key.session); // as if it were the credential's
  const alike = browser.grid.sessions.get(key.session.id).createdAt;
  browser.grid.sessions.get(elsewhere.id).createdAt = alike;
  browser.bridge = async (request, ask) => (isRefresh(request, 2) ? (ask(), lost()) : ask());
  await browser.refresh(tab, key, { timeoutMs: second });
  const later = browser.grid.add("02".padEnd(66, "2"), { createdAt: alike });
  await browser.pass(60 * second);
  browser.bridge = (request, ask) => ask();
  await browser.pass(480 * second, 5 * second);
  assert.equal((await browser.storage.get(key.id)).strays, undefined);
  for (const { id } of [elsewhere, later, key.session]) assert.ok(live().some(([there]) => there === id));
});

test("a session too many is looked for until a list shows that there is none, and not one from before that time", async () => {
  const { tabs: [tab], key: { id, session } } = await begin(1);
  const stray = () => browser.grid.add(`02${"11".repeat(32)}`, browser.grid.sessions.get(session.id));
  browser.bridge = (request, ask) => (isRefresh(request, 2) ? lost() : ask());
  assert.ok((await browser.refresh(tab, { id }, { timeoutMs: 2 * second })).code);
  await browser.pass(60 * second); // whatever is under way has given up
  browser.bridge = (request, ask) => ask();
  const { strays } = await browser.storage.get(id);
  stray();
  await browser.pass(strays.until - browser.server - 4 * second);
  browser.bridge = async ({ method }, ask) => {
    const answer = ask();
    if (method === "GET") await new Promise((resolve) => setTimeout(resolve, 5 * second));
    return answer;
  };
  stray();
  const looking = tab.keys();
  await browser.pass(2 * second);
  stray(); // when Grid had listed them
  await browser.pass(6 * second);
  await looking;
  browser.bridge = (request, ask) => ask();
  for (let looks = 0; looks < 20 && (live().length > 1 || (await browser.storage.get(id)).strays); looks++) {
    await browser.soon(tab.keys());
    await browser.pass(5 * second);
  }
  assert.deepEqual(live().map(([id]) => id), [session.id]);
  assert.equal((await browser.storage.get(id)).strays, undefined);
});

const many = process.env.SOAK ? 1000 : 250;
test(`${many} refreshes by two tabs that race, with everything that can go wrong on the way`, { timeout: 300_000 }, async () => {
  const chance = random(10);
  const dice = (n) => Math.floor(chance() * n);
  const { tabs, key } = await begin(2, { processing: () => (dice(5) === 0 ? 1 + dice(3) : 0) });

  /** As after a tab was frozen for a while: another has taken over, and has gone again. */
  const freed = (record) => (record.state === "active" ? { ...record, rev: record.rev + 1, lease: { holder: "another", until: Date.now() } } : undefined);
  const faults = {
    request: lost,
    answer: async (ask) => (ask(), lost()),
    unauthorized: () => refusal(401, "UNAUTHORIZED"),
    busy: () => refusal(503, "BUSY"),
    async slow(ask) {
      const answer = ask();
      await new Promise((resolve) => setTimeout(resolve, 5 * second));
      return answer;
    },
    async frozen(ask) {
      for (const { id } of await browser.storage.all()) await browser.storage.update(id, freed);
      return ask();
    },
  };
  browser.bridge = (_, ask) => (Object.values(faults)[dice(45)] ?? ((ask) => ask()))(ask);
  for (let count = 0; count < many; ) {
    const got = await Promise.all(tabs.map((tab) => tab.refreshSession({ key: key.id, timeoutMs: 60 * second })).map((call) => browser.soon(call)));
    for (const { code, status, retryable } of got.filter(({ code }) => code)) assert.ok(retryable || status === 401, code);
    const refreshed = got.filter(({ value }) => value);
    if (refreshed.length > 0) count++;
    assert.ok(new Set(refreshed.map(({ value }) => value.publicKey)).size <= 1, "both tabs have the same key");
  }
  browser.bridge = (_, ask) => ask();
  await browser.pass(600 * second);
  await browser.assertOne(tabs[0], key);
  assert.equal((await browser.storage.get(key.id)).strays, undefined);
});
