import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ISettingRegistry } from "@jupyterlab/settingregistry";
import { expect, test } from "vitest";
import { Gettext } from "../../node_modules/@jupyterlab/translation/lib/gettext.js";
import { translated } from "../src/schema-words.ts";

const root = join(import.meta.dirname, "../../..");
const read = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8"));
const catalogue = read("lmkit/locale/zh_CN/LC_MESSAGES/lmkit.json");

function plugin(): ISettingRegistry.IPlugin {
  const schema = read("js/jupyterlab/schema/side-panel.json");
  const data = { composite: {}, user: {} };
  return { id: "lmkit:side-panel", raw: "", version: "", data, schema };
}

/** The texts of a schema that people see. */
function texts({ schema }: ISettingRegistry.IPlugin): (string | undefined)[] {
  const all = [schema, ...Object.values(schema.properties ?? {})];
  return all.flatMap(({ title, description }) => [title, description]);
}

test("the page asks for what the catalogue has, and for nothing else", () => {
  const asked: string[] = [];
  translated(plugin(), {
    pgettext: (context, text) => {
      asked.push(`${context}\u0004${text}`);
      return text;
    },
  });
  expect(asked.sort()).toEqual(
    Object.keys(catalogue)
      .filter((key) => key !== "")
      .sort(),
  );
});

test("settings are Chinese through JupyterLab's own reader of catalogues, and otherwise as they were", () => {
  const trans = new Gettext({ domain: "lmkit", locale: "zh-CN" });
  const header = { ...catalogue[""], pluralForms: catalogue[""].plural_forms };
  trans.loadJSON({ ...catalogue, "": header }, "lmkit");
  const before = plugin();
  const after = translated(before, trans);
  expect(before).toEqual(plugin());
  for (const text of texts(after)) if (text !== "lmkit") expect(text).toMatch(/\p{Script=Han}/u);
  const { properties, ...rest } = after.schema;
  const old = before.schema.properties ?? {};
  expect(rest).toEqual({
    ...before.schema,
    title: "lmkit",
    description: after.schema.description,
    properties: undefined,
  });
  for (const [name, property] of Object.entries(properties ?? {})) {
    const { title, description } = property;
    expect(property).toEqual({ ...old[name], title, description });
  }
  // in English there is no catalogue
  expect(translated(plugin(), new Gettext({}))).toEqual(plugin());
});
