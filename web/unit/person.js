// The ways to sign in, as index.ts takes them, in the tabs of browser.js.
import { getPasskey } from "../.tsc/src/passkeys.js";
import { makeAuthenticator } from "../test/authenticator.js";
import { minute } from "./browser.js";

export const types = ["OAUTH", "EMAIL_OTP", "SMS_OTP", "PASSKEY"];

/** Somebody who has all of them, and types the code that came. */
export class Person {
  constructor(browser) {
    this.browser = browser;
    this.authenticator = makeAuthenticator();
    this.ways = Object.fromEntries(types.map((type) => [type, browser.grid.addCredential(type, { passkey: this.authenticator.credential })]));
    browser.set(globalThis, { PublicKeyCredential: class {}, navigator: { credentials: this.authenticator } });
  }

  /** Signs in. `key`: the id of one that is there. */
  async enter(tab, type, { key, curve, sealed, timeoutMs = minute, signal, onProgress } = {}) {
    const { id } = this.ways[type];
    const patience = { timeoutMs, ...(signal && { signal }), ...(onProgress && { onProgress }) };
    if (type === "OAUTH") {
      const made = key ?? (await tab.createKey({ curve, sealed }, {})).id;
      const { publicKey } = (await tab.keys()).find(({ id }) => id === made);
      return tab.signInWithToken(made, id, this.browser.grid.token(publicKey), patience);
    }
    if (type === "PASSKEY") {
      const asked = await tab.startPasskey(id, key ?? (sealed && (await tab.createKey({ sealed }, {})).id), { curve, ...patience });
      const assertion = await getPasskey(asked, {}, timeoutMs, signal).catch(async (error) => {
        await tab.giveUp(asked.key);
        throw error;
      });
      return tab.finishPasskey(asked, assertion, patience);
    }
    const sent = await tab.startOtp(id, patience);
    return tab.submitOtp(sent, this.browser.grid.codeOf(id), { curve, ...patience });
  }
}
