import { createSigner } from "gridsigner";

const element = (id) => document.getElementById(id);

/** Says where we are, and shows what can be done there. */
function show(text, id) {
  element("status").textContent = text;
  for (const other of ["send", "enter", "leave"]) element(other).hidden = other !== id;
}
addEventListener("unhandledrejection", ({ reason }) => (element("status").textContent = `${reason.code ?? reason.name}: ${reason.message}`));

// The app's own login, and its user's account. The demo's lets everybody in.
const ask = async (path, init) => (await fetch(path, init)).json();
const login = () => ask("/demo/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });

async function main() {
  const [{ accountId }, { otpSigners }] = await Promise.all([login(), ask("/demo/config")]);
  const signer = await createSigner({
    bridgeUrl: "/api/grid",
    headers: async () => ({ Authorization: `Bearer ${(await login()).accessToken}` }),
    otpSigners, // the simulator's: left out in production
  });

  let otp;
  element("send").onclick = async () => {
    const ways = await signer.listCredentials(accountId);
    otp = await signer.startOtp(ways.find(({ type }) => type === "EMAIL_OTP").id);
    show(`A code is on its way to ${otp.nickname}`, "enter");
  };
  element("enter").onsubmit = async (event) => {
    event.preventDefault();
    welcome(await otp.submit(element("code").value));
  };
  element("leave").onclick = async () => {
    const { status } = await signer.signOut(await signer.session());
    show(`Signed out: ${status}`, "send");
  };

  const welcome = ({ session }) => show(`Signed in until ${session.expiresAt}`, "leave");
  const key = await signer.session(); // from before a reload
  if (key) welcome(key);
  else show("Signed out", "send");
}
main();
