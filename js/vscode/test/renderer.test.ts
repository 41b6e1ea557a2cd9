import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { activate } from "../src/renderer.ts";

const golden = join(import.meta.dirname, "../../../tests/golden/bundles.json");
const [{ given }] = JSON.parse(readFileSync(golden, "utf8"));

type Rendered = Parameters<
  NonNullable<Awaited<ReturnType<typeof activate>>>["renderOutputItem"]
>[0];

function item(id: string, json: () => unknown): Rendered {
  return { id, mime: "application/vnd.lmkit.view.v1+json", json } as Rendered;
}

async function renderer() {
  const made = await activate({} as Parameters<typeof activate>[0]);
  if (!made?.disposeOutputItem) throw new Error("no renderer");
  return made as typeof made & { disposeOutputItem(id?: string): void };
}

const views = (element: HTMLElement) => element.querySelectorAll('[data-lmkit="view"]').length;

test("an output is drawn, drawn again in place, and taken away", async () => {
  const made = await renderer();
  const element = document.createElement("div");
  document.body.append(element);
  const signal = new AbortController().signal;
  await made.renderOutputItem(
    item("a", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("a", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(1);
  await made.renderOutputItem(
    item("b", () => given),
    element,
    signal,
  );
  expect(views(element)).toBe(2);
  made.disposeOutputItem("a");
  expect(views(element)).toBe(1);
  made.disposeOutputItem();
  expect(views(element)).toBe(0);
});

test("an output that is no JSON is drawn as one that cannot be read", async () => {
  const made = await renderer();
  const element = document.createElement("div");
  document.body.append(element);
  const broken = () => {
    throw new SyntaxError("no JSON");
  };
  await made.renderOutputItem(item("a", broken), element, new AbortController().signal);
  expect(element.firstElementChild?.shadowRoot?.textContent).toMatch(/cannot be/);
  made.disposeOutputItem();
});
