// What runtime.js gets from elsewhere: constants that web/build fills in, and the Go class of wasm_exec.js, which goes before it.

/** The size of signer.wasm in bytes, uncompressed. */
declare const WASM_SIZE: number;

/** The SHA-256 of signer.wasm, in hex. */
declare const WASM_SHA256: string;

declare class Go {
  readonly importObject: WebAssembly.Imports;
  /** Runs until Go blocks for the first time, then returns a promise of Go's exit. */
  run(instance: WebAssembly.Instance): Promise<void>;
  /** Every way into the module once it runs: calls, timers, settled promises. */
  _resume(): void;
}

/** Set by the module while it starts. */
declare var gridsigner: unknown;

/** Of runtime.js, which sets it: a bundler may have taken away what that exports. */
declare var gridsignerLoad: typeof import("./runtime.ts").load | undefined;

/** Where a page requires Trusted Types. */
declare var trustedTypes:
  | { createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown } }
  | undefined;
