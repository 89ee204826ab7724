/**
 * The halves of keys that sign: how they are made, taken over, sealed, and used.
 *
 * A P-256 key is a CryptoKey, which no script can read. A secp256k1 key rests as AES-256-GCM ciphertext under a
 * wrapping key that is such a CryptoKey itself, and is in the module's memory only while it is used: what is exported
 * or copied out of the database does not hold the key. Script on the page can use the wrapping key as we do, and who
 * reads the browser's profile on the disk finds it there: types.ts says so to users.
 */
import { GridSignerError } from "../errors.ts";
import type { HeldKey, RawModule } from "../module.ts";
import type { KeyRecord, Secret } from "./machine.ts";
import { type Storage, storageFailed } from "./storage.ts";

/** A key that Grid seals something to: its public half uncompressed, and what HPKE needs of the other. */
export interface SealingKey {
  publicKey: string;
  deriveBits(peer: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>;
}

/** A key that is nowhere but in this worker yet. */
export type Made = Pick<KeyRecord, "curve" | "publicKey"> & { secret: Secret };

const p256 = { name: "ECDSA", namedCurve: "P-256" };
const ecdh = { name: "ECDH", namedCurve: "P-256" };
const ecdsa = { name: "ECDSA", hash: "SHA-256" };

export async function makeKey(module: RawModule, curve: unknown = "P-256"): Promise<Made> {
  if (curve === "secp256k1") return held(await module.createKey({ curve }));
  if (curve !== "P-256") throw unsupported();
  const { privateKey, publicKey } = await crypto.subtle.generateKey(p256, false, ["sign"]);
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  return { curve, publicKey: compressed(point), secret: { handle: privateKey } };
}

/** A key for Grid to seal another to, which must be of use here. */
export async function makeSealedKey(): Promise<Made> {
  const { publicKey, privateKey } = await makePair();
  // Found out before there is a session that nobody could sign for.
  await Promise.all([findPoint(new Uint8Array(32).fill(1, 31)), readCompressed(compressed(pointOf(publicKey)))]).catch((cause) => {
    throw new GridSignerError("SEALED_KEY_UNSUPPORTED", "this browser finds no public half of a P-256 key, or reads no compressed one", { cause });
  });
  return { curve: "P-256", publicKey, secret: { handle: privateKey } };
}

/** Reads a point as the module does that of whoever seals: SubjectPublicKeyInfo (RFC 5480). WebKitGTK takes only uncompressed ones. */
async function readCompressed(hex: string): Promise<void> {
  const spki = "3039301306072a8648ce3d020106082a8648ce3d030107032200" + hex;
  await crypto.subtle.importKey("spki", Uint8Array.from(spki.match(/../g)!, (pair) => parseInt(pair, 16)), ecdh, true, []);
}

/** A key of this moment, which is stored nowhere. */
export async function makeSealingKey(): Promise<SealingKey> {
  const { publicKey, privateKey } = await makePair();
  return sealingKey(publicKey, privateKey);
}

export function sealingKey(publicKey: string, handle: CryptoKey): SealingKey {
  const deriveBits = async (peer: Uint8Array<ArrayBuffer>) => {
    const theirs = await crypto.subtle.importKey("raw", peer, ecdh, false, []);
    return crypto.subtle.deriveBits({ name: "ECDH", public: theirs }, handle, 256);
  };
  return { publicKey, deriveBits };
}

async function makePair(): Promise<{ publicKey: string; privateKey: CryptoKey }> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(ecdh, false, ["deriveBits"]);
  return { privateKey, publicKey: hexOf(new Uint8Array(await crypto.subtle.exportKey("raw", publicKey))) };
}

/** A key from elsewhere, its public half uncompressed. */
export interface Given {
  curve: string;
  privateKey: Uint8Array<ArrayBuffer>;
  publicKey?: string;
}

/** Takes over a key, whose private half it zeroes. */
export async function importKey(module: RawModule, { curve, privateKey, publicKey }: Given): Promise<Made> {
  try {
    if (curve === "P-256") return await importP256(privateKey, publicKey);
    if (curve !== "secp256k1") throw unsupported();
    if (publicKey !== undefined) throw new GridSignerError("ARGUMENT_INVALID", "publicKey is for P-256 alone");
    return held(await module.importKey({ curve, privateKey }));
  } finally {
    privateKey.fill(0);
  }
}

/** Takes over the private half that was sealed. The browser can find the other: {@link makeSealedKey} has made sure. */
export async function importSealedKey(scalar: Uint8Array<ArrayBuffer>): Promise<Made & { secret: { handle: CryptoKey } }> {
  try {
    return await importP256(scalar, undefined);
  } catch (error) {
    throw new GridSignerError("UNSEAL_FAILED", "what was sealed is no P-256 private key", { cause: error });
  } finally {
    scalar.fill(0);
  }
}

function held({ id, publicKey }: HeldKey): Made {
  return { curve: "secp256k1", publicKey, secret: { held: id } };
}

async function importP256(scalar: Uint8Array, publicKey: string | undefined): Promise<Made & { secret: { handle: CryptoKey } }> {
  if (scalar.length !== 32) throw malformed("privateKey must be 32 bytes");
  const point = publicKey === undefined ? await findPoint(scalar) : pointOf(publicKey);
  try {
    const handle = await importPKCS8(scalar, point, false);
    // An engine may take two halves that do not belong together.
    const message = new TextEncoder().encode("gridsigner");
    const verifier = await crypto.subtle.importKey("raw", point, p256, false, ["verify"]);
    const signature = await crypto.subtle.sign(ecdsa, handle, message);
    if (await crypto.subtle.verify(ecdsa, verifier, signature, message)) {
      return { curve: "P-256", publicKey: compressed(point), secret: { handle } };
    }
  } catch {
    // Not a scalar, or not a point, of the curve.
  }
  throw malformed("not the private key of a P-256 key pair");
}

/** The public half of a scalar, as the browser finds it. Firefox does not. */
async function findPoint(scalar: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const find = async (scalar: Uint8Array) => crypto.subtle.exportKey("jwk", await importPKCS8(scalar, undefined, true));
  const jwk = await find(scalar).catch(async () => {
    const able = await find(new Uint8Array(32).fill(1, 31)).catch(() => undefined);
    throw able
      ? malformed("not a P-256 private key")
      : new GridSignerError("ARGUMENT_INVALID", "this browser cannot find the public half of a P-256 key: give publicKey");
  });
  const decode = (text: string) => atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(`\x04${decode(jwk.x!)}${decode(jwk.y!)}`, (char) => char.charCodeAt(0));
}

/**
 * Hands a scalar to WebCrypto as PKCS #8 (RFC 5958, RFC 5915):
 *
 *     30 (41|8187)  02 01 00                                     version
 *       30 13  06 07 2a8648ce3d0201  06 08 2a8648ce3d030107      EC key, P-256
 *       04 (27|6d)  30 (25|6b)  02 01 01  04 20 (scalar)         private key
 *         a1 44  03 42 00  (point)                               public key, where it is known
 */
function importPKCS8(scalar: Uint8Array, point: Uint8Array | undefined, extractable: boolean): Promise<CryptoKey> {
  const [whole, octets, sequence] = point ? [[0x81, 0x87], 0x6d, 0x6b] : [[0x41], 0x27, 0x25];
  const der = Uint8Array.of(
    ...[0x30, ...whole, 0x02, 0x01, 0x00],
    ...[0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    ...[0x04, octets, 0x30, sequence, 0x02, 0x01, 0x01, 0x04, 0x20, ...scalar],
    ...(point ? [0xa1, 0x44, 0x03, 0x42, 0x00, ...point] : []),
  );
  const imported = crypto.subtle.importKey("pkcs8", der, p256, extractable, ["sign"]);
  der.fill(0); // importKey has taken its copy: Web Cryptography API, section 14.3.9 step 2
  return imported;
}

/** The 65 bytes of an uncompressed point: 04 x y. */
function pointOf(hex: string): Uint8Array<ArrayBuffer> {
  if (!/^04[0-9a-f]{128}$/i.test(hex)) throw malformed("publicKey must be uncompressed: 04 and 128 more hex digits");
  return Uint8Array.from(hex.match(/../g)!, (pair) => parseInt(pair, 16));
}

/** 02|03 x of 04 x y, in hex. */
function compressed(point: Uint8Array): string {
  return hexOf(Uint8Array.of(2 | (point[64]! & 1), ...point.subarray(1, 33)));
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A new key's secret as it may rest in storage. What the module holds it goes on holding. */
export async function seal(module: RawModule, storage: Storage, record: KeyRecord): Promise<Secret> {
  const secret = record.secret!;
  if (!("held" in secret)) return secret;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const wrappingKey = (await storage.wrappingKey(made))!;
  const iv = crypto.getRandomValues(new Uint8Array(12));
  // encrypt takes its copy before it returns: Web Cryptography API, section 14.3.1.
  const ciphertext = await module.lendKey(secret.held, (scalar) =>
    crypto.subtle.encrypt(algorithm(record, iv), wrappingKey, scalar),
  );
  return { iv, ciphertext };
}

type Work<T> = (key: unknown) => Promise<T>;

/** Lets `work` sign with a key. A sealed one is opened for as long as that takes; `KEY_MALFORMED` if it opens no more. */
export async function withKey<T>(module: RawModule, storage: Storage | undefined, record: KeyRecord, work: Work<T>): Promise<T> {
  const { curve, publicKey } = record;
  const secret = record.secret!;
  if ("handle" in secret) {
    const sign = (bytes: Uint8Array<ArrayBuffer>) => crypto.subtle.sign(ecdsa, secret.handle, bytes);
    return work({ curve, publicKey, sign });
  }
  if ("held" in secret) return work(secret.held);
  const wrappingKey = await storage!.wrappingKey().catch(() => Promise.reject(storageFailed()));
  const { iv, ciphertext } = secret;
  const scalar = await crypto.subtle.decrypt(algorithm(record, iv), wrappingKey!, ciphertext).catch(() => {
    throw malformed("the stored key does not open");
  });
  const opened = await module.importKey({ curve, privateKey: new Uint8Array(scalar) }); // which zeroes it
  try {
    if (opened.publicKey !== publicKey) throw malformed("the stored key is another");
    return await work(opened.id);
  } finally {
    await module.removeKey(opened.id);
  }
}

/** The additional data ties a ciphertext to its key: none can be passed off as another's. */
function algorithm({ curve, publicKey }: KeyRecord, iv: Uint8Array<ArrayBuffer>): AesGcmParams {
  const additionalData = new TextEncoder().encode(["gridsigner/key/2", curve, publicKey].join("|"));
  return { name: "AES-GCM", iv, additionalData };
}

function malformed(message: string): GridSignerError {
  return new GridSignerError("KEY_MALFORMED", message);
}

function unsupported(): GridSignerError {
  return new GridSignerError("CURVE_UNSUPPORTED", "curve must be P-256 or secp256k1");
}
