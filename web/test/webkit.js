// WebKit through WebDriver (W3C), with as much of Puppeteer's API in front of
// it as the tests use.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const patience = 30_000; // ms that a condition is waited for, as in Puppeteer

/** The keys that the tests press, as WebDriver writes them (section 17.4.2). Those of characters are written as these. */
const keys = { Tab: "\uE004", Enter: "\uE007", " ": " ", ArrowLeft: "\uE012", ArrowRight: "\uE014" };

/**
 * Starts a display for the browser's windows, and the browser. It has no
 * profiles beside each other, so pages that are to know nothing of each other
 * are windows of one process at different origins; behind a proxy of its own,
 * which is said when it starts, a profile is a process.
 */
export async function launchWebKit({ driver, display, browser }) {
  const xvfb = start(display, ["-displayfd", "3", "-screen", "0", "1400x1800x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const [number] = await once(createInterface(xvfb.stdio[3]), "line");
  const env = { ...process.env, DISPLAY: `:${number}`, WEBKIT_DISABLE_COMPOSITING_MODE: "1" };
  const instances = new Set();
  const open = async (proxyServer) => {
    const begin = () => Instance.start({ driver, browser, env, proxyServer });
    const instance = await begin().catch(begin); // on a busy machine a browser may miss its driver, who then waits for ever
    instances.add(instance);
    return instance;
  };
  let shared;
  return {
    async createBrowserContext({ proxyServer } = {}) {
      return proxyServer ? open(proxyServer) : new Windows(await (shared ??= open()));
    },
    async close() {
      await Promise.all([...instances].map((instance) => instance.close()));
      await xvfb.stop();
    },
  };
}

/** Starts a program that ends with the tests, however they end, and with it what it has started. */
function start(program, args, options) {
  const child = spawn(program, args, { ...options, detached: true }); // a process group of its own
  const kill = () => child.exitCode ?? child.signalCode ?? process.kill(-child.pid, "SIGKILL");
  const exited = once(child, "exit");
  process.on("exit", kill);
  child.stop = async () => {
    kill();
    await exited; // also where that is long ago: a profile may be closed twice
    process.off("exit", kill);
  };
  return child;
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Some windows of an instance that others use too. */
class Windows {
  #instance;
  #closing = [];

  constructor(instance) {
    this.#instance = instance;
  }

  async newPage() {
    const page = await this.#instance.newPage();
    this.#closing.push(page.close.bind(page)); // whose close() a test may let close all of them
    return page;
  }

  async close() {
    for (const close of this.#closing) await close();
  }
}

/** A browser, and its driver. */
class Instance {
  #driver;
  #base;
  #turn = Promise.resolve();
  #first; // the window that the browser starts with stays open and empty: with its last one it would end
  #current;

  static async start({ driver, browser, env, proxyServer }) {
    const started = new Instance();
    const port = await freePort();
    started.#driver = start(driver, [`--port=${port}`], { stdio: "ignore", env });
    started.#base = `http://127.0.0.1:${port}`;
    const alwaysMatch = { "webkitgtk:browserOptions": { binary: browser, args: ["--automation"] } };
    if (proxyServer) alwaysMatch.proxy = { proxyType: "manual", httpProxy: proxyServer, noProxy: [] };
    try {
      while (!(await fetch(`${started.#base}/status`).catch(() => undefined))) await sleep(20);
      const { sessionId } = await started.#send("POST", "/session", { capabilities: { alwaysMatch } });
      started.#base += `/session/${sessionId}`;
      await started.#send("POST", "/timeouts", { script: patience, pageLoad: patience });
      started.#current = started.#first = await started.#send("GET", "/window");
      return started;
    } catch (error) {
      await started.#driver.stop();
      throw error;
    }
  }

  async #send(method, path, body) {
    const signal = AbortSignal.timeout(patience);
    const response = await fetch(this.#base + path, { method, body: body && JSON.stringify(body), signal });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`WebDriver: ${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }

  /** Sends a command to a window. One at a time: which window commands go to is a state of the session. */
  command(handle, method, path, body) {
    const turn = this.#turn.then(async () => {
      if (handle !== this.#current) await this.#send("POST", "/window", { handle });
      this.#current = handle;
      return this.#send(method, path, body);
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async newPage() {
    // Windows, not tabs: a tab that is not in front is slowed down.
    const { handle } = await this.command(this.#first, "POST", "/window/new", { type: "window" });
    return new Page(this, handle);
  }

  async close() {
    await this.#send("DELETE", "").catch(() => {}); // closed already, or it crashed
    await this.#driver.stop();
  }
}

/** In the page: starts a function and keeps what it comes to, for `settled` to ask for. */
const begin = (code) => `
  const args = JSON.parse(arguments[0]).map(({ value }) => value);
  const running = (globalThis[Symbol.for("running")] ??= []);
  const run = async () => (${code})(...args);
  const result = run().then((value) => ({ value }), (error) => ({ error: error?.stack ? error + "\\n" + error.stack : String(error) }));
  return running.push(result.then(JSON.stringify)) - 1;
`;

/** In the page: what it has come to, or nothing after a while, so that other pages have their turn. */
const settled = `
  const [index, ms, done] = arguments;
  const running = globalThis[Symbol.for("running")];
  if (running) Promise.race([running[index], new Promise((resolve) => setTimeout(resolve, ms))]).then(done);
  else done('{"error":"the page went away"}');
`;

class Page {
  #instance;
  #handle;
  #closed = false;

  constructor(instance, handle) {
    this.#instance = instance;
    this.#handle = handle;
  }

  #command(method, path, body) {
    return this.#instance.command(this.#handle, method, path, body);
  }

  async goto(url) {
    await this.#command("POST", "/url", { url });
  }

  async reload() {
    await this.#command("POST", "/refresh", {});
  }

  async setViewport({ width, height }) {
    await this.#command("POST", "/window/rect", { width, height });
    const [outer, inner] = await this.evaluate(() => [[outerWidth, outerHeight], [innerWidth, innerHeight]]);
    const rect = { width: width + outer[0] - inner[0], height: height + outer[1] - inner[1] };
    await this.#command("POST", "/window/rect", rect);
  }

  async bringToFront() {} // each page has a window

  on() {} // WebDriver tells of no events

  async close() {
    if (this.#closed) return;
    this.#closed = true;
    await this.#command("DELETE", "/window");
  }

  /** Runs a function in the page, or a script's text. What goes in and comes out is JSON. */
  evaluate(code, ...args) {
    if (typeof code === "string") return this.#command("POST", "/execute/sync", { script: code, args: [] });
    return this.#run(String(code), args);
  }

  async #run(code, args) {
    const values = JSON.stringify(args.map((value) => ({ value }))); // undefined stays what it is
    const index = await this.#command("POST", "/execute/sync", { script: begin(code), args: [values] });
    for (let ms = 10; ; ms = Math.min(2 * ms, 200)) {
      const text = await this.#command("POST", "/execute/async", { script: settled, args: [index, ms] });
      if (text === null) continue;
      const { value, error } = JSON.parse(text);
      if (error !== undefined) throw new Error(error);
      return value;
    }
  }

  /** The page itself looks, again and again: asking it each time would keep it from its work. */
  async waitForFunction(code, _options, ...args) {
    const looking = `async (...args) => {
      const end = performance.now() + ${patience};
      for (;;) {
        const value = await (${code})(...args);
        if (value || performance.now() > end) return value;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }`;
    const value = await this.#run(looking, args);
    if (!value) throw new Error(`waited ${patience} ms in vain for ${code}`);
    return { jsonValue: async () => value };
  }

  async waitForSelector(selector, { hidden = false } = {}) {
    const there = (selector, hidden) => {
      const element = document.querySelector(selector);
      return hidden ? !element?.checkVisibility({ visibilityProperty: true }) : element !== null;
    };
    await this.waitForFunction(there, {}, selector, hidden);
    return { evaluate: (code) => this.$eval(selector, code) };
  }

  $eval(selector, code, ...args) {
    return this.#run(`(selector, args) => (${code})(document.querySelector(selector), ...args)`, [selector, args]);
  }

  $$eval(selector, code, ...args) {
    return this.#run(`(selector, args) => (${code})([...document.querySelectorAll(selector)], ...args)`, [selector, args]);
  }

  /** Clicks where the middle of the element is. WebDriver's own refuses a radio button that its label's text covers. */
  async click(selector) {
    const [x, y] = await this.$eval(selector, (element) => {
      element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
      const { left, top, width, height } = element.getBoundingClientRect();
      return [left + width / 2, top + height / 2].map(Math.round);
    });
    const press = ["pointerDown", "pointerUp"].map((type) => ({ type, button: 0 }));
    const actions = [{ type: "pointerMove", x, y }, ...press];
    await this.#command("POST", "/actions", { actions: [{ type: "pointer", id: "mouse", actions }] });
  }

  keyboard = {
    press: async (name) => {
      const value = keys[name] ?? name;
      const actions = [{ type: "keyDown", value }, { type: "keyUp", value }];
      await this.#command("POST", "/actions", { actions: [{ type: "key", id: "keyboard", actions }] });
    },
  };
}
