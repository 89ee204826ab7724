// What a clock may say after any history of sleep, jumps and answers. Where the
// bridge and its caches tell the truth, as late as they like:
//
// - `true` only where it is true, and this device says so as well;
// - `undefined` only where the device says past and the server's time is not to be had, or the server says past and the device does not;
// - `false` comes late by seconds only, where the last answer was fresh and the device's clock was not set back;
// - now() is never ahead of the server, but where its time is not known;
// - the bridge is asked once however many ask, and without a sleep or a jump only by a device that is behind.
//
//     SEED=123 node --test unit/clock.property.test.js    repeats a failure
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { random as randomFrom } from "../test/random.js";
import { Device, minute } from "./device.js";

after(() => Device.close());

/** A Date has whole seconds, an Age too, an answer takes up to 3 to come, and clocks that are 5 apart agree. */
const lateMs = 2000 + 3000 + 5000;

/** One history of a device, and the rules after each step of it. */
async function live(random) {
  const upTo = (n) => Math.floor(random() * (n + 1));
  const oneOf = (...choices) => choices[upTo(choices.length - 1)];
  const span = () => oneOf(upTo(10), upTo(6000), upTo(20 * minute), upTo(120 * minute));
  const device = new Device({ ahead: oneOf(0, 0, upTo(4000), -upTo(4000), span(), -span()) });
  const clock = device.clock();
  const made = [device.server];
  /** Whether the last answer was fresh, and whether there has been neither sleep nor jump since. */
  let fresh = false;
  let undisturbed = false;
  let everLearnt = false;

  const learn = () => {
    const { Date } = device.answer();
    device.awake(upTo(3000)); // on its way
    clock.learn(Date);
    fresh = undisturbed = everLearnt = true;
  };
  const steps = {
    awake: () => device.awake(span()),
    sleep() {
      const ms = span();
      const counted = oneOf(0, upTo(ms), ms);
      device.sleep(ms, counted);
      undisturbed &&= counted === ms;
    },
    jump() {
      device.jump(oneOf(1, -1) * span());
      undisturbed = false;
    },
    learn,
  };

  /** The bridge, or what is in its place. */
  const bridges = {
    fresh: () => device.answer(),
    // A cache that counts the age of what it has, in whole seconds.
    aged() {
      const madeAt = oneOf(...made);
      return device.answer({ madeAt, age: Math.floor((device.server - madeAt) / 1000) });
    },
    stale: () => device.answer({ madeAt: oneOf(...made) }),
    dateless: () => ({}),
    silent() {
      throw new TypeError("Failed to fetch");
    },
    overtaken() {
      learn();
      throw new TypeError("Failed to fetch");
    },
  };

  for (let step = upTo(30); step >= 0; step--) {
    made.push(device.server);
    if (random() < 0.6) steps[oneOf("awake", "awake", "sleep", "sleep", "jump", "learn")]();
    else await ask(oneOf("fresh", "fresh", "aged", "stale", "dateless", "silent", "overtaken"));
    const now = clock.now();
    assert.ok(now <= device.server || now === device.here, `now() is ${now - device.server} ms ahead`);
  }

  async function ask(bridge) {
    const hours = [device.server, clock.now(), device.here];
    const about = () => Math.floor(oneOf(...hours) + oneOf(0, 1, -1, upTo(9000), -upTo(9000), span(), -span()));
    const instants = Array.from({ length: 1 + upTo(2) }, about);
    const calm = undisturbed;
    const [wasFresh, knew] = [fresh, everLearnt];
    device.requests.length = 0;
    device.bridge = () => {
      const answer = bridges[bridge]();
      if (["fresh", "aged"].includes(bridge)) {
        device.awake(upTo(3000));
        fresh = undisturbed = everLearnt = true;
      } else if (bridge === "stale") {
        fresh = false;
        undisturbed = everLearnt = true;
      }
      return answer;
    };
    const saidPast = instants.map((instant) => device.here >= instant);
    const got = await Promise.all(instants.map((instant) => clock.isPast(instant)));
    const asked = device.requests.length;
    const told = asked === 1 && ["fresh", "aged", "stale", "overtaken"].includes(bridge);
    // Of several, some were judged before the bridge was asked for the others.
    const sure = fresh && ((calm && wasFresh) || (told && instants.length === 1));

    assert.ok(asked <= 1, `asked ${asked} times`);
    if (calm && device.ahead >= 0) assert.equal(asked, 0, "asked without a reason");
    instants.forEach((instant, i) => {
      const past = device.server - instant; // by so much, in truth
      const here = device.here >= instant;
      const words = `${instant}, past by ${past} ms, was called ${got[i]} (${bridge}, asked ${asked} times, ${device.ahead} ms ahead)`;
      if (got[i] === true) assert.ok(past >= 0 && here, words);
      if (got[i] === undefined) assert.ok(asked === 1 && (here ? !told : past >= 0), words);
      if (got[i] === false && sure) assert.ok(past < lateMs, words);
      if (got[i] === false && !knew && asked === 0) assert.ok(!saidPast[i], words);
      if (asked === 0) assert.equal(clock.judge(instant), got[i], words);
    });
  }
}

test("whatever a device goes through, the rules hold", async () => {
  const first = Number(process.env.SEED ?? (process.env.SOAK ? Math.floor(Math.random() * 2 ** 32) : 1)); // the long run goes new ways
  const count = process.env.SEED === undefined ? 5_000 : 1;
  for (let seed = first; seed < first + count; seed++) {
    try {
      await live(randomFrom(seed));
    } catch (error) {
      error.message = `SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
});
