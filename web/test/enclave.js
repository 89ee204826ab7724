// The enclaves behind Grid as a model: what they seal and open (HPKE, RFC 9180), and what they sign. On OpenSSL's
// primitives as Node has them, and on nothing of ours, so that one mistake cannot hide on both sides.
import { createCipheriv, createDecipheriv, createECDH, createHash, createHmac, createPublicKey, ECDH, generateKeyPairSync, sign, verify } from "node:crypto";

const hexOf = (bytes) => Buffer.from(bytes).toString("hex");
const bytesOf = (text) => Buffer.from(text, "hex");
const sha256 = (bytes) => createHash("sha256").update(bytes).digest();

/** What comes before a public key, compressed or not, in its SubjectPublicKeyInfo (RFC 5480). */
const spki = {
  "P-256": { 66: "3039301306072a8648ce3d020106082a8648ce3d030107032200", 130: "3059301306072a8648ce3d020106082a8648ce3d030107034200" },
  secp256k1: { 66: "3036301006072a8648ce3d020106052b8104000a032200" },
};

/** Whether a signature in DER over SHA-256 holds. */
export function verifies(curve, publicKey, der, message) {
  const key = createPublicKey({ key: bytesOf(spki[curve][publicKey.length] + publicKey), format: "der", type: "spki" });
  return verify("sha256", Buffer.from(message), key, der);
}

/** A P-256 key: its public half uncompressed. */
export function makePair() {
  const ecdh = createECDH("prime256v1");
  const publicKey = ecdh.generateKeys("hex");
  return { publicKey, privateKey: ecdh.getPrivateKey(), agree: (peer) => ecdh.computeSecret(bytesOf(peer)) };
}

export const compress = (publicKey) => ECDH.convertKey(publicKey, "prime256v1", "hex", "hex", "compressed");

// --- HPKE: mode base, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, and Turnkey's info (Grid's guide Client keys) ---

const suite = { kem: Buffer.from("KEM\x00\x10"), hpke: Buffer.from("HPKE\x00\x10\x00\x01\x00\x02") };
const hmac = (key, ...data) => createHmac("sha256", key).update(Buffer.concat(data)).digest();
const labeled = (id, label, ...rest) => [Buffer.from("HPKE-v1"), id, Buffer.from(label), ...rest];
const extract = (id, salt, label, input) => hmac(salt, ...labeled(id, label, input));

/** LabeledExpand, written out: all that is asked for fits into one block of SHA-256. */
function expand(id, secret, label, info, length) {
  return hmac(secret, Buffer.of(0, length), ...labeled(id, label, info), Buffer.of(1)).subarray(0, length);
}

/** Key, nonce and additional data, of the shared secret of the two halves. */
function schedule(shared, enc, recipient) {
  const none = Buffer.alloc(0);
  const context = Buffer.concat([enc, recipient]);
  const secret = expand(suite.kem, extract(suite.kem, none, "eae_prk", shared), "shared_secret", context, 32);
  const info = Buffer.concat([Buffer.of(0), extract(suite.hpke, none, "psk_id_hash", none), extract(suite.hpke, none, "info_hash", Buffer.from("turnkey_hpke"))]);
  const prk = extract(suite.hpke, secret, "secret", none);
  return [expand(suite.hpke, prk, "key", info, 32), expand(suite.hpke, prk, "base_nonce", info, 12), context];
}

/** Seals bytes to an uncompressed public key. */
export function seal(publicKey, bytes) {
  const sender = makePair();
  const [key, nonce, additional] = schedule(sender.agree(publicKey), bytesOf(sender.publicKey), bytesOf(publicKey));
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(additional);
  const ciphertext = Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  return { encappedPublic: sender.publicKey, ciphertext: hexOf(ciphertext) };
}

/** Opens what was sealed to a pair; throws where it was not, or was changed. */
export function open(pair, { encappedPublic, ciphertext }) {
  const [key, nonce, additional] = schedule(pair.agree(encappedPublic), bytesOf(encappedPublic), bytesOf(pair.publicKey));
  const bytes = bytesOf(ciphertext);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(additional).setAuthTag(bytes.subarray(-16));
  return Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]);
}

// --- what is sealed, and how it is written ---

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

export function base58check(bytes) {
  const whole = Buffer.concat([bytes, sha256(sha256(bytes)).subarray(0, 4)]);
  let text = "";
  for (let n = BigInt(`0x${hexOf(whole)}`); n > 0n; n /= 58n) text = alphabet[Number(n % 58n)] + text;
  return "1".repeat(whole.findIndex((byte) => byte !== 0)) + text;
}

/** The private half of a session's key, sealed to the client's: `encryptedSessionSigningKey`. */
export function sealSessionKey(publicKey, privateKey) {
  const { encappedPublic, ciphertext } = seal(publicKey, privateKey);
  return base58check(bytesOf(compress(encappedPublic) + ciphertext));
}

/** An enclave that signs what it says of itself. */
export function makeEnclave() {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x, y } = publicKey.export({ format: "jwk" });
  const quorum = `04${hexOf(Buffer.from(x, "base64url"))}${hexOf(Buffer.from(y, "base64url"))}`;
  const encode = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  return {
    publicKey: quorum,

    /** Says something: the form of a target bundle, and of an export. */
    envelope(said, more = {}) {
      const data = Buffer.from(JSON.stringify(said));
      const dataSignature = hexOf(sign("sha256", data, privateKey));
      return JSON.stringify({ version: "v1.0.0", data: hexOf(data), dataSignature, enclaveQuorumPublic: quorum, ...more });
    },

    /** The verification token of a code: a JWT that it has signed. */
    token(claims) {
      const input = `${encode({ alg: "ES256", typ: "JWT" })}.${encode(claims)}`;
      return `${input}.${sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
    },
  };
}
