// The choice of a curve.
import { type Curve } from "gridsigner";
import { page } from "./page.ts";

const hints: Readonly<Record<Curve, string>> = {
  "P-256": "The browser makes the key and keeps it: non-extractable, so not even this page can read it.",
  secp256k1: "Browsers lack this curve, so a worker makes and uses the key, and stores it encrypted. Script on this page could have it decrypted.",
};

export function chosenCurve(): Curve {
  return new FormData(page.signInForm).get("curve") === "secp256k1" ? "secp256k1" : "P-256";
}

/** Says what becomes of a key on the chosen curve. */
export function explainCurves(): void {
  const explain = () => { page.curveHint.textContent = hints[chosenCurve()]; };
  page.signInForm.addEventListener("change", explain);
  explain();
}
