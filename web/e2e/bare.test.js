// The module without the loader: wasm_exec.js, signer.wasm and
// globalThis.gridsigner, against the demo's bridge.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startDemo } from "./demo.js";
import { signInWith } from "./page.js";
import { visit } from "./visit.js";

let demo, wasmExec;
before(async () => {
  const goroot = execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim();
  wasmExec = await readFile(join(goroot, "lib", "wasm", "wasm_exec.js"), "utf8");
  demo = await startDemo();
});
after(async () => {
  await demo?.kill();
});

/** Runs in the page: a key that the module signs with. It holds those that browsers cannot make; any other is the page's own. */
async function makeKey(curve) {
  if (curve === "secp256k1") return (globalThis.key = await gridsigner.createKey({ curve })).publicKey;
  const algorithm = { name: "ECDSA", namedCurve: curve, hash: "SHA-256" };
  const pair = await crypto.subtle.generateKey(algorithm, false, ["sign"]);
  const [, ...point] = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)); // 0x04, x, y
  const publicKey = [2 + (point.at(-1) & 1), ...point.slice(0, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  globalThis.key = { curve, publicKey, sign: async (message) => new Uint8Array(await crypto.subtle.sign(algorithm, pair.privateKey, message)) };
  return publicKey;
}

for (const curve of ["P-256", "secp256k1"]) {
  test(`${curve}: the bare module revokes a session`, async () => {
    const before = (_, recorder) => {
      recorder.onAnswer = (exchange) => exchange.strip("content-security-policy"); // which allows WebAssembly in the worker alone
    };
    const tolerates = /^Failed to load resource: .* 404/; // asked for below
    await visit(demo, { before, tolerates }, async ({ page, recorder }) => {
      await page.evaluate(wasmExec);
      await page.evaluate(async () => {
        const go = new Go();
        const { instance } = await WebAssembly.instantiateStreaming(fetch("/signer.wasm"), go.importObject);
        go.run(instance);
      });
      const publicKey = await page.evaluate(makeKey, curve);
      const { sessionId, accessToken } = await page.evaluate(signInWith, publicKey);
      assert.deepEqual(await demo.sessions(), [sessionId]);

      const { result, again, steps } = await page.evaluate(
        async (sessionId, accessToken) => {
          const steps = [];
          const options = {
            key,
            bridgeUrl: `${location.origin}/api/grid`,
            headers: { Authorization: `Bearer ${accessToken}` },
            onProgress: ({ step, leg, status }) => steps.push([step, leg, status].filter(Boolean).join(" ")),
          };
          const result = await gridsigner.revokeSession(sessionId, options);
          return { result, steps: [...steps], again: await gridsigner.revokeSession(sessionId, options) };
        },
        sessionId,
        accessToken,
      );
      assert.deepEqual([result.status, result.sessionId], ["revoked", sessionId]);
      assert.deepEqual(again, { status: "inactive", sessionId });
      assert.deepEqual(steps, ["request 1", "response 1 202", "challenge", "signed", "request 2", "response 2 204"]);
      assert.deepEqual(recorder.revocations(sessionId).map(({ status }) => status), [202, 204, 404]);
      assert.deepEqual(await demo.sessions(), []);
    });
  });
}
