// The hook in a page, with React's development build, which runs effects twice and tells of mistakes. What does not
// need a page: unit/react.test.js.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import React from "react";
import { renderToString } from "react-dom/server";
import { useSession } from "../dist/react.js";
import { makeBridge } from "./bridge.js";
import { browser, open, openTab } from "./browser.js";
import { react } from "./react.js";
import { send, serve } from "./server.js";

/** In the page: an app of two components that use the same signer, and what it shows, each state once. */
const app = `
  import { createElement, createRoot, hydrateRoot, StrictMode, useEffect } from "react";
  import { useSession } from "/react.js";

  globalThis.shown = [];
  globalThis.faults = [];
  globalThis.effects = 0;
  console.error = (...args) => faults.push(args.map(String).join(" "));
  const Status = ({ signer }) => {
    useEffect(() => void effects++, []);
    const state = useSession(signer);
    const { status, key, session, error } = state;
    const text = [status, key && (key.session === session ? session.id : "another key's"), error?.code].filter(Boolean).join(" ");
    if (shown.at(-1) !== text) shown.push(text);
    return createElement("p", null, text);
  };
  // Strict at the very root: further down React would not run the effects of the first rendering twice.
  const tree = (signer, count) => createElement(StrictMode, null, Array.from({ length: count }, (_, i) => createElement(Status, { signer, key: i })));

  let root;
  globalThis.render = (signer, count = 2) => (root ??= createRoot(document.body)).render(tree(signer, count));
  globalThis.hydrate = (signer, html) => {
    document.body.innerHTML = html;
    root = hydrateRoot(document.body, tree(signer, 2), { onRecoverableError: (error) => faults.push(String(error)) });
  };
  globalThis.texts = () => [...document.querySelectorAll("p")].map((p) => p.textContent);

  /** The same signer, as far as the hook is concerned, with its listeners and questions counted. */
  globalThis.counted = (signer) => {
    const counts = {
      listeners: 0,
      questions: 0,
      session: () => (counts.questions++, signer.session()),
      on(type, listener) {
        counts.listeners++;
        const off = signer.on(type, listener);
        return () => (counts.listeners--, off());
      },
    };
    return counts;
  };
`;

// Only the map that gives the package its React is inline, as an app without a bundler would have it.
const policy = "default-src 'none'; script-src 'self' 'nonce-map'; worker-src 'self'; connect-src 'self'; img-src data:";
const html = `<!doctype html><title>test</title><link rel="icon" href="data:,">
  <script type="importmap" nonce="map">{ "imports": { "react": "/react-itself.js" } }</script>
  <script type="module" src="/app.js"></script><script type="module" src="/page.js"></script>`;

let bridge, server;
before(() => {
  server = serve({
    "/api/grid/": (...exchange) => bridge.handler(...exchange),
    "/app": (_, response) => send(response, html, "text/html", policy),
    "/app.js": (_, response) => send(response, app, "text/javascript"),
    "/react-itself.js": (_, response) => send(response, react, "text/javascript"),
  });
});
after(() => server?.close());
beforeEach(() => (bridge = makeBridge()));

/** A test of this many tabs, whose signers nothing is rendered of yet. None of them has anything to complain of. */
const inTabs = (count, name, run) =>
  test(name, async () => {
    const profile = count > 1 && (await browser.createBrowserContext());
    const tabs = [];
    while (tabs.length < count) tabs.push(await (profile ? openTab(profile, server, "/app") : open(server, "/app")));
    await Promise.all(tabs.map((tab) => tab.evaluate(() => start())));
    await run(...tabs);
    for (const tab of tabs) assert.deepEqual(await tab.evaluate(() => [...faults, ...problems]), []);
    await (profile || tabs[0]).close();
  });

const signIn = (tab, session) => tab.evaluate(async (session) => (globalThis.key = await signer.bindSession(globalThis.key ?? (await signer.createKey()), session)), session);

/** Waits until both components show this. */
const shows = (tab, ...texts) => tab.waitForFunction((expected) => texts().join() === expected, {}, texts.join());

inTabs(1, "under StrictMode components share one listener and one question, and follow the session to its end", async (tab) => {
  const [first, second] = [bridge.signIn(), bridge.signIn()];
  await tab.evaluate(() => render((globalThis.counts = counted(signer))));
  await shows(tab, "signed-out", "signed-out");
  assert.deepEqual(await tab.evaluate(() => [effects, counts.listeners, counts.questions]), [4, 1, 1]);
  for (const session of [first, second]) {
    await signIn(tab, session); // the same key: as after a refresh
    await shows(tab, `signed-in ${session.id}`, `signed-in ${session.id}`);
  }
  await tab.evaluate(() => signer.signOut(key));
  await shows(tab, "signed-out", "signed-out");
  assert.deepEqual(await tab.evaluate(() => shown), ["loading", "signed-out", `signed-in ${first.id}`, `signed-in ${second.id}`, "signed-out"]);
  await tab.evaluate(() => render(counts, 0));
  await tab.waitForFunction(() => texts().length === 0 && counts.listeners === 0);
});

inTabs(2, "every tab shows the session, whichever tab it begins and ends in", async (one, other) => {
  for (const tab of [one, other]) {
    await tab.evaluate(() => render(signer));
    await shows(tab, "signed-out", "signed-out");
  }
  const session = bridge.signIn();
  await signIn(one, session);
  for (const tab of [one, other]) await shows(tab, `signed-in ${session.id}`, `signed-in ${session.id}`);
  await other.evaluate(async () => signer.signOut(await signer.session()));
  for (const tab of [one, other]) await shows(tab, "signed-out", "signed-out");
});

inTabs(1, "another signer is another session, and none is none, at once", async (tab) => {
  const session = bridge.signIn();
  await signIn(tab, session);
  await tab.evaluate(async () => {
    globalThis.one = counted(signer);
    globalThis.other = counted(await createSigner({ bridgeUrl: "/api/grid", namespace: "other" }));
    render(one);
  });
  await shows(tab, `signed-in ${session.id}`, `signed-in ${session.id}`);
  await tab.evaluate(() => render(other));
  await shows(tab, "signed-out", "signed-out");
  await tab.evaluate(() => render(undefined));
  await shows(tab, "loading", "loading");
  await tab.waitForFunction(() => one.listeners + other.listeners === 0); // effects come after what is shown
  assert.deepEqual(await tab.evaluate(() => shown), ["loading", `signed-in ${session.id}`, "loading", "signed-out", "loading"]);
});

inTabs(1, "a closed signer is an error on a page that works", async (tab) => {
  await tab.evaluate(() => (signer.close(), render(signer)));
  await shows(tab, "loading CLOSED", "loading CLOSED");
});

inTabs(1, "what a server has rendered is taken over, and then the session is shown", async (tab) => {
  const session = bridge.signIn();
  await signIn(tab, session);
  const Status = () => React.createElement("p", null, useSession(undefined).status);
  const html = renderToString(React.createElement(React.StrictMode, null, [0, 1].map((key) => React.createElement(Status, { key }))));
  await tab.evaluate((html) => hydrate(signer, html), html);
  await shows(tab, `signed-in ${session.id}`, `signed-in ${session.id}`);
  assert.deepEqual(await tab.evaluate(() => shown), ["loading", `signed-in ${session.id}`]);
});
