// The life of a key in two tabs and one storage: every pair of moves, in every order of what each asks of storage, and
// with storage that refuses, answers too late, forgets, or comes back with an older copy at every one of these steps.
// A search, not a list of examples: `schedules` tries every choice that a run could have made.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Keyring } from "../.tsc/src/keys/keyring.js";
import { maySign, states, step } from "../.tsc/src/keys/machine.js";

const session = { id: "Session:1", accountId: "InternalAccount:1", expiresAt: "2026-01-01T00:00:00Z" };
const another = { ...session, id: "Session:2" };
const now = Date.now();

const fresh = {
  id: "key", curve: "P-256", publicKey: "02", createdAt: now, state: "new", rev: 0, persistence: "indexeddb", secret: { handle: 1 },
};
const active = step(fresh, { type: "bind", session });
const leave = { type: "leave", holder: "a", now };
const leaving = step(active, { ...leave, holder: "gone", now: now - 60_000 });
const ended = step(active, { type: "end", reason: "removed", now });
/** A key with which the tab "a" signs in, and has not sent Grid anything yet. */
const signIn = { attempt: "a", until: now + 1000 };
const entering = step(fresh, { type: "sign-in", signIn });
const giveUp = { type: "give-up", holder: "a", now };
const begins = { new: fresh, active, leaving, ended };

const moves = [
  { type: "bind", session: another },
  { type: "accept", organizationId: "org" },
  leave,
  { type: "lease", holder: "a", now },
  ...["signed-out", "revoked", "removed", "forgotten"].map((reason) => ({ type: "end", reason, now, session })),
];

/** What refreshes and their tidying are in one tab: see Tab. The later one comes when every lease of before is over. */
const refresh = { refresh: true, now };
const refreshLate = { refresh: true, now: now + 10_000 };
const tidyLate = { tidy: true, now: now + 10_000 };
const beside = [...moves, { ...leave, holder: "b" }, refresh, refreshLate, tidyLate];

/** What another tab may do while a key signs in; the last is what each does with one whose time is up. */
const besideEntering = [
  { type: "bind", session: another },
  { type: "accept", organizationId: "org" },
  { type: "sign-in", signIn: { ...signIn, attempt: "b" } },
  { type: "end", reason: "removed", now },
  { ...leave, holder: "b" },
  { ...giveUp, holder: "b" },
];

/** Records are values: a copy is the same one, as long as nobody changes it. */
const copy = (record) => record && Object.freeze(record);
const rank = (record) => (record ? states.indexOf(record.state) : -1);
/** Everything has happened that waits for no storage: none of it takes more turns than this. */
const idle = async () => {
  for (let turn = 0; turn < 16; turn++) await undefined;
};

/** What can go wrong when storage is asked for something. */
const faults = {
  /** It does not do it. */
  refuse: (disk, run, answer) => answer.reject(new Error("refused")),
  /** It does it, and too late says so. */
  late(disk, run, answer) {
    answer.reject(new Error("no answer"));
    run();
  },
  /** The record is gone. */
  forget(disk, run, answer) {
    disk.record = undefined;
    disk.others.clear();
    disk.forgot = true;
    answer.resolve(run());
  },
  /** What is there is what was there at first. */
  comeBack(disk, run, answer) {
    disk.record = copy(disk.first);
    disk.others.clear();
    disk.cameBack = true;
    answer.resolve(run());
  },
};

/** One origin's storage. Whatever is asked of it waits until the schedule lets it happen. */
class Disk {
  waiting = [];
  cameBack = false;
  forgot = false;
  /** What refreshes have left over, by id. */
  others = new Map();
  /** The sessions that Grid has made of refreshes, and those that were ended as ones too many. */
  made = [];
  tidied = [];
  constructor(record) {
    this.first = record;
    this.record = copy(record);
  }

  /** The port of one tab: see storage.ts. */
  port(tab) {
    tab.refused = false;
    const ask = (run) => new Promise((resolve, reject) => this.waiting.push({ run, resolve, reject }));
    return {
      all: () => ask(() => [this.record ?? [], ...this.others.values()].flat()),
      get: (id) => ask(() => this.get(id)),
      add: (record) => ask(() => void this.put(record)),
      update: (id, change) => {
        const answer = ask(() => {
          const found = this.get(id);
          const changed = found && change(found);
          if (changed === null) this.delete(id);
          for (const record of changed ? [changed].flat() : []) this.put(record);
          return this.get(id);
        });
        answer.catch(() => (tab.refused = tab.hasRefused = true));
        return answer;
      },
      close() {},
    };
  }

  get(id) {
    return id === this.first.id ? this.record : this.others.get(id);
  }

  put(record) {
    if (record.id === this.first.id) this.record = copy(record);
    else this.others.set(record.id, copy(record));
  }

  delete(id) {
    if (id === this.first.id) this.record = undefined;
    else this.others.delete(id);
  }
}

/** Calls `run` with each sequence of choices there is. `choose(n)` is a number below n. */
async function schedules(run) {
  let script = [];
  for (let count = 1; ; count++) {
    let made = [];
    await run((n) => {
      const choice = script[made.length]?.[0] ?? 0;
      made.push([choice, n]);
      return choice;
    });
    while (made.length > 0 && made.at(-1)[0] + 1 >= made.at(-1)[1]) made.pop();
    if (made.length === 0) return count;
    made.at(-1)[0]++;
    script = made;
  }
}

class Tab {
  events = [];
  /** What this tab was told, or did: from then on it must not go back. */
  floor = -1;
  constructor(disk, name) {
    this.name = name;
    this.disk = disk;
    this.keyring = new Keyring(disk.port(this), { onEvent: (event) => this.events.push(event), onChange() {}, onRelease() {} });
  }

  #saw(record) {
    assert.ok(rank(record) >= this.floor, `${this.name} was told of ${states[this.floor]} and then of ${record.state}`);
    this.floor = rank(record);
    if (record.state === "ended") assert.ok(record.reason && !record.secret, "an ended key keeps a reason and no secret");
    else assert.ok(record.secret);
  }

  async move(move) {
    const known = this.keyring.records().find(({ id }) => id === "key");
    this.refused = false;
    try {
      this.#saw(await this.keyring.move("key", move));
    } catch (error) {
      assert.ok(["KEY_LOST", "STORAGE_FAILED"].includes(error.code), error.stack);
      assert.equal(error.retryable, error.code === "STORAGE_FAILED");
      // What storage would not take holds in this tab all the same, if it takes something from the key.
      const meant = this.refused && known && step(known, move);
      if (meant && rank(meant) >= rank(leaving)) this.floor = Math.max(this.floor, rank(meant));
    }
  }

  /** What refreshing.ts and jobs.ts do with the key, up to and from the signature. */
  async refresh({ now, renewAt = now }) {
    const { name: holder, keyring } = this;
    const isOurs = ({ state, lease }) => state === "active" && lease?.holder === holder;
    const move = (type, more) => keyring.move("key", { type, holder, now, ...more });
    try {
      const record = await move("lease");
      if (!isOurs(record)) return;
      const strays = { from: now, until: now, before: [record.session.id] };
      if ((await keyring.find("key")).state !== "active") return;
      const doubted = await move("stray", { strays });
      if (!isOurs(doubted)) return;
      this.#saw(doubted);
      const made = { ...session, id: `Session:of ${holder}` };
      this.disk.made.push(made);
      await move("renew", { now: renewAt }).catch(() => {});
      const refreshed = { publicKey: holder, secret: { handle: holder }, session: made, strays: record.strays };
      const leftOver = await keyring.refresh(record, refreshed, holder);
      assert.deepEqual([leftOver.state, leftOver.unseen], ["leaving", true]);
      // What an app has bound meanwhile is none of its.
      assert.ok([made.id, record.session.id].includes(leftOver.session.id), `${leftOver.session.id} is ended, begun with ${record.session.id}`);
    } catch (error) {
      assert.ok(["KEY_LOST", "STORAGE_FAILED"].includes(error.code), error.stack);
    }
  }

  /** Ends what was made and is bound to no key, as strays.ts does: Grid lists it, and what is bound is looked for after that. */
  async tidy({ now }) {
    const { name: holder, keyring } = this;
    try {
      const { lease, state } = await keyring.move("key", { type: "lease", holder, now });
      if (state !== "active" || lease?.holder !== holder) return;
      const listed = [...this.disk.made];
      await keyring.look();
      for (const { id } of listed.filter((made) => !keyring.boundTo(made.id))) {
        if ((await keyring.find("key")).lease?.holder === holder) this.disk.tidied.push(id);
      }
    } catch (error) {
      assert.ok(["KEY_LOST", "STORAGE_FAILED"].includes(error.code), error.stack);
    }
  }

  /** What entering.ts does with a key that signs in. */
  async enter() {
    const { keyring, name: holder } = this;
    const move = (type, more) => keyring.move("key", { type, now, ...more });
    const made = { ...session, id: "Session:made" };
    try {
      const sent = await move("sent", { signIn: { ...signIn, since: now } });
      if (sent.state !== "new" || sent.signIn?.since === undefined) return;
      this.disk.made.push(made);
      const bound = await move("bind", { session: made, attempt: signIn.attempt });
      if (bound.session?.id === made.id) return;
    } catch (error) {
      assert.ok(["KEY_LOST", "STORAGE_FAILED"].includes(error.code), error.stack);
    }
    const known = this.disk.made.length > 0 ? { session: made } : { isRefused: true };
    await move("give-up", { holder, ...known }).catch(() => {});
  }

  /** What a call does right before it signs. */
  async use() {
    const endedBefore = rank(this.disk.record) === rank(ended);
    try {
      const record = await this.keyring.find("key");
      this.#saw(record);
      if (!maySign(record, "revoke-session")) return;
      assert.ok(!endedBefore || this.disk.cameBack, "a key signs that had ended in storage before it was asked");
    } catch (error) {
      assert.ok(["KEY_LOST", "STORAGE_FAILED"].includes(error.code), error.stack ?? error); // never KEY_NOT_FOUND: it was here
    }
  }
}

/** Lets everything happen, in the order that `choose` says, with at most this many faults. */
async function happen(disk, work, choose, budget) {
  let done = false;
  work.finally(() => (done = true)).catch(() => {});
  for (;;) {
    await idle();
    if (disk.waiting.length === 0) {
      if (done) return work;
      throw new Error("nothing is asked of storage, and nothing ends");
    }
    const [{ run, ...answer }] = disk.waiting.splice(choose(disk.waiting.length), 1);
    const fault = budget > 0 ? [undefined, ...Object.values(faults)][choose(1 + Object.keys(faults).length)] : undefined;
    if (fault) {
      budget--;
      fault(disk, run, answer);
    } else {
      answer.resolve(run());
    }
  }
}

async function live(begin, first, second, choose, budget) {
  const disk = new Disk(begin);
  const tabs = [new Tab(disk, "a"), new Tab(disk, "b")];
  const start = () => Promise.all(tabs.map(({ keyring }) => keyring.look()));
  await happen(disk, start(), () => 0, 0);
  for (const tab of tabs) tab.floor = rank(begin);

  const lives = tabs.map(async (tab, i) => {
    const move = i === 0 ? first : second;
    if (move.refresh) return tab.refresh(move);
    if (move.tidy) return tab.tidy(move);
    if (move.enter) return tab.enter();
    await tab.use();
    await tab.move(move);
    await tab.use();
  });
  await happen(disk, Promise.all(lives), choose, budget);

  // Storage is well again. Whatever a tab knows it writes down, and then both know the same.
  for (let i = 0; i < 3; i++) await happen(disk, start(), () => 0, 0);
  const furthest = Math.max(...tabs.map(({ floor }) => floor));
  if (disk.record) {
    assert.ok(rank(disk.record) >= furthest, `a tab knew of ${states[furthest]}, storage has ${disk.record.state}`);
  }
  for (const tab of tabs) {
    await happen(disk, tab.use(), () => 0, 0);
    const ends = tab.events.filter(({ type }) => type === "ended");
    const over = begin.state !== "ended" && begin.session && disk.record?.state === "ended";
    // Lost, and there again, and then ended is two ends. An end is never told twice.
    assert.ok(new Set(ends.map(({ reason }) => reason)).size === ends.length, JSON.stringify([first, second, tab.events]));
    if (over) assert.ok(ends.length > 0, `${tab.name} did not hear of the end`);
  }
  return { disk, tabs };
}

/** What becomes of sessions, whatever a refresh was in the middle of. */
function assertNoneIsLost({ disk, tabs }, second) {
  const { record, others, made, tidied } = disk;
  const known = tabs.flatMap(({ keyring }) => keyring.records());
  const all = [record ?? [], ...others.values(), ...known].flat();
  const being = (id) => all.filter(({ session }) => session?.id === id).map(({ state }) => state);
  const what = () => JSON.stringify({ second, record, others: [...others.values()], made, tidied });
  if (disk.cameBack || disk.forgot) return; // what storage loses is lost
  // An end that could not be written down destroys the half that signs, whatever it signs for by then.
  if (record?.state === "ended" && tabs.some(({ hasRefused }) => hasRefused)) return;
  const isReplacedByApp = record?.session.id === another.id;
  // A lease that is not over is one tab's.
  if (second !== refreshLate) assert.ok(made.length <= 1, what());
  for (const { id } of made) {
    const isHeld = record?.session.id === id || being(id).includes("leaving"); // what becomes of the record's own is told above
    assert.ok(isHeld || isReplacedByApp || tidied.includes(id) || record?.strays !== undefined, `nobody ends ${id}: ${what()}`);
  }
  // Nobody signs for a session that is being ended, or was.
  for (const { state, session: { id } } of [record ?? [], ...known].flat()) {
    if (state === "active") assert.ok(!being(id).includes("leaving") && !tidied.includes(id), `${id} is used, and is ended: ${what()}`);
  }
  // The one before is the record's, or a refresh has replaced it, and then it is being ended; or an app has.
  if (record?.session.id !== session.id && second.type !== "bind") assert.ok(being(session.id).includes("leaving"), what());
}

/** What becomes of the session that a sign-in has started: it is the key's, or somebody is to end it. */
function assertNoneIsStranded({ disk: { record, made, forgot, cameBack }, tabs }, second) {
  if (forgot || cameBack) return; // what storage loses is lost
  // An end that could not be written down destroys the half that signs, as above.
  if (record?.state === "ended" && tabs.some(({ hasRefused }) => hasRefused)) return;
  const all = [record ?? [], ...tabs.flatMap(({ keyring }) => keyring.records())].flat();
  const what = () => JSON.stringify({ second, made, all });
  // An app binds a key to another session when it has one, and not while it gets one.
  const hasStarted = tabs.some(({ events, hasRefused }) => hasRefused || events.some(({ type, session }) => type === "started" && session.id === made[0]?.id));
  if (hasStarted && record?.session?.id === another.id) return;
  assert.ok(all.every(({ session }) => session?.id !== another.id), what());
  const isKept = ({ state, session, signIn }) => session?.id === made[0].id || (state === "leaving" && signIn.since !== undefined);
  if (made.length > 0) assert.ok(all.some(isKept), what());
  else assert.ok(all.every(({ state }) => state !== "active"), what());
}

const searches = {
  "a sign-in beside whatever another tab does: every order, every fault at every step": async () => {
    let count = 0;
    for (const second of besideEntering) {
      count += await schedules(async (choose) => assertNoneIsStranded(await live(entering, { enter: true }, second, choose, 1), second));
    }
    assert.ok(count > 1000, `${count} schedules`);
  },
  "a refresh beside whatever another tab does: every order, every fault at every step": async () => {
    let count = 0;
    for (const second of beside) {
      // Beside what comes later the first tab is one that was frozen.
      const first = second.now > now ? { ...refresh, renewAt: now + 20_000 } : refresh;
      count += await schedules(async (choose) => assertNoneIsLost(await live(active, first, second, choose, 1), second));
    }
    assert.ok(count > 10_000, `${count} schedules`);
  },
  "two faults on the way of a sign-out, alone and beside another move": async () => {
    for (const second of [leave, { type: "accept", organizationId: "org" }, { type: "end", reason: "removed", now }]) {
      await schedules((choose) => live(active, leave, second, choose, 2));
    }
  },
  "without a fault two moves at once come to what one after the other comes to": async () => {
    for (const begin of Object.values(begins)) {
      for (const first of moves) {
        for (const second of moves) {
          const inTurn = (one, two) => [one, two].reduce((record, move) => step(record, move) ?? record, begin);
          const possible = [inTurn(first, second), inTurn(second, first)].map((record) => JSON.stringify(record));
          await schedules(async (choose) => {
            const { disk } = await live(begin, first, second, choose, 0);
            assert.ok(possible.includes(JSON.stringify(disk.record)), JSON.stringify([begin.state, first, second, disk.record, possible]));
          });
        }
      }
    }
  },
};
for (const [state, begin] of Object.entries(begins)) {
  searches[`two tabs and one ${state} key: every pair of moves, every order, every fault at every step`] = async () => {
    let count = 0;
    for (const [i, first] of moves.entries()) {
      for (const second of moves.slice(i)) {
        // One fault, at any step of any order. The two tabs are alike.
        count += await schedules((choose) => live(begin, first, second, choose, 1));
      }
    }
    assert.ok(count > 10_000, `${count} schedules`);
  };
}

if (!isMainThread) await searches[workerData]();

// In threads of their own: where tests run, Node follows each promise, which takes ten times as long.
for (const name of isMainThread ? Object.keys(searches) : []) {
  test(name, async () => {
    const thread = new Worker(new URL(import.meta.url), { workerData: name });
    const [code] = await once(thread, "exit"); // rejects with what the search threw
    assert.equal(code, 0);
  });
}

if (isMainThread) test("states only go forward, whatever is done", () => {
  const entries = [
    { type: "sign-in", signIn },
    { type: "sent", signIn: { ...signIn, since: now }, now },
    { type: "bind", session, attempt: signIn.attempt },
    giveUp,
    { ...giveUp, session },
    { ...giveUp, isRefused: true },
  ];
  const seen = new Map();
  const visit = (record) => {
    const { rev: _, ...rest } = record;
    const text = JSON.stringify(rest);
    if (seen.has(text)) return;
    seen.set(text, record);
    for (const move of [...moves, ...entries, { type: "renew", holder: "a", now }, { type: "stray", holder: "a", strays: { from: now, until: now, before: [] } }]) {
      const after = step(record, move);
      if (!after) continue;
      assert.ok(rank(after) >= rank(record), `${record.state} ${move.type} ${after.state}`);
      assert.equal(after.rev, record.rev + 1);
      assert.equal("secret" in after, after.state !== "ended");
      assert.equal("reason" in after, after.state === "ended");
      // Whoever signs out, and has not told Grid, keeps what that takes; but at the word of Grid, of the time, or of the caller.
      if (record.state === "leaving" && after.state === "ended") assert.notEqual(after.reason, "removed");
      visit(after);
    }
  };
  visit(fresh);
  assert.ok(seen.size > 10);
  for (const record of seen.values()) {
    assert.equal(maySign(record, "revoke-session"), record.state === "new" || record.state === "active");
    assert.equal(maySign(record, "sign-in"), record.state === "new");
    if (record.state === "active") assert.equal(record.signIn, undefined);
  }
});

if (isMainThread) test("who gives a sign-in up signs no key out that has another session by now", () => {
  assert.equal(step(active, { ...giveUp, session: another }), undefined);
  assert.equal(step(active, giveUp), undefined);
  assert.equal(step(active, { ...giveUp, session }).state, "leaving");
});
