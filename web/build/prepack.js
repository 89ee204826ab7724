// Before "npm pack" and "npm publish": refuses a package without a build, or with one of other sources, which npm would make
// without a word. With --publish also one that does not say where its sources are.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(web, "package.json"), "utf8"));

/** Why the package cannot be made, or undefined. */
function fault() {
  let info;
  try {
    info = JSON.parse(readFileSync(join(web, "dist/build-info.json"), "utf8"));
  } catch {
    return "dist/ is not built";
  }
  if (info.version !== manifest.version) return `dist/ is of ${info.version}, and package.json of ${manifest.version}`;
  for (const [name, { sha256 }] of Object.entries(info.files)) {
    let content;
    try {
      content = readFileSync(join(web, "dist", name));
    } catch {
      return `dist/${name} is missing`;
    }
    if (createHash("sha256").update(content).digest("hex") !== sha256) return `dist/${name} is not what was built`;
  }
  const built = statSync(join(web, "dist/build-info.json")).mtimeMs;
  const sources = ["../go.mod", "../go.sum", "../Makefile"].map((name) => join(web, name));
  for (const room of ["src", "build", "../signer", "../wasm"]) {
    for (const entry of readdirSync(join(web, room), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath ?? entry.path, entry.name); // parentPath is there since Node 20.12
      const isSource = room !== "build" || /\.go$|^go\.(mod|sum)$/.test(entry.name);
      if (entry.isFile() && isSource && !/_test\.go$|\btestdata\b/.test(path)) sources.push(path);
    }
  }
  const newer = sources.find((path) => statSync(path).mtimeMs > built);
  if (newer) return `${newer} is newer than dist/`;
}

const found = fault();
if (found) {
  console.error(`gridsigner: ${found}. "make pack", in the project's root, builds and packs it.`);
  process.exit(1);
}
const missing = ["repository", "homepage", "bugs"].filter((field) => !manifest[field]);
if (process.argv.includes("--publish") && missing.length > 0) {
  console.error(
    `gridsigner: package.json has no ${missing.join(", no ")}: nobody could find what this is made of. ` +
      '"make module-path MODULE=github.com/you/gridsigner" says where the project is at home.',
  );
  process.exit(1);
}
