// @vitest-environment node
import { readFile } from "node:fs/promises";
import { build, transform } from "esbuild";
import { expect, test } from "vitest";

/** The core as the build makes it, style sheet included. */
async function core(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [new URL("../src/index.ts", import.meta.url).pathname],
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    minify: true,
    write: false,
    plugins: [
      {
        name: "style-text",
        setup(bundle) {
          bundle.onLoad({ filter: /\.css$/ }, async ({ path }) => {
            const css = await readFile(path, "utf8");
            const { code } = await transform(css, { loader: "css", minify: true, charset: "utf8" });
            return { contents: code, loader: "text" };
          });
        },
      },
    ],
  });
  return outputFiles[0]?.text ?? "";
}

// Pictures, views, data sets, charts, steps, and two languages; a page loads it once, and a
// notebook's outputs share it.
test("the core stays under 280 kB, reaches no network and makes nothing of strings", async () => {
  const text = await core();
  expect(new TextEncoder().encode(text).length).toBeLessThan(280 * 1024);
  expect(text).not.toMatch(/https?:|\burl\(|@import/);
  expect(text).not.toMatch(
    /\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts/,
  );
  expect(text).not.toMatch(
    /\beval\b|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write/,
  );
  // srcdoc once: a plugin's page, in a sandbox without origin or network (panel/page.ts)
  expect(text.match(/srcdoc/g)).toHaveLength(1);
  expect(text).not.toMatch(/createContextualFragment|DOMParser/);
});

test("the bundle exports what shells are promised", async () => {
  const text = await core();
  const exported = /export\{([^}]*)\}/.exec(text)?.[1] ?? "";
  const names = exported.split(",").map((part) => part.split(" as ").at(-1)?.trim());
  expect(names).toEqual(expect.arrayContaining(["mount", "mountBundle", "mountLive"]));
});
