/**
 * Looks at the views: mounts each in Chromium, light and dark, narrow and wide, writes screenshots
 * to test-artifacts/core/, and runs axe-core on each. Fails on what axe or the page complains about.
 * `node core/dev/look.mjs [name ...] [--themes=light,dark] [--widths=480,860] [--ratio=1] [--locale=en]`
 * `--bundle=FILE` looks at a saved output instead: the JSON under lmkit's MIME type.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../../../test-artifacts/core/", import.meta.url));
mkdirSync(out, { recursive: true });

const bundle = await build({
  entryPoints: [`${here}page.ts`],
  bundle: true,
  format: "iife",
  target: "es2022",
  write: false,
  loader: { ".css": "text" },
});
const script = bundle.outputFiles[0].text;
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** name, view, mode, and what to do before the picture is taken */
const SHOTS = [
  [
    "label-chosen",
    "two",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="threshold"]').fill("0.95");
      await page.locator('[data-lmkit="label-row"]').last().click();
      await page.locator('[data-lmkit="label-explain"]').first().focus();
    },
  ],
  ["short", "short", "live", async () => {}],
  [
    "short-hover",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="token"][data-index="9"]').hover();
    },
  ],
  [
    "short-map",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-map"]').click();
      await page.waitForTimeout(100);
      const box = await page.locator('[data-lmkit="picture-canvas"]').boundingBox();
      await page.mouse.move(box.x + box.width * 0.45, box.y + box.height * 0.5);
    },
  ],
  [
    "short-selected",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="token"][data-index="5"]').click();
      await page.locator('[data-lmkit="token"][data-index="10"]').click({ modifiers: ["Control"] });
      await page.mouse.move(5, 5);
    },
  ],
  [
    "short-help",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="keys"]').click();
    },
  ],
  [
    "neuron",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-neuron"]').click();
      await page.locator('[data-lmkit="token"][data-index="9"]').click();
      await page.locator('[data-lmkit="picture"]').scrollIntoViewIfNeeded();
      await page.mouse.move(5, 5);
    },
  ],
  [
    "neuron-causal",
    "deep",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-neuron"]').click();
      await page.locator('[data-lmkit="neuron-list"]').scrollIntoViewIfNeeded();
      await page.waitForTimeout(150);
      await page.locator('[data-lmkit="neuron-row"] canvas').nth(3).hover();
    },
  ],
  [
    "neuron-missing",
    "short",
    "saved",
    async (page) => {
      await page.locator('[data-lmkit="tab-neuron"]').click();
    },
  ],
  [
    "heads",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-heads"]').click();
      await page.locator('[data-lmkit="picture"]').scrollIntoViewIfNeeded();
    },
  ],
  [
    "heads-hover",
    "short",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-heads"]').click();
      await page.locator(".heads-tools button").first().click();
      await page.locator('[data-lmkit="picture"]').scrollIntoViewIfNeeded();
      await page.waitForTimeout(300);
      const box = await page.locator('[data-lmkit="picture-canvas"]').boundingBox();
      await page.mouse.move(box.x + 30, box.y + 100);
    },
  ],
  [
    "heads-long",
    "long",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-heads"]').click();
      await page.waitForTimeout(600);
    },
  ],
  ["translation", "translation", "live", async () => {}],
  [
    "translation-map",
    "translation",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-map"]').click();
      await page.locator('[data-lmkit="step-slider"]').fill("4");
      await page.locator('[data-lmkit="picture"]').scrollIntoViewIfNeeded();
    },
  ],
  [
    "generated",
    "generated",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="step-slider"]').fill("7");
    },
  ],
  ["deep", "deep", "live", async () => {}],
  [
    "deep-map",
    "deep",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-map"]').click();
    },
  ],
  ["long", "long", "live", async () => {}],
  [
    "long-map",
    "long",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-map"]').click();
      await page.waitForTimeout(200);
      const box = await page.locator('[data-lmkit="picture-canvas"]').boundingBox();
      await page.mouse.move(box.x + 150, box.y + 120);
    },
  ],
  ["huge", "huge", "live", async () => {}],
  ...[0, 6, 13].map((steps) => [
    `vast-map-${steps}`,
    "vast",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="tab-map"]').click();
      await page.waitForTimeout(1500);
      const box = await page.locator('[data-lmkit="picture-canvas"]').boundingBox();
      const at = [box.x + 18 + 338 * 0.451, box.y + 18 + 338 * 0.455];
      await page.mouse.click(...at);
      for (let step = 0; step < steps; step += 1) {
        await page.mouse.move(...at);
        await page.mouse.wheel(0, -200);
        await page.waitForTimeout(60);
      }
      await page.waitForTimeout(1500);
      await page.mouse.move(at[0] + 3, at[1] + 3);
    },
  ]),
  ["hostile", "hostile", "live", async () => {}],
  [
    "hostile-scrolled",
    "hostile",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="picture"]').scrollIntoViewIfNeeded();
      await page.locator('[data-lmkit="token"][data-index="10"]').click();
    },
  ],
  [
    "error",
    "error",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="error-details"] summary').click();
    },
  ],
  ["running", "running", "live", async () => {}],
  [
    "stopping",
    "running",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="stop"]').click();
    },
  ],
  ["empty", "empty", "live", async () => {}],
  ["home", "home", "live", async () => {}],
  ["saved", "short", "saved", async () => {}],
  [
    "saved-missing",
    "short",
    "saved",
    async (page) => {
      await page.locator('[data-lmkit="cell"][data-layer="1"][data-head="2"]').click();
    },
  ],
  [
    "entities",
    "entities",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="span-chip"][data-span="1"]').click();
      await page.locator('[data-lmkit="labelled"][data-index="2"]').hover();
    },
  ],
  ["views", "views", "live", async () => {}],
  [
    "views-list",
    "views",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="measure-least"]').fill("0.3");
      await page.locator('[data-lmkit="measure-sort"]').nth(1).click();
    },
  ],
  [
    "views-tokens",
    "views",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="views"]').selectOption("rollout");
    },
  ],
  [
    "views-running",
    "views",
    "live",
    async (page) => {
      await page.locator('[data-lmkit="views"]').selectOption("endless");
    },
  ],
  ["views-saved", "views", "saved", async () => {}],
  ["loading", "short", "loading", async () => {}],
  ["broken", "short", "broken", async () => {}],
];

const wanted = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const option = (name, fallback) =>
  process.argv
    .find((word) => word.startsWith(`--${name}=`))
    ?.slice(name.length + 3)
    .split(",") ?? fallback;
const themes = option("themes", ["light", "dark"]);
const widths = option("widths", ["480", "860"]);
const locale = option("locale", ["en"])[0];
const ratio = Number(option("ratio", ["1"])[0]);

const file = option("bundle", [""])[0];
const saved = file === "" ? "" : readFileSync(file, "utf8");
const map = async (page) => {
  await page.locator('[data-lmkit="tab-map"]').click();
  await page.mouse.move(5, 5);
};
const shots = saved
  ? [
      ["bundle", "", "bundle", async () => {}],
      ["bundle-map", "", "bundle", map],
      [
        "bundle-neuron",
        "",
        "bundle",
        async (page) => {
          await page.locator('[data-lmkit="tab-neuron"]').click();
          await page.locator('[data-lmkit="neuron-list"]').scrollIntoViewIfNeeded();
        },
      ],
    ]
  : SHOTS;

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
let failures = 0;
for (const theme of themes) {
  for (const width of widths) {
    const context = await browser.newContext({
      viewport: { width: Number(width) + 16, height: 640 },
      deviceScaleFactor: ratio,
      colorScheme: theme,
    });
    for (const [name, view, mode, act] of shots) {
      if (wanted.length > 0 && !wanted.includes(name)) continue;
      const page = await context.newPage();
      const problems = [];
      page.on("pageerror", (error) => problems.push(String(error.stack ?? error)));
      page.on("console", (message) => {
        if (message.type() === "error") problems.push(message.text());
      });
      await page.route("**/*", (route) =>
        route.request().url().startsWith("http://lmkit.test/")
          ? route.fulfill({
              contentType: "text/html",
              body: '<!doctype html><html lang="en"><title>lmkit</title><main id="view"></main>',
            })
          : route.abort(),
      );
      await page.goto(
        `http://lmkit.test/?view=${view}&mode=${mode}&theme=${theme}&width=${width}&locale=${locale}`,
      );
      await page.evaluate((text) => Object.assign(globalThis, { bundle: text }), saved);
      await page.addScriptTag({ content: script });
      await page.waitForTimeout(350);
      await act(page);
      await page.waitForTimeout(350);
      const picture = `${name}-${theme}-${width}${locale === "en" ? "" : `-${locale}`}.png`;
      await page.screenshot({ path: `${out}${picture}` });
      if (await page.evaluate(() => "__hacked" in globalThis))
        problems.push("hostile text was executed");
      await page.addScriptTag({ content: axe });
      const report = await page.evaluate(() =>
        globalThis.axe.run(document, {
          rules: { region: { enabled: false }, "page-has-heading-one": { enabled: false } },
        }),
      );
      for (const violation of report.violations) {
        problems.push(
          `axe ${violation.id}: ${violation.help}\n    ${violation.nodes
            .slice(0, 3)
            .map(
              (node) =>
                `${node.target.flat().join(" ")}: ${node.failureSummary?.split("\n").slice(1, 3).join(";")}`,
            )
            .join("\n    ")}`,
        );
      }
      if (problems.length > 0) failures += 1;
      console.log(`${problems.length > 0 ? "PROBLEM" : "ok     "} ${picture}`);
      for (const problem of problems) console.log(`  ${problem}`);
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
process.exitCode = failures > 0 ? 1 : 0;
