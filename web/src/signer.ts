/** The calls of a signer: reads what the caller hands in, sends it to the module, and remembers what outlives one. */
import * as args from "./arguments.ts";
import type { CallSettings, Client, Servant } from "./client.ts";
import type { Outcome } from "./custody.ts";
import type { AskedPasskey, SentOtp } from "./entering.ts";
import { type getPasskey, personMs, readPasskeyOptions } from "./passkeys.ts";
import type { Listener, Method } from "./rpc.ts";
import { Sessions } from "./sessions.ts";
import type * as api from "./types.ts";

/** How soon another worker takes the place of one that died in the middle of a sign-out; later each time, up to the second. */
const [reviveMs, reviveMostMs] = [1000, 30_000];

/** What of a signer's options concerns its calls. */
interface Settings {
  timeoutMs: number;
  namespace: string | undefined;
  autoRefresh: boolean;
  onProgress: Listener | undefined;
  headers: Servant["headers"];
}

/** `lost`: the keys that were only in the memory of earlier modules; `leave`: those whose sign-out is noted. */
export interface Keys {
  lost: string[];
  leave: string[];
}

/**
 * A signer, and the client of its first module. `connect` starts a module, and is called anew where one has died;
 * `askPerson` has the browser ask for a passkey.
 */
export function makeSigner<C extends Settings>(
  config: C,
  connect: (config: C, keys: Keys, servant: Servant) => Client,
  askPerson: typeof getPasskey,
): [api.Signer, Client] {
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
      const assertion = await askPerson(asked, options, left(), patience.signal, closing.signal).catch((error) => {
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
