// What arguments.ts takes and what it refuses, at the edges of each rule.
import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";
import * as args from "../.tsc/src/arguments.js";

const hostile = () => {
  throw new Error("hostile");
};
const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
/** Evaluates in another realm, as an iframe is. */
const elsewhere = (code) => vm.runInNewContext(code);

/** The code of a refusal, or what was read. */
function read(what) {
  try {
    return what();
  } catch (error) {
    assert.equal(error.name, "GridSignerError", String(error));
    assert.equal(error.retryable, false);
    return error.code;
  }
}
const refused = "ARGUMENT_INVALID";

/** One test for a rule: what each value comes to. */
function table(name, rule, cases) {
  test(name, () => {
    for (const [what, value, want] of cases) assert.deepEqual(read(() => rule(value)), want, what);
  });
}
const refuses = (name, rule, values) => table(name, rule, Object.entries(values).map(([what, value]) => [what, value, refused]));

const plain = (object) => Object.assign(Object.create(null), object);

table("fields are own properties, as they are at the time", (value) => args.fields("x", value, ["a", "b"]), [
  ["both", { a: 1, b: null }, plain({ a: 1, b: null })],
  ["one that is there and undefined", { a: undefined }, plain({ a: undefined })],
  ["others are left out", { a: 1, c: 3, [Symbol("a")]: 4 }, plain({ a: 1 })],
  ["inherited ones are not there", Object.create({ a: 1 }), plain({})],
  ["a getter is read", { get a() { return 1; } }, plain({ a: 1 })],
  ["an array has none of them", [1, 2], plain({})],
  ["of another realm", elsewhere("({ a: 1 })"), plain({ a: 1 })],
  ["without a prototype", plain({ b: 2 }), plain({ b: 2 })],
]);

refuses("fields are refused of what is no object, or cannot be read", (value) => args.fields("x", value, ["a"]), {
  "undefined": undefined,
  "null": null,
  "a string": "a",
  "a number": 1,
  "a function": Object.assign(() => {}, { a: 1 }),
  "a symbol": Symbol("a"),
  "a getter that throws": { get a() { return hostile(); } },
  "a proxy that throws": new Proxy({}, { getOwnPropertyDescriptor: hostile }),
  "a proxy that throws when read": new Proxy({ a: 1 }, { get: hostile }),
  "a revoked proxy": revoked(),
});

test("what the caller's code threw is the cause, whatever it is", () => {
  for (const thrown of [new Error("hostile"), null, "text"]) {
    const value = { get a() { throw thrown; } };
    assert.throws(() => args.fields("x", value, ["a"]), { code: refused, message: "x could not be read", cause: thrown });
  }
  const error = args.invalid("x");
  assert.equal("cause" in error, false);
});

test("a field is read once", () => {
  let reads = 0;
  args.options("x", { get a() { return reads++; } }, ["a"]);
  assert.equal(reads, 1);
});

test("a polluted prototype adds no field", (t) => {
  t.after(() => delete Object.prototype.a);
  Object.prototype.a = "polluted";
  assert.equal(args.fields("x", {}, ["a"]).a, undefined);
});

table("options have no other names", (value) => args.options("x", value, ["a"]), [
  ["none", {}, plain({})],
  ["known", { a: 1 }, plain({ a: 1 })],
  ["inherited ones do not count", Object.assign(Object.create({ b: 1 }), { a: 1 }), plain({ a: 1 })],
  ["unknown", { a: 1, b: 2 }, refused],
  ["unknown and undefined", { b: undefined }, refused],
  ["unknown and not enumerable", Object.defineProperty({}, "b", { value: 1 }), refused],
  ["a symbol", { [Symbol("a")]: 1 }, refused],
  ["a symbol without a name", { [Symbol()]: 1 }, refused],
  ["__proto__ of its own", JSON.parse('{"__proto__":{"a":1}}'), refused],
  ["__proto__ as a literal is no property", { __proto__: { a: 1 } }, plain({})],
  ["an array", [], refused],
  ["that cannot be listed", new Proxy({}, { ownKeys: hostile }), refused],
]);

table("others are refused by themselves, too", (value) => args.refuseOthers("x", value, ["a"]), [
  ["none", { a: 1 }, undefined],
  ["another", { a: 1, b: 2 }, refused],
]);

test("an unknown option is named", () => {
  assert.throws(() => args.options("createSigner", { wasmURL: 1 }, ["wasmUrl"]), { message: "createSigner has no option wasmURL" });
  assert.throws(() => args.options("x", { [Symbol("y")]: 1 }, []), { message: "x has no option Symbol(y)" });
});

table("strings", (value) => args.strings("x", { a: value, b: undefined }), [
  ["a string", "a", plain({ a: "a" })],
  ["an empty one", "", plain({ a: "" })],
  ["undefined is not there", undefined, plain({})],
  ["null", null, refused],
  ["a number", 1, refused],
  ["a String", new String("a"), refused],
  ["what would become one", { toString: () => "a" }, refused],
]);

table("listeners", (value) => args.listener("x", value), [
  ["none", undefined, undefined],
  ["a function", hostile, hostile],
  ["a class is one", Map, Map],
  ["null", null, refused],
  ["an object that handles events", { handleEvent() {} }, refused],
]);

table("a key, or its id", (value) => args.keyId(value), [
  ["an id", "key-1", "key-1"],
  ["a key", { id: "key-1", curve: "P-256" }, "key-1"],
  ["of another realm", elsewhere('({ id: "key-1" })'), "key-1"],
  ["an inherited id", Object.create({ id: "key-1" }), refused],
  ["no id", {}, refused],
  ["an id that is no string", { id: 1 }, refused],
  ["a String", new String("key-1"), refused],
  ["nothing", undefined, refused],
  ["null", null, refused],
  ["a revoked proxy", revoked(), refused],
]);

const uuid = "019542f5-b3e7-1d02-0000-000000000003";
const binding = { id: `Session:${uuid}`, accountId: `InternalAccount:${uuid}`, expiresAt: "2026-04-08T15:45:01Z" };
const bound = (change) => {
  const value = { ...binding, ...change };
  return [JSON.stringify(change), value, value];
};
table("a session that a key may be bound to", (value) => args.session(value), [
  bound({}),
  bound({ id: `Session:${uuid.toUpperCase()}` }),
  ...["2026-04-08T15:45:01.5Z", "2026-04-08T15:45:01.123456789Z", "2026-04-08T15:45:01+02:00", "2028-02-29T00:00:00-11:30"].map(
    (expiresAt) => bound({ expiresAt }),
  ),
  ["one that Grid listed, of which the rest is left out", { ...binding, type: "OAUTH", nickname: "Phone" }, binding],
  ["of another realm", elsewhere(`(${JSON.stringify(binding)})`), binding],
]);

const unbound = (change) => ({ ...binding, ...change });
refuses("a session that is none", (value) => args.session(value), {
  "nothing": undefined,
  "its id": binding.id,
  "inherited": Object.create(binding),
  "__proto__ of its own": JSON.parse(`{"__proto__":${JSON.stringify(binding)}}`),
  "no id": unbound({ id: undefined }),
  "an account's id": unbound({ id: binding.accountId }),
  "a bare UUID": unbound({ id: uuid }),
  "a UUID without dashes": unbound({ id: `Session:${uuid.replaceAll("-", "")}` }),
  "a UUID in braces": unbound({ id: `Session:{${uuid}}` }),
  "a digit that is not hex": unbound({ id: `Session:${uuid.replace("f", "g")}` }),
  "a kind in lower case": unbound({ id: binding.id.toLowerCase() }),
  "an account's kind in lower case": unbound({ accountId: binding.accountId.toLowerCase() }),
  "a digit too many": unbound({ id: `${binding.id}0` }),
  "a path": unbound({ id: `Session:../${uuid}` }),
  "a space before": unbound({ id: ` ${binding.id}` }),
  "a line break after": unbound({ id: `${binding.id}\n` }),
  "a session's id as the account's": unbound({ accountId: binding.id }),
  "an account that is a String": unbound({ accountId: new String(binding.accountId) }),
  "no expiry": unbound({ expiresAt: undefined }),
  "a date": unbound({ expiresAt: "2026-04-08" }),
  "a Date": unbound({ expiresAt: new Date(0) }),
  "a number": unbound({ expiresAt: 1775681700000 }),
  "words": unbound({ expiresAt: "tomorrow" }),
  "no zone": unbound({ expiresAt: "2026-04-08T15:45:01" }),
  "a zone without a colon": unbound({ expiresAt: "2026-04-08T15:45:01+0200" }),
  "lower case": unbound({ expiresAt: "2026-04-08t15:45:01z" }),
  "no seconds": unbound({ expiresAt: "2026-04-08T15:45Z" }),
  "an empty fraction": unbound({ expiresAt: "2026-04-08T15:45:01.Z" }),
  "no such month": unbound({ expiresAt: "2026-13-08T15:45:01Z" }),
  "no such day": unbound({ expiresAt: "2026-04-99T15:45:01Z" }),
  "no such hour": unbound({ expiresAt: "2026-04-08T25:45:01Z" }),
  "something after it": unbound({ expiresAt: "2026-04-08T15:45:01Z\n" }),
});

table("an intent, by name or with its facts", (value) => args.intent(value), [
  ["none", undefined, undefined],
  ["a name", "send-payment", "send-payment"],
  ["a name that only the module knows to be wrong", "nonsense", "nonsense"],
  ["facts", { name: "add-credential", type: "SMS_OTP", phoneNumber: "+1" }, plain({ name: "add-credential", type: "SMS_OTP", phoneNumber: "+1" })],
  ["undefined facts are not there", { name: "sign-in", email: undefined }, plain({ name: "sign-in" })],
  ["null", null, refused],
  ["a number", 1, refused],
  ["a fact that is unknown", { name: "send-payment", amount: "1" }, refused],
  ["a fact that is no string", { name: "export-wallet", targetPublicKey: 1 }, refused],
  ["a fact that is null", { name: "export-wallet", targetPublicKey: null }, refused],
  ["__proto__ of its own", JSON.parse('{"name":"sign-in","__proto__":{"email":"a"}}'), refused],
  ["a getter that throws", { get name() { return hostile(); } }, refused],
  ["a revoked proxy", revoked(), refused],
]);

const attested = (attestation) => ({ type: "PASSKEY", attestation });
const parts = { credentialId: "a", clientDataJson: "b", attestationObject: "c" };
table("a credential to add", (value) => args.credential(value), [
  ["a text of each name", { type: "OAUTH", oidcToken: "h.p.s" }, plain({ type: "OAUTH", oidcToken: "h.p.s" })],
  ["a type that only the module knows to be wrong", { type: "FAX" }, plain({ type: "FAX" })],
  ["an attestation", attested(parts), { type: "PASSKEY", attestation: parts }],
  ["its transports", attested({ ...parts, transports: ["usb"] }), { type: "PASSKEY", attestation: { ...parts, transports: ["usb"] } }],
  ["none of them", attested({ ...parts, transports: [] }), { type: "PASSKEY", attestation: { ...parts, transports: [] } }],
  ["of another realm", attested(elsewhere('({ transports: ["usb"] })')), { type: "PASSKEY", attestation: { transports: ["usb"] } }],
  ["an attestation whose parts are inherited", attested(Object.create(parts)), { type: "PASSKEY", attestation: {} }],
  ["inherited", Object.create({ type: "OAUTH" }), plain({})],
  ["transports that are a text", attested({ transports: "usb" }), refused],
  ["transports that are a number", attested({ transports: 1 }), refused],
  ["transports that only look like a list", attested({ transports: { length: 1, 0: "usb" } }), refused],
  ["transports that cannot be read", attested({ transports: revoked() }), refused],
  ["transports whose getter throws", attested({ transports: Object.defineProperty(["usb"], 0, { get: hostile }) }), refused],
  ["one of the transports a number", attested({ transports: ["usb", 1] }), refused],
  ["a gap among the transports", attested({ transports: [, "usb"] }), refused],
  ["another part of an attestation", attested({ ...parts, type: "public-key" }), refused],
  ["an attestation that is a list", attested([parts]), refused],
]);

table("timeoutMs", (value) => args.timeout(value, 30_000), [
  ["none", undefined, 30_000],
  ...[1, 1.5, 30_000, 86_400_000].map((ms) => [String(ms), ms, ms]),
  ...[0, -0, 0.999, -1, 86_400_000.5, 86_400_001, 2 ** 31, Infinity, -Infinity, NaN].map((ms) => [String(ms), ms, refused]),
  ...["1000", 1000n, null, true, [1000], { valueOf: () => 1000 }, new Number(1000)].map((value) => [typeof value, value, refused]),
]);

table("timeoutMs of what may wait for nothing", (value) => args.timeout(value, 10_000, 0), [
  ["none", undefined, 10_000],
  ["zero", 0, 0],
  ["negative", -1, refused],
]);

table("a choice", (value) => args.choice("x", value, ["a", "b"]), [
  ["none: the first", undefined, "a"],
  ["the first", "a", "a"],
  ["another", "b", "b"],
  ["none of them", "c", refused],
  ["what would become one", ["a"], refused],
  ["null", null, refused],
]);

test("the choices are named", () => {
  assert.throws(() => args.choice("scope", "none", ["this", "all"]), { message: 'scope must be "this" or "all"' });
});

const letters = "azAZ09._-";
table("a namespace", (value) => args.namespace(value), [
  ["none", undefined, undefined],
  ...["a", letters, "a".repeat(64)].map((name) => [name, name, name]),
  ...["", "a".repeat(65), "a b", "a/b", "a\n", "\u00e9", "a:b"].map((name) => [name, name, refused]),
  ["a String", new String("a"), refused],
  ["null", null, refused],
]);

const { signal } = new AbortController();
const looking = Object.defineProperties(AbortSignal.abort(), { aborted: { get: hostile }, reason: { get: hostile } });
table("a signal", (value) => args.signal(value), [
  ["none", undefined, undefined],
  ["one", signal, signal],
  ["one whose own getters throw", looking, looking],
  ["null", null, refused],
  ["another target", new EventTarget(), refused],
  ["a look-alike", { aborted: false, addEventListener() {}, removeEventListener() {} }, refused],
  ["what inherits from its class", Object.create(AbortSignal.prototype), refused],
  ["a controller", new AbortController(), refused],
  ["a revoked proxy", revoked(), refused],
]);

const base = "https://app.example/account/keys?tab=1#top";
table("a URL", (value) => args.url("x", () => value, base).href, [
  ["absolute", "https://cdn.example/s.wasm", "https://cdn.example/s.wasm"],
  ["of the root", "/s.wasm", "https://app.example/s.wasm"],
  ["relative", "./s.wasm", "https://app.example/account/s.wasm"],
  ["a URL", new URL("https://cdn.example/s.wasm"), "https://cdn.example/s.wasm"],
  ["unparsable", "http://", refused],
  ["a String", new String("/s.wasm"), refused],
  ["what would become one", { toString: () => "/s.wasm" }, refused],
  ["null", null, refused],
  ["a proxy of a URL", new Proxy(new URL(base), {}), refused],
  ["a revoked proxy", revoked(), refused],
]);

test("a URL that cannot even be asked for is refused", () => {
  assert.throws(() => args.url("x", hostile, base), { code: refused, message: "x could not be read" });
});

table("a bridge's URL", (value) => args.bridgeUrl(value, base), [
  ["of the root", "/api/grid", "https://app.example/api/grid"],
  ["relative", "grid", "https://app.example/account/grid"],
  ["with slashes", "/api/grid//", "https://app.example/api/grid"],
  ["with slashes inside", "/api//grid/", "https://app.example/api//grid"],
  ["an origin", "https://api.example", "https://api.example"],
  ["an origin with a slash", "https://api.example/", "https://api.example"],
  ["http, with a port", "http://localhost:8080/a/", "http://localhost:8080/a"],
  ["a URL", new URL("https://api.example/a"), "https://api.example/a"],
  ["a question mark that is none", "/a%3F", "https://app.example/a%3F"],
  ["another scheme", "javascript:alert(1)", refused],
  ["a file", "file:///api", refused],
  ["a blob", "blob:https://app.example/a", refused],
  ["a user", "https://a@api.example/", refused],
  ["a password", "https://:b@api.example/", refused],
  ["a query", "/a?b", refused],
  ["an empty query", "/a?", refused],
  ["a fragment", "/a#b", refused],
  ["an empty fragment", "/a#", refused],
  ["nothing, where the page has a query", "", refused],
  ["a number", 1, refused],
  ["undefined", undefined, refused],
]);

table("headers", (value) => args.headers(value), [
  ["none", undefined, refused],
  ["none of them", {}, {}],
  ["an object", { "X-Tenant": "a", Authorization: " b " }, { "x-tenant": "a", authorization: "b" }],
  ["a Headers", new Headers({ "X-Tenant": "a" }), { "x-tenant": "a" }],
  ["pairs, of which equal names are joined", [["a", "1"], ["A", "2"]], { a: "1, 2" }],
  ["an empty value", { a: "" }, { a: "" }],
  ["null", null, refused],
  ["a string", "a: b", refused],
  ["a number", 1, refused],
  ["a line break", { a: "b\r\nc: d" }, refused],
  ["a name that is none", { "a b": "c" }, refused],
  ["an empty name", { "": "c" }, refused],
  ["letters that are not Latin-1", { a: "\u20ac" }, refused],
  ["a getter that throws", { get a() { return hostile(); } }, refused],
  ["a revoked proxy", revoked(), refused],
]);

for (const [name, value] of Object.entries({
  "32 bytes": new Uint8Array(32).fill(7),
  "bytes of a wrong length": new Uint8Array(31).fill(7),
  "no bytes": new Uint8Array(0),
  "a part of a buffer": new Uint8Array(new ArrayBuffer(64), 16, 32).fill(7),
  "a Buffer": Buffer.alloc(32, 7),
  "of another realm": elsewhere("new Uint8Array(32).fill(7)"),
  "a subclass whose methods are hostile": new (class extends Uint8Array {
    fill() { hostile(); }
    set() { hostile(); }
    [Symbol.iterator]() { hostile(); }
    get length() { return hostile(); }
    static get [Symbol.species]() { return hostile(); }
  })(Array(32).fill(7)),
  "one that calls itself something else": Object.defineProperty(new Uint8Array(32).fill(7), Symbol.toStringTag, { value: "String" }),
})) {
  test(`a private key is moved, and the caller's array zeroed: ${name}`, () => {
    const { buffer, byteOffset, byteLength } = value;
    const before = [...new Uint8Array(buffer, byteOffset, byteLength)];
    const moved = args.secret("x", value);
    assert.deepEqual([...moved], before);
    assert.ok(moved instanceof Uint8Array && moved.buffer !== buffer && moved.byteOffset === 0);
    assert.equal(moved.buffer.byteLength, moved.length, "all of it can be transferred");
    assert.ok(new Uint8Array(buffer, byteOffset, byteLength).every((byte) => byte === 0));
  });
}

test("of a buffer that the caller has more in, no more is zeroed than the key", () => {
  const whole = new Uint8Array(64).fill(7);
  args.secret("x", whole.subarray(16, 48));
  assert.deepEqual([...whole], [...Array(16).fill(7), ...Array(32).fill(0), ...Array(16).fill(7)]);
});

for (const [what, length] of [["32 bytes", 32], ["none", 0]]) {
  test(`a private key whose buffer was moved away is refused: ${what}`, () => {
    const value = new Uint8Array(length);
    structuredClone(value, { transfer: [value.buffer] });
    assert.throws(() => args.secret("privateKey", value), { code: refused, message: "privateKey could not be read" });
  });
}

test("what a page puts in the place of fill later does not decide whether the caller's array is zeroed", (t) => {
  const fill = t.mock.method(Uint8Array.prototype, "fill", () => {});
  const value = Uint8Array.of(1, 2, 3);
  assert.deepEqual([...args.secret("x", value)], [1, 2, 3]);
  assert.deepEqual([...value, fill.mock.callCount()], [0, 0, 0, 0]);
});

refuses("a private key that is no Uint8Array", (value) => args.secret("x", value), {
  "nothing": undefined,
  "null": null,
  "hex": "07".repeat(32),
  "an array": Array(32).fill(7),
  "a buffer": new ArrayBuffer(32),
  "a DataView": new DataView(new ArrayBuffer(32)),
  "other words": new Uint16Array(32),
  "clamped bytes": new Uint8ClampedArray(32),
  "signed bytes": new Int8Array(32),
  "a proxy": new Proxy(new Uint8Array(32), {}),
  "a proxy of another realm": elsewhere("new Proxy(new Uint8Array(32), {})"),
  "what calls itself one": { length: 32, [Symbol.toStringTag]: "Uint8Array" },
  "what inherits from the class": Object.create(Uint8Array.prototype),
});
