// The code of the pages, as it stands, in a page of an app: with the real package, bridge and simulator. What a marker says after
// this file's name is the scenario that its block is run in.
import assert from "node:assert/strict";
import { createECDH } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, extname } from "node:path";
import { after, afterEach, before, test } from "node:test";
import ts from "typescript";
import { browser } from "../test/browser.js";
import { react } from "../test/react.js";
import { readBlocks } from "../test/readme.js";
import { dist, recommended, send, serve, types } from "../test/server.js";
import { parseHeader, verifies } from "../test/verify.js";
import { startDemo } from "./demo.js";

let demo, context, tab;
const [logged, problems] = [[], []];
before(async () => {
  demo = await startDemo("--control");
  context = await browser.createBrowserContext();
  tab = await context.newPage();
  tab.on("console", (message) => {
    const [type, text] = [message.type(), message.text()];
    if (type === "log") logged.push(text);
    if (["error", "warn"].includes(type) && !text.startsWith("Failed to load resource")) problems.push(text); // as a wrong code is refused
  });
  tab.on("pageerror", ({ message }) => problems.push(message));
  await tab.setBypassCSP(true); // of the demo, whose pages have no such scripts
  await tab.goto(`${demo.origin}/build-info.json`);
  await tab.setContent("<!doctype html><title>app</title><main></main>");
  await tab.evaluate(bring, react);
});
afterEach(async () => {
  await tab.evaluate(leave);
  assert.deepEqual(problems.splice(0), []);
  logged.length = 0;
});
after(async () => {
  await context?.close();
  await demo?.kill();
});

/** Runs in the page: who its user is, a signer, and whatever else an app has beside the package, all of it global. */
async function bring(react) {
  const moduleOf = (source) => URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const ofReact = moduleOf(react);
  const imports = { gridsigner: "/gridsigner.js", "gridsigner/react": "/react.js", react: ofReact, "react/jsx-runtime": ofReact };
  document.head.append(Object.assign(document.createElement("script"), { type: "importmap", textContent: JSON.stringify({ imports }) }));

  const ask = async (url, body) => {
    const init = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    return (await fetch(url, init)).json();
  };
  const login = (body) => ask("/demo/login", body);
  const { accountId, accessToken: token } = await login({});
  const headers = { Authorization: `Bearer ${token}` };
  const { otpSigners, exportSigners } = await ask("/demo/config");
  const { createPasskey, createSigner } = await import("gridsigner");
  const signer = await createSigner({ bridgeUrl: "/api/grid", headers, otpSigners, exportSigners });
  const signIn = async (signer) => {
    const made = await signer.createKey();
    const { credentialId, oidcToken } = await login({ nonce: await signer.oauthNonce(made) });
    return (globalThis.key = await signer.signIn({ credentialId, oidcToken, key: made }));
  };
  const askForTheCode = async (to) => (await ask("/demo/inbox")).data.findLast((mail) => mail.to === to).code;
  const run = async (source) => (globalThis.ran = await import(moduleOf(source)));
  const told = [];
  const tell = (...what) => void told.push(what);
  Object.assign(globalThis, { accessToken: () => token, appToken: async () => token });
  Object.assign(globalThis, { accountId, askForTheCode, createPasskey, headers, login, otpSigners, run, signer, signIn, tell, told });
}

/** Runs in the page: nobody is signed in then, and nothing of the block goes on. */
async function leave() {
  globalThis.ran?.signer?.close();
  globalThis.root?.unmount();
  globalThis.root = globalThis.ran = undefined;
  const key = await signer.session();
  if (key) await signer.signOut(key, { scope: "all" });
  told.length = 0;
}

/** Runs a block, and returns what it has made. */
const run = (code, ...names) => tab.evaluate(async (source) => ({ ...(await globalThis.run(source)) }), `${code}\nexport { ${names} };`);

/** Makes these global in the page. */
const give = (values) => tab.evaluate((values) => void Object.assign(globalThis, values), values);

const signIn = () => tab.evaluate(() => signIn(signer));

/** Signs in on another device, whose key is nobody's here. */
const signInElsewhere = () => demo.signIn(createECDH("prime256v1").generateKeys("hex", "compressed"));

/** The credential of a type, by the simulator's word. */
const way = async (type) => (await demo.ways()).find((way) => way.type === type).id;

/** The session's type, and that it is the only one. */
async function only(key) {
  assert.deepEqual(await demo.sessions(), [key.session.id]);
  return tab.evaluate(async () => (await signer.listSessions(accountId))[0].type);
}

/** For as long as it takes, there is an authenticator whose owner says yes. */
async function withPasskeys(act) {
  const devtools = await tab.createCDPSession();
  await devtools.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true };
  const made = await devtools.send("WebAuthn.addVirtualAuthenticator", { options });
  try {
    await act();
  } finally {
    await devtools.send("WebAuthn.removeVirtualAuthenticator", made);
    await devtools.detach();
  }
}

const scenarios = {
  async "README.md"(code) {
    const enter = async (dialog) => {
      const { code, to } = (await demo.inbox()).at(-1);
      assert.ok(dialog.message().includes(to), dialog.message());
      await dialog.accept(` ${code.slice(0, 3)} ${code.slice(3)}`);
    };
    tab.once("dialog", enter);
    const { status } = await run(code, "signer", "status");
    assert.equal(status, "revoked");
    assert.equal(logged.length, 1, logged.join());
    assert.match(logged[0], /^ada@example\.com \d{4}-/);
    assert.deepEqual(await demo.sessions(), []);
  },

  async "from nobody signed in to nobody signed in"(code) {
    const otherId = await signInElsewhere();
    await give({ otherId, credentialId: await way("EMAIL_OTP") });
    // The simulator has no wallet: of one that it issues, this is a challenge with another activity in it.
    const challenge = await tab.evaluate(async () => {
      const options = { method: "DELETE", headers: { ...headers, "X-Gridsigner": "1" } };
      const issued = await (await fetch(`/api/grid/auth/sessions/${encodeURIComponent(otherId)}`, options)).json();
      const parameters = { encoding: "PAYLOAD_ENCODING_HEXADECIMAL", hashFunction: "HASH_FUNCTION_NO_OP", payload: "00", signWith: "wallet" };
      const activity = { ...JSON.parse(issued.payloadToSign), type: "ACTIVITY_TYPE_SIGN_RAW_PAYLOAD_V2", parameters };
      globalThis.showSignedOut = tell;
      return (globalThis.challenge = { ...issued, payloadToSign: JSON.stringify(activity) });
    });
    const { headers, key, status } = await run(code, "headers", "key", "signer", "status");
    assert.deepEqual(logged.map((line) => line.split(" ")[0]), [otherId, key.session.id]);
    const { curve, publicKey, der } = parseHeader(headers["Grid-Wallet-Signature"], "stamp");
    assert.equal(publicKey, key.publicKey);
    assert.ok(verifies(curve, publicKey, der, challenge.payloadToSign));
    assert.equal(headers["Request-Id"], challenge.requestId);
    assert.equal(status, "revoked");
    assert.deepEqual(await demo.sessions(), []);
    await tab.waitForFunction(() => JSON.stringify(told) === '[[],["signed-out"]]');
  },

  async "by a code"(code) {
    await give({ credentialId: await way("EMAIL_OTP") });
    await tab.evaluate(() => {
      const read = askForTheCode;
      globalThis.askForTheCode = async (to) => {
        globalThis.askForTheCode = read;
        tell("mistyped");
        return (await read(to)).replace(/.$/, (digit) => (Number(digit) + 5) % 10);
      };
    });
    const { key } = await run(code, "key");
    assert.deepEqual(await tab.evaluate(() => told), [["mistyped"]]);
    assert.equal(await only(key), "EMAIL_OTP");
  },

  "by a passkey": (code) => withPasskeys(async () => {
    await tab.evaluate(async () => {
      const key = await signIn(signer);
      const added = await signer.addCredential(await createPasskey({ nickname: "Laptop", userName: "ada@example.com" }), { key });
      globalThis.credentialId = added.id;
      await signer.signOut(key);
    });
    const { key } = await run(code, "key");
    assert.equal(await only(key), "PASSKEY");
  }),

  async "by OpenID Connect"(code) {
    await give({ credentialId: demo.credentialId });
    await tab.evaluate(() => {
      globalThis.askTheProvider = async ({ nonce }) => (await login({ nonce })).oidcToken;
    });
    const { key, made } = await run(code, "key", "made");
    assert.equal(key.id, made.id);
    assert.equal(await only(key), "OAUTH");
  },

  async "signed in on three devices"(code) {
    await signIn();
    const elsewhere = [await signInElsewhere(), await signInElsewhere()];
    const { others, status } = await run(code, "others", "status");
    assert.deepEqual(others, elsewhere.map((sessionId) => ({ sessionId, status: "revoked" })));
    assert.equal(status, "revoked");
    assert.deepEqual(await demo.sessions(), []);
  },

  "signed in by one way": (code) => withPasskeys(async () => {
    await signIn();
    await tab.evaluate(async () => {
      for (const { id, type } of await signer.listCredentials(accountId)) {
        if (type !== "OAUTH") await signer.removeCredential(id, { key, type });
      }
    });
    await give({ oidcToken: tokenOf("work@example.com") });
    const { added, status, ways } = await run(code, "added", "status", "ways");
    assert.deepEqual([ways.map(({ type }) => type), added.nickname, status], [["OAUTH"], "work@example.com", "removed"]);
    assert.deepEqual((await demo.ways()).map(({ nickname, type }) => [type, nickname]), [
      ["OAUTH", "ada@example.com"],
      ["EMAIL_OTP", "ada@example.com"],
      ["PASSKEY", "Laptop"],
    ]);
  }),

  async "signed in"(code) {
    await signIn();
    const { phrase } = await run(code, "phrase");
    assert.match(phrase, /^([a-z]+ ){11}[a-z]+$/);
  },

  async "in React's page"(code) {
    const { outputText } = ts.transpileModule(code, { compilerOptions: { jsx: ts.JsxEmit.ReactJSX, target: ts.ScriptTarget.ES2022 } });
    await tab.evaluate(async () => {
      const { createElement } = await import("react");
      const shows = (name, ...more) => (props) => {
        if (told.at(-1)?.[0] !== name) tell(name, ...more.map((key) => props[key]));
        return createElement("button", { id: name, onClick: props.onSignOut ?? (() => signIn(props.signer)) }, name);
      };
      Object.assign(globalThis, { Spinner: shows("Spinner"), Failed: shows("Failed", "code") });
      Object.assign(globalThis, { SignIn: shows("SignIn"), Wallet: shows("Wallet", "until") });
    });
    const workers = tab.workers().length;
    const mount = async () => {
      await run(outputText, "App");
      await tab.evaluate(async () => {
        const { createElement, createRoot, StrictMode } = await import("react");
        globalThis.root?.unmount();
        globalThis.root = createRoot(document.querySelector("main"));
        root.render(createElement(StrictMode, null, createElement(ran.App)));
      });
    };
    await mount();
    await (await tab.waitForSelector("#SignIn")).click();
    const wallet = await tab.waitForSelector("#Wallet");
    const { id, expiresAt } = await tab.evaluate(async () => (await signer.session()).session);
    assert.deepEqual(await demo.sessions(), [id]);
    await wallet.click();
    await tab.waitForSelector("#SignIn");
    assert.deepEqual(await tab.evaluate(() => told), [["Spinner"], ["SignIn"], ["Wallet", expiresAt], ["SignIn"]]);
    assert.equal(tab.workers().length, workers + 1, "one signer was made");
    await tab.waitForFunction(async () => (await signer.listSessions(accountId)).length === 0); // what is shown comes before

    await tab.evaluate(() => {
      const { Worker } = globalThis;
      globalThis.Worker = function () {
        globalThis.Worker = Worker;
        throw new Error("no workers here");
      };
    });
    await mount();
    await tab.waitForSelector("#Failed");
    assert.deepEqual(await tab.evaluate(() => told.at(-1)), ["Failed", "LOAD_FAILED"]);
  },

  // The last one at the simulator: some seconds later it ends the session that was refreshed.
  async "when a session is soon over"(code) {
    const key = await signIn();
    await tab.evaluate(() => Object.assign(globalThis, { report: tell, showTimeLeft: tell }));
    await run(code);
    await tab.evaluate(soonOver, key.id);
    await tab.evaluate(() => signer.keys()); // which looks at the time
    await tab.waitForFunction(() => told.length > 0);
    const [now] = await tab.evaluate(() => signer.keys());
    assert.equal(now.id, key.id);
    assert.notEqual(now.session.id, key.session.id);
    assert.ok((await demo.sessions()).includes(now.session.id));
    assert.deepEqual(await tab.evaluate(() => told), [[now.session.expiresAt]]);
  },

  async "in a page's head"(lines) {
    const early = new Set(["worker.js", "signer.wasm"]);
    let begin;
    const begun = new Promise((resolve) => (begin = resolve));
    const html = `<!doctype html><title>app</title>${lines}<script type="module" src="/app.js"></script>`;
    const server = serve({
      "/app": (_, response) => send(response, html, "text/html", recommended.page),
      "/app.js": (_, response) => send(response, app, "text/javascript"),
      async "/gridsigner/"({ url }, response) {
        const name = basename(url);
        if (early.delete(name) && early.size === 0) begin();
        if (name === "gridsigner.js") await begun; // nobody else would ask for these two before it is there
        response.setHeader("Cache-Control", "max-age=31536000, immutable");
        response.setHeader("Content-Security-Policy", recommended.worker);
        response.setHeader("Content-Type", types[extname(name)]);
        response.end(await readFile(new URL(name, dist)));
      },
    });
    const page = await context.newPage();
    try {
      await page.goto(`${await server.listen()}/app`);
      await page.waitForFunction(() => globalThis.key);
      const loaded = server.requests.filter(({ path }) => path.startsWith("/gridsigner/")).map(({ path }) => basename(path));
      assert.deepEqual(loaded.sort(), ["gridsigner.js", "runtime.js", "signer.wasm", "worker.js"], "each once");
    } finally {
      await page.close();
      server.close();
    }
  },
};

/** An app that has needed each of the files when it says so. */
const app = `
  import { createSigner } from "/gridsigner/gridsigner.js";
  const signer = await createSigner({ bridgeUrl: "/api/grid" });
  globalThis.key = await signer.createKey({ curve: "secp256k1" }); // which takes the module
`;

/** A token of the provider's for somebody. Like Grid's sandbox, the simulator does not look at who signed it. */
function tokenOf(person) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { ...demo.oidc, sub: person, email: person, iat: now, exp: now + 300 };
  return [{ alg: "none", typ: "JWT" }, claims, ""].map((part) => part && Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
}

/** Runs in the page: by what is stored it is time to refresh the key's session, which by itself it would be in 13 minutes. */
async function soonOver(id) {
  const settled = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: reject }));
  const database = await settled(indexedDB.open("gridsigner"));
  const store = database.transaction("keys", "readwrite").objectStore("keys");
  const record = await settled(store.get(id));
  await settled(store.put({ ...record, dueAt: Date.now() }));
  database.close();
}

const blocks = readBlocks();
test("every block has its scenario", () => assert.deepEqual(Object.keys(blocks).sort(), Object.keys(scenarios).sort()));
for (const [name, act] of Object.entries(scenarios)) test(name, () => act(blocks[name].code));
