// The three engines, as Debian packages them: where their programs are, and how
// each is started.
import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import puppeteer from "puppeteer-core";
import { launchWebKit } from "./webkit.js";

function onPath(...names) {
  for (const name of names) {
    for (const directory of (process.env.PATH ?? "").split(delimiter)) {
      try {
        accessSync(join(directory, name), constants.X_OK);
        return join(directory, name);
      } catch {
        // not in this directory
      }
    }
  }
}

/** WebKit's own small browser, which Debian keeps beside the library: /usr/lib/<architecture>/webkit2gtk-<version>/. */
function miniBrowser() {
  const inside = (directory, pattern) =>
    readdirSync(directory).filter((name) => pattern.test(name)).map((name) => join(directory, name));
  const libraries = inside("/usr/lib", /-linux-gnu/).flatMap((directory) => inside(directory, /^webkit2gtk-4/));
  return libraries.flatMap((directory) => inside(directory, /^MiniBrowser$/)).at(-1);
}

/** By engine: the programs it takes (undefined where one is missing), how to get them, and how to start it. */
const engines = {
  chromium: {
    install: "apt-get install chromium-headless-shell, or chromium, or set CHROMIUM to its path",
    // The shell is the same engine without the windows and menus that nobody would see, and takes half as long.
    find: () => ({ browser: process.env.CHROMIUM ?? onPath("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome") }),
    launch({ browser }) {
      const quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage", // small in containers
        "--disable-features=AutofillServerCommunication", // it would ask a server about every form
        "--disable-sync",
        "--js-flags=--liftoff-only", // or V8 optimizes for seconds, on both cores, a module that runs for one
        "--force-prefers-reduced-motion", // nobody watches, and each frame is drawn without a GPU
        "--no-first-run",
      ];
      // Chromium's sandbox does not work for root, which is who tests run as in containers.
      const sandbox = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
      return puppeteer.launch({ executablePath: browser, args: [...quiet, ...sandbox] });
    },
  },
  firefox: {
    install: "apt-get install firefox-esr, or set FIREFOX to its path",
    find: () => ({ browser: process.env.FIREFOX ?? onPath("firefox-esr", "firefox") }),
    launch({ browser }) {
      const extraPrefsFirefox = {
        "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false,
        "network.proxy.allow_hijacking_localhost": true, // loopback is to go through a test's proxy too
      };
      return puppeteer.launch({ browser: "firefox", executablePath: browser, extraPrefsFirefox });
    },
  },
  webkit: {
    install: "apt-get install webkit2gtk-driver xvfb",
    find: () => ({
      driver: onPath("WebKitWebDriver"),
      display: onPath("Xvfb"),
      browser: miniBrowser(),
    }),
    launch: launchWebKit,
  },
};

/** The engines that can run here, and for each of the others what would install it. */
export function available() {
  const [here, missing] = [[], {}];
  for (const [name, { find, install }] of Object.entries(engines)) {
    if (Object.values(find()).every(Boolean)) here.push(name);
    else missing[name] = install;
  }
  return { here, missing };
}

/** Starts an engine. What WebKit's answers to is the part of Puppeteer's API in webkit.js. */
export function launch(engine) {
  const { find, launch, install } = engines[engine];
  const programs = find();
  if (!Object.values(programs).every(Boolean)) throw new Error(`no ${engine}: ${install}`);
  return launch(programs);
}
