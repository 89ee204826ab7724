import { readFileSync } from "node:fs";
import resolve from "@rollup/plugin-node-resolve";

const page = {
  name: "page",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "index.html", source: readFileSync("index.html") });
  },
};

export default {
  input: "main.js",
  output: { dir: "dist" },
  plugins: [resolve(), page],
};
