/** The page's side of the signer: what types.ts declares. */
import * as args from "./arguments.ts";
import { type CallSettings, Client, isAborted, type Listener, onAbort, reason, report, type Servant } from "./client.ts";
import type { Outcome } from "./custody.ts";
import { GridSignerError, toWire } from "./errors.ts";
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
  const { signal } = config;
  const sessions = new Sessions(config.notes);
  const abort = () => client.fail("createSigner was aborted", "ABORTED");
  const aborted = () => new GridSignerError("ABORTED", "createSigner was aborted", { cause: reason(signal!) });
  if (signal && isAborted(signal)) throw aborted();
  const client = connect(config, { onLoad: config.onProgress, headers: config.headers, onSession: sessions.hear, onDeath: sessions.onDeath });
  const ignore = onAbort(signal, abort);
  try {
    await client.ready;
  } catch (error) {
    throw signal && isAborted(signal) ? aborted() : error;
  } finally {
    ignore();
  }
  return makeSigner(client, config, sessions);
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
    "namespace",
    "payloads",
    "onProgress",
    "signal",
  ]);
  const { worker = true, headers = {} } = options;
  if (typeof worker !== "boolean") throw args.invalid("worker must be a boolean");
  const namespace = args.namespace(options.namespace);
  const base = globalThis.document?.baseURI ?? location.href;
  const fixed = typeof headers === "function" ? undefined : args.headers(headers);
  return {
    bridgeUrl: args.bridgeUrl(options.bridgeUrl, base),
    wasmUrl: args.url("wasmUrl", () => options.wasmUrl ?? new URL("./signer.wasm", import.meta.url), base),
    workerUrl: args.url("workerUrl", () => options.workerUrl ?? new URL("./worker.js", import.meta.url), base),
    worker,
    credentials: args.choice("credentials", options.credentials, ["same-origin", "omit", "include"]),
    headers: async (signal: AbortSignal) => fixed ?? args.headers(await (headers as (options: object) => unknown)({ signal })),
    timeoutMs: args.timeout(options.timeoutMs, 30_000),
    persistence: args.choice("persistence", options.persistence, ["indexeddb", "memory"]),
    namespace,
    notes: new Notes(namespace),
    payloads: args.choice("payloads", options.payloads, ["all", "activities"]),
    onProgress: args.listener("onProgress", options.onProgress),
    signal: args.signal(options.signal),
  };
}

/**
 * Notes of sign-outs, each from when it is asked for until the worker has written it down: a tab that is closed at that
 * moment takes its worker along, and only what localStorage takes is kept at once. Empty where the browser denies it.
 */
class Notes {
  readonly #prefix: string;

  constructor(namespace: string | undefined) {
    this.#prefix = `gridsigner/leave/${namespace ?? ""}/`;
  }

  all(): string[] {
    const notes = this.#guarded(() => Object.keys(localStorage)) ?? [];
    return notes.filter((note) => note.startsWith(this.#prefix)).map((note) => note.slice(this.#prefix.length));
  }

  /** The note stays where the call came to nothing, and there may be such a key. */
  async during<T>(id: string, signOut: () => Promise<T>): Promise<T> {
    this.#guarded(() => localStorage.setItem(this.#prefix + id, ""));
    try {
      const result = await signOut();
      this.remove(id);
      return result;
    } catch (error) {
      if (["KEY_LOST", "KEY_NOT_FOUND", "ARGUMENT_INVALID"].includes((error as GridSignerError).code)) this.remove(id);
      throw error;
    }
  }

  remove(id: string): void {
    this.#guarded(() => localStorage.removeItem(this.#prefix + id));
  }

  #guarded<T>(use: () => T): T | undefined {
    try {
      return use();
    } catch {
      return undefined;
    }
  }
}

/** How soon another worker takes the place of one that died in the middle of a sign-out; later each time, up to the second. */
const [reviveMs, reviveMostMs] = [1000, 30_000];

/** What the signer's modules have told of sessions. */
class Sessions {
  readonly #listeners = new Set<Listener>();
  /** The last of each key, until somebody listens. */
  #early: Map<string, api.SessionEvent> | undefined = new Map();
  /** The sessions whose sign-out is not finished, by key. */
  readonly leaving = new Map<string, api.SessionBinding>();
  #reviveMs = reviveMs;
  /** Starts another module. */
  revive = () => {};

  readonly #notes: Notes;

  constructor(notes: Notes) {
    this.#notes = notes;
  }

  readonly hear = (event: api.SessionEvent): void => {
    if (event.type !== "started") this.#notes.remove(event.key); // it is written down
    if (event.type === "leaving") this.leaving.set(event.key, event.session);
    else this.leaving.delete(event.key);
    this.#reviveMs = reviveMs;
    this.#early?.set(event.key, event);
    for (const listener of this.#listeners) report(listener, event);
  };

  readonly onDeath = (): void => {
    if (this.leaving.size === 0) return;
    setTimeout(() => this.revive(), this.#reviveMs);
    this.#reviveMs = Math.min(2 * this.#reviveMs, reviveMostMs);
  };

  listen(listener: Listener): () => void {
    const mine: Listener = (event) => listener(event); // the same function twice is two listeners
    this.#listeners.add(mine);
    const early = this.#early;
    this.#early = undefined;
    queueMicrotask(() => early?.forEach((event) => this.#listeners.has(mine) && report(mine, event)));
    return () => void this.#listeners.delete(mine);
  }
}

/**
 * Starts a module. On failure nothing is left running. `lost` is for one that
 * replaces another: the keys that were only in that one's memory.
 */
function connect(config: Config, servant: Servant, lost?: string[]): Client {
  const { workerUrl, wasmUrl, bridgeUrl, credentials, payloads, persistence, namespace, timeoutMs } = config;
  if (!globalThis.isSecureContext) {
    throw new GridSignerError("LOAD_FAILED", "a secure context is needed: https, or a loopback address");
  }
  // Said here, since browsers give no reason when they refuse a worker's script. A blob: has the page's origin, and could be anything.
  if (workerUrl.origin !== location.origin || !/^https?:$/.test(workerUrl.protocol)) {
    throw new GridSignerError("LOAD_FAILED", `workerUrl must be of this page's origin, ${location.origin}: ${workerUrl}`);
  }
  const alive = config.worker ? `gridsigner/${crypto.randomUUID()}` : undefined;
  const client = alive ? inWorker(workerUrl, alive) : onThisThread(workerUrl);
  const timer = setTimeout(() => client.fail(`not ready within ${timeoutMs} ms`), timeoutMs);
  client.ready.finally(() => clearTimeout(timer)).catch(() => {});
  const custody = { bridgeUrl, credentials, payloads, persistence, namespace, lost, leave: config.notes.all() };
  client.start({ wasmUrl: wasmUrl.href, alive, custody }, servant);
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
    .then((held) => (held ? navigator.locks.request(alive, { signal }, () => client.askForLife()) : undefined))
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

function makeSigner(client: Client, config: Config, sessions: Sessions): api.Signer {
  const { timeoutMs } = config;
  const inMemory: string[] = [];
  const servant = { onLoad: undefined, headers: config.headers, onSession: sessions.hear, onDeath: sessions.onDeath };

  function revive(): void {
    if (client.dead) client = connect(config, servant, inMemory);
  }
  sessions.revive = () => {
    try {
      revive();
    } catch {
      // The next call will say what is in the way.
    }
  };

  // The casts trust the module to return what types.ts says; the tests hold it to that.
  function call<T>(method: Method, values: unknown[], settings: CallSettings, transfer?: Transferable[]): Promise<T> {
    revive();
    return client.call(method, values, settings, transfer) as Promise<T>;
  }

  /** A call that signs somebody out, perhaps: what a worker that dies has begun, the next one goes on with. */
  async function insist<T>(method: Method, first: unknown[], options: object, settings: CallSettings): Promise<T> {
    const asked = performance.now();
    const attempt = (timeoutMs: number) => call<T>(method, [...first, { ...options, timeoutMs }], { ...settings, timeoutMs });
    return attempt(settings.timeoutMs).catch((failed) => {
      const left = settings.timeoutMs - (performance.now() - asked);
      if (failed.code !== "WORKER_FAILED" || left <= 0) throw failed;
      return attempt(left);
    });
  }

  /** A sign-out, perhaps: of the key's session, or of the one that is named. Once it is written down it fails no more. */
  async function leave<T extends Outcome | Outcome[]>(key: string, sessionId: string | undefined, call: () => Promise<T>): Promise<T | Outcome> {
    try {
      return await (sessionId === undefined ? config.notes.during(key, call) : call());
    } catch (error) {
      const session = sessions.leaving.get(key);
      const isOwn = session && (sessionId ?? session.id).toLowerCase() === session.id.toLowerCase();
      const wire = toWire(error);
      // The caller's own wish, or not written down after all.
      if (!isOwn || ["CLOSED", "ABORTED", "STORAGE_FAILED"].includes(wire.code)) throw error;
      return { status: "pending", sessionId: session.id, sessionExpiresAt: session.expiresAt, error: wire };
    }
  }

  /** Remembers a key that would die with its worker. */
  function noted(key: api.SessionKey): api.SessionKey {
    if (key.persistence === "memory") inMemory.push(key.id);
    return key;
  }

  /** The settings of a call, of options that have been read. */
  function settings(options: { timeoutMs?: unknown; signal?: unknown; onProgress?: unknown } = Object.create(null)): CallSettings {
    return {
      timeoutMs: args.timeout(options.timeoutMs, timeoutMs),
      signal: args.signal(options.signal),
      onProgress: args.listener("onProgress", options.onProgress),
    };
  }

  async function signOut(key: unknown, value: unknown = {}): Promise<api.SignOutResult | api.SessionOutcome[]> {
    const id = args.keyId(key);
    const options = args.options("signOut", value, ["scope", "unreachable", "timeoutMs", "onProgress"]);
    const scope = args.choice("scope", options.scope, ["this", "others", "all"]);
    const unreachable = args.choice("unreachable", options.unreachable, ["keep-trying", "forget"]);
    const patience = {
      timeoutMs: args.timeout(options.timeoutMs, 10_000, 0),
      signal: undefined,
      onProgress: args.listener("onProgress", options.onProgress),
    };
    const call = () => insist<Outcome | Outcome[]>("signOut", [], { key: id, scope, unreachable }, patience);
    const result = await (scope === "others" ? call() : leave(id, undefined, call));
    if (scope === "all" && !Array.isArray(result)) return [outcome(result)];
    return Array.isArray(result) ? result.map(outcome<api.SessionOutcome>) : outcome<api.SignOutResult>(result);
  }

  // Every method is async, so that a refused argument is a rejection too.
  return Object.freeze<api.Signer>({
    async createKey(value = {}) {
      const { curve } = args.strings("createKey", args.options("createKey", value, ["curve"]));
      return noted(await call("createKey", [{ curve }, {}], settings()));
    },

    async importKey(value) {
      const names = ["privateKey", "curve", "publicKey"] as const;
      const { privateKey } = args.fields("importKey", value, ["privateKey"]);
      const moved = args.secret("privateKey", privateKey); // before anything else may be refused
      try {
        const { curve, publicKey } = args.fields("importKey", value, ["curve", "publicKey"]);
        args.refuseOthers("importKey", value, names);
        const given = { curve: args.string("curve", curve), ...args.strings("importKey", { publicKey }), privateKey: moved };
        return noted(await call("importKey", [given, {}], settings(), [moved.buffer]));
      } finally {
        args.erase(moved); // the call was never sent: its bytes are still here
      }
    },

    async keys() {
      return call("keys", [], settings());
    },

    async removeKey(key) {
      return call("removeKey", [args.keyId(key)], settings());
    },

    async bindSession(key, session) {
      return call("bindSession", [args.keyId(key), args.session(session)], settings());
    },

    async signChallenge(challenge, value = {} as api.SignOptions) {
      const copy = args.strings("challenge", args.fields("challenge", challenge, challengeFields));
      const options = args.options("signChallenge", value, ["key", "intent", "format", "signal", "timeoutMs"]);
      const key = args.keyId(options.key);
      const intent = args.intent(options.intent);
      const { format } = args.strings("signChallenge", { format: options.format });
      const { timeoutMs, signal } = settings(options);
      return call("signChallenge", [copy, { key, intent, format, timeoutMs }], { timeoutMs, signal, onProgress: undefined });
    },

    async revokeSession(sessionId, value = {} as api.RevokeOptions) {
      const id = sessionId === undefined ? undefined : args.string("sessionId", sessionId);
      const options = args.options("revokeSession", value, ["key", "signal", "timeoutMs", "onProgress"]);
      const key = args.keyId(options.key);
      const patience = settings(options);
      const call = () => insist<Outcome>("revokeSession", [id], { key }, patience);
      return outcome(await leave(key, id, call));
    },

    signOut: signOut as api.Signer["signOut"],

    async listSessions(accountId, value = {}) {
      const id = args.string("accountId", accountId);
      const patience = settings(args.options("listSessions", value, ["signal", "timeoutMs"]));
      return call("listSessions", [id, { timeoutMs: patience.timeoutMs }], patience);
    },

    on(type, listener) {
      args.choice("type", type ?? null, ["session"]);
      if (typeof listener !== "function") throw args.invalid("the listener must be a function");
      return sessions.listen(listener as Listener);
    },

    close() {
      client.close();
    },
  });

  /** A result with its error as one that can be thrown. */
  function outcome<T extends api.SessionOutcome>(result: Outcome): T {
    return (result.error ? { ...result, error: client.error(result.error) } : result) as T;
  }
}
