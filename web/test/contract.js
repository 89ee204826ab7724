// How a signer behaves, as far as an app's tests see it: one list, for the real one in a browser and for the one of
// gridsigner/testing in Node. Each behaviour is handed a world, in which nothing has happened, and gives plain data.
//
// A world has { signer, accountId, ways, another, code, token, sessions, endAtGrid, offline, until, pass, later }: ids of ways to sign
// in by type, another signer of the same person's, the code that was sent last, a token for a nonce, the ids of the sessions at Grid, the
// end of one there, the network's end, a wait until something is so, or for so long, and RFC 3339 of so many ms from now.
//
// Where the two differ, and that is left out here:
// - whether a stored key survives a reload, and what tabs share: the test signer has one page and no storage;
// - how often a request is tried: the test signer's first failure is the call's, and what goes on by itself waits for the test;
// - so the real one's "pending" has an error only where the first 8 s went by, and its refresh without a network is late, not unreachable;
// - what a signature is worth: the test signer's Grid looks at none, so what is malformed below the fields of a challenge may pass.

const code = (promise) => promise.then((value) => `resolved: ${JSON.stringify(value)}`, (error) => error.code ?? String(error));
const refusal = (promise) => promise.then((value) => ["resolved", value], ({ code, status, retryable }) => [code, status, retryable]);

/** What a signer tells of its sessions, in short. */
const listen = (signer) => {
  const told = [];
  signer.on("session", ({ type, reason }) => told.push(reason ?? type));
  return told;
};

/** A key that has signed in by a code. */
async function signIn({ code, ways }, signer) {
  const otp = await signer.startOtp(ways.EMAIL_OTP);
  return otp.submit(await code());
}

async function signInByToken({ token, ways }, signer, key) {
  key ??= await signer.createKey();
  return signer.signIn({ credentialId: ways.OAUTH, oidcToken: await token(await signer.oauthNonce(key)), key });
}

const activity = (type, parameters, organizationId = "org") =>
  JSON.stringify({ organizationId, parameters, timestampMs: "1775681700000", type: `ACTIVITY_TYPE_${type}` });
const revocation = activity("DELETE_API_KEYS", { apiKeyIds: ["a"], userId: "u" });
const challenge = ({ later }, payloadToSign = revocation, more = {}) => ({
  payloadToSign, requestId: "Request:019542f5-b3e7-1d02-0000-000000000007", expiresAt: later(300_000), ...more,
});
const jwt = (claims) => [{ alg: "ES256" }, claims].map((part) => btoa(JSON.stringify(part)).replaceAll("=", "")).join(".") + ".c2ln";
const unknownSession = "Session:019542f5-b3e7-1d02-0000-0000000000ff";
const strange = "InternalAccount:019542f5-b3e7-1d02-0000-0000000000ff";
const steps = (events) => events.map(({ step, leg, attempt, status, kind, format }) => [step, leg, attempt, status, kind, format].filter((part) => part !== undefined).join(" "));
const shape = (value) => Object.fromEntries(Object.entries(value).map(([name, part]) => [name, typeof part === "string" ? part.replace(/[0-9a-f-]{32,}/, (digits) => `<${digits.length}>`) : part]).sort());

/** What a list of calls is refused with, by the name of each. */
async function codes(calls) {
  const got = {};
  for (const [name, call] of Object.entries(calls)) got[name] = await code(call());
  return got;
}
const all = (code, ...names) => Object.fromEntries(names.map((name) => [name, code]));

export const behaviours = {
  "a key is made, listed, oldest first, and removed, and is lost then": {
    async run({ signer }) {
      const [one, other] = [await signer.createKey(), await signer.createKey({ curve: "secp256k1" })];
      const listed = (await signer.keys()).map(({ id }) => [one, other].findIndex((key) => key.id === id));
      const removed = [await signer.removeKey(one), await signer.removeKey(one.id), await signer.removeKey("no such key")];
      return { one: shape(one), other: shape(other), listed, removed, left: (await signer.keys()).length, code: await code(signer.oauthNonce(one)) };
    },
    gives: {
      one: { curve: "P-256", id: "<36>", persistence: "memory", protection: "non-extractable", publicKey: "<66>" },
      other: { curve: "secp256k1", id: "<36>", persistence: "memory", protection: "wasm-memory", publicKey: "<66>" },
      listed: [0, 1], removed: [true, false, false], left: 1, code: "KEY_LOST",
    },
  },

  "what is returned is the caller's, and changing it changes nothing": {
    async run(world) {
      const { signer } = world;
      const key = await signIn(world, signer);
      const { id, session } = key;
      const before = session.id;
      Object.assign(key.session, { id: "changed", accountId: "changed" });
      (await signer.keys())[0].session.id = "changed";
      const now = await signer.session();
      return [now.id === id, now.session.id === before, Object.isFrozen(signer)];
    },
    gives: [true, true, true],
  },

  "a private key is taken over, and its bytes are erased, whatever comes of it": {
    async run({ signer }) {
      const bytes = (fill, length = 32) => new Uint8Array(length).fill(fill);
      const given = { P256: bytes(7), secp256k1: bytes(7), short: bytes(7, 31), zero: bytes(0), high: bytes(255), curve: bytes(7), extra: bytes(7) };
      const got = await codes({
        P256: () => signer.importKey({ curve: "P-256", privateKey: given.P256 }).then(({ curve }) => curve),
        secp256k1: () => signer.importKey({ curve: "secp256k1", privateKey: given.secp256k1 }).then(({ curve }) => curve),
        short: () => signer.importKey({ curve: "P-256", privateKey: given.short }),
        zero: () => signer.importKey({ curve: "secp256k1", privateKey: given.zero }),
        high: () => signer.importKey({ curve: "secp256k1", privateKey: given.high }),
        curve: () => signer.importKey({ curve: "P-521", privateKey: given.curve }),
        extra: () => signer.importKey({ curve: "P-256", privateKey: given.extra, more: 1 }),
        text: () => signer.importKey({ curve: "P-256", privateKey: "07" }),
      });
      return { got, left: Object.values(given).filter((bytes) => bytes.some((byte) => byte)).length };
    },
    gives: {
      got: {
        P256: 'resolved: "P-256"', secp256k1: 'resolved: "secp256k1"', ...all("KEY_MALFORMED", "short", "zero", "high"), curve: "CURVE_UNSUPPORTED",
        ...all("ARGUMENT_INVALID", "extra", "text"),
      },
      left: 0,
    },
  },

  "wrong arguments are refused by code": {
    async run(world) {
      const { signer, accountId, ways } = world;
      const key = await signer.createKey();
      const got = await codes({
        "an option that does not exist": () => signer.createKey({ kind: "P-256" }),
        "a curve that is no text": () => signer.createKey({ curve: 1 }),
        "sealed, of the other curve": () => signer.createKey({ curve: "secp256k1", sealed: true }),
        "no key": () => signer.removeKey(),
        "a session without a proper id": () => signer.bindSession(key, { id: "Session:1", accountId, expiresAt: world.later(1000) }),
        "a session without a time": () => signer.bindSession(key, { id: unknownSession, accountId }),
        "both a token and a passkey": () => signer.signIn({ credentialId: ways.OAUTH, oidcToken: "a.b.c", passkey: {}, key }),
        "neither": () => signer.signIn({ credentialId: ways.OAUTH, key }),
        "a token without a key": () => signer.signIn({ credentialId: ways.OAUTH, oidcToken: "a.b.c" }),
        "the curve of a key that is given": () => signer.signIn({ credentialId: ways.OAUTH, oidcToken: "a.b.c", key }, { curve: "P-256" }),
        "a timeout of nothing": () => signer.listSessions(accountId, { timeoutMs: 0 }),
        "a signal that is none": () => signer.listSessions(accountId, { signal: {} }),
        "an account that is no text": () => signer.listSessions(1),
        "no challenge": () => signer.signChallenge(undefined, { key }),
        "a scope that does not exist": () => signer.signOut(key, { scope: "some" }),
        "a sign-out without a session": () => signer.signOut(key),
        "a sign-out of others without a session": () => signer.signOut(key, { scope: "others" }),
        "the end of its own session, without one": () => signer.revokeSession(undefined, { key }),
        "a refresh without a session": () => signer.refreshSession(key),
        "a credential of no type": () => signer.addCredential({ type: "FAX" }, { key }),
        "a credential without a session": () => signer.addCredential({ type: "EMAIL_OTP", email: "ada@example.com" }, { key }),
        "a removal without a type": () => signer.removeCredential(ways.OAUTH, { key }),
        "an event that does not exist": async () => signer.on("keys", () => {}),
        "a listener that is none": async () => signer.on("session", {}),
      });
      return Object.entries(got).filter(([, code]) => code !== "ARGUMENT_INVALID");
    },
    gives: [],
  },

  "a key that was never made here is not found": {
    async run({ signer, accountId, later, ways }) {
      const key = "019542f5-b3e7-1d02-0000-000000000000";
      return codes({
        oauthNonce: () => signer.oauthNonce(key),
        bindSession: () => signer.bindSession(key, { id: unknownSession, accountId, expiresAt: later(60_000) }),
        signIn: () => signer.signIn({ credentialId: ways.OAUTH, oidcToken: "a.b.c", key }),
        refreshSession: () => signer.refreshSession(key),
        signChallenge: () => signer.signChallenge(challenge({ later }), { key }),
        signOut: () => signer.signOut(key),
        "signOut of others": () => signer.signOut(key, { scope: "others" }),
        revokeSession: () => signer.revokeSession(unknownSession, { key }),
        addCredential: () => signer.addCredential({ type: "EMAIL_OTP", email: "ada@example.com" }, { key }),
        removeCredential: () => signer.removeCredential(ways.OAUTH, { key, type: "OAUTH" }),
        exportWallet: () => signer.exportWallet(accountId, { key }),
      });
    },
    gives: all(
      "KEY_NOT_FOUND", "oauthNonce", "bindSession", "signIn", "refreshSession", "signChallenge", "signOut", "signOut of others", "revokeSession", "addCredential",
      "removeCredential", "exportWallet",
    ),
  },

  "a code signs in, once, and a wrong one may be followed by another": {
    async run({ signer, accountId, code: sent, sessions, ways }) {
      const told = listen(signer);
      const otp = await signer.startOtp(ways.EMAIL_OTP);
      const { credentialId, type, nickname } = otp;
      const wrong = await refusal(otp.submit("0000001"));
      const malformed = await refusal(otp.submit("12"));
      const digits = await sent();
      const key = await otp.submit(` ${digits.slice(0, 3)} ${digits.slice(3)}`);
      const { session } = await signer.session();
      const again = await refusal(otp.submit(digits));
      return {
        otp: [otp.accountId === accountId, credentialId === ways.EMAIL_OTP, type, nickname], wrong, malformed, again, told,
        key: Object.keys(shape(key)), session: [key.session.id === session.id, (await sessions()).join() === session.id, session.accountId === accountId], keys: (await signer.keys()).length,
      };
    },
    gives: {
      otp: [true, true, "EMAIL_OTP", "ada@example.com"], wrong: ["OTP_INCORRECT", 401, false], malformed: ["ARGUMENT_INVALID", undefined, false],
      again: ["OTP_EXPIRED", 401, false], told: ["started"], key: ["curve", "id", "persistence", "protection", "publicKey", "session"], session: [true, true, true], keys: 1,
    },
  },

  "a code that was tried too often, or that another has replaced, is over": {
    async run({ signer, code: sent, ways }) {
      const first = await signer.startOtp(ways.EMAIL_OTP);
      const digits = await sent();
      const wrong = [];
      for (let i = 0; i < 4; i++) wrong.push(await code(first.submit("00000001")));
      const otp = await signer.startOtp(ways.EMAIL_OTP);
      return { wrong, replaced: await code(first.submit(digits)), busy: (await Promise.all([code(otp.submit("00000001")), code(otp.submit("00000001"))])) };
    },
    gives: { wrong: ["OTP_INCORRECT", "OTP_INCORRECT", "OTP_INCORRECT", "OTP_EXPIRED"], replaced: "OTP_EXPIRED", busy: ["OTP_INCORRECT", "ARGUMENT_INVALID"] },
  },

  "a token signs its key in": {
    async run(world) {
      const { signer, ways } = world;
      const told = listen(signer);
      const made = await signer.createKey({ curve: "secp256k1" });
      const nonce = await signer.oauthNonce(made);
      const key = await signInByToken(world, signer, made);
      const later = await code(signer.signIn({ credentialId: ways.OAUTH, oidcToken: "a.b.c", key }));
      return { nonce: /^[0-9a-f]{64}$/.test(nonce), same: [key.id === made.id, key.publicKey === made.publicKey, key.curve], told, later };
    },
    gives: { nonce: true, same: [true, true, "secp256k1"], told: ["started"], later: "ARGUMENT_INVALID" },
  },

  "a sign-in that is refused leaves no key, also not one that was given": {
    async run({ signer, token, ways }) {
      const told = listen(signer);
      const made = await signer.createKey();
      const other = await token("00".repeat(32));
      const refused = await refusal(signer.signIn({ credentialId: ways.OAUTH, oidcToken: other, key: made }));
      const gone = await code(signer.oauthNonce(made));
      const unknown = "AuthMethod:019542f5-b3e7-1d02-0000-0000000000ff";
      const placeholder = await refusal(signer.signIn({ credentialId: ways.OAUTH, oidcToken: "header.payload.signature", key: await signer.createKey() }));
      return { refused, placeholder, gone, started: await refusal(signer.startOtp(unknown)), ofToken: await refusal(signer.startOtp(ways.OAUTH)), keys: (await signer.keys()).length, told };
    },
    gives: { refused: ["UPSTREAM_REFUSED", 401, false], placeholder: ["UPSTREAM_REFUSED", 400, false], gone: "KEY_LOST", started: ["UPSTREAM_REFUSED", 404, false], ofToken: ["UPSTREAM_REFUSED", 400, false], keys: 0, told: [] },
  },

  "a key to which Grid seals another signs nothing before, and then is that": {
    async run(world) {
      const { signer } = world;
      const sealed = await signer.createKey({ sealed: true });
      const early = await code(signer.signChallenge(challenge(world), { key: sealed }));
      const key = await signInByToken(world, signer, sealed);
      const signed = await signer.signChallenge(challenge(world), { key });
      return { sealed: sealed.publicKey.length, early, key: key.publicKey.length, same: key.id === sealed.id, signed: signed.format };
    },
    gives: { sealed: 130, early: "ARGUMENT_INVALID", key: 66, same: true, signed: "stamp" },
  },

  "a session is bound, another takes its place, and one that is over does not": {
    async run({ signer, accountId, later }) {
      const told = listen(signer);
      const key = await signer.createKey();
      const session = (last) => ({ id: `Session:019542f5-b3e7-1d02-0000-00000000000${last}`, accountId, expiresAt: later(600_000) });
      const bound = await signer.bindSession(key, session(1));
      await signer.bindSession(key.id, { ...session(2), more: "of an AuthSession" });
      const now = await signer.session();
      const over = await code(signer.bindSession(await signer.createKey(), { ...session(3), expiresAt: "2020-01-01T00:00:00Z" }));
      return [Object.keys(bound.session).sort(), now.id === key.id, now.session.id.slice(-1), over, told, (await signer.keys()).length];
    },
    gives: [["accountId", "expiresAt", "id"], true, "2", "KEY_LOST", ["started", "started"], 1],
  },

  "the active key is the one that has signed in last": {
    async run(world) {
      const { signer } = world;
      const none = await signer.session();
      const first = await signIn(world, signer);
      const idle = await signer.createKey();
      await world.pass(1100); // Grid's clock, by which the real one tells, has whole seconds
      const last = await signInByToken(world, signer);
      const seen = [(await signer.session()).id === last.id];
      await signer.signOut(last);
      seen.push((await signer.session()).id === first.id);
      await signer.removeKey(first);
      return [none, ...seen, await signer.session(), (await signer.keys()).map(({ id }) => id === idle.id)];
    },
    gives: [undefined, true, true, undefined, [true]],
  },

  "a key ends with its session": {
    async run({ signer, accountId, later, until }) {
      const told = listen(signer);
      const key = await signer.createKey();
      await signer.bindSession(key, { id: unknownSession, accountId, expiresAt: later(2000) });
      await until(() => told.includes("expired"), 10_000);
      return [told, await code(signer.signChallenge(challenge({ later }), { key })), (await signer.keys()).length, await code(signer.signOut(key))];
    },
    gives: [["started", "expiring", "expired"], "KEY_LOST", 0, `resolved: {"status":"inactive","sessionId":"${unknownSession}"}`],
  },

  "a challenge is signed, and what comes of it": {
    async run(world) {
      const { signer } = world;
      const key = await signer.createKey();
      const signed = await signer.signChallenge(challenge(world), { key });
      const { publicKey, scheme, ...rest } = JSON.parse(atob(signed.signature.replaceAll("-", "+").replaceAll("_", "/")));
      const opaque = await signer.signChallenge(challenge(world, "b3BhcXVl"), { key: key.id });
      const der = await signer.signChallenge(challenge(world), { key, format: "der" });
      const ofJWT = await signer.signChallenge(challenge(world, jwt({ public_key: key.publicKey })), { key, intent: "sign-in" });
      return {
        signed: [signed.format, signed.intent, signed.requestId, signed.headers["Grid-Wallet-Signature"] === signed.signature, signed.headers["Request-Id"] === signed.requestId],
        stamp: [publicKey === key.publicKey, scheme, Object.keys(rest), /^30[0-9a-f]+$/.test(rest.signature)],
        others: [opaque.format, der.format, atob(der.signature).charCodeAt(0), ofJWT.format, ofJWT.intent],
      };
    },
    gives: {
      signed: ["stamp", "revoke-session", "Request:019542f5-b3e7-1d02-0000-000000000007", true, true],
      stamp: [true, "SIGNATURE_SCHEME_TK_API_P256", ["signature"], true],
      others: ["der", "der", 0x30, "stamp", "sign-in"],
    },
  },

  "what is not what the intent says, or not whole, is not signed": {
    async run(world) {
      const { signer } = world;
      const key = await signer.createKey();
      const sign = (given, options) => () => signer.signChallenge({ ...challenge(world), ...given }, { key, ...options });
      const payload = (type, parameters) => ({ payloadToSign: activity(type, parameters) });
      const target = { name: "refresh-session", targetPublicKey: "02ab" };
      return codes({
        expired: sign({ expiresAt: "2020-01-01T00:00:00Z" }),
        "no time": sign({ expiresAt: "tomorrow" }),
        "no request": sign({ requestId: "Request:1" }),
        "no payload": sign({ payloadToSign: "" }),
        "no JSON": sign({ payloadToSign: "{" }),
        "no type": sign({ payloadToSign: '{"organizationId":"o","parameters":{},"timestampMs":"1"}' }),
        hex: sign({ payloadToSign: "00".repeat(32) }),
        "another activity": sign(payload("SIGN_TRANSACTION_V2", { signWith: "a", type: "b", unsignedTransaction: "c" })),
        "more than one": sign(payload("DELETE_API_KEYS", { apiKeyIds: ["a", "b"], userId: "u" })),
        "more than it should": sign(payload("DELETE_API_KEYS", { apiKeyIds: ["a"], userId: "u", more: "" })),
        "another key": sign(payload("CREATE_READ_WRITE_SESSION_V2", { targetPublicKey: "02cd" }), { intent: target }),
        "its key": sign(payload("CREATE_READ_WRITE_SESSION_V2", { targetPublicKey: "02ab" }), { intent: target }),
        "another's token": sign({ payloadToSign: jwt({ public_key: "02ab" }) }, { intent: "sign-in" }),
        "opaque, as a stamp": sign({ payloadToSign: "b3BhcXVl" }, { format: "stamp" }),
        "an unknown intent": sign({}, { intent: "do-it" }),
        "an intent that lacks something": sign({}, { intent: { name: "export-wallet" } }),
        "an intent of too much": sign({}, { intent: { name: "revoke-session", amount: "1" } }),
        "a removal of another type": sign(payload("DELETE_OAUTH_PROVIDERS", { providerIds: ["a"], userId: "u" }), { intent: { name: "remove-credential", type: "PASSKEY" } }),
        "an unknown format": sign({}, { format: "raw" }),
      }).then((got) => Object.fromEntries(Object.entries(got).map(([name, code]) => [name, code.replace(/^(resolved).*/, "$1")])));
    },
    gives: {
      expired: "CHALLENGE_EXPIRED", ...all("CHALLENGE_MALFORMED", "no time", "no request", "no payload"), ...all("PAYLOAD_MALFORMED", "no JSON", "no type", "hex"),
      ...all("INTENT_MISMATCH", "another activity", "more than one", "more than it should", "another key"), "its key": "resolved",
      ...all("INTENT_MISMATCH", "another's token", "opaque, as a stamp"), ...all("ARGUMENT_INVALID", "an unknown intent", "an intent that lacks something", "an intent of too much"),
      "a removal of another type": "INTENT_MISMATCH", "an unknown format": "ARGUMENT_INVALID",
    },
  },

  "a key that has its session signs nobody in, and is held to the organization that Grid took its signature for": {
    async run(world) {
      const { signer } = world;
      const key = await signIn(world, signer);
      const before = (await signer.signChallenge(challenge(world), { key })).format;
      await signer.exportWallet(world.accountId, { key });
      return [before, await code(signer.signChallenge(challenge(world), { key })), await code(signer.signChallenge(challenge(world, jwt({})), { key, intent: "sign-in" }))];
    },
    gives: ["stamp", "ORGANIZATION_MISMATCH", "INTENT_MISMATCH"],
  },

  "a refresh gives the key another half and another session, and the old one goes": {
    async run(world) {
      const { signer, accountId } = world;
      const key = await signIn(world, signer);
      const told = listen(signer);
      const events = [];
      const [next, same] = await Promise.all([signer.refreshSession(key, { onProgress: (event) => events.push(event) }), signer.refreshSession(key.id)]);
      const listed = await signer.listSessions(accountId);
      const formerly = await signer.revokeSession(key.session.id, { key });
      return {
        same: [next.id === key.id, next.publicKey !== key.publicKey, next.session.id !== key.session.id, same.session.id === next.session.id],
        steps: steps(events), listed: listed.map(({ id }) => id === next.session.id), formerly: [formerly.status, formerly.sessionId === next.session.id], told,
      };
    },
    gives: {
      same: [true, true, true, true], steps: ["request 1 1", "response 1 1 202", "challenge activity", "signed stamp", "request 2 2", "response 2 2 201"], listed: [true],
      formerly: ["revoked", true], told: ["started", "refreshed", "leaving", "signed-out"],
    },
  },

  "a session that was ended elsewhere: who asks Grid finds out": {
    async run(world) {
      const { signer, endAtGrid } = world;
      const told = listen(signer);
      const [one, other] = [await signIn(world, signer), await signInByToken(world, signer)];
      await endAtGrid(one.session.id);
      await endAtGrid(other.session.id);
      const before = (await signer.keys()).length;
      const out = await signer.signOut(one);
      return { before, refresh: await code(signer.refreshSession(other)), out: out.status, told, after: (await signer.keys()).length };
    },
    gives: { before: 2, refresh: "KEY_LOST", out: "inactive", told: ["started", "started", "leaving", "revoked", "revoked"], after: 0 },
  },

  "signed out: Grid ended the session, and the key is lost": {
    async run(world) {
      const { signer, sessions } = world;
      const told = listen(signer);
      const key = await signIn(world, signer);
      const events = [];
      const out = await signer.signOut(key, { onProgress: (event) => events.push(event) });
      return {
        out: [Object.keys(out), out.status, out.sessionId === key.session.id], steps: steps(events), left: [(await sessions()).length, (await signer.keys()).length], told,
        later: await codes({ sign: () => signer.signChallenge(challenge(world), { key }), refresh: () => signer.refreshSession(key), bind: () => signer.bindSession(key, key.session) }),
        again: (await signer.signOut(key)).status,
      };
    },
    gives: {
      out: [["status", "sessionId"], "revoked", true], steps: ["request 1 1", "response 1 1 202", "challenge activity", "signed stamp", "request 2 2", "response 2 2 204"],
      left: [0, 0], told: ["started", "leaving", "signed-out"], later: all("KEY_LOST", "sign", "refresh", "bind"), again: "revoked",
    },
  },

  "a sign-out that Grid does not hear of is pending, and goes on by itself": {
    async run(world) {
      const { signer, offline, sessions, until } = world;
      const told = listen(signer);
      const key = await signIn(world, signer);
      await offline(true);
      const out = await signer.signOut(key, { timeoutMs: 500 });
      const meanwhile = [(await signer.keys()).length, await signer.session(), await code(signer.refreshSession(key)), await signer.removeKey(key)];
      const at = (await sessions()).length;
      await offline(false);
      await until(() => told.includes("signed-out"), 10_000);
      return { out: [out.status, out.sessionId === key.session.id, out.sessionExpiresAt === key.session.expiresAt], meanwhile, sessions: [at, (await sessions()).length], told };
    },
    gives: {
      out: ["pending", true, true], meanwhile: [0, undefined, "KEY_LOST", false], sessions: [1, 0],
      told: ["started", "leaving", "signed-out"],
    },
  },

  "a sign-out that does not wait is pending, and one that forgets destroys the key": {
    async run(world) {
      const { signer, offline, sessions, until } = world;
      const told = listen(signer);
      const [one, other] = [await signIn(world, signer), await signInByToken(world, signer)];
      const unwaited = await signer.signOut(one, { timeoutMs: 0 });
      await until(() => told.includes("signed-out"), 10_000);
      await offline(true);
      const forgotten = await signer.signOut(other, { unreachable: "forget", timeoutMs: 500 });
      await offline(false);
      return [unwaited.status, forgotten.status, (await sessions()).join() === other.session.id, await code(signer.signOut(other)), told];
    },
    gives: ["pending", "forgotten", true, "KEY_LOST", ["started", "started", "leaving", "signed-out", "leaving", "forgotten"]],
  },

  "signed out of others, and of all": {
    async run(world) {
      const { signer, another, sessions } = world;
      const key = await signIn(world, signer);
      const device = await another();
      const theirs = [await signInByToken(world, device), await signInByToken(world, device)];
      const told = listen(device);
      const others = await signer.signOut(key, { scope: "others" });
      const after = await sessions();
      const last = await signInByToken(world, device);
      const all = await signer.signOut(key, { scope: "all" });
      const ids = (outcomes) => outcomes.map(({ sessionId }) => sessionId);
      device.close();
      return {
        others: [others.map(({ status }) => status), ids(others).sort().join() === theirs.map(({ session }) => session.id).sort().join(), after.join() === key.session.id],
        all: [all.map(({ status }) => status), ids(all).join() === [last.session.id, key.session.id].join(), (await sessions()).length], told,
      };
    },
    gives: { others: [["revoked", "revoked"], true, true], all: [["revoked", "revoked"], true, 0], told: ["started", "started", "started"] },
  },

  "a session is revoked by another key of the account, and what is not there is inactive": {
    async run(world) {
      const { signer } = world;
      const told = listen(signer);
      const [key, other] = [await signIn(world, signer), await signInByToken(world, signer)];
      const events = [];
      const out = await signer.revokeSession(other.session.id, { key, onProgress: (event) => events.push(event) });
      const none = [];
      const gone = await signer.revokeSession(unknownSession, { key, onProgress: (event) => none.push(event) });
      const stranger = await signer.createKey();
      return {
        out: [out.status, out.sessionId === other.session.id], gone, steps: [steps(events).length, steps(none)], told, lost: await code(signer.oauthNonce(other)),
        stranger: await refusal(signer.revokeSession(key.session.id, { key: stranger })), malformed: await code(signer.revokeSession("Session:1", { key })),
      };
    },
    gives: {
      out: ["revoked", true], gone: { status: "inactive", sessionId: unknownSession }, steps: [6, ["request 1 1", "response 1 1 404"]], told: ["started", "started", "revoked"], lost: "KEY_LOST",
      stranger: ["UPSTREAM_REFUSED", 401, false], malformed: "ARGUMENT_INVALID",
    },
  },

  "sessions and ways to sign in are listed": {
    async run(world) {
      const { signer, accountId } = world;
      const key = await signIn(world, signer);
      const [row, ...more] = await signer.listSessions(accountId);
      const ways = await signer.listCredentials(accountId);
      return {
        row: [Object.keys(row).sort(), row.id === key.session.id, row.type, row.nickname], more: more.length,
        ways: ways.map((way) => [Object.keys(way).sort().join(), way.type]).sort(([, a], [, b]) => (a < b ? -1 : 1)),
        strange: [await refusal(signer.listSessions(strange)), await refusal(signer.listCredentials(strange))], malformed: await code(signer.listSessions("InternalAccount:1")),
      };
    },
    gives: {
      row: [["accountId", "createdAt", "expiresAt", "id", "nickname", "type", "updatedAt"], true, "EMAIL_OTP", "ada@example.com"], more: 0,
      ways: [["accountId,createdAt,id,nickname,type,updatedAt", "EMAIL_OTP"], ["accountId,createdAt,id,nickname,type,updatedAt", "OAUTH"]],
      strange: [["UPSTREAM_REFUSED", 404, false], ["UPSTREAM_REFUSED", 404, false]], malformed: "ARGUMENT_INVALID",
    },
  },

  "a way to sign in is added, if the challenge adds that very one, and once": {
    async run(world) {
      const { signer, accountId } = world;
      const key = await signIn(world, signer);
      const events = [];
      const added = await signer.addCredential({ type: "SMS_OTP", phoneNumber: "+12025550123" }, { key, onProgress: (event) => events.push(event) });
      return {
        added: [added.type, added.nickname, added.accountId === accountId], steps: steps(events), listed: (await signer.listCredentials(accountId)).length,
        again: await refusal(signer.addCredential({ type: "SMS_OTP", phoneNumber: "+12025550123" }, { key })),
        mail: await refusal(signer.addCredential({ type: "EMAIL_OTP", email: "ada@example.com" }, { key })),
        same: await refusal(signer.addCredential({ type: "OAUTH", oidcToken: await world.token() }, { key })),
        shapes: await codes({
          "an address too many": () => signer.addCredential({ type: "OAUTH", oidcToken: "a.b.c", email: "a@b.c" }, { key }),
          "no address": () => signer.addCredential({ type: "EMAIL_OTP" }, { key }),
        }),
      };
    },
    gives: {
      added: ["SMS_OTP", "+12025550123", true], steps: ["request 1 1", "response 1 1 202", "challenge activity", "signed stamp", "request 2 2", "response 2 2 201"], listed: 3,
      again: ["UPSTREAM_REFUSED", 400, false], mail: ["UPSTREAM_REFUSED", 400, false], same: ["UPSTREAM_REFUSED", 400, false], shapes: all("ARGUMENT_INVALID", "an address too many", "no address"),
    },
  },

  "another number than the one that the person saw is not signed": {
    async run(world) {
      const { signer, accountId } = world;
      const key = await signIn(world, signer);
      return [await code(signer.addCredential({ type: "SMS_OTP", phoneNumber: "+10000000000" }, { key })), (await signer.listCredentials(accountId)).length];
    },
    gives: ["INTENT_MISMATCH", 2],
  },

  "a way to sign in is removed by a session of another, with the sessions that it has started": {
    async run(world) {
      const { signer, accountId, ways, sessions } = world;
      const [key, other] = [await signIn(world, signer), await signInByToken(world, signer)];
      const remove = (id, type) => signer.removeCredential(id, { key, type });
      const own = await refusal(remove(ways.EMAIL_OTP, "EMAIL_OTP"));
      const wrong = await refusal(remove(ways.OAUTH, "PASSKEY"));
      const removed = await remove(ways.OAUTH, "OAUTH");
      const left = await sessions();
      return {
        own, wrong, removed: [removed.status, removed.credentialId === ways.OAUTH], again: (await remove(ways.OAUTH, "OAUTH")).status, left: left.join() === key.session.id,
        last: await refusal(remove(ways.EMAIL_OTP, "EMAIL_OTP")), listed: (await signer.listCredentials(accountId)).length, other: (await signer.signOut(other)).status,
      };
    },
    gives: {
      own: ["UPSTREAM_REFUSED", 401, false], wrong: ["INTENT_MISMATCH", undefined, false], removed: ["removed", true], again: "gone", left: true,
      last: ["UPSTREAM_REFUSED", 400, false], listed: 1, other: "inactive",
    },
  },

  "a wallet is exported to who is signed in": {
    async run(world) {
      const { signer, accountId } = world;
      const key = await signIn(world, signer);
      const words = (await signer.exportWallet(accountId, { key })).split(" ").length;
      return [words, await refusal(signer.exportWallet(strange, { key })), await refusal(signer.exportWallet(accountId, { key: await signer.createKey() }))];
    },
    gives: [12, ["UPSTREAM_REFUSED", 404, false], ["UPSTREAM_REFUSED", 401, false]],
  },

  "a sign-in by a code tells its steps": {
    async run({ signer, code: sent, ways }) {
      const [first, second] = [[], []];
      const otp = await signer.startOtp(ways.EMAIL_OTP, { onProgress: (event) => first.push(event) });
      await otp.submit(await sent(), { onProgress: (event) => second.push(event) });
      return [steps(first), steps(second)];
    },
    gives: [["request 1 1", "response 1 1 200"], ["request 1 1", "response 1 1 202", "challenge jwt", "signed stamp", "request 2 2", "response 2 2 200"]],
  },

  "the first listener hears the last news of before, and a listener that is undone hears none": {
    async run(world) {
      const { signer, until } = world;
      const key = await signIn(world, signer);
      const [early, late, undone] = [[], [], []];
      const hear = (told) => (event) => told.push(event);
      signer.on("session", hear(early));
      signer.on("session", hear(late));
      const undo = signer.on("session", hear(undone));
      undo();
      undo();
      await until(() => early.length > 0, 5000);
      await signer.signOut(key);
      const [started] = early;
      return [[early, late, undone].map((told) => told.map(({ type, reason }) => reason ?? type)), Object.keys(started).sort(), started.key === key.id, started.session.id === key.session.id];
    },
    gives: [[["started", "leaving", "signed-out"], ["leaving", "signed-out"], []], ["key", "session", "type"], true, true],
  },

  "a signal that fires aborts, with its reason": {
    async run({ signer, accountId, offline }) {
      const aborted = await signer.listSessions(accountId, { signal: AbortSignal.abort("no more") }).catch(({ code, cause, retryable }) => [code, cause, retryable]);
      await offline(true);
      const controller = new AbortController();
      const pending = code(signer.listSessions(accountId, { signal: controller.signal }));
      controller.abort();
      return [aborted, await pending];
    },
    gives: [["ABORTED", "no more", false], "ABORTED"],
  },

  "without a network it is said so, and that it may be tried again": {
    async run(world) {
      const { signer, accountId, offline, ways } = world;
      const key = await signIn(world, signer);
      await offline(true);
      const patience = { timeoutMs: 3000 }; // the real one tries again, for as long as that
      const calls = [
        signer.listSessions(accountId, patience), signer.startOtp(ways.EMAIL_OTP, patience), signer.refreshSession(key, patience),
        signer.exportWallet(accountId, { key, ...patience }),
      ];
      return [...(await Promise.all(calls.map(refusal))), (await signer.session()).session.id === key.session.id];
    },
    gives: [...["NETWORK_FAILED", "NETWORK_FAILED", "TIMEOUT", "NETWORK_FAILED"].map((code) => [code, undefined, true]), true],
  },

  "a signer that was closed rejects what is under way and what comes later": {
    async run({ signer, accountId }) {
      const pending = code(signer.listSessions(accountId));
      signer.close();
      signer.close();
      return [await pending, await code(signer.keys()), await code(signer.createKey()), await code(signer.signOut("any"))];
    },
    gives: ["CLOSED", "CLOSED", "CLOSED", "CLOSED"],
  },
};
