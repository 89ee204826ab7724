import { fileURLToPath } from "node:url";
import HtmlPlugin from "html-webpack-plugin";

export default {
  entry: "./main.js",
  output: { path: fileURLToPath(new URL("dist", import.meta.url)), filename: "[contenthash].js" },
  plugins: [new HtmlPlugin({ template: "index.html" })],
  performance: false, // signer.wasm is large, and not waited for
};
