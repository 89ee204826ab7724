// What custody passes on to the module and what it says of keys that are gone,
// with a module, a storage and a bridge of the test's.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Custody } from "../.tsc/src/custody.js";
import { GridSignerError } from "../.tsc/src/errors.js";
import { Memory } from "../.tsc/src/keys/memory.js";
import { idle, outcome, performing } from "./ports.js";

const minute = 60_000;
const ids = (n) => `019542f5-b3e7-1d02-0000-00000000000${n}`;
const [session, other] = [3, 4].map((n) => `Session:${ids(n)}`);
const timeoutMs = 4000;

let wall, monotonic, device, opened, giveUp;
/** A bridge that does not answer, for as long as the test runs. */
let silence;
beforeEach(() => {
  silence = new Promise((_, reject) => (giveUp = reject));
  silence.catch(() => {});
  [wall, monotonic, device, opened] = [1_900_000_000_000, 0, 0, []];
  mock.method(Date, "now", () => wall + device);
  mock.method(performance, "now", () => monotonic);
  mock.method(globalThis, "fetch", async () => new Response(null, { status: 405, headers: { Date: new Date(wall).toUTCString() } }));
  globalThis.addEventListener = () => {}; // Node has no window and no worker scope
});
afterEach(async () => {
  for (const custody of opened) await custody.close();
  giveUp(new GridSignerError("TIMEOUT", "no answer"));
  await idle();
  delete globalThis.addEventListener;
  mock.reset();
});

const binding = (id = session) => ({ id, accountId: `InternalAccount:${ids(1)}`, expiresAt: new Date(wall + minute).toISOString() });
const challenge = () => ({ payloadToSign: "b3BhcXVl", requestId: "Request:1", expiresAt: binding().expiresAt });

/** A custody, and the module behind it, which takes what it is given and says yes. */
function open({ lost, storage, ...methods } = {}) {
  const module = performing({
    given: [],
    signChallenge: async (_, options) => (module.given.push(options), {}),
    revokeSession: async (sessionId, options) => (module.given.push(options), await options.allow(), { status: "revoked", sessionId }),
    listSessions: async () => [],
    ...methods,
  });
  const settings = { bridgeUrl: "https://wallet.example/api/grid", credentials: "same-origin", payloads: "activities" };
  const events = [];
  const page = { onEvent: (event) => events.push(event), headers: async () => ({ a: "1" }) };
  const persistence = storage ? "indexeddb" : "memory";
  const custody = new Custody(module, { ...settings, persistence, namespace: undefined, lost }, page, storage);
  opened.push(custody);
  return { custody, module, events };
}

/** The same, with a key that is bound. */
async function openBound(settings) {
  const made = open(settings);
  const { id } = await made.custody.createKey({}, {});
  await made.custody.bindSession(id, binding());
  return { ...made, id };
}

for (const [name, call] of Object.entries({
  signChallenge: (custody, key) => custody.signChallenge(challenge(), { key, timeoutMs }),
  revokeSession: (custody, key) => custody.revokeSession(other, { key, timeoutMs }),
})) {
  test(`the time that the clock takes is part of a call's own: ${name}`, async () => {
    const { custody, module, id } = await openBound();
    device = 20 * minute; // by this device's clock the session is over: the bridge has to be asked
    fetch.mock.mockImplementation(async () => {
      monotonic += 3000; // which is slow to say what time it is
      return new Response(null, { headers: { Date: new Date(wall).toUTCString() } });
    });
    await call(custody, id);
    assert.equal(module.given[0].timeoutMs, 1000);
  });
}

test("the module is told what holds for the key, and asks the page for headers itself", async () => {
  const { custody, module, id } = await openBound();
  await custody.signChallenge(challenge(), { key: id, timeoutMs, format: "der" });
  await custody.revokeSession(other, { key: id, timeoutMs });
  const [signed, revoked] = module.given;
  assert.deepEqual([signed.payloads, signed.format, signed.key.curve, signed.bridgeUrl], ["activities", "der", "P-256", undefined]);
  assert.deepEqual([revoked.payloads, revoked.bridgeUrl, revoked.credentials], ["activities", "https://wallet.example/api/grid", "same-origin"]);
  assert.deepEqual(await revoked.headers({ signal: new AbortController().signal }), { a: "1" });
  assert.equal("organizationId" in revoked, false);
});

test("a key is held to the organization of what Grid has accepted, and to none before", async () => {
  const accepting = async (sessionId, options) => (module.given.push(options), { status: "revoked", sessionId, organizationId: "org-1" });
  const { custody, module, id } = await openBound({ revokeSession: accepting });
  const result = await custody.revokeSession(other, { key: id, timeoutMs });
  assert.deepEqual(result, { status: "revoked", sessionId: other });
  await custody.signChallenge(challenge(), { key: id, timeoutMs });
  assert.deepEqual(module.given.map(({ organizationId }) => organizationId), [undefined, "org-1"]);
});

/** Every way in which a key goes, from where it is bound. */
const ways = {
  "removed": ({ custody, id }) => custody.removeKey(id),
  "signed out": ({ custody, id }) => custody.signOut({ key: id, timeoutMs }),
  "being signed out": ({ custody, module, id }) => ((module.revokeSession = () => silence), custody.signOut({ key: id, timeoutMs: 0 })),
  "forgotten": ({ custody, module, id }) => (
    (module.revokeSession = () => silence), custody.signOut({ key: id, timeoutMs: 0, unreachable: "forget" })
  ),
  "over": () => void ((wall += 2 * minute), (monotonic += 2 * minute)),
  "over, and was used since": ({ custody, id }) => ((wall += 2 * minute), (monotonic += 2 * minute), outcome(uses.signChallenge(custody, id))),
  async "revoked by another key"({ custody }) {
    const { id } = await custody.createKey({}, {});
    await custody.bindSession(id, binding(other));
    await custody.revokeSession(session, { key: id, timeoutMs });
  },
  "not to be opened any more"({ custody, module, id }) {
    module.signChallenge = () => Promise.reject(new GridSignerError("KEY_MALFORMED", "it does not open"));
    return outcome(custody.signChallenge(challenge(), { key: id, timeoutMs }));
  },
};

/** What can be wanted of a key. */
const uses = {
  signChallenge: (custody, key) => custody.signChallenge(challenge(), { key, timeoutMs }),
  "revokeSession of another": (custody, key) => custody.revokeSession(other, { key, timeoutMs }),
  bindSession: (custody, key) => custody.bindSession(key, binding()),
  "signOut of others": (custody, key) => custody.signOut({ key, timeoutMs, scope: "others" }),
};

for (const [way, end] of Object.entries(ways)) {
  for (const storageFails of [false, true]) {
    test(`a key that is ${way}${storageFails ? ", and storage fails," : ""} is KEY_LOST for every use, and nobody is to try again`, async () => {
      const storage = storageFails ? new Memory() : undefined;
      const made = await openBound({ storage });
      await end(made);
      if (storageFails) for (const name of ["get", "all", "update", "add"]) storage[name] = () => Promise.reject(new Error("refused"));
      for (const [name, use] of Object.entries(uses)) {
        const got = await outcome(use(made.custody, made.id));
        // Of a session that is over nobody knows until it is written down, where the storage is what tells.
        if (storageFails && way === "over") assert.equal(got.code, "STORAGE_FAILED", name);
        else assert.deepEqual([got.code, got.retryable], ["KEY_LOST", false], `${name}: ${got.uncoded}`);
      }
    });
  }
}

test("a key that died with an earlier worker is KEY_LOST, one that never was KEY_NOT_FOUND, and nobody is to try again", async () => {
  for (const [lost, code] of [[["key"], "KEY_LOST"], [[], "KEY_NOT_FOUND"]]) {
    const { custody } = open({ lost });
    for (const use of [...Object.values(uses), (custody, key) => custody.signOut({ key, timeoutMs })]) {
      const got = await outcome(use(custody, "key"));
      assert.deepEqual([got.code, got.retryable], [code, false]);
    }
    assert.equal(await custody.removeKey("key"), false);
  }
});

test("a key that storage did not tell of, and then says is not there, was not removed", async () => {
  const storage = new Memory();
  const { custody, id } = await openBound({ storage });
  const { get } = storage;
  await storage.update(id, () => null);
  for (const removed of [id, "another"]) {
    storage.get = (id) => ((storage.get = get), Promise.reject(new Error(`refused, once: ${id}`)));
    assert.equal(await custody.removeKey(removed), false);
  }
});

test("a key that was removed before it had a session is KEY_LOST for every use, its sign-out included", async () => {
  const { custody } = open();
  const { id } = await custody.createKey({}, {});
  await custody.removeKey(id);
  for (const [name, use] of Object.entries({ ...uses, signOut: (custody, key) => custody.signOut({ key, timeoutMs }) })) {
    const { code, retryable } = await outcome(use(custody, id));
    assert.deepEqual([code, retryable], ["KEY_LOST", false], name);
  }
});

for (const [name, use] of Object.entries({ signChallenge: "signChallenge", revokeSession: "revokeSession of another" })) {
  test(`a key that goes while the module works is KEY_LOST, and nothing that it signs leaves the worker: ${name}`, async () => {
    let goOn;
    const working = new Promise((resolve) => (goOn = resolve));
    const { custody, id } = await openBound({ [name]: async (_, { allow }) => (await working, await allow?.(), "signed") });
    const signing = outcome(uses[use](custody, id));
    await idle();
    await custody.removeKey(id);
    goOn();
    const { code, retryable } = await signing;
    assert.deepEqual([code, retryable], ["KEY_LOST", false]);
  });
}

test("storage is asked beside the signing: until it has answered no signature leaves the worker, and none of a key that it says has ended", async () => {
  const storage = new Memory();
  const { custody, module, id } = await openBound({ storage, signChallenge: async (_, options) => (module.given.push(options), "signed") });
  const { get } = storage;
  for (const end of [undefined, { state: "ended", reason: "removed", secret: undefined }]) {
    let answer, got;
    storage.get = (id) => new Promise((resolve) => (answer = () => resolve(get.call(storage, id))));
    module.given = [];
    const signing = outcome(custody.signChallenge(challenge(), { key: id, timeoutMs })).then((it) => (got = it));
    await idle();
    assert.deepEqual([module.given.length, got], [1, undefined]);
    storage.get = get;
    if (end) await storage.update(id, (record) => ({ ...record, ...end, rev: record.rev + 1 })); // by another tab
    answer();
    await signing;
    assert.equal(end ? got.code : got.value, end ? "KEY_LOST" : "signed");
  }
});

test("a key that another tab has refreshed since this one looked signs with the half that it has by now", async () => {
  const storage = new Memory();
  const { custody, module, id } = await openBound({ storage, signChallenge: async (_, { key }) => (module.given.push(key.publicKey), key.publicKey) });
  const [{ publicKey: before }] = await custody.keys();
  const publicKey = "03".padEnd(66, "5");
  await storage.update(id, (record) => ({ ...record, publicKey, rev: record.rev + 1 }));
  assert.equal(await custody.signChallenge(challenge(), { key: id, timeoutMs }), publicKey);
  assert.deepEqual(module.given, [before, publicKey]);
});

test("a session that began in another tab before this one has looked is news, and one from before this one is none", async () => {
  const storage = new Memory();
  const { custody: other } = await openBound({ storage });
  wall += 1000;
  monotonic += 1000;
  const { all } = storage;
  let look;
  storage.all = () => new Promise((resolve) => (look = () => resolve(all.call(storage))));
  const { events } = open({ storage });
  const { id } = await other.createKey({}, {});
  await other.bindSession(id, binding(session));
  storage.all = all;
  look();
  await idle();
  assert.deepEqual(events.map(({ type, key }) => [type, key]), [["started", id]]);
});

test("a challenge that came just now and is over shows a clock that is wrong, and not an end", async () => {
  const expired = async (_, { onProgress }) => {
    onProgress({ step: "challenge", expiresAt: new Date(wall - 10 * minute).toISOString() });
    throw new GridSignerError("CHALLENGE_EXPIRED", "it is over");
  };
  const { custody, id } = await openBound({ revokeSession: expired });
  const { code, skewMs } = await outcome(custody.revokeSession(other, { key: id, timeoutMs }));
  assert.deepEqual([code, skewMs], ["CLOCK_SKEW", 10 * minute]);
  assert.equal((await custody.keys()).length, 1);
});

test("where this device alone says that the session is over the key is not used, and stays", async () => {
  const { custody, id } = await openBound();
  device = 20 * minute;
  fetch.mock.mockImplementation(() => Promise.reject(new TypeError("Failed to fetch")));
  for (const use of [uses.signChallenge, uses["revokeSession of another"]]) {
    const { code, retryable, skewMs } = await outcome(use(custody, id));
    assert.deepEqual([code, retryable, skewMs], ["CLOCK_SKEW", false, 19 * minute]);
  }
  assert.deepEqual((await custody.keys()).map((key) => key.id), [id]);
});

test("whoever wants out of all sessions is signed out here, though the clocks let no other be ended", async () => {
  const { custody, id } = await openBound({ revokeSession: async () => ({ status: "revoked", sessionId: session }) });
  device = 20 * minute;
  fetch.mock.mockImplementation(() => Promise.reject(new TypeError("Failed to fetch")));
  const [others, own] = await custody.signOut({ key: id, timeoutMs, scope: "all" });
  assert.deepEqual([others.error.code, own], ["CLOCK_SKEW", { status: "revoked", sessionId: session }]);
});
