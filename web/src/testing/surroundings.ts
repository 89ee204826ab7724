/** What the code of testing.js finds in the place of the browser's globals of these names: see web/build. */

/** No note of a sign-out outlives a test. */
export const localStorage = undefined;

/** Where there is none, a rejection that nobody handles: it fails the test, and so should what a listener of the app's throws. */
export const reportError = (error: unknown): void => (globalThis.reportError ? globalThis.reportError(error) : void Promise.reject(error));
