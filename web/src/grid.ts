/**
 * What the worker asks of Grid, through the bridge: the operations of signer/operation.go. And what holds for every key
 * that signs, here or for the page: its organization, the time, and that it has not ended meanwhile.
 */
import { Clock } from "./clock.ts";
import type { CustodySettings, Page } from "./custody.ts";
import { GridSignerError, toWire } from "./errors.ts";
import type { Keyring } from "./keys/keyring.ts";
import { lost } from "./keys/keyring.ts";
import type { KeyRecord } from "./keys/machine.ts";
import { withKey } from "./keys/secrets.ts";
import type { RawModule } from "./module.ts";
import type { CallEvent, EndReason } from "./types.ts";

/** How long a request may take, and who listens. */
export interface Patience {
  timeoutMs: number;
  signal?: AbortSignal;
  onProgress?: ((event: CallEvent) => void) | undefined;
}

/** Of an operation: the id in its path, what is submitted, and what else the challenge and the answer must say. */
export interface Params {
  id?: string;
  body?: object;
  account?: string;
  credentialType?: string;
  contact?: string;
  /** Of the challenge that a passkey answers. */
  requestId?: string;
  clientKey?: string;
}

/** What came of an operation: the terminal answer, and the organization that it was signed for. */
interface Performed {
  status: string;
  value: any;
  organizationId: string | undefined;
}

/** Whether somebody may still sign. Rejects if not. */
type Allow = () => Promise<void>;

export class Grid {
  readonly clock: Clock;
  readonly #module: RawModule;
  readonly #settings: CustodySettings;
  readonly #page: Page;
  readonly #keyring: Keyring;

  constructor(module: RawModule, settings: CustodySettings, page: Page, keyring: Keyring) {
    this.clock = new Clock(settings.bridgeUrl);
    this.#module = module;
    this.#settings = settings;
    this.#page = page;
    this.#keyring = keyring;
  }

  /** Carries out an operation, which `record` signs for, if it is signed. `allow` is asked last before that. */
  async perform(operation: string, parameters: Params, options: Patience, record?: KeyRecord, allow?: Allow): Promise<Performed> {
    const { bridgeUrl, credentials } = this.#settings;
    const { signal } = options;
    const left = stopwatch(options);
    await this.#module.ready?.(left());
    let ends = NaN;
    let asked: Promise<void> | undefined;
    const onProgress = (event: CallEvent) => {
      // The first answer may have taken long: whether the key may still sign is asked now, beside the judging of the challenge.
      if (record && event.step === "response" && event.leg === 1) (asked = this.#still(record)).catch(() => {});
      if (event.step === "challenge") ends = Date.parse(event.expiresAt);
      options.onProgress?.(event);
    };
    const body = parameters.body && JSON.stringify(parameters.body);
    const headers = ({ signal }: { signal: AbortSignal }) => this.#page.headers(signal);
    const request = { ...parameters, body, bridgeUrl, credentials, headers, clock: this.clock, timeoutMs: left(), signal, onProgress };
    const perform = (conditions: object) => this.#module.perform(operation, { ...request, ...conditions });
    try {
      const mayStill = async () => (await (asked ?? this.#still(record!)), allow?.());
      const answer = await (record ? this.withKey(record, (key) => perform({ ...key, allow: mayStill })) : perform({}));
      // Grid has accepted it: from now on the key is held to that organization.
      const { status, organizationId } = answer;
      const isNew = organizationId !== undefined && record!.organizationId === undefined;
      if (isNew) await this.#keyring.move(record!.id, { type: "accept", organizationId }).catch(() => {});
      // Copied by an app, a member of that name would become the copy's prototype.
      const clean = (name: string, value: unknown) => (name === "__proto__" ? undefined : value);
      const value = answer.body === undefined ? undefined : JSON.parse(answer.body, clean);
      return { status, value, organizationId };
    } catch (error) {
      // It came just now: one of the two clocks is wrong.
      if (toWire(error).code === "CHALLENGE_EXPIRED" && !this.clock.judge(ends)) this.#doubt("a challenge", ends);
      throw error;
    }
  }

  /** The rows of a list. */
  async list<T extends { id: string }>(operation: string, accountId: string, options: Patience): Promise<T[]> {
    const { value } = await this.perform(operation, { id: accountId }, options);
    return value.data;
  }

  /** Rejects if the key has moved on. */
  async #still({ id, state }: KeyRecord): Promise<void> {
    const now = await this.#keyring.find(id);
    if (now.state !== state) throw lost(words[now.reason ?? "leaving"]);
  }

  /** Lets `work` sign with a key, under the conditions that hold for it. That it has not ended is for the caller to see to. */
  async withKey<T>(record: KeyRecord, work: (conditions: object) => Promise<T>): Promise<T> {
    const { id, organizationId } = record;
    const conditions = { payloads: this.#settings.payloads, clock: this.clock, ...(organizationId !== undefined && { organizationId }) };
    try {
      return await withKey(this.#module, this.#keyring.storage, record, (key) => work({ ...conditions, key }));
    } catch (error) {
      if (toWire(error).code !== "KEY_MALFORMED") throw error;
      // What does not open today will not tomorrow.
      await this.#keyring.move(id, { type: "end", reason: "lost", now: Date.now() }).catch(() => {});
      throw lost(words.lost);
    }
  }

  /** Whether an instant has passed, by the server's clock and this device's. What is no date is for others to refuse. */
  async isPast(date: string, what: string): Promise<boolean> {
    const instant = Date.parse(date);
    return !Number.isNaN(instant) && ((await this.clock.isPast(instant)) ?? this.#doubt(what, instant));
  }

  #doubt(what: string, instant: number): never {
    const message = `whether ${what} is over, this device's clock and the server's do not agree`;
    throw new GridSignerError("CLOCK_SKEW", message, { skewMs: this.clock.ahead(instant) });
  }
}

/** What is left of a call's time from now on: storage, clocks and the module take theirs of it. */
export function stopwatch({ timeoutMs }: { timeoutMs: number }): () => number {
  const deadline = performance.now() + timeoutMs;
  return () => Math.max(1, deadline - performance.now());
}

/** Whether Grid has surely done nothing: a 401 may be of a challenge that was used. */
export const isRefusal = (status: number) => status >= 400 && status < 500 && ![401, 408, 409].includes(status);

export function usable(record: KeyRecord): KeyRecord {
  const { state, signIn, reason = "leaving" } = record;
  if (state === "leaving" || state === "ended") throw lost(signIn ? "its sign-in came to nothing" : words[reason]);
  return record;
}

/** Why a key signs no more. */
export const words: Record<EndReason | "leaving", string> = {
  leaving: "it is signed out",
  "signed-out": "it was signed out",
  expired: "its session is over",
  revoked: "its session was revoked",
  removed: "it was removed",
  forgotten: "it was signed out, and destroyed",
  lost: "what the browser has stored cannot be opened",
};
