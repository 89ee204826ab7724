// The real program, "gridbridge demo", as a process of its own; and the
// simulator in it, which is asked directly whether a session is really over.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = process.env.GRIDBRIDGE ?? fileURLToPath(new URL("../../bin/gridbridge", import.meta.url));
const built = fileURLToPath(new URL("../dist", import.meta.url));

/** Starts the demo on a free port, unless the flags say otherwise, and waits until it answers. */
export async function startDemo(...flags) {
  const args = ["demo", "--json", "--listen", "127.0.0.1:0", "--web", built, ...flags];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill); // also when the tests end by a failure
  const exited = once(child, "exit");
  let output = ""; // all but the line with the credentials
  child.stderr.setEncoding("utf8").on("data", (text) => (output += text));
  const first = new Promise((resolve) => {
    let seen = false;
    createInterface(child.stdout).on("line", (line) => {
      if (seen) output += `${line}\n`;
      seen = true;
      resolve(line);
    });
  });
  const ready = await Promise.race([
    first.then(JSON.parse),
    exited.then(() => {
      throw new Error(`gridbridge ${args.join(" ")}: ${output}`);
    }),
  ]);

  const authorization = `Basic ${Buffer.from(`${ready.clientId}:${ready.clientSecret}`).toString("base64")}`;
  async function ask(path, init) {
    const headers = { Authorization: authorization, "Content-Type": "application/json" };
    const response = await fetch(ready.url + path, { ...init, headers });
    if (!response.ok) throw new Error(`the simulator answered ${response.status}: ${await response.text()}`);
    return response;
  }

  return {
    ...ready,
    origin: new URL(ready.page).origin,

    /** What the process has printed, apart from its first line. */
    output: () => output,

    /** The ids of the sessions that are active at the simulator, sorted. */
    async sessions() {
      const { data } = await (await ask(`/auth/sessions?accountId=${encodeURIComponent(ready.accountId)}`)).json();
      return data.map(({ id }) => id).sort();
    },

    /** The ways to sign in that there are at the simulator. */
    async ways() {
      return (await (await ask(`/auth/credentials?accountId=${encodeURIComponent(ready.accountId)}`)).json()).data;
    },

    /** Signs in at the simulator itself, where the bridge limits nobody, and returns the session's id. */
    async signIn(publicKey) {
      const login = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ publicKey }) };
      const { credentialId, oidcToken } = await (await fetch(new URL("/demo/login", ready.page), login)).json();
      const body = JSON.stringify({ type: "OAUTH", oidcToken, clientPublicKey: publicKey });
      const path = `/auth/credentials/${encodeURIComponent(credentialId)}/verify`;
      return (await (await ask(path, { method: "POST", body })).json()).id;
    },

    /** The codes that the simulator has sent, the oldest first; takes the flag --control. */
    async inbox() {
      return (await (await ask("/_sim/inbox")).json()).data;
    },

    /** Moves the simulator's clock; takes the flag --control. */
    async advance(seconds) {
      await ask("/_sim/clock", { method: "POST", body: JSON.stringify({ advanceSeconds: seconds }) });
    },

    /** Ends the process as a crash would. */
    async kill() {
      kill();
      await exited;
      process.off("exit", kill);
      if (output.includes("DATA RACE")) throw new Error(output); // it may be built to look for some
    },
  };
}
