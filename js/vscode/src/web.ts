/** VS Code for the Web: the renderer works alone, and the commands say so. */
import * as vscode from "vscode";

export function activate(context: vscode.ExtensionContext): void {
  void vscode.commands.executeCommand("setContext", "lmkit.web", true);
  const say = () =>
    vscode.window.showInformationMessage(
      vscode.l10n.t(
        "lmkit draws saved outputs here. To run a model, open this folder in VS Code on a machine with Python.",
      ),
    );
  for (const name of ["openPanel", "analyseSelection", "newPlugin", "restart", "install"]) {
    context.subscriptions.push(vscode.commands.registerCommand(`lmkit.${name}`, say));
  }
}
