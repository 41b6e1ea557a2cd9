// @vitest-environment node
import { build } from "esbuild";
import { expect, test } from "vitest";

test("the loader is at most 2 kB and imports nothing by name", async () => {
  const { outputFiles } = await build({
    entryPoints: [new URL("../src/index.ts", import.meta.url).pathname],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    write: false,
  });
  const text = outputFiles[0]?.text ?? "";
  expect(text.length).toBeLessThanOrEqual(2048);
  expect(text).not.toMatch(/https?:|\beval\b|new Function|innerHTML|from\s*["']/);
});
