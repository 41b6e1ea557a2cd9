/**
 * Tests that VS Code runs inside its extension host, where the extension of the built .vsix is
 * loaded. Each prints one line; the first failure ends the run.
 */
import * as assert from "node:assert/strict";
import * as vscode from "vscode";
import type { Api } from "../../src/extension.ts";

const EXTENSION = "lmkit.lmkit";

async function until<T>(what: string, test: () => T | undefined | null | false): Promise<T> {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = test();
    if (found) return found;
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const tests: Record<string, (api: Api, folder: vscode.Uri) => Promise<void>> = {
  async "commands are there"() {
    const known = await vscode.commands.getCommands(true);
    for (const name of ["openPanel", "analyseSelection", "newPlugin", "insertCell", "restart"]) {
      assert.ok(known.includes(`lmkit.${name}`), name);
    }
  },
  async "the server of the chosen Python answers"({ server }) {
    const about = await server.about();
    assert.equal(about.executable, vscode.workspace.getConfiguration("lmkit").get("pythonPath"));
    const { tasks } = await server.request<{ tasks: { name: string; body: string }[] }>("tasks");
    assert.equal(tasks.find((task) => task.name === "classification")?.body, "text");
  },
  async "what cannot be done is an error with a hint"({ server }) {
    const asked = server.request("open", { task: "clasification" });
    await assert.rejects(asked, (error: { data?: { hint?: string } }) => {
      assert.equal(error.data?.hint, "Did you mean classification?");
      return true;
    });
  },
  async "completion knows tasks and options"(_api, folder) {
    const uri = vscode.Uri.joinPath(folder, "saved.ipynb");
    const notebook = await vscode.workspace.openNotebookDocument(uri);
    await vscode.window.showNotebookDocument(notebook);
    const edit = new vscode.WorkspaceEdit();
    const kind = vscode.NotebookCellKind.Code;
    const cells = ["%%lm ", "%%lm classification --mo", "x = 1"].map(
      (text) => new vscode.NotebookCellData(kind, text, "python"),
    );
    edit.set(uri, [vscode.NotebookEdit.insertCells(0, cells)]);
    await vscode.workspace.applyEdit(edit);
    const offered = async (index: number) => {
      const { document } = notebook.cellAt(index);
      const list = await vscode.commands.executeCommand<vscode.CompletionList>(
        "vscode.executeCompletionItemProvider",
        document.uri,
        document.lineAt(0).range.end,
      );
      return list.items
        .filter((item) => typeof item.label !== "string" && item.label.description === "lmkit")
        .map((item) => (typeof item.label === "string" ? item.label : item.label.label));
    };
    assert.ok((await offered(0)).includes("classification"));
    assert.deepEqual(await offered(1), ["--model"]);
    assert.deepEqual(await offered(2), []);
  },
  async "Insert Cell writes the cells that run a task"(_api) {
    const editor = vscode.window.activeNotebookEditor;
    assert.ok(editor);
    editor.selection = new vscode.NotebookRange(0, 1);
    const chosen = { task: "classification", model: "starter:sentiment" };
    await vscode.commands.executeCommand("lmkit.insertCell", chosen);
    const texts = editor.notebook.getCells().map((cell) => cell.document.getText());
    assert.equal(texts[1], "%load_ext lmkit");
    assert.match(texts[2] ?? "", /^%%lm classification --model starter:sentiment\n\w/);
    await vscode.commands.executeCommand("workbench.action.revertAndCloseActiveEditor");
  },
  async "a panel keeps its values and what it showed"({ panels }, folder) {
    const text = vscode.Uri.joinPath(folder, "text.txt");
    const editor = await vscode.window.showTextDocument(text);
    editor.selection = new vscode.Selection(0, 0, 0, 34);
    const chosen = { task: "classification", model: "starter:sentiment" };
    await vscode.commands.executeCommand("lmkit.analyseSelection", chosen);
    const panel = await until("a panel", () => [...panels][0]);
    const bundle = (await until("its result", () => panel.state.bundle)) as {
      heads: number;
      spec: { results: { scores: { label: string; score: number }[] }[] };
    };
    assert.equal(panel.state.values["text"], "The plot is thin, but I was moved.");
    assert.equal(bundle.heads, 72);
    const scores = bundle.spec.results[0]?.scores ?? [];
    assert.ok(Math.abs(scores.reduce((sum, one) => sum + one.score, 0) - 1) < 1e-6);
  },
  async "another selection is run in the panel that is open"({ panels }, folder) {
    const [panel] = [...panels];
    assert.ok(panel);
    const earlier = panel.state.bundle;
    const uri = vscode.Uri.joinPath(folder, "text.txt");
    const editor = await vscode.window.showTextDocument(uri, {
      viewColumn: vscode.ViewColumn.One,
    });
    editor.selection = new vscode.Selection(0, 4, 0, 16);
    const task = "classification";
    await vscode.commands.executeCommand("lmkit.analyseSelection", { task });
    assert.equal(panels.size, 1);
    assert.equal(panel.state.values["text"], "plot is thin");
    await until("its result", () => panel.state.bundle !== earlier && panel.state.bundle);
    assert.equal(vscode.window.activeTextEditor?.document.uri.path, uri.path);

    // another model is another panel, and so is one that was asked for
    assert.ok(panel.takes(task, "starter:sentiment"));
    assert.ok(!panel.takes(task, "starter:news"));
    assert.ok(!panel.takes("generation", undefined));
    editor.selection = new vscode.Selection(0, 0, 0, 34);
    const chosen = { task, model: "starter:sentiment" };
    await vscode.commands.executeCommand("lmkit.analyseSelectionInNewPanel", chosen);
    const other = await until("a panel of its own", () => [...panels][1]);
    await until("its result", () => other.state.bundle);
    assert.equal(panel.state.values["text"], "plot is thin");
    await vscode.commands.executeCommand("workbench.action.closeOtherEditors");
    await until("one panel fewer", () => panels.size === 1);
  },
  async "a Python that dies is started again, and the panel with it"({ server, panels }) {
    const [panel] = [...panels];
    const before = (await server.about()).session;
    const states: string[] = [];
    server.onState((state) => states.push(state));
    assert.ok(server.processId);
    process.kill(server.processId, "SIGKILL");
    await until("a new process", () => states.includes("running"));
    assert.notEqual((await server.about()).session, before);
    assert.ok(String(panel?.state.values["text"]).includes("plot is thin"));
    assert.equal(panels.size, 1);
  },
};

export async function run(): Promise<void> {
  const extension = vscode.extensions.getExtension<Api>(EXTENSION);
  assert.ok(extension, "the extension is not there");
  const api = await extension.activate();
  console.log(`activated with ${api.activation.toFixed(1)} ms of its own`);
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  assert.ok(folder);
  for (const [name, test] of Object.entries(tests)) {
    try {
      await test(api, folder);
    } catch (error) {
      console.log(`not ok - ${name}: ${error instanceof Error ? error.stack : String(error)}`);
      throw error;
    }
    console.log(`ok - ${name}`);
  }
}
