// The real package in jsdom, where an app's component tests may well come upon it. In Node: package.test.js; in a service
// worker: test/nowhere.test.js.
import "./jsdom.js";
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPasskey, createSigner, GridSignerError } from "gridsigner";

test("in jsdom all of it can be imported, and using it is refused by a code and what to do", async () => {
  assert.deepEqual(Object.keys(await import("gridsigner/worker.js")), ["serve"]);
  for (const options of [{}, { worker: false }, { workerUrl: "/worker.js", wasmUrl: "/signer.wasm" }]) {
    const error = await createSigner({ bridgeUrl: "/api/grid", ...options }).catch((error) => error);
    assert.ok(error instanceof GridSignerError, String(error));
    assert.deepEqual([error.code, error.retryable], ["LOAD_FAILED", false]);
    assert.match(error.message, /in tests, use gridsigner\/testing/);
  }
  await assert.rejects(createPasskey({ nickname: "Phone", userName: "a@b.c" }), { code: "PASSKEY_UNSUPPORTED" });
});
