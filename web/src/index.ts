/** The entry of gridsigner.js: what types.ts declares, and how a page starts the module that signer.ts calls. */
import * as args from "./arguments.ts";
import { aborted, Client, isAborted, onAbort, type Servant } from "./client.ts";
import { GridSignerError } from "./errors.ts";
import { createPasskey, getPasskey } from "./passkeys.ts";
import { type Start, workerName } from "./rpc.ts";
import { type Keys, makeSigner } from "./signer.ts";
import type * as api from "./types.ts";

export { createPasskey, GridSignerError };
GridSignerError satisfies typeof api.GridSignerError;
createPasskey satisfies typeof api.createPasskey;

/** What helps where a bundler has not placed the files that go along. */
const cure = "copy the files with npx gridsigner copy, and set workerUrl and wasmUrl";

/** Resolves once the worker is ready, which makes keys before its module is there. On failure nothing is left running. */
export async function createSigner(options: api.CreateSignerOptions): Promise<api.Signer> {
  // Node has neither. jsdom and a service worker have no Worker.
  if (!("location" in globalThis && "Worker" in globalThis)) {
    throw new GridSignerError("LOAD_FAILED", "there is no browser's page here: in tests, use gridsigner/testing");
  }
  const config = readOptions(options);
  const { signal } = config;
  if (signal && isAborted(signal)) throw aborted("createSigner", signal);
  const [signer, client] = makeSigner(config, connect, getPasskey);
  const ignore = onAbort("createSigner", signal, (error) => client.end(error));
  await client.ready.finally(ignore);
  return signer;
}
createSigner satisfies typeof api.createSigner;

type Config = ReturnType<typeof readOptions>;

function readOptions(value: unknown) {
  const options = args.options("createSigner", value, [
    "bridgeUrl", "wasmUrl", "workerUrl", "worker", "headers", "credentials", "timeoutMs", "persistence", "namespace", "payloads",
    "otpSigners", "exportSigners", "autoRefresh", "onProgress", "signal",
  ]);
  const { worker = true, headers = {} } = options;
  const base = globalThis.document?.baseURI ?? location.href;
  const fixed = typeof headers === "function" ? undefined : args.headers(headers);
  return {
    bridgeUrl: args.bridgeUrl(options.bridgeUrl, base),
    wasmUrl: place("wasmUrl", options.wasmUrl, () => new URL("./signer.wasm", import.meta.url), base),
    workerUrl: place("workerUrl", options.workerUrl, () => new URL("./worker.js", import.meta.url), base),
    // Beside worker.js, where the app says where that is. Otherwise bundlers place both, and look for them by these names.
    runtimeUrl: options.workerUrl === undefined ? new URL("./runtime.js", import.meta.url) : "./runtime.js",
    worker: args.boolean("worker", worker),
    autoRefresh: args.boolean("autoRefresh", options.autoRefresh),
    otpSigners: args.signers("otpSigners", options.otpSigners),
    exportSigners: args.signers("exportSigners", options.exportSigners),
    credentials: args.choice("credentials", options.credentials, ["same-origin", "omit", "include"]),
    headers: async (signal: AbortSignal) => fixed ?? args.headers(await (headers as (options: object) => unknown)({ signal })),
    timeoutMs: args.timeout(options.timeoutMs, 30_000),
    persistence: args.choice("persistence", options.persistence, ["indexeddb", "memory"]),
    namespace: args.namespace(options.namespace),
    payloads: args.choice("payloads", options.payloads, ["all", "activities"]),
    onProgress: args.listener("onProgress", options.onProgress),
    signal: args.signal(options.signal),
  };
}

/** Where a file is: where the app says, or beside this script. A bundle that is no module may not know where that is. */
function place(what: string, given: unknown, beside: () => URL, base: string): URL {
  try {
    given ??= beside();
  } catch (cause) {
    throw new GridSignerError("LOAD_FAILED", `this bundle has no import.meta.url: ${cure}`, { cause });
  }
  return args.url(what, () => given, base);
}

/** Starts a module. */
function connect(config: Config, keys: Keys, servant: Servant): Client {
  const { workerUrl, runtimeUrl, wasmUrl, bridgeUrl, credentials, payloads, persistence, namespace, autoRefresh, otpSigners, exportSigners, timeoutMs } = config;
  if (!globalThis.isSecureContext) {
    throw new GridSignerError("LOAD_FAILED", "a secure context is needed: https, or a loopback address");
  }
  // Said here, since browsers give no reason when they refuse a worker's script. A blob: has the page's origin, and could be anything.
  if (workerUrl.origin !== location.origin || !/^https?:$/.test(workerUrl.protocol)) {
    throw new GridSignerError("LOAD_FAILED", `workerUrl must be of this page's origin, ${location.origin}: ${workerUrl} (${cure})`);
  }
  const custody = { bridgeUrl, credentials, payloads, persistence, namespace, autoRefresh, otpSigners, exportSigners, ...keys };
  const start = { runtimeUrl: new URL(runtimeUrl, workerUrl).href, wasmUrl: wasmUrl.href, progress: servant.onLoad !== undefined, alive: undefined, custody };
  const client = (config.worker ? inWorker : onThisThread)(workerUrl, start, servant);
  const timer = setTimeout(() => client.fail(`not ready within ${timeoutMs} ms`), timeoutMs);
  client.ready.finally(() => clearTimeout(timer)).catch(() => {});
  return client;
}

function inWorker(url: URL, start: Start, servant: Servant): Client {
  const alive = `gridsigner/${crypto.randomUUID()}`;
  const worker = startWorker(url);
  const client = new Client(worker, () => worker.terminate(), { ...start, alive }, servant);
  const onViolation = ({ blockedURI, effectiveDirective, disposition }: SecurityPolicyViolationEvent) => {
    if (client.isReady || disposition !== "enforce" || !blockedURI.startsWith(url.href)) return; // or only reported
    client.fail(`${effectiveDirective} does not allow ${url}`, "CSP_BLOCKED");
  };
  addEventListener("securitypolicyviolation", onViolation, { signal: client.life });
  // An ErrorEvent where the script threw, a plain Event where it could not be loaded; why not, a violation may say, in a task of its own.
  worker.addEventListener("error", ({ message }) => setTimeout(() => client.fail(message || `${url} could not be loaded as a worker (${cure})`)));
  // Nobody is told when a browser ends a worker, but its locks are released.
  const released = client.ready.then(() => navigator.locks.request(alive, { signal: client.life }, () => client.askForLife()));
  released.catch(() => {}); // not ready, or closed, or there are no locks
  return client;
}

function startWorker(url: URL): Worker {
  try {
    return new Worker(trusted(url) as URL, { type: "module", name: workerName });
  } catch (cause) {
    const refuse = (code: api.ErrorCode, why: string) => new GridSignerError(code, why, { cause });
    // Of this page's origin the URL is, so it is the policy that makes it insecure; other engines start nothing and report it.
    if (cause instanceof DOMException && cause.name === "SecurityError") throw refuse("CSP_BLOCKED", `worker-src does not allow ${url}`);
    const isUntrusted = cause instanceof TypeError && "trustedTypes" in globalThis;
    if (isUntrusted) throw refuse("CSP_BLOCKED", "the policy must have trusted-types gridsigner");
    throw refuse("LOAD_FAILED", `${url} could not be started as a worker: ${cause}`);
  }
}

let policy: { createScriptURL(url: string): unknown } | undefined;

/** What `require-trusted-types-for 'script'` wants a worker's URL to be. connect has checked its origin. */
function trusted(url: URL): unknown {
  try {
    policy ??= globalThis.trustedTypes?.createPolicy("gridsigner", { createScriptURL: (url) => url });
  } catch {
    // The policy does not allow ours. That matters only if it wants one: new Worker will say.
  }
  return policy?.createScriptURL(url.href) ?? url;
}

function onThisThread(url: URL, start: Start, servant: Servant): Client {
  const { port1, port2 } = new MessageChannel();
  const client = new Client(port1, () => port1.close(), start, servant);
  const loaded = import(url.href) as Promise<typeof import("./worker.ts")>;
  loaded.then(({ serve }) => serve(port2)).catch((cause) => client.fail(`${url} could not be loaded: ${cause} (${cure})`));
  return client;
}
