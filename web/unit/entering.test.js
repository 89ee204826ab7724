// Signing in: each way, what it binds, and what Grid refuses. The real module, a model of Grid and of an authenticator,
// and every clock in the test's hand.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Browser, lost, minute, refusal, second, types as events } from "./browser.js";
import { Person, types } from "./person.js";

let browser, person;
/** A browser with some tabs. */
async function begin({ tabs = 1, persistence, ...settings } = {}) {
  browser = new Browser(settings);
  person = new Person(browser);
  const open = [];
  for (let i = 0; i < tabs; i++) open.push(await browser.open({ autoRefresh: false, persistence }));
  return open;
}
afterEach(() => browser.close());

const enter = (tab, type, options) => browser.soon(person.enter(tab, type, options));
const keys = async (tab) => (await browser.soon(tab.keys())).value;

/** What came, in a word each. */
const asked = () => browser.requests.map(({ method, path, leg }) => `${method} ${path.split("/").at(-1).replace(/\?.*/, "")} ${leg}`);
const requests = {
  OAUTH: ["POST verify 1"],
  PASSKEY: ["POST challenge 1", "POST verify 1"],
  EMAIL_OTP: ["POST challenge 1", "POST verify 1", "POST verify 2"],
  SMS_OTP: ["POST challenge 1", "POST verify 1", "POST verify 2"],
};

for (const type of types) {
  for (const curve of ["P-256", "secp256k1"]) {
    test(`${type}, ${curve}: a key is signed in, in every tab, and signed out`, async () => {
      const [tab, other] = await begin({ tabs: 2 });
      const { value: key, ...failed } = await enter(tab, type, { curve });
      assert.ok(key, JSON.stringify(failed));
      assert.deepEqual(asked(), requests[type]);
      assert.deepEqual([key.curve, key.persistence], [curve, "indexeddb"]);
      assert.deepEqual(browser.live, [{ id: key.session.id, publicKey: key.publicKey }]);
      const [bound] = browser.grid.sessions.values();
      assert.deepEqual(key.session, { id: bound.id, accountId: bound.accountId, expiresAt: bound.expiresAt });
      for (const each of [tab, other]) {
        assert.deepEqual(await keys(each), [key]);
        assert.deepEqual((await browser.soon(each.session())).value, key);
        assert.deepEqual(each.events, [{ type: "started", key: key.id, session: key.session }]);
      }
      assert.equal((await browser.soon(other.signOut({ key: key.id, timeoutMs: 9 * second }))).value.status, "revoked");
      assert.deepEqual([browser.live, await keys(tab)], [[], []]);
    });
  }
}

test("the session is that of the key which signed in last, though it was made before, and after a refresh too", async () => {
  const [tab] = await begin();
  const active = async () => (await browser.soon(tab.session())).value?.id;
  assert.equal(await active(), undefined);
  const { value: early } = await browser.soon(tab.createKey({}, {})); // for its nonce, say
  await browser.pass(second);
  const { value: coded } = await enter(tab, "EMAIL_OTP");
  assert.equal(await active(), coded.id);
  await browser.pass(second);
  assert.equal((await enter(tab, "OAUTH", { key: early.id })).value.id, early.id);
  assert.equal(await active(), early.id);
  await browser.soon(tab.refreshSession({ key: coded.id, timeoutMs: 9 * second }));
  assert.equal(await active(), early.id);
});

test("who gives up while the session is being bound has no key, and no session is left", async () => {
  const [tab] = await begin();
  const aborter = new AbortController();
  browser.atUpdate = async (_, __, after) => after?.state === "active" && aborter.abort();
  assert.equal((await enter(tab, "EMAIL_OTP", { signal: aborter.signal })).code, "ABORTED");
  await browser.pass(90 * second, 5 * second);
  assert.deepEqual([browser.live, await keys(tab)], [[], []]);
});

/** Sign-in by token waits for Grid's answer until `answer` is called. */
async function hold(tab, options) {
  const { value: key } = await browser.soon(tab.createKey({}, {}));
  let answer;
  browser.bridge = async (request, ask) => {
    if (request.path.endsWith("/verify")) await new Promise((resolve) => (answer = resolve));
    return ask();
  };
  const entering = person.enter(tab, "OAUTH", { key: key.id, ...options });
  await browser.until(() => answer);
  return { key, entering, answer: () => answer() };
}

test("a key signs in once at a time, in whichever tab that is asked for", async () => {
  const tabs = await begin({ tabs: 2 });
  for (const other of tabs) {
    const { value: { id } } = await browser.soon(tabs[0].createKey({}, {}));
    const pending = [tabs[0], other].map((tab) => browser.soon(person.enter(tab, "OAUTH", { key: id })));
    const got = await Promise.all(pending);
    const [refused, ...others] = got.filter(({ code }) => code);
    assert.deepEqual([refused?.code, others], ["ARGUMENT_INVALID", []], JSON.stringify(got));
    assert.equal(got.find(({ value }) => value).value.id, id);
    assert.equal(asked().length, 1);
    browser.requests = [];
  }
});

test("a key that is signing in is used for nothing else, in any tab, and is shown", async () => {
  const tabs = await begin({ tabs: 2 });
  const { key, entering, answer } = await hold(tabs[0]);
  const session = browser.grid.add("02".padEnd(66, "1"));
  const challenge = { payloadToSign: "b3BhcXVl", requestId: "Request:019542f5-b3e7-1d02-0000-000000000007", expiresAt: new Date(browser.server + minute).toISOString() };
  for (const tab of tabs) {
    for (const [name, use] of Object.entries({
      bindSession: () => tab.bindSession(key.id, session),
      signChallenge: () => tab.signChallenge(challenge, { key: key.id, timeoutMs: second }),
      "signChallenge to sign in": () => tab.signChallenge(challenge, { key: key.id, intent: "sign-in", timeoutMs: second }),
      revokeSession: () => tab.revokeSession(session.id, { key: key.id, timeoutMs: second }),
      refreshSession: () => tab.refreshSession({ key: key.id, timeoutMs: second }),
      exportWallet: () => tab.exportWallet(session.accountId, { key: key.id, timeoutMs: second }),
    })) {
      assert.equal((await browser.soon(use())).code, "ARGUMENT_INVALID", name);
    }
    assert.deepEqual(await keys(tab), [key]);
  }
  answer();
  const { value: bound } = await browser.soon(entering);
  assert.equal(bound.id, key.id);
  assert.deepEqual(asked(), ["POST verify 1"]);
});

for (const [name, end] of [["removed", (tab, key) => tab.removeKey(key)], ["signed out", (tab, key) => tab.signOut({ key, timeoutMs: second })]]) {
  test(`a key that is ${name} in another tab while it signs in: the session that Grid makes is ended`, async () => {
    const tabs = await begin({ tabs: 2 });
    const { key, entering, answer } = await hold(tabs[0]);
    const { code, value } = await browser.soon(end(tabs[1], key.id));
    assert.deepEqual([code, value], name === "removed" ? [undefined, true] : ["ARGUMENT_INVALID", undefined]);
    assert.deepEqual(await keys(tabs[1]), []);
    answer();
    assert.equal((await browser.soon(entering)).code, "KEY_LOST");
    await browser.pass(10 * second);
    assert.deepEqual([browser.live, await keys(tabs[0]), types.flatMap(() => tabs.flatMap(events))], [[], [], []]);
  });
}

test("who may not look at Grid's list any more does not ask for it for ever", async () => {
  const [tab] = await begin();
  browser.bridge = async ({ tab, method, leg }, ask) => {
    if (method === "GET") return refusal(403, "FORBIDDEN");
    const answer = ask();
    if (leg === 2) tab.kill();
    return answer;
  };
  void person.enter(tab, "EMAIL_OTP").catch(() => {});
  await browser.until(() => !tab.isAlive);
  const next = await browser.open({ autoRefresh: false });
  await browser.pass(17 * minute, 5 * second);
  const [{ state, secret }] = await browser.storage.all();
  assert.deepEqual([state, secret, browser.live], ["ended", undefined, []], "what it was for is over by itself");
  browser.requests = [];
  await browser.pass(5 * minute, 5 * second);
  assert.deepEqual([asked(), await keys(next)], [[], []]);
});
