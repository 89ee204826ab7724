/**
 * The server's time. Sessions and challenges end by it, and a device's own
 * clock may be wrong, be set while we run, or stand still while the lid is
 * closed. So no single clock is believed:
 *
 * - the `Date` of the bridge's answers says what time it was when they came;
 * - since then at least as much time has passed as the monotonic clock counts,
 *   which never runs ahead but may pause while the device sleeps;
 * - the wall clock counts sleep, but also whatever it is set to.
 */

/** Below this the two local clocks agree: timers and rounding, no sleep and no jump. */
const agreementMs = 5000;

/** How long the bridge may take to say what time it is. */
const askMs = 5000;

export class Clock {
  readonly #bridgeUrl: string;
  #learnt: { server: number; monotonic: number; wall: number } | undefined;
  #asking: Promise<boolean> | undefined;

  constructor(bridgeUrl: string) {
    this.#bridgeUrl = bridgeUrl;
  }

  /** Whether the server has ever said what time it is. */
  get known(): boolean {
    return this.#learnt !== undefined;
  }

  /** Takes the `Date` header of an answer that has just come, null where it has none that may be read. */
  learn(date: string | null): void {
    this.#learn(Date.parse(date ?? ""));
  }

  #learn(server: number): void {
    if (!Number.isNaN(server)) this.#learnt = { server, monotonic: performance.now(), wall: Date.now() };
  }

  /** The best guess, and never later than the server's time once that was learnt. */
  now(): number {
    return this.#learnt ? this.#bounds()[0] : Date.now();
  }

  /**
   * Whether an instant of the server's time has passed. Where the clocks leave
   * room for doubt the bridge is asked. `undefined`: this device says yes, and
   * the bridge could not be reached.
   */
  async isPast(instant: number): Promise<boolean | undefined> {
    const judged = this.#judge(instant);
    if (judged !== undefined) return judged;
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    const answered = await this.#asking;
    // A bridge that hides its Date; the wall clock is all there is then.
    return this.#judge(instant) ?? (answered ? true : undefined);
  }

  #judge(instant: number): boolean | undefined {
    const [earliest, latest] = this.#bounds();
    if (earliest >= instant) return true;
    return latest < instant ? false : undefined;
  }

  /** The server's time is between these two, as far as this device can tell. */
  #bounds(): [earliest: number, latest: number] {
    if (!this.#learnt) return [-Infinity, Date.now()];
    const { server, monotonic, wall } = this.#learnt;
    const earliest = server + (performance.now() - monotonic);
    const byWall = server + (Date.now() - wall);
    return [earliest, byWall - earliest > agreementMs ? byWall : earliest];
  }

  /** Learns the time from any answer of the bridge, a refusal included. Says whether one came that is of use. */
  async #ask(): Promise<boolean> {
    try {
      // With a slash: without, a router may redirect to it, and of another origin no redirect may be followed.
      const answer = await fetch(`${this.#bridgeUrl}/`, {
        method: "HEAD",
        cache: "no-store",
        credentials: "omit",
        signal: AbortSignal.timeout(askMs),
      });
      // What has no user and no body, caches on the way like to answer; some say how long ago it was true.
      const age = Number(answer.headers.get("Age") ?? 0) * 1000;
      const server = Date.parse(answer.headers.get("Date") ?? "") + (age > 0 ? age : 0);
      // From before what is known already: not the bridge that spoke.
      if (server < this.#bounds()[0] - agreementMs) return false;
      // Only of another origin can a bridge's Date be hidden. Here, what has none was not the bridge's answer.
      if (Number.isNaN(server) && (this.#learnt || new URL(this.#bridgeUrl).origin === location.origin)) return false;
      this.#learn(server);
      return true;
    } catch {
      return false;
    }
  }
}
