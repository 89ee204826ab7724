// How each way signs in, step by step: said in a line, and drawn where there is room.
import { type AuthMethod, type CallEvent, type Curve, type OtpSignIn, type SessionKey, type Signer } from "gridsigner";
import { type Deed, deeds } from "./deeds.ts";
import { shorten } from "./dom.ts";
import { type Exchange } from "./exchange.ts";
import { claimsOf } from "./identity.ts";
import { signInToken } from "./login.ts";
import { claimFacts } from "./payload.ts";
import { rememberName } from "./remembered.ts";

/** Where a sign-in is told of. */
export interface Telling {
  /** In one line, while it works. */
  say(words: string): void;
  readonly drawing: Exchange | undefined;
}

/** What signs in. */
export interface Newcomer {
  readonly name: string;
  readonly curve: Curve;
}

/**
 * Signs in by a token of the identity provider's. The order matters: the token's nonce is the hash of the public key.
 * Without a `way` it is the one that the account began with.
 *
 * @throws GridSignerError, RequestError, or TypeError where the provider cannot be reached. The new key is gone then.
 */
export async function byToken(signer: Signer, way: AuthMethod | undefined, newcomer: Newcomer, telling: Telling): Promise<SessionKey> {
  const { say, drawing } = telling;
  const key = await makeKey(signer, newcomer, telling);
  try {
    say("Asking the identity provider for a token…");
    const nonce = await signer.oauthNonce(key);
    const { credentialId, oidcToken } = await signInToken(way, nonce);
    drawing?.note({
      icon: "key", isKey: true,
      title: "A new key, and a token made out to it",
      sentence: "The provider vouches for you in a token. Its nonce is the hash of the key that this browser has just made:",
      meaning: "with any other key it is of no use.",
      facts: [["Public key", key.publicKey], ["Its hash", nonce]],
      more: { title: "What the token says", facts: claimFacts(claimsOf(oidcToken) ?? {}) },
    });
    const onProgress = follow(telling, deeds.signInByToken(credentialId), "Grid checks the token…");
    return await signer.signIn({ credentialId, oidcToken, key }, { onProgress });
  } catch (error) {
    await signer.removeKey(key.id).catch(() => {}); // why it is removed counts for more
    throw error;
  }
}

/** Signs in by a passkey of this site's, which the browser asks for. @throws GridSignerError; the new key is gone then */
export async function byPasskey(signer: Signer, way: AuthMethod, newcomer: Newcomer, telling: Telling): Promise<SessionKey> {
  const { say, drawing } = telling;
  const key = await makeKey(signer, newcomer, telling);
  const record = follow(telling, deeds.askForPasskey(way.id), "Asking Grid what the passkey is to vouch for…");
  let [isAsked, isSent] = [false, false];
  let undo: (() => void) | undefined;
  const onProgress = (event: CallEvent) => {
    if (event.step === "request" && isAsked && !isSent) {
      isSent = true;
      drawing?.about(deeds.signInByPasskey(way.id));
      say("Grid checks the passkey’s signature…");
    } else if (event.step === "wait" && isAsked && !isSent) {
      isAsked = false; // it was not the answer yet
      undo?.();
    }
    record(event);
    if (event.step !== "response" || event.status !== 200 || isAsked) return;
    isAsked = true;
    say("Your browser asks for the passkey…");
    undo = drawing?.note({
      icon: "lock",
      title: "What the passkey is asked to vouch for",
      sentence: "A hash of the session that is to begin, this browser’s new key in it. The browser adds the name of this site, so that no other can use the answer.",
      meaning: "That the hash is of that session, Grid alone can tell.",
      facts: [["This site", location.host], ["Public key", key.publicKey]],
    });
  };
  return signer.signIn({ credentialId: way.id, passkey: {}, key }, { onProgress });
}

/** Has a code sent, and has it checked whom it may be sealed to. @throws GridSignerError */
export async function sendCode(signer: Signer, way: AuthMethod, { curve }: Newcomer, telling: Telling, pinned: readonly string[]): Promise<OtpSignIn> {
  const { drawing } = telling;
  const onProgress = follow(telling, deeds.sendCode(way.id), "Grid is asked to send a code…");
  const otp = await signer.startOtp(way.id, { curve, onProgress });
  drawing?.note({
    icon: "check",
    title: "Checked: whom the code may be sealed to",
    sentence: "The answer names a key for that, and Grid’s enclave has signed it. Which enclave keys count, this page knows beforehand:",
    meaning: "a bridge that puts in a key of its own is found out.",
    facts: [["Code sent to", otp.nickname], ["Signed by", pinned.map((key) => shorten(key, 18, 8)).join(" or ")]],
  });
  drawing?.rest();
  return otp;
}

/** Signs in with the code. @throws GridSignerError */
export async function byCode(otp: OtpSignIn, code: string, { name }: Newcomer, telling: Telling): Promise<SessionKey> {
  telling.drawing?.note({
    icon: "lock", isKey: true,
    title: "Sealed in the browser: the code, and a new key",
    sentence: "The two are sealed together, and only Grid’s enclave can open them:",
    meaning: "who passes them on can neither read the code nor put in another key.",
    facts: [],
  });
  const onProgress = follow(telling, deeds.signInByCode(otp.credentialId), "Sealing the code. The enclave checks it…");
  const key = await otp.submit(code, { onProgress });
  rememberName(key.id, name);
  return key;
}

/** Named at once: other tabs hear of it when it has its session. */
async function makeKey(signer: Signer, { name, curve }: Newcomer, { say }: Telling): Promise<SessionKey> {
  say("Making a key…");
  const key = await signer.createKey({ curve });
  rememberName(key.id, name);
  return key;
}

/** Draws the steps of a request, and says in a line where it is. */
function follow({ say, drawing }: Telling, deed: Deed, asking: string): (event: CallEvent) => void {
  drawing?.about(deed);
  say(asking);
  return (event) => {
    drawing?.record(event);
    if (event.step === "challenge") say("The code is right. Checking what is to be signed…");
    else if (event.step === "signed") say("Signed. Grid checks the signature…");
    else if (event.step === "wait") say(event.reason === "processing" ? "Grid is still at it…" : "No luck yet. Trying again in a moment…");
  };
}
