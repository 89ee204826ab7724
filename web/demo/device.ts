// A device of this page: in real life each would be its own browser.
import { type SessionBinding, type SessionKey } from "gridsigner";
import { nameOf } from "./remembered.ts";

export interface Device {
  readonly name: string;
  readonly key: SessionKey;
  /** The start of the public key's SHA-256, in groups: for comparing by eye. */
  readonly fingerprint: string;
  /** What the key is bound to. */
  readonly session: SessionBinding;
}

/** A key and its session as a device, also of a key that was there before this page, or came from another tab. */
export async function describe(key: SessionKey, session: SessionBinding): Promise<Device> {
  return { name: nameOf(key.id), key, fingerprint: await fingerprint(key.publicKey), session };
}

async function fingerprint(publicKey: string): Promise<string> {
  const bytes = Uint8Array.from(publicKey.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const digits = Array.from(hash.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/(.{4})(?=.)/g, "$1 ");
}
