// The package as npm users get it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

const web = new URL("../", import.meta.url);
const read = (path) => readFile(new URL(path, web));
const manifest = JSON.parse(await read("package.json"));

test("there are no runtime dependencies, and React is whoever's who uses the hook", () => {
  assert.equal(manifest.dependencies, undefined);
  assert.deepEqual(manifest.peerDependencies, { react: ">=18" });
  assert.deepEqual(manifest.peerDependenciesMeta, { react: { optional: true } });
  for (const [name, version] of Object.entries(manifest.devDependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned`);
  }
});

test("the lock file names no registry", async () => {
  const lock = String(await read("package-lock.json"));
  assert.doesNotMatch(lock, /"resolved"|registry/);
});

test("what is packed is what is exported, and not the demo", () => {
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: web, encoding: "utf8" }));
  const packed = files.map(({ path }) => path);
  const exported = Object.values(manifest.exports).flatMap((entry) => (typeof entry === "string" ? entry : Object.values(entry)));
  for (const path of [...manifest.files, ...exported.map((path) => path.slice(2))]) {
    assert.ok(packed.includes(path), `${path} is packed`);
  }
  assert.deepEqual(packed.filter((path) => !manifest.files.includes(path)).sort(), ["LICENSE", "README.md", "package.json"]);
});

test("the licence is the repository's", async () => {
  assert.ok((await read("LICENSE")).equals(await read("../LICENSE"))); // npm packs no file from outside
});

test("the declarations are the sources' own", async () => {
  assert.ok((await read("dist/gridsigner.d.ts")).equals(await read("src/types.ts")));
  assert.ok((await read("dist/react.d.ts")).equals(await read("src/react/types.ts")));
});

test("build-info.json tells the truth", async () => {
  const { files } = JSON.parse(await read("dist/build-info.json"));
  for (const name of ["gridsigner.js", "react.js", "runtime.js", "worker.js", "signer.wasm"]) {
    const content = await read(`dist/${name}`);
    assert.equal(files[name].sha256, createHash("sha256").update(content).digest("hex"), name);
    assert.ok(brotliDecompressSync(await read(`dist/${name}.br`)).equals(content), `${name}.br`);
    assert.ok(gunzipSync(await read(`dist/${name}.gz`)).equals(content), `${name}.gz`);
  }
});

test("runtime.js was built for this signer.wasm, and says whose code it contains", async () => {
  const [runtime, wasm] = [String(await read("dist/runtime.js")), await read("dist/signer.wasm")];
  assert.ok(runtime.includes(createHash("sha256").update(wasm).digest("hex")));
  assert.match(runtime, /The Go Authors/);
  assert.match(String(await read("NOTICE")), /Copyright 2009 The Go Authors[^]*Copyright \(c\) [\d-]+ The Decred developers/);
});

test("minified as they are, bundlers are told which imports are not theirs, and find the files that go along", async () => {
  const script = String(await read("dist/gridsigner.js"));
  assert.match(script, /import\(\/\* webpackIgnore: true \*\/\/\* @vite-ignore \*\/\w+\.href\)/);
  for (const name of ["worker.js", "runtime.js", "signer.wasm"]) assert.ok(script.includes(`new URL("./${name}",import.meta.url)`), name);
});

test("React is imported by the hook alone, which imports nothing else and is a client's", async () => {
  const imports = async (name) => [...String(await read(`dist/${name}`)).matchAll(/\b(?:import|export)\b[^;]*?from"(.*?)"/g)].map(([, from]) => from);
  assert.deepEqual([await imports("react.js"), await imports("gridsigner.js")], [["react"], []]);
  assert.match(String(await read("dist/react.js")), /^"use client";/); // frameworks with server components want it on top
  assert.deepEqual(Object.keys(await import("gridsigner/react")), ["useSession"]);
});

test("importing it where there is no page is harmless, and using it is refused by code", async () => {
  const { createPasskey, createSigner, GridSignerError } = await import("../dist/gridsigner.js");
  for (const worker of [true, false]) {
    await assert.rejects(createSigner({ bridgeUrl: "/api/grid", worker }), (error) => {
      assert.ok(error instanceof GridSignerError && error instanceof Error);
      assert.equal(error.code, "LOAD_FAILED");
      assert.equal(error.name, "GridSignerError");
      return true;
    });
  }
  await assert.rejects(createPasskey({ nickname: "Phone", userName: "a@b.c" }), { name: "GridSignerError", code: "PASSKEY_UNSUPPORTED" });
});
