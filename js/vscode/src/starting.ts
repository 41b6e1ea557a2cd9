/** Says in the status bar that Python is starting: to import torch takes seconds. */
import * as vscode from "vscode";
import type { Server } from "./server.ts";

export function tellStart(server: Server): vscode.Disposable {
  let over: (() => void) | null = null;
  return server.onState((state) => {
    over?.();
    over = null;
    if (state !== "starting") return;
    const options = {
      location: vscode.ProgressLocation.Window,
      title: vscode.l10n.t("lmkit: starting Python"),
    };
    void vscode.window.withProgress(
      options,
      () =>
        new Promise<void>((resolve) => {
          over = resolve;
        }),
    );
  });
}
