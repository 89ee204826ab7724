// A page that is none, as Vitest and Jest make it of jsdom: imported before React, which looks for one.
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><title>test</title>", { url: "http://localhost/" });
for (const [name, value] of Object.entries({ window, document: window.document, location: window.location, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
