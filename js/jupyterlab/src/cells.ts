import { type INotebookTracker, NotebookActions, type NotebookPanel } from "@jupyterlab/notebook";
import { MIME } from "@lmkit/protocol";

/** Models by task, as the settings name them. */
export type DefaultModels = Readonly<Record<string, string>>;

const EXAMPLE = "The plot is thin, but I was moved.";

/** The lines of a cell that runs a task on a text. */
export function taskCell(task: string, text: string, models: DefaultModels): string {
  const model = models[task];
  return `%%lm ${task}${model ? ` --model ${quoted(model)}` : ""}\n${text || EXAMPLE}`;
}

/** As a shell reads it, which is how the magic splits its line. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/** What is selected in the active cell's editor, else elsewhere in the notebook. */
export function selectedText(panel: NotebookPanel): string {
  const editor = panel.content.activeCell?.editor;
  if (editor) {
    const { start, end } = editor.getSelection();
    const [from, to] = [editor.getOffsetAt(start), editor.getOffsetAt(end)].sort((a, b) => a - b);
    const chosen = editor.model.sharedModel.getSource().slice(from, to);
    if (chosen.trim()) return chosen;
  }
  const selection = globalThis.getSelection();
  const inside = [selection?.anchorNode, selection?.focusNode].every(
    (node) => node && panel.node.contains(node),
  );
  return inside ? String(selection) : "";
}

/** Put a code cell below the active one. */
export function insertCell(panel: NotebookPanel, source: string): void {
  const { content } = panel;
  NotebookActions.insertBelow(content);
  content.activeCell?.model.sharedModel.setSource(source);
  content.mode = "edit";
  content.activate();
}

/** Insert a task's cell; on a selected text it runs at once. */
export function insertTask(panel: NotebookPanel, task: string, models: DefaultModels): void {
  const text = selectedText(panel);
  insertCell(panel, taskCell(task, text, models));
  if (text.trim()) void NotebookActions.run(panel.content, panel.sessionContext);
}

/** The notebook and cell whose output shows a view, or null. */
export function findView(
  notebooks: INotebookTracker,
  view: string,
): { readonly panel: NotebookPanel; readonly index: number } | null {
  let found: { panel: NotebookPanel; index: number } | null = null;
  notebooks.forEach((panel) => {
    const cells = panel.content.model?.cells;
    for (let index = 0; !found && cells && index < cells.length; index++) {
      const outputs = (cells.get(index).toJSON() as { outputs?: readonly unknown[] }).outputs ?? [];
      if (outputs.some((output) => shows(output, view))) found = { panel, index };
    }
  });
  return found;
}

function shows(output: unknown, view: string): boolean {
  const data = (output as { data?: Record<string, unknown> }).data;
  return (data?.[MIME] as { live?: { view?: unknown } | null } | undefined)?.live?.view === view;
}
