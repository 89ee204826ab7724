// The examples, each as a person follows it: the shell block of its README as it stands, beside the packed tarball, and then the
// clicks. Two of them always; with SOAK, in Chromium, all; EXAMPLES=vite,next names others.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browser, engine } from "../test/browser.js";
import { freePort } from "../test/webkit.js";
import { startDemo } from "./demo.js";

const web = fileURLToPath(new URL("..", import.meta.url));
const every = Boolean(process.env.SOAK) && engine === "chromium"; // what a bundler makes is the same for each
const minutes = 60_000;

let demo, room;
before(async () => {
  demo = await startDemo("--control");
  room = await mkdtemp(join(tmpdir(), "examples-"));
  execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", room], { cwd: web, stdio: "pipe" });
});
after(async () => {
  await demo?.kill();
  if (room) await rm(room, { recursive: true, force: true });
});

/** Runs the block of an example in a copy of it, and says at which URL it serves. Whatever still runs is ended by `kill`. */
async function follow(name) {
  const from = join(web, "examples");
  const isOurs = (path) => !/\/(node_modules|dist|public\/gridsigner|\.[\w-]+)(\/|$)/.test(path.slice(from.length)); // nothing that was made
  await cp(join(from, "server.js"), join(room, "examples", "server.js"));
  await cp(join(from, name), join(room, "examples", name), { recursive: true, filter: isOurs });
  const [, block] = /<!-- run by web\/e2e\/examples\.test\.js -->\n```sh\n(.*?)```/s.exec(await readFile(join(from, name, "README.md"), "utf8"));
  const env = {
    ...process.env,
    PORT: "0",
    BRIDGE: demo.origin.replace("localhost", "127.0.0.1"),
    // npm and the rest say less, ask nobody, and take from their caches what is there.
    npm_config_audit: "false", npm_config_fund: "false", npm_config_update_notifier: "false", npm_config_prefer_offline: "true",
    NEXT_TELEMETRY_DISABLED: "1", NO_COLOR: "1",
    CDN: `http://localhost:${await freePort()}`,
  };
  // A group of its own: npm starts the server as a process of its own, too.
  const child = spawn("sh", ["-e"], { cwd: join(room, "examples", name), env, detached: true, stdio: ["pipe", "pipe", "pipe"] });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // All of it has ended.
    }
  };
  process.on("exit", kill); // also when the tests end by a failure
  child.stdin.end(block);
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const hear = (text) => {
      output += text;
      const [found] = /http:\/\/localhost:\d+/.exec(output) ?? [];
      if (found) resolve(found);
    };
    child.stdout.setEncoding("utf8").on("data", hear);
    child.stderr.setEncoding("utf8").on("data", hear);
    child.on("exit", () => reject(new Error(`it ended, having said:\n${output}`)));
  });
  return {
    url,
    kill() {
      process.off("exit", kill);
      kill();
    },
  };
}

/** Opens the app, signs in by the code that was sent, comes back after a reload, and signs out: Grid has no session then. */
async function use(url) {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", ({ message }) => problems.push(message));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    /** Waits for what the app says, or fails with what it says instead. */
    const said = async (start) => {
      const is = (start) => document.getElementById("status")?.textContent.startsWith(start);
      await page.waitForFunction(is, {}, start).catch(async () => {
        const text = await page.evaluate(() => document.body.innerText);
        assert.fail(`the page does not say "${start}", but: ${[text, ...problems].join("\n")}`);
      });
    };

    await page.goto(url);
    await said("Signed out");
    await page.click("#send");
    await said("A code is on its way to ada@example.com");
    await page.type("#code", (await demo.inbox()).at(-1).code);
    await page.click("#enter button");
    await said("Signed in until");
    assert.equal((await demo.sessions()).length, 1);
    await page.reload();
    await said("Signed in until");
    await page.click("#leave");
    await said("Signed out: revoked");
    assert.deepEqual(await demo.sessions(), []);
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
  }
}

const always = ["esbuild", "plain"];
const all = [...always, "vite", "webpack", "rollup", "parcel", "cdn", "next"];

for (const name of process.env.EXAMPLES?.split(",") ?? (every ? all : always)) {
  test(`${name}: from the tarball to a signed-out session`, { timeout: 10 * minutes }, async () => {
    const example = await follow(name);
    try {
      await use(example.url);
    } finally {
      example.kill();
    }
  });
}
