/**
 * The entry of runtime.js, which worker.js imports: loads signer.wasm and starts it, in the worker, or on the page's own
 * thread where the caller asked for that.
 *
 * This script and the module are one unit: it was built with the SHA-256 of the one module that it will run.
 */
import { GridSignerError } from "./errors.ts";
import type { RawModule, Started } from "./module.ts";
import type { ErrorCode, ErrorDetails, LoadProgress } from "./types.ts";

/** Tells how far loading is; the module is all there unless told otherwise. */
type Report = (phase: LoadProgress["phase"], loaded?: number) => void;

/**
 * Checks, compiles and starts the module that `request` downloads from `url`. What can go wrong is a `LOAD_FAILED` that says
 * what was found at which URL, or `CSP_BLOCKED`.
 */
export async function load(
  url: string,
  request: () => Promise<Response>,
  onProgress?: (progress: LoadProgress) => void,
): Promise<Started> {
  if (!("WebAssembly" in globalThis)) throw failed("this browser has no WebAssembly: Lockdown Mode, for one, takes it away");
  // The smallest module there is: the browser's own words for a policy that forbids it differ, and these are the same in
  // all. WebKit compiles it anyway, and then refuses to start it.
  await WebAssembly.instantiate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)).catch(() => {
    throw failed("worker.js must be served with script-src 'self' 'wasm-unsafe-eval' in its Content-Security-Policy", {}, "CSP_BLOCKED");
  });
  const report: Report = (phase, loaded = WASM_SIZE) => onProgress?.({ phase, loaded, total: WASM_SIZE });
  const { bytes, compiling } = await download(url, request, report);
  report("compile");
  const go = new Go();
  let instance: WebAssembly.Instance;
  try {
    instance = await WebAssembly.instantiate(await (compiling ?? WebAssembly.compile(bytes)), go.importObject);
  } catch (cause) {
    throw failed(`the module could not be compiled: ${cause}`, { cause });
  }
  const started = start(go, instance);
  report("ready");
  return started;
}

// Parcel drops the exports of a file that it knows by its URL alone.
globalThis.gridsignerLoad = load;

/**
 * The bytes, which are the right ones, and the module that the engine has been compiling of them since the first arrived: it
 * is running that waits for the hash. The engine gets the network's own response, of which a browser may keep the compiled
 * code for the next visit. A request's `integrity` would do the same, but hold the response back until the last byte is there.
 */
async function download(
  url: string,
  request: () => Promise<Response>,
  report: Report,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; compiling: Promise<WebAssembly.Module> | undefined }> {
  const lost = async (cause: unknown): Promise<never> => {
    if (await isBlocked(url)) throw failed(`connect-src does not allow ${url}`, { cause }, "CSP_BLOCKED");
    throw failed(`${url} could not be fetched, which connect-src may forbid: ${cause}`, { cause, retryable: true });
  };
  const response = await request().catch(lost);
  const { ok, status, headers } = response;
  const cure = status === 404 ? ": wasmUrl says where signer.wasm is, and npx gridsigner copy puts it there" : "";
  if (!ok) throw failed(`${url} answered ${status}${cure}`, { retryable: status === 429 || status >= 500 });
  const copy = response.clone();
  // The engine refuses to stream any other Content-Type, though the bytes are right.
  const compiling = headers.get("Content-Type") === "application/wasm" ? WebAssembly.compileStreaming?.(response) : undefined;
  compiling?.catch(() => {}); // whoever waits for it hears why
  const bytes = await read(copy, report).catch(lost);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== WASM_SHA256) {
    throw failed(
      `${url} (${headers.get("Content-Type") ?? "no Content-Type"}) is another build, or no build at all: ` +
        `${bytes.length} bytes, SHA-256 ${found}; this runtime.js goes with ${WASM_SIZE} bytes, SHA-256 ${WASM_SHA256}`,
    );
  }
  return { bytes, compiling };
}

/** The bytes as they come out of the decompressor: Content-Length would be the compressed size. */
async function read(response: Response, report: Report): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(WASM_SIZE + 1); // with a byte too many it is no module of ours
  const reader = response.body!.getReader();
  let loaded = 0;
  report("download", loaded);
  for (let chunk; loaded <= WASM_SIZE && (chunk = (await reader.read()).value); ) {
    bytes.set(chunk.subarray(0, bytes.length - loaded), loaded);
    loaded = Math.min(loaded + chunk.length, bytes.length);
    report("download", Math.min(loaded, WASM_SIZE));
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

/** Starts Go and takes the functions that the module registers before it first blocks. A trap stops it as surely as an exit. */
function start(go: Go, instance: WebAssembly.Instance): Started {
  const before = globalThis.gridsigner;
  const exited = go.run(instance).catch(() => {});
  const module = globalThis.gridsigner;
  // Taken off the global again: on the page's own thread there may be several signers.
  globalThis.gridsigner = before;
  if (module === before || module === undefined) throw failed("the module stopped while it started");
  const resume = go._resume;
  const trapped = new Promise<void>((resolve) => {
    go._resume = () => {
      try {
        resume.call(go);
      } catch {
        // Always a trap, as the module's functions reject and never throw. No state of it can be trusted any more.
        resolve();
        throw failed("the module crashed", { retryable: true }, "WORKER_FAILED");
      }
    };
  });
  return { module: module as RawModule, stopped: Promise.race([exited, trapped]) };
}

function failed(message: string, details: ErrorDetails = {}, code: ErrorCode = "LOAD_FAILED"): GridSignerError {
  return new GridSignerError(code, message, details);
}
