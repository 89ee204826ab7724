// npx gridsigner copy: the files that go along with a bundle, put where an app serves them.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../bin/gridsigner.js", import.meta.url));
const dist = (name) => readFileSync(new URL(`../dist/${name}`, import.meta.url));
const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url)));
const copied = ["build-info.json", "runtime.js", "signer.wasm", "worker.js"];

const room = realpathSync(mkdtempSync(join(tmpdir(), "copy-")));
after(() => rmSync(room, { recursive: true }));

/** An app's own directory. */
let app;
beforeEach(() => (app = mkdtempSync(join(room, "app-"))));
const at = (...path) => join(app, ...path);

function run(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], { cwd: app, encoding: "utf8" });
  return { status, stdout, stderr };
}

/** It says why it does not, and has changed nothing. */
function refused(args, why) {
  const before = readdirSync(app, { recursive: true });
  const { status, stdout, stderr } = run(...args);
  assert.deepEqual([status, stdout], [1, ""]);
  assert.match(stderr, /^gridsigner: /);
  assert.match(stderr, why);
  assert.doesNotMatch(stderr, /\n {4}at /); // no stack
  assert.deepEqual(readdirSync(app, { recursive: true }), before);
}

test("the files are there, as they were packed, and it says what to write", () => {
  const { status, stdout, stderr } = run("copy", "public/gridsigner");
  assert.deepEqual([status, stderr], [0, ""]);
  assert.deepEqual(readdirSync(at("public/gridsigner")).sort(), copied);
  for (const name of copied) assert.ok(readFileSync(at("public/gridsigner", name)).equals(dist(name)), name);
  for (const name of copied) assert.ok(stdout.includes(name), name);
  assert.ok(stdout.includes('workerUrl: "/gridsigner/worker.js"') && stdout.includes('wasmUrl: "/gridsigner/signer.wasm"'), stdout);
});

test("with --all there is all that a page without a bundler needs", () => {
  const { stdout } = run("copy", "--all", "site/wallet/");
  assert.deepEqual(readdirSync(at("site/wallet")).sort(), [...copied, "gridsigner.js"].sort());
  assert.ok(stdout.includes('{ "imports": { "gridsigner": "/wallet/gridsigner.js" } }'), stdout);
});

test("once more, and over another version's, it puts its own there", () => {
  run("copy", "public");
  assert.equal(run("copy", "public").status, 0);
  // As an earlier version would have left it: other bytes, and their hash on its list.
  writeFileSync(at("public/worker.js"), "earlier");
  refused(["copy", "public"], /worker\.js is not gridsigner's, or was changed/);
  const info = JSON.parse(dist("build-info.json"));
  info.files["worker.js"].sha256 = createHash("sha256").update("earlier").digest("hex");
  writeFileSync(at("public/build-info.json"), JSON.stringify(info));
  assert.equal(run("copy", "public").status, 0);
  for (const name of copied) assert.ok(readFileSync(at("public", name)).equals(dist(name)), name);
});

test("a gridsigner.js that --all has put there is of the others' version afterwards too", () => {
  run("copy", "--all", "public");
  writeFileSync(at("public/gridsigner.js"), "earlier");
  assert.equal(run("copy", "public").status, 0);
  assert.equal(readFileSync(at("public/gridsigner.js"), "utf8"), "earlier"); // not on the list: the app's own
  const info = JSON.parse(dist("build-info.json"));
  info.files["gridsigner.js"].sha256 = createHash("sha256").update("earlier").digest("hex");
  writeFileSync(at("public/build-info.json"), JSON.stringify(info));
  const { status, stdout } = run("copy", "public");
  assert.equal(status, 0);
  assert.ok(readFileSync(at("public/gridsigner.js")).equals(dist("gridsigner.js")));
  assert.ok(stdout.includes("gridsigner.js, ") && stdout.includes("workerUrl"), stdout);
  assert.equal(run("copy", "--all", "public").status, 0);
});

test("a file of the app's is left alone, and so is everything else then", () => {
  for (const name of copied) {
    mkdirSync(at(name));
    writeFileSync(at(name, name), "the app's own");
    refused(["copy", name], new RegExp(`${name} is not gridsigner's`));
    assert.equal(readFileSync(at(name, name), "utf8"), "the app's own");
  }
});

test("nothing is written through a link", () => {
  mkdirSync(at("elsewhere"));
  writeFileSync(at("precious"), "precious");
  symlinkSync("elsewhere", at("linked"));
  refused(["copy", "linked"], /linked is a link/);
  refused(["copy", "linked/gridsigner"], /linked is a link/);
  mkdirSync(at("public"));
  symlinkSync("../precious", at("public/worker.js"));
  refused(["copy", "public"], /worker\.js is a link/);
  assert.equal(readFileSync(at("precious"), "utf8"), "precious");
  assert.ok(lstatSync(at("public/worker.js")).isSymbolicLink());
});

test("where no directory can be it says so", () => {
  writeFileSync(at("file"), "");
  refused(["copy", "file"], /file is no directory/);
  refused(["copy", "file/below"], /file is no directory/);
  mkdirSync(at("public/worker.js"), { recursive: true });
  refused(["copy", "public"], /worker\.js is no file/);
});

test("asked for help it helps; asked for anything else it says what it takes", () => {
  assert.match(run("--help").stdout, /^usage: gridsigner copy/);
  assert.equal(run("--version").stdout, `${version}\n`);
  for (const args of [[], ["copy"], ["copy", "a", "b"], ["move", "a"], ["copy", "--force", "a"]]) refused(args, /usage: gridsigner copy/);
});
