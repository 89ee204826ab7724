const { BRIDGE = "http://127.0.0.1:8787" } = process.env;

/** @type {import("next").NextConfig} */
export default {
  // The bridge is of the page's own origin. Next tells it another Host, so that it goes by what the browser says of the request's
  // site. In production whatever is in front of both sends /api/grid to the bridge.
  rewrites: async () => ["/api/grid", "/demo"].map((path) => ({ source: `${path}/:rest*`, destination: `${BRIDGE}${path}/:rest*` })),
  turbopack: { root: import.meta.dirname },
};
