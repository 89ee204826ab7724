// The real signer, with the real bridge and simulator behind it, and the list of behaviours that unit/contract.test.js holds
// the test signer to. Each finds a demo in which nothing has happened, and of which nobody has asked too much: another is
// started meanwhile.
import assert from "node:assert/strict";
import { request as forward } from "node:http";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { startDemo } from "../e2e/demo.js";
import { open } from "./browser.js";
import { behaviours } from "./contract.js";
import { json, send, serve } from "./server.js";

const list = await readFile(new URL("contract.js", import.meta.url), "utf8");

let server, demo, next, page;
let [isOffline, isUsed] = [false, false];

/** What the page asks of the demo, which takes only pages of its own. */
function pass(request, response) {
  if (isOffline) return request.socket.destroy();
  const { method, url, headers } = request;
  isUsed ||= method === "POST" && url.startsWith("/api/grid/");
  const named = Object.entries(headers).filter(([name]) => /^(authorization|content-type|x-gridsigner|grid-wallet-signature|request-id)$/.test(name));
  const asked = forward(demo.origin + url, { method, headers: Object.fromEntries(named), agent: false }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  asked.on("error", () => request.socket.destroy());
  request.pipe(asked);
}

before(() => {
  server = serve({
    "/api/grid/": pass,
    "/demo/": pass,
    "/contract.js": (_, response) => send(response, list, "text/javascript"),
    "/world/code": async (_, response) => json(response, 200, (await demo.inbox()).at(-1).code),
    "/world/sessions": async (_, response) => json(response, 200, await demo.sessions()),
    "/world/offline": (_, response) => json(response, 200, (isOffline = true)),
    "/world/online": (_, response) => json(response, 200, (isOffline = false)),
  });
});
after(() => server?.close());
before(async () => {
  [demo, page] = await Promise.all([startDemo("--control"), open(server)]);
  next = startDemo("--control");
});
after(async () => {
  await page?.close();
  await demo?.kill();
  await (await next)?.kill();
});

/** As it was. Who has signed in has sent something before that. */
async function restore() {
  isOffline = false;
  if (!isUsed) return;
  await demo.kill();
  demo = await next;
  next = startDemo("--control");
  isUsed = false;
}

/** In the page. */
async function run(name, { accountId, credentialId, emailCredentialId, otpSigner, exportSigner }) {
  const ask = async (what) => (await fetch(`/world/${what}`)).json();
  const login = async (body) => {
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    return (await fetch("/demo/login", init)).json();
  };
  const { accessToken } = await login({});
  let count = 0;
  const another = () =>
    createSigner({
      bridgeUrl: "/api/grid",
      headers: { Authorization: `Bearer ${accessToken}`, "X-Gridsigner": "1" },
      persistence: "memory", // as the other one's
      namespace: `device-${count++}`,
      otpSigners: [otpSigner],
      exportSigners: [exportSigner],
    });
  const signer = await another();
  const ways = { EMAIL_OTP: emailCredentialId, OAUTH: credentialId };
  const token = async (nonce) => (await login(nonce ? { nonce } : {})).oidcToken;
  const world = {
    signer,
    accountId,
    ways,
    another,
    token,
    code: () => ask("code"),
    sessions: () => ask("sessions"),
    async endAtGrid(id) {
      const device = await another();
      const made = await device.createKey();
      const key = await device.signIn({ credentialId, oidcToken: await token(await device.oauthNonce(made)), key: made });
      await device.revokeSession(id, { key });
      await device.signOut(key);
      device.close();
    },
    offline: (isOffline) => ask(isOffline ? "offline" : "online"),
    pass: (ms) => new Promise((over) => setTimeout(over, ms)),
    async until(what, atMostMs) {
      const end = performance.now() + atMostMs;
      while (!what() && performance.now() < end) await new Promise(requestAnimationFrame);
      if (!what()) throw new Error("it never came to that");
    },
    later: (ms) => new Date(Date.now() + ms).toISOString(),
  };
  const { behaviours } = await import("/contract.js");
  const got = await behaviours[name].run(world);
  signer.close();
  return JSON.stringify(got, (_, value) => (value === undefined ? null : value));
}

/** As JSON has it: what is undefined has no place of its own in an array. */
const plain = (value) => JSON.parse(JSON.stringify(value, (_, part) => (part === undefined ? null : part)));

/** What the real signer does the other files show each time; that the list says the same of it, a third of the list, and for a release all. */
const held = Object.entries(behaviours).filter((_, i) => process.env.SOAK || i % 3 === 0);

for (const [name, { gives }] of held) {
  test(name, async () => {
    try {
      assert.deepEqual(JSON.parse(await page.evaluate(run, name, demo)), plain(gives));
    } finally {
      await restore();
    }
  });
}
