// A bridge with sessions and a clock of its own, as far as these tests need one.
import { randomUUID } from "node:crypto";
import { json } from "./server.js";

export const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";

/** What Grid has signed to end a session. */
export const revocation = (organizationId = "org_sim") =>
  `{"organizationId":"${organizationId}","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`;

/** RFC 3339, in whole seconds, as Grid writes it. */
const stamp = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, "Z");

/** Grid's error envelope. */
export const refuse = (response, status, code) => json(response, status, { status, code, message: "as the test has it" });

/**
 * Settings that a test may change at any time: `skewMs`, how far the server's
 * clock is ahead of this machine's; `date`, what it says that the time is: the
 * truth, nothing (false), or another (ms); `down`, whether every connection
 * breaks; `silent`, whether nothing is answered; `payload`, what is to be signed;
 * `refusals`, by session, or of "sessions": [status, code]; `onRequest(asked)`, called before each
 * answer. `asked` lists what came: {method, leg, id, headers}.
 */
export function makeBridge() {
  const sessions = new Map();
  const challenges = new Map();
  const bridge = {
    skewMs: 0,
    date: true,
    down: false,
    silent: false,
    payload: revocation(),
    refusals: new Map(),
    onRequest: async () => {},
    sessions,
    asked: [],
  };
  const now = () => Date.now() + bridge.skewMs;

  /** A new session, as Grid issues it. */
  bridge.signIn = (ttlMs = 900_000) => {
    const session = {
      id: `Session:${randomUUID()}`,
      accountId: account,
      type: "OAUTH",
      nickname: "Phone",
      createdAt: stamp(now()),
      updatedAt: stamp(now()),
      expiresAt: stamp(now() + ttlMs),
    };
    sessions.set(session.id, session);
    return session;
  };

  /** The requests to end a session, of one leg or of both. */
  bridge.legs = (session, leg) => bridge.asked.filter((asked) => asked.id === session.id && asked.leg === (leg ?? asked.leg));

  bridge.handler = async (request, response) => {
    const { method, headers } = request;
    const { pathname } = new URL(request.url, "http://localhost");
    // Of a list that is "sessions". Hex digits may come in either case.
    const id = decodeURIComponent(pathname.split("/").pop()).replace(/[\dA-F-]+$/, (hex) => hex.toLowerCase());
    const asked = { method, id, headers, leg: headers["grid-wallet-signature"] ? 2 : 1 };
    bridge.asked.push(asked);
    await bridge.onRequest(asked);
    if (bridge.silent) return;
    if (bridge.down) return request.socket.destroy();
    if (bridge.date) response.setHeader("Date", new Date(bridge.date === true ? now() : bridge.date).toUTCString());
    else response.sendDate = false;
    if (bridge.refusals.has(id)) return refuse(response, ...bridge.refusals.get(id));
    if (method === "GET") return json(response, 200, { data: [...sessions.values()] });
    if (method !== "DELETE") return response.writeHead(405).end();
    if (!sessions.has(id)) return refuse(response, 404, "NOT_FOUND");
    if (asked.leg === 1) {
      const requestId = `Request:${randomUUID()}`;
      challenges.set(requestId, id);
      return json(response, 202, { payloadToSign: bridge.payload, requestId, expiresAt: stamp(now() + 300_000), type: "OAUTH" });
    }
    if (challenges.get(headers["request-id"]) !== id) return refuse(response, 401, "UNAUTHORIZED");
    challenges.delete(headers["request-id"]);
    sessions.delete(id);
    response.writeHead(204).end();
  };
  return bridge;
}
