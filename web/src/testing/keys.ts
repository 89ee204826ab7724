/**
 * Keys of the test signer: the real P-256 ones of keys/secrets.ts, where there is WebCrypto, and stand-ins for all others. jsdom
 * may have no WebCrypto, and no WebCrypto has secp256k1.
 */
import { GridSignerError } from "../errors.ts";
import type { KeyRecord } from "../keys/machine.ts";
import { type Given, hexOf, importKey, type Made, makeKey, makeSealedKey } from "../keys/secrets.ts";

/** What makes secp256k1 keys elsewhere. P-256 ones do not need it. */
const noModule = undefined as never;

/** The orders of the curves: a private key is between 0 and that. */
const orders: Record<string, bigint> = {
  "P-256": 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  secp256k1: 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n,
};

const isReal = (curve: string | undefined) => curve !== "secp256k1" && globalThis.crypto.subtle !== undefined;

export async function make(curve: string = "P-256"): Promise<Made> {
  return isReal(curve) || !(curve in orders) ? makeKey(noModule, curve) : standIn(curve);
}

export async function makeSealed(): Promise<Made> {
  return isReal("P-256") ? makeSealedKey() : { ...standIn("P-256"), publicKey: `04${digits(64)}` };
}

export async function take(given: Given): Promise<Made> {
  const { curve, privateKey, publicKey } = given;
  if (isReal(curve) || !(curve in orders)) return importKey(noModule, given);
  const scalar = BigInt(`0x0${hexOf(privateKey)}`);
  const isRight = privateKey.length === 32 && scalar > 0n && scalar < orders[curve]!;
  privateKey.fill(0);
  if (curve === "secp256k1" && publicKey !== undefined) throw new GridSignerError("ARGUMENT_INVALID", "publicKey is for P-256 alone");
  if (!isRight) throw new GridSignerError("KEY_MALFORMED", "not a private key of this curve");
  return standIn(curve);
}

function standIn(curve: string): Made {
  return { curve: curve as Made["curve"], publicKey: `02${digits(32)}`, secret: { held: "nothing" } };
}

const digits = (bytes: number) => hexOf(crypto.getRandomValues(new Uint8Array(bytes)));

/** DER, of a P-256 key's r and s. A stand-in's are both 1: who parses signatures takes that, and who verifies them does not. */
export async function sign({ secret }: KeyRecord, text: string): Promise<Uint8Array> {
  if (!secret || !("handle" in secret)) return der(Uint8Array.of(1), Uint8Array.of(1));
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  const raw = new Uint8Array(await crypto.subtle.sign(algorithm, secret.handle, new TextEncoder().encode(text)));
  return der(raw.subarray(0, 32), raw.subarray(32));
}

function der(...halves: Uint8Array[]): Uint8Array {
  const body = halves.flatMap((half) => {
    const first = half.findIndex((byte) => byte > 0);
    const bytes = [...half.subarray(first)];
    if (bytes[0]! >= 0x80) bytes.unshift(0);
    return [2, bytes.length, ...bytes];
  });
  return Uint8Array.of(0x30, body.length, ...body);
}

/** The nonce of a token for a key. Without WebCrypto it is a stand-in, too. */
export async function nonceOf(publicKey: string): Promise<string> {
  if (!isReal("P-256")) return publicKey.slice(-64);
  return hexOf(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(publicKey))));
}
