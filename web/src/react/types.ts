/**
 * The hook for React, as declarations only: this file is shipped verbatim as react.d.ts, and index.ts beside it is
 * checked against it. It needs no types of React's.
 *
 * @module gridsigner/react
 */
import type { GridSignerError, SessionBinding, SessionKey, Signer } from "gridsigner";

/** What is known of the session: the same object until something changes, so that it can be an effect's dependency. */
export type SessionState = {
  /**
   * Why the signer could not be asked the last time, such as `CLOSED`. The rest is then what it said before: `"loading"`
   * where it never has. The next event asks it again, and this goes when it answers.
   */
  readonly error?: GridSignerError;
} & (
  | { /** Not known yet, on the server and without a signer too. */ readonly status: "loading"; readonly key?: never; readonly session?: never }
  | {
      readonly status: "signed-in";
      /** What {@link Signer.session} gives: the key for the signer's other calls. A refresh makes another of the same `id`. */
      readonly key: SessionKey;
      /** The key's own. */
      readonly session: SessionBinding;
    }
  | { /** Also while Grid is being told of it. */ readonly status: "signed-out"; readonly key?: never; readonly session?: never }
);

/**
 * The session of a signer, in every tab: renders again when one starts, goes on to the next, or ends. Components that
 * use the same signer share one listener, which goes with the last of them; until there is a signer, hand over nothing.
 *
 * It never throws and never suspends. It may be the signer's first listener: who wants to hear of earlier visits'
 * sign-outs, calls {@link Signer.on} as soon as the signer is made.
 */
export declare function useSession(signer: Signer | null | undefined): SessionState;
