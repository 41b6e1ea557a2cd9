/** What a command asks before it opens a panel: which task, which model. */
import type { ModelList, StarterList, TaskDeclaration, TaskList } from "@lmkit/protocol";
import * as vscode from "vscode";
import { isObject } from "./messages.ts";
import type { Server } from "./server.ts";

/** What may be given to a command instead of being asked; from a key binding, so it is checked. */
export interface Given {
  readonly task?: string;
  readonly model?: string;
}

export function given(argument: unknown): Given {
  if (!isObject(argument)) return {};
  const { task, model } = argument;
  return {
    ...(typeof task === "string" ? { task } : {}),
    ...(typeof model === "string" ? { model } : {}),
  };
}

export async function chooseTask(
  server: Server,
  wish: Given,
  withText: boolean,
): Promise<TaskDeclaration | undefined> {
  const { tasks } = await server.request<TaskList>("tasks");
  const takesText = (task: TaskDeclaration) => task.cell.text !== "";
  const fit = withText ? tasks.filter(takesText) : tasks;
  if (wish.task !== undefined) {
    const found = tasks.find((task) => task.name === wish.task);
    if (!found)
      throw new Error(vscode.l10n.t('No installed plugin has the task "{0}".', wish.task));
    if (withText && !takesText(found))
      throw new Error(vscode.l10n.t('The task "{0}" takes no text.', wish.task));
    return found;
  }
  if (fit.length === 0) {
    throw new Error(
      vscode.l10n.t("No plugin with a task is installed: pip install lmkit-classification."),
    );
  }
  const items = fit.map((task) => ({
    label: task.title,
    description: task.name,
    detail: task.help,
    task,
  }));
  const title = vscode.l10n.t("lmkit: which task?");
  return (await vscode.window.showQuickPick(items, { title, matchOnDetail: true }))?.task;
}

/** A model for the task: empty for its own default one, undefined when nothing was chosen. */
export async function chooseModel(
  server: Server,
  wish: Given,
  task: TaskDeclaration,
): Promise<string | undefined> {
  if (wish.model !== undefined) return wish.model;
  const [{ models }, { starters }] = await Promise.all([
    server.request<ModelList>("models"),
    server.request<StarterList>("starters"),
  ]);
  const items: vscode.QuickPickItem[] = [];
  if (task.defaultModel)
    items.push({ label: task.defaultModel, description: vscode.l10n.t("the task's default") });
  for (const { name } of models) items.push({ label: name, description: vscode.l10n.t("loaded") });
  for (const one of starters) {
    items.push({
      label: `starter:${one.name}`,
      description: one.installed ? one.title : vscode.l10n.t("{0}, not installed", one.title),
    });
  }
  const seen = new Set<string>();
  const unique = items.filter(({ label }) => !seen.has(label) && seen.add(label));
  const title = vscode.l10n.t("lmkit: which model for {0}?", task.title);
  const other = vscode.l10n.t("Another model…");
  const chosen = await vscode.window.showQuickPick([...unique, { label: other }], { title });
  if (chosen?.label !== other) return chosen?.label;
  return vscode.window.showInputBox({
    title,
    prompt: vscode.l10n.t("A hub id, or a folder with a model"),
    ignoreFocusOut: true,
    validateInput: (text) => (text.trim() ? "" : vscode.l10n.t("Name a model.")),
  });
}
