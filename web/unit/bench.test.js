// When "make bench" says that we fall behind.
import assert from "node:assert/strict";
import { test } from "node:test";
import { candidates } from "../bench/pages.js";
import { row } from "../bench/table.js";

/** A row of a measure in which api-key-stamper took 10. */
const beside = (ours, most) => row("measure", candidates.map(({ name }) => (name === "api-key-stamper" ? 10 : ours)), most);

test("a limit is a ratio to api-key-stamper, or where we are alone a figure", () => {
  const rows = [[beside(16, 1.6), false], [beside(16.1, 1.6), true], [beside(1000), false], [row("alone", [2], 2), false], [row("alone", [2.1], 2), true]];
  for (const [{ cells, behind }, want] of rows) {
    assert.equal(behind, want, cells.join(" "));
    assert.equal(cells.at(-1).endsWith("BEHIND"), want);
  }
});

test("what was not measured does not hold its limit", () => {
  assert.equal(beside(undefined, 1.6).behind, true);
});
