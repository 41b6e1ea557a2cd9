/** "lmkit: New Plugin": a name and a folder, then the file to begin with. */
import type { NewPluginMade } from "@lmkit/protocol";
import * as vscode from "vscode";
import type { Server } from "./server.ts";
import { installInTerminal } from "./terminal.ts";

const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/** @param installed called once it was installed, when the user wished for that */
export async function newPlugin(
  server: Server,
  python: () => Promise<string>,
  installed: () => Promise<void>,
): Promise<void> {
  const name = await vscode.window.showInputBox({
    title: vscode.l10n.t("lmkit: New Plugin"),
    prompt: vscode.l10n.t("Its name, which is that of its task too"),
    placeHolder: "my-task",
    validateInput: (text) =>
      NAME.test(text)
        ? ""
        : vscode.l10n.t("Lower-case letters, digits and hyphens, for instance my-task."),
  });
  if (!name) return;
  const folder = await chooseFolder();
  if (!folder) return;
  const made = await server.request<NewPluginMade>("newPlugin", { name, folder: folder.fsPath });
  await vscode.window.showTextDocument(vscode.Uri.file(made.main));
  const install = vscode.l10n.t("Install in a Terminal");
  const said = vscode.l10n.t(
    "{0} was written. Installed in place, it is found by Refresh.",
    `lmkit-${name}`,
  );
  if ((await vscode.window.showInformationMessage(said, install)) === install) {
    await installInTerminal(await python(), "-e", made.folder);
    await installed();
  }
}

async function chooseFolder(): Promise<vscode.Uri | undefined> {
  const folders = vscode.workspace.workspaceFolders ?? [];
  if (folders.length === 1) return folders[0]?.uri;
  if (folders.length > 1) return (await vscode.window.showWorkspaceFolderPick())?.uri;
  const chosen = await vscode.window.showOpenDialog({
    canSelectFolders: true,
    canSelectFiles: false,
    openLabel: vscode.l10n.t("Write the plugin here"),
  });
  return chosen?.[0];
}
