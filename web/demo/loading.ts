// The signer, which is there at once, and how far its module has been loaded.
import { createSigner, type LoadProgress, type Signer } from "gridsigner";
import { explain, showFailure } from "./failure.ts";
import { appHeaders, type Config } from "./login.ts";
import { page } from "./page.ts";

/** Sessions go on by themselves as long as this page is open. */
export function loadSigner(bridgeUrl: string, { otpSigners, exportSigners }: Config): Promise<Signer> {
  return createSigner({ bridgeUrl, headers: appHeaders, otpSigners, exportSigners, autoRefresh: true, onProgress: show });
}

function show({ phase, loaded, total, error }: LoadProgress): void {
  if (error) return showNotLoaded(error, () => location.reload());
  page.load.hidden = phase === "ready";
  page.loadProgress.max = total;
  page.loadProgress.value = loaded;
  page.loadAmount.textContent = phase === "download" ? `${megabytes(loaded)} of ${megabytes(total)} MB` : "";
}

export function showNotLoaded(error: unknown, again: () => void): void {
  page.load.hidden = true;
  showFailure(page.signInError, "The signer could not be loaded.", explain(error), [{ label: "Try again", run: again }]);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}
