// Runs in every worker, before ours: the tests' eyes in there, in any engine.
// page.js is the other end.
navigator.locks.request(`worker ${crypto.randomUUID()}`, () => new Promise(() => {})); // held as long as the worker lives

/** What a test may ask, by name. */
globalThis.answers = {};

{
  const channel = new BroadcastChannel("witness");
  channel.addEventListener("message", ({ data: { question, name, args } }) => {
    if (name in answers) channel.postMessage({ question, answer: answers[name](...args) });
  });
  for (const type of ["error", "unhandledrejection", "securitypolicyviolation"]) {
    addEventListener(type, ({ message, reason, violatedDirective, blockedURI }) => {
      channel.postMessage({ problem: { type, message, reason: reason && String(reason), violatedDirective, blockedURI } });
    });
  }
}
