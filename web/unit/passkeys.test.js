// Passkeys on the page: what the browser is asked, what is made of its answer, and what its refusals mean.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { createPasskey } from "../.tsc/src/index.js";
import { getPasskey, readPasskeyOptions } from "../.tsc/src/passkeys.js";
import { isAsserted, makeAuthenticator } from "../test/authenticator.js";
import { Page } from "./page.js";
import { idle, never, outcome, pollute, stopTime } from "./ports.js";

const text = (bytes) => Buffer.from(bytes).toString();
const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const bytes = (...values) => Uint8Array.from(values).buffer;

let page, credentials, now;
beforeEach(() => {
  stopTime();
  page = new Page();
  credentials = {};
  now = 0;
  page.set({ navigator: { credentials }, PublicKeyCredential: class {} });
  mock.method(performance, "now", () => now);
});
afterEach(() => {
  page.close();
  mock.reset();
  mock.timers.reset();
});

const pass = async (ms) => {
  now += ms;
  mock.timers.tick(ms);
  await idle();
};

/** The challenge in Grid's API reference, POST /auth/credentials/{id}/challenge. */
const challenge = "6b35a4c41d9aa7a2a0e742f9f9e7a1c2d65a2db33a3fb748f6d4f1ce78d9a729";
const asked = { challenge, passkeyId: base64url(bytes(251, 255, 1)) };
const get = (options = {}, timeoutMs = 1000, signal) => outcome(getPasskey(asked, options, timeoutMs, signal));

const assertion = { clientDataJSON: bytes(1, 251), authenticatorData: bytes(2, 255), signature: bytes(3), userHandle: null };
const answer = (response = {}) => ({ rawId: bytes(251, 255, 1), response: { ...assertion, ...response } });

test("a passkey is asked for over the characters of the challenge, and for that one alone", async () => {
  let given;
  credentials.get = async (options) => ((given = options), answer());
  assert.ok((await get()).value);
  const { publicKey: { challenge: bytes, allowCredentials, ...rest }, signal } = given;
  assert.deepEqual([text(bytes), bytes.length], [challenge, 64]);
  assert.equal(base64url(bytes), "NmIzNWE0YzQxZDlhYTdhMmEwZTc0MmY5ZjllN2ExYzJkNjVhMmRiMzNhM2ZiNzQ4ZjZkNGYxY2U3OGQ5YTcyOQ");
  assert.deepEqual(allowCredentials, [{ type: "public-key", id: Uint8Array.of(251, 255, 1) }]);
  assert.deepEqual(rest, { timeout: 1000 });
  assert.ok(signal instanceof AbortSignal);
  await get({ rpId: "example.com", userVerification: "required" }, 77);
  assert.deepEqual([given.publicKey.rpId, given.publicKey.userVerification, given.publicKey.timeout], ["example.com", "required", 77]);
});

test("the assertion is base64url without padding, and a user handle is there or it is not", async () => {
  const want = { credentialId: "-_8B", clientDataJson: "Afs", authenticatorData: "Av8", signature: "Aw" };
  for (const [userHandle, handed] of [[null, {}], [undefined, {}], [bytes(), {}], [bytes(255), { userHandle: "_w" }]]) {
    credentials.get = async () => answer({ userHandle });
    assert.deepEqual((await get()).value, { ...want, ...handed });
  }
});

test("what an authenticator answers OpenSSL takes, over this challenge and no other", async () => {
  const authenticator = makeAuthenticator();
  Object.assign(credentials, authenticator);
  const ask = (challenge) => getPasskey({ challenge, passkeyId: authenticator.credential.credentialId }, {}, 1000);
  assert.ok(isAsserted(authenticator.credential, challenge, await ask(challenge)));
  const other = challenge.replace("6b", "6c");
  assert.ok(!isAsserted(authenticator.credential, other, await ask(challenge)));
});

test("an id that is none is Grid's mistake", async () => {
  credentials.get = () => assert.fail("asked");
  assert.equal((await outcome(getPasskey({ challenge, passkeyId: "a+b" }, {}, 1000))).code, "RESPONSE_MALFORMED");
});

const refusals = [
  ["NotAllowedError", "PASSKEY_CANCELLED"],
  ["UnknownError", "PASSKEY_CANCELLED"],
  ["InvalidStateError", "PASSKEY_EXISTS"],
  ["SecurityError", "PASSKEY_UNSUPPORTED"],
  ["NotSupportedError", "PASSKEY_UNSUPPORTED"],
  ["ConstraintError", "PASSKEY_UNSUPPORTED"],
  ["AbortError", "PASSKEY_CANCELLED"],
  ["OperationError", "PASSKEY_CANCELLED"],
  ["constructor", "PASSKEY_UNSUPPORTED"],
];
const options = { nickname: "Phone", userName: "a@b.c" };
const calls = { get: () => get(), create: () => outcome(createPasskey(options)) };

for (const [method, call] of Object.entries(calls)) {
  test(`${method}: what the browser's refusals mean`, async () => {
    for (const [name, code] of refusals) {
      const cause = new DOMException("in the browser's words", name);
      credentials[method] = () => Promise.reject(cause);
      const got = await call();
      assert.deepEqual([got.code, got.retryable, got.cause], [code, false, cause], name);
      assert.ok(!got.message.includes("words"));
    }
    for (const thrown of [new RangeError("x"), new TypeError("x"), undefined, null, "text", Object.create(null)]) {
      credentials[method] = () => Promise.reject(thrown);
      assert.equal((await call()).code, "PASSKEY_UNSUPPORTED", String(thrown && Object(thrown).constructor?.name));
      credentials[method] = () => {
        throw thrown;
      };
      assert.equal((await call()).code, "PASSKEY_UNSUPPORTED");
    }
    credentials[method] = async () => null;
    assert.equal((await call()).code, "PASSKEY_CANCELLED");
  });

  test(`${method}: without passkeys there are none`, async () => {
    for (const remove of [() => page.set({ navigator: {} }), () => delete globalThis.PublicKeyCredential, () => delete globalThis.location]) {
      remove();
      assert.equal((await call()).code, "PASSKEY_UNSUPPORTED");
    }
  });
}

/** A browser that does as it should: when the signal fires it stops asking. */
const obeying = ({ signal }) =>
  new Promise((_, reject) => {
    const stop = () => reject(new DOMException("aborted", "AbortError"));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop);
  });

for (const [what, ask] of [["a browser that stops asking", obeying], ["one that goes on", never]]) {
  test(`time is up, or the caller gives up: ${what}`, async () => {
    Object.assign(credentials, { get: ask, create: ask });
    for (const call of [(patience) => get({}, patience.timeoutMs, patience.signal), (patience) => outcome(createPasskey({ ...options, ...patience }))]) {
      const pending = call({ timeoutMs: 500 });
      await pass(499);
      await pass(1);
      const { code, retryable } = await pending;
      assert.deepEqual([code, retryable], ["TIMEOUT", true]);
      const aborter = new AbortController();
      const waiting = call({ timeoutMs: 500, signal: aborter.signal });
      aborter.abort("enough");
      const got = await waiting;
      assert.deepEqual([got.code, got.cause], ["ABORTED", "enough"]);
      assert.equal((await call({ timeoutMs: 500, signal: AbortSignal.abort() })).code, "ABORTED", "it had fired before");
    }
  });
}

test("a browser whose own time is up says that it was not allowed: TIMEOUT where it may have been that", async () => {
  for (const [after, code] of [[999, "PASSKEY_CANCELLED"], [1000, "TIMEOUT"]]) {
    credentials.get = async () => {
      now += after;
      throw new DOMException("", "NotAllowedError");
    };
    assert.equal((await get()).code, code);
  }
});

test("the options of a passkey", () => {
  const read = (value) => {
    try {
      return { ...readPasskeyOptions(value) };
    } catch ({ code }) {
      return code;
    }
  };
  assert.deepEqual(read({}), { userVerification: "preferred" });
  assert.deepEqual(read({ rpId: "example.com", userVerification: "discouraged" }), { rpId: "example.com", userVerification: "discouraged" });
  assert.deepEqual(read({ rpId: undefined, userVerification: undefined }), { userVerification: "preferred" });
  assert.deepEqual(read(Object.create({ rpId: "evil.example" })), { userVerification: "preferred" });
  for (const value of [undefined, null, true, "x", { rpId: 1 }, { userVerification: "maybe" }, { challenge: "x" }]) assert.equal(read(value), "ARGUMENT_INVALID");
});

const created = (more = {}) => ({
  rawId: bytes(251, 255),
  response: { clientDataJSON: bytes(1), attestationObject: bytes(2), getTransports: () => ["internal", "hybrid", "smart-card"], ...more },
});

test("a passkey is made as it was asked for, and in the form that addCredential takes", async () => {
  let given;
  credentials.create = async (options) => ((given = options), created());
  const exclude = [
    { id: "AuthMethod:1", type: "PASSKEY", credentialId: "-_8B" },
    { id: "AuthMethod:2", type: "OAUTH" },
  ];
  const got = await createPasskey({
    nickname: "Phone", userName: "a@b.c", displayName: "A", userId: "AQI", rpName: "App", rpId: "example.com", challenge: "AwQ", exclude,
    userVerification: "required", timeoutMs: 5000,
  });
  assert.deepEqual(got, {
    type: "PASSKEY", nickname: "Phone", challenge: "AwQ",
    attestation: { credentialId: "-_8", clientDataJson: "AQ", attestationObject: "Ag", transports: ["internal", "hybrid"] },
  });
  assert.deepEqual(given.publicKey, {
    rp: { name: "App", id: "example.com" },
    user: { id: Uint8Array.of(1, 2), name: "a@b.c", displayName: "A" },
    challenge: Uint8Array.of(3, 4),
    pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -257 }],
    excludeCredentials: [{ type: "public-key", id: Uint8Array.of(251, 255, 1) }],
    authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
    timeout: 5000,
  });
  for (const getTransports of [undefined, () => [], () => ["smart-card"]]) {
    credentials.create = async () => created({ getTransports });
    assert.ok(!("transports" in (await createPasskey(options)).attestation));
  }
});

test("what is not named is the page's, or random", async () => {
  const given = [];
  credentials.create = async (options) => (given.push(options.publicKey), created());
  const made = [await createPasskey(options), await createPasskey(options)];
  for (const [i, { rp, user, challenge, excludeCredentials, timeout }] of given.entries()) {
    assert.deepEqual([rp, user.name, user.displayName], [{ name: "app.example" }, "a@b.c", "a@b.c"]);
    assert.deepEqual([user.id.length, challenge.length, excludeCredentials, timeout], [32, 32, [], 120_000]);
    assert.equal(made[i].challenge, base64url(challenge));
  }
  assert.notEqual(made[0].challenge, made[1].challenge);
  assert.notDeepEqual(given[0].user.id, given[1].user.id);
});

test("what createPasskey is given is read once, and nothing that is inherited", async (t) => {
  const reads = {};
  const counting = new Proxy(options, { get: (target, name) => ((reads[name] = (reads[name] ?? 0) + 1), target[name]) });
  let given;
  credentials.create = async (options) => ((given = options.publicKey), created());
  await createPasskey(counting);
  assert.deepEqual(reads, { nickname: 1, userName: 1 });
  const clean = pollute(t, { rpId: "evil.example", challenge: "AwQ", userId: "AQI", displayName: "B" });
  await createPasskey(options);
  clean();
  assert.deepEqual([given.rp.id, given.user.displayName, given.challenge.length, given.user.id.length], [undefined, "a@b.c", 32, 32]);
});

test("a passkey that cannot be meant is refused before anybody is asked", async () => {
  credentials.create = () => assert.fail("asked");
  const { nickname, userName } = options;
  for (const value of [
    undefined, null, {}, { nickname }, { userName }, { ...options, nickname: 1 }, { ...options, nickname: "" }, { ...options, nickname: "x".repeat(101) },
    { ...options, nickname: "\u{1f511}" }, { ...options, rpId: 1 }, { ...options, other: 1 },
    { ...options, challenge: "=" }, { ...options, challenge: "A" }, { ...options, challenge: "a+b/" }, { ...options, userId: "a b" },
    { ...options, userId: "" }, { ...options, userId: base64url(new Uint8Array(65)) },
    { ...options, exclude: {} }, { ...options, exclude: [1] }, { ...options, exclude: [{ credentialId: 1 }] }, { ...options, exclude: [{ credentialId: "%" }] },
    { ...options, userVerification: "maybe" }, { ...options, timeoutMs: 0 }, { ...options, signal: {} },
  ]) {
    assert.equal((await outcome(createPasskey(value))).code, "ARGUMENT_INVALID", JSON.stringify(value));
  }
});
