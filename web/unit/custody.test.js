// What custody passes on to the module: the time that is left of a call's own.
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Custody } from "../.tsc/src/custody.js";

const key = { id: "key", curve: "P-256", publicKey: "02", protection: "non-extractable", persistence: "memory" };
const minute = 60_000;

test("the time that the clock takes is part of a sign-out's own", async (t) => {
  let [wall, monotonic] = [1_900_000_000_000, 0];
  mock.method(Date, "now", () => wall);
  mock.method(performance, "now", () => monotonic);
  mock.method(globalThis, "fetch", async () => {
    monotonic += 3000; // the bridge is slow to say what time it is
    return new Response(null, { status: 405, headers: { Date: new Date(wall - 20 * minute).toUTCString() } });
  });
  const given = [];
  const module = {
    createKey: async () => key,
    removeKey: async () => true,
    stateOf: async () => ({ organizationId: "" }),
    revokeSession: async (sessionId, { timeoutMs }) => (given.push(timeoutMs), { status: "revoked", sessionId }),
  };
  const custody = new Custody(module, { bridgeUrl: "https://wallet.example/api/grid", persistence: "memory" }, () => {});
  t.after(() => (mock.restoreAll(), custody.close()));
  await custody.createKey({}, {});
  const session = { id: "Session:019542f5-b3e7-1d02-0000-000000000003", accountId: "account", expiresAt: new Date(wall + minute).toISOString() };
  await custody.bindSession(key.id, session);
  wall += 20 * minute; // by this device's clock the session is over: the bridge has to be asked
  assert.deepEqual(await custody.revokeSession(undefined, { key: key.id, timeoutMs: 4000 }), { status: "revoked", sessionId: session.id });
  assert.deepEqual(given, [1000]);
});
