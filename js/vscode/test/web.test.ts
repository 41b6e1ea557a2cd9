// @vitest-environment node
/** In the web every command that can be called there is answered. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";

const registered: string[] = [];
vi.mock("vscode", () => ({
  commands: {
    executeCommand: () => Promise.resolve(),
    registerCommand: (name: string) => registered.push(name),
  },
  window: {},
}));
const { activate } = await import("../src/web.ts");

interface Entry {
  readonly command: string;
  readonly when?: string;
}

test("what no menu hides in the web is registered there", () => {
  const manifest = JSON.parse(
    readFileSync(fileURLToPath(new URL("../manifest.json", import.meta.url)), "utf8"),
  ) as {
    contributes: {
      commands: readonly Entry[];
      menus: Readonly<Record<string, readonly Entry[]>>;
    };
  };
  activate({ subscriptions: [] } as never);
  const { commands, menus } = manifest.contributes;
  const palette = new Map((menus["commandPalette"] ?? []).map((one) => [one.command, one.when]));
  const hidden = (when = "") => when === "false" || /!lmkit\.web|view == lmkit\.runs/.test(when);
  const shown = new Set(
    commands.map(({ command }) => command).filter((name) => !hidden(palette.get(name))),
  );
  for (const [menu, entries] of Object.entries(menus)) {
    if (menu === "commandPalette") continue;
    for (const { command, when } of entries) if (!hidden(when)) shown.add(command);
  }
  shown.delete("lmkit.unload"); // beside a loaded model, of which there is none
  for (const name of shown) expect(registered).toContain(name);
  // a key binding may call any of these
  for (const name of ["openPanel", "analyseSelection", "newPlugin", "insertCell", "restart"])
    expect(registered).toContain(`lmkit.${name}`);
});
