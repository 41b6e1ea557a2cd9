/** In the extension host: lets saved outputs ask their notebook's kernel, once the user agrees. */
import { randomUUID } from "node:crypto";
import type { ErrorInfo } from "@lmkit/protocol";
import type { Jupyter } from "@vscode/jupyter-extension";
import * as vscode from "vscode";
import { isObject } from "./messages.ts";
import { RefusedError } from "./refused.ts";
import { RENDERER, type ToRenderer } from "./rest-messages.ts";

/** This run of the extension. */
const HOST = randomUUID();
const JUPYTER = "ms-toolsai.jupyter";
/** Questions of one notebook that may wait: its outputs have one each on its way. */
const MOST_WAITING = 200;

export class Refills implements vscode.Disposable {
  readonly #messaging = vscode.notebooks.createRendererMessaging(RENDERER);
  readonly #undo: vscode.Disposable[];
  /** Answers of the user, kept as long as the notebook is open. */
  readonly #agreed = new WeakMap<vscode.NotebookDocument, Promise<boolean>>();
  readonly #waiting = new WeakMap<vscode.NotebookDocument, number>();

  constructor(private readonly log: (line: string) => void) {
    const tellAll = () => void this.#messaging.postMessage(offered());
    this.#undo = [
      this.#messaging.onDidReceiveMessage(({ editor, message }) => {
        void this.#hear(editor, message);
      }),
      vscode.workspace.onDidGrantWorkspaceTrust(tellAll),
      vscode.extensions.onDidChange(tellAll),
    ];
    tellAll(); // there may be outputs that wait for an earlier run of the extension
  }

  dispose(): void {
    for (const one of this.#undo) one.dispose();
  }

  async #hear(editor: vscode.NotebookEditor, message: unknown): Promise<void> {
    const post = (told: ToRenderer) => void this.#messaging.postMessage(told, editor);
    if (!isObject(message)) return;
    if (message["type"] === "offer") post(offered());
    const { id } = message;
    if (message["type"] !== "refill" || typeof id !== "string" || id.length > 100) return;
    const { notebook } = editor;
    const waiting = this.#waiting.get(notebook) ?? 0;
    this.#waiting.set(notebook, waiting + 1);
    try {
      if (waiting >= MOST_WAITING) {
        throw new RefusedError("busy", vscode.l10n.t("Too much is asked of this kernel at once."));
      }
      const found = await this.#ask(notebook, message["request"]);
      post({ type: "refilled", id, found });
    } catch (error) {
      post({ type: "refused", id, error: infoOf(error) });
    } finally {
      this.#waiting.set(notebook, (this.#waiting.get(notebook) ?? 1) - 1);
    }
  }

  async #ask(notebook: vscode.NotebookDocument, data: unknown): Promise<unknown> {
    // with the protocol's reader, which most windows never need
    const { askKernel, parseRefillRequest } = await import("./kernel.ts");
    const request = parseRefillRequest(data);
    if (!vscode.workspace.isTrusted) {
      throw new RefusedError(
        "untrusted",
        vscode.l10n.t("This workspace is not trusted."),
        vscode.l10n.t("Trust the workspace to ask a kernel."),
      );
    }
    const jupyter = vscode.extensions.getExtension<Jupyter>(JUPYTER);
    if (!jupyter) throw new RefusedError("no-jupyter", howWithoutJupyter());
    if (!(await this.#agrees(notebook))) {
      throw new RefusedError("declined", vscode.l10n.t("The kernel was not asked."));
    }
    const kernel = await (await jupyter.activate()).kernels.getKernel(notebook.uri);
    if (!kernel) {
      throw new RefusedError(
        "no-kernel",
        vscode.l10n.t("This notebook has no running kernel that can be asked."),
        vscode.l10n.t("Run any cell of it, then try again."),
      );
    }
    const began = performance.now();
    const found = await askKernel(kernel, request);
    this.log(
      `A kernel was asked for a saved output's tiles: ${(performance.now() - began).toFixed(0)} ms`,
    );
    return found;
  }

  #agrees(notebook: vscode.NotebookDocument): Promise<boolean> {
    let answer = this.#agreed.get(notebook);
    if (!answer) {
      answer = consent(notebook.uri);
      this.#agreed.set(notebook, answer);
      // who says no, or is asked in vain, can be asked again
      const forget = () => this.#agreed.delete(notebook);
      answer.then((yes) => yes || forget(), forget);
    }
    return answer;
  }
}

async function consent(uri: vscode.Uri): Promise<boolean> {
  const allow = vscode.l10n.t("Allow");
  const name = uri.path.split("/").at(-1) ?? "";
  const chosen = await vscode.window.showInformationMessage(
    vscode.l10n.t("May lmkit ask the kernel of {0} for what its saved outputs lack?", name),
    {
      modal: true,
      detail: vscode.l10n.t(
        "A line of lmkit's own is executed in that kernel, which computes pictures of outputs that it made itself. Your code is not run, and nothing is changed. You are asked once for each open notebook.",
      ),
    },
    allow,
  );
  return chosen === allow;
}

function howWithoutJupyter(): string {
  return vscode.l10n.t(
    "Saved view: run the cell to go live. Where the Jupyter extension is installed, a running kernel can give what is not saved.",
  );
}

function offered(): ToRenderer {
  return { type: "offered", note: noteNow(), host: HOST, language: vscode.env.language };
}

function noteNow(): string {
  if (!vscode.workspace.isTrusted) {
    return vscode.l10n.t(
      "Saved view: this workspace is not trusted, so no kernel is asked for what is not saved.",
    );
  }
  return vscode.extensions.getExtension(JUPYTER) === undefined ? howWithoutJupyter() : "";
}

function infoOf(error: unknown): ErrorInfo {
  const message = error instanceof Error ? error.message : String(error);
  const { code, hint } = error instanceof RefusedError ? error : { code: "refill", hint: "" };
  return { code, message: message.slice(0, 1_000), hint, details: "" };
}
