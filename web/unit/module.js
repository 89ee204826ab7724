// The module itself, in Node: as many of it as there are tabs.
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";

const goroot = execFileSync("go", ["env", "GOROOT"], { encoding: "utf8" }).trim();
await import(`file://${goroot}/lib/wasm/wasm_exec.js`);
const compiled = await WebAssembly.compile(await readFile(new URL("../dist/signer.wasm", import.meta.url)));

/** Starts one, and takes it off the global again. */
export async function startModule() {
  const go = new Go();
  void go.run(await WebAssembly.instantiate(compiled, go.importObject));
  const { gridsigner } = globalThis;
  delete globalThis.gridsigner;
  return gridsigner;
}
