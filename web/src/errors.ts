import type { ErrorCode, ErrorDetails } from "./types.ts";

const detailNames = ["status", "upstreamCode", "requestId", "skewMs", "sessionExpiresAt"] as const;

/** See types.ts: what callers may rely on is written there, once. */
export class GridSignerError extends Error {
  // Set here, not read from the class: minifying renames the class.
  override readonly name = "GridSignerError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  declare readonly status?: number;
  declare readonly upstreamCode?: string;
  declare readonly requestId?: string;
  declare readonly skewMs?: number;
  declare readonly sessionExpiresAt?: string;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.retryable = details.retryable ?? false;
    for (const name of detailNames) {
      if (details[name] !== undefined) Object.assign(this, { [name]: details[name] });
    }
  }
}

/** An error as it crosses between threads: structured cloning drops an error's own fields. */
export type WireError = { code: ErrorCode; message: string; retryable: boolean } & Omit<ErrorDetails, "cause" | "retryable">;

/**
 * What of an error may cross. The module's errors and ours have the same
 * fields; of anything else not even the text is passed on, since nobody has
 * checked what it quotes.
 */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error && error.name === "GridSignerError")) {
    return { code: "INTERNAL", message: "internal error", retryable: false };
  }
  const { code, message, retryable } = error as GridSignerError;
  const wire: WireError = { code, message, retryable };
  for (const name of detailNames) {
    if (name in error) Object.assign(wire, { [name]: (error as GridSignerError)[name] });
  }
  return wire;
}

export function fromWire({ code, message, ...details }: WireError): GridSignerError {
  return new GridSignerError(code, message, details);
}
