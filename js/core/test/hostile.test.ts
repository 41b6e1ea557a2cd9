import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { mountBundle } from "../src/index.ts";
import { Mounted } from "./mounted.ts";

interface Change {
  readonly at: readonly (string | number)[];
  readonly put: unknown;
  readonly read: boolean;
}

/** Written by tests/golden/write.py, which says which of them Python reads. */
const path = join(import.meta.dirname, "../../../tests/golden/hostile.json");
const corpus = JSON.parse(readFileSync(path, "utf8")) as { base: object; changes: Change[] };

function changed({ at, put }: Change): unknown {
  const copy = structuredClone(corpus.base);
  let place = copy as Record<string | number, unknown>;
  for (const step of at.slice(0, -1)) place = place[step] as Record<string | number, unknown>;
  // as JSON.parse does it: "__proto__" is a name like any other
  const value = { value: put, enumerable: true, configurable: true, writable: true };
  Object.defineProperty(place, at.at(-1) as string | number, value);
  return copy;
}

afterEach(() => Mounted.undoAll());

test("hostile bundles are drawn or refused with a sentence, and make no element that runs or loads", () => {
  expect(corpus.changes.length).toBeGreaterThan(200);
  for (const change of corpus.changes) {
    const what = `${change.at.join(".")} = ${JSON.stringify(change.put)}`;
    const view = new Mounted((element) => mountBundle(element, changed(change), null));
    expect(view.root.querySelector("script, img, iframe, object, embed, link, a[href]"), what).toBe(
      null,
    );
    const errors = view.all("error");
    const drawn = view.all("header").length > 0;
    expect(drawn, what).toBe(change.read);
    if (!change.read) {
      expect(errors, what).toHaveLength(1);
      expect(errors[0]?.textContent, what).toMatch(/\w.*\./);
    }
    Mounted.undoAll();
  }
  expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
});

test("what is wrong with a hostile bundle is said in Chinese where the page is", () => {
  const said = new Set<string>();
  for (const change of corpus.changes.filter(({ read }) => !read)) {
    const options = { locale: "zh-CN" } as const;
    const view = new Mounted((element) => mountBundle(element, changed(change), null, options));
    const text = view.one("error").querySelector(".error-message")?.textContent ?? "";
    const what = `${change.at.join(".")} = ${JSON.stringify(change.put)}: ${text}`;
    expect(text, what).toMatch(/\p{Script=Han}.*。$/u);
    // names of the protocol and of tiles may be in it, and no English between them
    expect(text, what).not.toMatch(/\b(is|not|the|of|an?|least|most)\b/);
    expect(text, what).not.toMatch(/\{\w+\}/);
    said.add(text);
    Mounted.undoAll();
  }
  expect(said.size).toBeGreaterThan(50);
});

test("no message from outside chooses the words of the page", () => {
  const words = { key: "error.closed", values: {} };
  const error = {
    code: "x",
    message: "Mine.",
    hint: "",
    details: "",
    words,
    "Symbol(words)": words,
  };
  const spec = { ...(corpus.base as { spec: object }).spec };
  const status = { state: "error", run: null, progress: null, error, kept: false };
  const view = new Mounted((element) =>
    mountBundle(element, { ...corpus.base, spec: { ...spec, status } }, null, { locale: "zh-CN" }),
  );
  expect(view.one("error").textContent).toContain("Mine.");
});
