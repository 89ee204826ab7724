/** The module, from before it is there: what it offers, and who waits for it. */
import { GridSignerError, toWire } from "./errors.ts";

/** The module's own surface, see wasm/main_js.go. */
export interface RawModule {
  createKey(options: unknown): Promise<HeldKey>;
  importKey(options: unknown): Promise<HeldKey>;
  removeKey(id: string): Promise<boolean>;
  /** Calls encrypt with the private half, and zeroes that when encrypt returns. */
  lendKey(id: string, encrypt: (privateKey: Uint8Array<ArrayBuffer>) => Promise<ArrayBuffer>): Promise<ArrayBuffer>;
  signChallenge(challenge: unknown, options: unknown): Promise<unknown>;
  checkOtpTarget(bundle: string, options: unknown): Promise<void>;
  sealOtp(bundle: string, options: unknown): Promise<string>;
  openExport(envelope: string, options: unknown): Promise<string>;
  openSessionKey(sealed: string, options: unknown): Promise<Uint8Array<ArrayBuffer>>;
  perform(operation: string, options: unknown): Promise<{ status: string; body?: string; organizationId?: string }>;
  /** Of one that may still be loading: resolves when it is there. Rejects with why it will not be, or, in time, with `TIMEOUT`. */
  ready?(timeoutMs: number): Promise<void>;
}

export type HeldKey = { id: string; publicKey: string };

/** A module, and the promise that resolves when it has stopped, which it never does by intent. */
export type Started = { module: RawModule; stopped: Promise<void> };

/**
 * Loads the module at once, and stands for it until it is there: calls wait. Where it could not be loaded, and another try
 * may help, the next one that needs it tries again.
 */
export function late(load: () => Promise<Started>): Started {
  let loading: Promise<RawModule> | undefined;
  let stop!: () => void;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const loaded = () =>
    (loading ??= load().then(
      ({ module, stopped }) => (void stopped.then(stop), module),
      (error) => {
        if (toWire(error).retryable) loading = undefined;
        throw error;
      },
    ));
  loaded().catch(() => {}); // whoever needs it hears of it
  const ready = (timeoutMs: number) =>
    new Promise<void>((resolve, reject) => {
      const late = () => reject(new GridSignerError("TIMEOUT", "the module is still being loaded", { retryable: true }));
      const timer = setTimeout(late, timeoutMs);
      loaded().then(() => resolve(), reject).finally(() => clearTimeout(timer));
    });
  const call = async (name: keyof RawModule, args: never[]) => ((await loaded())[name] as (...args: never[]) => unknown)(...args);
  const module = new Proxy({ ready } as RawModule, {
    get: (own, name: keyof RawModule) => own[name] ?? ((...args: never[]) => call(name, args)),
  });
  return { module, stopped };
}
