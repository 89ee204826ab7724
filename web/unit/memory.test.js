// The other storage keeps the promises of the port that storage.test.js holds IndexedDB to.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Memory } from "../.tsc/src/keys/memory.js";

test("records are added once, changed in one step, and gone when that is what comes of it", async () => {
  const memory = new Memory();
  const record = { id: "a", rev: 0 };
  await memory.add(record);
  await assert.rejects(memory.add({ id: "a", rev: 5 }));
  assert.deepEqual(await memory.get("a"), record);
  assert.equal(await memory.get("b"), undefined);
  const more = (found) => ({ ...found, rev: found.rev + 1 });
  await Promise.all([memory.update("a", more), memory.update("a", more)]);
  assert.deepEqual(await memory.all(), [{ id: "a", rev: 2 }]);
  assert.deepEqual(await memory.update("a", () => undefined), { id: "a", rev: 2 });
  assert.equal(await memory.update("b", () => assert.fail("there is none")), undefined);
  await assert.rejects(memory.update("a", () => { throw new Error("no"); }));
  assert.equal(await memory.update("a", () => null), undefined);
  assert.deepEqual(await memory.all(), []);
});
