// What the two witnesses say of an instant, the server and this device, and when
// the server is asked: clocks that are wrong, jump, or stand still in a sleep.
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

for (const [who, ahead, want] of [
  ["both say that it is not", 0, { before: false, after: true }],
  ["a device that is an hour ahead ends nothing by itself", 60, { before: false, after: true }],
  ["a device that is an hour behind contradicts the server", -60, { before: false, after: undefined }],
]) {
  test(`whether an instant is past, when the server's time is known: ${who}`, async () => {
    const { device, clock, end } = learnt({ ahead: ahead * minute });
    assert.equal(clock.now(), device.server);
    device.awake(15 * minute - 1);
    assert.deepEqual([clock.judge(end), await clock.isPast(end)], [want.before, want.before]);
    assert.deepEqual(device.requests, [], "the clocks leave no room for doubt");
    device.awake(1);
    assert.deepEqual([clock.judge(end), await clock.isPast(end)], [want.after, want.after], "at that instant it is");
    assert.equal(clock.now(), end);
    assert.equal(device.requests.length, want.after === undefined ? 1 : 0);
    assert.equal(clock.ahead(end), ahead * minute);
  });
}

test("the server's time is not known: what this device calls past is asked about, and nothing else", async () => {
  const device = new Device({ ahead: 60 * minute });
  const clock = device.clock();
  const end = device.server + 15 * minute;
  assert.deepEqual([clock.now(), clock.ahead(end)], [device.here, 45 * minute], "at least");
  assert.equal(await clock.isPast(device.here + 1), false);
  assert.deepEqual([clock.judge(end), device.requests.length], [undefined, 0], "to judge is not to ask");
  assert.equal(await clock.isPast(end), false, "says the bridge");
  assert.deepEqual([clock.now(), clock.ahead(end), device.requests.length], [device.server, 60 * minute, 1]);
  assert.equal(await clock.isPast(end), false);
  assert.equal(device.requests.length, 1, "now it knows");
});

test("the bridge cannot be reached: what this device alone calls past is neither, until it can be", async () => {
  const device = new Device({ ahead: 60 * minute });
  const clock = device.clock();
  const end = device.server + 15 * minute;
  device.bridge = unreachable;
  assert.deepEqual([await clock.isPast(end), await clock.isPast(end)], [undefined, undefined]);
  assert.equal(device.requests.length, 2, "asked each time");
  device.bridge = () => device.answer();
  assert.equal(await clock.isPast(end), false);
});

test("a session that is over by both is over without a question", async () => {
  const { device, clock, end } = learnt();
  device.bridge = unreachable;
  device.awake(16 * minute);
  assert.deepEqual([clock.judge(end), await clock.isPast(end), device.requests.length], [true, true, 0]);
});

for (const [name, happens] of [
  ["the device's clock is set forward", (device) => device.jump(20 * minute)],
  ["it is set back", (device) => (device.awake(60 * minute), device.jump(-20 * minute))],
  ["the device sleeps and the monotonic clock stands still", (device) => device.sleep(20 * minute)],
  ["the monotonic clock counts a part of the sleep", (device) => device.sleep(20 * minute, 5 * minute)],
]) {
  test(`what was learnt is of no use any more where ${name}: the bridge is asked`, async () => {
    const { device, clock, end } = learnt();
    device.bridge = unreachable;
    happens(device);
    const instant = Math.min(end, device.here);
    assert.equal(await clock.isPast(instant), undefined);
    assert.deepEqual([clock.now(), clock.ahead(instant)], [device.here, device.here - instant]);
    device.bridge = () => device.answer();
    assert.equal(await clock.isPast(instant), device.server >= instant);
    assert.deepEqual([clock.now(), device.requests.length], [device.server, 2]);
  });
}

test("asleep while the monotonic clock ran on: nobody has to be asked", async () => {
  for (const [minutes, want] of [[15, true], [30, false]]) {
    const { device, clock } = learnt();
    const end = device.server + minutes * minute;
    device.sleep(20 * minute, 20 * minute);
    assert.equal(await clock.isPast(end), want);
    assert.deepEqual(device.requests, []);
  }
});

test("local clocks that are 5 seconds apart agree, and with a millisecond more they do not", () => {
  for (const apart of [5000, -5000, 5001, -5001]) {
    const { device, clock } = learnt();
    device.jump(apart);
    assert.equal(clock.now(), Math.abs(apart) > 5000 ? device.here : device.server);
  }
});

test("what is known no more stays unknown, though the clocks agree again", () => {
  const { device, clock } = learnt();
  device.jump(60 * minute);
  clock.now();
  device.jump(-60 * minute);
  device.awake(1);
  device.ahead = 7;
  assert.equal(clock.now(), device.here);
});

test("an answer out of a cache tells when it was made, and how long ago that was", async () => {
  const device = new Device();
  const clock = device.clock();
  const madeAt = device.server;
  device.awake(20 * minute);
  device.bridge = () => device.answer({ madeAt, age: 20 * 60 });
  assert.equal(await clock.isPast(madeAt + 15 * minute), true);
  assert.equal(clock.now(), device.server);
});

test("an Age that is none makes an answer no older and no younger", async () => {
  for (const age of ["", "soon", "-1200", "NaN"]) {
    const device = new Device();
    const clock = device.clock();
    device.bridge = () => ({ ...device.answer(), Age: age });
    assert.equal(await clock.isPast(device.server), true, "at that instant");
    assert.equal(clock.now(), device.server, age);
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
  const { device, clock } = learnt({ ahead: minute });
  const before = clock.now();
  device.awake(minute);
  for (const date of [null, "", "yesterday", "Wed, 99 Apr 2026 15:30:00 GMT"]) clock.learn(date);
  assert.equal(clock.now(), before + minute);
  const fresh = device.clock();
  fresh.learn(null);
  assert.equal(fresh.now(), device.here);
  for (const answer of [{}, { Date: "yesterday" }, { Age: "60" }]) {
    device.bridge = () => answer;
    assert.equal(await fresh.isPast(device.server), undefined);
  }
});

test("what the bridge said last counts: it may take back what it said before", () => {
  const { device, clock, end } = learnt({ ahead: 60 * minute });
  clock.learn(new Date(end + minute).toUTCString());
  assert.equal(clock.judge(end), true);
  clock.learn(device.answer().Date);
  assert.equal(clock.judge(end), false);
});

test("the bridge's root is asked, past every cache, as nobody, and for less than a second", async (t) => {
  const device = new Device();
  const limits = [];
  const { signal } = new AbortController();
  t.mock.method(AbortSignal, "timeout", (ms) => (limits.push(ms), signal));
  await device.clock().isPast(0);
  assert.deepEqual(device.requests, [
    { url: "https://app.example/api/grid/", method: "HEAD", cache: "no-store", credentials: "omit", signal },
  ]);
  assert.equal(limits.length, 1);
  assert.ok(limits[0] < 1000);
});
