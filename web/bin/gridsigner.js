#!/usr/bin/env node
// For apps whose bundler leaves `new URL("./worker.js", import.meta.url)` alone: puts the files that the browser loads by
// themselves where the app serves them from.
import { createHash, randomUUID } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import { parseArgs } from "node:util";

const usage = `usage: gridsigner copy [--all] DIRECTORY

Copies worker.js, runtime.js and signer.wasm, which belong together and to this version of gridsigner.js, into a directory that
your site serves, such as public/gridsigner, and says what to write then. Run it again after each update, or as a part of the build.

  --all      gridsigner.js too: for pages without a bundler; one that it has put there is renewed without it too
  --help     this text
  --version  the version of gridsigner
`;

/** What stops the program, in words for who runs it. */
class Refusal extends Error {}

/** By its list of hashes a directory shows which of its files are ours, of whichever version. */
const list = "build-info.json";

const inPackage = (path) => readFileSync(new URL(`../${path}`, import.meta.url));
const version = () => JSON.parse(inPackage("package.json")).version;
const hash = (content) => createHash("sha256").update(content).digest("hex");

/** What is at a path, links not followed. */
function look(path) {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** Makes the directory. Of its path what is below this one, and the end, must not be a link, which could lead anywhere. */
function open(directory) {
  const path = resolve(directory);
  const steps = [];
  for (let at = path; at !== dirname(at); at = dirname(at)) steps.unshift(at);
  for (const at of steps) {
    const found = look(at);
    const isJudged = at === path || at.startsWith(process.cwd() + sep);
    if (isJudged && found?.isSymbolicLink()) throw new Refusal(`${at} is a link: name the directory that it leads to`);
    if (isJudged && found && !found.isDirectory()) throw new Refusal(`${at} is no directory`);
    if (!found) mkdirSync(at);
  }
  return path;
}

/** The hashes of what an earlier run has put there, by name. */
function listed(directory) {
  try {
    const { files } = JSON.parse(readFileSync(join(directory, list), "utf8"));
    return Object.fromEntries(Object.entries(files).map(([name, { sha256 }]) => [name, sha256]));
  } catch {
    return {};
  }
}

/** Whether a file is there as an earlier run has put it there. */
function isOwn(path, ownHash) {
  return Boolean(look(path)?.isFile()) && hash(readFileSync(path)) === ownHash;
}

/** Refuses to replace what no version of this package has put there. */
function check(path, content, ownHash) {
  const found = look(path);
  if (!found) return;
  if (!found.isFile()) throw new Refusal(`${path} is ${found.isSymbolicLink() ? "a link" : "no file"}: remove it, or choose another directory`);
  const there = hash(readFileSync(path));
  if (there !== hash(content) && there !== ownHash) {
    throw new Refusal(`${path} is not gridsigner's, or was changed: remove it, or choose another directory`);
  }
}

/** Puts a file there whole, so that a server never sends half of one, and through no link that has just been put there. */
function write(path, content) {
  const fresh = `${path}.${randomUUID()}`; // nobody has that already
  try {
    writeFileSync(fresh, content, { flag: "wx", mode: 0o644 });
    renameSync(fresh, path);
  } finally {
    rmSync(fresh, { force: true });
  }
}

function copy(target, all) {
  const script = "gridsigner.js";
  const packed = ["worker.js", "runtime.js", "signer.wasm", script, list].map((name) => {
    try {
      return [name, inPackage(`dist/${name}`)];
    } catch (cause) {
      throw new Refusal(`this package has no dist/${name}: it was packed before it was built`, { cause });
    }
  });
  const directory = open(target);
  const own = listed(directory);
  if ("signer.wasm" in own) own[list] = hash(readFileSync(join(directory, list)));
  // A script that an earlier run with --all has put there would not go with what is beside it now.
  const takesScript = all || isOwn(join(directory, script), own[script]);
  const files = packed.filter(([name]) => name !== script || takesScript);
  for (const [name, content] of files) check(join(directory, name), content, own[name]); // all of them before the first is written
  for (const [name, content] of files) write(join(directory, name), content);
  return files.map(([name]) => name);
}

/** Where the browser finds a directory, of the customs of most: what is in public/ is at the root of the site. */
function guess(directory) {
  const steps = resolve(directory).split(sep);
  const root = steps.findLastIndex((step) => ["build", "dist", "htdocs", "out", "public", "static", "www"].includes(step));
  return ["", ...steps.slice(root < 0 ? -1 : root + 1), ""].join("/");
}

function run(args) {
  let values, positionals;
  try {
    const flags = { all: { type: "boolean" }, help: { type: "boolean", short: "h" }, version: { type: "boolean" } };
    ({ values, positionals } = parseArgs({ args, options: flags, allowPositionals: true }));
  } catch ({ message }) {
    throw new Refusal(`${message}\n\n${usage}`);
  }
  if (values.help) return usage;
  if (values.version) return `${version()}\n`;
  const [command, directory, ...more] = positionals;
  if (command !== "copy" || !directory || more.length > 0) throw new Refusal(`copy and one directory are expected\n\n${usage}`);
  const names = copy(directory, values.all);
  const url = guess(directory);
  return `gridsigner ${version()}: ${names.join(", ")} are in ${directory}

If your site serves them at ${url}, write

${values.all ? importMap(url) : options(url)}
`;
}

// With gridsigner.js beside them, the others are found by themselves.
const importMap = (url) => `  <script type="importmap">{ "imports": { "gridsigner": "${url}gridsigner.js" } }</script>`;

const options = (url) => `  createSigner({
    workerUrl: "${url}worker.js",
    wasmUrl: "${url}signer.wasm",
    ...
  })`;

try {
  process.stdout.write(run(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof Refusal) && error.code === undefined) throw error;
  process.stderr.write(`gridsigner: ${error.message}\n`); // and of the system: what it would not do, and to which path
  process.exitCode = 1;
}
