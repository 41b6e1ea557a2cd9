/** The extension: what each command does. The views are js/core's, the work is Python's. */
import * as vscode from "vscode";
import { chooseModel, chooseTask, given } from "./choose.ts";
import { Home } from "./home.ts";
import { isObject, type PanelState, readState } from "./messages.ts";
import { newPlugin } from "./new-plugin.ts";
import { completion, insertCell } from "./notebook.ts";
import { Panel, VIEW_TYPE } from "./panel.ts";
import { findPython, onPythonChanged } from "./python.ts";
import { errorOf, Server } from "./server.ts";
import { installInTerminal } from "./terminal.ts";

/** For tests in the extension host. */
export interface Api {
  readonly server: Server;
  readonly panels: ReadonlySet<Panel>;
  /** Milliseconds that the extension itself took to become active. */
  readonly activation: number;
}

export function activate(context: vscode.ExtensionContext): Api {
  const began = performance.now();
  const log = vscode.window.createOutputChannel("lmkit");
  const server = new Server(findPython, log);
  const home = new Home(server);
  const panels = new Set<Panel>();

  const open = (state: PanelState, title: string, run: boolean, into?: vscode.WebviewPanel) => {
    const webview =
      into ??
      vscode.window.createWebviewPanel(VIEW_TYPE, title, vscode.ViewColumn.Beside, {
        enableScripts: true,
        localResourceRoots: [context.extensionUri],
        // a view holds a scroll place, a zoom and tiles that take time to compute
        retainContextWhenHidden: true,
      });
    const panel = new Panel(webview, server, context.extensionUri, state, run, title);
    panels.add(panel);
    webview.onDidDispose(() => panels.delete(panel));
  };

  const openPanel = async (argument: unknown): Promise<void> => {
    const task = await chooseTask(server, given(argument), false);
    if (!task) return;
    const model = await chooseModel(server, given(argument), task);
    if (model !== undefined) open({ task: task.name, model, values: {} }, task.title, false);
  };

  const analyseSelection = async (argument: unknown): Promise<void> => {
    const editor = vscode.window.activeTextEditor;
    const text = editor?.document.getText(editor.selection) ?? "";
    if (text.trim() === "") throw new Error(vscode.l10n.t("Select a text first."));
    const task = await chooseTask(server, given(argument), true);
    if (!task) return;
    const wish = given(argument);
    const model = wish.model ?? (task.defaultModel ? "" : await chooseModel(server, wish, task));
    if (model === undefined) return;
    open({ task: task.name, model, values: { [task.body]: text } }, task.title, true);
  };

  const choosePython = async (): Promise<void> => {
    const known = await vscode.commands.getCommands(true);
    if (known.includes("python.setInterpreter")) {
      await vscode.commands.executeCommand("python.setInterpreter");
    } else {
      await vscode.commands.executeCommand("workbench.action.openSettings", "lmkit.pythonPath");
    }
  };

  const unload = async (node: unknown): Promise<void> => {
    const name = isObject(node) ? node["label"] : null;
    await server.request("action", { name: "unload", argument: String(name ?? "") });
    home.refresh();
  };

  const refresh = async (): Promise<void> => {
    // a plugin may have been installed since
    if (server.state === "running") {
      await server.request("action", { name: "rescan", argument: "" });
    }
    home.refresh();
  };

  const command = (name: string, act: (argument: unknown) => unknown) =>
    vscode.commands.registerCommand(`lmkit.${name}`, async (argument: unknown) => {
      try {
        await act(argument);
      } catch (error) {
        const { message, hint } = errorOf(error);
        const shown = await vscode.window.showErrorMessage(
          [message, hint].filter(Boolean).join(" "),
          vscode.l10n.t("Show Log"),
        );
        if (shown) log.show(true);
      }
    });

  context.subscriptions.push(
    log,
    server,
    home,
    { dispose: () => panels.forEach((panel) => void panel.dispose()) },
    vscode.window.registerTreeDataProvider("lmkit.home", home),
    vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, {
      deserializeWebviewPanel: async (webview, data) => {
        const state = readState(data);
        if (!state) return webview.dispose();
        // what was shown is computed again from the same text; it is drawn from its saved form until then
        const title = webview.title.replace(/^lmkit: /, "");
        open(state, title, state.bundle !== undefined, webview);
      },
    }),
    completion(server),
    onPythonChanged(() => void server.stop().then(() => home.refresh())),
    command("openPanel", openPanel),
    command("analyseSelection", analyseSelection),
    command("newPlugin", () => newPlugin(server)),
    command("insertCell", (argument) => insertCell(server, argument)),
    command("refresh", refresh),
    command("restart", () => server.restart()),
    command("install", async () =>
      installInTerminal(await findPython(), "lmkit-core", "lmkit-classification"),
    ),
    command("choosePython", choosePython),
    command("showLog", () => log.show(true)),
    command("unload", unload),
  );
  return { server, panels, activation: performance.now() - began };
}
