// What the page remembers across a reload: names and a choice, nothing secret.
// The keys are the signer's to keep.

const prefix = "gridsigner-demo/name/";
const actingItem = "gridsigner-demo/acting";

/** The device names as this page knows them: the browser may refuse to store them, and another tab forget one first. */
const known = new Map<string, string>();

export function nameOf(keyId: string): string {
  const name = known.get(keyId) ?? attempt(() => localStorage.getItem(prefix + keyId)) ?? undefined;
  if (name !== undefined) known.set(keyId, name);
  return name ?? "A device";
}

/** Calls when another tab has named a key: one that it signed in by a code it names last. */
export function onNamed(listener: () => void): void {
  addEventListener("storage", ({ key, newValue }) => {
    if (key?.startsWith(prefix) && newValue !== null) listener();
  });
}

export function rememberName(keyId: string, name: string): void {
  known.set(keyId, name);
  attempt(() => localStorage.setItem(prefix + keyId, name));
}

/** Stores the name of an ended key no longer. */
export function forgetName(keyId: string): void {
  attempt(() => localStorage.removeItem(prefix + keyId));
}

/** Forgets the names of keys that ended while no page was open. */
export function keepNames(keyIds: readonly string[]): void {
  const kept = new Set(keyIds.map((id) => prefix + id));
  attempt(() => {
    for (const item of Object.keys(localStorage)) {
      if (item.startsWith(prefix) && !kept.has(item)) localStorage.removeItem(item);
    }
  });
}

/** The key that this tab acts with. Another tab may act with another. */
export function actingKey(): string | undefined {
  return attempt(() => sessionStorage.getItem(actingItem)) ?? undefined;
}

export function rememberActing(keyId: string): void {
  attempt(() => sessionStorage.setItem(actingItem, keyId));
}

/** Storage may be forbidden or full; then a name is forgotten, and no more. */
function attempt<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}
