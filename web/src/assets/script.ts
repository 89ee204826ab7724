// worker.js and runtime.js are run, and export nothing that is for others. Shipped as their declarations.
export {};
