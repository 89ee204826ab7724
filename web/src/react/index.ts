"use client";
/** The hook: what types.ts beside this file declares. It touches nothing when it is imported, on a server neither. */
import { useCallback, useSyncExternalStore } from "react";
import type { Signer } from "../types.ts";
import type * as api from "./types.ts";
import { loading, stateOf, watch } from "./watch.ts";

export function useSession(signer: Signer | null | undefined): api.SessionState {
  const subscribe = useCallback((changed: () => void) => (signer ? watch(signer, changed) : () => {}), [signer]);
  return useSyncExternalStore(subscribe, () => stateOf(signer), () => loading);
}
useSession satisfies typeof api.useSession;
