/** The extension: what each command does. The views are js/core's, the work is Python's. */
import * as vscode from "vscode";
import { chooseModel, chooseTask, given } from "./choose.ts";
import { Home } from "./home.ts";
import { isObject, type PanelState, readState } from "./messages.ts";
import { newPlugin } from "./new-plugin.ts";
import { completion, insertCell } from "./notebook.ts";
import { Panel, VIEW_TYPE } from "./panel.ts";
import { Pythons } from "./python.ts";
import { Refills } from "./refill.ts";
import { openReport } from "./report.ts";
import { givenRun, Runs } from "./runs.ts";
import { Server } from "./server.ts";
import { tellStart } from "./starting.ts";
import { tellFailure } from "./tell.ts";
import { installInTerminal } from "./terminal.ts";

/** When this file began to be evaluated; a line that the build puts before all modules. */
declare const lmkitBegan: number;
/** Milliseconds that all modules took. */
const evaluated = performance.now() - lmkitBegan;

/** For tests in the extension host. */
export interface Api {
  readonly server: Server;
  readonly panels: ReadonlySet<Panel>;
  readonly runs: Runs;
  /** Milliseconds that the extension's own code took: to be evaluated, and to become active. */
  readonly activation: number;
}

export function activate(context: vscode.ExtensionContext): Api {
  const began = performance.now();
  const log = vscode.window.createOutputChannel("lmkit");
  const pythons = new Pythons();
  const server = new Server(pythons.find, log);
  const home = new Home(server, pythons.find);
  const runs = new Runs(server, pythons.find);
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

  /** A panel that is open already shows it sooner, and fills no row of tabs: that is asked for. */
  const analyseSelection = async (argument: unknown, anew: boolean): Promise<void> => {
    const editor = vscode.window.activeTextEditor;
    const text = editor?.document.getText(editor.selection) ?? "";
    if (text.trim() === "") throw new Error(vscode.l10n.t("Select a text first."));
    const task = await chooseTask(server, given(argument), true);
    if (!task) return;
    const wish = given(argument);
    const values = { [task.body]: text };
    const fit = anew ? [] : [...panels].filter((panel) => panel.takes(task.name, wish.model));
    const there = fit.findLast((panel) => panel.visible) ?? fit.at(-1);
    if (there) return there.run(values);
    const model = wish.model ?? (task.defaultModel ? "" : await chooseModel(server, wish, task));
    if (model === undefined) return;
    open({ task: task.name, model, values }, task.title, true);
  };

  const openRun = (argument: unknown): void => {
    const { name, task, title } = givenRun(argument);
    const there = [...panels].find(
      ({ state }) => state.task === task && state.values["folder"] === name,
    );
    if (there) there.reveal();
    else open({ task, model: "", values: { folder: name } }, title, false);
  };

  const choosePython = async (): Promise<void> => {
    const known = await vscode.commands.getCommands(true);
    // where the setting is filled in, no other choice counts
    const set = vscode.workspace.getConfiguration("lmkit").get<string>("pythonPath")?.trim();
    if (!set && known.includes("python.setInterpreter")) {
      await vscode.commands.executeCommand("python.setInterpreter");
    } else {
      // a path is a setting of the machine: where that is a remote one, the user's page has none
      const page = vscode.env.remoteName === undefined ? "openSettings" : "openRemoteSettings";
      await vscode.commands.executeCommand(`workbench.action.${page}`, {
        query: "lmkit.pythonPath",
      });
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
    void runs.refresh();
  };

  const command = (name: string, act: (argument: unknown) => unknown) =>
    vscode.commands.registerCommand(`lmkit.${name}`, async (argument: unknown) => {
      try {
        await act(argument);
      } catch (error) {
        await tellFailure(error);
      }
    });

  context.subscriptions.push(
    log,
    pythons,
    server,
    home,
    runs,
    new Refills((line) => log.appendLine(line)),
    tellStart(server),
    { dispose: () => panels.forEach((panel) => void panel.dispose()) },
    vscode.window.registerTreeDataProvider("lmkit.home", home),
    vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, {
      deserializeWebviewPanel: async (webview, data) => {
        const state = readState(data);
        if (!state) return webview.dispose();
        // what was shown is computed again from the same text; it is drawn from its saved form until then
        const title = webview.title.replace(/^lmkit: /, "");
        open(state, title, state.ran === true, webview);
      },
    }),
    completion(server),
    pythons.onChanged(async () => {
      // told also when the choice is another way to the same interpreter: models stay loaded
      const used = server.interpreter;
      if (used !== null && used === (await pythons.find())) return;
      await server.stop();
      home.refresh();
      await runs.refresh();
    }),
    command("openPanel", openPanel),
    command("analyseSelection", (argument) => analyseSelection(argument, false)),
    command("analyseSelectionInNewPanel", (argument) => analyseSelection(argument, true)),
    command("newPlugin", () => newPlugin(server, pythons.find, refresh)),
    command("insertCell", (argument) => insertCell(server, argument)),
    command("refresh", refresh),
    command("restart", () => server.restart()),
    command("install", async () => {
      await installInTerminal(
        await pythons.find(),
        "--upgrade",
        "lmkit-core",
        "lmkit-classification",
      );
      await refresh();
    }),
    command("choosePython", choosePython),
    command("showLog", () => log.show(true)),
    command("unload", unload),
    command("openRun", openRun),
    command("openReport", (argument) => openReport(givenRun(argument).name)),
    command("pauseRun", (argument) => runs.act(givenRun(argument).name, "pause")),
    command("resumeRun", (argument) => runs.act(givenRun(argument).name, "resume")),
    command("stopRun", (argument) => runs.act(givenRun(argument).name, "stop")),
  );
  return { server, panels, runs, activation: evaluated + performance.now() - began };
}
