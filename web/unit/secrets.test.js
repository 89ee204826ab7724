// The bytes of a private key that is imported: none are left on the page, whatever
// comes of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { GridSignerError } from "../.tsc/src/index.js";
import { create, hostile, key, Page } from "./page.js";
import { idle, never, outcome, stopTime } from "./ports.js";

let page, signer;
beforeEach(async () => {
  stopTime();
  page = new Page();
  signer = await create();
});
afterEach(() => {
  signer.close();
  page.close();
  mock.reset();
});

const getters = (name) => ({ curve: "P-256", extra: { get [name]() { return hostile(); } }, want: "ARGUMENT_INVALID" });
const imports = {
  "what is taken": { curve: "secp256k1", want: undefined },
  "a wrong length, which is the module's to refuse": { curve: "P-256", length: 31, want: "KEY_MALFORMED" },
  "a curve that is no string": { curve: 1, want: "ARGUMENT_INVALID" },
  "no curve": { want: "ARGUMENT_INVALID" },
  "an option that is none": { curve: "P-256", extra: { extractable: false }, want: "ARGUMENT_INVALID" },
  "a getter for curve that throws": getters("curve"),
  "a getter for publicKey that throws": getters("publicKey"),
  "a public key that is no string": { curve: "P-256", extra: { publicKey: 1 }, want: "ARGUMENT_INVALID" },
  "a signer that is closed": { curve: "P-256", before: () => signer.close(), want: "CLOSED" },
  "a worker that is never ready for it": { curve: "P-256", before: () => restart(never), after: tooLate, want: "LOAD_FAILED" },
  "a worker that cannot be started": { curve: "P-256", before: () => restart(null, hostile), want: "LOAD_FAILED" },
};

function tooLate() {
  mock.timers.tick(30_000);
}

/** Has the next call start another worker. */
async function restart(load, onWorker = () => {}) {
  await page.kill();
  Object.assign(page, { load, onWorker });
}

for (const [name, { curve, length = 32, extra, before, after, want }] of Object.entries(imports)) {
  test(`importKey leaves no bytes on the page: ${name}`, async (t) => {
    page.worker.service.methods.importKey = async ({ privateKey }) => {
      if (privateKey.length !== 32) throw new GridSignerError("KEY_MALFORMED", "of the wrong length");
      return key;
    };
    await before?.();
    const { Uint8Array: original } = globalThis;
    const copies = [];
    globalThis.Uint8Array = new Proxy(original, {
      construct(target, args) {
        copies.push(Reflect.construct(target, args));
        return copies.at(-1);
      },
    });
    t.after(() => (globalThis.Uint8Array = original));
    const privateKey = new original(length).fill(7);
    const patched = t.mock.method(original.prototype, "fill", () => {}); // the module has its own
    const options = Object.defineProperties({ curve, privateKey }, Object.getOwnPropertyDescriptors(extra ?? {}));
    const pending = outcome(signer.importKey(options));
    assert.deepEqual([...privateKey], Array(length).fill(0), "the caller's, before the call returns");
    await idle();
    after?.();
    assert.equal((await pending).code, want);
    assert.equal(patched.mock.callCount(), 0, "no method that the page may have patched is handed the bytes");
    assert.ok(copies.length > 0);
    for (const copy of copies) assert.ok(copy.length === 0 || copy.every((byte) => byte === 0), "what was copied of it");
  });
}

test("importKey refuses an array whose buffer was moved away, and nothing is sent", async () => {
  const privateKey = new Uint8Array(32);
  structuredClone(privateKey, { transfer: [privateKey.buffer] });
  const { code, message } = await outcome(signer.importKey({ curve: "P-256", privateKey }));
  assert.deepEqual([code, message, page.calls], ["ARGUMENT_INVALID", "privateKey could not be read", []]);
});
