import { defineConfig } from "vite";

// The bridge is of the page's own origin. With changeOrigin, or the shorthand that has it, the bridge would see another Host.
const { BRIDGE = "http://127.0.0.1:8787", PORT = "3000" } = process.env;
const proxy = { "/api/grid": { target: BRIDGE }, "/demo": { target: BRIDGE } };
const server = { port: Number(PORT), proxy };

export default defineConfig({ server, preview: server });
