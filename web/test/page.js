// Runs in the page. Puts on its global scope what the tests evaluate there.
import * as gridsigner from "/gridsigner.js";

Object.assign(globalThis, gridsigner);

/** What a promise came to, as plain data: {value} or {code, ...}. */
globalThis.outcome = async (promise) => {
  try {
    return { value: await promise };
  } catch (error) {
    if (!(error instanceof gridsigner.GridSignerError)) return { uncoded: String(error) };
    const { name, code, message, retryable, status, upstreamCode, requestId, skewMs, sessionExpiresAt } = error;
    return { name, code, message, retryable, status, upstreamCode, requestId, skewMs, sessionExpiresAt, cause: String(error.cause) };
  }
};

/** A challenge that may be signed without naming an intent. */
globalThis.challenge = (payloadToSign = "opaque") => ({
  payloadToSign,
  requestId: "Request:019542f5-b3e7-1d02-0000-000000000007",
  expiresAt: new Date(Date.now() + 300_000).toISOString().replace(/\.\d+Z/, "Z"),
});

/** What a request to IndexedDB came to. */
globalThis.settled = (request) =>
  new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));

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
