// Runs the tests of the package and of the demo: rules in Node, the rest in the
// engines, each of which takes its files one after the other in one browser, or,
// where they are many, in two.
//
//     node test/run.js [--all] [node] [chromium] [firefox] [webkit]
//
// An engine that is missing is named, and CI may leave out none.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { available } from "./engines.js";

/** What an engine could do in its own way, and so runs in each; and why. */
const inEveryEngine = {
  "test/loader.test.js": "streaming, MIME types, integrity, and what is said of a worker that fails",
  "test/policy.test.js": "content security policies, trusted types, and how a violation shows",
  "test/lifetime.test.js": "how a worker dies, and who is told",
  "test/sealed.test.js": "which points WebCrypto takes, and what it opens",
  "test/custody.test.js": "what WebCrypto and IndexedDB give away, and keep",
  "test/keys.test.js": "which keys an engine takes over, and what it does to those it has",
  "test/storage.test.js": "the contract of the storage port",
  "e2e/journey.test.js": "the whole of it; in Chromium once for each curve",
};

/** What is ours: a state machine, a fault, a picture. It is the same everywhere, so Chromium's word is enough, but for --all. */
const inChromium = {
  "e2e/signin.test.js": "codes and tokens; passkeys and the export in Chromium",
  "test/tabs.test.js": "transactions and channels between tabs, and sign-outs that outlive one",
  "test/signatures.test.js": "WebCrypto's signatures, and the module's",
  "test/vectors.test.js": "the corpus",
  "test/calls.test.js": "arguments, deadlines, aborts, and what reaches the bridge",
  "test/clock.test.js": "when keys end",
  "test/contract.test.js": "the behaviours that the test signer has in common with the real one",
  "test/credentials.test.js": "ways to sign in, byte by byte",
  "test/faults.test.js": "storage that fails at each step",
  "test/hostile.test.js": "what a bad bridge gets out of a page",
  "test/nowhere.test.js": "what a service worker is told",
  "test/races.test.js": "two things at the same moment",
  "test/react.test.js": "the hook, with React's own order of effects, in two tabs",
  "test/refresh.test.js": "another key for a session, in every tab, whatever the network does",
  "test/signout.test.js": "how a sign-out ends",
  "test/growth.test.js": "no memory and no callback is kept",
  "e2e/bare.test.js": "the module without the loader",
  "e2e/credentials.test.js": "sessions that go on, and ways to sign in that come and go",
  "e2e/custody.test.js": "reloads and tabs, by clicking",
  "e2e/death.test.js": "the worker killed and the network lost at each step",
  "e2e/examples.test.js": "what bundlers make of the packed tarball, clicked through",
  "e2e/faults.test.js": "what the demo says of each fault",
  "e2e/leaks.test.js": "secrets in requests, answers, files and logs",
  "e2e/looks.test.js": "keyboard, width, announcements; for a release, pictures",
  "e2e/readme.test.js": "the code of the pages, as it stands",
  "e2e/revoke.test.js": "every revocation, byte by byte",
  "e2e/signout.test.js": "a sign-out, whatever is in the way",
};

/**
 * What runs beside each other: an engine for each core, as a part of it waits, and Node, whose tests turn their own
 * clocks. Of the engines' parts each lane takes the next; the longest come first, so that the lanes end together. With
 * three WebKit gets so little that what people would see within five seconds it does not do in seven.
 */
const lanes = 2;
const parts = [["chromium", "test"], ["chromium", "e2e"], ["webkit"], ["firefox"]];

const all = process.argv.includes("--all");
const named = process.argv.slice(2).filter((name) => name !== "--all");
const wanted = (name) => named.length === 0 || named.includes(name);
const tests = (room) => readdirSync(room).filter((name) => name.endsWith(".test.js")).map((name) => `${room}/${name}`);
const rules = tests("unit");
const listed = [...Object.keys(inEveryEngine), ...Object.keys(inChromium)].sort();
const there = ["e2e", "test"].flatMap(tests).sort();
if (listed.join() !== there.join()) throw new Error(`the table has ${listed}, and there are ${there}`);

const { here, missing } = available();
const leftOut = Object.keys(missing).filter(wanted);
for (const engine of leftOut) console.error(`${engine} is left out: ${missing[engine]}`);

/** What runs. Whoever ends this process, by Ctrl-C or otherwise, ends them too, and they their browsers. */
const children = new Set();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, () => {
    for (const child of children) child.kill();
    process.exit(1);
  });
}

/** Runs what is to run in Node or in an engine, of the latter's files all or those of one directory. Says whether all of it passed. */
async function run([engine, room = ""]) {
  const name = room ? `${engine} ${room}` : engine;
  const files = (all || engine === "chromium" ? listed : Object.keys(inEveryEngine)).filter((file) => file.startsWith(room));
  const args = engine === "node" ? ["--test", ...rules] : ["test/in-one-process.js", ...files];
  const env = { ...process.env, ENGINE: engine, ...(all && { SOAK: "1" }) };
  const child = spawn(process.execPath, ["--test-reporter=spec", ...args], { env, stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  child.on("exit", () => children.delete(child));
  const counts = {};
  for await (const line of createInterface(child.stdout)) {
    const [, what, count] = /^ℹ (pass|fail|cancelled|skipped) (\d+)$/.exec(line) ?? [];
    if (what) counts[what] = Number(count);
    console.log(`${name}: ${line}`);
  }
  const code = child.exitCode ?? (await new Promise((resolve) => child.on("exit", resolve)));
  // A run that ends early leaves no count, and one that ran nothing proves nothing.
  return { name, counts, passed: code === 0 && counts.pass > 0 && counts.fail === 0 && counts.cancelled === 0 };
}

const waiting = parts.filter(([name]) => wanted(name) && here.includes(name));
const runs = [];
async function take() {
  for (let part; (part = waiting.shift()); ) runs.push(await run(part));
}
const rulesRun = wanted("node") ? run(["node"]) : undefined;
await Promise.all(Array.from({ length: lanes }, take));
if (rulesRun) runs.push(await rulesRun);
for (const { name, counts: { pass = 0, fail = 0, cancelled = 0, skipped = 0 }, passed } of runs) {
  console.log(`${name}: ${pass} passed, ${fail + cancelled} failed, ${skipped} skipped${passed ? "" : ": FAILED"}`);
}
const incomplete = runs.length === 0 || (leftOut.length > 0 && Boolean(process.env.CI));
process.exit(incomplete || runs.some(({ passed }) => !passed) ? 1 : 0);
