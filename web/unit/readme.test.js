// The code of the pages as TypeScript sees it, by the declarations that are shipped. What it does: e2e/readme.test.js.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import ts from "typescript";
import { readBlocks } from "../test/readme.js";

/** What a reader brings. */
const brought = `
  import type { Challenge, EndReason, SessionKey, Signer } from "gridsigner";
  import type { ReactNode } from "react";

  declare global {
    const accountId: string, credentialId: string, otherId: string, oidcToken: string, otpSigners: string[];
    const headers: Record<string, string>, challenge: Challenge, signer: Signer, key: SessionKey;
    function accessToken(): string;
    function appToken(): Promise<string>;
    function askForTheCode(to: string): Promise<string>;
    function askTheProvider(request: { nonce: string }): Promise<string>;
    function report(error: unknown): void;
    function showSignedOut(reason?: EndReason): void;
    function showTimeLeft(until: string): void;
    function Spinner(): ReactNode;
    function Failed(props: { code: string }): ReactNode;
    function SignIn(props: { signer: Signer }): ReactNode;
    function Wallet(props: { until: string; onSignOut(): void }): ReactNode;
  }
`;

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/** What the type-checker has to say of scripts, each with its extension. */
function complaints(scripts) {
  const files = new Map(Object.entries({ "brought.ts": brought, ...scripts }).map(([name, text]) => [path(name), text]));
  const options = {
    strict: true,
    strictNullChecks: false, // the pages are JavaScript: they have no way to say that somebody is signed in
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    moduleDetection: ts.ModuleDetectionKind.Force,
    jsx: ts.JsxEmit.ReactJSX,
    types: [],
    paths: { gridsigner: [path("../dist/gridsigner.d.ts")], "gridsigner/react": [path("../dist/react.d.ts")] },
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (name) => files.get(name) ?? readFile(name);
  host.fileExists = (name) => files.has(name) || fileExists(name);
  const found = ts.getPreEmitDiagnostics(ts.createProgram([...files.keys()], options, host));
  return found.map(({ file, messageText }) => `${basename(file?.fileName ?? "")}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`);
}

test("every block is right by the declarations", () => {
  const scripts = {};
  for (const [scenario, { language, code }] of Object.entries(readBlocks())) {
    if (language.startsWith("js")) scripts[`${scenario}.${language.replace("js", "ts")}`] = code;
  }
  assert.ok(Object.keys(scripts).length > 2);
  assert.deepEqual(complaints(scripts), []);
});

test("the example of an app's own tests is the one that is run", async () => {
  const page = await readFile(path("../README.md"), "utf8");
  const [, shown] = /<!-- run by web\/unit\/readme\.test\.js, as example\.test\.js -->\n```js\n(.*?)```/s.exec(page);
  assert.equal(shown, await readFile(path("example.test.js"), "utf8"));
});
