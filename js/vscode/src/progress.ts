/** Runs of panels in VS Code's own notification, with its Cancel. */
import type { Status } from "@lmkit/protocol";
import * as vscode from "vscode";

/** A run that is over sooner shows nothing. */
const QUIET_MS = 700;

export class RunProgress implements vscode.Disposable {
  #run: string | null = null;
  #label = "";
  #share = 0;
  #timer: NodeJS.Timeout | null = null;
  #report: vscode.Progress<{ message?: string; increment?: number }> | null = null;
  #finish: (() => void) | null = null;

  /** @param cancel stops the run of this id */
  constructor(
    private readonly title: string,
    private readonly cancel: (run: string) => void,
  ) {}

  /** Follow a view's status. */
  follow(status: Status): void {
    if (status.state !== "running" || !status.run) {
      this.dispose();
      return;
    }
    this.#run = status.run;
    this.#label = status.progress?.label ?? "";
    const { done = 0, total = 0 } = status.progress ?? {};
    const share = total > 0 ? (100 * done) / total : 0;
    this.#report?.report({
      message: this.#label,
      increment: Math.max(0, share - this.#share),
    });
    if (this.#report) this.#share = Math.max(this.#share, share);
    this.#timer ??= setTimeout(() => this.#show(), QUIET_MS);
  }

  dispose(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#finish?.();
    this.#finish = null;
    this.#report = null;
    this.#run = null;
    this.#share = 0;
  }

  #show(): void {
    const options = {
      location: vscode.ProgressLocation.Notification,
      title: this.title,
      cancellable: true,
    };
    void vscode.window.withProgress(options, (progress, token) => {
      this.#report = progress;
      progress.report({ message: this.#label });
      token.onCancellationRequested(() => this.#run && this.cancel(this.#run));
      return new Promise<void>((resolve) => {
        this.#finish = resolve;
      });
    });
  }
}
