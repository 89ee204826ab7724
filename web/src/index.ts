/** The page's side of the signer: what types.ts declares. */
import * as args from "./arguments.ts";
import { aborted, type CallSettings, Client, isAborted, onAbort, type Servant } from "./client.ts";
import type { Outcome } from "./custody.ts";
import { GridSignerError } from "./errors.ts";
import { type Listener, type Method, type Start, workerName } from "./rpc.ts";
import type { AskedPasskey, SentOtp } from "./entering.ts";
import { createPasskey, getPasskey, personMs, readPasskeyOptions } from "./passkeys.ts";
import { Sessions } from "./sessions.ts";
import type * as api from "./types.ts";

export { createPasskey, GridSignerError };
GridSignerError satisfies typeof api.GridSignerError;
createPasskey satisfies typeof api.createPasskey;

/** How soon another worker takes the place of one that died in the middle of a sign-out; later each time, up to the second. */
const [reviveMs, reviveMostMs] = [1000, 30_000];

/** Resolves once the worker is ready, which makes keys before its module is there. On failure nothing is left running. */
export async function createSigner(options: api.CreateSignerOptions): Promise<api.Signer> {
  if (!("location" in globalThis)) {
    throw new GridSignerError("LOAD_FAILED", "a browser is needed: there is no page here");
  }
  const config = readOptions(options);
  const { signal } = config;
  if (signal && isAborted(signal)) throw aborted("createSigner", signal);
  const [signer, client] = makeSigner(config);
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
    wasmUrl: args.url("wasmUrl", () => options.wasmUrl ?? new URL("./signer.wasm", import.meta.url), base),
    workerUrl: args.url("workerUrl", () => options.workerUrl ?? new URL("./worker.js", import.meta.url), base),
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

/** Starts a module. `lost`: the keys that were only in the memory of earlier ones; `leave`: those whose sign-out is noted. */
function connect(config: Config, keys: { lost: string[]; leave: string[] }, servant: Servant): Client {
  const { workerUrl, runtimeUrl, wasmUrl, bridgeUrl, credentials, payloads, persistence, namespace, autoRefresh, otpSigners, exportSigners, timeoutMs } = config;
  if (!globalThis.isSecureContext) {
    throw new GridSignerError("LOAD_FAILED", "a secure context is needed: https, or a loopback address");
  }
  // Said here, since browsers give no reason when they refuse a worker's script. A blob: has the page's origin, and could be anything.
  if (workerUrl.origin !== location.origin || !/^https?:$/.test(workerUrl.protocol)) {
    throw new GridSignerError("LOAD_FAILED", `workerUrl must be of this page's origin, ${location.origin}: ${workerUrl}`);
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
  worker.addEventListener("error", ({ message }) => setTimeout(() => client.fail(message || `${url} could not be loaded as a worker`)));
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
  loaded.then(({ serve }) => serve(port2)).catch((cause) => client.fail(`${url} could not be loaded: ${cause}`));
  return client;
}

function makeSigner(config: Config): [api.Signer, Client] {
  const { timeoutMs } = config;
  const sessions = new Sessions(config.namespace);
  const closing = new AbortController();
  /** The keys that die with their worker. */
  const inMemory: string[] = [];
  let pauseMs = reviveMs;
  const servant: Servant = {
    onLoad: config.onProgress,
    headers: config.headers,
    onSession(event) {
      if (event.type !== "expiring") pauseMs = reviveMs; // which each new worker says
      sessions.hear(event);
    },
    onDeath() {
      if (!first.isReady || !(sessions.unfinished || config.autoRefresh)) return;
      const pause = new Promise<void>((over) => setTimeout(over, pauseMs));
      pause.then(revive).catch(() => {}); // the next call will say what is in the way
      pauseMs = Math.min(2 * pauseMs, reviveMostMs);
    },
  };
  const start = (servant: Servant) => connect(config, { lost: inMemory, leave: sessions.noted() }, servant);
  const first = start(servant);
  let client = first;

  function revive(): void {
    if (client.dead) client = start({ ...servant, onLoad: undefined });
  }

  // The casts trust the module to return what types.ts says; the tests hold it to that.
  function call<T>(method: Method, values: unknown[], settings: CallSettings, transfer?: Transferable[]): Promise<T> {
    revive();
    return client.call(method, values, settings, transfer) as Promise<T>;
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

  function signInSettings(what: string, value: unknown, timeoutMs: number): { curve: string | undefined; patience: CallSettings } {
    const options = args.options(what, value, ["curve", "signal", "timeoutMs", "onProgress"]);
    const { curve } = args.strings(what, { curve: options.curve });
    return { curve, patience: { ...settings(options), timeoutMs: args.timeout(options.timeoutMs, timeoutMs) } };
  }

  function list<T>(method: "listSessions" | "listCredentials", accountId: unknown, value: unknown): Promise<T> {
    const id = args.string("accountId", accountId);
    const patience = settings(args.options(method, value, ["signal", "timeoutMs"]));
    return call(method, [id, { timeoutMs: patience.timeoutMs }], patience);
  }

  /** What a sign-out came to, its error as one that can be thrown. */
  function outcome(result: Outcome): api.SignOutResult & api.SessionOutcome {
    return (result.error ? { ...result, error: client.error(result.error) } : result) as api.SignOutResult & api.SessionOutcome;
  }

  async function signOut(key: unknown, value: unknown = {}): Promise<api.SignOutResult | api.SessionOutcome[]> {
    const id = args.keyId(key);
    const options = args.options("signOut", value, ["scope", "unreachable", "timeoutMs", "onProgress"]);
    const scope = args.choice("scope", options.scope, ["this", "others", "all"]);
    const unreachable = args.choice("unreachable", options.unreachable, ["keep-trying", "forget"]);
    const onProgress = args.listener("onProgress", options.onProgress);
    const patience = args.timeout(options.timeoutMs, 10_000, 0);
    const outcomes = await sessions.signOut(id, scope === "others" ? scope : undefined, patience, (timeoutMs) =>
      call("signOut", [{ key: id, scope, unreachable, timeoutMs }], { timeoutMs, signal: undefined, onProgress }),
    );
    return scope === "this" ? outcome(outcomes[0]!) : outcomes.map(outcome);
  }

  // Every method is async, so that a refused argument is a rejection too.
  const signer = Object.freeze<api.Signer>({
    async createKey(value = {}) {
      const options = args.options("createKey", value, ["curve", "sealed"]);
      const { curve } = args.strings("createKey", { curve: options.curve });
      const sealed = args.boolean("sealed", options.sealed);
      if (sealed && curve !== undefined && curve !== "P-256") throw args.invalid("Grid seals to P-256 keys alone");
      return noted(await call("createKey", [{ curve, sealed }, {}], settings()));
    },

    async importKey(value) {
      const { privateKey } = args.fields("importKey", value, ["privateKey"]);
      const moved = args.secret("privateKey", privateKey); // before anything else may be refused
      try {
        const { curve, publicKey } = args.fields("importKey", value, ["curve", "publicKey"]);
        args.refuseOthers("importKey", value, ["privateKey", "curve", "publicKey"]);
        const given = { curve: args.string("curve", curve), ...args.strings("importKey", { publicKey }), privateKey: moved };
        return noted(await call("importKey", [given, {}], settings(), [moved.buffer]));
      } finally {
        args.erase(moved); // the call was never sent: its bytes are still here
      }
    },

    async keys() {
      return call("keys", [], settings());
    },

    async session() {
      return call("session", [], settings());
    },

    async oauthNonce(key) {
      return call("oauthNonce", [args.keyId(key)], settings());
    },

    async signIn(how, value = {}) {
      const given = args.options("signIn", how, ["credentialId", "oidcToken", "passkey", "key"]);
      const isPasskey = given.passkey !== undefined;
      if (isPasskey === (given.oidcToken !== undefined)) throw args.invalid("signIn takes an oidcToken or a passkey");
      const credentialId = args.string("credentialId", given.credentialId);
      const { curve, patience } = signInSettings("signIn", value, isPasskey ? personMs : timeoutMs);
      const key = isPasskey && given.key === undefined ? undefined : args.keyId(given.key);
      if (key !== undefined && curve !== undefined) throw args.invalid("curve is of a key that is made: one was given");
      if (!isPasskey) {
        const token = args.string("oidcToken", given.oidcToken);
        return call("signInWithToken", [key, credentialId, token, { timeoutMs: patience.timeoutMs }], patience);
      }
      const options = readPasskeyOptions(given.passkey);
      const deadline = performance.now() + patience.timeoutMs;
      const left = () => Math.max(1, deadline - performance.now());
      const asked = await call<AskedPasskey>("startPasskey", [credentialId, key, { curve, timeoutMs: left() }], patience);
      const assertion = await getPasskey(asked, options, left(), patience.signal, closing.signal).catch((error) => {
        if (!closing.signal.aborted) call("giveUp", [asked.key], settings()).catch(() => {}); // so it is when its time is over, too
        throw error;
      });
      const rest = { ...patience, timeoutMs: left() };
      return noted(await call("finishPasskey", [asked, assertion, { timeoutMs: rest.timeoutMs }], rest));
    },

    async startOtp(id, value = {}) {
      const { curve, patience } = signInSettings("startOtp", value, timeoutMs);
      const otp = await call<SentOtp>("startOtp", [args.string("credentialId", id), { timeoutMs: patience.timeoutMs }], patience);
      const { credentialId, accountId, type, nickname } = otp as SentOtp & { type: api.OtpSignIn["type"] };
      let isBusy = false;
      return Object.freeze<api.OtpSignIn>({
        credentialId, accountId, type, nickname,
        async submit(code, value = {}) {
          const given = args.otpCode(code);
          const { patience, curve: own = curve } = signInSettings("submit", value, timeoutMs);
          if (isBusy) throw args.invalid("a code is being submitted"); // a click too many would make a session too many
          isBusy = true;
          const submitted = call<api.SessionKey>("submitOtp", [otp, given, { curve: own, timeoutMs: patience.timeoutMs }], patience);
          return noted(await submitted.finally(() => (isBusy = false)));
        },
      });
    },

    async removeKey(key) {
      return call("removeKey", [args.keyId(key)], settings());
    },

    async bindSession(key, session) {
      return call("bindSession", [args.keyId(key), args.session(session), {}], settings());
    },

    async refreshSession(key, value = {}) {
      const id = args.keyId(key);
      const patience = settings(args.options("refreshSession", value, ["signal", "timeoutMs", "onProgress"]));
      return call("refreshSession", [{ key: id, timeoutMs: patience.timeoutMs }], patience);
    },

    async signChallenge(challenge, value = {} as api.SignOptions) {
      const fields = args.fields("challenge", challenge, ["payloadToSign", "requestId", "expiresAt", "type"]);
      const options = args.options("signChallenge", value, ["key", "intent", "format", "signal", "timeoutMs"]);
      const key = args.keyId(options.key);
      const intent = args.intent(options.intent);
      const { format } = args.strings("signChallenge", { format: options.format });
      const patience = settings(options);
      return call("signChallenge", [args.strings("challenge", fields), { key, intent, format, timeoutMs: patience.timeoutMs }], patience);
    },

    async revokeSession(sessionId, value = {} as api.SignedCallOptions) {
      const id = sessionId === undefined ? undefined : args.string("sessionId", sessionId);
      const options = args.options("revokeSession", value, ["key", "signal", "timeoutMs", "onProgress"]);
      const key = args.keyId(options.key);
      const patience = settings(options);
      const [result] = await sessions.signOut(key, id, patience.timeoutMs, (timeoutMs) =>
        call("revokeSession", [id, { key, timeoutMs }], { ...patience, timeoutMs }),
      );
      return outcome(result!);
    },

    signOut: signOut as api.Signer["signOut"],

    async listSessions(accountId, value = {}) {
      return list("listSessions", accountId, value);
    },

    async listCredentials(accountId, value = {}) {
      return list("listCredentials", accountId, value);
    },

    async addCredential(credential, value = {} as api.SignedCallOptions) {
      const submitted = args.credential(credential);
      const options = args.options("addCredential", value, ["key", "signal", "timeoutMs", "onProgress"]);
      const key = args.keyId(options.key);
      const patience = settings(options);
      return call("addCredential", [submitted, { key, timeoutMs: patience.timeoutMs }], patience);
    },

    async removeCredential(credentialId, value = {} as api.RemoveCredentialOptions) {
      const id = args.string("credentialId", credentialId);
      const options = args.options("removeCredential", value, ["key", "type", "signal", "timeoutMs", "onProgress"]);
      const key = args.keyId(options.key);
      const type = args.string("type", options.type);
      const patience = settings(options);
      return call("removeCredential", [id, { key, type, timeoutMs: patience.timeoutMs }], patience);
    },

    async exportWallet(accountId, value = {} as api.ExportOptions) {
      const id = args.string("accountId", accountId);
      const options = args.options("exportWallet", value, ["key", "allowUnsigned", "signal", "timeoutMs", "onProgress"]);
      const key = args.keyId(options.key);
      const allowUnsigned = args.boolean("allowUnsigned", options.allowUnsigned);
      const patience = settings(options);
      return call("exportWallet", [id, { key, allowUnsigned, timeoutMs: patience.timeoutMs }], patience);
    },

    on(type, listener) {
      args.choice("type", type ?? null, ["session"]);
      if (typeof listener !== "function") throw args.invalid("the listener must be a function");
      return sessions.listen(listener as Listener);
    },

    close() {
      closing.abort();
      client.close();
    },
  });
  return [signer, first];
}
