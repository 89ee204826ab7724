// The limits, and the table that says who holds them.
import { candidates } from "./pages.js";

/** What we must hold against api-key-stamper, which was measured beside us: absolute times say more about the machine. */
export const mostOfStamper = { ready: 1.0, firstSignature: 1.6, block: 0.6 };

/** What revokeSession may take beyond its two round trips, in ms. */
export const mostBeyondRoundTrips = 2;

const [us, , stamper] = candidates.keys();

/**
 * A row of the table: the figure of each candidate, or of ours alone. `most` is its limit: a ratio to api-key-stamper, or where
 * nobody else has such a figure that of the figure itself.
 */
export function row(label, values, most) {
  const ratio = values[us] / values[stamper];
  const judged = values.length > 1 ? ratio : values[us];
  const behind = most !== undefined && !(judged <= most);
  const figures = Array.from(candidates, (_, i) => (values[i] === undefined ? "" : figure(values[i])));
  const verdict = most === undefined ? "" : `at most ${most.toFixed(1)}${values.length > 1 ? " x" : ""}  ${behind ? "BEHIND" : "ok"}`;
  return { cells: [label, ...figures, Number.isNaN(ratio) ? "" : `${ratio.toFixed(2)} x`, verdict], behind };
}

/** A row that is only a heading. */
export const heading = (text) => ({ cells: [text], behind: false });

const figure = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });

/** Lines up the columns: the first to the left, the others to the right. */
export function table(title, rows) {
  const lines = [[title, ...candidates.map(({ name }) => name), "ours/api-key", "limit"], ...rows.map(({ cells }) => cells)];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  const line = (cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  ").trimEnd();
  return lines.map(line).join("\n");
}
