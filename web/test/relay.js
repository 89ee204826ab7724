// A bridge that says what a test has it say, and keeps what it was asked, byte by byte.

/**
 * `answer(asked)`, which a test may change at any time, promises {status, body?,
 * headers?}; "lost", where the connection breaks before an answer, or "torn", in
 * the middle of one. `asked` lists what came: {method, path, leg, headers, body},
 * and `dropped`, which resolves when the browser gives up waiting. `now` is what
 * it says that the time is.
 */
export function makeRelay(answer, now = Date.now) {
  const relay = { answer, asked: [] };

  /** The requests that carried a signature. */
  relay.signed = () => relay.asked.filter(({ leg }) => leg === 2);

  relay.handler = async (request, response) => {
    const { method, url, headers } = request;
    response.setHeader("Date", new Date(now()).toUTCString());
    if (method === "HEAD") return response.writeHead(404).end();
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // given up by the browser
    }
    const leg = "grid-wallet-signature" in headers ? 2 : 1;
    const dropped = new Promise((resolve) => response.on("close", resolve));
    const asked = { method, path: url.slice("/api/grid".length), leg, headers, body: Buffer.concat(chunks).toString(), dropped };
    relay.asked.push(asked);
    const said = await relay.answer(asked);
    if (said === "lost") return request.socket.destroy();
    const { status, body, headers: more } = said === "torn" ? { status: 200, body: {} } : said;
    response.writeHead(status, { ...(body && { "Content-Type": "application/json" }), ...more, ...(said === "torn" && { "Content-Length": "9" }) });
    if (said === "torn") return response.write("{", () => request.socket.destroy());
    response.end(typeof body === "object" ? JSON.stringify(body) : body);
  };
  return relay;
}

/** RFC 3339, in whole seconds, as Grid writes it. */
export const stamp = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, "Z");

/** What Grid asks to have signed. */
export const activity = (type, parameters, organizationId = "org_sim") =>
  JSON.stringify({ organizationId, parameters, timestampMs: "1775681700000", type: `ACTIVITY_TYPE_${type}` });
