import { expect, test } from "vitest";
import { ResponseError } from "vscode-jsonrpc";

const { readState } = await import("../src/messages.ts");
const { cellSource, magicLine, typedWord } = await import("../src/notebook.ts");
const { pathOf } = await import("../src/python.ts");
const { errorOf, ServerError } = await import("../src/server.ts");
const { given } = await import("../src/choose.ts");
const { remedies } = await import("../src/tell.ts");

test("a panel's state is read as what it may be, and nothing else", () => {
  expect(
    readState({ task: "a", model: "", values: { text: "x", k: 1, no: [], deep: {} } }),
  ).toEqual({
    task: "a",
    model: "",
    values: { text: "x", k: 1 },
  });
  expect(readState({ task: "a", model: "m", values: 3, bundle: { protocol: 1 } })).toEqual({
    task: "a",
    model: "m",
    values: {},
    bundle: { protocol: 1 },
  });
  expect(readState({ task: "a", model: "m", ran: "yes", bundle: "<b>" })).toEqual({
    task: "a",
    model: "m",
    values: {},
  });
  expect(readState({ task: "a", model: "m", ran: true })).toMatchObject({ ran: true });
  for (const wrong of [
    null,
    undefined,
    3,
    [],
    {},
    { task: "" },
    { task: "a" },
    { task: 1, model: "" },
  ]) {
    expect(readState(wrong)).toBe(null);
  }
});

test("completion looks at lmkit's own lines only", () => {
  expect(magicLine("%%lm cla", 0)).toBe("%%lm cla");
  expect(magicLine("%%lm cla", 1)).toBe(null);
  expect(magicLine("%lm cla", 4)).toBe("%lm cla");
  expect(magicLine("%lmkit ", 4)).toBe("%lmkit ");
  for (const other of ["%lmkit", "%lmx ", " %lm a", "x = 1", "%%time "]) {
    expect(magicLine(other, 0)).toBe(null);
  }
  expect(typedWord("%%lm classification --mo")).toBe("--mo");
  expect(typedWord("%%lm ")).toBe("");
});

test("an inserted cell is one that the magic reads", () => {
  expect(cellSource("news", "", "Text.")).toBe("%%lm news\nText.");
  expect(cellSource("news", "a/b", "")).toBe("%%lm news --model a/b\n");
  expect(cellSource("news", "my model", "")).toBe('%%lm news --model "my model"\n');
});

test("a path is read as settings of VS Code are written", () => {
  const read = (written: string, folder?: string) =>
    pathOf(written, folder, "/home/me", { CONDA: "/opt/conda" });
  expect(read("/usr/bin/python3", "/w")).toBe("/usr/bin/python3");
  expect(read("python3.12", "/w")).toBe("python3.12");
  expect(read("~/venv/bin/python", "/w")).toBe("/home/me/venv/bin/python");
  expect(read("${userHome}/v/python", "/w")).toBe("/home/me/v/python");
  expect(read("${workspaceFolder}/.venv/bin/python", "/w $& x")).toBe("/w $& x/.venv/bin/python");
  expect(read("${env:CONDA}/bin/python", "/w")).toBe("/opt/conda/bin/python");
  expect(read(".venv/bin/python", "/w")).toBe("/w/.venv/bin/python");
  expect(read("./.venv/bin/python", "/w")).toBe("/w/.venv/bin/python");
  expect(read("C:\\Python\\python.exe", "/w")).toBe("C:\\Python\\python.exe");
  // without a folder what needs one stays as it is written, and is named in the error
  expect(read(".venv/bin/python")).toBe(".venv/bin/python");
  expect(read("${workspaceFolder}/python")).toBe("${workspaceFolder}/python");
});

test("any failure has a sentence", () => {
  expect(errorOf(new ServerError("It ended.", "See the log."))).toMatchObject({
    message: "It ended.",
    hint: "See the log.",
  });
  const data = { code: "no-task", message: "No such task.", hint: "Look again.", details: "x" };
  expect(errorOf(new ResponseError(-32000, "said", data))).toEqual(data);
  expect(errorOf(new ResponseError(-32800, "cancelled"))).toMatchObject({ message: "cancelled" });
  expect(errorOf("odd").message).toBe("odd");
});

test("arguments of a command are checked", () => {
  expect(given({ task: "a", model: 3, other: 1 })).toEqual({ task: "a" });
  expect(given("a")).toEqual({});
});

test("each obstacle is offered what helps against it", () => {
  const commands = (code: string) => remedies(code).map(([, command]) => command);
  expect(commands("missing")).toEqual(["lmkit.install", "lmkit.choosePython"]);
  expect(commands("no-python")).toEqual(["lmkit.choosePython", "lmkit.showLog"]);
  expect(commands("untrusted")).toEqual(["workbench.trust.manage"]);
  expect(commands("silent")).toEqual(["lmkit.restart", "lmkit.showLog"]);
  expect(commands("anything else")).toEqual(["lmkit.showLog"]);
  expect(errorOf(new ServerError("It is not there.", "", "missing")).code).toBe("missing");
});
