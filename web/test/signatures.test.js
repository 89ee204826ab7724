// Signatures made in the browser, verified by @noble/curves.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { revocation } from "./bridge.js";
import { open } from "./browser.js";
import { send, serve } from "./server.js";
import { curves, hex, parseHeader, unhex, verifies } from "./verify.js";

// The example of Turnkey's own API key stamper; secp256k1 takes the same scalar.
const privateKey = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c";
const activity = revocation();

let server;
before(async () => {
  const goroot = execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim();
  const wasmExec = await readFile(join(goroot, "lib", "wasm", "wasm_exec.js"));
  server = serve({ "/wasm_exec.js": (_, response) => send(response, wasmExec, "text/javascript") });
});
after(() => server?.close());

for (const curve of Object.keys(curves)) {
  test(`${curve}: hundreds of signatures over random payloads hold`, async () => {
    const page = await open(server);
    const { key, signed } = await page.evaluate(async (curve) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid" });
      const key = await signer.createKey({ curve });
      const sign = async (i) => {
        const payload = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(15 + i)))); // too long to be all hex, by any chance
        return { payload, ...(await signer.signChallenge(challenge(payload), { key })) };
      };
      const signed = [];
      // A hundred at once: each asks storage three times, and where that is slow, hundreds wait for each other too long.
      while (signed.length < 300) signed.push(...(await Promise.all(Array.from({ length: 100 }, (_, i) => sign(signed.length + i)))));
      signer.close();
      return { key, signed };
    }, curve);
    await page.close();

    assert.match(key.publicKey, /^0[23][0-9a-f]{64}$/);
    assert.equal(key.protection, curve === "P-256" ? "non-extractable" : "encrypted-at-rest");
    for (const { payload, signature, format } of signed) {
      assert.equal(format, "der"); // opaque payloads, by "auto"
      assert.ok(verifies(curve, key.publicKey, parseHeader(signature, "der").der, payload), `${payload}: ${signature}`);
    }
  });

  test(`${curve}: a stamp names the key and its scheme`, async () => {
    const page = await open(server);
    const { key, signed, again } = await page.evaluate(
      async (curve, activity, bytes, publicKey) => {
        const signer = await createSigner({ bridgeUrl: "/api/grid" });
        const key = await signer.importKey({ curve, privateKey: new Uint8Array(bytes), publicKey });
        const signed = await signer.signChallenge(challenge(activity), { key });
        const again = await signer.signChallenge(challenge(activity), { key, format: "der" });
        signer.close();
        return { key, signed, again };
      },
      curve,
      activity,
      [...unhex(privateKey)],
      curve === "P-256" ? hex(curves[curve].getPublicKey(unhex(privateKey), false)) : undefined, // which Firefox does not find
    );
    await page.close();

    assert.equal(key.publicKey, hex(curves[curve].getPublicKey(unhex(privateKey))));
    assert.equal(signed.format, "stamp");
    assert.equal(signed.intent, "revoke-session");
    assert.deepEqual(signed.headers, { "Grid-Wallet-Signature": signed.signature, "Request-Id": signed.requestId });
    const stamp = parseHeader(signed.signature, "stamp");
    assert.equal(stamp.curve, curve);
    assert.equal(stamp.publicKey, key.publicKey);
    assert.ok(verifies(curve, key.publicKey, stamp.der, activity));
    assert.ok(verifies(curve, key.publicKey, parseHeader(again.signature, "der").der, activity));
  });
}

test("secp256k1 signatures are those of RFC 6979, with low S", async () => {
  const page = await open(server);
  const payloads = Array.from({ length: 50 }, (_, i) => btoa(`payload ${i}`));
  const signatures = await page.evaluate(
    async (payloads, bytes) => {
      const signer = await createSigner({ bridgeUrl: "/api/grid" });
      const key = await signer.importKey({ curve: "secp256k1", privateKey: new Uint8Array(bytes) });
      const signed = await Promise.all(payloads.map((payload) => signer.signChallenge(challenge(payload), { key })));
      signer.close();
      return signed.map(({ signature }) => signature);
    },
    payloads,
    [...unhex(privateKey)],
  );
  await page.close();
  const want = payloads.map((payload) =>
    Buffer.from(
      curves.secp256k1.sign(Buffer.from(payload), unhex(privateKey), { prehash: true, lowS: true, format: "der" }),
    ).toString("base64"),
  );
  assert.deepEqual(signatures, want);
});

test("the bare module works with wasm_exec.js and nothing of ours", async () => {
  const page = await open(server, "/lax");
  const got = await page.evaluate(
    async (activity, bytes) => {
      const script = document.createElement("script");
      script.src = "/wasm_exec.js";
      await new Promise((resolve) => document.head.append(Object.assign(script, { onload: resolve })));
      const go = new Go();
      const { instance } = await WebAssembly.instantiateStreaming(fetch("/signer.wasm"), go.importObject);
      go.run(instance);
      const { gridsigner } = globalThis;
      const secret = new Uint8Array(bytes);
      const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
      const point = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
      const keys = [
        {
          curve: "P-256",
          publicKey: [2 | (point[64] & 1), ...point.subarray(1, 33)].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
          sign: (bytes) => crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, bytes),
        },
        await gridsigner.importKey({ curve: "secp256k1", privateKey: secret }),
        await gridsigner.createKey({ curve: "secp256k1" }),
      ];
      const signed = [];
      for (const key of keys) signed.push(await gridsigner.signChallenge(challenge(activity), { key }));
      const refused = async (promise) => promise.catch((e) => [e instanceof Error, e.name, e.code, e.retryable]);
      return {
        keys: keys.map(({ curve, publicKey }) => ({ curve, publicKey })),
        signed,
        refusals: [
          await refused(gridsigner.signChallenge(challenge(activity), { key: keys[0], intent: "send-payment" })),
          await refused(gridsigner.createKey({ curve: "P-256" })),
        ],
        removed: [await gridsigner.removeKey(keys[1].id), await gridsigner.removeKey(keys[1].id)],
        zeroed: secret.every((byte) => byte === 0),
      };
    },
    activity,
    [...unhex(privateKey)],
  );
  await page.close();
  for (const [i, { signature }] of got.signed.entries()) {
    const { curve, publicKey } = got.keys[i];
    assert.ok(verifies(curve, publicKey, parseHeader(signature, "stamp").der, activity), curve);
  }
  assert.deepEqual(got.refusals, ["INTENT_MISMATCH", "CURVE_UNSUPPORTED"].map((code) => [true, "GridSignerError", code, false]));
  assert.equal(got.signed.length, 3);
  assert.deepEqual(got.removed, [true, false]);
  assert.equal(got.zeroed, true);
});
