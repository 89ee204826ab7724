// Verifies signatures with @noble/curves, which shares no code with the signer.
import { p256 } from "@noble/curves/nist.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";

export const curves = { "P-256": p256, secp256k1 };
const schemes = { SIGNATURE_SCHEME_TK_API_P256: "P-256", SIGNATURE_SCHEME_TK_API_SECP256K1: "secp256k1" };

export const hex = (bytes) => Buffer.from(bytes).toString("hex");
export const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));

/** Whether a DER signature over the UTF-8 of text holds. High S is as good as low S. */
export function verifies(curve, publicKey, der, text) {
  return curves[curve].verify(der, Buffer.from(text), unhex(publicKey), { prehash: true, lowS: false, format: "der" });
}

/**
 * Takes a Grid-Wallet-Signature apart, refusing what its format does not allow.
 * A header of the format "der" names no key and no curve.
 */
export function parseHeader(header, format) {
  const encoding = format === "stamp" ? "base64url" : "base64";
  const bytes = Buffer.from(header, encoding);
  if (bytes.toString(encoding) !== header) throw new Error(`not strict ${encoding}: ${header}`);
  if (format === "der") return { der: new Uint8Array(bytes) };
  const { publicKey, scheme, signature, ...rest } = JSON.parse(bytes);
  if (Object.keys(rest).length > 0) throw new Error(`unknown fields in ${bytes}`);
  return { curve: schemes[scheme], publicKey, der: unhex(signature) };
}
