// An authenticator as a model: it holds one passkey, and answers as a browser would. And Grid's look at the answer.
import { createHash, generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
const copy = (bytes) => new Uint8Array(bytes).buffer;

/** `credential` is what is registered of it. `get` stands for navigator.credentials.get. */
export function makeAuthenticator({ host = "wallet.example", origin = `https://${host}` } = {}) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const id = randomBytes(16);
  let count = 0;
  return {
    credential: { credentialId: id.toString("base64url"), publicKey, host, origin, count },
    async get({ publicKey: { challenge, allowCredentials, rpId = host } }) {
      // It is not told apart from a person who does not want to.
      if (!allowCredentials.some((allowed) => id.equals(Buffer.from(allowed.id)))) throw new DOMException("no passkey", "NotAllowedError");
      const clientData = { type: "webauthn.get", challenge: Buffer.from(challenge).toString("base64url"), origin, crossOrigin: false };
      const clientDataJSON = Buffer.from(JSON.stringify(clientData));
      const counter = Buffer.alloc(4);
      counter.writeUInt32BE(++count);
      const authenticatorData = Buffer.concat([sha256(rpId), Buffer.of(5), counter]); // present, and verified
      const signature = sign("sha256", Buffer.concat([authenticatorData, sha256(clientDataJSON)]), privateKey);
      const response = { clientDataJSON, authenticatorData, signature, userHandle: Buffer.from("user") };
      return { rawId: copy(id), response: Object.fromEntries(Object.entries(response).map(([name, bytes]) => [name, copy(bytes)])) };
    },
  };
}

/** Whether an assertion is of a passkey, and over this challenge: its text, and not what that spells in hex. */
export function isAsserted(credential, challenge, { credentialId, clientDataJson, authenticatorData, signature, ...rest }) {
  const [clientData, data, der] = [clientDataJson, authenticatorData, signature].map((text) => Buffer.from(text, "base64url"));
  const { type, challenge: said, origin } = JSON.parse(clientData);
  const count = data.readUInt32BE(33);
  const isIts = credentialId === credential.credentialId && Object.keys(rest).every((name) => name === "userHandle");
  const isOver = type === "webauthn.get" && said === Buffer.from(challenge, "ascii").toString("base64url") && origin === credential.origin;
  const isMade = data.subarray(0, 32).equals(sha256(credential.host)) && (data[32] & 1) === 1 && count > credential.count;
  if (!isIts || !isOver || !isMade || !verify("sha256", Buffer.concat([data, sha256(clientData)]), credential.publicKey, der)) return false;
  credential.count = count;
  return true;
}
