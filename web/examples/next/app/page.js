"use client";

import { createSigner } from "gridsigner";
import { useSession } from "gridsigner/react";
import { useEffect, useState } from "react";

// The app's own login, and its user's account. The demo's lets everybody in.
const ask = async (path, init) => (await fetch(path, init)).json();
const login = () => ask("/demo/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });

async function makeSigner() {
  const { otpSigners } = await ask("/demo/config");
  return createSigner({
    bridgeUrl: "/api/grid",
    headers: async () => ({ Authorization: `Bearer ${(await login()).accessToken}` }),
    otpSigners, // the simulator's: left out in production
  });
}

let making;
const theSigner = () => (making ??= makeSigner()); // one: StrictMode runs effects twice

export default function Page() {
  const [signer, setSigner] = useState();
  const [otp, setOtp] = useState();
  const [said, say] = useState();
  const fail = ({ code, message }) => say(`${code}: ${message}`);
  useEffect(() => void theSigner().then(setSigner, fail), []); // in the browser alone
  const { status, key, session } = useSession(signer);

  const send = async () => {
    const { accountId } = await login();
    const ways = await signer.listCredentials(accountId);
    const sent = await signer.startOtp(ways.find(({ type }) => type === "EMAIL_OTP").id);
    setOtp(sent);
    say(`A code is on its way to ${sent.nickname}`);
  };
  const enter = async (form) => {
    await otp.submit(form.get("code"));
    setOtp();
    say();
  };
  const leave = async () => {
    const { status } = await signer.signOut(key);
    say(`Signed out: ${status}`);
  };

  if (status === "signed-in") {
    return (
      <>
        <p id="status" role="status">Signed in until {session.expiresAt}</p>
        <button id="leave" onClick={() => leave().catch(fail)}>Sign out</button>
      </>
    );
  }
  return (
    <>
      <p id="status" role="status">{said ?? (status === "loading" ? "Loading" : "Signed out")}</p>
      {otp ? (
        <form id="enter" action={(form) => enter(form).catch(fail)}>
          <label>The code: <input id="code" name="code" autoComplete="one-time-code" required /></label>
          <button>Sign in</button>
        </form>
      ) : (
        <button id="send" disabled={status === "loading"} onClick={() => send().catch(fail)}>Sign in by e-mail</button>
      )}
    </>
  );
}
