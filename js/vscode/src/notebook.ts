/** Notebook cells: inserting one, and what a magic's line may become. */
import { type Completions, cellSource } from "@lmkit/protocol";
import * as vscode from "vscode";
import { chooseModel, chooseTask, given } from "./choose.ts";
import type { Server } from "./server.ts";

const NOTEBOOK = "jupyter-notebook";

function magics(): readonly (readonly [string, string])[] {
  return [
    ["%%lm", vscode.l10n.t("run a task on the text of this cell")],
    ["%lm", vscode.l10n.t("open a task's panel")],
    ["%lmkit", vscode.l10n.t("plugins, device, models, memory")],
  ];
}

/** The part of the line that a magic's completion looks at, or null where it is none of lmkit's. */
export function magicLine(text: string, line: number): string | null {
  if (/^%lm(kit)?\s/.test(text)) return text;
  return line === 0 && /^%%lm\s/.test(text) ? text : null;
}

/** The last word of a line, which a completion replaces. */
export function typedWord(text: string): string {
  return /\S*$/.exec(text)?.[0] ?? "";
}

export function completion(server: Server): vscode.Disposable {
  return vscode.languages.registerCompletionItemProvider(
    { notebookType: NOTEBOOK, language: "python" },
    {
      async provideCompletionItems(document, position, token) {
        const text = document.lineAt(position.line).text.slice(0, position.character);
        const word = typedWord(text);
        const range = new vscode.Range(position.translate(0, -word.length), position);
        const item = (label: string, detail: string) => {
          const one = new vscode.CompletionItem(
            { label, description: "lmkit" },
            vscode.CompletionItemKind.Keyword,
          );
          one.range = range;
          one.filterText = label;
          one.detail = detail;
          return one;
        };
        if (/^%{1,2}\w*$/.test(text)) {
          const fit = magics().filter(([name]) => position.line === 0 || !name.startsWith("%%"));
          return fit.map(([name, help]) => item(name, help));
        }
        const line = magicLine(text, position.line);
        if (line === null || !vscode.workspace.isTrusted) return [];
        try {
          const { words } = await server.request<Completions>("complete", { line }, token);
          return (words ?? []).map((found) => item(found, ""));
        } catch {
          return []; // the view beside says what is wrong with Python
        }
      },
    },
    "%",
    " ",
    "-",
    ":",
  );
}

export async function insertCell(server: Server, argument: unknown): Promise<void> {
  const editor = vscode.window.activeNotebookEditor;
  if (!editor || editor.notebook.notebookType !== NOTEBOOK) {
    throw new Error(vscode.l10n.t("Open a Jupyter notebook first."));
  }
  const wish = given(argument);
  const task = await chooseTask(server, wish, false);
  if (!task) return;
  const model = await chooseModel(server, wish, task);
  if (model === undefined) return;
  const { notebook, selection } = editor;
  const cells = [cellSource(task.cell, "", model)];
  const loaded = notebook
    .getCells()
    .some((cell) => /^\s*%(load|reload)_ext\s+lmkit\b/m.test(cell.document.getText()));
  if (!loaded) cells.unshift("%load_ext lmkit");
  const at = Math.min(selection.end, notebook.cellCount);
  const edit = new vscode.WorkspaceEdit();
  edit.set(notebook.uri, [
    vscode.NotebookEdit.insertCells(
      at,
      cells.map(
        (text) => new vscode.NotebookCellData(vscode.NotebookCellKind.Code, text, "python"),
      ),
    ),
  ]);
  await vscode.workspace.applyEdit(edit);
  editor.selection = new vscode.NotebookRange(at + cells.length - 1, at + cells.length);
  editor.revealRange(editor.selection);
}
