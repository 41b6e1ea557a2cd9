/** Why a command could not be carried out: one message, with buttons that do something about it. */
import * as vscode from "vscode";
import { errorOf } from "./server.ts";

type Remedy = readonly [label: string, command: string];

/** What helps against an error of this code. */
export function remedies(code: string): readonly Remedy[] {
  const showLog: Remedy = [vscode.l10n.t("Show Log"), "lmkit.showLog"];
  const choose: Remedy = [vscode.l10n.t("Choose Python"), "lmkit.choosePython"];
  switch (code) {
    case "missing":
      return [[vscode.l10n.t("Install in a Terminal"), "lmkit.install"], choose];
    case "no-python":
      return [choose, showLog];
    case "untrusted":
      return [[vscode.l10n.t("Manage Workspace Trust"), "workbench.trust.manage"]];
    case "virtual":
      return [];
    case "silent":
      return [[vscode.l10n.t("Restart Python"), "lmkit.restart"], showLog];
    default:
      return [showLog];
  }
}

export async function tellFailure(error: unknown): Promise<void> {
  const { code, message, hint } = errorOf(error);
  const offered = remedies(code);
  const said = [message, hint].filter(Boolean).join(" ");
  const chosen = await vscode.window.showErrorMessage(said, ...offered.map(([label]) => label));
  const command = offered.find(([label]) => label === chosen)?.[1];
  if (command) await vscode.commands.executeCommand(command);
}
