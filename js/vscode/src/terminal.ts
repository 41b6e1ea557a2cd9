/** What is done in a terminal, where the user sees it: installing. */
import * as vscode from "vscode";

/** One argument for the shell of a terminal, quoted so that it stays one and nothing in it is run. */
export function quoted(argument: string, windows: boolean): string {
  if (/^[\w@%+=:,./\\-]+$/.test(argument) && !(argument.includes("\\") && !windows))
    return argument;
  return windows ? `"${argument.replace(/"/g, "")}"` : `'${argument.replace(/'/g, "'\\''")}'`;
}

/** The line that installs packages. */
export function installLine(python: string, packages: readonly string[], windows: boolean): string {
  const words = [python, "-m", "pip", "install", ...packages].map((word) => quoted(word, windows));
  // PowerShell, the default there, runs a quoted program with the call operator only
  const call = windows && words[0]?.startsWith('"') ? "& " : "";
  return call + words.join(" ");
}

export function installInTerminal(python: string, ...packages: readonly string[]): void {
  const terminal = vscode.window.createTerminal({ name: "lmkit" });
  terminal.show();
  terminal.sendText(installLine(python, packages, process.platform === "win32"), true);
}
