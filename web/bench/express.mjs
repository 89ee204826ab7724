// The proxy that many Node backends have: Express and http-proxy-middleware, adding the header and nothing else.
import { Agent } from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";

const [host, port] = process.env.LISTEN.split(":");
const app = express();
app.use(
  "/api/grid",
  createProxyMiddleware({
    target: process.env.UPSTREAM,
    changeOrigin: true,
    agent: new Agent({ keepAlive: true, maxSockets: 64 }),
    headers: { Authorization: process.env.AUTHORIZATION },
  }),
);
app.listen(Number(port), host);
