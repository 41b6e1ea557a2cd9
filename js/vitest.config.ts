import { defineConfig } from "vitest/config";

const workspace = (name: string, environment: "node" | "jsdom") => ({
  test: {
    name,
    root: name,
    environment,
    include: ["test/**/*.test.ts"],
    restoreMocks: true,
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
    ],
  },
});
