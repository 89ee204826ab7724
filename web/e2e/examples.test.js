// The examples, each as a person follows it: the shell block of its README as it stands, beside the packed tarball, and then the
// clicks. Two of them always; with SOAK, in Chromium, all; EXAMPLES=vite,next names others.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
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

let demo, room, cdn;
before(async () => {
  demo = await startDemo("--control");
  room = await mkdtemp(join(tmpdir(), "examples-"));
  execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", room], { cwd: web, stdio: "pipe" });
});
after(async () => {
  await demo?.kill();
  if (room) await rm(room, { recursive: true, force: true });
});

const environment = () => ({
  ...process.env,
  PORT: "0",
  BRIDGE: demo.origin.replace("localhost", "127.0.0.1"),
  CDN: cdn,
  // npm and the rest say less, ask nobody, and take from their caches what is there.
  npm_config_audit: "false", npm_config_fund: "false", npm_config_update_notifier: "false", npm_config_prefer_offline: "true",
  NEXT_TELEMETRY_DISABLED: "1", NO_COLOR: "1",
});

/** The commands of the README in a directory. */
async function commands(directory) {
  return /<!-- run by web\/e2e\/examples\.test\.js -->\n```sh\n(.*?)```/s.exec(await readFile(join(directory, "README.md"), "utf8"))[1];
}

/** A copy of an example beside the tarball, as they are in web, without what was made in it. */
async function copyOf(name) {
  const from = join(web, "examples");
  const isSource = (path) => !/\/(node_modules|dist|public\/gridsigner|\.[\w-]+)(\/|$)/.test(path.slice(from.length));
  await cp(join(from, "server.js"), join(room, "examples", "server.js"));
  const directory = join(room, "examples", name);
  await cp(join(from, name), directory, { recursive: true, filter: isSource });
  return directory;
}

/** Runs lines of shell of which the last does not end, and says at which URL it serves. `kill` ends all of it. */
async function serve(directory, lines) {
  // A group of its own: npm starts the server as another process.
  const child = spawn("sh", ["-e"], { cwd: directory, env: environment(), detached: true });
  const kill = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // All of it has ended.
    }
  };
  process.on("exit", kill); // also when the tests end by a failure
  child.stdin.end(lines);
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const hear = (text) => {
      output += text;
      const [found] = /http:\/\/localhost:\d+(?=\D)/.exec(output) ?? []; // a port of which more may come is none yet
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

/** Opens the app in a profile of its own, and hands over what waits until it says something that begins like this. */
async function visit(url, use) {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", ({ message }) => problems.push(message));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    const says = async (start) => {
      const doesSay = (start) => document.getElementById("status")?.textContent.startsWith(start);
      await page.waitForFunction(doesSay, { timeout: minutes }, start).catch(async () => {
        const text = await page.evaluate(() => document.body.innerText);
        assert.fail(`the page does not say "${start}", but: ${[text, ...problems].join("\n")}`);
      });
      return page.evaluate(() => document.getElementById("status").textContent);
    };
    await page.goto(url);
    await use(page, says);
    return problems;
  } finally {
    await context.close();
  }
}

/** Signs in by the code that was sent, comes back after a reload, and signs out: Grid has no session then. */
async function signInAndOut(url) {
  const problems = await visit(url, async (page, says) => {
    await says("Signed out");
    await page.click("#send");
    await says("A code is on its way to ada@example.com");
    await page.$eval("#code", (input, code) => (input.value = code), (await demo.inbox()).at(-1).code);
    await page.click("#enter button");
    await says("Signed in until");
    assert.equal((await demo.sessions()).length, 1);
    await page.reload();
    await says("Signed in until");
    await page.click("#leave");
    await says("Signed out: revoked");
    assert.deepEqual(await demo.sessions(), []);
  });
  assert.deepEqual(problems, []);
}

const cure = "copy the files with npx gridsigner copy, and set workerUrl and wasmUrl";
/** What is easily left out, or added, and what the app says then, without the page's own URL. */
const mistakes = {
  esbuild: {
    edit: (main) => main.replace(/^ *(workerUrl|wasmUrl): .*\n/gm, ""),
    run: "npm run build",
    says: `LOAD_FAILED: this bundle has no import.meta.url: ${cure}`,
  },
  rollup: {
    run: "rm dist/worker.js",
    says: `LOAD_FAILED: the signer did not start: /worker.js could not be loaded as a worker (${cure})`,
  },
  vite: {
    run: "npx vite build --assetsInlineLimit 100000",
    says: `LOAD_FAILED: workerUrl must be of this page's origin, : data:… (${cure})`,
  },
};

const always = ["esbuild", "plain"];
const all = [...always, "vite", "webpack", "rollup", "parcel", "cdn", "next"];

for (const name of process.env.EXAMPLES?.split(",") ?? (every ? all : always)) {
  test(`${name}: from the tarball to a signed-out session`, { timeout: 10 * minutes }, async (t) => {
    if (name === "cdn") cdn = `http://localhost:${await freePort()}`; // late, as others could take it meanwhile
    const directory = await copyOf(name);
    const lines = await commands(directory);
    assert.equal(lines, await commands(web), "the package's page shows these commands too");
    const served = await serve(directory, lines);
    t.after(served.kill);
    await signInAndOut(served.url);

    const { scripts } = JSON.parse(await readFile(join(directory, "package.json"), "utf8"));
    if (every && scripts.dev) {
      const developed = await serve(directory, "npm run dev");
      t.after(developed.kill);
      await signInAndOut(developed.url);
    }

    if (!(name in mistakes)) return;
    const { edit = (main) => main, run, says: wanted } = mistakes[name];
    await writeFile(join(directory, "main.js"), edit(await readFile(join(directory, "main.js"), "utf8")));
    execFileSync("sh", ["-ec", run], { cwd: directory, env: environment(), stdio: "pipe" });
    await visit(served.url, async (_, says) => {
      const said = await says("LOAD_FAILED");
      assert.equal(said.replaceAll(served.url, "").replace(/data:\S{50}…/, "data:…"), wanted);
    });
  });
}
