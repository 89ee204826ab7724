// A revocation on the wire, held to what Grid documents.
import assert from "node:assert/strict";
import { parseHeader, verifies } from "../test/verify.js";

/** What the two generations of Grid's API differ in, by the simulator's profile. */
export const profiles = {
  modern: { format: "stamp", requestId: /^Request:[0-9a-f-]{36}$/, payload: /^\{"organizationId":/ },
  "legacy-2026-04": { format: "der", requestId: /^[0-9a-f-]{36}$/, payload: /^[A-Za-z0-9+/]{43}=$/ },
};

/** The public key that a session was made out to, from what the page sent when it signed in. */
function publicKeyOf(recorder, sessionId) {
  const signIn = recorder.exchanges.find((exchange) => exchange.path.endsWith("/verify") && exchange.json.id === sessionId);
  return JSON.parse(signIn.body).clientPublicKey;
}

/** Holds the exchange to Grid's API reference, DELETE /auth/sessions/{id}, byte by byte. */
export function assertSignedRetry(recorder, shown, { sessionId, signerId, profile, curve }) {
  const { format, requestId, payload } = profiles[profile];
  const [asked, signed, ...more] = recorder.revocations(sessionId);
  assert.equal(more.length, 0, "two requests and no more");
  for (const { body } of [asked, signed]) assert.equal(body.length, 0);

  assert.deepEqual([asked.all("Grid-Wallet-Signature"), asked.all("Request-Id")], [[], []]);
  assert.equal(asked.status, 202);
  const challenge = asked.json;
  assert.equal(challenge.type, "OAUTH");
  assert.match(challenge.requestId, requestId);
  assert.match(challenge.payloadToSign, payload);

  const [header, ...repeated] = signed.all("Grid-Wallet-Signature");
  assert.deepEqual(repeated, []);
  assert.deepEqual(signed.all("Request-Id"), [challenge.requestId]);
  assert.equal(signed.status, 204);
  assert.equal(signed.answerBody.length, 0);

  assert.deepEqual(shown.payloads, [challenge.payloadToSign], "the page shows what was signed");
  const publicKey = publicKeyOf(recorder, signerId);
  const signature = parseHeader(header, format);
  if (format === "stamp") assert.deepEqual([signature.publicKey, signature.curve], [publicKey, curve]);
  assert.ok(verifies(curve, publicKey, signature.der, challenge.payloadToSign), "the signature is the signer's");
}
