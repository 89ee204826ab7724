// Serves web/dist as a careful wallet would, and whatever else a test asks for.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createServer as createListener } from "node:net";
import { extname } from "node:path";

export const dist = new URL("../dist/", import.meta.url);

/** The policies that web/README.md recommends: of the page, what it may have in addition, and that of worker.js. */
export const recommended = readPolicies(await readFile(new URL("../README.md", import.meta.url), "utf8"));

// On the first page nothing may compile WebAssembly: the module must really run in the worker.
const withIcon = `${recommended.page}; img-src data:`;
const pages = { "/": withIcon, "/lax": withIcon.replace("script-src 'self'", "$& 'wasm-unsafe-eval'") };
/** Of a page whose site tries a tighter policy, and is only told of what it would block. */
const trial = { "/trial": "default-src 'none'; report-uri /reports" };
/** By extension. */
export const types = { ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

const witness = await readFile(new URL("witness.js", import.meta.url), "utf8");
const [worker, runtime] = await Promise.all(["worker.js", "runtime.js"].map((name) => readFile(new URL(name, dist), "utf8")));

/**
 * Makes a server, which listens where it is asked to. `routes` maps paths to
 * handlers, which come before the files; `requests` lists what was asked for.
 */
export function serve(routes = {}) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    requests.push({ method: request.method, path, url: request.url, headers: request.headers });
    const route = Object.keys(routes).find((prefix) => path === prefix || (prefix.endsWith("/") && path.startsWith(prefix)));
    if (route) return routes[route](request, response);
    if (path in pages) return html(response, pages[path]);
    if (path in trial) return html(response, pages["/"], trial[path]);
    if (path === "/worker.js") return sendWorker(response);
    try {
      const file = path === "/page.js" ? new URL("page.js", import.meta.url) : new URL(`.${path}`, dist);
      send(response, await readFile(file), types[extname(path)]);
    } catch {
      response.writeHead(404).end("not found");
    }
  });
  const listeners = [];
  return {
    requests,
    /** Serves on another free port, and says at which origin. */
    async listen() {
      const listener = createListener((connection) => server.emit("connection", connection));
      listeners.push(listener);
      await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
      return `http://127.0.0.1:${listener.address().port}`;
    },
    close() {
      server.closeAllConnections();
      for (const listener of listeners) listener.close();
    },
  };
}

/** Sends what starts the module, with script of a test after it, which finds the Go class. */
export function sendRuntime(response, after = "") {
  send(response, [runtime, after].join("\n"), "text/javascript");
}

/** Sends our worker, with script of a test before and after it. */
export function sendWorker(response, { before = "", after = "", policy = recommended.worker } = {}) {
  send(response, [witness, before, worker, after].join("\n"), "text/javascript", policy);
}

export function send(response, body, type, policy = recommended.worker) {
  response.writeHead(200, {
    "Content-Type": type,
    "Content-Security-Policy": policy,
    "Cache-Control": "no-store", // the next test may have other content there
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

export function json(response, status, body, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

function readPolicies(readme) {
  const header = "Content-Security-Policy: (.+)";
  const [, page, more, worker] = new RegExp(`^page: +${header}\n +optionally also: (.+)\nworker.js: +${header}$`, "m").exec(readme);
  return { page, more, worker };
}

function html(response, policy, reportOnly) {
  response.writeHead(200, {
    "Content-Type": "text/html",
    "Content-Security-Policy": policy,
    "Cache-Control": "no-store",
    ...(reportOnly && { "Content-Security-Policy-Report-Only": reportOnly }),
  });
  response.end(`<!doctype html><title>test</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`);
}
