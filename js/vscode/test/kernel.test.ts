import { execFileSync } from "node:child_process";
import type { RefillRequest } from "@lmkit/protocol";
import type { Kernel } from "@vscode/jupyter-extension";
import { expect, test } from "vitest";
import { askKernel, codeOf } from "../src/kernel.ts";

const MIME = "application/vnd.lmkit.refill.v1+json";
const ERROR = "application/vnd.code.notebook.error";
const request: RefillRequest = {
  session: "session-1",
  view: "view-1",
  state: "digest",
  keys: ["head/0/1", "thumb/2@word-groups"],
};

/** Runs the line with a module in place of lmkit's that prints what it is given. */
function inPython(code: string, loaded = true): string {
  const set_up = loaded
    ? "import sys, types\n" +
      "for n in ('lmkit', 'lmkit.transports', 'lmkit.transports.refill'):\n" +
      "    sys.modules[n] = types.ModuleType(n)\n" +
      "sys.modules['lmkit.transports.refill'].refill = lambda text: print(text)\n"
    : "";
  return execFileSync("python3", ["-c", `${set_up}${code}`], { encoding: "utf8" }).trim();
}

test("the request reaches Python as it was, and nothing of it is run", () => {
  expect(JSON.parse(inPython(codeOf(request)))).toEqual(request);
  for (const name of [
    '"',
    "'",
    "\\",
    '\\")); print(1) #',
    "\n",
    "é",
    "\u2028",
    "😀",
    "{0}",
    "\0",
  ]) {
    const hostile = { ...request, session: name, view: `${name}${name}`, state: name };
    const code = codeOf(hostile);
    expect(code).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(inPython(code)), JSON.stringify(name)).toEqual(hostile);
  }
});

test("where lmkit is not loaded the line does nothing", () => {
  expect(inPython(codeOf(request), false)).toBe("");
});

test("what is no request never becomes code", () => {
  for (const wrong of [
    null,
    {},
    { ...request, keys: ["head/0/1; import os"] },
    { ...request, keys: Array(33).fill("head/0/1") },
    { ...request, session: "x".repeat(65) },
    { ...request, view: { toJSON: () => "x" } },
  ]) {
    expect(() => codeOf(wrong as unknown as RefillRequest)).toThrow();
  }
  // what else is in it is left out
  expect(codeOf({ ...request, more: "import os" } as RefillRequest)).toBe(codeOf(request));
});

function kernel(items: readonly (readonly [string, string])[], language = "python"): Kernel {
  return {
    language,
    onDidChangeStatus: () => ({ dispose() {} }),
    async *executeCode() {
      for (const [mime, text] of items) {
        yield { items: [{ mime, data: new TextEncoder().encode(text) }] };
      }
    },
  } as unknown as Kernel;
}

test("the answer is found among what else a kernel prints", async () => {
  const found = await askKernel(
    kernel([
      ["application/x.notebook.stream.stdout", "from a thread of the user's"],
      [MIME, '{"version":"0.1.0"}'],
    ]),
    request,
  );
  expect(found).toEqual({ version: "0.1.0" });
});

test.each([
  ["an exception", kernel([[ERROR, '{"name":"NameError","message":"x"}']]), /NameError: x/],
  ["an exception that is no JSON", kernel([[ERROR, "?"]]), /error/],
  ["nothing", kernel([]), /not loaded/],
  ["no Python", kernel([], "r"), /not Python/],
  ["half an answer", kernel([[MIME, '{"version":']]), /JSON/],
])("%s is a sentence", async (_, one, words) => {
  await expect(askKernel(one, request)).rejects.toThrow(words);
});

test("a question that a restarted kernel will not answer ends; the word is heard no longer", async () => {
  const heard = new Set<(status: string) => void>();
  const asked = {
    language: "python",
    onDidChangeStatus(listener: (status: string) => void) {
      heard.add(listener);
      return { dispose: () => heard.delete(listener) };
    },
    async *executeCode() {
      yield { items: [] };
      await new Promise(() => {});
    },
  } as unknown as Kernel;
  const answer = askKernel(asked, request);
  for (const status of ["busy", "idle"]) for (const listener of heard) listener(status);
  const first = await Promise.race([answer, Promise.resolve("waits")]);
  expect(first).toBe("waits");
  for (const listener of heard) listener("restarting");
  await expect(answer).rejects.toThrow(/restarted/);
  expect(heard.size).toBe(0);
  // one that is gone already tells of no change
  await expect(askKernel({ ...asked, status: "dead" }, request)).rejects.toThrow(/restarted/);
});
