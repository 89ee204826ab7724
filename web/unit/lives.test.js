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
const begins = { new: fresh, active, leaving, ended };

const moves = [
  { type: "bind", session: another },
  { type: "accept", organizationId: "org" },
  leave,
  { type: "lease", holder: "a", now },
  ...["signed-out", "revoked", "removed", "forgotten"].map((reason) => ({ type: "end", reason, now, session })),
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
    answer.resolve(run());
  },
  /** What is there is what was there at first. */
  comeBack(disk, run, answer) {
    disk.record = copy(disk.first);
    disk.cameBack = true;
    answer.resolve(run());
  },
};

/** One origin's storage. Whatever is asked of it waits until the schedule lets it happen. */
class Disk {
  waiting = [];
  cameBack = false;
  constructor(record) {
    this.first = record;
    this.record = copy(record);
  }

  /** The port of one tab: see storage.ts. */
  port(tab) {
    tab.refused = false;
    const ask = (run) => new Promise((resolve, reject) => this.waiting.push({ run, resolve, reject }));
    return {
      all: () => ask(() => (this.record ? [copy(this.record)] : [])),
      get: () => ask(() => copy(this.record)),
      update: (_, change) => {
        const answer = ask(() => {
          const changed = this.record && change(copy(this.record));
          if (changed === null) this.record = undefined;
          else if (changed) this.record = copy(changed);
          return copy(this.record);
        });
        answer.catch(() => (tab.refused = true));
        return answer;
      },
      close() {},
    };
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
    const known = this.keyring.records()[0];
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
    await tab.use();
    await tab.move(i === 0 ? first : second);
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

const searches = {
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
  const seen = new Map();
  const visit = (record) => {
    const { rev: _, ...rest } = record;
    const text = JSON.stringify(rest);
    if (seen.has(text)) return;
    seen.set(text, record);
    for (const move of moves) {
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
  }
});
