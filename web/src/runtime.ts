/**
 * Loads signer.wasm and starts it. Runs in the worker, or on the page's own
 * thread where the caller asked for that.
 *
 * This script and the module are one unit: it was built with the SHA-256 of
 * the one module that it will run.
 */
import { GridSignerError } from "./errors.ts";
import type { RawModule } from "./keys/secrets.ts";
import type { ErrorCode, ErrorDetails, LoadProgress } from "./types.ts";

type OnProgress = ((progress: LoadProgress) => void) | undefined;

/**
 * Downloads, checks, compiles and starts the module at `url`. What can go wrong
 * is a `LOAD_FAILED` that says what was found at which URL, or `CSP_BLOCKED`.
 */
export async function load(url: string, onProgress?: OnProgress): Promise<{ module: RawModule; stopped: Promise<void> }> {
  if (!("WebAssembly" in globalThis)) throw failed("this browser has no WebAssembly: Lockdown Mode, for one, takes it away");
  // Before anything is fetched: the browser's own words for it differ, and this is the same in all.
  if (!(await mayCompile())) {
    const policy = "script-src 'self' 'wasm-unsafe-eval'";
    throw failed(`worker.js must be served with ${policy} in its Content-Security-Policy`, {}, "CSP_BLOCKED");
  }
  const go = new Go();
  const instance =
    (!onProgress && (await verifiedByBrowser(url, go.importObject))) || (await verifiedHere(url, go.importObject, onProgress));
  const started = start(go, instance);
  onProgress?.({ phase: "ready", loaded: WASM_SIZE, total: WASM_SIZE });
  return started;
}

/** Whether the policy that this thread runs under allows the smallest module there is. WebKit compiles it anyway, and then refuses to start it. */
function mayCompile(): Promise<boolean> {
  return WebAssembly.instantiate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)).then(
    () => true,
    () => false,
  );
}

/**
 * The browser compares the hash, and hands over nothing that differs. Only of
 * this Response, the network's own, may it keep the compiled code for the next
 * visit. Why it refuses it does not say, or, in Firefox, only while the bytes
 * are read: `undefined`, and we look ourselves.
 */
async function verifiedByBrowser(url: string, imports: WebAssembly.Imports): Promise<WebAssembly.Instance | undefined> {
  const hash = btoa(String.fromCharCode(...WASM_SHA256.match(/../g)!.map((pair) => parseInt(pair, 16))));
  try {
    return await instantiate(await fetch(url, { integrity: `sha256-${hash}` }), imports);
  } catch {
    return undefined;
  }
}

/** The same with our own eyes, which can tell how far it is and what is wrong. */
async function verifiedHere(url: string, imports: WebAssembly.Imports, onProgress: OnProgress): Promise<WebAssembly.Instance> {
  let response: Response;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    response = await fetch(url);
    bytes = response.ok ? await read(response, onProgress) : new Uint8Array();
  } catch (cause) {
    if (await isBlocked(url)) throw failed(`connect-src does not allow ${url}`, { cause }, "CSP_BLOCKED");
    throw failed(`${url} could not be fetched, which connect-src may forbid: ${cause}`, { cause, retryable: true });
  }
  const { ok, status, headers } = response;
  if (!ok) throw failed(`${url} answered ${status}`, { retryable: status === 429 || status >= 500 });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== WASM_SHA256) {
    throw failed(
      `${url} (${headers.get("Content-Type") ?? "no Content-Type"}) is another build, or no build at all: ` +
        `${bytes.length} bytes, SHA-256 ${found}; this worker.js goes with ${WASM_SIZE} bytes, SHA-256 ${WASM_SHA256}`,
    );
  }
  onProgress?.({ phase: "compile", loaded: WASM_SIZE, total: WASM_SIZE });
  return instantiate(new Response(bytes, { headers: { "Content-Type": "application/wasm" } }), imports);
}

/** The bytes as they come out of the decompressor, no more of them than the module has. */
async function read(response: Response, onProgress: OnProgress): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(WASM_SIZE + 1);
  let loaded = 0;
  const total = WASM_SIZE; // Content-Length would be the compressed size
  onProgress?.({ phase: "download", loaded, total });
  const reader = response.body!.getReader();
  for (let chunk; (chunk = (await reader.read()).value); ) {
    bytes.set(chunk.subarray(0, bytes.length - loaded), loaded);
    loaded = Math.min(loaded + chunk.length, bytes.length);
    onProgress?.({ phase: "download", loaded: Math.min(loaded, total), total });
    if (loaded > total) {
      void reader.cancel().catch(() => {}); // no module of ours, however much more of it there is
      break;
    }
  }
  return bytes.subarray(0, loaded);
}

/** Whether the policy is why a request to this URL fails: the browser reports that to this thread alone, and WebKit to none. */
function isBlocked(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const answered = new AbortController();
    const answer = (blocked: boolean) => (answered.abort(), resolve(blocked));
    const listener = ({ effectiveDirective, disposition }: SecurityPolicyViolationEvent) => {
      if (disposition === "enforce" && effectiveDirective === "connect-src") answer(true);
    };
    addEventListener("securitypolicyviolation", listener, { signal: answered.signal });
    fetch(url, { method: "HEAD", signal: AbortSignal.timeout(1000) })
      .catch(() => {})
      .then(() => setTimeout(answer, 0, false)); // the report is a task of its own
  });
}

/** Compiles while the bytes arrive, where that is possible. */
async function instantiate(response: Response, imports: WebAssembly.Imports): Promise<WebAssembly.Instance> {
  try {
    // The engine refuses to stream any other Content-Type, though the bytes are right.
    const streams = response.headers.get("Content-Type") === "application/wasm" && "instantiateStreaming" in WebAssembly;
    const { instance } = streams
      ? await WebAssembly.instantiateStreaming(response, imports)
      : await WebAssembly.instantiate(await response.arrayBuffer(), imports);
    return instance;
  } catch (cause) {
    throw failed(`the module could not be compiled: ${cause}`, { cause });
  }
}

/** Starts Go and takes the functions that the module registers before it first blocks. */
function start(go: Go, instance: WebAssembly.Instance): { module: RawModule; stopped: Promise<void> } {
  const before = globalThis.gridsigner;
  const stopped = Promise.race([go.run(instance).catch(() => {}), crash(go)]); // a trap stops it as surely as an exit
  const module = globalThis.gridsigner;
  // Taken off the global again: on the page's own thread there may be several signers.
  globalThis.gridsigner = before;
  if (module === before || module === undefined) {
    throw failed("the module stopped while it started");
  }
  return { module: module as RawModule, stopped };
}

/**
 * Resolves at a trap, after which no state of the module can be trusted. What
 * throws out of the module is always one: its functions reject and never throw.
 */
function crash(go: Go): Promise<void> {
  const resume = go._resume;
  return new Promise((crashed) => {
    go._resume = () => {
      try {
        resume.call(go);
      } catch {
        crashed();
        throw failed("the module crashed", { retryable: true }, "WORKER_FAILED");
      }
    };
  });
}

function failed(message: string, details: ErrorDetails = {}, code: ErrorCode = "LOAD_FAILED"): GridSignerError {
  return new GridSignerError(code, message, details);
}
