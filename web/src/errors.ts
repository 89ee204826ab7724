import type { ErrorCode, ErrorDetails } from "./types.ts";

const detailNames = ["status", "upstreamCode", "requestId", "skewMs", "retryAfterMs"] as const;

/** See types.ts: what callers may rely on is written there, once. */
export interface GridSignerError extends Readonly<Omit<ErrorDetails, "retryable" | "cause">> {}
export class GridSignerError extends Error {
  // Set here, not read from the class: minifying renames the class.
  override readonly name = "GridSignerError";
  readonly code: ErrorCode;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const given: ErrorDetails = Object.assign(Object.create(null), details); // nothing that a page's prototypes hold
    // A bundler may have put a whole file into a URL.
    super(message.replace(/(data:\S{50})\S+/g, "$1…"), "cause" in given ? { cause: given.cause } : undefined);
    this.code = code;
    this.retryable = given.retryable ?? false;
    for (const name of detailNames) {
      if (given[name] !== undefined) Object.defineProperty(this, name, { value: given[name], enumerable: true });
    }
  }

  /** JSON.stringify leaves out an error's message. */
  toJSON(): object {
    return { name: this.name, ...toWire(this) };
  }
}

/** An error as it crosses between threads: structured cloning drops an error's own fields. */
export type WireError = { code: ErrorCode; message: string; retryable: boolean } & Omit<ErrorDetails, "cause" | "retryable">;

/** What of an error may cross: of the module's and ours these fields; of any other not even the text, which may quote anything. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error && error.name === "GridSignerError")) {
    return { code: "INTERNAL", message: "internal error", retryable: false };
  }
  const { code, message, retryable } = error as GridSignerError;
  const wire: WireError = { code, message, retryable };
  for (const name of detailNames) {
    if (Object.hasOwn(error, name)) Object.assign(wire, { [name]: (error as GridSignerError)[name] });
  }
  return wire;
}

export function fromWire({ code, message, ...details }: WireError, cause?: unknown): GridSignerError {
  return new GridSignerError(code, message, cause === undefined ? details : { ...details, cause });
}
