// A bridge with sessions and a clock of its own, as far as these tests need one.
import { randomUUID } from "node:crypto";
import { json } from "./server.js";

export const account = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001";
const payloadToSign =
  '{"organizationId":"org_sim","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}';

/** RFC 3339, in whole seconds, as Grid writes it. */
const stamp = (ms) => new Date(ms).toISOString().replace(/\.\d+Z/, "Z");

/**
 * Settings that a test may change at any time: `skewMs`, how far the server's
 * clock is ahead of this machine's; `date`, whether it tells; `down`, whether
 * every connection breaks; `onRequest(leg)`, called before each answer.
 */
export function makeBridge() {
  const sessions = new Map();
  const challenges = new Map();
  const bridge = { skewMs: 0, date: true, down: false, onRequest: async () => {}, sessions };
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

  bridge.handler = async (request, response) => {
    if (bridge.date) response.setHeader("Date", new Date(now()).toUTCString());
    else response.sendDate = false;
    const id = decodeURIComponent(request.url.split("/").pop());
    const leg = request.headers["grid-wallet-signature"] ? 2 : 1;
    if (request.method === "DELETE") await bridge.onRequest(leg);
    if (bridge.down) return request.socket.destroy();
    if (request.method === "GET") return json(response, 200, { data: [...sessions.values()] });
    if (request.method !== "DELETE") return response.writeHead(405).end();
    if (!sessions.has(id)) return json(response, 404, { status: 404, code: "NOT_FOUND", message: "no such session" });
    if (leg === 1) {
      const requestId = `Request:${randomUUID()}`;
      challenges.set(requestId, id);
      return json(response, 202, { payloadToSign, requestId, expiresAt: stamp(now() + 300_000), type: "OAUTH" });
    }
    if (challenges.get(request.headers["request-id"]) !== id) {
      return json(response, 401, { status: 401, code: "UNAUTHORIZED", message: "no such challenge" });
    }
    challenges.delete(request.headers["request-id"]);
    sessions.delete(id);
    response.writeHead(204).end();
  };
  return bridge;
}
