// The page builds its DOM from elements and text only, never from markup, so
// that nothing that the server says can become code.

/** Anything that {@link el} can put into an element; undefined is left out. */
export type Child = Node | string | undefined;

/** Makes an element. A false or undefined attribute is left out, a true one is empty. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | boolean | undefined>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") element.setAttribute(name, value);
  }
  for (const child of children) if (child !== undefined) element.append(child);
  return element;
}

/** A list of named values, for exact ones that a reader may want to compare. */
export function facts(list: ReadonlyArray<Fact>): HTMLDListElement {
  const rows = list.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", { class: "mono" }, value)));
  return el("dl", { class: "facts-list" }, ...rows);
}

export type Fact = readonly [label: string, value: string];

export type IconName = "key" | "lock" | "laptop" | "phone" | "tablet" | "unknown" | "check" | "alert" | "wait" | "copy" | "mail";

const svg = "http://www.w3.org/2000/svg";

/** An icon of the sprite in index.html. Decorative: the words beside it carry the meaning. */
export function icon(name: IconName): SVGSVGElement {
  const root = document.createElementNS(svg, "svg");
  root.setAttribute("class", "icon");
  root.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(svg, "use");
  use.setAttribute("href", `#icon-${name}`);
  root.append(use);
  return root;
}

/** A ring that empties; see {@link setRing}. */
export function ring(): SVGSVGElement {
  const root = document.createElementNS(svg, "svg");
  root.setAttribute("class", "ring");
  root.setAttribute("viewBox", "0 0 20 20");
  root.setAttribute("aria-hidden", "true");
  for (let i = 0; i < 2; i++) {
    const circle = document.createElementNS(svg, "circle");
    for (const [name, value] of [["cx", "10"], ["cy", "10"], ["r", "8"], ["pathLength", "100"]] as const) {
      circle.setAttribute(name, value);
    }
    root.append(circle);
  }
  return root;
}

/** Shows what is left, from 0 to 1. A presentation attribute: the page's CSP allows no inline style. */
export function setRing(root: SVGSVGElement, left: number): void {
  root.lastElementChild?.setAttribute("stroke-dasharray", `${Math.round(left * 100)} 100`);
}

/** The element of index.html with this id and type; throws if the page and the script have drifted apart. */
export function find<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`demo: no #${id} of the expected type in the page`);
  return element;
}

/** The first and last characters of a long value, enough to compare two by eye. */
export function shorten(value: string, head: number, tail: number): string {
  return value.length <= head + tail + 1 ? value : `${value.slice(0, head)}…${value.slice(-tail)}`;
}

/** The day, or the time if that is today. */
export function since(instant: string): string {
  const date = new Date(instant);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock(instant) : date.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}

/** Wall-clock time as the reader's language writes it. */
export function clock(instant: string): string {
  return new Date(instant).toLocaleTimeString([], { hour: "numeric", minute: "2-digit" });
}
