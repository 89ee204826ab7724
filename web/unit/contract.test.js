// The test signer, held to what the real one does: test/contract.test.js runs the same list in a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createTestGrid, createTestSigner } from "gridsigner/testing";
import { behaviours } from "../test/contract.js";

for (const [name, { run, gives }] of Object.entries(behaviours)) {
  test(name, async () => {
    const grid = createTestGrid({ credentials: ["EMAIL_OTP", "OAUTH"] });
    const another = () => createTestSigner({ grid });
    const signer = await another();
    const world = {
      signer,
      accountId: grid.accountId,
      ways: { EMAIL_OTP: grid.credential("EMAIL_OTP").id, OAUTH: grid.credential("OAUTH").id },
      another,
      code: () => grid.code(),
      token: (nonce) => grid.token({ nonce }),
      sessions: () => grid.sessions.map(({ id }) => id),
      endAtGrid: (id) => grid.endSession(id),
      offline: (isOffline) => void (grid.offline = isOffline),
      until: async (what, atMostMs) => {
        await grid.advance(atMostMs);
        assert.ok(what());
      },
      pass: (ms) => grid.advance(ms),
      later: (ms) => new Date(Date.now() + ms).toISOString(),
    };
    assert.deepEqual(await run(world), gives);
    signer.close();
  });
}
