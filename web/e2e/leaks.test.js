// Nothing leaks: the private key into no request of the browser, the client
// secret into no answer, no built file and no log.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { dist } from "../test/server.js";
import { curves, hex } from "../test/verify.js";
import { startDemo } from "./demo.js";
import { signInWith } from "./page.js";
import { holds } from "./traces.js";
import { visit } from "./visit.js";

/** All that a request, or its answer, consists of. */
const asked = ({ url, headers, body }) => Buffer.concat([Buffer.from(`${url}\n${headers.join("\n")}\n`), body]);
const answered = ({ answerHeaders, decoded }) => Buffer.concat([Buffer.from(`${answerHeaders.join("\n")}\n`), decoded]);

test("the search finds a secret in every form it is meant to", () => {
  const secret = Buffer.from(curves["P-256"].utils.randomSecretKey());
  const [text, upper] = [secret.toString("hex"), secret.toString("hex").toUpperCase()];
  for (const form of [
    secret,
    Buffer.concat([Buffer.from("key="), secret, Buffer.from("&")]),
    text,
    upper,
    `{"k":"${upper}"}`,
    secret.toString("base64"),
    encodeURIComponent(secret.toString("base64")),
    secret.toString("base64url"),
    ...["", "a", "ab"].map((before) => Buffer.concat([Buffer.from(before), secret, Buffer.from("z")]).toString("base64url")),
    Buffer.from(JSON.stringify({ publicKey: text })).toString("base64url"),
    JSON.stringify([...secret]),
    text.replace(/../g, "%$&"),
  ]) {
    assert.ok(holds(form, secret), String(form));
  }
  const password = Buffer.from("p/+ w:ord");
  for (const form of ["p/+ w:ord", encodeURIComponent("p/+ w:ord"), Buffer.from("id:p/+ w:ord").toString("base64")]) {
    assert.ok(holds(form, password), form);
  }
  assert.ok(!holds(Buffer.from(curves["P-256"].utils.randomSecretKey()), secret));
});

for (const curve of Object.keys(curves)) {
  test(`${curve}: an imported private key is in no request`, async () => {
    const demo = await startDemo();
    const secret = Buffer.from(curves[curve].utils.randomSecretKey());
    try {
      await visit(demo, {}, async ({ page, recorder }) => {
        const key = await page.evaluate(
          async (url, curve, bytes) => {
            const { createSigner } = await import(url);
            const headers = () => ({ Authorization: `Bearer ${globalThis.accessToken}` });
            globalThis.signer = await createSigner({ bridgeUrl: "/api/grid", headers });
            return signer.importKey({ curve, privateKey: new Uint8Array(bytes) });
          },
          `${demo.origin}/gridsigner.js`,
          curve,
          [...secret],
        );
        assert.equal(key.publicKey, hex(curves[curve].getPublicKey(secret)));
        const { sessionId, accountId, accessToken } = await page.evaluate(signInWith, key.publicKey);
        assert.deepEqual(await demo.sessions(), [sessionId]);
        const { listed, revoked } = await page.evaluate(
          async (key, sessionId, accountId, accessToken) => {
            globalThis.accessToken = accessToken;
            const listed = await signer.listSessions(accountId);
            return { listed, revoked: await signer.revokeSession(sessionId, { key }) };
          },
          key,
          sessionId,
          accountId,
          accessToken,
        );
        assert.deepEqual(listed.map(({ id }) => id), [sessionId]);
        assert.deepEqual(revoked, { status: "revoked", sessionId });
        assert.deepEqual(await demo.sessions(), []);

        // That the public key is found, in the sign-in and inside the stamp, shows that the search looks at the right things.
        const publicKey = Buffer.from(key.publicKey, "hex");
        const found = recorder.exchanges.filter((exchange) => holds(asked(exchange), publicKey));
        assert.match(found.map(({ method, path }) => `${method} ${path}`).join(), /^POST \/demo\/login,POST [^,]*\/verify,DELETE [^,]*$/);
        for (const exchange of recorder.exchanges) {
          assert.ok(!holds(asked(exchange), secret), `${exchange.method} ${exchange.url} holds the private key`);
        }
      });
    } finally {
      await demo.kill();
    }
  });
}

test("the client secret is in no answer, no built file and no log", async () => {
  const demo = await startDemo();
  const secret = Buffer.from(demo.clientSecret);
  assert.ok(secret.length >= 16, "long enough to be found by no accident");
  try {
    await visit(demo, { tolerates: /^Failed to load resource/ }, async (guest) => {
      // Good answers of every kind, and refusals of the bridge's, of Grid's and of the site's.
      const phone = await guest.signIn("P-256");
      const laptop = await guest.signIn("secp256k1");
      assert.equal((await guest.revoke(phone)).status, "revoked");
      assert.equal((await guest.revokeById(phone)).status, "inactive");
      const statuses = await guest.page.evaluate(refusals, `/api/grid/auth/sessions/${laptop}`, demo.accountId);
      assert.deepEqual(statuses, [403, 401, 401, 404, 401, 400, 400, 400, 404, 400, 404, 404]);
      const holding = guest.recorder.exchanges.filter((exchange) => holds(answered(exchange), secret));
      assert.deepEqual(holding.map(({ method, url }) => `${method} ${url}`), []);
    });
    assert.match(demo.output(), /method=DELETE/, "there is a log");
    assert.ok(!holds(demo.output(), secret), demo.output());
  } finally {
    await demo.kill();
  }
  const files = (await readdir(dist, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  assert.ok(files.some(({ name }) => name === "signer.wasm.br"));
  for (const { parentPath, name } of files) {
    const content = await readFile(join(parentPath, name));
    const decode = { ".br": brotliDecompressSync, ".gz": gunzipSync }[extname(name)] ?? ((same) => same);
    assert.ok(!holds(decode(content), secret), `${name} holds the client secret`);
  }
});

/** Runs in the page. Asks for what is refused, and returns the statuses. */
async function refusals(session, accountId) {
  const json = { "Content-Type": "application/json" };
  const body = JSON.stringify({ publicKey: "02".repeat(33) });
  const login = await (await fetch("/demo/login", { method: "POST", headers: json, body })).json();
  const app = { "X-Gridsigner": "1" };
  const user = { ...app, Authorization: `Bearer ${login.accessToken}` };
  const signed = { ...user, "Grid-Wallet-Signature": "AAAA", "Request-Id": "Request:019542f5-b3e7-1d02-0000-000000000007" };
  const { "Request-Id": _, ...half } = signed;
  const credential = `/api/grid/auth/credentials/${encodeURIComponent(login.credentialId)}/verify`;
  const stranger = "InternalAccount:019542f5-b3e7-1d02-0000-00000000dead";
  const requests = [
    [session, { method: "DELETE", headers: { Authorization: user.Authorization } }],
    [session, { method: "DELETE", headers: app }],
    [session, { method: "DELETE", headers: { ...app, Authorization: "Bearer none" } }],
    [session.replace(/.{4}$/, "dead"), { method: "DELETE", headers: user }],
    [session, { method: "DELETE", headers: signed }],
    [session, { method: "DELETE", headers: half }],
    ["/api/grid/auth/sessions/x", { method: "DELETE", headers: user }],
    ["/api/grid/auth/sessions", { headers: user }],
    [`/api/grid/auth/sessions?accountId=${stranger}`, { headers: user }],
    [credential, { method: "POST", headers: { ...user, ...json }, body: "{}" }],
    ["/api/grid/customers", { headers: user }],
    [`/nothing?accountId=${accountId}`, {}],
  ];
  const statuses = [];
  for (const [url, init] of requests) statuses.push((await fetch(url, init)).status);
  return statuses;
}
