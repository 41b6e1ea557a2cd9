// @vitest-environment node
/** Every word of the extension is in English and in Simplified Chinese. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const here = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const read = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(here(path), "utf8"));
const table = (path: string) => read(path) as Record<string, string>;

const CHINESE = /\p{Script=Han}/u;
const LITERAL = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/;
const sources = readdirSync(here("src")).map(
  (name) => [name, readFileSync(here(`src/${name}`), "utf8")] as const,
);

/** The words that the code says, each as the key of its translation. */
function said(): string[] {
  const call = new RegExp(`\\bl10n\\.t\\(\\s*(${LITERAL.source})`, "g");
  return sources.flatMap(([name, text]) => {
    const found = [...text.matchAll(call)].map(([, literal = ""]) =>
      literal.slice(1, -1).replace(/\\(.)/g, "$1"),
    );
    const calls = text.split("l10n.t(").length - 1;
    expect(found.length, `${name}: l10n.t takes a literal, or no table can have it`).toBe(calls);
    return found;
  });
}

/** What is filled in: "{0}" of the code, links to commands of the manifest. */
function holes(text: string): string[] {
  return [...text.matchAll(/\{\d+\}|\(command:[\w.]+\)|`[^`]+`/g)].map(([hole]) => hole).sort();
}

function agree(words: Readonly<Record<string, string>>): void {
  for (const [english, chinese] of Object.entries(words)) {
    expect(chinese, english).toMatch(CHINESE);
    expect(holes(chinese), english).toEqual(holes(english));
  }
}

test("what the code says is translated, and nothing else is", () => {
  const words = table("l10n/bundle.l10n.zh-cn.json");
  expect(Object.keys(words).sort()).toEqual([...new Set(said())].sort());
  agree(words);
});

test("what the manifest says is in both tables, and nothing else is", () => {
  const english = table("package.nls.json");
  const chinese = table("package.nls.zh-cn.json");
  const manifest = readFileSync(here("manifest.json"), "utf8");
  const keys = [...new Set([...manifest.matchAll(/"%([\w.]+)%"/g)].map(([, key = ""]) => key))];
  expect(Object.keys(english).sort()).toEqual(keys.sort());
  expect(Object.keys(chinese)).toEqual(Object.keys(english));
  agree(Object.fromEntries(keys.map((key) => [english[key] ?? "", chinese[key] ?? ""])));
});

test("no word for people stands in the manifest itself", () => {
  const plain: string[] = [];
  const visit = (value: unknown, key: string): void => {
    if (typeof value === "string") {
      if (/^(title|name|displayName|description|contents|markdownDescription)$/.test(key)) {
        if (value !== "lmkit" && !/^%[\w.]+%$/.test(value)) plain.push(`${key}: ${value}`);
      }
    } else if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value)) visit(inner, name);
    }
  };
  visit(read("manifest.json"), "");
  expect(plain).toEqual([]);
});

test("no word for people stands untranslated in the code", () => {
  // the places where VS Code takes words, and where errors do, with a literal in them
  const place =
    /\b(?:(?:new (?:Server)?Error|show\w+Message)\(\s*|(?:title|prompt|openLabel|hint|said|label|detail|description|tooltip)(?::| =) )(["'`][^"'`]*)/g;
  const plain = sources.flatMap(([name, text]) =>
    [...text.matchAll(place)].map(
      ([, literal = ""]) => `${name}: ${literal.slice(1).replace(/\$\{[^}]*\}/g, "")}`,
    ),
  );
  // names and units are the same in both languages
  const named = /: [\s:,]*(?:lmkit|Python|starter|MiB)?[\s:,]*$/;
  expect(plain.filter((one) => !named.test(one))).toEqual([]);
  expect(plain.length).toBeGreaterThan(0); // the pattern does find such places
});
