/** What the components of a page share of one signer: a listener, and its last answer. React has no part in it. */
import type { GridSignerError, SessionEvent, Signer } from "../types.ts";
import type { SessionState } from "./types.ts";

interface Watch {
  state: SessionState;
  readonly watchers: Set<() => void>;
  /** The undo of listening. */
  deafen?: () => void;
}

export const loading: SessionState = { status: "loading" };

/** Those that somebody watches. What is not listened to is not known, and is asked for anew. */
const watches = new WeakMap<Signer, Watch>();

export function stateOf(signer: Signer | null | undefined): SessionState {
  return (signer && watches.get(signer)?.state) ?? loading;
}

/** Calls `changed` whenever stateOf gives another state. Returns its undo. */
export function watch(signer: Signer, changed: () => void): () => void {
  const own = watches.get(signer) ?? begin(signer);
  own.watchers.add(changed);
  return () => {
    own.watchers.delete(changed);
    // Not yet: StrictMode, and a page that shows another component, take the place of the last watcher at once.
    queueMicrotask(() => {
      if (own.watchers.size || watches.get(signer) !== own) return;
      watches.delete(signer);
      own.deafen?.();
    });
  };
}

function begin(signer: Signer): Watch {
  const own: Watch = { state: loading, watchers: new Set() };
  let asked = 0;
  const look = async () => {
    const mine = ++asked;
    let state: SessionState;
    try {
      own.deafen ??= signer.on("session", hear);
      const key = await signer.session();
      state = key?.session ? { status: "signed-in", key, session: key.session } : { status: "signed-out" };
    } catch (error) {
      state = { ...own.state, error: error as GridSignerError };
    }
    // An answer to an earlier question may be older than the event that led to this one, whichever comes first. One
    // that says the same is no change: it crosses from the worker as another object each time.
    if (mine !== asked || JSON.stringify(state) === JSON.stringify(own.state)) return;
    own.state = state;
    for (const changed of own.watchers) changed();
  };
  const hear = ({ type }: SessionEvent) => {
    if (type !== "expiring") void look(); // which changes nothing
  };
  watches.set(signer, own);
  void look();
  return own;
}
