/** Where a bundler put signer.wasm, as its imports of files say it; with Vite, of "gridsigner/signer.wasm?url". Shipped as signer.wasm.d.ts. */
declare const url: string;
export default url;
