// What Grid's enclaves seal and sign: target bundles, exports, and session keys of Grid's own making. And bridges that put
// something else in their place. The real module against node:crypto and OpenSSL: test/enclave.js.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { createECDH, ECDH } from "node:crypto";
import { compress, makeEnclave, makePair, open, seal, sealSessionKey } from "../test/enclave.js";
import { mnemonic, nonceOf, organizationId } from "../test/grid.js";
import { Browser, minute, second, types as events } from "./browser.js";
import { Person } from "./person.js";

let browser, person;
async function begin({ tabs = 1, ...settings } = {}) {
  browser = new Browser(settings);
  person = new Person(browser);
  const open = [];
  for (let i = 0; i < tabs; i++) open.push(await browser.open({ autoRefresh: false }));
  return open;
}
afterEach(() => browser?.close());

const enter = (tab, type, options) => browser.soon(person.enter(tab, type, options));
const keys = async (tab) => (await browser.soon(tab.keys())).value;
/** The bridge changes answers: those of requests whose path ends so. */
const changing = (end, change) => {
  browser.bridge = async (request, ask) => {
    const answer = await ask();
    return request.path.endsWith(end) && answer.status === 200 ? { ...answer, body: { ...answer.body, ...change(answer.body, request) } } : answer;
  };
};

test("the model opens what Turnkey has published", () => {
  const bundle = "w99a5xV6A75TfoAUkZn869fVyDYvgVsKrawMALZXmrauZd8hEv66EkPU1Z42CUaHESQjcA5bqd8dynTGBMLWB9ewtXWPEVbZvocB4Tw2K1vQVp7uwjf";
  const digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  const number = [...bundle].reduce((number, digit) => 58n * number + BigInt(digits.indexOf(digit)), 0n);
  const body = number.toString(16).padStart(170, "0").slice(0, -8);
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey("20fa65df11f24833790ae283fc9a0c215eecbbc589549767977994dc69d05a56", "hex");
  const pair = { publicKey: ecdh.getPublicKey("hex"), agree: (peer) => ecdh.computeSecret(Buffer.from(peer, "hex")) };
  const encappedPublic = ECDH.convertKey(body.slice(0, 66), "prime256v1", "hex", "hex", "uncompressed");
  const opened = open(pair, { encappedPublic, ciphertext: body.slice(66) });
  assert.equal(opened.toString("hex"), "67ee05fc3bdf4161bc70701c221d8d77180294cefcfcea64ba83c4d4c732fcb9");
});

test("a nonce is of the text that is sent: the example key of Grid's documentation, and a key's own", async () => {
  const uncompressed = "04f45f2a22c908b9ce09a7150e514afd24627c401c38a4afc164e1ea783adaaa31";
  assert.equal(nonceOf(`02${uncompressed.slice(2)}`), "24afbb45e88967cf181405d0804cfa7c998c8437b5c601e5d1f477e3303bceb7");
  const [tab] = await begin();
  for (const options of [{}, { curve: "secp256k1" }, { sealed: true }]) {
    const { value: key } = await browser.soon(tab.createKey(options, {}));
    assert.equal((await browser.soon(tab.oauthNonce(key.id))).value, nonceOf(key.publicKey));
  }
  assert.equal((await browser.soon(tab.oauthNonce("other"))).code, "KEY_NOT_FOUND");
});

// --- codes ---

const other = makeEnclave();
const target = () => ({ targetPublic: makePair().publicKey, organizationId });
const offCurve = `04${"11".repeat(64)}`;
const tampered = (bundle, change) => JSON.stringify({ ...JSON.parse(bundle), ...change });

/** A target that a bridge has made: what the code is sealed to would be its own to open. */
const bundles = {
  "signed by another key": () => other.envelope(target()),
  "signed by another key that says it is ours": (ours) => other.envelope(target(), { enclaveQuorumPublic: ours.publicKey }),
  "with our signature of other data": (ours, bundle) => tampered(bundle, { data: JSON.parse(other.envelope(target())).data }),
  "without a signature": (ours, bundle) => tampered(bundle, { dataSignature: "" }),
  "without a signature, and unsigned by its own word": (ours, bundle) => tampered(bundle, { dataSignature: "", enclaveQuorumPublic: "" }),
  "with a signature that is none": (ours, bundle) => tampered(bundle, { dataSignature: "30060201010201" }),
  "with the signature's last byte changed": (ours, bundle) => tampered(bundle, { dataSignature: JSON.parse(bundle).dataSignature.replace(/..$/, (byte) => (byte === "00" ? "01" : "00")) }),
  "of another version": (ours) => ours.envelope(target(), { version: "v2.0.0" }),
  "without a version": (ours) => ours.envelope(target(), { version: undefined }),
  "with more in it": (ours) => ours.envelope(target(), { more: 1 }),
  "whose target is not on the curve": (ours) => ours.envelope({ ...target(), targetPublic: offCurve }),
  "whose target is compressed": (ours) => ours.envelope({ ...target(), targetPublic: compress(makePair().publicKey) }),
  "without a target": (ours) => ours.envelope({}),
  "that is no JSON": () => "'{}'",
};

for (const [name, make] of Object.entries(bundles)) {
  test(`a target bundle ${name}: nothing is sealed to it, and nobody is asked for the code`, async () => {
    const [tab] = await begin();
    changing("/challenge", ({ otpEncryptionTargetBundle }) => ({ otpEncryptionTargetBundle: make(browser.grid.enclave, otpEncryptionTargetBundle) }));
    const { code, retryable } = await browser.soon(tab.startOtp(person.ways.EMAIL_OTP.id, { timeoutMs: minute }));
    assert.deepEqual([code, retryable], ["ENCLAVE_UNTRUSTED", false]);
    // And where the bundle is changed between the two.
    browser.bridge = (_, ask) => ask();
    const { value: sent } = await browser.soon(tab.startOtp(person.ways.EMAIL_OTP.id, { timeoutMs: minute }));
    const changed = { ...sent, bundle: make(browser.grid.enclave, sent.bundle) };
    const got = await browser.soon(tab.submitOtp(changed, "123456", { timeoutMs: minute }));
    assert.equal(got.code, "ENCLAVE_UNTRUSTED");
    assert.ok(browser.requests.every(({ path }) => path.endsWith("/challenge")));
    assert.deepEqual([await keys(tab), (await browser.storage.all()).filter(({ secret }) => secret)], [[], []]);
  });
}

test("what the enclave opens is the code and the key, and the bridge reads neither", async () => {
  const [tab] = await begin();
  let target;
  browser.bridge = async (request, ask) => {
    target ??= request.leg === 1 && request.path.endsWith("/verify") ? browser.grid.credentials.get(person.ways.EMAIL_OTP.id).sent.target : undefined;
    return ask();
  };
  const { value: key } = await enter(tab, "EMAIL_OTP");
  const [, first, second] = browser.requests;
  assert.equal(first.body, second.body);
  const { type, encryptedOtpBundle, ...rest } = JSON.parse(first.body);
  assert.deepEqual([type, rest], ["EMAIL_OTP", {}]);
  const { encappedPublic, ciphertext, ...more } = JSON.parse(encryptedOtpBundle);
  assert.deepEqual(more, {});
  const text = open(target, { encappedPublic, ciphertext }).toString();
  assert.match(text, new RegExp(`^\\{"otp_code":"\\d{6}","public_key":"${key.publicKey}"\\}$`));
  assert.ok(!first.body.includes(JSON.parse(text).otp_code) && !first.body.includes(key.publicKey));
});

for (const [name, claims] of Object.entries({
  "for another key": () => ({ public_key: compress(makePair().publicKey) }),
  "for a key that is no text": () => ({ public_key: 1 }),
  "that is another activity": undefined,
})) {
  test(`a token ${name} is not signed, and no session lives on`, async () => {
    const [tab] = await begin();
    browser.bridge = async (request, ask) => {
      const answer = await ask();
      if (answer.status !== 202) return answer;
      const activity = JSON.stringify({ organizationId, parameters: { targetPublicKey: makePair().publicKey, walletId: "w" }, timestampMs: "1", type: "ACTIVITY_TYPE_EXPORT_WALLET" });
      return { ...answer, body: { ...answer.body, payloadToSign: claims ? browser.grid.enclave.token(claims()) : activity } };
    };
    const { code } = await enter(tab, "EMAIL_OTP");
    assert.equal(code, "INTENT_MISMATCH");
    assert.ok(browser.requests.every(({ leg }) => leg === 1));
    assert.deepEqual([browser.live, await keys(tab), (await browser.storage.all()).filter(({ secret }) => secret)], [[], [], []]);
  });
}

// --- passkeys ---

for (const [name, change] of Object.entries({
  "of another credential": (body) => ({ id: person.ways.OAUTH.id }),
  "of another account": () => ({ accountId: "InternalAccount:019542f5-b3e7-1d02-0000-000000000009", id: "AuthMethod:019542f5-b3e7-1d02-0000-000000000009" }),
  "of another type": () => ({ type: "OAUTH" }),
  "of upper-case digits": ({ challenge }) => ({ challenge: challenge.toUpperCase().replace(/^./, "A") }),
  "that is too short": ({ challenge }) => ({ challenge: challenge.slice(2) }),
  "without a request": () => ({ requestId: undefined }),
})) {
  test(`a passkey's challenge ${name}: the person is not asked`, async () => {
    const [tab] = await begin();
    person.authenticator.get = () => assert.fail("asked");
    changing("/challenge", change);
    assert.equal((await enter(tab, "PASSKEY")).code, "RESPONSE_MALFORMED");
    assert.equal(browser.requests.length, 1);
    assert.deepEqual([await keys(tab), (await browser.storage.all()).filter(({ secret }) => secret)], [[], []]);
  });
}

test("a passkey that the person does not have: no assertion leaves the browser", async () => {
  const [tab] = await begin();
  changing("/challenge", () => ({ credentialId: "AAAA" }));
  assert.equal((await enter(tab, "PASSKEY")).code, "PASSKEY_CANCELLED");
  assert.equal(browser.requests.length, 1);
  assert.deepEqual((await browser.storage.all()).filter(({ secret }) => secret), []);
});

// --- what is exported ---

const exportWallet = (tab, key, options) => browser.soon(tab.exportWallet(key.session.accountId, { key: key.id, timeoutMs: minute, ...options }));

for (const curve of ["P-256", "secp256k1"]) {
  test(`a wallet is exported to a key of the moment: ${curve}`, async () => {
    const [tab] = await begin();
    const { value: key } = await enter(tab, "OAUTH", { curve });
    assert.equal((await exportWallet(tab, key)).value, mnemonic);
    assert.equal((await exportWallet(tab, key)).value, mnemonic);
    const targets = browser.requests.filter(({ path }) => path.endsWith("/export")).map(({ body }) => JSON.parse(body).clientPublicKey);
    assert.equal(new Set(targets).size, 2);
    assert.ok(targets.every((target) => /^04[0-9a-f]{128}$/.test(target)));
    const left = JSON.stringify([await browser.storage.all(), tab.events, await keys(tab)]);
    assert.ok(!targets.some((target) => left.includes(target)) && !left.includes("abandon"));
  });
}

const sealed = (request, more) => ({ ...seal(JSON.parse(request.body).clientPublicKey, Buffer.from("evil")), organizationId, ...more });
/** An export that a bridge has made. */
const exported = {
  "signed by another key": [(ours, request) => other.envelope(sealed(request)), "ENCLAVE_UNTRUSTED"],
  "that nobody has signed": [(ours, request) => other.envelope(sealed(request), { dataSignature: "", enclaveQuorumPublic: "" }), "ENCLAVE_UNTRUSTED"],
  "of another organization": [(ours, request) => ours.envelope(sealed(request, { organizationId: "org_other" })), "ENCLAVE_UNTRUSTED"],
  "of no organization": [(ours, request) => ours.envelope(sealed(request, { organizationId: undefined })), "ENCLAVE_UNTRUSTED"],
  "of another version": [(ours, request) => ours.envelope(sealed(request), { version: "v1.0.1" }), "ENCLAVE_UNTRUSTED"],
  "to another key": [(ours) => ours.envelope({ ...seal(makePair().publicKey, Buffer.from(mnemonic)), organizationId }), "UNSEAL_FAILED"],
  "that is cut off": [(ours, request) => ours.envelope(sealed(request, { ciphertext: "00" })), "UNSEAL_FAILED"],
  "whose sender is not on the curve": [(ours, request) => ours.envelope(sealed(request, { encappedPublic: offCurve })), "ENCLAVE_UNTRUSTED"],
  "that is no text": [(ours, request) => ours.envelope({ ...seal(JSON.parse(request.body).clientPublicKey, Buffer.of(255)), organizationId }), "UNSEAL_FAILED"],
};
for (const [name, [make, want]] of Object.entries(exported)) {
  test(`an export ${name}: ${want}`, async () => {
    const [tab] = await begin();
    const { value: key } = await enter(tab, "OAUTH");
    changing("/export", (_, request) => ({ encryptedWalletCredentials: make(browser.grid.enclave, request) }));
    const { code, retryable, message } = await exportWallet(tab, key);
    assert.deepEqual([code, retryable], [want, false]);
    assert.ok(!/evil|abandon/.test(message));
    assert.equal((await keys(tab)).length, 1, "the session goes on");
  });
}

test("an unsigned export is taken where the caller wants it, and a badly signed one is not", async () => {
  const [tab] = await begin();
  const { value: key } = await enter(tab, "OAUTH");
  changing("/export", ({ encryptedWalletCredentials }) => ({ encryptedWalletCredentials: tampered(encryptedWalletCredentials, { dataSignature: "", enclaveQuorumPublic: "" }) }));
  assert.equal((await exportWallet(tab, key)).code, "ENCLAVE_UNTRUSTED");
  assert.equal((await exportWallet(tab, key, { allowUnsigned: true })).value, mnemonic);
  changing("/export", ({ encryptedWalletCredentials }) => ({ encryptedWalletCredentials: tampered(encryptedWalletCredentials, { dataSignature: "" }) }));
  assert.equal((await exportWallet(tab, key, { allowUnsigned: true })).code, "ENCLAVE_UNTRUSTED");
});

// --- session keys of Grid's making ---

for (const type of ["OAUTH", "PASSKEY"]) {
  test(`${type}: a sealed key signs nothing, and is then the one that Grid has made`, async () => {
    const [tab, next] = await begin({ tabs: 2 });
    const { value: made } = await browser.soon(tab.createKey({ sealed: true }, {}));
    assert.match(made.publicKey, /^04[0-9a-f]{128}$/);
    const challenge = { payloadToSign: "b3BhcXVl", requestId: "Request:019542f5-b3e7-1d02-0000-000000000007", expiresAt: new Date(browser.server + minute).toISOString() };
    const session = browser.grid.add(makePair().publicKey);
    for (const use of [() => tab.signChallenge(challenge, { key: made.id, timeoutMs: second }), () => tab.bindSession(made.id, session)]) {
      assert.equal((await browser.soon(use())).code, "ARGUMENT_INVALID");
    }
    browser.grid.sessions.delete(session.id);
    const { value: key } = await enter(tab, type, { key: made.id });
    assert.deepEqual([key.id, key.protection], [made.id, "non-extractable"]);
    assert.match(key.publicKey, /^0[23][0-9a-f]{64}$/);
    assert.deepEqual(browser.live, [{ id: key.session.id, publicKey: key.publicKey }]);
    assert.deepEqual(await keys(next), [key]);
    assert.deepEqual(next.events, [{ type: "started", key: key.id, session: key.session }]);
    const { value: refreshed } = await browser.refresh(next, key);
    assert.match(refreshed.publicKey, /^0[23]/);
    await browser.pass(10 * second);
    await browser.assertOne(tab, key);
    assert.equal((await browser.soon(tab.signOut({ key: key.id, timeoutMs: 9 * second }))).value.status, "revoked");
    assert.deepEqual(browser.live, []);
    assert.deepEqual(events(tab), ["started", "refreshed", "leaving", "signed-out"]);
  });

  for (const [name, change, want] of [
    ["without the sealed key", () => ({ encryptedSessionSigningKey: undefined }), "RESPONSE_MALFORMED"],
    ["with one that is sealed to another", () => ({ encryptedSessionSigningKey: sealSessionKey(makePair().publicKey, makePair().privateKey) }), "UNSEAL_FAILED"],
    ["with one that was changed", ({ encryptedSessionSigningKey: text }) => ({ encryptedSessionSigningKey: text.replace(/.$/, (last) => (last === "2" ? "3" : "2")) }), "UNSEAL_FAILED"],
    ["with one that is no private key", (_, key) => ({ encryptedSessionSigningKey: sealSessionKey(key.publicKey, Buffer.alloc(32)) }), "UNSEAL_FAILED"],
  ]) {
    test(`${type}: an answer ${name}: ${want}, and the key is gone`, async () => {
      const [tab] = await begin();
      const { value: made } = await browser.soon(tab.createKey({ sealed: true }, {}));
      changing("/verify", (body) => change(body, made));
      assert.equal((await enter(tab, type, { key: made.id })).code, want);
      assert.deepEqual(await keys(tab), []);
      assert.ok((await browser.storage.all()).every(({ state, secret }) => state === "ended" && !secret));
      assert.ok(browser.requests.every(({ method }) => method === "POST"), "nobody can end a session whose key was not taken in");
      browser.sleep(15 * minute);
      assert.deepEqual(browser.live, []);
    });
  }

  test(`${type}: a tab that is closed while a sealed key signs in leaves none`, async () => {
    const [tab] = await begin();
    const { value: { id } } = await browser.soon(tab.createKey({ sealed: true }, {}));
    browser.bridge = async (request, ask) => {
      const answer = ask();
      if (request.path.endsWith("/verify")) tab.kill();
      return answer;
    };
    void person.enter(tab, type, { key: id }).catch(() => {});
    await browser.until(() => !tab.isAlive);
    const next = await browser.open({ autoRefresh: false });
    await browser.pass(3 * minute, 5 * second);
    assert.deepEqual([await keys(next), (await browser.storage.all()).map(({ state }) => state)], [[], ["ended"]]);
    assert.ok(browser.requests.every(({ method }) => method === "POST"));
  });
}

test("an answer with a sealed key to one that holds its own is refused, and its session ended", async () => {
  const [tab] = await begin();
  changing("/verify", () => ({ encryptedSessionSigningKey: sealSessionKey(makePair().publicKey, makePair().privateKey) }));
  assert.equal((await enter(tab, "PASSKEY")).code, "RESPONSE_MALFORMED");
  await browser.pass(90 * second, 5 * second);
  assert.deepEqual([browser.live, await keys(tab)], [[], []]);
});
