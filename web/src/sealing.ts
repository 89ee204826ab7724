/**
 * Between the module and storage: how a key is taken to rest, and back.
 *
 * A P-256 key rests as its CryptoKey, which no script can read. A secp256k1 key
 * rests as AES-256-GCM ciphertext under a wrapping key that is such a CryptoKey
 * itself: what is exported or copied out of the database does not hold the key.
 * Script on the page can use the wrapping key as we do, and who reads the
 * browser's profile on the disk finds it there: types.ts says so to users.
 */
import { GridSignerError } from "./errors.ts";
import type { Storage, StoredKey } from "./storage.ts";
import type { RevokeResult, SessionKey } from "./types.ts";

/** The module's own surface, see wasm/main_js.go. */
export interface RawModule {
  createKey(options: unknown): Promise<SessionKey>;
  importKey(options: unknown): Promise<SessionKey>;
  removeKey(id: string): Promise<boolean>;
  signChallenge(challenge: unknown, options: unknown): Promise<unknown>;
  revokeSession(id: string, options: unknown): Promise<RevokeResult>;
  listSessions(accountId: string, options: unknown): Promise<{ id: string }[]>;
  stateOf(id: string): Promise<{ handle?: CryptoKey; point?: Uint8Array; organizationId: string }>;
  /** Calls encrypt with the private half, and zeroes that when encrypt returns. */
  lendKey(id: string, encrypt: (privateKey: Uint8Array<ArrayBuffer>) => Promise<ArrayBuffer>): Promise<ArrayBuffer>;
}

/** The part of a stored key that signs. */
export async function secrets(module: RawModule, storage: Storage, key: SessionKey): Promise<Partial<StoredKey>> {
  if (key.curve === "P-256") {
    const { handle, point } = await module.stateOf(key.id);
    return { handle, point } as Partial<StoredKey>;
  }
  const wrappingKey = (await storage.wrappingKey()) ?? (await storage.makeWrappingKey());
  const iv = crypto.getRandomValues(new Uint8Array(12));
  // encrypt takes its copy before it returns: Web Cryptography API, section 14.3.1.
  const ciphertext = await module.lendKey(key.id, (scalar) => crypto.subtle.encrypt(algorithm(key, iv), wrappingKey, scalar));
  return { iv, ciphertext };
}

/** Gives a stored key back to the module, under its id. `KEY_MALFORMED`: what is stored is of no use any more. */
export async function importStored(module: RawModule, storage: Storage, key: StoredKey): Promise<SessionKey> {
  if (key.curve === "P-256") return module.importKey({ id: key.id, handle: key.handle, point: key.point });
  const wrappingKey = await storage.wrappingKey();
  let privateKey: Uint8Array;
  try {
    privateKey = new Uint8Array(await crypto.subtle.decrypt(algorithm(key, key.iv!), wrappingKey!, key.ciphertext!));
  } catch {
    throw new GridSignerError("KEY_MALFORMED", "the stored key does not open");
  }
  return module.importKey({ id: key.id, curve: key.curve, privateKey }); // which zeroes it
}

/** The additional data ties a ciphertext to its key: none can be passed off as another's. */
function algorithm({ curve, publicKey, id }: { curve: string; publicKey: string; id: string }, iv: Uint8Array): AesGcmParams {
  const additionalData = new TextEncoder().encode(["gridsigner/key/1", curve, publicKey, id].join("|"));
  return { name: "AES-GCM", iv: iv as Uint8Array<ArrayBuffer>, additionalData };
}
