/** The page's side of the signer: what types.ts declares. */
import * as args from "./arguments.ts";
import { type Arguments, type CallSettings, Client, type Listener } from "./client.ts";
import { fromWire, GridSignerError, type WireError } from "./errors.ts";
import { type Method, workerName } from "./rpc.ts";
import type * as api from "./types.ts";

export { GridSignerError };
GridSignerError satisfies typeof api.GridSignerError;

const challengeFields = ["payloadToSign", "requestId", "expiresAt", "type"] as const;

/** Resolves only once the module is ready, so that no call has to wait for it. */
export async function createSigner(options: api.CreateSignerOptions): Promise<api.Signer> {
  if (!("location" in globalThis)) {
    throw new GridSignerError("LOAD_FAILED", "a browser is needed: there is no page here");
  }
  const config = readOptions(options);
  const client = connect(config, config.onProgress);
  await client.ready;
  return makeSigner(client, config);
}
createSigner satisfies typeof api.createSigner;

type Config = ReturnType<typeof readOptions>;

function readOptions(value: unknown) {
  const options = args.options("createSigner", value, [
    "bridgeUrl",
    "wasmUrl",
    "workerUrl",
    "worker",
    "headers",
    "credentials",
    "timeoutMs",
    "persistence",
    "onKeysChanged",
    "onProgress",
  ]);
  const { worker = true, credentials = "same-origin", headers = {}, persistence = "indexeddb" } = options;
  if (typeof worker !== "boolean") throw args.invalid("worker must be a boolean");
  if (!["omit", "same-origin", "include"].includes(credentials as string)) {
    throw args.invalid(`credentials must be "omit", "same-origin" or "include"`);
  }
  if (persistence !== "indexeddb" && persistence !== "memory") {
    throw args.invalid(`persistence must be "indexeddb" or "memory"`);
  }
  const base = globalThis.document?.baseURI ?? location.href;
  return {
    bridgeUrl: args.bridgeUrl(options.bridgeUrl, base),
    wasmUrl: args.url("wasmUrl", () => options.wasmUrl ?? new URL("./signer.wasm", import.meta.url), base),
    workerUrl: args.url("workerUrl", () => options.workerUrl ?? new URL("./worker.js", import.meta.url), base),
    worker,
    credentials: credentials as string,
    // A function is called before each call to the bridge, anything else read now.
    headers: typeof headers === "function" ? (headers as () => unknown) : args.headers(headers),
    timeoutMs: args.timeout(options.timeoutMs, 30_000),
    persistence: persistence as "indexeddb" | "memory",
    onKeysChanged: args.listener("onKeysChanged", options.onKeysChanged),
    onProgress: args.listener("onProgress", options.onProgress),
  };
}

/**
 * Starts a module. On failure nothing is left running. `lost` is for one that
 * replaces another: the keys that were only in that one's memory.
 */
function connect(config: Config, onProgress: Listener | undefined, lost?: string[]): Client {
  const { workerUrl, wasmUrl, bridgeUrl, persistence, timeoutMs } = config;
  if (!isSecureContext) {
    throw new GridSignerError("LOAD_FAILED", "a secure context is needed: https, or a loopback address");
  }
  // Said here, since browsers give no reason when they refuse a worker's script.
  if (workerUrl.origin !== location.origin) {
    throw new GridSignerError("LOAD_FAILED", `workerUrl must be of this page's origin, ${location.origin}: ${workerUrl}`);
  }
  const alive = config.worker ? `gridsigner/${crypto.randomUUID()}` : undefined;
  const client = alive ? inWorker(workerUrl, alive) : onThisThread(workerUrl);
  const timer = setTimeout(() => client.fail(`not ready within ${timeoutMs} ms`), timeoutMs);
  client.ready.finally(() => clearTimeout(timer)).catch(() => {});
  client.start({ wasmUrl: wasmUrl.href, alive, custody: { bridgeUrl, persistence, lost } }, onProgress, config.onKeysChanged);
  return client;
}

function inWorker(url: URL, alive: string): Client {
  const ended = new AbortController();
  const { signal } = ended;
  const worker = startWorker(url);
  const client = new Client(worker, () => {
    ended.abort();
    worker.terminate();
  });
  const loading = new AbortController();
  client.ready.catch(() => {}).then(() => loading.abort());
  addEventListener(
    "securitypolicyviolation",
    ({ blockedURI, effectiveDirective, disposition }) => {
      // What is only reported was not blocked.
      if (disposition === "enforce" && blockedURI.startsWith(url.href)) {
        client.fail(`${effectiveDirective} does not allow ${url}`, "CSP_BLOCKED");
      }
    },
    { signal: loading.signal },
  );
  // An ErrorEvent where the script threw, a plain Event where it could not be
  // loaded; why not, a violation may say, in a task of its own.
  worker.addEventListener("error", (event) =>
    setTimeout(() => client.fail(event.message || `${url} could not be loaded as a worker`)),
  );
  // Nobody is told when a browser ends a worker, but its locks are released.
  client.ready
    .then((held) => (held ? navigator.locks.request(alive, { signal }, () => client.fail("its worker was ended")) : undefined))
    .catch(() => {}); // not ready, or closed
  return client;
}

function startWorker(url: URL): Worker {
  try {
    return new Worker(trusted(url) as URL, { type: "module", name: workerName });
  } catch (cause) {
    // Of this page's origin the URL is, so it is the policy that makes it insecure; other engines start nothing and report it.
    if (cause instanceof DOMException && cause.name === "SecurityError") {
      throw new GridSignerError("CSP_BLOCKED", `worker-src does not allow ${url}`, { cause });
    }
    const untrusted = cause instanceof TypeError && "trustedTypes" in globalThis;
    throw untrusted
      ? new GridSignerError("CSP_BLOCKED", "the policy must have trusted-types gridsigner", { cause })
      : new GridSignerError("LOAD_FAILED", `${url} could not be started as a worker: ${cause}`, { cause });
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

function onThisThread(url: URL): Client {
  const { port1, port2 } = new MessageChannel();
  const client = new Client(port1, () => port1.close());
  const loaded = import(/* webpackIgnore: true */ /* @vite-ignore */ url.href) as Promise<typeof import("./worker.ts")>;
  loaded.then(({ serve }) => serve(port2)).catch((cause) => client.fail(`${url} could not be loaded: ${cause}`));
  return client;
}

function makeSigner(client: Client, config: Config): api.Signer {
  const { timeoutMs } = config;
  const inMemory: string[] = [];

  // The cast trusts the module to return what types.ts says; the tests hold it to that.
  function call<T>(method: Method, values: Arguments, settings: CallSettings): Promise<T> {
    if (client.dead) client = connect(config, undefined, inMemory);
    return client.call(method, values, settings) as Promise<T>;
  }

  /** Remembers a key that would die with its worker. */
  function noted(key: api.SessionKey): api.SessionKey {
    if (key.persistence === "memory") inMemory.push(key.id);
    return key;
  }

  /** The options of a call to the bridge, as the module wants them. */
  async function bridgeOptions({ timeoutMs }: CallSettings): Promise<object> {
    const { bridgeUrl, credentials } = config;
    const asked = performance.now();
    const headers = await currentHeaders();
    // What the headers took is gone: the module has to be done before the page gives up.
    return { bridgeUrl, credentials, headers, timeoutMs: Math.max(1, timeoutMs - (performance.now() - asked)) };
  }

  async function currentHeaders(): Promise<Record<string, string>> {
    if (typeof config.headers !== "function") return config.headers;
    let value: unknown;
    try {
      value = await config.headers();
    } catch (cause) {
      throw args.invalid("the headers function failed", cause);
    }
    return args.headers(value);
  }

  // Every method is async, so that a refused argument is a rejection too.
  return Object.freeze<api.Signer>({
    async createKey(value = {}) {
      const { curve } = args.strings("createKey", args.options("createKey", value, ["curve"]));
      return noted(await call("createKey", [{ curve }, {}], { timeoutMs }));
    },

    async importKey(value) {
      const names = ["privateKey", "curve"] as const;
      const { privateKey, curve } = args.fields("importKey", value, names);
      const moved = args.secret("privateKey", privateKey); // before anything else may be refused
      try {
        args.refuseOthers("importKey", value, names);
        const key = { curve: args.string("curve", curve), privateKey: moved };
        return noted(await call("importKey", [key, {}], { timeoutMs, transfer: [moved.buffer] }));
      } finally {
        if (moved.length > 0) moved.fill(0); // the call was never sent: its bytes are still here
      }
    },

    async keys() {
      return call("keys", [], { timeoutMs });
    },

    async removeKey(key) {
      return call("removeKey", [args.keyId(key)], { timeoutMs });
    },

    async bindSession(key, session) {
      return call("bindSession", [args.keyId(key), args.session(session)], { timeoutMs });
    },

    async signChallenge(challenge, value) {
      const options = args.options("signChallenge", value, ["key", "intent", "format", "signal", "timeoutMs"]);
      const settings = {
        timeoutMs: args.timeout(options.timeoutMs, timeoutMs),
        signal: args.signal(options.signal),
      };
      const copy = args.strings("challenge", args.fields("challenge", challenge, challengeFields));
      const { format } = args.strings("signChallenge", { format: options.format });
      const key = args.keyId(options.key);
      const intent = args.intent(options.intent);
      return call("signChallenge", [copy, { key, intent, format, timeoutMs: settings.timeoutMs }], settings);
    },

    async revokeSession(sessionId, value) {
      const options = args.options("revokeSession", value, ["key", "signal", "timeoutMs", "onProgress"]);
      const settings = {
        timeoutMs: args.timeout(options.timeoutMs, timeoutMs),
        signal: args.signal(options.signal),
        onProgress: args.listener("onProgress", options.onProgress),
      };
      const id = sessionId === undefined ? undefined : args.string("sessionId", sessionId);
      const key = args.keyId(options.key);
      return call("revokeSession", async () => [id, { key, ...(await bridgeOptions(settings)) }], settings);
    },

    async revokeOtherSessions(accountId, value) {
      const options = args.options("revokeOtherSessions", value, ["key", "signal", "timeoutMs"]);
      const settings = {
        timeoutMs: args.timeout(options.timeoutMs, timeoutMs),
        signal: args.signal(options.signal),
      };
      const id = args.string("accountId", accountId);
      const key = args.keyId(options.key);
      const values = async () => [id, { key, ...(await bridgeOptions(settings)) }];
      type Outcome = api.RevokeResult | { sessionId: string; error: WireError };
      const outcomes = await call<Outcome[]>("revokeOtherSessions", values, settings);
      return outcomes.map((outcome) => ("error" in outcome ? { ...outcome, error: fromWire(outcome.error) } : outcome));
    },

    async listSessions(accountId, value = {}) {
      const options = args.options("listSessions", value, ["signal", "timeoutMs"]);
      const settings = {
        timeoutMs: args.timeout(options.timeoutMs, timeoutMs),
        signal: args.signal(options.signal),
      };
      const id = args.string("accountId", accountId);
      return call("listSessions", async () => [id, await bridgeOptions(settings)], settings);
    },

    close() {
      client.close();
    },
  });
}
