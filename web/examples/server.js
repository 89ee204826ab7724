// Stands for your own server, to try an example: the files of a directory, and beside them, at the same origin, the bridge and
// the app's login, which are those of "gridbridge demo".
//
//     node server.js dist
//
// PORT is where it listens, 3000 unless set; BRIDGE is where the demo does.
import { readFile } from "node:fs/promises";
import { createServer, request as ask } from "node:http";
import { extname, join } from "node:path";
import { pipeline } from "node:stream";

const [directory] = process.argv.slice(2);
const { PORT = "3000", BRIDGE = "http://127.0.0.1:8787" } = process.env;
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Hands a request to the bridge with all of its headers: by Host and Origin it knows a page of its own origin. */
function forward(request, response) {
  const { method, url: path, headers } = request;
  const onward = ask(new URL(BRIDGE), { method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    pipeline(answer, response, () => {});
  });
  onward.on("error", () => response.headersSent || response.writeHead(502).end(`no bridge at ${BRIDGE}: gridbridge demo runs one\n`));
  pipeline(request, onward, () => {});
}

/** Sends a file. The path of a URL has no ".." that would lead out of the directory. */
async function send(path, response) {
  const name = path.endsWith("/") ? `${path}index.html` : path;
  const content = await readFile(join(directory, name)).catch(() => undefined);
  if (!content) return response.writeHead(404).end("not found\n");
  response.writeHead(200, { "Content-Type": types[extname(name)] ?? "application/octet-stream", "X-Content-Type-Options": "nosniff" });
  response.end(content);
}

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  return /^\/(api\/grid|demo)\//.test(pathname) ? forward(request, response) : send(pathname, response);
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`http://localhost:${server.address().port}`));
