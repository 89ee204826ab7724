// Sessions that are kept alive: when, by which tab, and what is in the way. The real module, a model of Grid, and every
// clock in the test's hand.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Browser, isRefresh, lost, minute, refusal, second, types } from "./browser.js";

let browser;
/** A browser, with some tabs, in the first of which somebody signs in. */
async function begin({ tabs = 1, curve, autoRefresh, persistence, ahead = 0, ...settings } = {}) {
  browser = new Browser(settings);
  browser.ahead = ahead;
  const open = [];
  for (let i = 0; i < tabs; i++) open.push(await browser.open({ autoRefresh, persistence }));
  const key = await browser.signIn(open[0], { curve });
  return { key, tabs: open, tab: open[0], began: browser.server };
}
afterEach(() => browser.close());

for (const [ttl, due] of [[15 * minute, 13 * minute], [6 * minute, 4 * minute], [4 * minute, 160 * second], [30 * second, 20 * second]]) {
  test(`a session of ${ttl / second} s is refreshed after ${due / second} s`, async () => {
    const { key, tab, began } = await begin({ ttlMs: ttl });
    await browser.pass(due - 2 * second, second);
    assert.deepEqual([browser.count(), types(tab)], [0, ["started"]]);
    await browser.pass(7 * second, second);
    const [list, first] = browser.requests;
    assert.ok(list.method === "GET" && isRefresh(first) && Math.abs(first.at - began - due) <= second, `${first.at - began}`);
    assert.deepEqual(types(tab), ["started", "expiring", "refreshed"]);
    await browser.pass(6 * second, second); // calls that were under way have some time
    await browser.assertOne(tab, key);
  });
}

test("without autoRefresh each tab hears once that the session will soon be over, and it ends", async () => {
  const { key, tabs } = await begin({ tabs: 2, autoRefresh: false });
  await browser.pass(14 * minute, second);
  const late = await browser.open({ autoRefresh: false });
  await browser.pass(2 * minute, second);
  for (const tab of tabs) assert.deepEqual(types(tab), ["started", "expiring", "expired"]);
  assert.deepEqual(types(late), ["expiring", "expired"]);
  assert.deepEqual(late.events[0], { type: "expiring", key: key.id, session: key.session });
  assert.equal(browser.count(), 0);
});

test("of three tabs one refreshes, and one ends the session before: all hear of it, and ask for nothing else", async () => {
  const { key, tabs, began } = await begin({ tabs: 3 });
  await browser.pass(14 * minute, second);
  assert.deepEqual(browser.requests.map(({ method, leg }) => `${method} ${leg}`), ["GET 1", "POST 1", "POST 2", "DELETE 1", "DELETE 2"]);
  assert.equal(new Set(browser.requests.filter(({ method }) => method !== "DELETE").map(({ tab }) => tab)).size, 1);
  for (const tab of tabs) assert.deepEqual(types(tab), ["started", "expiring", "refreshed"]);
  for (const tab of tabs) await browser.assertOne(tab, key);
  assert.ok(browser.server < began + 15 * minute);
});

for (const curve of ["P-256", "secp256k1"]) {
  for (const persistence of ["indexeddb", "memory"]) {
    test(`an hour is four refreshes, and no half that signs is kept: ${curve}, ${persistence}`, async () => {
      const { key, tab } = await begin({ curve, persistence });
      await browser.pass(60 * minute, 5 * second);
      assert.deepEqual([browser.count(1), browser.count(2)], [4, 4]);
      assert.deepEqual(types(tab), ["started", ...Array(4).fill(["expiring", "refreshed"]).flat()]);
      const now = await browser.assertOne(tab, key);
      assert.deepEqual([now.curve, now.persistence, now.protection], [key.curve, key.persistence, key.protection]);
      const counts = [...tab.held.values()];
      // In memory the last one is in use; at rest none is.
      const kept = curve === "secp256k1" && persistence === "memory" ? 1 : 0;
      assert.deepEqual([counts.filter((count) => count === 0).length, counts.filter((count) => count > 1).length], [kept, 0]);
      assert.ok(counts.length >= (curve === "P-256" ? 0 : 5));
      await tab.close();
      assert.ok([...tab.held.values()].every((count) => count === 1));
      if (persistence === "indexeddb") assert.equal((await browser.storage.all()).length, 1, "nothing is left of those before");
    });
  }
}

test("a network that is gone from before it is due until after the end: the session is over", async () => {
  const { tab } = await begin();
  await browser.pass(12 * minute, second);
  browser.isOffline = true;
  await browser.pass(5 * minute, second);
  browser.isOffline = false;
  tab.online();
  await browser.pass(minute, second);
  assert.deepEqual(types(tab), ["started", "expiring", "expired"]);
  assert.deepEqual(browser.requests, []);
});

test("a network that is back before the end: the session goes on, within ten seconds", async () => {
  const { key, tab } = await begin();
  await browser.pass(12 * minute, second);
  browser.isOffline = true;
  await browser.pass(2 * minute, second);
  browser.isOffline = false;
  tab.online();
  await browser.pass(10 * second, second);
  await browser.assertOne(tab, key);
  assert.deepEqual(types(tab), ["started", "expiring", "refreshed"]);
});

for (const [name, hide] of Object.entries({ "sleeps": (ms) => browser.sleep(ms), "is awake": (ms) => browser.pass(ms, second) })) {
  test(`a device that ${name} past the time when it is due refreshes within a minute`, async () => {
    const { key, tab } = await begin();
    await browser.pass(10 * minute, second);
    await hide(3.5 * minute);
    await browser.pass(minute + 15 * second, second);
    await browser.assertOne(tab, key);
    assert.deepEqual(types(tab), ["started", "expiring", "refreshed"]);
  });
}

test("a device that sleeps past the end finds the session over, and asks Grid for none", async () => {
  const { tab } = await begin();
  await browser.pass(10 * minute, second);
  browser.sleep(20 * minute);
  await browser.pass(minute + 5 * second, second);
  assert.equal(types(tab).at(-1), "expired");
  assert.equal(browser.count(), 0);
});

for (const [name, ahead] of [["ahead", 20 * minute], ["behind", -20 * minute]]) {
  for (const when of ["from the beginning", "meanwhile"]) {
    test(`a device whose clock is 20 minutes ${name} ${when} refreshes by the server's`, async () => {
      const { key, tab, began } = await begin({ ahead: when === "meanwhile" ? 0 : ahead });
      await browser.pass(5 * minute, second);
      if (when === "meanwhile") browser.ahead = ahead;
      await browser.pass(9 * minute, second);
      const [first] = browser.requests;
      assert.ok(first?.at - began >= 12 * minute, `after ${(first?.at - began) / second} s`);
      assert.deepEqual(types(tab), ["started", "expiring", "refreshed"]);
      await browser.assertOne(tab, key);
    });
  }
}

for (const leg of [1, 2]) {
  test(`a refresh that Grid refuses for good at leg ${leg} is asked for once a minute and tab, and the session goes on to its end`, async () => {
    const { tabs } = await begin({ tabs: 3, ttlMs: 30 * minute });
    browser.bridge = (request, ask) => (isRefresh(request, leg) ? refusal(403) : ask());
    await browser.pass(32 * minute, second);
    for (const tab of tabs) assert.deepEqual(types(tab), ["started", "expiring", "expired"]);
    assert.ok(browser.count() >= 2 && browser.count() <= 9, `${browser.count()} times`);
  });
}

test("a Grid that takes half a minute for it is asked once", async () => {
  const { key, tab } = await begin({ tabs: 2 });
  const asked = [];
  browser.bridge = (request, ask) => {
    if (!isRefresh(request, 2)) return ask();
    asked.push(request);
    return browser.server - asked[0].at < 30 * second ? { status: 200, body: { status: "PROCESSING" } } : ask();
  };
  await browser.pass(14 * minute, second);
  assert.equal(browser.count(1), 1);
  assert.equal(new Set(asked.map(({ headers }) => headers["grid-wallet-signature"])).size, 1);
  await browser.assertOne(tab, key);
});

/** A session that is about to be refreshed. */
async function beginDue(settings) {
  const begun = await begin(settings);
  await browser.pass(775 * second, 25 * second);
  return begun;
}

/** When something comes between: `act` is called with the tab that refreshes. */
const moments = {
  "before leg 1": (act) => (browser.bridge = async (request, ask) => (isRefresh(request, 1) && (await act(request.tab)), ask())),
  "before it is written down that it may be signed": (act) =>
    (browser.atUpdate = async (tab, before, after) => before?.strays === undefined && after?.strays !== undefined && act(tab)),
  "before leg 2": (act) => (browser.bridge = async (request, ask) => (isRefresh(request, 2) && (await act(request.tab)), ask())),
  "when Grid has done it": (act) => {
    browser.bridge = async (request, ask) => {
      const answer = ask();
      if (isRefresh(request, 2)) await act(request.tab);
      return answer;
    };
  },
  "before it is written down": (act) => (browser.atUpdate = async (tab, _, after) => Array.isArray(after) && act(tab)),
};
/** Then, and only once. */
function once(moment, act) {
  let done = false;
  moments[moment]((tab) => !done && ((done = true), act(tab)));
}

for (const moment of Object.keys(moments)) {
  for (const who of ["another tab", "the next visit"]) {
    test(`the tab that refreshes is closed ${moment}: ${who} ends with one live session`, async () => {
      const { key } = await beginDue({ tabs: who === "another tab" ? 2 : 1 });
      once(moment, (tab) => tab.kill());
      await browser.until(() => browser.tabs.some(({ isAlive }) => !isAlive));
      const heir = browser.tabs.find(({ isAlive }) => isAlive) ?? (await browser.open());
      await browser.pass(8 * minute, 2 * second);
      await browser.assertOne(heir, key);
      assert.deepEqual([types(heir).at(-1), (await browser.storage.get(key.id)).strays], ["refreshed", undefined]);
      assert.equal(browser.count(), 2);
    });
  }

  for (const who of ["this tab", "another tab"]) {
    test(`a sign-out in ${who} ${moment}: nothing is signed but the end, and no session lives on`, async () => {
      const { key, tabs } = await beginDue({ tabs: 2 });
      let signedOut, asked;
      once(moment, async (refreshing) => {
        const tab = tabs.find((tab) => (tab === refreshing) === (who === "this tab"));
        asked = browser.requests.length;
        signedOut = tab.signOut({ key: key.id, timeoutMs: 20 * second });
        while ((await browser.storage.get(key.id)).state === "active");
      });
      await browser.until(() => signedOut);
      assert.equal((await browser.soon(signedOut)).value.status, "revoked");
      await browser.pass(minute);
      assert.deepEqual(browser.live, []);
      for (const tab of tabs) assert.deepEqual([await tab.keys(), types(tab).slice(-2)], [[], ["leaving", "signed-out"]]);
      assert.equal(browser.requests.slice(asked).filter((request) => isRefresh(request, 2)).length, 0);
    });
  }

  test(`a key that is removed ${moment}: what the refresh has made does not live on`, async () => {
    const { key, tabs } = await beginDue({ tabs: 2 });
    let removed;
    once(moment, (refreshing) => (removed = tabs.find((tab) => tab !== refreshing).removeKey(key.id)));
    await browser.until(() => removed);
    assert.equal(await removed, true);
    await browser.pass(minute);
    assert.deepEqual(browser.live, [{ id: key.session.id, publicKey: key.publicKey }]);
    for (const tab of tabs) assert.deepEqual([await tab.keys(), types(tab).at(-1)], [[], "removed"]);
  });
}

test("a tab that was frozen does not take up a session that another has ended meanwhile", async () => {
  const { key, tabs } = await begin({ tabs: 2, autoRefresh: false });
  const [frozen, other] = tabs;
  let thaw;
  once("when Grid has done it", () => void (thaw = frozen.freeze()));
  const refreshed = frozen.refreshSession({ key: key.id, timeoutMs: 5 * minute });
  await browser.until(() => thaw);
  await browser.pass(80 * second, 100);
  assert.deepEqual(browser.live.map(({ id }) => id), [key.session.id], "one too many, as far as the other could know");
  thaw();
  await browser.soon(refreshed);
  await browser.pass(20 * second);
  await browser.assertOne(other, key);
});

test("a request that Grid has taken, and then is refused to hear of, is none that came to nothing", async () => {
  const { key, tab } = await begin({ autoRefresh: false, processing: () => 1 });
  let resent = 0;
  browser.bridge = (request, ask) => (isRefresh(request, 2) && ++resent === 2 ? refusal(403) : ask());
  await browser.refresh(tab, key);
  await browser.pass(12 * second);
  browser.grid.answer({ method: "GET" });
  assert.equal(browser.live.length, 2);
  await browser.pass(8 * minute, 2 * second);
  await browser.assertOne(tab, key);
});

test("a sign-out ends what a lost answer has made, too", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  browser.bridge = async (request, ask) => (isRefresh(request, 2) ? (ask(), lost()) : ask());
  assert.equal((await browser.refresh(tab, key, { timeoutMs: second })).retryable, true);
  assert.ok(browser.live.length > 1);
  await browser.soon(tab.signOut({ key: key.id, timeoutMs: minute }));
  assert.deepEqual(browser.live, []);
});

test("a key that the browser drops while it is refreshed is lost, and what was made is ended", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  once("when Grid has done it", () => browser.storage.update(key.id, () => null));
  const got = await browser.refresh(tab, key);
  assert.equal(got.code, "KEY_LOST");
  await browser.pass(20 * second);
  assert.deepEqual(browser.live.map(({ id }) => id), [key.session.id]);
  assert.equal(types(tab).at(-1), "lost");
  assert.equal((await browser.soon(tab.signOut({ key: key.id, timeoutMs: second }))).code, "KEY_LOST");
});

test("a list that does not say since when a session goes on lets nobody end another one", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  const { id: elsewhere } = browser.grid.add("02".padEnd(66, "0"));
  browser.bridge = async (request, ask) => {
    const answer = await ask();
    for (const row of answer.body?.data ?? []) delete row.createdAt;
    return isRefresh(request, 2) ? lost() : answer;
  };
  await browser.refresh(tab, key, { timeoutMs: 10 * second });
  await browser.pass(2 * minute);
  assert.ok(browser.live.some(({ id }) => id === elsewhere));
});

test("storage that fails where a refresh is written down: the session goes on, and what was made is ended later", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  once("before it is written down", () => Promise.reject(new Error("refused")));
  const { code, retryable } = await browser.refresh(tab, key, { timeoutMs: 900 });
  assert.deepEqual([code, retryable], ["STORAGE_FAILED", true]);
  assert.equal(browser.live.length, 2);
  assert.deepEqual((await tab.keys()).map(({ session }) => session), [key.session]);
  await browser.pass(8 * minute, 2 * second);
  await browser.assertOne(tab, key);
  assert.deepEqual(types(tab), ["started"]);
});

test("who waits for a refresh while sessions too many are looked for gets it, whatever became of the search", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  const wanted = () => tab.refreshSession({ key: key.id, timeoutMs: minute });
  let [lists, joined] = [0];
  browser.bridge = (request, ask) => {
    if (request.method === "GET" && ++lists === 2) return (joined = wanted()), refusal(403); // the first was the refresh's own
    return isRefresh(request, 2) && !joined ? lost() : ask();
  };
  await browser.refresh(tab, key, { timeoutMs: second });
  await browser.until(() => joined, 3 * minute);
  assert.equal((await browser.soon(joined)).code, undefined);
});

test("an aborted call begins no refresh", async () => {
  const { key, tab } = await begin({ autoRefresh: false });
  await browser.refresh(tab, key, { signal: AbortSignal.abort() });
  await browser.pass(minute);
  assert.equal(browser.count(), 0);
});
