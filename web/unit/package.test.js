// The package as npm users get it.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
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

const packages = await mkdtemp(join(tmpdir(), "gridsigner-"));
after(() => rm(packages, { recursive: true }));
const [{ filename, files: inside, size }] = JSON.parse(
  execFileSync("npm", ["pack", "--json", "--pack-destination", packages], { cwd: web, encoding: "utf8" }),
);
const tarball = join(packages, filename);

test("what is packed is what is exported, and what belongs to it; not the demo, and nothing twice", () => {
  const packed = inside.map(({ path }) => path);
  const exported = Object.values(manifest.exports).flatMap((entry) => (typeof entry === "string" ? entry : Object.values(entry)));
  for (const path of [manifest.main, manifest.types, ...exported, ...manifest.files.map((path) => `./${path}`)]) {
    assert.ok(packed.includes(path.slice(2)), `${path} is packed`);
  }
  assert.deepEqual(packed.filter((path) => !manifest.files.includes(path)).sort(), ["LICENSE", "README.md", "package.json"]);
  assert.deepEqual(packed.filter((path) => /\.(br|gz)$|^dist\/demo/.test(path)), []); // no bundler uses them, and they are most of it
  assert.ok(size <= 1_500_000, `${size} bytes`);
});

test("no file of the package can be executed, but its program", () => {
  const programs = Object.values(manifest.bin ?? {}).map((path) => path.replace(/^\.\//, ""));
  for (const { path, mode } of inside) assert.equal(mode, programs.includes(path) ? 0o755 : 0o644, path);
});

test("publint and attw find nothing", () => {
  const tool = (name, ...args) => {
    const { status, stdout, stderr } = spawnSync(join(fileURLToPath(web), "node_modules/.bin", name), args, { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  };
  tool("publint", "run", "--strict", tarball);
  tool("attw", "--profile", "esm-only", "--format", "ascii", tarball);
});

test("a package without a build, or with one of something else, is refused, and so is to publish one that has no home", async () => {
  const copy = join(packages, "copy/web");
  for (const name of ["build/prepack.js", "package.json", "src/worker.ts", "dist"]) await cp(new URL(name, web), join(copy, name), { recursive: true });
  for (const name of ["signer", "wasm"]) await mkdir(join(packages, "copy", name));
  const others = ["go.mod", "go.sum", "Makefile", "web/build/main.go", "web/build/go.sum"].map((name) => join(packages, "copy", name));
  for (const path of others) await writeFile(path, "");
  const said = (...args) => spawnSync("node", ["build/prepack.js", ...args], { cwd: copy, encoding: "utf8" }).stderr;
  const built = join(copy, "dist/build-info.json");
  const now = new Date();
  await utimes(built, now, now);
  const homes = ["repository", "homepage", "bugs"];
  const write = (...more) => writeFile(join(copy, "package.json"), JSON.stringify(Object.assign({ ...manifest }, ...more)));
  await write(...homes.map((field) => ({ [field]: undefined }))); // as it is until "make module-path"
  assert.equal(said(), "");
  assert.match(said("--publish"), /no repository, no homepage, no bugs.*make module-path/);
  await write(...homes.map((field) => ({ [field]: "https://app.example" })));
  assert.equal(said("--publish"), "");

  await utimes(join(copy, "src/worker.ts"), now, new Date(now.getTime() + 2000));
  assert.match(said(), /worker\.ts is newer than dist\/.*make pack/);
  await utimes(join(copy, "src/worker.ts"), now, new Date(now.getTime() - 2000));
  for (const path of others) {
    await utimes(path, now, new Date(now.getTime() + 2000));
    assert.ok(said().includes(`${path} is newer than dist/`), path);
    await utimes(path, now, new Date(now.getTime() - 2000));
  }
  await appendFile(join(copy, "dist/worker.js"), "\n");
  assert.match(said(), /dist\/worker\.js is not what was built/);
  await rm(join(copy, "dist/worker.js"));
  assert.match(said(), /dist\/worker\.js is missing/);
  await write({ version: "9.9.9" });
  assert.ok(said().includes(`dist/ is of ${manifest.version}, and package.json of 9.9.9`));
  await rm(join(copy, "dist"), { recursive: true });
  assert.match(said(), /dist\/ is not built.*make pack/);
});

test("npm asks before it packs and before it publishes", () => {
  assert.deepEqual([manifest.scripts.prepack, manifest.scripts.prepublishOnly], ["node build/prepack.js", "node build/prepack.js --publish"]);
});

test("the source maps lead to the sources, behind the imports that were marked too", async () => {
  for (const [name, texts] of Object.entries({
    "gridsigner.js": ["ARGUMENT_INVALID", "url.href", "PASSKEY_UNSUPPORTED"],
    "worker.js": ["STORAGE_FAILED", "readwrite"],
    "runtime.js": ["Lockdown Mode"],
    "react.js": ["signed-out"],
  })) {
    const [script, payload] = [String(await read(`dist/${name}`)), JSON.parse(await read(`dist/${name}.map`))];
    assert.ok(script.endsWith(`//# sourceMappingURL=${name}.map\n`), name);
    const map = new SourceMap(payload);
    let met = 0;
    // Each string of the script, and what is called of a URL, must be in the source's line that the map names.
    for (const [row, line] of script.split("\n").entries()) {
      for (const { 0: text, index } of line.matchAll(/"[A-Z_]{6,}"|(?<=\.)href\b/g)) {
        const { originalSource, originalLine } = map.findEntry(row, index);
        if (originalSource === undefined || originalSource === "wasm_exec.js") continue;
        const content = payload.sourcesContent[payload.sources.indexOf(originalSource)];
        assert.ok(content.split("\n")[originalLine].includes(text), `${name}: ${text} at ${index} is line ${originalLine} of ${originalSource}`);
        met++;
      }
    }
    for (const text of texts) assert.ok(payload.sourcesContent.some((content) => content.includes(text)), `${name}: ${text}`);
    if (name !== "react.js") assert.ok(met > 3, `${name}: ${met}`);
    for (const source of payload.sources) assert.match(source, /^(\.\.\/src\/[\w/-]+\.ts|wasm_exec\.js)$/);
  }
});

test("the licence is the repository's", async () => {
  assert.ok((await read("LICENSE")).equals(await read("../LICENSE"))); // npm packs no file from outside
});

test("the declarations are the sources' own", async () => {
  assert.ok((await read("dist/gridsigner.d.ts")).equals(await read("src/types.ts")));
  assert.ok((await read("dist/react.d.ts")).equals(await read("src/react/types.ts")));
  assert.ok((await read("dist/testing.d.ts")).equals(await read("src/testing/types.ts")));
});

test("build-info.json tells the truth", async () => {
  const { files } = JSON.parse(await read("dist/build-info.json"));
  for (const name of ["gridsigner.js", "react.js", "runtime.js", "testing.js", "worker.js", "signer.wasm"]) {
    const content = await read(`dist/${name}`);
    assert.equal(files[name].sha256, createHash("sha256").update(content).digest("hex"), name);
    assert.equal(files[name].integrity, `sha384-${createHash("sha384").update(content).digest("base64")}`, name);
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
  assert.deepEqual(Object.keys(await import("gridsigner/worker.js")), ["serve"]);
  await assert.rejects(createPasskey({ nickname: "Phone", userName: "a@b.c" }), { name: "GridSignerError", code: "PASSKEY_UNSUPPORTED" });
});
