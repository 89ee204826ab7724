// The candidates. Each is one page, the same but for its library and the few lines that an app would write with it: it makes a
// key and signs. And the server of them all.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { brotliCompressSync } from "node:zlib";

/** Of our page, in its head: what web/README recommends, relative to the page. */
const preload = `<link rel="modulepreload" href="./worker.js">`;

const ours = (name, curve) => ({
  name,
  preload,
  files: ["gridsigner.js", "worker.js", "runtime.js", "signer.wasm"],
  imports: `import { createSigner } from "./gridsigner.js";`,
  ready: `const signer = await createSigner({ bridgeUrl: "/api/grid" });`,
  // As apps do: they look for a key before they make one.
  sign: `
    const [key = await signer.createKey({ curve: "${curve}" })] = await signer.keys();
    const challenge = { payloadToSign: payload, requestId: "Request:019542f5-b3e7-1d02-0000-000000000007", expiresAt: new Date(Date.now() + 3600_000).toISOString() };
    const [publicKey, sign] = [key.publicKey, () => signer.signChallenge(challenge, { key })];`,
  keepsKey: true,
});

/** In the order of the table's columns. `ready` ends when a key can be made, `sign` defines publicKey and sign. */
export const candidates = [
  ours("ours, P-256", "P-256"),
  { ...ours("ours, secp256k1", "secp256k1"), again: true }, // the same files
  {
    name: "api-key-stamper",
    bundle: `export { ApiKeyStamper } from "@turnkey/api-key-stamper";`,
    imports: `import { ApiKeyStamper } from "./library.js";`,
    ready: "",
    // It takes keys and makes none. WebCrypto is the fastest that can: @turnkey/crypto's own generator is JavaScript, and 12 kB more.
    sign: `
      const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
      const { x, y, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
      const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
      const hex = (text) => Array.from(bytes(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
      const publicKey = (bytes(y)[31] & 1 ? "03" : "02") + hex(x);
      const stamper = new ApiKeyStamper({ apiPublicKey: publicKey, apiPrivateKey: hex(d) });
      const sign = () => stamper.stamp(payload);`,
    keepsKey: false, // an app would have to store the private half where script can read it
  },
  {
    name: "indexed-db-stamper",
    bundle: `export { IndexedDbStamper } from "@turnkey/indexed-db-stamper";`,
    imports: `import { IndexedDbStamper } from "./library.js";`,
    ready: `const stamper = new IndexedDbStamper();`,
    sign: `
      await stamper.init(); // finds its key, or makes one
      const [publicKey, sign] = [stamper.getPublicKey(), () => stamper.stamp(payload)];`,
    keepsKey: true,
  },
  {
    name: "noble",
    bundle: `export { p256 } from "@noble/curves/nist.js";`,
    imports: `import { p256 } from "./library.js";`,
    ready: "",
    sign: `
      const pair = p256.keygen();
      const [publicKey, message] = [String(pair.publicKey), new TextEncoder().encode(payload)];
      const sign = async () => p256.sign(message, pair.secretKey);`, // hashes with SHA-256
    keepsKey: false,
  },
];

const payload = JSON.stringify({
  organizationId: "org",
  parameters: { apiKeyIds: ["api_key"], userId: "user" },
  timestampMs: "1775681700000",
  type: "ACTIVITY_TYPE_DELETE_API_KEYS",
});

/** Times are since the navigation began. The mark is where the page's own work begins: what is before is the browser's. */
const html = ({ preload = "", imports, ready, sign }) => `<!doctype html>
<title>bench</title><link rel="icon" href="data:,">${preload}
<script>performance.mark("begin")</script>
<script type="module">
  ${imports}
  const payload = ${JSON.stringify(payload)};
  async function measure() {
    ${ready}
    const ready = performance.now();
    ${sign}
    await sign();
    performance.mark("signed");
    return { ready, signed: performance.now(), publicKey, sign };
  }
  globalThis.measured = measure();
</script>`;

/** What an app's bundler makes of it: minified, in one file. The branches for Node and for old browsers are left out, as they are not loaded. */
function bundle(source) {
  const flags = ["--bundle", "--minify", "--format=esm", "--external:./purejs.mjs", "--external:./nodecrypto.mjs"];
  return execFileSync("go", ["run", "github.com/evanw/esbuild/cmd/esbuild", ...flags], { cwd: import.meta.dirname, input: source });
}

const types = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** A file as it goes over the wire. The libraries are such that an app's bundler has put a hash into their names. */
function packed(path, content, compressed) {
  const etag = `"${createHash("sha256").update(content).digest("hex")}"`;
  const headers = { "Content-Type": types[extname(path)], "Content-Encoding": "br", "Cache-Control": path.endsWith(".html") ? "no-cache" : "max-age=31536000, immutable", ETag: etag };
  return { path, headers: { ...headers, "Content-Length": compressed.length }, body: compressed, decoded: content.length };
}

/** Serves each candidate's page at /<its place>/. `sent` lists the bodies that went out, but for the pages. */
export async function servePages(dist) {
  const pack = (path, content) => packed(path, content, brotliCompressSync(content));
  const site = new Map();
  for (const [i, candidate] of candidates.entries()) {
    const files = candidate.bundle
      ? [pack(`/${i}/library.js`, bundle(candidate.bundle))]
      : candidate.files.map((name) => packed(`/${i}/${name}`, readFileSync(join(dist, name)), readFileSync(join(dist, `${name}.br`))));
    for (const file of [pack(`/${i}/index.html`, Buffer.from(html(candidate))), ...files]) site.set(file.path, file);
  }
  const sent = [];
  const server = createServer((request, response) => {
    const file = site.get(request.url.replace(/\/$/, "/index.html"));
    if (!file) return response.writeHead(404).end();
    if (request.headers["if-none-match"] === file.headers.ETag) return response.writeHead(304, file.headers).end();
    if (!file.path.endsWith(".html")) sent.push(file);
    response.writeHead(200, file.headers).end(file.body);
  });
  server.keepAliveTimeout = 0; // none is to be closed under a visit
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: server.address().port, sent, close };
}
