/** The report card of a finished run as a page in the user's browser. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import * as vscode from "vscode";

/** @param run its folder as the server names it: from the workspace's first folder, or absolute */
export async function openReport(run: string): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? process.cwd();
  const page = resolve(folder, run, "report.html");
  if (!existsSync(page)) throw new Error(vscode.l10n.t("This run has no report card yet."));
  await vscode.env.openExternal(vscode.Uri.file(page));
}
