/** The activity-bar view: which Python, is lmkit in it, tasks, plugins and models. */
import type {
  ModelList,
  PluginList,
  StarterList,
  TaskDeclaration,
  TaskList,
} from "@lmkit/protocol";
import * as vscode from "vscode";
import { isVirtual, probePython } from "./python.ts";
import { errorOf, type Server } from "./server.ts";

interface Node {
  readonly label: string;
  readonly id: string;
  readonly description?: string;
  readonly tooltip?: string;
  readonly icon?: string;
  readonly context?: string;
  readonly command?: vscode.Command;
  readonly children?: readonly Node[];
  readonly open?: boolean;
}

const STATE_KEY = "lmkit.state";

export class Home implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly #undo: vscode.Disposable[];
  readonly onDidChangeTreeData = this.#changed.event;
  /** Whether a Python that could not be started is to be tried again: looking alone is no wish. */
  #again = false;

  constructor(
    private readonly server: Server,
    private readonly python: () => Promise<string>,
  ) {
    this.#undo = [
      server.onState((state) => state !== "starting" && this.#changed.fire()),
      server.onEvent((event) => {
        // a run may have loaded a model
        const spec = event["spec"] as { readonly status?: { readonly state?: string } } | undefined;
        if (spec?.status?.state === "done") this.#changed.fire();
      }),
      vscode.workspace.onDidGrantWorkspaceTrust(() => this.refresh()),
    ];
  }

  dispose(): void {
    for (const one of this.#undo) one.dispose();
  }

  /** Look again, and try again what failed. */
  refresh(): void {
    this.#again = true;
    this.#changed.fire();
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const { Collapsed, Expanded, None } = vscode.TreeItemCollapsibleState;
    const item = new vscode.TreeItem(
      node.label,
      node.children ? (node.open ? Expanded : Collapsed) : None,
    );
    item.id = node.id;
    if (node.description) item.description = node.description;
    item.tooltip = node.tooltip ?? node.label; // a string: nothing in it is markup
    if (node.icon) item.iconPath = new vscode.ThemeIcon(node.icon);
    if (node.context) item.contextValue = node.context;
    if (node.command) item.command = node.command;
    return item;
  }

  async getChildren(node?: Node): Promise<Node[]> {
    if (node) return [...(node.children ?? [])];
    if (!vscode.workspace.isTrusted) return [];
    if (isVirtual()) {
      await setState("virtual");
      return [];
    }
    const again = this.#again;
    this.#again = false;
    if (this.server.state === "failed" && !again) {
      await setState(stateOf(this.server.failure));
      return [];
    }
    if (this.server.state !== "running") {
      const probe = await probePython(await this.python());
      if (probe.state !== "ready") {
        await setState(probe.state);
        return [];
      }
    }
    try {
      const [about, tasks, plugins, models, starters] = await Promise.all([
        this.server.about(),
        this.server.request<TaskList>("tasks"),
        this.server.request<PluginList>("plugins"),
        this.server.request<ModelList>("models"),
        this.server.request<StarterList>("starters"),
      ]);
      await setState("ready");
      const noPlugin = vscode.l10n.t("No plugin is installed");
      return [
        {
          id: "python",
          label: `Python ${about.python}`,
          description: `lmkit ${about.version}`,
          tooltip: about.executable,
          icon: "vm-running",
          command: { command: "lmkit.choosePython", title: vscode.l10n.t("Choose Python") },
        },
        group("tasks", vscode.l10n.t("Tasks"), tasks.tasks.map(taskNode), noPlugin),
        group(
          "plugins",
          vscode.l10n.t("Plugins"),
          plugins.plugins.map(pluginNode),
          noPlugin,
          // as long as all is well their tasks tell enough
          plugins.plugins.some(({ state }) => state !== "ready"),
        ),
        group(
          "models",
          vscode.l10n.t("Loaded models"),
          models.models.map(modelNode),
          vscode.l10n.t("None yet: run a task"),
        ),
        group(
          "starters",
          vscode.l10n.t("Starter models"),
          starters.starters.map(starterNode),
          vscode.l10n.t("None"),
          false,
        ),
      ];
    } catch (error) {
      await setState(stateOf(error));
      return [];
    }
  }
}

/** Which words the view shows in place of a tree, by what kept Python from answering. */
const WORDS: Readonly<Record<string, string>> = {
  protocol: "differs",
  "no-python": "no-python",
  missing: "missing",
};

function stateOf(failure: unknown): string {
  return WORDS[errorOf(failure).code] ?? "failed";
}

function setState(state: string): Thenable<unknown> {
  return vscode.commands.executeCommand("setContext", STATE_KEY, state);
}

function group(
  id: string,
  label: string,
  found: readonly Node[],
  empty: string,
  open = true,
): Node {
  const children = found.length > 0 ? found : [{ id: `${id}:none`, label: empty }];
  const description = found.length > 0 ? String(found.length) : "";
  return { id, label, children, open, description };
}

function taskNode(task: TaskDeclaration): Node {
  return {
    id: `task:${task.name}`,
    label: task.title,
    description: task.name,
    tooltip: task.help,
    icon: "beaker",
    command: {
      command: "lmkit.openPanel",
      title: vscode.l10n.t("Open Panel"),
      arguments: [{ task: task.name }],
    },
  };
}

const STATES = { ready: "pass", quarantined: "error", blocked: "circle-slash" } as const;

function stateWord(state: keyof typeof STATES): string {
  const words = {
    ready: vscode.l10n.t("ready"),
    quarantined: vscode.l10n.t("quarantined"),
    blocked: vscode.l10n.t("blocked"),
  };
  return words[state];
}

function pluginNode(plugin: PluginList["plugins"][number]): Node {
  const wrong = plugin.error ? `\n${plugin.error.message} ${plugin.error.hint}` : "";
  return {
    id: `plugin:${plugin.name}:${plugin.version}`,
    label: plugin.name,
    description: [plugin.version, plugin.state === "ready" ? "" : stateWord(plugin.state)]
      .filter(Boolean)
      .join(" "),
    tooltip: `${plugin.name}: ${stateWord(plugin.state)}${wrong}`,
    icon: STATES[plugin.state],
  };
}

function modelNode(model: ModelList["models"][number]): Node {
  const megabytes = Math.round(model.bytes / 2 ** 20);
  return {
    id: `model:${model.name}`,
    label: model.name,
    description: `${model.device}, ${megabytes} MiB`,
    tooltip: vscode.l10n.t(
      "{0}, {1} M parameters, {2}",
      model.kind,
      (model.parameters / 1e6).toFixed(1),
      model.dtype,
    ),
    icon: "chip",
    context: "model",
  };
}

function starterNode(starter: StarterList["starters"][number]): Node {
  return {
    id: `starter:${starter.name}`,
    label: `starter:${starter.name}`,
    description: starter.installed ? starter.title : vscode.l10n.t("not installed"),
    tooltip: starter.installed ? starter.title : `${starter.title}: lmkit starter install`,
    icon: starter.installed ? "package" : "cloud-download",
  };
}
