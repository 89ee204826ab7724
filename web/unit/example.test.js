import "./jsdom.js"; // in Vitest and Jest: environment "jsdom"
import assert from "node:assert/strict";
import { test } from "node:test";
import { act, createElement } from "react";
import { createRoot } from "react-dom/client";
import { useSession } from "gridsigner/react";
import { createTestSigner } from "gridsigner/testing";

// A component of your app.
function Account({ signer }) {
  const { status, key } = useSession(signer);
  if (status !== "signed-in") return createElement("p", null, status);
  return createElement("button", { onClick: () => signer.signOut(key) }, "Sign out");
}

test("the button signs out, also where Grid hears of it later", async () => {
  const signer = await createTestSigner({ signedIn: true });
  const page = document.body.appendChild(document.createElement("main"));
  const shows = async (text) => {
    const end = Date.now() + 5_000;
    while (page.textContent !== text && Date.now() < end) await act(() => new Promise(setImmediate));
    assert.equal(page.textContent, text);
  };
  const root = createRoot(page);
  await act(() => root.render(createElement(Account, { signer })));
  await shows("Sign out");
  signer.grid.offline = true;
  await act(() => page.querySelector("button").click());
  await shows("signed-out");
  await act(() => root.unmount());
  assert.equal(signer.grid.sessions.length, 1);
  signer.grid.offline = false;
  await signer.grid.advance(0); // it goes on by itself
  assert.equal(signer.grid.sessions.length, 0);
});

test("a code that is wrong is asked for again, and a session ends when its time is up", async () => {
  const signer = await createTestSigner();
  const otp = await signer.startOtp(signer.grid.credential("EMAIL_OTP").id);
  await assert.rejects(otp.submit("000000"), { code: "OTP_INCORRECT" });
  const key = await otp.submit(signer.grid.code());
  assert.equal((await signer.session()).id, key.id);
  await signer.grid.advance(15 * 60_000);
  assert.equal(await signer.session(), undefined);
});

test("what fails is said", async () => {
  const signer = await createTestSigner({ signedIn: true });
  signer.grid.failNext("refreshSession", "UPSTREAM_UNAVAILABLE", { status: 503 });
  await assert.rejects(signer.refreshSession(await signer.session()), { code: "UPSTREAM_UNAVAILABLE", retryable: true, status: 503 });
});
