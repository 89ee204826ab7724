// The corpus of what is sealed, in the bare module over this engine's WebCrypto:
// what it opens, and what it refuses.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { engine, open } from "./browser.js";
import { send, serve } from "./server.js";

const corpus = async (file) => JSON.parse(await readFile(new URL(`../../signer/testdata/vectors/${file}`, import.meta.url)));

/** WebKit reads no compressed points, and the module says so of whatever might otherwise open. */
const readsCompressed = engine !== "webkit";

let server, page;
before(async () => {
  const goroot = execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim();
  const wasmExec = await readFile(join(goroot, "lib", "wasm", "wasm_exec.js"));
  server = serve({ "/wasm_exec.js": (_, response) => send(response, wasmExec, "text/javascript") });
  page = await open(server, "/lax");
  await page.evaluate(async () => {
    const script = document.createElement("script");
    script.src = "/wasm_exec.js";
    await new Promise((resolve) => document.head.append(Object.assign(script, { onload: resolve })));
    const go = new Go();
    const { instance } = await WebAssembly.instantiateStreaming(fetch("/signer.wasm"), go.importObject);
    go.run(instance);

    const ecdh = { name: "ECDH", namedCurve: "P-256" };
    const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
    /** A key as a worker has it. */
    globalThis.makeKey = async ({ privateKey, publicKey }) => {
      const pkcs8 = `308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420${privateKey}a144034200${publicKey}`;
      const key = await crypto.subtle.importKey("pkcs8", bytes(pkcs8), ecdh, false, ["deriveBits"]);
      const peers = [];
      const deriveBits = async (peer) => {
        peers.push(peer);
        return crypto.subtle.deriveBits({ name: "ECDH", public: await crypto.subtle.importKey("raw", peer, ecdh, false, []) }, key, 256);
      };
      return { publicKey, deriveBits, peers };
    };
    globalThis.ask = async (call, text, options) => {
      try {
        const value = await gridsigner[call](text, options);
        return value instanceof Uint8Array ? Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("") : value;
      } catch ({ name, code, message }) {
        return `${name} ${code ?? message}`;
      }
    };
  });
});
after(() => server?.close());

/** Holds each vector's outcome against what it wants. */
async function hold(vectors, want, evaluate) {
  const got = await page.evaluate(evaluate, vectors);
  assert.ok(vectors.length > 30);
  assert.deepEqual(Object.fromEntries(vectors.map(({ name }, i) => [name, got[i]])), Object.fromEntries(vectors.map((v) => [v.name, want(v)])));
}

const refusal = (code) => `GridSignerError ${code}`;

test("the targets of one-time codes; one that is not on the curve gets none", async () => {
  await hold(
    await corpus("otp_target.json"),
    ({ fail }) => (fail ? refusal(fail) : "sealed"),
    (vectors) =>
      Promise.all(
        vectors.map(async ({ bundle, signers }) => {
          const options = { ...(signers && { otpSigners: signers }), otpCode: "123456", publicKey: `02${"ab".repeat(32)}` };
          const checked = await ask("checkOtpTarget", bundle, options);
          const sealed = await ask("sealOtp", bundle, options);
          if (checked !== undefined) return sealed === checked ? sealed : `${sealed}, but ${checked} when it is checked`;
          return /^\{"encappedPublic":"04[0-9a-f]{128}","ciphertext":"[0-9a-f]{238}"\}$/.test(sealed) ? "sealed" : sealed;
        }),
      ),
  );
});

test("exports of wallets; no key agrees with what is not on the curve", async () => {
  await hold(
    await corpus("export.json"),
    ({ fail, mnemonic }) => (fail ? refusal(fail) : mnemonic),
    (vectors) =>
      Promise.all(
        vectors.map(async ({ name, envelope, signers, allowUnsigned, organizationId, ...halves }) => {
          const key = await makeKey(halves);
          const got = await ask("openExport", envelope, { ...key, ...(signers && { exportSigners: signers }), allowUnsigned, organizationId });
          return /off-the-curve/.test(name) && key.peers.length > 0 ? "the key was used" : got;
        }),
      ),
  );
});

test("session keys that Grid made", async () => {
  const unreadable = /^(enc-|the-other|another-key|tag-|no-additional|compressed-|no-info)/; // what is base58check of 81 bytes
  await hold(
    await corpus("session_key.json"),
    ({ name, fail, scalar }) => {
      if (!readsCompressed && (!fail || unreadable.test(name))) return refusal("SEALED_KEY_UNSUPPORTED");
      return fail ? refusal(fail) : scalar;
    },
    (vectors) => Promise.all(vectors.map(async ({ sealed, ...halves }) => ask("openSessionKey", sealed, await makeKey(halves)))),
  );
});
