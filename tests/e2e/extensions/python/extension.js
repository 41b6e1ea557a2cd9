// Exports the documented part of the Python extension's API, `environments`: the interpreter that is
// chosen is the one named in the workspace's file .environment.
"use strict";
const { readFileSync, watchFile, unwatchFile } = require("node:fs");
const { join } = require("node:path");
const vscode = require("vscode");

exports.activate = (context) => {
  const changed = new vscode.EventEmitter();
  const file = join(vscode.workspace.workspaceFolders[0].uri.fsPath, ".environment");
  const chosen = () => readFileSync(file, "utf8").trim();
  watchFile(file, { interval: 100 }, () => changed.fire({ id: chosen(), path: chosen() }));
  context.subscriptions.push(changed, { dispose: () => unwatchFile(file) });
  return {
    environments: {
      onDidChangeActiveEnvironmentPath: changed.event,
      getActiveEnvironmentPath: (_resource) => ({ id: chosen(), path: chosen() }),
      resolveEnvironment: async ({ path }) => ({
        id: path,
        path,
        executable: { uri: vscode.Uri.file(path), bitness: "64-bit", sysPrefix: undefined },
      }),
    },
  };
};
