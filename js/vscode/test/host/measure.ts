/**
 * What VS Code runs inside its extension host to measure: how long the extension takes to become
 * active, and, where the workspace asks for it, the moments at which panels are opened. Each line of
 * the console is JSON; the page beside tells when something was drawn.
 */
import * as assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as vscode from "vscode";
import type { Api } from "../../src/extension.ts";

interface Plan {
  /** Panels to open, one after another; 0: only the activation. */
  readonly panels: number;
  readonly task: string;
  readonly model: string;
}

/** Two selections of the one line: what a panel that is open shows changes with each. */
const PART = 16;

/** A page that does nothing but say that it is there. */
const EMPTY = "<script>acquireVsCodeApi().postMessage(0)</script>";

const say = (line: object) => console.log(JSON.stringify(line));
const rest = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function run(): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const extension = vscode.extensions.getExtension<Api>("lmkit.lmkit");
  assert.ok(folder && extension);
  assert.ok(!extension.isActive, "it is active before it is needed");
  const began = performance.now();
  const { activation, panels, server } = await extension.activate();
  say({ type: "activation", own: activation, whole: performance.now() - began });

  const plan = JSON.parse(
    readFileSync(vscode.Uri.joinPath(folder, "measure.json").fsPath, "utf8"),
  ) as Plan;
  if (plan.panels === 0) return;
  await warm(server, plan);
  for (let turn = 0; turn < plan.panels; turn++) {
    const text = vscode.Uri.joinPath(folder, "text.txt");
    const editor = await vscode.window.showTextDocument(text, {
      viewColumn: vscode.ViewColumn.One,
    });
    editor.selection = new vscode.Selection(0, 0, 0, editor.document.lineAt(0).text.length);
    await rest(1_000);
    say({ type: "open", turn, at: Date.now() });
    await vscode.commands.executeCommand("lmkit.analyseSelection", plan);
    const [panel] = panels;
    assert.ok(panel);
    // Its saved form is made half a second after the result, which may be there before the page.
    while (!panel.state.bundle) await rest(50);
    await rest(2_500);

    const first = panel.state.bundle;
    await vscode.window.showTextDocument(text, { viewColumn: vscode.ViewColumn.One });
    editor.selection = new vscode.Selection(0, 0, 0, PART);
    await rest(500);
    say({ type: "again", turn, at: Date.now() });
    await vscode.commands.executeCommand("lmkit.analyseSelection", plan);
    assert.equal(panels.size, 1);
    while (panel.state.bundle === first) await rest(50);
    await rest(1_000);
    await vscode.commands.executeCommand("workbench.action.closeAllEditors");
    while (panels.size > 0) await rest(20);
    say({ type: "empty", turn, took: await emptyWebview() });
    await rest(500);
  }
}

/** Have the model loaded and run once, without a panel. */
async function warm(server: Api["server"], plan: Plan): Promise<void> {
  const { task, model } = plan;
  const values = { text: "Warm." };
  const { session, view } = await server.request<{ session: string; view: string }>("open", {
    task,
    model,
    values,
  });
  const done = new Promise<void>((resolve) => {
    const following = server.onEvent((event) => {
      const status = event["spec"] ?? event;
      if (!JSON.stringify(status).includes('"state":"done"')) return;
      following.dispose();
      resolve();
    });
  });
  const hello = { type: "hello", id: "a", view, session, protocol: 1, version: "" };
  await server.request("request", { message: hello });
  await server.request("request", { message: { type: "run", id: "b", view, values } });
  await done;
  await server.request("close", { view });
}

/** Milliseconds that VS Code takes for a webview of its own accord, until a script in it runs. */
async function emptyWebview(): Promise<number> {
  const began = performance.now();
  const webview = vscode.window.createWebviewPanel("lmkit.empty", "", vscode.ViewColumn.Beside, {
    enableScripts: true,
  });
  const there = new Promise((resolve) => webview.webview.onDidReceiveMessage(resolve));
  webview.webview.html = EMPTY;
  await there;
  const took = performance.now() - began;
  webview.dispose();
  return took;
}
