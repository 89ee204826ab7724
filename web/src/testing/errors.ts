/**
 * errors.ts as testing.js has it, where web/build puts this in its place: an error is of the class that gridsigner.js has, so that
 * `instanceof` holds in an app that has both.
 */
import { GridSignerError } from "gridsigner";
import type { WireError } from "../errors.ts";

export { toWire } from "../errors.ts";
export { GridSignerError };

export function fromWire({ code, message, ...details }: WireError, cause?: unknown): GridSignerError {
  return new GridSignerError(code, message, cause === undefined ? details : { ...details, cause });
}
