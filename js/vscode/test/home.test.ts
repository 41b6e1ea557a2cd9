// @vitest-environment node
/** The activity view beside a Python that cannot serve: it looks, and starts nothing by itself. */
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";

const contexts = vi.hoisted(() => [] as [string, string][]);
vi.mock("vscode", () => ({
  EventEmitter: class {
    readonly #told = new Set<(value: unknown) => void>();
    readonly event = (listen: (value: unknown) => void) => this.#told.add(listen);
    fire(value: unknown) {
      for (const tell of [...this.#told]) tell(value);
    }
  },
  commands: {
    executeCommand: (_: string, key: string, value: string) => {
      contexts.push([key, value]);
      return Promise.resolve();
    },
  },
  l10n: {
    t: (text: string, ...values: readonly unknown[]) =>
      text.replace(/\{(\d+)\}/g, (_, at) => String(values[Number(at)])),
  },
  workspace: { isTrusted: true, onDidGrantWorkspaceTrust: () => ({ dispose: () => {} }) },
}));
const { Home } = await import("../src/home.ts");
const { Server } = await import("../src/server.ts");

test("a Python that cannot serve is started once, and again when the user says so", async () => {
  const python = join(mkdtempSync(join(tmpdir(), "lmkit-")), "python");
  // it says that lmkit is there, and ends at once where it is to serve
  writeFileSync(python, '#!/bin/sh\nif [ "$1" = -c ]; then echo 3.12.0 True; else exit 3; fi\n');
  chmodSync(python, 0o755);
  const log = { appendLine: vi.fn(), append: vi.fn() };
  const find = () => Promise.resolve(python);
  const server = new Server(find, log as never);
  const home = new Home(server, find);
  let looks = 0;
  const look = async () => {
    looks++;
    expect(await home.getChildren()).toEqual([]);
  };
  // as VS Code does when a tree says that it has changed
  home.onDidChangeTreeData(() => void look());
  const starts = () =>
    log.appendLine.mock.calls.filter(([line]) => String(line).startsWith("Starting")).length;
  await look();
  await new Promise((go) => setTimeout(go, 500));
  expect(starts()).toBe(1);
  expect(contexts.at(-1)).toEqual(["lmkit.state", "failed"]);
  const before = looks;
  home.refresh();
  await vi.waitFor(() => expect(starts()).toBe(2));
  await new Promise((go) => setTimeout(go, 500));
  expect(starts()).toBe(2);
  expect(looks).toBeLessThan(before + 4);
  server.dispose();
});

test("what kept Python from answering is named, whoever asked for it", async () => {
  const log = { appendLine: vi.fn(), append: vi.fn() };
  const find = () => Promise.resolve("/nowhere/python");
  const server = new Server(find, log as never);
  const home = new Home(server, find);
  await expect(server.about()).rejects.toThrow("/nowhere/python"); // by a command, say
  expect(await home.getChildren()).toEqual([]);
  expect(contexts.at(-1)).toEqual(["lmkit.state", "no-python"]);
  server.dispose();
});
