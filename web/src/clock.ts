/**
 * The server's time, by which sessions and challenges end. A device's clock may be wrong, and so may a server's: of the
 * two either can forbid a use, and only both together say that something is over.
 */

/** Below this the two local clocks agree: timers and rounding, no sleep and no jump. */
const agreementMs = 5000;

/** How long the bridge may take to say what time it is. */
const askMs = 900;

export class Clock {
  readonly #bridgeUrl: string;
  #learnt: { server: number; monotonic: number; wall: number } | undefined;
  #asking: Promise<void> | undefined;

  constructor(bridgeUrl: string) {
    this.#bridgeUrl = bridgeUrl;
  }

  /** Takes the `Date` header of an answer that has just come, null where it has none that may be read; and how old it says it is, in s. */
  learn(date: string | null, age: string | null = null): void {
    const server = Date.parse(date ?? "") + Math.max(0, Number(age) || 0) * 1000;
    if (!Number.isNaN(server)) this.#learnt = { server, monotonic: performance.now(), wall: Date.now() };
  }

  /** The server's time, or else this device's. */
  now(): number {
    return this.#server() ?? Date.now();
  }

  /** How far this device's clock is ahead, as far as that is known. */
  ahead(instant: number): number {
    return Date.now() - (this.#server() ?? instant);
  }

  /** Whether an instant has passed by both clocks; undefined where they contradict each other, or the server's is not known. */
  judge(instant: number): boolean | undefined {
    const server = this.#server();
    const here = Date.now() >= instant;
    if (server !== undefined && server < instant) return false; // a device's clock alone ends nothing
    if (server === undefined && !here) return false;
    return server !== undefined && here ? true : undefined;
  }

  /** The same for a use, which can wait a second: where there is doubt, the bridge is asked. */
  async isPast(instant: number): Promise<boolean | undefined> {
    const judged = this.judge(instant);
    if (judged !== undefined) return judged;
    await this.ask();
    return this.judge(instant);
  }

  /** Whether the server's time is. */
  get isKnown(): boolean {
    return this.#server() !== undefined;
  }

  #server(): number | undefined {
    if (!this.#learnt) return undefined;
    const { server, monotonic, wall } = this.#learnt;
    const passed = performance.now() - monotonic;
    // The one stood still in a sleep, or the other was set: what is known is of no use any more.
    if (Math.abs(Date.now() - wall - passed) > agreementMs) this.#learnt = undefined;
    return this.#learnt && server + passed;
  }

  /** Asks the bridge what time it is. */
  ask(): Promise<void> {
    return (this.#asking ??= this.#learnFromBridge().finally(() => (this.#asking = undefined)));
  }

  /** From whatever it answers, a refusal included. */
  async #learnFromBridge(): Promise<void> {
    try {
      // With a slash: without, a router may redirect to it, and of another origin no redirect may be followed.
      const { headers } = await fetch(`${this.#bridgeUrl}/`, {
        __proto__: null, // of a page that shares this realm, anything might be inherited
        method: "HEAD",
        cache: "no-store",
        credentials: "omit",
        signal: AbortSignal.timeout(askMs),
      } as RequestInit);
      this.learn(headers.get("Date"), headers.get("Age")); // what has no user and no body, caches on the way like to answer
    } catch {
      // Then it cannot be asked.
    }
  }
}
