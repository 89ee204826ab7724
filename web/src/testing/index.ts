/** The entry of testing.js: what types.ts beside this file declares. */
import * as args from "../arguments.ts";
import { Client, type Servant } from "../client.ts";
import { GridSignerError } from "../errors.ts";
import type { Port, Start } from "../rpc.ts";
import { serve } from "../serve.ts";
import { makeSigner } from "../signer.ts";
import type { CredentialType } from "../types.ts";
import { Device } from "./device.ts";
import { Grid } from "./grid.ts";
import type * as api from "./types.ts";

export function createTestGrid(options?: api.TestGridOptions): api.TestGrid {
  return new Grid(options);
}
createTestGrid satisfies typeof api.createTestGrid;

export async function createTestSigner(value: api.TestSignerOptions = {}): Promise<api.TestSigner> {
  const options = args.options("createTestSigner", value, ["grid", "signedIn", "autoRefresh", "payloads", "insecurePublicPage"]);
  const { grid = new Grid(), signedIn = false } = options;
  if (!(grid instanceof Grid)) throw args.invalid("grid must be one of createTestGrid's");
  if (typeof signedIn !== "boolean" && typeof signedIn !== "string") throw args.invalid("signedIn must be a boolean, or the type of a credential");
  const settings = { autoRefresh: args.boolean("autoRefresh", options.autoRefresh), payloads: args.choice("payloads", options.payloads, ["all", "activities"]) };
  if (!args.boolean("insecurePublicPage", options.insecurePublicPage)) refusePublicPage();
  const config = { timeoutMs: 30_000, namespace: undefined, autoRefresh: false, onProgress: undefined, headers: async () => ({}) };
  const connect = (_config: object, _keys: object, servant: Servant): Client => {
    const [page, module] = pair();
    serve(module, async (_start, { onEvent }) => {
      let isReady = false; // as after a reload: what was there before is no news
      const device = new Device(grid, { onEvent: (event) => isReady && onEvent(event) }, settings);
      if (signedIn) await device.enter(signedIn === true ? undefined : (signedIn as CredentialType));
      isReady = true;
      return { methods: device.methods, close: device.close, stopped: new Promise(() => {}) };
    });
    return new Client(page, () => {}, { alive: undefined, progress: false } as Start, servant);
  };
  // Nobody is asked for a passkey: who is to refuse is for the test to say.
  const [signer, client] = makeSigner(config, connect, async () => ({}));
  await client.ready;
  return Object.freeze({ ...signer, grid });
}
createTestSigner satisfies typeof api.createTestSigner;

/** Two ends of a channel of this thread. It has neither a handle nor a timer that would keep a process alive. */
function pair(): [Port, Port] {
  type Hear = (event: MessageEvent) => void;
  const [one, other]: [Hear[], Hear[]] = [[], []];
  const end = (own: Hear[], others: Hear[]): Port => ({
    postMessage(message) {
      const data = copied(message);
      void Promise.resolve().then(() => others.forEach((hear) => hear({ data } as MessageEvent)));
    },
    addEventListener(type, hear) {
      if (type === "message") own.push(hear);
    },
  });
  return [end(one, other), end(other, one)];
}

/** As structured cloning, which jsdom may not have, would copy it. Bytes are on their way to be erased: they are moved. */
function copied(value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(copied);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, copied(part)]));
}

/** On a page that others can reach there are people, who would take this for the real one. */
function refusePublicPage(): void {
  if (!("Worker" in globalThis && "location" in globalThis)) return; // not a browser
  const { protocol, hostname } = location;
  const isLocal = /^(localhost|127(\.\d+){3}|\[::1\]|.*\.(localhost|test))$/.test(hostname);
  if (/^https?:$/.test(protocol) && !isLocal) {
    throw new GridSignerError("LOAD_FAILED", `the test signer signs nothing that Grid would take, and ${hostname} is a public page: use createSigner of gridsigner`);
  }
}
