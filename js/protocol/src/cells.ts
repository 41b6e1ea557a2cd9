import type { TaskCell } from "./generated/types.ts";

/** As a shell reads it, which is how the magic splits its line. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

/**
 * The source of a task's cell, as Python's `cell_source` makes it: a shell that inserts a cell asks no
 * kernel, which may be busy.
 *
 * @param text what is selected, in place of the example; left out where the task takes no text
 * @param model what `--model` names; empty for the task's default
 */
export function cellSource(cell: TaskCell, text = "", model = ""): string {
  const line = model ? `${cell.line} --model ${quoted(model)}` : cell.line;
  if (!cell.text) return line;
  return `${line}\n${text.trim() ? text : cell.text}`;
}
