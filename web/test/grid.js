// Grid's sessions as a model: what signs in, who may sign, what a signature is over, and what comes of it. It verifies with
// OpenSSL, opens what is sealed with enclave.js, and knows nothing of HTTP: see answer.
import { createHash, randomBytes, randomInt, randomUUID } from "node:crypto";
import { isAsserted } from "./authenticator.js";
import { compress, makeEnclave, makePair, open, seal, sealSessionKey, verifies } from "./enclave.js";
import { parseHeader } from "./verify.js";

export const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";

/** RFC 3339, in whole seconds, as Grid writes it. */
const stamp = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, "Z");

const refusal = (status, code, reason) => ({ status, body: { status, code, message: "as the test has it", ...(reason && { details: { reason } }) } });
const unauthorized = (reason) => refusal(401, "UNAUTHORIZED", reason);
const processingAnswer = { status: 200, body: { status: "PROCESSING" } };

/** How long Grid is at it, where nobody asks again. */
const settleMs = 10_000;
/** How long a challenge is good for. */
const challengeMs = 300_000;
/** How often a wrong code may be tried. */
const otpTries = 3;

export const mnemonic = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
export const organizationId = "org_sim";

/** The nonce of a token for a key: of the text that is sent (Grid's guide Sandbox testing). */
export const nonceOf = (publicKey) => createHash("sha256").update(publicKey, "ascii").digest("hex");

/** `processing()`: how often a request is answered with that. `ttlMs`: how long a session lives. */
export function makeGrid({ now = Date.now, processing = () => 0, ttlMs = 900_000 } = {}) {
  const sessions = new Map();
  const challenges = new Map();
  const credentials = new Map();
  /** Requests without a signature that Grid is at, by what was sent. */
  const pending = new Map();
  const enclave = makeEnclave();

  const add = (publicKey, { createdAt = stamp(now()), type = "OAUTH", nickname = "Phone" } = {}, at = now()) => {
    const session = {
      id: `Session:${randomUUID()}`, accountId: account, type, nickname,
      createdAt, updatedAt: stamp(at), expiresAt: stamp(at + ttlMs),
    };
    sessions.set(session.id, { ...session, publicKey });
    return session;
  };
  const listed = ({ publicKey: _, ...session }) => session;

  /** A way to sign in. `passkey`: what is registered of an authenticator. */
  const addCredential = (type, { nickname = type === "SMS_OTP" ? "+15550100" : "a@b.c", passkey } = {}) => {
    const credential = { id: `AuthMethod:${randomUUID()}`, accountId: account, type, nickname, createdAt: stamp(now()), updatedAt: stamp(now()) };
    credentials.set(credential.id, { credential, passkey, asked: new Map() });
    return credential;
  };

  /** A token that signs a key in, at this moment. Whoever issues it signs it; here nobody looks. */
  const token = (publicKey, claims = {}) => {
    const encode = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
    const [iat, nonce] = [Math.floor(now() / 1000), nonceOf(publicKey)];
    return `${encode({ alg: "RS256" })}.${encode({ sub: "user", iat, exp: iat + 3600, nonce, ...claims })}.c2ln`;
  };

  /** Starts a session for a key; of one that is not compressed, for one that is made and sealed to it. */
  const start = (clientPublicKey, { type, nickname }, at = now()) => {
    if (!clientPublicKey.startsWith("04")) return add(clientPublicKey, { type, nickname }, at);
    const made = makePair();
    const session = add(compress(made.publicKey), { type, nickname }, at);
    return { ...session, encryptedSessionSigningKey: sealSessionKey(clientPublicKey, made.privateKey) };
  };

  /** What a request without a signature comes to: an answer, or what has to be signed first, by whom, and what it does. */
  const operations = {
    "DELETE sessions": (id) => {
      const session = sessions.get(id);
      if (!session) return refusal(404, "REFERENCE_NOT_FOUND");
      return {
        type: session.type,
        activity: "ACTIVITY_TYPE_DELETE_API_KEYS",
        parameters: { apiKeyIds: [`key of ${id}`], userId: "user_sim" },
        signers: () => [...sessions.values()],
        apply: () => (sessions.delete(id), { status: 204 }),
      };
    },
    "POST sessions refresh": (id, { clientPublicKey }) => {
      const session = sessions.get(id);
      if (!session) return unauthorized();
      return {
        activity: "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2",
        parameters: { targetPublicKey: clientPublicKey },
        signers: () => [session].filter(() => sessions.has(id)),
        apply: (at) => ({ status: 201, body: add(clientPublicKey, session, at) }),
      };
    },
    "POST internal-accounts export": (id, { clientPublicKey }) => {
      if (id !== account) return refusal(404, "REFERENCE_NOT_FOUND");
      return {
        activity: "ACTIVITY_TYPE_EXPORT_WALLET",
        parameters: { targetPublicKey: clientPublicKey, walletId: "wallet_sim" },
        signers: () => [...sessions.values()],
        apply: () => {
          const said = { ...seal(clientPublicKey, Buffer.from(mnemonic)), organizationId };
          return { status: 200, body: { id, encryptedWalletCredentials: enclave.envelope(said) } };
        },
      };
    },
    "POST credentials challenge": (id, { clientPublicKey }) => {
      const way = credentials.get(id);
      if (!way) return refusal(404, "REFERENCE_NOT_FOUND");
      const { credential, passkey, asked } = way;
      credential.updatedAt = stamp(now());
      if (credential.type === "PASSKEY") {
        if (!clientPublicKey) return refusal(400, "INVALID_INPUT");
        const [challenge, requestId, expires] = [randomBytes(32).toString("hex"), `Request:${randomUUID()}`, now() + challengeMs];
        asked.set(requestId, { challenge, clientPublicKey, expires });
        return { status: 200, body: { ...credential, credentialId: passkey.credentialId, challenge, requestId, expiresAt: stamp(expires) } };
      }
      if (credential.type === "OAUTH") return refusal(400, "INVALID_INPUT");
      way.sent = { code: String(randomInt(1e6)).padStart(6, "0"), target: makePair(), tries: 0, expires: now() + challengeMs };
      const bundle = enclave.envelope({ targetPublic: way.sent.target.publicKey, organizationId });
      return { status: 200, body: { ...credential, otpEncryptionTargetBundle: bundle } };
    },
    "POST credentials verify": (id, { type, ...proof }, headers, at) => {
      const way = credentials.get(id);
      if (!way) return refusal(404, "REFERENCE_NOT_FOUND");
      const { credential, passkey, asked } = way;
      if (type !== credential.type) return refusal(400, "INVALID_INPUT");
      if (type === "OAUTH") {
        const { nonce, iat } = JSON.parse(Buffer.from(proof.oidcToken.split(".")[1], "base64url"));
        if (nonce !== nonceOf(proof.clientPublicKey) || Math.abs(now() / 1000 - iat) > 60) return unauthorized("oidc");
        return { status: 200, body: start(proof.clientPublicKey, credential, at) };
      }
      if (type === "PASSKEY") {
        const { challenge, clientPublicKey, expires = 0 } = asked.get(headers["request-id"]) ?? {};
        if (now() >= expires || !isAsserted(passkey, challenge, proof.assertion)) return unauthorized("webauthn");
        asked.delete(headers["request-id"]);
        return { status: 200, body: start(clientPublicKey, credential, at) };
      }
      return byCode(way, proof.encryptedOtpBundle);
    },
  };

  /** The first leg looks at the code, and the second, which the key in the bundle signs, uses it up. */
  function byCode(way, bundle) {
    const { credential, sent } = way;
    if (!sent || now() >= sent.expires || sent.tries >= otpTries) return unauthorized("No pending OTP for this credential");
    let opened;
    try {
      opened = JSON.parse(open(sent.target, JSON.parse(bundle)));
    } catch {
      return unauthorized("Invalid OTP code"); // sealed to another target, or for an earlier code
    }
    const { otp_code: code, public_key: publicKey } = opened;
    if (code !== sent.code) return sent.tries++, unauthorized("Invalid OTP code");
    const claims = { verification_type: "OTP_TYPE_EMAIL", organization_id: organizationId, public_key: publicKey, exp: String(now() + challengeMs) };
    return {
      type: credential.type,
      payload: enclave.token(claims),
      signers: () => [{ publicKey }].filter(() => way.sent === sent),
      apply: (at) => ((way.sent = undefined), { status: 200, body: start(publicKey, credential, at) }),
    };
  }

  const settle = (challenge, at) => (challenge.reply ??= challenge.apply(at));

  /** The answer to {method, path, headers, body}: {status, body?}. */
  function answer({ method, path, headers, body }) {
    for (const [requestId, challenge] of challenges) {
      if (now() >= challenge.settles) settle(challenge, challenge.settles);
      if (now() >= challenge.expires) challenges.delete(requestId);
    }
    for (const work of pending.values()) if (now() >= work.settles) settle(work, work.settles);
    for (const { id, expiresAt } of sessions.values()) if (now() >= Date.parse(expiresAt)) sessions.delete(id);
    if (method === "GET") return { status: 200, body: { data: [...sessions.values()].map(listed) } };
    const [, kind, id, action] = /^\/(?:auth\/)?([\w-]+)\/([^/]+)\/?(\w*)$/.exec(decodeURIComponent(path));
    const resource = `${method} ${path} ${body ?? ""}`;
    const signature = headers["grid-wallet-signature"];
    if (!signature) {
      const submitted = JSON.parse(body ?? "{}");
      const isAtOnce = action === "challenge" || ["OAUTH", "PASSKEY"].includes(submitted.type);
      const sent = `${resource} ${headers["request-id"]}`;
      const apply = (at) => operations[`${method} ${kind} ${action}`.trim()](id, submitted, headers, at);
      const work = pending.get(sent) ?? { apply, replies: isAtOnce ? processing() : 0, settles: now() + settleMs };
      pending.set(sent, work);
      if (work.replies-- > 0 && !work.reply) return processingAnswer;
      pending.delete(sent);
      const { type, activity, parameters, ...rest } = settle(work, now());
      if (rest.status) return rest;
      const payload = JSON.stringify({ organizationId, parameters, timestampMs: String(now()), type: activity });
      const challenge = { payload, ...rest, resource, expires: now() + challengeMs, replies: processing() };
      const requestId = `Request:${randomUUID()}`;
      challenges.set(requestId, challenge);
      return { status: 202, body: { payloadToSign: challenge.payload, requestId, expiresAt: stamp(challenge.expires), ...(type && { type }) } };
    }
    const asked = challenges.get(headers["request-id"]);
    if (method === "DELETE" && !sessions.has(id)) return refusal(404, "REFERENCE_NOT_FOUND");
    if (!asked || asked.spent || now() >= asked.expires) return unauthorized();
    if (asked.resource !== resource) return refusal(401, "WALLET_SIGNATURE_BODY_MISMATCH");
    const { curve, publicKey, der } = parseHeader(signature, "stamp");
    const isOurs = asked.accepted === signature || asked.signers().some((signer) => signer.publicKey === publicKey);
    if (!isOurs || !verifies(curve, publicKey, der, asked.payload)) return refusal(401, "WALLET_SIGNATURE_INVALID");
    asked.accepted = signature;
    asked.settles ??= now() + settleMs;
    if (asked.replies-- > 0 && !asked.reply) return processingAnswer;
    asked.spent = true;
    return settle(asked, now());
  }

  return { sessions, credentials, enclave, add, addCredential, token, answer, codeOf: (id) => credentials.get(id).sent?.code };
}
