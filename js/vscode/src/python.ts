/** Which Python runs lmkit, and whether lmkit is in it. */
import { execFile } from "node:child_process";
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

const PYTHON_EXTENSION = "ms-python.python";
const PROBE_MS = 20_000;

async function pythonExtension(): Promise<PythonExtension | null> {
  const extension = vscode.extensions.getExtension<PythonExtension>(PYTHON_EXTENSION);
  if (!extension) return null;
  try {
    return await extension.activate();
  } catch {
    return null; // it says itself what is wrong with it
  }
}

/** The interpreter: the setting, else the Python extension's choice, else that of the path. */
export async function findPython(): Promise<string> {
  const chosen = vscode.workspace.getConfiguration("lmkit").get<string>("pythonPath")?.trim();
  if (chosen) return chosen;
  const environments = (await pythonExtension())?.environments;
  if (environments) {
    const resource = vscode.workspace.workspaceFolders?.[0]?.uri;
    const found = await environments.resolveEnvironment(
      environments.getActiveEnvironmentPath(resource),
    );
    if (found?.executable.uri) return found.executable.uri.fsPath;
  }
  return process.platform === "win32" ? "python" : "python3";
}

/** Calls back when another Python may have been chosen. */
export function onPythonChanged(changed: () => void): vscode.Disposable {
  const undo: vscode.Disposable[] = [
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("lmkit.pythonPath")) changed();
    }),
  ];
  const extension = vscode.extensions.getExtension<PythonExtension>(PYTHON_EXTENSION);
  if (extension) {
    void pythonExtension().then((found) => {
      const event = found?.environments.onDidChangeActiveEnvironmentPath;
      if (event) undo.push(event(changed));
    });
  }
  return vscode.Disposable.from({ dispose: () => undo.forEach((one) => void one.dispose()) });
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
