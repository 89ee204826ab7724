// The signer, and how far it has been loaded.
import { createSigner, type LoadProgress, type Signer } from "gridsigner";
import { appHeaders, type Config } from "./login.ts";
import { page } from "./page.ts";

/** Sessions go on by themselves as long as this page is open. */
export function loadSigner(bridgeUrl: string, { otpSigners, exportSigners }: Config): Promise<Signer> {
  return createSigner({ bridgeUrl, headers: appHeaders, otpSigners, exportSigners, autoRefresh: true, onProgress: show });
}

function show({ phase, loaded, total }: LoadProgress): void {
  page.loadProgress.max = total;
  page.loadProgress.value = loaded;
  page.loadAmount.textContent = phase === "download" ? `${megabytes(loaded)} of ${megabytes(total)} MB` : "Starting…";
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}
