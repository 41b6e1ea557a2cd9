/** Long runs of the workspace, a distillation say: how far each is; a click opens its curves. */
import type { JobInfo, RunList } from "@lmkit/protocol";
import * as vscode from "vscode";
import { isObject } from "./messages.ts";
import { fileFolder, isVirtual, probePython } from "./python.ts";
import type { Server } from "./server.ts";

const VIEW = "lmkit.runs";
const STATE_KEY = "lmkit.runs";
/** Milliseconds between two looks while a run goes on, and while none does, the view being in sight. */
const BEAT = 2_000;
const REST = 5_000;
/** What is written when a run begins, and when it is done. */
const MOVES = "runs/*/{recipe,report}.json";

const ICONS: Readonly<Record<JobInfo["state"], readonly [icon: string, colour?: string]>> = {
  new: ["circle-large-outline"],
  running: ["sync~spin", "charts.blue"],
  paused: ["debug-pause", "charts.yellow"],
  stopped: ["debug-stop"],
  finished: ["pass", "charts.green"],
  failed: ["error", "charts.red"],
  killed: ["warning", "charts.orange"],
};

function stateWord(state: JobInfo["state"]): string {
  const words = {
    new: vscode.l10n.t("not started"),
    running: vscode.l10n.t("running"),
    paused: vscode.l10n.t("paused"),
    stopped: vscode.l10n.t("stopped"),
    finished: vscode.l10n.t("finished"),
    failed: vscode.l10n.t("failed"),
    killed: vscode.l10n.t("killed"),
  };
  return words[state];
}

/** Whether its process does something now. */
function active(run: JobInfo): boolean {
  return run.state === "running" || run.state === "paused";
}

/** The last part of its folder: what tells it from another of the same models. */
function folderName(run: Pick<JobInfo, "name">): string {
  return run.name.split(/[\\/]/).at(-1) || run.name;
}

/** "running, 120 of 400": what stands beside its name. */
export function describeRun(run: JobInfo): string {
  const state = stateWord(run.state);
  if (run.steps === 0)
    return run.step === 0 ? state : vscode.l10n.t("{0}, step {1}", state, run.step);
  if (run.state === "finished") return state;
  return vscode.l10n.t("{0}, {1} of {2}", state, run.step, run.steps);
}

export class Runs implements vscode.TreeDataProvider<JobInfo>, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly onDidChangeTreeData = this.#changed.event;
  readonly #tree: vscode.TreeView<JobInfo>;
  readonly #undo: vscode.Disposable[];
  #found: readonly JobInfo[] = [];
  #first: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly server: Server,
    private readonly python: () => Promise<string>,
  ) {
    this.#tree = vscode.window.createTreeView(VIEW, { treeDataProvider: this });
    this.#undo = [
      this.#tree,
      this.#tree.onDidChangeVisibility(({ visible }) => {
        clearTimeout(this.#timer);
        if (visible && this.#first) void this.refresh();
      }),
      server.onState((state) => void (state === "running" && this.#first && this.refresh())),
      vscode.workspace.onDidGrantWorkspaceTrust(() => void this.refresh()),
    ];
    const folder = fileFolder();
    if (folder) {
      const files = vscode.workspace.createFileSystemWatcher(
        new vscode.RelativePattern(folder, MOVES),
      );
      const seen = () => void (this.#tree.visible && this.#first && this.refresh());
      this.#undo.push(files, files.onDidCreate(seen), files.onDidDelete(seen));
    }
  }

  dispose(): void {
    clearTimeout(this.#timer);
    for (const one of this.#undo) one.dispose();
  }

  /** For tests in the extension host. */
  get found(): readonly JobInfo[] {
    return this.#found;
  }

  /** Look at the runs, and again as long as the view is in sight; draws only what has changed. */
  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    const found = await this.#look();
    const same = JSON.stringify(found) === JSON.stringify(this.#found);
    this.#found = found;
    if (!same) this.#changed.fire();
    clearTimeout(this.#timer);
    // A process that could not be started is not tried again by looking.
    if (this.#tree.visible && this.server.state === "running") {
      this.#timer = setTimeout(() => void this.refresh(), found.some(active) ? BEAT : REST);
    }
  }

  /** Carry out a button of a run. */
  async act(name: string, action: string): Promise<void> {
    await this.server.request("runs/act", { name, action });
    await this.refresh();
  }

  getTreeItem(run: JobInfo): vscode.TreeItem {
    const item = new vscode.TreeItem(folderName(run));
    item.id = run.name;
    // why it ended says more than of which models it is, which the tooltip says as well
    item.description = [describeRun(run), run.problem || run.title].filter(Boolean).join(" · ");
    const lines = [run.title, `${stateWord(run.state)}: ${run.name}`, run.note, run.problem];
    item.tooltip = lines.filter(Boolean).join("\n"); // a string: nothing in it is markup
    const [icon, colour] = ICONS[run.state];
    item.iconPath = new vscode.ThemeIcon(icon, colour ? new vscode.ThemeColor(colour) : undefined);
    item.contextValue = [run.state, ...run.actions].join(" ");
    item.command = {
      command: "lmkit.openRun",
      title: vscode.l10n.t("Open Run"),
      arguments: [run],
    };
    return item;
  }

  async getChildren(run?: JobInfo): Promise<JobInfo[]> {
    if (run) return [];
    this.#first ??= this.refresh();
    await this.#first;
    return [...this.#found];
  }

  async #look(): Promise<readonly JobInfo[]> {
    if (!vscode.workspace.isTrusted || isVirtual()) return [];
    let runs: readonly JobInfo[] = [];
    let state = "failed";
    try {
      // where lmkit is not there, the view above says so
      const running = this.server.state === "running";
      const failed = this.server.state === "failed"; // the view above tries it again
      if (running || (!failed && (await probePython(await this.python())).state === "ready")) {
        ({ runs } = await this.server.request<RunList>("runs/list"));
        state = "ready";
      }
    } catch {
      // as above
    }
    await vscode.commands.executeCommand("setContext", STATE_KEY, state);
    return runs;
  }
}

/** The run that a command was given, by a click or by a key binding; so it is checked. */
export function givenRun(argument: unknown): Pick<JobInfo, "name" | "task" | "title"> {
  const { name, task } = isObject(argument) ? argument : {};
  if (typeof name !== "string" || name === "" || typeof task !== "string") {
    throw new Error(vscode.l10n.t("Choose a run in lmkit's view."));
  }
  return { name, task, title: folderName({ name }) };
}
