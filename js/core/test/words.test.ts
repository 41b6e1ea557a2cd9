// @vitest-environment node
/** No sentence for people stands in the code of what is drawn: all are in tables, in both languages. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const js = join(import.meta.dirname, "../..");
/** Where words belong. */
const TABLES = ["core/src/messages.ts", "protocol/src/problems.ts", "jupyterlab/src/words.ts"];
/** Its sentences are still to be moved into the table. */
const WAITING = ["core/src/refill.ts"];

const sources = ["core", "protocol", "widget", "jupyterlab"].flatMap((workspace) =>
  readdirSync(join(js, workspace, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.startsWith("generated"))
    .map((name) => `${workspace}/src/${name.replaceAll("\\", "/")}`),
);

/** Comments, then strings and templates; what is taken by the one is not looked at by the other. */
const TOKEN =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`/g;

function literals(text: string): string[] {
  return [...text.matchAll(TOKEN)].flatMap(([, ...found]) =>
    found.filter((one) => one !== undefined),
  );
}

/** Three words of English in a row that begin or end as a sentence does, or one that waits. */
function isSentence(literal: string): boolean {
  const words = literal.replaceAll(/\$\{[^}]*\}/g, "0");
  return /^[A-Z][a-z']* [a-z][\w'"%,-]* [\w'"%]|[a-z] [a-z]+ [\w"]+(\.|…|: ?)$|^[A-Z][a-z]+…$/.test(
    words,
  );
}

/** Why a request of the page's own was given up: whoever waited for it has gone. */
const GIVEN_UP = /new DOMException\([^)]*\)/g;
/** Faults of a build, what JupyterLab's list of plugins says in English alone, and a text to try. */
const UNSEEN =
  /^(The schema (has a shape|does not define)|Draws lmkit's views,|The kernel of the notebook at hand:|The plot is thin)/;

test("the patterns find sentences, and nothing else", () => {
  const [name, open] = ["name", "$"];
  for (const one of [
    "The view was closed.",
    `Tile ${open}{${name}} is damaged: its data cannot be unpacked.`,
    "lmkit's view could not be loaded: ",
    "Loading…",
  ]) {
    expect(isSentence(one), one).toBe(true);
  }
  for (const one of ["M 0 0", "row-more", "note warn", "0 0 24 24", "%load_ext lmkit", "0…"]) {
    expect(isSentence(one), one).toBe(false);
  }
  const code = `// "no"\nf("a \\" b", \`c \${d}\`) /* 'no' */`;
  expect(literals(code)).toEqual(['a \\" b', `c ${open}{d}`]);
});

test("no sentence for people stands untranslated in the code", () => {
  expect(sources.length).toBeGreaterThan(40);
  for (const name of [...TABLES, ...WAITING]) expect(sources).toContain(name);
  const plain = sources
    .filter((name) => !TABLES.includes(name) && !WAITING.includes(name))
    .flatMap((name) => {
      const found = literals(readFileSync(join(js, name), "utf8").replaceAll(GIVEN_UP, ""));
      return found
        .filter((one, index) => {
          const translated = /\p{Script=Han}/u.test(found[index + 1] ?? "");
          return isSentence(one) && !translated && !UNSEEN.test(one);
        })
        .map((one) => `${name}: ${one}`);
    });
  expect(plain).toEqual([]);
});
