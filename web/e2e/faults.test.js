// The demo when something is wrong: with the challenge, the bridge, the network
// or the id. Each fault is shown with its code, and the page stays usable.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDemo } from "./demo.js";
import { hurried, visit, visitDemo, visitOnce } from "./visit.js";

/** What Chromium itself logs when a test provokes a failed request. */
const failedRequest = /^Failed to load resource/;

const scenario = (name, options, act) => test(name, () => visitDemo(options, act));

const isSigned = (exchange) => exchange.all("Grid-Wallet-Signature").length > 0;
const isRevocation = (exchange) => exchange.method === "DELETE";

/** A promise and the function that resolves it. */
function signal() {
  let fire;
  const fired = new Promise((resolve) => (fire = resolve));
  return { fired, fire };
}

test("faults that come and go", (t) =>
  visitOnce(t, { flags: ["--control"], tolerates: failedRequest, prelude: hurried }, {
    "a challenge that has expired when it arrives is not signed": async (guest, demo) => {
      const phone = await guest.signIn("P-256");
      const laptop = await guest.signIn("P-256");
      guest.recorder.onAnswer = (exchange) => {
        if (exchange.status !== 202) return;
        const expiresAt = new Date(Date.now() - 60_000).toISOString(); // by the server's clock too: its Date is of now
        exchange.answerBody = Buffer.from(JSON.stringify({ ...exchange.json, expiresAt }));
      };
      const shown = await guest.revoke(phone);
      assert.equal(shown.code, "CHALLENGE_EXPIRED");
      assert.deepEqual(shown.steps, ["request", "response", "challenge", "result"]);
      assert.match(shown.text, /which is past/);
      assert.equal(guest.recorder.revocations(phone).length, 1);
      assert.deepEqual(await demo.sessions(), [phone, laptop].sort());

      guest.recorder.onAnswer = undefined;
      assert.equal((await guest.revoke(phone)).status, "revoked");
      assert.deepEqual(await demo.sessions(), [laptop]);
    },
    "a lost answer to the signed leg: the session is found to be over": async (guest, demo) => {
      const phone = await guest.signIn("P-256");
      const laptop = await guest.signIn("P-256");
      guest.recorder.onAnswer = (exchange) => {
        if (isSigned(exchange)) exchange.drop();
      };
      const shown = await guest.revoke(phone);
      assert.equal(shown.status, "inactive");
      assert.deepEqual(shown.steps, ["request", "response", "challenge", "signed", "request", "wait", "request", "response", "result"]);
      assert.equal(guest.recorder.revocations(phone).filter(isSigned).length, 1, "a signed request is never repeated");
      assert.deepEqual(await demo.sessions(), [laptop]);
    },
    "a bridge that asks for another signature than the person agreed to": async (guest, demo) => {
      const own = await guest.signIn("P-256");
      guest.recorder.onAnswer = (exchange) => {
        if (exchange.status !== 202) return;
        const swapped = exchange.json.payloadToSign.replace("ACTIVITY_TYPE_DELETE_API_KEYS", "ACTIVITY_TYPE_EXPORT_WALLET");
        exchange.answerBody = Buffer.from(JSON.stringify({ ...exchange.json, payloadToSign: swapped }));
      };
      const shown = await guest.revokeInVain(own, 2000);
      assert.deepEqual([shown.status, shown.code], ["pending", "INTENT_MISMATCH"]);
      assert.match(await guest.page.$eval('[data-testid="error"]', (box) => box.innerText), /Nothing was signed.*do not trust this bridge/);
      await guest.signOutIs(own, "leaving");
      assert.equal(guest.recorder.revocations(own).filter(isSigned).length, 0, "nothing was signed");
      assert.deepEqual(await demo.sessions(), [own]);

      guest.recorder.onAnswer = undefined;
      await guest.signOutIs(own, "over");
      assert.deepEqual(await demo.sessions(), []);
    },
    "ids that are none are refused before anything is sent": async (guest) => {
      await guest.signIn("P-256");
      const before = guest.recorder.exchanges.length;
      for (const id of ["Session:../../customers", "Session:%2e%2e", "AuthMethod:019542f5-b3e7-1d02-0000-000000000003", "x"]) {
        const shown = await guest.revokeById(id);
        assert.deepEqual([shown.code, shown.steps], ["ARGUMENT_INVALID", ["result"]], id);
      }
      await guest.page.click("#fill-malformed");
      await guest.page.click('[data-testid="advanced-revoke"]');
      assert.equal((await guest.outcome()).code, "ARGUMENT_INVALID");
      assert.equal(guest.recorder.exchanges.length, before);
    },
    "Stop ends the wait for the bridge": async (guest, demo) => {
      const phone = await guest.signIn("P-256");
      const laptop = await guest.signIn("secp256k1");
      const [asked, answered] = [signal(), signal()];
      guest.recorder.onRequest = async (exchange) => {
        if (!isRevocation(exchange)) return;
        asked.fire();
        await answered.fired;
      };
      await guest.press(phone);
      await asked.fired;
      await guest.page.click('[data-testid="stop"]');
      assert.equal((await guest.outcome()).code, "ABORTED");
      answered.fire();
      guest.recorder.onRequest = undefined;
      assert.deepEqual(await demo.sessions(), [phone, laptop].sort());
      await guest.answerError("Try again");
      await guest.shows(laptop);
      assert.deepEqual(await demo.sessions(), [laptop]);
    },
    // These two move Grid's clock.
    "a challenge that expires at Grid between the legs is asked for anew": async (guest, demo) => {
      const own = await guest.signIn("secp256k1");
      let expired = false;
      guest.recorder.onRequest = async (exchange) => {
        if (expired || !isSigned(exchange)) return;
        expired = true;
        await demo.advance(301); // past the challenge's five minutes, not the session's fifteen
      };
      const shown = await guest.revoke(own);
      assert.equal(shown.status, "revoked");
      const legs = guest.recorder.revocations(own);
      assert.deepEqual(legs.map(({ status }) => status), [202, 401, 202, 204]);
      const [first, refused, second, accepted] = legs;
      assert.equal(refused.json.code, "UNAUTHORIZED");
      assert.deepEqual(refused.all("Request-Id"), [first.json.requestId]);
      assert.deepEqual(accepted.all("Request-Id"), [second.json.requestId]);
      assert.notEqual(first.json.requestId, second.json.requestId);
      assert.deepEqual(await demo.sessions(), []);
    },
    "a session that ran out at Grid": async (guest, demo) => {
      const own = await guest.signIn("P-256");
      await demo.advance(901);
      const shown = await guest.revoke(own);
      assert.deepEqual([shown.status, shown.code], ["inactive", undefined]);
      await guest.signedOut();
      await guest.signOutIs(own, "over");
    },
  }));

test("a bridge that dies, and comes back", async () => {
  const first = await startDemo();
  await visit(first, { tolerates: failedRequest, prelude: hurried }, async (guest) => {
    const phone = await guest.signIn("P-256");
    const laptop = await guest.signIn("P-256");
    await first.kill();

    // Signing out ends here, at least, and the page says that it may not have ended there.
    assert.equal((await guest.revokeInVain(laptop)).status, "pending");
    await guest.signOutIs(laptop, "leaving");
    assert.equal(await guest.own(), phone);

    await guest.page.click('[data-testid="refresh"]');
    await guest.page.waitForSelector('#sessions-error [data-code="HEADERS_FAILED"]');
    await guest.page.click('[data-testid="sign-in"]');
    await guest.page.waitForSelector('#sign-in-error [data-code="NETWORK_FAILED"]');

    // A new process at the same address knows none of the old sessions, and so the list that the page then asks for has none.
    const second = await startDemo("--listen", new URL(first.origin).host);
    try {
      await guest.signOutIs(laptop, "over");
      await guest.signedOut();
      const again = await guest.signIn("P-256");
      await guest.shows(again);
      assert.deepEqual(await second.sessions(), [again]);
      assert.equal((await guest.revoke(again)).status, "revoked");
      assert.deepEqual(await second.sessions(), []);
    } finally {
      await second.kill();
    }
  });
});

test("a module that does not load, until it is tried again", async () => {
  const demo = await startDemo();
  const before = (_, recorder) => {
    recorder.onRequest = (exchange) => {
      if (exchange.path === "/signer.wasm") exchange.drop(); // each time: Firefox itself asks again
    };
  };
  try {
    await visit(demo, { tolerates: failedRequest, before }, async (guest) => {
      assert.equal(await guest.errorCode(), "LOAD_FAILED");
      guest.recorder.onRequest = undefined;
      await guest.answerError("Try again");
      assert.deepEqual(await demo.sessions(), []);
      const own = await guest.signIn("P-256");
      assert.deepEqual(await demo.sessions(), [own]);
    });
  } finally {
    await demo.kill();
  }
});

const withoutWasm = (_, recorder) => {
  recorder.onAnswer = (exchange) => {
    if (exchange.path !== "/worker.js") return;
    exchange.strip("etag"); // asked again, the browser is to get all of it
    exchange.answerHeaders = exchange.answerHeaders.map((text) => text.replace(" 'wasm-unsafe-eval'", ""));
  };
};

scenario("a policy that forbids WebAssembly is named", { before: withoutWasm, tolerates: /Content Security Policy/ }, async (guest, demo) => {
  assert.equal(await guest.errorCode(), "CSP_BLOCKED");
  const shown = await guest.page.$eval('[data-testid="error"]', (box) => box.innerText);
  assert.match(shown, /The signer could not be loaded/);
  assert.match(shown, /security policy forbids what the signer needs/);
  assert.match(shown, /worker\.js must be served with script-src 'self' 'wasm-unsafe-eval'/);
  guest.recorder.onAnswer = undefined;
  await guest.answerError("Try again");
  const own = await guest.signIn("P-256");
  assert.deepEqual(await demo.sessions(), [own]);
});

/** The worker's clock is an hour ahead, and no answer says what time it is. */
const hourAhead = (_, recorder) => {
  recorder.onAnswer = (exchange) => {
    const prelude = "{ const now = Date.now; Date.now = () => now() + 3_600_000; }";
    if (exchange.path === "/worker.js") exchange.prepend(prelude);
    exchange.answerHeaders[exchange.answerHeaders.indexOf("Date") + 1] = "unknown"; // without one the recorder would add its own
  };
};

scenario("a clock that is wrong is told by how much", { before: hourAhead }, async (guest) => {
  await guest.ready();
  await guest.page.click('[data-testid="sign-in"]');
  assert.equal(await guest.errorCode(), "CLOCK_SKEW");
  const shown = await guest.page.$eval('[data-testid="error"]', (box) => box.innerText);
  assert.match(shown, /Not signed in/);
  assert.match(shown, /Set the clock, then try again/);
  assert.match(shown, /at least 4[45] min ahead/); // an hour less the session's 15 minutes
});
