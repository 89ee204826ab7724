// The examples as they stand in the repository. That they work: e2e/examples.test.js.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const room = new URL("../examples/", import.meta.url);
const read = (path) => readFileSync(new URL(path, room), "utf8");
const names = readdirSync(room, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);

test("each is listed, and followed by a test", () => {
  const listed = [...read("README.md").matchAll(/^\| \[(\w+)\]\(\1\) \|/gm)].map(([, name]) => name);
  assert.deepEqual(listed.toSorted(), names.toSorted());
  const followed = read("../e2e/examples.test.js");
  for (const name of names) {
    assert.ok(followed.includes(`"${name}"`), name);
    assert.match(read(`${name}/README.md`), /<!-- run by web\/e2e\/examples\.test\.js -->\n```sh\n/, name);
  }
});

for (const name of names) {
  test(`${name}: what it depends on is pinned, and its lock file names no registry`, () => {
    const { dependencies, devDependencies, private: isPrivate } = JSON.parse(read(`${name}/package.json`));
    const all = { ...dependencies, ...devDependencies };
    assert.ok(isPrivate);
    assert.ok(!("gridsigner" in all), "the reader installs it");
    for (const version of Object.values(all)) assert.match(version, /^\d+\.\d+\.\d+$/);
    assert.equal(existsSync(new URL(`${name}/package-lock.json`, room)), Object.keys(all).length > 0);
    if (Object.keys(all).length > 0) assert.doesNotMatch(read(`${name}/package-lock.json`), /"resolved"|registry/);
  });
}

test("the app is the same in each, but for where the files are", () => {
  const app = (path) => read(path).replace(/^ *(workerUrl|wasmUrl): .*\n/gm, "");
  for (const name of names.filter((name) => name !== "next")) {
    const path = existsSync(new URL(`${name}/main.js`, room)) ? `${name}/main.js` : `${name}/public/main.js`;
    assert.equal(app(path), app("vite/main.js"), name);
    const body = (path) => /<body>.*/s.exec(read(path))[0];
    assert.equal(body(path.replace("main.js", "index.html")), body("vite/index.html"), name);
  }
});
