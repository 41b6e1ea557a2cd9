/** Which Python runs lmkit, and whether lmkit is in it. */
import { execFile } from "node:child_process";
import { homedir } from "node:os";
import { join } from "node:path";
import * as vscode from "vscode";

/** The part of the Python extension's interface that is used; it may not be installed. */
interface PythonExtension {
  readonly environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { readonly path: string };
    resolveEnvironment(environment: {
      readonly path: string;
    }): Promise<{ readonly executable: { readonly uri?: vscode.Uri } } | undefined>;
    readonly onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

type Environments = PythonExtension["environments"];

const PYTHON_EXTENSION = "ms-python.python";
const PROBE_MS = 20_000;

/** The first folder of the workspace that is on this machine. */
export function fileFolder(): vscode.WorkspaceFolder | undefined {
  return vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file");
}

/** Whether the workspace has folders and none of them is on this machine: no process has its files. */
export function isVirtual(): boolean {
  const folders = vscode.workspace.workspaceFolders ?? [];
  return folders.length > 0 && fileFolder() === undefined;
}

/**
 * A path as it may be written in settings: `~`, `${userHome}`, `${workspaceFolder}` and `${env:NAME}`
 * stand for what they do elsewhere in VS Code, and one that is not whole begins in the workspace's
 * first folder. A bare name is looked up in the path.
 */
export function pathOf(
  written: string,
  folder: string | undefined,
  home: string,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  const path = written
    .replace(/^~(?=$|[\\/])/, () => home)
    .replace(/\$\{userHome\}/g, () => home)
    .replace(/\$\{workspaceFolder\}/g, (whole) => folder ?? whole)
    .replace(/\$\{env:([^}]+)\}/g, (_, name: string) => environment[name] ?? "");
  const whole = /^([\\/]|[A-Za-z]:[\\/])/.test(path);
  return folder !== undefined && !whole && /[\\/]/.test(path) ? join(folder, path) : path;
}

/** The interpreter of an environment that the Python extension has chosen; "" where it has none. */
async function chosenIn(environments: Environments): Promise<string> {
  const resource = fileFolder()?.uri;
  const found = await environments.resolveEnvironment(
    environments.getActiveEnvironmentPath(resource),
  );
  return found?.executable.uri?.fsPath ?? "";
}

/**
 * Which Python: the setting, else the Python extension's choice, else that of the path. The extension
 * is activated when the answer is first needed, and followed from then on; it may come later, too.
 */
export class Pythons implements vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  /** Another Python may have been chosen. */
  readonly onChanged = this.#changed.event;
  readonly #undo: vscode.Disposable[];
  #environments: Promise<Environments | null> | null = null;
  #asked = false;

  constructor() {
    this.#undo = [
      this.#changed,
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration("lmkit.pythonPath")) this.#changed.fire();
      }),
      vscode.extensions.onDidChange(() => {
        // installed, or taken away: what was found before says nothing
        const there = vscode.extensions.getExtension(PYTHON_EXTENSION) !== undefined;
        if (this.#asked && there !== (this.#environments !== null)) {
          this.#environments = null;
          this.#changed.fire();
        }
      }),
    ];
  }

  dispose(): void {
    for (const one of this.#undo) one.dispose();
  }

  /** The interpreter: a path, or a name to be looked up in the path. */
  readonly find = async (): Promise<string> => {
    this.#asked = true;
    const chosen = vscode.workspace.getConfiguration("lmkit").get<string>("pythonPath")?.trim();
    if (chosen) return pathOf(chosen, fileFolder()?.uri.fsPath, homedir(), process.env);
    const environments = await this.#follow();
    try {
      const found = environments ? await chosenIn(environments) : "";
      if (found) return found;
    } catch {
      // an environment that is gone: the extension says so itself
    }
    return process.platform === "win32" ? "python" : "python3";
  };

  #follow(): Promise<Environments | null> {
    const extension = vscode.extensions.getExtension<PythonExtension>(PYTHON_EXTENSION);
    if (!extension) return Promise.resolve(null);
    this.#environments ??= (async () => {
      try {
        const { environments } = await extension.activate();
        this.#undo.push(environments.onDidChangeActiveEnvironmentPath(() => this.#changed.fire()));
        return environments;
      } catch {
        return null; // it says itself what is wrong with it
      }
    })();
    return this.#environments;
  }
}

export type Probe =
  | { readonly state: "ready"; readonly python: string; readonly version: string }
  | { readonly state: "missing"; readonly python: string; readonly version: string }
  | { readonly state: "no-python"; readonly python: string };

/** Runs nothing of lmkit: asks the interpreter for its version and for the package's place. */
const QUESTION =
  "import importlib.util, platform; " +
  "print(platform.python_version(), bool(importlib.util.find_spec('lmkit.serve')))";

export function probePython(python: string): Promise<Probe> {
  return new Promise((resolve) => {
    // the workspace's own modules must not stand in for installed ones
    const options = { timeout: PROBE_MS, env: { ...process.env, PYTHONSAFEPATH: "1" } };
    execFile(python, ["-c", QUESTION], options, (error, stdout) => {
      const [version, there] = stdout.trim().split(" ");
      if (version && there === "True") resolve({ state: "ready", python, version });
      else if (version || /No module named/.test(String(error))) {
        resolve({ state: "missing", python, version: version ?? "" });
      } else resolve({ state: "no-python", python });
    });
  });
}
