import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin,
} from "@jupyterlab/application";
import {
  Dialog,
  ICommandPalette,
  InputDialog,
  Notification,
  showErrorMessage,
} from "@jupyterlab/apputils";
import { ILauncher } from "@jupyterlab/launcher";
import { INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";
import { type Preferences, prefer } from "@lmkit/core";
import { KernelBudget } from "./budget.ts";
import { type DefaultModels, findView, insertCell, insertTask, taskCell } from "./cells.ts";
import { icon } from "./icon.ts";
import { patiently } from "./patience.ts";
import { type Found, probe } from "./probe.ts";
import { translated } from "./schema-words.ts";
import { loadIn, SidePanel } from "./side-panel.ts";
import { currentWords as word } from "./words.ts";

const ID = "lmkit:side-panel";
const CATEGORY = "lmkit";

export const COMMANDS = {
  show: "lmkit:show-kernel",
  load: "lmkit:load",
  run: "lmkit:run-on-selection",
  notebook: "lmkit:new-notebook",
} as const;

/** Cells of the launcher's notebook. */
const FIRST_CELLS = ["%load_ext lmkit", taskCell("classification", "", {})];

export const sidePanel: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: "The kernel of the notebook at hand: devices, models, plugins, tasks, open views.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, ILauncher, ISettingRegistry, ILayoutRestorer, ITranslator],
  activate,
};

async function activate(
  app: JupyterFrontEnd,
  notebooks: INotebookTracker,
  palette: ICommandPalette | null,
  launcher: ILauncher | null,
  registry: ISettingRegistry | null,
  restorer: ILayoutRestorer | null,
  translator: ITranslator | null,
): Promise<void> {
  const { commands, shell } = app;
  let models: DefaultModels = {};
  const insert = (task: string) => {
    const panel = notebooks.currentWidget;
    if (panel) insertTask(panel, task, models);
  };
  const insertCode = (source: string) => {
    const panel = notebooks.currentWidget;
    if (panel) insertCell(panel, source);
  };
  const showView = (view: string): boolean => {
    const found = findView(notebooks, view);
    if (!found) return false;
    shell.activateById(found.panel.id);
    found.panel.content.activeCellIndex = found.index;
    void found.panel.content.scrollToItem(found.index, "start");
    return true;
  };
  const side = new SidePanel({
    notebooks,
    words: word,
    host: { insertTask: insert, insertCode, showView },
    insert: insertCell,
  });
  side.title.icon = icon;
  side.title.caption = word("title");
  shell.add(side, "left", { rank: 900 });
  restorer?.add(side, ID);

  /** The kernels that a command waits for: pressed again meanwhile, it would ask twice. */
  const awaited = new WeakSet<Kernel.IKernelConnection>();
  /**
   * Do `work` with what a kernel has of lmkit once that is loaded there. Said in sight: what is missing,
   * what failed, and that the kernel is busy; asked first, so that a user who leaves has changed nothing.
   */
  const whenLoaded = async (
    command: string,
    kernel: Kernel.IKernelConnection | null,
    work: (found: Extract<Found, { state: "loaded" }>) => Promise<void>,
  ): Promise<void> => {
    if (!kernel || awaited.has(kernel)) return;
    awaited.add(kernel);
    try {
      let found = await patiently(probe(kernel), word);
      if (found?.state === "installed") {
        await loadIn(kernel);
        found = await probe(kernel);
      }
      if (found?.state === "loaded") await work(found);
      else if (found) shell.activateById(side.id); // which says what is missing
    } catch (error) {
      const why = error instanceof Error && error.message ? error.message : String(error);
      await showErrorMessage(commands.label(command), word("failed", { why }), [
        Dialog.okButton({ label: word("close") }),
      ]);
    } finally {
      awaited.delete(kernel);
    }
  };
  const kernelOf = (panel: NotebookPanel | null) => panel?.sessionContext.session?.kernel ?? null;
  const hasKernel = () => kernelOf(notebooks.currentWidget) !== null;
  commands.addCommand(COMMANDS.show, {
    label: () => word("command.show"),
    icon,
    execute: () => {
      shell.activateById(side.id);
    },
  });
  commands.addCommand(COMMANDS.load, {
    label: () => word("command.load"),
    isEnabled: hasKernel,
    execute: () =>
      whenLoaded(COMMANDS.load, kernelOf(notebooks.currentWidget), async () => {
        Notification.success(word("loaded"), { autoClose: 3_000 });
        await side.look();
      }),
  });
  commands.addCommand(COMMANDS.run, {
    label: () => word("command.run"),
    isEnabled: hasKernel,
    execute: async () => {
      const panel = notebooks.currentWidget;
      await whenLoaded(COMMANDS.run, kernelOf(panel), async ({ tasks }) => {
        const asked = await InputDialog.getItem({
          title: word("command.run"),
          label: word("dialog.task"),
          items: [...tasks],
        });
        if (panel && asked.button.accept && asked.value) insertTask(panel, asked.value, models);
      });
    },
  });
  commands.addCommand(COMMANDS.notebook, {
    label: () => word("command.new"),
    caption: () => word("command.new.caption"),
    icon,
    execute: async (args) => {
      await app.serviceManager.kernelspecs.ready;
      const kernelName = app.serviceManager.kernelspecs.specs?.default ?? null;
      const cwd = typeof args["cwd"] === "string" ? args["cwd"] : "";
      const panel: NotebookPanel | undefined = await commands.execute("notebook:create-new", {
        cwd,
        ...(kernelName && { kernelName }),
      });
      if (!panel) return undefined;
      await panel.context.ready;
      const notebook = panel.content.model?.sharedModel;
      const [first, ...rest] = FIRST_CELLS;
      notebook?.getCell(0)?.setSource(first ?? "");
      notebook?.insertCells(
        1,
        rest.map((source) => ({ cell_type: "code", source })),
      );
      panel.content.activeCellIndex = 0;
      return panel; // which takes the launcher's place
    },
  });
  for (const command of [COMMANDS.show, COMMANDS.load, COMMANDS.run, COMMANDS.notebook]) {
    palette?.addItem({ command, category: CATEGORY });
  }
  // without a category it stands in the section that JupyterLab names in the user's language
  launcher?.add({ command: COMMANDS.notebook, rank: 1 });

  const keepBudget = new KernelBudget(notebooks);
  if (registry) {
    const trans = (translator ?? nullTranslator).load("lmkit");
    registry.transform(ID, { fetch: (plugin) => translated(plugin, trans) });
    const settings = await registry.load(ID);
    const read = () => {
      const { defaultModels, budget, scale, colours } = settings.composite;
      models = defaultModels as DefaultModels;
      keepBudget.budget = budget as string;
      prefer({ mapping: scale, colours } as Preferences);
    };
    settings.changed.connect(read);
    read();
  }
}
