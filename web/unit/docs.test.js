// The reference, which "make docs" makes of the declarations.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("typedoc warns of nothing, and has a page for each entry of the package", async () => {
  const web = fileURLToPath(new URL("..", import.meta.url));
  const out = await mkdtemp(join(tmpdir(), "docs-"));
  try {
    const { status, stdout, stderr } = spawnSync("npx", ["typedoc", "--out", out], { cwd: web, encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
    assert.doesNotMatch(stdout + stderr, /warning\]/);
    const { exports } = JSON.parse(await readFile(join(web, "package.json"), "utf8"));
    for (const name of Object.keys(exports).filter((name) => !/\.\w+$/.test(name))) {
      const page = await readFile(join(out, "modules", `${`gridsigner${name.slice(1)}`.replaceAll("/", "_")}.html`), "utf8");
      assert.match(page, /<h1>/, name);
    }
  } finally {
    await rm(out, { recursive: true });
  }
});
