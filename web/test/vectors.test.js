// The project's one corpus of vectors: every signature in it is checked with
// @noble/curves, and every refusal is asked of the signer in the browser.
import assert from "node:assert/strict";
import { ECDH, createDecipheriv, createECDH, createHash, createHmac, hkdfSync } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { open } from "./browser.js";
import { serve } from "./server.js";
import { curves, hex, parseHeader, unhex, verifies } from "./verify.js";

const directory = new URL("../../signer/testdata/vectors/", import.meta.url);
// A key whose private half is public: most vectors are made out to it.
const fixture = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c";
const session = "Session:019542f5-b3e7-1d02-0000-000000000003";

let server, page, answer;
before(async () => {
  server = serve({
    "/bridge/"({ headers }, response) {
      if (headers["grid-wallet-signature"]) response.writeHead(204).end();
      else response.writeHead(202, { "Content-Type": "application/json" }).end(answer);
    },
  });
  page = await open(server);
  await page.evaluate(
    async (session, fixture, publicKey) => {
      const all = await createSigner({ bridgeUrl: "/bridge", persistence: "memory" });
      const activities = await createSigner({ bridgeUrl: "/bridge", persistence: "memory", payloads: "activities" });
      for (const signer of [all, activities]) await signer.createKey({ curve: "secp256k1" }); // the module is there, and asked for no more
      // A key per vector: it remembers what Grid has accepted.
      globalThis.withKey = async (use, signer = all) => {
        const privateKey = Uint8Array.from(fixture.match(/../g), (pair) => parseInt(pair, 16));
        const key = await signer.importKey({ curve: "P-256", privateKey, publicKey });
        const result = await outcome(use(signer, key));
        await signer.removeKey(key);
        return { publicKey: key.publicKey, ...result };
      };
      globalThis.sign = (payload, intent) =>
        withKey((signer, key) => signer.signChallenge(challenge(payload), { key, ...(intent && { intent }) }));
      globalThis.revoke = (id = session) => withKey((signer, key) => signer.revokeSession(id, { key }));
      globalThis.revokeActivities = () => withKey((signer, key) => signer.revokeSession(session, { key }), activities);
      globalThis.list = (id) => withKey((signer) => signer.listSessions(id));
    },
    session,
    fixture,
    hex(curves["P-256"].getPublicKey(unhex(fixture), false)),
  );
});
after(() => server?.close());

/** What is checked of a vector, by the name of its file. */
const checks = {
  sign({ curve, privateKey, publicKey, payload, der }) {
    assert.equal(hex(curves[curve].getPublicKey(unhex(privateKey))), publicKey);
    assert.ok(verifies(curve, publicKey, unhex(der), payload));
    const lowS = curve === "secp256k1"; // the signer's own rule; RFC 6979 has none
    const own = curves[curve].sign(Buffer.from(payload), unhex(privateKey), { prehash: true, lowS, format: "der" });
    assert.equal(hex(own), der);
  },

  verify({ curve, publicKey, payload, rs, der, valid }) {
    assert.equal(verifies(curve, publicKey, unhex(der), payload), valid);
    assert.equal(hex(curves[curve].Signature.fromHex(rs).toBytes("der")), der);
  },

  der({ curve, der, rs, fail }) {
    const parse = () => curves[curve].Signature.fromBytes(unhex(der), "der");
    if (fail) assert.throws(parse);
    else assert.equal(parse().toHex(), rs);
  },

  der_header({ curve, publicKey, header, der, payload, fail }) {
    if (fail) return; // refused by the reader of a header, which the browser has not
    const parsed = parseHeader(header, "der");
    assert.equal(hex(parsed.der), der);
    assert.ok(verifies(curve, publicKey, parsed.der, payload));
  },

  stamp({ curve, publicKey, signature, header, payload, fail }) {
    if (fail) return; // as above
    const stamp = parseHeader(header, "stamp");
    assert.deepEqual([stamp.curve, stamp.publicKey, hex(stamp.der)], [curve, publicKey, signature]);
    assert.ok(verifies(curve, publicKey, stamp.der, payload));
  },

  async payload({ payload, kind, fail }) {
    const got = await page.evaluate((payload) => sign(payload), payload);
    if (fail) assert.equal(got.code, payload === "" ? "CHALLENGE_MALFORMED" : fail);
    else if (kind === "opaque") assertSigned(got, payload);
    else assert.notEqual(got.code, "PAYLOAD_MALFORMED"); // whether it may be signed is for intent.json
  },

  async intent({ publicKey, payload, intent, fail }) {
    const got = await page.evaluate((payload, intent) => sign(payload, intent), payload, intent ?? null);
    assert.equal(got.publicKey, publicKey);
    if (fail) assert.equal(got.code, fail);
    else assertSigned(got, payload);
  },

  // The bridge answers with the challenge. By the browser's clock all of them
  // have expired, so that is the refusal of a well-formed one.
  async challenge({ body, repeatAt, repeat, fail }) {
    answer = repeat ? body.replace(repeatAt, "x".repeat(repeat)) : body;
    server.requests.length = 0;
    const got = await page.evaluate(() => revoke());
    assert.equal(got.code, fail ?? "CHALLENGE_EXPIRED");
    assert.equal(server.requests.length, 1, "nothing was sent after the challenge");
  },

  // What is sealed is opened by OpenSSL here; sealed.test.js asks the module, also for what it refuses.
  hpke({ privateKey, enc, info, aad, plaintext, ciphertext }) {
    assert.equal(hex(openHPKE(privateKey, unhex(enc), unhex(ciphertext), { info: unhex(info), aad: unhex(aad) })), plaintext);
  },

  otp_target({ bundle, privateKey, fail }) {
    if (fail) return;
    const { targetPublic } = signedData(JSON.parse(bundle));
    assert.equal(publicKeyOf(privateKey), targetPublic);
  },

  export({ envelope, privateKey, publicKey, organizationId, mnemonic, fail }) {
    assert.equal(publicKeyOf(privateKey), publicKey);
    if (fail) return;
    const data = signedData(JSON.parse(envelope));
    assert.equal(data.organizationId, organizationId);
    assert.equal(Buffer.from(openHPKE(privateKey, unhex(data.encappedPublic), unhex(data.ciphertext))).toString(), mnemonic);
  },

  session_key({ sealed, privateKey, publicKey, scalar, fail }) {
    assert.equal(publicKeyOf(privateKey), publicKey);
    if (fail) return;
    const body = base58(sealed).subarray(0, -4);
    const enc = ECDH.convertKey(body.subarray(0, 33), "prime256v1");
    assert.equal(hex(openHPKE(privateKey, enc, body.subarray(33))), scalar);
  },

  // The signer makes no nonce, apps do: this keeps the vectors true.
  nonce({ clientPublicKey, nonce }) {
    assert.equal(createHash("sha256").update(clientPublicKey).digest("hex"), nonce);
  },

  async id({ kind, id, valid }) {
    if (kind === "AuthMethod") return; // no call of the signer takes one
    answer = "{}";
    server.requests.length = 0;
    const got = await page.evaluate((id, call) => globalThis[call](id), id, kind === "Session" ? "revoke" : "list");
    assert.equal(server.requests.length, valid ? 1 : 0);
    assert.equal(got.code === "ARGUMENT_INVALID", !valid);
  },
};

const publicKeyOf = (privateKey) => hex(curves["P-256"].getPublicKey(unhex(privateKey), false));

/** What an enclave has signed, if it has signed anything. */
function signedData({ data, dataSignature, enclaveQuorumPublic }) {
  const bytes = Buffer.from(data, "hex");
  if (dataSignature || enclaveQuorumPublic) {
    assert.ok(verifies("P-256", enclaveQuorumPublic.toLowerCase(), unhex(dataSignature.toLowerCase()), bytes));
  }
  return JSON.parse(bytes);
}

/** RFC 9180 in mode base with P-256, SHA-256 and AES-256-GCM, of the first message; as Turnkey uses it unless told. */
function openHPKE(privateKey, enc, ciphertext, { info = Buffer.from("turnkey_hpke"), aad } = {}) {
  const key = createECDH("prime256v1");
  key.setPrivateKey(privateKey, "hex");
  const parties = Buffer.concat([enc, key.getPublicKey()]);
  const kem = Buffer.from("HPKE-v1KEM\0\x10", "latin1");
  const suite = Buffer.from("HPKE-v1HPKE\0\x10\0\x01\0\x02", "latin1");
  const derive = (salt, suite, extract, secret, expand, info, size) =>
    Buffer.from(hkdfSync("sha256", Buffer.concat([suite, Buffer.from(extract), secret]), salt,
      Buffer.concat([Buffer.of(0, size), suite, Buffer.from(expand), info]), size));
  const none = Buffer.alloc(0);
  const shared = derive(none, kem, "eae_prk", key.computeSecret(enc), "shared_secret", parties, 32);
  const hash = (label, of) => createHmac("sha256", none).update(Buffer.concat([suite, Buffer.from(label), of])).digest();
  const context = Buffer.concat([Buffer.of(0), hash("psk_id_hash", none), hash("info_hash", info)]);
  const part = (label, size) => derive(shared, suite, "secret", none, label, context, size);
  const opener = createDecipheriv("aes-256-gcm", part("key", 32), part("base_nonce", 12));
  opener.setAAD(aad ?? parties).setAuthTag(ciphertext.subarray(-16));
  return Buffer.concat([opener.update(ciphertext.subarray(0, -16)), opener.final()]);
}

function base58(text) {
  const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  const number = [...text].reduce((sum, char) => sum * 58n + BigInt(alphabet.indexOf(char)), 0n);
  return Buffer.from(number.toString(16).padStart(170, "0"), "hex");
}

function assertSigned({ code, publicKey, value }, payload) {
  assert.equal(code, undefined);
  const { der } = parseHeader(value.signature, value.format);
  assert.ok(verifies("P-256", publicKey, der, payload));
}

for (const file of (await readdir(directory)).filter((name) => name.endsWith(".json"))) {
  const vectors = JSON.parse(await readFile(new URL(file, directory)));
  test(`vectors: ${file}`, async () => {
    const check = checks[file.replace(".json", "")];
    assert.ok(check, "there is a check for this file");
    const failed = [];
    const hold = async (vector) => {
      try {
        await check(vector);
      } catch (error) {
        failed.push(`${vector.name}: ${error.message}`);
      }
    };
    if (/^(challenge|id)/.test(file)) for (const vector of vectors) await hold(vector); // the bridge has one answer at a time
    else await Promise.all(vectors.map(hold));
    assert.ok(vectors.length > 0);
    assert.deepEqual(failed, []);
  });
}

// What is signed for a revocation must be good for nothing else, whatever the bridge sends.

/** A challenge with this payload, as a bridge answers the first leg. */
const offer = (payloadToSign) => {
  answer = JSON.stringify({
    payloadToSign,
    requestId: "Request:019542f5-b3e7-1d02-0000-000000000007",
    expiresAt: new Date(Date.now() + 300_000).toISOString().replace(/\.\d+Z/, "Z"),
    type: "OAUTH",
  });
  server.requests.length = 0;
};
const vector = async (file, wanted) => JSON.parse(await readFile(new URL(file, directory))).find(({ name }) => name === wanted);
const signatures = () => server.requests.flatMap(({ headers }) => headers["grid-wallet-signature"] ?? []);

for (const oracle of ["jwt-signing-input", "bitcoin-sighash-preimage", "bitcoin-sighash-preimage-in-hex"]) {
  test(`a bridge that wants a signature over a ${oracle} gets none`, async () => {
    const { payload } = await vector("payload.json", oracle);
    offer(payload);
    const { code } = await page.evaluate(() => revoke());
    assert.equal(code, "PAYLOAD_MALFORMED");
    assert.deepEqual([server.requests.length, signatures()], [1, []]);
  });
}

test("what Grid sent in April 2026 is signed as it asked for then: base64 of DER", async () => {
  const payload = "Y2hhbGxlbmdlLXBheWxvYWQtdG8tc2lnbg==";
  offer(payload);
  const { value, publicKey } = await page.evaluate(() => revoke());
  assert.deepEqual(value, { status: "revoked", sessionId: session });
  const [signature, ...more] = signatures();
  assert.deepEqual([server.requests.length, more], [2, []]);
  assert.ok(verifies("P-256", publicKey, parseHeader(signature, "der").der, payload));
});

test("payloads: \"activities\" refuses that, and signs today's", async () => {
  const [opaque, activity] = [await vector("payload.json", "opaque-upstream-example"), await vector("intent.json", "none-of-delete-api-keys")];
  for (const [{ payload }, want] of [[opaque, "INTENT_MISMATCH"], [activity, "revoked"]]) {
    offer(payload);
    const { code, value } = await page.evaluate(() => revokeActivities());
    assert.equal(code ?? value.status, want);
    assert.equal(signatures().length, want === "revoked" ? 1 : 0);
  }
});
