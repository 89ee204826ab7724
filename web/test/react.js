// React's development build as one module for browsers: its packages hold CommonJS alone.
import { readFileSync } from "node:fs";
import React from "react";

const packages = Object.entries({
  react: "react/cjs/react",
  "react/jsx-runtime": "react/cjs/react-jsx-runtime",
  scheduler: "scheduler/cjs/scheduler",
  "react-dom": "react-dom/cjs/react-dom",
  "react-dom/client": "react-dom/cjs/react-dom-client",
}).map(([name, file]) => {
  const source = readFileSync(new URL(`../node_modules/${file}.development.js`, import.meta.url), "utf8");
  return `"${name}": (module, exports) => {${source}}`;
});

/** Its source. It stands for react, react/jsx-runtime and react-dom/client. */
export const react = `
  const process = { env: { NODE_ENV: "development" } };
  const made = {};
  const require = (name) => {
    if (!made[name]) packages[name]((made[name] = { exports: {} }), made[name].exports);
    return made[name].exports;
  };
  const packages = {${packages}};
  export const { ${Object.keys(React).filter((name) => name !== "default")} } = require("react");
  export const { jsx, jsxs } = require("react/jsx-runtime");
  export const { createRoot, hydrateRoot } = require("react-dom/client");
`;
