// Runs in the page. Puts on its global scope what the tests evaluate there.
import * as gridsigner from "/gridsigner.js";

Object.assign(globalThis, gridsigner);

/** What a promise came to, as plain data: {value} or {code, ...}. */
globalThis.outcome = async (promise) => {
  try {
    return { value: await promise };
  } catch (error) {
    if (!(error instanceof gridsigner.GridSignerError)) return { uncoded: String(error) };
    const { name, code, message, retryable, status, upstreamCode, requestId, skewMs, retryAfterMs } = error;
    return { name, code, message, retryable, status, upstreamCode, requestId, skewMs, retryAfterMs, cause: String(error.cause) };
  }
};

/** A challenge that may be signed without naming an intent. */
globalThis.challenge = (payloadToSign = "b3BhcXVl") => ({
  payloadToSign,
  requestId: "Request:019542f5-b3e7-1d02-0000-000000000007",
  expiresAt: new Date(Date.now() + 300_000).toISOString().replace(/\.\d+Z/, "Z"),
});

/** Makes the page's signer, and listens to it. */
globalThis.start = async (options) => {
  globalThis.signer = await gridsigner.createSigner({ bridgeUrl: "/api/grid", ...options });
  globalThis.events = [];
  signer.on("session", (event) => events.push(event));
};

/** The same, with the page's key, which is bound to a session. */
globalThis.signIn = async (session, { curve, ...options } = {}) => {
  await start(options);
  globalThis.key = await signer.createKey({ curve });
  globalThis.key = await signer.bindSession(key, session);
  return key;
};

/** Signs with the page's key: the format, or why not. */
globalThis.sign = async (id = key) => {
  const { code, value, uncoded } = await outcome(signer.signChallenge(challenge(), { key: id }));
  return code ?? uncoded ?? value.format;
};

/** What the page was told of its key's session, in short. */
globalThis.told = (id = key.id) => events.filter(({ key }) => key === id).map(({ type, reason }) => reason ?? type);

/** What a request to IndexedDB came to. */
globalThis.settled = (request) =>
  new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));

/** Every record of a key that the browser has stored. */
globalThis.stored = async (database = "gridsigner") => {
  const connection = await settled(indexedDB.open(database));
  const records = await settled(connection.transaction("keys").objectStore("keys").getAll());
  connection.close();
  return records;
};

/** What a console would show of the page and its workers: uncaught errors, and violations of a content security policy. */
globalThis.problems = [];
const report = ({ type, message, reason, violatedDirective, blockedURI }) =>
  problems.push(`${type}: ${message ?? reason ?? `${violatedDirective} ${blockedURI}`}`);
for (const type of ["error", "unhandledrejection", "securitypolicyviolation"]) addEventListener(type, report);

const channel = new BroadcastChannel("witness"); // see witness.js
channel.addEventListener("message", ({ data }) => data.problem && report(data.problem));

/** What the worker says to a question that a test taught it. */
globalThis.askWorker = (name, ...args) =>
  new Promise((resolve) => {
    const question = crypto.randomUUID();
    channel.addEventListener("message", ({ data }) => data.question === question && "answer" in data && resolve(data.answer));
    channel.postMessage({ question, name, args });
  });

globalThis.livingWorkers = async () => (await navigator.locks.query()).held.filter(({ name }) => name.startsWith("worker ")).length;
