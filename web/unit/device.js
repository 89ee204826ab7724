// A device, the server whose time it wants to know, and what is between them: time
// passes by the test's hand only.
import { Clock } from "../.tsc/src/clock.js";

export const minute = 60_000;
const before = { fetch: globalThis.fetch, wall: Date.now, monotonic: performance.now };

/** The hours that the server has, and those that the device sees. */
export class Device {
  /** The server's time, which is the true one. */
  server = Date.UTC(2026, 3, 8, 15, 30, 0);
  /** How far the device's own clock is ahead. */
  ahead = 0;
  #monotonic = 1234.5;
  /** What was asked of the bridge. */
  requests = [];
  /** The bridge, or who is in its place: answers with headers, or throws. */
  bridge = () => this.answer();

  constructor({ ahead = 0 } = {}) {
    this.ahead = ahead;
    Date.now = () => this.server + this.ahead;
    performance.now = () => this.#monotonic;
    globalThis.fetch = async (url, init) => {
      this.requests.push({ url, ...init });
      return { headers: new Headers(await this.bridge()) };
    };
  }

  clock() {
    return new Clock("https://app.example/api/grid");
  }

  /** The device's time. */
  get here() {
    return this.server + this.ahead;
  }

  /** The bridge's answer: when it was made, in whole seconds as HTTP has it, and since when a cache has kept it. */
  answer({ madeAt = this.server, age } = {}) {
    return { Date: new Date(madeAt).toUTCString(), ...(age !== undefined && { Age: String(age) }) };
  }

  awake(ms) {
    this.sleep(ms, ms);
  }

  /** Of a sleep the monotonic clock may count all, some or nothing. */
  sleep(ms, counted = 0) {
    this.server += ms;
    this.#monotonic += counted;
  }

  /** Somebody sets the device's clock. */
  jump(ms) {
    this.ahead += ms;
  }

  /** Leaves nothing of it behind. */
  static close() {
    globalThis.fetch = before.fetch;
    Date.now = before.wall;
    performance.now = before.monotonic;
  }
}
