/** VS Code for the Web: the renderer works alone, and the commands say so. */
import * as vscode from "vscode";

/** All that a menu, a key or the palette may call there. */
const COMMANDS = [
  "openPanel",
  "analyseSelection",
  "analyseSelectionInNewPanel",
  "newPlugin",
  "insertCell",
  "refresh",
  "restart",
  "install",
  "choosePython",
  "showLog",
] as const;

export function activate(context: vscode.ExtensionContext): void {
  void vscode.commands.executeCommand("setContext", "lmkit.web", true);
  const say = () =>
    vscode.window.showInformationMessage(
      vscode.l10n.t(
        "lmkit draws saved outputs here. To run a model, open this folder in VS Code on a machine with Python.",
      ),
    );
  for (const name of COMMANDS) {
    context.subscriptions.push(vscode.commands.registerCommand(`lmkit.${name}`, say));
  }
}
