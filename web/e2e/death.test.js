// A worker that is killed, and a network that is lost, at each step of a
// revocation: the promise settles in time, what it says is true by the word of
// the simulator, and in the end the session is over.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDemo } from "./demo.js";
import { signInWith } from "./page.js";
import { hurried, visit } from "./visit.js";

const steps = ["request 1", "response 1", "challenge", "signed", "request 2", "response 2"];

/**
 * In the worker, before ours: what the test has armed happens right after so many
 * steps of a revocation were told, and once. To cut takes the network away, and
 * goes on only when it is gone.
 */
const armed = `{
  let left = -1;
  let acts = [];
  const does = {
    kill: () => close(),
    cut() {
      const call = new XMLHttpRequest();
      call.open("GET", "/cut", false);
      try { call.send(); } catch {}
    },
  };
  const channel = new BroadcastChannel("armed");
  channel.onmessage = ({ data }) => {
    if (!("step" in data)) return;
    ({ step: left, acts } = data);
    channel.postMessage("armed");
  };
  const post = self.postMessage;
  self.postMessage = (message, ...rest) => {
    post.call(self, message, ...rest);
    if (message.type === "event" && message.event.step && left-- === 0) for (const act of acts) does[act]();
  };
}`;

const isSigned = (exchange) => exchange.all("Grid-Wallet-Signature").length > 0;

/** The network between a page and the demo. */
class Network {
  /** Whether nothing gets through. */
  down = false;
  /** Called with what was answered: to lose it. */
  onAnswer = () => {};
  workers = 0;
  #underWay = new Set();
  #ended = () => {};

  constructor(recorder) {
    recorder.onRequest = (exchange) => {
      if (exchange.path === "/cut") this.down = true;
      if (this.down) throw new Error("no network");
      this.#underWay.add(exchange);
    };
    recorder.onAnswer = async (exchange) => {
      this.#underWay.delete(exchange);
      this.#ended();
      if (exchange.path === "/demo/demo.js") {
        exchange.answerBody = Buffer.alloc(0); // its own signer would see to our keys
        exchange.strip("content-encoding");
      }
      if (exchange.path === "/worker.js") this.workers++;
      await this.onAnswer(exchange);
    };
  }

  /** Waits for the answers to requests whose sender is dead. */
  async settled() {
    while (this.#underWay.size > 0) await new Promise((resolve) => (this.#ended = resolve));
  }
}

/** Runs in the page: a signer, what it tells of a session's end, and calls whose outcome is plain data. */
async function openSigner() {
  const { createSigner } = await import(`${location.origin}/gridsigner.js`);
  const headers = () => ({ Authorization: `Bearer ${globalThis.accessToken}` });
  globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", headers });
  globalThis.endings = [];
  signer.on("session", ({ type, key, reason }) => void (type === "ended" && endings.push({ key, reason })));
  const channel = new BroadcastChannel("armed");
  globalThis.arm = (step, acts) =>
    new Promise((resolve) => {
      channel.onmessage = ({ data }) => data === "armed" && resolve();
      channel.postMessage({ step, acts });
    });
  globalThis.revoke = async (key, { sessionId, timeoutMs }) => {
    const steps = [];
    const onProgress = ({ step, leg }) => steps.push(leg ? `${step} ${leg}` : step);
    const started = performance.now();
    const outcome = await signer.revokeSession(sessionId, { key, timeoutMs, onProgress }).then(
      ({ status, sessionId, sessionExpiresAt }) => ({ status, sessionId, sessionExpiresAt }),
      ({ code, retryable }) => ({ code, retryable }),
    );
    return { ...outcome, steps, took: performance.now() - started };
  };
}

/** A page whose signer has a key that is bound to a session. */
class Device {
  constructor(demo, page, network) {
    Object.assign(this, { demo, page, network });
  }

  async signIn(curve) {
    const { page } = this;
    const { id, publicKey } = await page.evaluate((curve) => signer.createKey({ curve }), curve);
    const { sessionId, accountId, expiresAt, accessToken } = await page.evaluate(signInWith, publicKey);
    this.session = { id: sessionId, accountId, expiresAt };
    this.key = await page.evaluate(
      (id, session, accessToken) => {
        globalThis.accessToken = accessToken;
        return signer.bindSession(id, session);
      },
      id,
      this.session,
      accessToken,
    );
  }

  /** In this tab's worker these happen at a step of what is revoked next. */
  arm(step, ...acts) {
    return this.page.evaluate((step, acts) => arm(step, acts), step, acts);
  }

  /** Revokes, by default its own session, and holds what is said of it against the simulator. */
  async revoke({ timeoutMs = 20_000, sessionId = this.session.id } = {}) {
    const got = await this.page.evaluate((key, options) => revoke(key, options), this.key, { sessionId, timeoutMs });
    assert.ok(got.took < timeoutMs + 10_000, `settled after ${got.took} ms`); // the machine may be busy
    const isActive = await this.isActive(sessionId);
    if (got.status === "revoked" || got.status === "inactive") assert.ok(!isActive, `reported ${got.status}, and is active`);
    if (got.status) assert.equal(got.sessionId, sessionId);
    return got;
  }

  /** Whether the simulator takes a session for active. */
  async isActive(sessionId = this.session.id) {
    await this.network.settled();
    return (await this.demo.sessions()).includes(sessionId);
  }

  /** To all but its sign-out the key is gone. */
  async assertGone() {
    assert.deepEqual(await this.page.evaluate(() => signer.keys()), []);
  }

  /** The network is back: by itself, the sign-out is finished as this. */
  async assertEnds(reason) {
    this.network.down = false;
    this.network.onAnswer = () => {};
    const endings = await this.page.waitForFunction((id) => {
      const ofKey = endings.filter(({ key }) => key === id);
      return ofKey.length > 0 && ofKey;
    }, { polling: 50 }, this.key.id);
    assert.deepEqual(await endings.jsonValue(), [{ key: this.key.id, reason }]);
    assert.equal(await this.isActive(), false);
    await this.assertGone();
  }
}

/** By name, each with a key of its own that is signed in. */
const kills = {};
const cuts = {};

/** How a revocation ends that somebody went on with, who does not know how far it had come. */
const goneOnWith = { revoked: "signed-out", inactive: "revoked" };

for (const [i, step] of steps.entries()) {
  kills[`the worker is killed at "${step}": the next one goes on`] = async (device) => {
    const { workers } = device.network;
    await device.arm(i, "kill");
    const got = await device.revoke();
    assert.ok(got.status in goneOnWith, got.status ?? got.code);
    // A closing worker ends the turn it is in: one that has signed may have sent it.
    if (i < steps.indexOf("signed")) assert.equal(got.status, "revoked");
    if (step === "response 2") assert.equal(got.status, "inactive");
    assert.deepEqual(got.steps.slice(0, i + 1), steps.slice(0, i + 1));
    assert.equal(device.network.workers, workers + 1, "a fresh worker");
    await device.assertEnds(goneOnWith[got.status]);
  };

  cuts[`the network is lost at "${step}": the sign-out waits for it`] = async (device) => {
    await device.arm(i, "cut");
    const over = step === "response 2";
    const got = await device.revoke({ timeoutMs: over ? 20_000 : 1500 });
    assert.deepEqual([got.status, got.sessionExpiresAt], over ? ["revoked", undefined] : ["pending", device.session.expiresAt]);
    assert.equal(await device.isActive(), !over);
    await device.assertGone();
    await device.assertEnds("signed-out");
  };
}

cuts["the answer to the signed request is lost: asked again, and reported as what it is"] = async (device) => {
  device.network.onAnswer = (exchange) => {
    if (isSigned(exchange)) exchange.drop();
  };
  assert.equal((await device.revoke()).status, "inactive");
  await device.assertEnds("revoked");
};

cuts["the answer to the signed request is lost, and the network with it"] = async (device) => {
  device.network.onAnswer = (exchange) => {
    if (!isSigned(exchange)) return;
    device.network.down = true;
    exchange.drop();
  };
  assert.equal((await device.revoke({ timeoutMs: 1500 })).status, "pending");
  assert.equal(await device.isActive(), false);
  await device.assertEnds("revoked");
};

kills["the worker is killed and the network lost: there is a new worker when it is back"] = async (device) => {
  await device.arm(3, "cut", "kill");
  const got = await device.revoke();
  assert.equal(got.status, "pending"); // it is written down, whatever becomes of this tab's worker
  assert.equal(await device.isActive(), true);
  await device.assertEnds("signed-out");
};

kills["the worker is killed while it revokes another session: the key stays"] = async (device) => {
  const other = { ...device.session };
  await device.signIn(device.key.curve);
  await device.arm(5, "kill");
  assert.equal((await device.revoke({ sessionId: other.id })).status, "inactive");
  assert.equal(await device.isActive(), true);
  assert.ok((await device.page.evaluate(() => signer.keys())).some(({ id }) => id === device.key.id));
  assert.equal((await device.revoke()).status, "revoked");
};

/** Where it is the key itself that matters. */
const killedSigning = 'the worker is killed at "challenge": the next one goes on';

const all = { ...kills, ...cuts };

/** Before it signs, when it has signed, and when Grid has answered. */
const someKills = Object.fromEntries(Object.entries(kills).filter(([name]) => !/"(response 1|challenge|request 2)"/.test(name)));

/**
 * The scenarios of each visit. A secp256k1 key is in the module that dies, and the next one has to open it; what a network
 * does is the same for each curve.
 */
const visits = Object.entries(
  process.env.SOAK
    ? { "P-256": all, secp256k1: all }
    : { secp256k1: someKills, "P-256": { ...cuts, [killedSigning]: kills[killedSigning] } },
);

test("a death at each step", { concurrency: visits.length }, async (t) => {
  const demo = await startDemo();
  async function run(t, curve, scenarios) {
    let network;
    const before = (_, recorder) => void (network = new Network(recorder));
    const tolerates = /^Failed to load resource/; // what Chromium says of a lost network
    await visit(demo, { before, tolerates, prelude: hurried + armed }, async ({ page }) => {
      await page.evaluate(openSigner);
      for (const [name, act] of Object.entries(scenarios)) {
        await t.test(name, async () => {
          const device = new Device(demo, page, network);
          await device.signIn(curve);
          await act(device);
        });
      }
    });
  }
  try {
    await Promise.all(visits.map(([curve, scenarios]) => t.test(curve, (t) => run(t, curve, scenarios))));
  } finally {
    await demo.kill();
  }
});
