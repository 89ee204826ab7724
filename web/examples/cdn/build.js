// Writes dist: the page, whose import map says where gridsigner.js is and which bytes it must have, and the two files that must be
// of the page's own origin. What signer.wasm must be runtime.js knows by itself.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const { CDN = "http://localhost:3001" } = process.env; // such as https://cdn.example.com/gridsigner@0.1.0/dist
const packed = "node_modules/gridsigner/dist";
const hash = (algorithm, content) => `${algorithm}-${createHash(algorithm).update(content).digest("base64")}`;

mkdirSync("dist/gridsigner", { recursive: true });
for (const name of ["worker.js", "runtime.js"]) copyFileSync(`${packed}/${name}`, `dist/gridsigner/${name}`);
copyFileSync("main.js", "dist/main.js");

const script = `${CDN}/gridsigner.js`;
const importMap = JSON.stringify({
  imports: { gridsigner: script },
  integrity: { [script]: hash("sha384", readFileSync(`${packed}/gridsigner.js`)) },
});
const values = { CDN, IMPORT_MAP: importMap, HASH: hash("sha256", importMap) };
const page = readFileSync("index.html", "utf8").replace(/\{([A-Z_]+)\}/g, (_, name) => values[name]);
writeFileSync("dist/index.html", page);
