// Grid's sessions as a model: who may sign, what a signature is over, and what comes of it. It verifies with OpenSSL, and
// knows nothing of HTTP: see answer.
import { createPublicKey, randomUUID, verify } from "node:crypto";
import { parseHeader } from "./verify.js";

export const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";

/** RFC 3339, in whole seconds, as Grid writes it. */
const stamp = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, "Z");

const refusal = (status, code) => ({ status, body: { status, code, message: "as the test has it" } });

/** What comes before a compressed public key in its SubjectPublicKeyInfo (RFC 5480). */
const spki = {
  "P-256": "3039301306072a8648ce3d020106082a8648ce3d030107032200",
  secp256k1: "3036301006072a8648ce3d020106052b8104000a032200",
};

function verifies(curve, publicKey, der, text) {
  const key = createPublicKey({ key: Buffer.from(spki[curve] + publicKey, "hex"), format: "der", type: "spki" });
  return verify("sha256", Buffer.from(text), key, der);
}

/** How long Grid is at it, where nobody asks again. */
const settleMs = 10_000;

/** `processing()`: how often a signed request is answered with that. `ttlMs`: how long a session lives. */
export function makeGrid({ now = Date.now, processing = () => 0, ttlMs = 900_000 } = {}) {
  const sessions = new Map();
  const challenges = new Map();

  const add = (publicKey, { createdAt = stamp(now()) } = {}, at = now()) => {
    const session = {
      id: `Session:${randomUUID()}`, accountId: account, type: "OAUTH", nickname: "Phone",
      createdAt, updatedAt: stamp(at), expiresAt: stamp(at + ttlMs),
    };
    sessions.set(session.id, { ...session, publicKey });
    return session;
  };
  const listed = ({ publicKey: _, ...session }) => session;

  /** What each signed request asks to have signed, who may sign, and what it does. */
  const operations = {
    DELETE: (session) => ({
      type: "ACTIVITY_TYPE_DELETE_API_KEYS",
      parameters: { apiKeyIds: [`key of ${session.id}`], userId: "user_sim" },
      signers: [...sessions.values()],
      apply: () => (sessions.delete(session.id), { status: 204 }),
    }),
    POST: (session, { clientPublicKey }) => ({
      type: "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2",
      parameters: { targetPublicKey: clientPublicKey },
      signers: [session],
      apply: (at) => ({ status: 201, body: add(clientPublicKey, session, at) }),
    }),
  };

  const settle = (challenge, at) => (challenge.reply ??= challenge.apply(at));

  /** The answer to {method, path, headers, body}: {status, body?}. */
  function answer({ method, path, headers, body }) {
    for (const [requestId, challenge] of challenges) {
      if (now() >= challenge.settles) settle(challenge, challenge.settles);
      if (now() >= challenge.expires) challenges.delete(requestId);
    }
    for (const { id, expiresAt } of sessions.values()) if (now() >= Date.parse(expiresAt)) sessions.delete(id);
    if (method === "GET") return { status: 200, body: { data: [...sessions.values()].map(listed) } };
    const [, id] = /^\/auth\/sessions\/([^/]+)/.exec(decodeURIComponent(path)) ?? [];
    const asked = challenges.get(headers["request-id"]);
    const session = sessions.get(id) ?? (method === "POST" ? asked?.session : undefined); // what is settled is answered once more
    if (!session) return refusal(method === "POST" ? 401 : 404, method === "POST" ? "UNAUTHORIZED" : "REFERENCE_NOT_FOUND");
    const signature = headers["grid-wallet-signature"];
    const resource = `${method} ${path} ${body ?? ""}`;
    if (!signature) {
      const { type, parameters, ...operation } = operations[method](session, body && JSON.parse(body));
      const payload = JSON.stringify({ organizationId: "org_sim", parameters, timestampMs: String(now()), type });
      const requestId = `Request:${randomUUID()}`;
      challenges.set(requestId, { ...operation, session, resource, payload, expires: now() + 300_000, replies: processing() });
      return { status: 202, body: { payloadToSign: payload, requestId, expiresAt: stamp(now() + 300_000), ...(method === "DELETE" && { type: "OAUTH" }) } };
    }
    if (!asked || asked.spent || now() >= asked.expires) return refusal(401, "UNAUTHORIZED");
    if (asked.resource !== resource) return refusal(401, "WALLET_SIGNATURE_BODY_MISMATCH");
    const { curve, publicKey, der } = parseHeader(signature, "stamp");
    const isOurs = asked.accepted === signature || asked.signers.some((signer) => signer.publicKey === publicKey && sessions.has(signer.id));
    if (!isOurs || !verifies(curve, publicKey, der, asked.payload)) return refusal(401, "WALLET_SIGNATURE_INVALID");
    asked.accepted = signature;
    asked.settles ??= now() + settleMs;
    if (asked.replies-- > 0 && !asked.reply) return { status: 200, body: { status: "PROCESSING" } };
    asked.spent = true;
    return settle(asked, now());
  }

  return { sessions, add, answer };
}
