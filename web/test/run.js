// Runs the tests in every engine that is here, or in those that are named, and
// says which one is left out. CI may leave out none.
//
//     node test/run.js [chromium] [firefox] [webkit]
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { available } from "./browsers.js";

const named = process.argv.slice(2);
const { here, missing } = available();
const files = ["test", "e2e"].flatMap((room) =>
  readdirSync(room).filter((name) => name.endsWith(".test.js")).map((name) => `${room}/${name}`),
);

const leftOut = Object.entries(missing).filter(([engine]) => named.length === 0 || named.includes(engine));
for (const [engine, install] of leftOut) console.error(`${engine} is left out: ${install}`);
let failed = here.length === 0 || (leftOut.length > 0 && Boolean(process.env.CI));

for (const engine of here.filter((engine) => named.length === 0 || named.includes(engine))) {
  console.log(`# in ${engine}`);
  const args = ["--test", "--test-concurrency=1", "--test-timeout=600000", ...files];
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit", env: { ...process.env, ENGINE: engine } });
  failed ||= status !== 0;
}
process.exit(failed ? 1 : 0);
