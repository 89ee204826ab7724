// Stands for a CDN: the files of the package, at another origin, for the pages of any (CORS). Your own server comes after it.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const { CDN = "http://localhost:3001" } = process.env;
const packed = new URL("node_modules/gridsigner/dist/", import.meta.url);

const server = createServer(async ({ url }, response) => {
  const content = await readFile(new URL(`.${new URL(url, CDN).pathname}`, packed)).catch(() => undefined);
  if (!content) return response.writeHead(404).end();
  const type = url.endsWith(".wasm") ? "application/wasm" : "text/javascript";
  response.writeHead(200, { "Content-Type": type, "Access-Control-Allow-Origin": "*" }).end(content);
});
server.listen(new URL(CDN).port, "127.0.0.1");
await once(server, "listening");
await import("../server.js");
