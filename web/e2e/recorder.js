// A forward proxy that keeps every byte of what a browser asks for and is
// answered, its workers included. Pages keep their own origins. A test can hold
// an exchange up, change its answer or break it off.
import { createServer, request as forward } from "node:http";
import { buffer } from "node:stream/consumers";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

const decoders = { br: brotliDecompressSync, gzip: gunzipSync };

/** A request and, once it is there, its answer. */
export class Exchange {
  status = 0;
  answerHeaders = []; // names and values in turn, as received
  answerBody = Buffer.alloc(0);
  #socket;

  constructor(request, body) {
    this.method = request.method;
    this.url = request.url;
    this.headers = request.rawHeaders; // names and values in turn, as sent
    this.body = body;
    this.#socket = request.socket;
  }

  get path() {
    return decodeURIComponent(new URL(this.url).pathname);
  }

  /** Every value that the request has of a header. */
  all(name) {
    return valuesOf(this.headers, name);
  }

  get json() {
    return JSON.parse(this.answerBody);
  }

  /** The answer's body as the page sees it. */
  get decoded() {
    const [encoding] = valuesOf(this.answerHeaders, "content-encoding");
    return this.answerBody.length > 0 && encoding ? decoders[encoding](this.answerBody) : this.answerBody;
  }

  /** Takes a header out of the answer. */
  strip(name) {
    this.answerHeaders = without(this.answerHeaders, name);
  }

  /** Puts script before the script that is the answer. */
  prepend(script) {
    this.answerBody = Buffer.concat([Buffer.from(script), this.decoded]);
    this.strip("content-encoding");
    this.strip("etag"); // it is another script now
  }

  /** Gives the browser no answer, or none any more. */
  drop() {
    this.#socket.destroy();
  }
}

function valuesOf(headers, name) {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1].toLowerCase() === name.toLowerCase());
}

function without(headers, ...names) {
  return headers.filter((_, i) => !names.includes(headers[i - (i % 2)].toLowerCase()));
}

/**
 * Starts a recorder. `onRequest` and `onAnswer` may be set to functions that
 * are awaited before an exchange goes on to the server, and back to the browser.
 * Where one throws, the exchange ends there and the browser gets no answer.
 * `prelude` is put before the script of each worker.
 */
export async function record() {
  const recorder = { exchanges: [], onRequest: undefined, onAnswer: undefined, prelude: "" };

  async function relay(request, response) {
    const exchange = new Exchange(request, await buffer(request));
    recorder.exchanges.push(exchange);
    await recorder.onRequest?.(exchange);
    const answer = await send(exchange);
    exchange.answerBody = await buffer(answer);
    exchange.answerHeaders = answer.rawHeaders;
    exchange.status = answer.statusCode;
    if (recorder.prelude && exchange.path === "/worker.js") exchange.prepend(recorder.prelude);
    await recorder.onAnswer?.(exchange);
    const headers = without(exchange.answerHeaders, "connection", "transfer-encoding", "content-length");
    // A connection for each request: Chromium itself repeats a request, a signed one too, that was lost on a reused one.
    headers.push("Connection", "close");
    // Where there is no body, a length of 0 would be the recorder's own addition.
    if (exchange.answerBody.length > 0) headers.push("Content-Length", String(exchange.answerBody.length));
    response.writeHead(exchange.status, headers).end(exchange.answerBody);
  }

  const server = createServer((request, response) => {
    relay(request, response).catch(() => request.socket.destroy()); // the server or the browser has gone away
  });
  // TLS cannot be read, but that it was wanted is recorded.
  server.on("connect", (request, socket) => {
    recorder.exchanges.push(new Exchange(request, Buffer.alloc(0)));
    socket.destroy();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

  return Object.assign(recorder, {
    address: `127.0.0.1:${server.address().port}`,

    /** The requests that end a session, in order. */
    revocations: (sessionId) =>
      recorder.exchanges.filter(({ method, path }) => method === "DELETE" && path === `/api/grid/auth/sessions/${sessionId}`),

    close() {
      server.closeAllConnections();
      server.close();
    },
  });
}

function send({ method, url, headers, body }) {
  return new Promise((resolve, reject) => {
    // An array of headers goes out as it is, names and repetitions included.
    const sent = [...without(headers, "proxy-connection", "connection"), "Connection", "close"];
    forward(url, { method, headers: sent, agent: false }, resolve).on("error", reject).end(body);
  });
}
