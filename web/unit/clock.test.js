// Whose time a clock believes, and when it asks: clocks that are wrong, jump, or
// stand still while the device sleeps, and answers that are not the bridge's.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Device, minute } from "./device.js";

afterEach(() => Device.close());

const unreachable = () => {
  throw new TypeError("Failed to fetch");
};

/** A device whose clock has learnt the time, as from any answer of the bridge. */
function learnt(settings) {
  const device = new Device(settings);
  const clock = device.clock();
  clock.learn(device.answer().Date);
  return { device, clock, end: device.server + 15 * minute };
}

for (const [name, ahead] of [["an hour ahead", 60 * minute], ["an hour behind", -60 * minute]]) {
  test(`this device's clock is ${name}: instants are judged by the server's`, async () => {
    const { device, clock, end } = learnt({ ahead });
    assert.equal(clock.now(), device.server);
    assert.deepEqual([await clock.isPast(end), await clock.isPast(device.server - 1)], [false, true]);
    device.awake(15 * minute - 1);
    assert.equal(await clock.isPast(end), false);
    device.awake(1);
    assert.equal(await clock.isPast(end), true);
    assert.equal(clock.now(), end);
    assert.deepEqual(device.requests, [], "the clocks leave no room for doubt");
  });
}

test("nothing is known yet: this device's clock is asked first, and the bridge where that says past", async () => {
  const device = new Device({ ahead: 60 * minute });
  const clock = device.clock();
  const end = device.server + 15 * minute;
  assert.deepEqual([clock.known, clock.now()], [false, device.server + 60 * minute]);
  assert.equal(await clock.isPast(device.server + 61 * minute), false, "not even by this clock");
  assert.deepEqual([clock.known, device.requests.length], [false, 0]);
  assert.equal(await clock.isPast(end), false, "says the bridge");
  assert.deepEqual([clock.known, clock.now(), device.requests.length], [true, device.server, 1]);
  assert.equal(await clock.isPast(end), false);
  assert.equal(device.requests.length, 1, "now it knows");
});

test("the bridge cannot be reached: what seems past is neither, until it can be", async () => {
  const { device, clock, end } = learnt();
  device.bridge = unreachable;
  device.jump(60 * minute);
  assert.equal(await clock.isPast(end), undefined);
  assert.equal(await clock.isPast(end), undefined, "asked again");
  assert.equal(device.requests.length, 2);
  device.bridge = () => device.answer();
  assert.equal(await clock.isPast(end), false);
});

test("an answer of this origin without a Date is not the bridge's", async () => {
  const device = new Device({ ahead: 60 * minute });
  const clock = device.clock();
  device.bridge = () => ({});
  assert.equal(await clock.isPast(device.server + 15 * minute), undefined);
  assert.equal(clock.known, false);
});

test("of another origin a Date may be hidden: this device's clock is all there is, until the bridge's is known", async () => {
  const device = new Device({ ahead: 60 * minute });
  const clock = device.clock("https://api.example/grid");
  const end = device.server + 15 * minute;
  device.bridge = () => ({});
  assert.equal(await clock.isPast(end), true);
  assert.equal(clock.known, false);
  clock.learn(device.answer().Date);
  assert.equal(await clock.isPast(end), false);
  device.jump(60 * minute);
  assert.equal(await clock.isPast(end), undefined);
  device.bridge = unreachable;
  assert.equal(await device.clock("https://api.example/grid").isPast(end), undefined, "nobody has answered");
});

test("the clock jumps forward by an hour: nothing is past until the bridge says so", async () => {
  const { device, clock, end } = learnt();
  device.jump(60 * minute);
  assert.equal(clock.now(), device.server);
  assert.equal(await clock.isPast(end), false);
  assert.equal(device.requests.length, 1);
  device.awake(16 * minute);
  assert.equal(await clock.isPast(end), true);
  assert.equal(device.requests.length, 1, "known again since then");
});

test("the clock jumps back by an hour: time goes on as the monotonic clock counts it", async () => {
  const { device, clock, end } = learnt();
  device.jump(-60 * minute);
  assert.equal(await clock.isPast(end), false);
  device.awake(16 * minute);
  assert.equal(await clock.isPast(end), true);
  assert.deepEqual(device.requests, []);
});

for (const [name, counted, asked] of [["stood still", 0, 1], ["counted a part", 5 * minute, 1], ["ran on", 20 * minute, 0]]) {
  test(`asleep for 20 minutes while the monotonic clock ${name}: 15 are over, 30 are not`, async () => {
    for (const [minutes, want] of [[15, true], [30, false]]) {
      const { device, clock } = learnt();
      const end = device.server + minutes * minute;
      device.sleep(20 * minute, counted);
      assert.equal(await clock.isPast(end), want, `${minutes} minutes`);
      assert.equal(device.requests.length, want ? asked : 0);
      Device.close();
    }
  });
}

test("asleep, and the bridge cannot be reached afterwards: nobody says that it is over", async () => {
  const { device, clock, end } = learnt();
  device.bridge = unreachable;
  device.sleep(20 * minute);
  assert.equal(await clock.isPast(end), undefined);
  assert.equal(clock.now(), end - 15 * minute, "never later than the server's time");
});

test("local clocks that are 5 seconds apart agree, and with a millisecond more they do not", async () => {
  for (const [apart, want] of [[5000, 0], [5001, 1]]) {
    const { device, clock } = learnt();
    device.jump(apart);
    assert.equal(await clock.isPast(device.server + 1), false);
    assert.equal(device.requests.length, want);
    Device.close();
  }
});

test("an answer out of a cache tells when it was made, and how long ago that was", async () => {
  const device = new Device({ ahead: 0 });
  const clock = device.clock();
  const end = device.server + 15 * minute;
  const madeAt = device.server;
  device.awake(20 * minute);
  device.bridge = () => device.answer({ madeAt, age: 20 * 60 });
  assert.equal(await clock.isPast(end), true);
  assert.equal(clock.now(), device.server);
});

test("an Age that is none makes an answer no older and no younger", async () => {
  for (const age of ["", "soon", "-1200", "NaN"]) {
    const device = new Device();
    const clock = device.clock();
    device.bridge = () => ({ ...device.answer(), Age: age });
    assert.equal(await clock.isPast(device.server), true, "at that instant");
    assert.deepEqual([clock.known, clock.now()], [true, device.server], age);
    Device.close();
  }
});

test("an answer out of a cache that does not tell its age cannot turn the clock back", async () => {
  const { device, clock, end } = learnt();
  const madeAt = device.server;
  device.sleep(20 * minute, 14 * minute);
  device.bridge = () => device.answer({ madeAt });
  assert.equal(await clock.isPast(end), undefined, "neither past nor not");
  assert.equal(clock.now(), madeAt + 14 * minute);
  device.bridge = () => device.answer();
  assert.equal(await clock.isPast(end), true);
});

test("an answer may have been under way for 5 seconds, and for a millisecond more it is somebody else's", async () => {
  for (const [late, want] of [[5000, false], [5001, undefined]]) {
    const { device, clock, end } = learnt();
    device.jump(60 * minute);
    device.bridge = () => ({ Date: new Date(device.server - late).toISOString() });
    assert.equal(await clock.isPast(end), want);
    Device.close();
  }
});

test("however many ask at once, the bridge is asked once, and again the next time", async () => {
  const { device, clock, end } = learnt();
  device.bridge = unreachable;
  device.jump(60 * minute);
  const ends = [end, end + 1, end + minute];
  assert.deepEqual(await Promise.all(ends.map((end) => clock.isPast(end))), [undefined, undefined, undefined]);
  assert.equal(device.requests.length, 1);
  device.bridge = () => device.answer();
  assert.deepEqual(await Promise.all(ends.map((end) => clock.isPast(end))), [false, false, false]);
  assert.equal(device.requests.length, 2);
});

test("what is learnt while the bridge is asked counts, though the bridge does not answer", async () => {
  const { device, clock, end } = learnt();
  device.sleep(20 * minute);
  device.bridge = () => {
    clock.learn(device.answer().Date);
    return unreachable();
  };
  assert.equal(await clock.isPast(end), true);
});

test("an answer without a Date, or with one that is none, teaches nothing", async () => {
  const { device, clock } = learnt();
  const before = clock.now();
  device.awake(minute);
  for (const date of [null, "", "yesterday", "Wed, 99 Apr 2026 15:30:00 GMT"]) clock.learn(date);
  assert.equal(clock.now(), before + minute);
  const fresh = device.clock();
  fresh.learn(null);
  assert.equal(fresh.known, false);
  device.jump(60 * minute);
  device.bridge = () => ({ Date: "yesterday" });
  assert.equal(await clock.isPast(before + 2 * minute), undefined);
});

test("what the bridge said last counts: it may take back what it said before", async () => {
  const { device, clock, end } = learnt();
  clock.learn(new Date(end + minute).toUTCString());
  assert.equal(await clock.isPast(end), true);
  clock.learn(device.answer().Date);
  assert.equal(await clock.isPast(end), false);
});

test("the bridge's root is asked, past every cache, as nobody, and not for long", async (t) => {
  const device = new Device();
  const limits = [];
  const { signal } = new AbortController();
  t.mock.method(AbortSignal, "timeout", (ms) => (limits.push(ms), signal));
  await device.clock("https://app.example/api/grid").isPast(0);
  assert.deepEqual(device.requests, [
    { url: "https://app.example/api/grid/", method: "HEAD", cache: "no-store", credentials: "omit", signal },
  ]);
  assert.deepEqual(limits, [5000]);
});
