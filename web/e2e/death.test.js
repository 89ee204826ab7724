// A worker that is killed, and a network that is lost, at each step of a
// revocation: the promise settles in time, and what it says is true by the
// word of the simulator.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDemo } from "./demo.js";
import { signInWith } from "./page.js";
import { visit } from "./visit.js";

const steps = ["request 1", "response 1", "challenge", "signed", "request 2", "response 2"];

/** In the worker, before ours: something happens right after it has told of a step. */
const at = (step, what) => `{
  const post = self.postMessage;
  let told = 0;
  self.postMessage = (message, ...rest) => {
    post.call(self, message, ...rest);
    if (message.type === "event" && told++ === ${step}) { ${what} }
  };
}`;
const kill = "close();";
/** Takes the network away, and goes on only when it is gone. */
const cut = 'const call = new XMLHttpRequest(); call.open("GET", "/cut", false); try { call.send(); } catch {}';

/** Storage removes no key, the first time that it is asked, nor when it is asked again at once. */
const keep = `{
  const remove = IDBObjectStore.prototype.delete;
  let refusals = 2;
  IDBObjectStore.prototype.delete = function (...args) {
    if (refusals-- > 0) throw new DOMException("no", "UnknownError");
    return remove.apply(this, args);
  };
}`;

/** The shortest pause that there is before a retry: the tests wait for steps, not for time. */
const hurry = "Math.random = () => 0;";

const isRevocation = ({ method }) => method === "DELETE";
const isSigned = (exchange) => exchange.all("Grid-Wallet-Signature").length > 0;

/** The network between a page and the demo. */
class Network {
  /** Whether nothing gets through. */
  down = false;
  /** Whether it is back once a revocation has failed. */
  comesBack = false;
  /** Called with what is about to leave, and with what was answered: to lose it, or to hold it up. */
  onRequest = () => {};
  onAnswer = () => {};
  #underWay = new Set();
  #ended = () => {};
  #prelude = "";
  #workers = 0;

  constructor(recorder) {
    recorder.onRequest = async (exchange) => {
      if (exchange.path === "/cut") this.down = true;
      if (this.down) {
        if (isRevocation(exchange) && this.comesBack) this.down = false;
        throw new Error("no network");
      }
      await this.onRequest(exchange);
      this.#underWay.add(exchange);
    };
    recorder.onAnswer = async (exchange) => {
      this.#underWay.delete(exchange);
      this.#ended();
      if (exchange.path === "/demo/demo.js") {
        exchange.answerBody = Buffer.alloc(0); // its own signer would see to our keys
        exchange.strip("content-encoding");
      }
      if (exchange.path === "/worker.js") {
        exchange.prepend(hurry + this.#prelude);
        this.#prelude = "";
        this.#workers++;
      }
      await this.onAnswer(exchange);
    };
  }

  /** The next worker gets `prelude`; those after it live. */
  begin(prelude) {
    this.restore();
    this.comesBack = false;
    this.#prelude = prelude;
    this.#workers = 0;
  }

  /** How many workers there have been since. */
  get workers() {
    return this.#workers;
  }

  restore() {
    Object.assign(this, { down: false, onRequest() {}, onAnswer() {} });
  }

  /** Waits for the answers to requests whose sender is dead. */
  async settled() {
    while (this.#underWay.size > 0) await new Promise((resolve) => (this.#ended = resolve));
  }
}

/** Runs in the page: a signer, and calls whose outcome is plain data. */
async function openSigner(accessToken) {
  const { createSigner } = await import(`${location.origin}/gridsigner.js`);
  globalThis.accessToken = accessToken;
  const headers = () => ({ Authorization: `Bearer ${globalThis.accessToken}` });
  globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", headers });
  globalThis.revoke = async (key, { sessionId, timeoutMs, abortAt } = {}) => {
    const steps = [];
    const abort = new AbortController();
    const onProgress = ({ step, leg }) => {
      steps.push(leg ? `${step} ${leg}` : step);
      if (steps.at(-1) === abortAt) abort.abort();
    };
    const started = performance.now();
    const outcome = await signer.revokeSession(sessionId, { key, timeoutMs, onProgress, signal: abort.signal }).then(
      (value) => ({ value }),
      ({ code, message, retryable, sessionExpiresAt }) => ({ code, message, retryable, sessionExpiresAt }),
    );
    return { ...outcome, steps, took: performance.now() - started };
  };
}

/** A page whose signer has a key that is bound to a session. */
class Device {
  constructor(demo, page, recorder, network) {
    Object.assign(this, { demo, page, recorder, network });
  }

  async signIn(curve) {
    const { page } = this;
    const { id, publicKey } = await page.evaluate((curve) => signer.createKey({ curve }), curve);
    const { sessionId, accountId, expiresAt, accessToken } = await page.evaluate(signInWith, publicKey);
    this.session = { id: sessionId, accountId, expiresAt };
    this.accessToken = accessToken;
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

  async revoke({ timeoutMs = 20_000, ...options } = {}) {
    const got = await this.page.evaluate((key, options) => revoke(key, options), this.key, { timeoutMs, ...options });
    assert.ok(got.took < timeoutMs + 10_000, `settled after ${got.took} ms`); // the machine may be busy
    return got;
  }

  keys() {
    return this.page.evaluate(() => signer.keys());
  }

  /** Whether the simulator takes the session for active. */
  async isActive() {
    await this.network.settled();
    return (await this.demo.sessions()).includes(this.session.id);
  }

  /**
   * Holds what was reported against the simulator, and what is said of the key
   * against the signer. Then the session is ended, by whatever can still do
   * that, and what is reported of it must agree too.
   */
  async assertHonest({ value, code, message, sessionExpiresAt }) {
    const { key, session, network } = this;
    network.restore();
    const active = await this.isActive();
    if (value) {
      assert.equal(value.sessionId, session.id);
      assert.ok(!active, `reported ${value.status}, and is active`);
      assert.deepEqual(await this.keys(), [], "the key went with its session");
      return;
    }
    if (!sessionExpiresAt) {
      assert.deepEqual(await this.keys(), [key], `after ${code} the key is as it was`);
      return this.#assertEnds(await this.revoke(), active);
    }
    assert.equal(sessionExpiresAt, session.expiresAt);
    assert.ok(message.endsWith(`; the key is destroyed, but the session may live on until ${session.expiresAt}`), message);
    assert.deepEqual(await this.keys(), []);
    assert.equal((await this.revoke()).code, "KEY_LOST");
    // Another device can see to it.
    await this.signIn(key.curve);
    await this.#assertEnds(await this.revoke({ sessionId: session.id }), active, session);
    await this.#assertEnds(await this.revoke(), true);
  }

  /** Where it was over before it cannot be reported revoked now. */
  async #assertEnds({ value, code }, wasActive, { id } = this.session) {
    assert.equal(value?.sessionId, id, code);
    if (!wasActive) assert.equal(value.status, "inactive");
    assert.ok(!(await this.demo.sessions()).includes(id), `reported ${value.status}, and is active`);
    if (id === this.session.id) assert.deepEqual(await this.keys(), []);
  }
}

const scenarios = [];
const scenario = (name, prelude, act) => scenarios.push({ name, prelude, act });

for (const [i, step] of steps.entries()) {
  scenario(`the worker is killed at "${step}"`, at(i, kill), async (device) => {
    const got = await device.revoke();
    assert.deepEqual([got.code, got.retryable, got.sessionExpiresAt], ["WORKER_FAILED", true, undefined]);
    assert.deepEqual(got.steps.slice(0, i + 1), steps.slice(0, i + 1)); // a closing worker ends the turn it is in
    await device.assertHonest(got);
    assert.equal(device.network.workers, 2, "a fresh worker");
  });

  scenario(`the network is lost at "${step}", and does not come back`, at(i, cut), async (device) => {
    const got = await device.revoke();
    const over = step === "response 2";
    if (over) assert.equal(got.value?.status, "revoked", got.code);
    else assert.ok(got.code === "NETWORK_FAILED" && got.sessionExpiresAt, got.code);
    assert.equal(await device.isActive(), !over);
    await device.assertHonest(got);
  });

  scenario(`the network is lost at "${step}", and comes back`, at(i, cut), async (device, network) => {
    network.comesBack = true;
    const got = await device.revoke();
    assert.equal(got.value?.status, "revoked", got.code);
    await device.assertHonest(got);
  });
}

scenario("the answer to the signed request is lost: asked again, and reported as what it is", "", async (device, network) => {
  network.onAnswer = (exchange) => {
    if (isSigned(exchange)) exchange.drop();
  };
  const got = await device.revoke();
  assert.equal(got.value?.status, "inactive", got.code);
  await device.assertHonest(got);
});

scenario("the answer to the signed request is lost, and the network with it", "", async (device, network) => {
  network.onAnswer = (exchange) => {
    if (!isSigned(exchange)) return;
    network.down = true;
    exchange.drop();
  };
  const got = await device.revoke();
  assert.ok(got.code === "NETWORK_FAILED" && got.sessionExpiresAt, got.code);
  assert.equal(await device.isActive(), false);
  await device.assertHonest(got);
});

scenario("the worker is killed and the network lost: no new worker, and the key waits", at(3, cut + kill), async (device) => {
  const got = await device.revoke();
  assert.equal(got.code, "WORKER_FAILED");
  const again = await device.revoke();
  assert.deepEqual([again.code, again.retryable, again.sessionExpiresAt], ["LOAD_FAILED", true, undefined]);
  assert.equal(await device.isActive(), true);
  await device.assertHonest(again);
});

scenario("the network is lost, and storage does not let go of the key: it is not called destroyed", at(0, cut) + keep, async (device) => {
  const got = await device.revoke();
  assert.ok(got.code === "NETWORK_FAILED" && !got.sessionExpiresAt, got.code);
  await device.assertHonest(got);
});

for (const abortAt of ["request 1", "request 2"]) {
  scenario(`aborted at "${abortAt}" the key stays: it can be called again`, "", async (device) => {
    const got = await device.revoke({ abortAt });
    assert.equal(got.code, "ABORTED");
    await device.assertHonest(got);
  });
}

for (const [when, hold] of Object.entries({
  "before the challenge": { onRequest: isRevocation },
  "after the signed request": { onAnswer: isSigned },
})) {
  scenario(`the page goes away ${when}: its key works on the next`, "", async (device, network) => {
    const reached = new Promise((reached) => {
      const [[name, isIt]] = Object.entries(hold);
      network[name] = (exchange) => isIt(exchange) && new Promise(() => reached());
    });
    await device.page.evaluate((key) => void revoke(key), device.key);
    await reached;
    network.restore();
    await device.page.reload();
    await device.page.evaluate(openSigner, device.accessToken);
    assert.equal(await device.isActive(), when === "before the challenge");
    await device.assertHonest({});
  });
}

/** Runs in the page: ends what an earlier scenario has left there. */
async function clear() {
  globalThis.signer?.close();
  await new Promise((resolve) => (indexedDB.deleteDatabase("gridsigner").onsuccess = resolve));
}

for (const curve of ["P-256", "secp256k1"]) {
  test(curve, async (t) => {
    const demo = await startDemo();
    let network;
    const before = (_, recorder) => (network = new Network(recorder));
    const tolerates = /^Failed to load resource/; // what Chromium says of a lost network
    try {
      await visit(demo, { before, tolerates }, async ({ page, recorder }) => {
        for (const { name, prelude, act } of scenarios) {
          await t.test(name, async () => {
            network.begin(prelude);
            const device = new Device(demo, page, recorder, network);
            await page.evaluate(clear);
            await page.evaluate(openSigner);
            await device.signIn(curve);
            await act(device, network);
          });
        }
      });
    } finally {
      await demo.kill();
    }
  });
}
