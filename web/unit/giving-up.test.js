// Sign-ins that come to nothing: whatever fails, and wherever the tab is closed, no key is left that nobody uses, and no
// session that Grid has made for it, but one of a token, which is over by itself. The real module, a model of Grid.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Browser, lost, minute, refusal, second } from "./browser.js";
import { Person } from "./person.js";

/** One of each kind. */
const kinds = ["OAUTH", "EMAIL_OTP", "PASSKEY"];

let browser, person, tab;
async function begin(settings) {
  await browser?.close();
  browser = new Browser(settings);
  person = new Person(browser);
  tab = await browser.open({ autoRefresh: false });
}
afterEach(async () => {
  await browser.close();
  browser = undefined;
});

const isWrite = (name) => name === "add" || name === "update";
const keysOf = async (tab) => (await browser.soon(tab.keys())).value;

/** Makes something happen at the `n`th of the points at which a sign-in waits for Grid or for a write. Says whether it comes to that. */
function happenAt(n, happen) {
  let count = 0;
  const at = { reached: false };
  const pass = async (by, ...where) => {
    if (by !== tab || count++ !== n) return;
    at.reached = true;
    await happen(...where);
  };
  browser.atStorage = (by, name, when) => isWrite(name) && pass(by, name, when);
  browser.bridge = async (request, ask) => {
    await pass(request.tab, "request", "before");
    if (!request.tab.isAlive) return lost();
    const answer = ask();
    await pass(request.tab, "request", "after");
    return answer;
  };
  return at;
}

const well = () => {
  browser.atStorage = async () => {};
  browser.bridge = (_, ask) => ask();
};

/** Begins to sign in, with a key of the app's where it takes one. */
async function enter(type, options) {
  const key = type === "OAUTH" ? (await browser.soon(tab.createKey({}, {}))).value.id : undefined;
  const entering = { key, got: undefined };
  return [entering, () => void person.enter(tab, type, { key, ...options }).then((value) => (entering.got = { value }), (error) => (entering.got = error))];
}

/** What is left, once everything has had its time. */
async function assertOver(tab, type, { got, key: given }, where) {
  await keysOf(tab); // whoever looks sees what nobody goes on with
  await browser.pass(second);
  const records = (await browser.storage.all()).filter(({ state }) => state !== "ended");
  const what = `${where}: ${JSON.stringify([got, browser.live, records])}`;
  const active = records.filter(({ state }) => state === "active");
  if (got?.value || active.length > 0) {
    // Signed in, as whoever called knows, or where nobody was left to be told.
    const [key, ...others] = await keysOf(tab);
    assert.deepEqual([others, key?.id], [[], got?.value?.id ?? active[0].id], what);
    assert.ok(browser.live.some(({ id, publicKey }) => id === key.session.id && publicKey === key.publicKey), what);
    const strays = browser.live.filter(({ id }) => id !== key.session.id);
    return assert.ok(type === "OAUTH" || strays.length === 0, what);
  }
  assert.ok(got === undefined || got.code, what);
  // A key of the app's with which nothing was begun is as it was.
  assert.deepEqual(records.filter(({ id, signIn }) => id !== given || signIn), [], what);
  assert.deepEqual((await keysOf(tab)).filter(({ id }) => id !== given), [], what);
  if (type === "OAUTH") {
    // Each try of a token whose answer was lost has started a session, and of which account nobody knows.
    browser.sleep(15 * minute);
  }
  assert.deepEqual(browser.live, [], what);
}

/** Long enough for a sign-in of a minute to be nobody's, and for Grid to have settled what it was sent. */
const enough = 3 * minute;

/** Signs in again and again, until it comes to no further point. Returns how often. */
async function atEveryPoint(type, settings, happen, then) {
  for (let n = 0; ; n++) {
    await begin(settings);
    const [entering, start] = await enter(type);
    let where;
    const at = happenAt(n, (...point) => ((where = `${type} ${n} ${point}`), happen(...point)));
    start();
    await browser.until(() => at.reached || entering.got);
    if (!at.reached) return n;
    await then(entering, where);
  }
}

for (const type of kinds) {
  test(`${type}: a tab that is closed at any point leaves nothing behind`, async () => {
    const points = await atEveryPoint(type, {}, () => tab.kill(), async (entering, where) => {
      well();
      const next = await browser.open({ autoRefresh: false });
      await browser.pass(enough, 5 * second);
      await assertOver(next, type, { key: entering.key }, where);
    });
    assert.ok(points >= { OAUTH: 8, EMAIL_OTP: 12, PASSKEY: 10 }[type], `${points}`);
  });

  test(`${type}: a tab that is closed at any point, and another one only later`, async () => {
    await atEveryPoint(type, {}, () => tab.kill(), async (entering, where) => {
      well();
      await browser.pass(10 * minute, 10 * second);
      const next = await browser.open({ autoRefresh: false });
      await browser.pass(enough, 5 * second);
      await assertOver(next, type, { key: entering.key }, where);
    });
  });

  test(`${type}: a tab that sleeps at any point until another has given up for it`, async () => {
    let thaw;
    await atEveryPoint(type, {}, () => void (thaw = tab.freeze()), async (entering, where) => {
      const next = await browser.open({ autoRefresh: false });
      await browser.pass(enough, 5 * second);
      thaw();
      await browser.pass(enough, 5 * second);
      await assertOver(next, type, entering, where);
    });
  });

  for (const [name, refuse] of Object.entries({
    "does not": (when) => when === "before",
    "does, and does not say so": (when) => when === "after",
  })) {
    test(`${type}: at any point storage is to write something down, and ${name}`, async () => {
      const happen = (name, when) => {
        if (name !== "request" && refuse(when)) throw new Error("refused");
      };
      await atEveryPoint(type, {}, happen, async (entering, where) => {
        await browser.until(() => entering.got);
        await browser.pass(enough, 5 * second);
        await assertOver(tab, type, entering, where);
      });
    });

    test(`${type}: from any point on storage ${name}, until the tab is closed`, async () => {
      const happen = () => {
        const fail = async (by, called, when) => {
          if (by === tab && isWrite(called) && refuse(when)) throw new Error("refused");
        };
        browser.atStorage = fail;
      };
      await atEveryPoint(type, {}, happen, async (entering, where) => {
        await browser.until(() => entering.got);
        await browser.pass(enough, 5 * second);
        if (entering.got.value) return; // then it is for the next test file, and for nobody to give up
        tab.kill();
        well();
        const next = await browser.open({ autoRefresh: false });
        await browser.pass(enough, 5 * second);
        await assertOver(next, type, entering, where);
      });
    });
  }
}

/** What can become of a request. */
const faults = {
  "is lost": () => lost(),
  "has its answer lost": async (ask) => (ask(), lost()),
  "is refused": () => refusal(403, "FORBIDDEN"),
  "is answered with nonsense": async (ask) => (ask(), { status: 200, body: {} }),
  "is answered 401": () => refusal(401, "UNAUTHORIZED"),
  "has an answer that is turned into a 500": async (ask) => (ask(), refusal(500, "INTERNAL")),
  "is answered 503": () => refusal(503, "BUSY"),
};

for (const type of kinds) {
  for (const [name, fault] of Object.entries(faults)) {
    test(`${type}: any request ${name}, once or from then on`, async () => {
      for (const isForGood of [false, true]) {
        for (let n = 0; ; n++) {
          await begin();
          const [entering, start] = await enter(type);
          let count = 0;
          browser.bridge = (request, ask) => {
            const [isIt, isLater] = [count === n, count > n];
            count++;
            return isIt || (isLater && isForGood && !entering.got) ? fault(ask) : ask();
          };
          start();
          await browser.until(() => entering.got);
          if (count <= n) break;
          const where = `${name}, request ${n}${isForGood ? " and on" : ""}`;
          await browser.pass(enough, 5 * second);
          await assertOver(tab, type, entering, where);
        }
      }
    });
  }
}
