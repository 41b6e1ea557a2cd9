import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** As in the build: importing a style sheet gives its text. */
const cssText: Plugin = {
  name: "css-text",
  enforce: "pre",
  resolveId(source, importer) {
    return source.endsWith(".css") ? this.resolve(`${source}?raw`, importer) : null;
  },
};

const workspace = (name: string, environment: "node" | "jsdom") => ({
  plugins: [cssText],
  test: {
    name,
    root: name,
    environment,
    include: ["test/**/*.test.ts"],
    restoreMocks: true,
    setupFiles: [here("patience.ts")],
    testTimeout: 60_000,
  },
});

export default defineConfig({
  test: {
    projects: [
      workspace("protocol", "node"),
      workspace("core", "jsdom"),
      workspace("widget", "jsdom"),
      workspace("jupyterlab", "jsdom"),
      {
        ...workspace("vscode", "jsdom"),
        resolve: { alias: [{ find: /^vscode$/, replacement: here("vscode/test/vscode.ts") }] },
      },
    ],
  },
});
