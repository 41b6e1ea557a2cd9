import { expect, test } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import { errorInfo, errorText, ownError } from "../src/errors.ts";
import { MESSAGES, pickLocale, translator } from "../src/messages.ts";
import { mountLive } from "../src/mount.ts";
import { VERSION } from "../src/source.ts";
import { Mounted } from "./mounted.ts";

const HOLES = /\{\w+\}/g;
/** A name of our own, and what is written alike everywhere. */
const ALIKE = new Set(["home.title", "neuron.dot", "picture.neuron", "progress.of"]);

test("every word has its Chinese, with the same values in it", () => {
  const latin: string[] = [];
  for (const [key, [english, chinese]] of Object.entries(MESSAGES)) {
    expect(english.trim(), key).not.toBe("");
    expect(chinese.trim(), key).not.toBe("");
    const holes = new Set(chinese.match(HOLES));
    const wanted = new Set(english.match(HOLES));
    // one form of a plural need not say its number
    if (!key.endsWith(".one")) expect(holes, key).toEqual(wanted);
    const said = /\p{L}/u.test(english.replaceAll(HOLES, ""));
    if (said && !ALIKE.has(key) && !/\p{Script=Han}/u.test(chinese)) latin.push(key);
  }
  expect(latin).toEqual([]);
});

test("both forms of a count are there", () => {
  for (const key of Object.keys(MESSAGES)) {
    if (!key.endsWith(".other")) continue;
    expect(Object.hasOwn(MESSAGES, key.replace(/other$/, "one")), key).toBe(true);
  }
});

test("the editor's language is followed in the forms that editors write it", () => {
  for (const tag of ["zh", "zh-CN", "zh_CN", "zh-Hans", "ZH-cn"]) {
    expect(translator(tag).locale, tag).toBe("zh-Hans");
  }
  for (const tag of ["en", "de-DE", "", "no such language"]) {
    expect(translator(tag)("badge.live"), tag).toBe(MESSAGES["badge.live"][0]);
  }
  expect(pickLocale("de_DE")).toBe("de-DE");
});

test("an error of the page's own is told in the view's language, one of the kernel as it is", () => {
  const own = ownError("x", "error.other.tile", { key: "head/{key}" });
  expect(own.message).toBe("The kernel answered head/{key} with something else.");
  const chinese = translator("zh-CN");
  expect(errorText(errorInfo(own), chinese)).toBe("内核对 head/{key} 的请求给出了其他内容。");
  expect(errorText({ ...own.info }, chinese)).toMatch(/^内核/); // a copy keeps its words
  const told = JSON.parse(JSON.stringify(own.info));
  expect(errorText(told, chinese)).toBe(own.message);
  expect(errorText(errorInfo(new Error("mine")), chinese)).toBe("mine");
});

test("a kernel with another version is named with both", async () => {
  const where = { session: "s", view: "v" };
  const spec = VIEWS["short"]?.();
  if (!spec) throw new Error("There is no sample.");
  for (const [version, words] of [
    [
      "9.9.9",
      `This page draws with lmkit ${VERSION}, the kernel has 9.9.9: install the same on both sides.`,
    ],
    [VERSION, ""],
  ] as const) {
    const kernel = new FakeKernel(spec);
    kernel.version = version;
    const view = new Mounted((element) => mountLive(element, where, kernel, { locale: "en" }));
    await expect.poll(() => view.text("badge")).toBe("live");
    expect(view.text("saved-note")).toBe(words);
  }
  Mounted.undoAll();
});
