// What a clock may say after any history of sleep, jumps and answers. Where the
// bridge and its caches tell the truth, as late as they like:
//
// - once the time is known, past is past: `true` never comes early, and now() is never ahead;
// - `undefined` only where the bridge was asked and said nothing of use;
// - `false` comes late by seconds only, unless the device's clock was set back or
//   the last answer lay around for longer;
// - the bridge is asked only after a sleep or a jump, once however many ask.
//
//     SEED=123 node --test unit/clock.property.test.js    repeats a failure
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { random as randomFrom } from "../test/random.js";
import { Device, minute } from "./device.js";

after(() => Device.close());

/** A Date has whole seconds, an answer takes up to 3 to come, clocks that are 5 apart agree, and meanwhile another answer comes. */
const lateMs = 1000 + 3000 + 5000 + 3000;

/** One history of a device, and the rules after each step of it. */
async function live(random) {
  const upTo = (n) => Math.floor(random() * (n + 1));
  const oneOf = (...choices) => choices[upTo(choices.length - 1)];
  const span = () => oneOf(upTo(10), upTo(6000), upTo(20 * minute), upTo(120 * minute));
  const device = new Device({ ahead: oneOf(0, 0, upTo(4000), -upTo(4000), span(), -span()) });
  const clock = device.clock(oneOf("https://app.example/api", "https://api.example"));
  const made = [device.server];
  /** Whether the last answer was fresh and the device's clock has not been set back since. */
  let trusted = false;
  /** Whether the local clocks have gone together since the time was learnt. */
  let together = false;
  let last = -Infinity;

  const learn = () => {
    const { Date } = device.answer();
    device.awake(upTo(3000)); // on its way
    clock.learn(Date);
    trusted = together = true;
  };
  const steps = {
    awake: () => device.awake(span()),
    sleep() {
      const ms = span();
      const counted = oneOf(0, upTo(ms), ms);
      device.sleep(ms, counted);
      together &&= counted === ms;
    },
    jump() {
      const ms = oneOf(1, -1) * span();
      device.jump(ms);
      trusted &&= ms >= 0;
      together = false;
    },
    learn,
  };

  /** The bridge, or what is in its place. Says whether it tells the time, and whether as it is now. */
  const bridges = {
    fresh: () => device.answer(),
    // A cache that counts the age of what it has, in whole seconds.
    aged() {
      const madeAt = oneOf(...made);
      return device.answer({ madeAt, age: Math.floor((device.server - madeAt) / 1000) });
    },
    stale: () => device.answer({ madeAt: oneOf(...made) }),
    // The lid is closed while the answer is on its way.
    overslept() {
      const answer = device.answer();
      steps.sleep();
      return answer;
    },
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
    if (random() < 0.6) {
      steps[oneOf("awake", "awake", "sleep", "sleep", "jump", "learn")]();
    } else {
      const bridge = oneOf("fresh", "fresh", "aged", "stale", "overslept", "dateless", "silent", "overtaken");
      const hours = [device.server, clock.now(), device.server + device.ahead];
      const about = () => Math.floor(oneOf(...hours) + oneOf(0, 1, -1, upTo(9000), -upTo(9000), span(), -span()));
      const instants = Array.from({ length: 1 + upTo(2) }, about);
      await ask(bridge, instants);
    }
    checkNow();
  }

  function checkNow() {
    if (!clock.known) return assert.equal(clock.now(), device.server + device.ahead, "all there is");
    const now = clock.now();
    assert.ok(now <= device.server, `now() is ${now - device.server} ms ahead`);
    assert.ok(now >= last - 5000, `now() went back by ${last - now} ms`);
    last = now;
  }

  async function ask(bridge, instants) {
    const knewBefore = clock.known;
    const wasTogether = together;
    const wasTrusted = trusted;
    const deviceSaidPast = instants.map((instant) => device.server + device.ahead >= instant);
    device.requests.length = 0;
    device.bridge = () => {
      // What it teaches is known to be fresh once it has come; that it came at all only the clock knows.
      trusted = ["fresh", "aged", "overtaken"].includes(bridge);
      const answer = bridges[bridge]();
      if (["fresh", "aged"].includes(bridge)) {
        device.awake(upTo(3000));
        together = true;
      }
      return answer;
    };
    const got = await Promise.all(instants.map((instant) => clock.isPast(instant)));
    const asked = device.requests.length;

    // Of several, some were judged before the bridge was asked for the others.
    const sure = trusted && (wasTrusted || (asked && instants.length === 1));

    assert.ok(asked <= 1, `asked ${asked} times`);
    assert.ok(!(knewBefore && wasTogether && asked), "asked without a sleep or a jump");
    assert.ok(clock.known || !knewBefore, "the time was forgotten");
    instants.forEach((instant, i) => {
      const past = device.server - instant; // by so much, in truth
      const about = `${instant}, past by ${past} ms, was called ${got[i]} (${bridge}, asked ${asked} times)`;
      if (clock.known && got[i] === true) assert.ok(past >= 0, about);
      if (!clock.known && got[i] === true) assert.ok(bridge === "dateless" && deviceSaidPast[i], about);
      if (got[i] === false && sure) assert.ok(past < lateMs, about);
      if (got[i] === false && !knewBefore && !asked) assert.ok(!deviceSaidPast[i], about);
      if (got[i] === undefined) assert.ok(asked === 1 && !["fresh", "aged", "overtaken"].includes(bridge), about);
      if (got[i] === undefined && !knewBefore) assert.ok(deviceSaidPast[i], about);
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
