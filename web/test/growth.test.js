// Many signatures and keys: nothing grows and nothing is left over. With SOAK
// set it is 100,000 signatures and 1,000 keys, which take minutes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, workers, workersEnded } from "./browser.js";
import { sendRuntime, sendWorker, serve } from "./server.js";

/** In the worker, before ours: tells how much memory Go has, and to how many JavaScript values it refers, each FuncOf among them. */
const measured = `
  answers.measure = () => {
    const { go, lowest, values } = seen;
    seen.lowest = values();
    return { bytes: go._inst.exports.mem.buffer.byteLength, values: lowest };
  };
`;
// wasm_exec.js keeps what it needs on the instance of Go, which has to be caught.
// Go lets go of values when it collects, every few hundred signatures, thousands
// at once: what it keeps is what is left when the last one has been let go.
const caught = `
  const { run } = Go.prototype;
  Go.prototype.run = function (...args) {
    const running = run.apply(this, args);
    const values = () => this._values.length - this._idPool.length;
    const seen = (globalThis.seen = { go: this, lowest: values(), values });
    this._idPool.push = function (id) {
      const length = Array.prototype.push.call(this, id);
      seen.lowest = Math.min(seen.lowest, values());
      return length;
    };
    return running;
  };
`;

let server, page;
before(async () => {
  server = serve({
    "/measured/worker.js": (_, response) => sendWorker(response, { before: measured }),
    "/measured/runtime.js": (_, response) => sendRuntime(response, caught),
  });
  page = await open(server);
});
after(() => server?.close());

/** A signer that keeps keys so, with a key of each curve. */
const start = (persistence) =>
  page.evaluate(async (persistence) => {
    globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", workerUrl: "/measured/worker.js", persistence });
    globalThis.keys = [await signer.createKey(), await signer.createKey({ curve: "secp256k1" })];
  }, persistence);

/** Signs this many times with each curve, many at once; but each asks storage, and waits five seconds for it at most. */
const sign = (count, batch = 100) =>
  page.evaluate(
    async (count, batch) => {
      for (const key of keys) {
        for (let done = 0; done < count; done += batch) {
          await Promise.all(Array.from({ length: batch }, () => signer.signChallenge(challenge(), { key })));
        }
      }
    },
    count,
    batch,
  );

const makeAndRemove = (count) =>
  page.evaluate(async (count) => {
    for (let i = 0; i < count; i++) {
      for (const curve of ["P-256", "secp256k1"]) await signer.removeKey(await signer.createKey({ curve }));
    }
  }, count);

// Enough for Go to collect several times, and for one callback kept for each key to be seen.
const [looked, counts] = process.env.SOAK
  ? [2000, [["memory", 80_000, 1000], ["indexeddb", 20_000, 1000]]]
  : [500, [["indexeddb", 4000, 150]]];

/** Memory, and the fewest values Go came down to, while this many signatures are made with each curve. */
async function floor() {
  const measure = () => page.evaluate(() => askWorker("measure"));
  await measure();
  await sign(looked, 5); // few at once, for those count too
  return measure();
}

for (const [persistence, signatures, keys] of counts) {
  test(`${signatures} signatures and ${keys} keys, ${persistence}: no memory, callback or worker is left`, { timeout: 1_200_000 }, async () => {
    await start(persistence);
    await sign(500); // as large as it gets at once, buffers and heap have their size now
    const first = await floor();
    await makeAndRemove(keys / 2);
    await sign(signatures / 2 - 500 - 2 * looked);
    const last = await floor();
    assert.ok(last.bytes <= first.bytes * 1.25, `memory: ${first.bytes}, then ${last.bytes}`);
    assert.ok(last.values <= first.values + 50, `values: ${first.values}, then ${last.values}`); // less than one for a key, of 100
    assert.equal(await workers(page), 1);
    await page.evaluate(() => signer.close());
    await workersEnded(page, 0);
  });
}
