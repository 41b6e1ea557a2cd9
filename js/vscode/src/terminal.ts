/** What is done in a terminal, where the user sees it: installing. */
import * as vscode from "vscode";
import { fileFolder } from "./python.ts";

const TYPE = "lmkit";

/**
 * Run pip in a terminal until it ends. No shell is between: nothing in a path is read as a command.
 *
 * @returns once it has ended, well or not; the terminal stays and says which
 */
export async function installInTerminal(
  python: string,
  ...packages: readonly string[]
): Promise<void> {
  const folder = fileFolder();
  const task = new vscode.Task(
    { type: TYPE },
    folder ?? vscode.TaskScope.Global,
    `pip install ${packages.filter((word) => !word.startsWith("-")).join(" ")}`,
    TYPE,
    new vscode.ProcessExecution(python, ["-m", "pip", "install", ...packages]),
  );
  const { Always } = vscode.TaskRevealKind;
  task.presentationOptions = { reveal: Always, panel: vscode.TaskPanelKind.Dedicated };
  const ended = new Promise<void>((resolve) => {
    const undo = vscode.tasks.onDidEndTask(({ execution }) => {
      if (execution.task.definition.type !== TYPE || execution.task.name !== task.name) return;
      undo.dispose();
      resolve();
    });
  });
  await vscode.tasks.executeTask(task);
  await ended;
}
