import type { ISessionContext } from "@jupyterlab/apputils";
import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";

/**
 * Gives the budget of saved outputs to each kernel of a notebook as it starts: as the environment
 * variable that lmkit reads when it is first needed, so that it is there before the first cell and costs
 * a kernel without lmkit nothing. A variable that the kernel has stays as it is.
 */
export class KernelBudget {
  /** As people write it; empty for lmkit's own. */
  budget = "";

  constructor(notebooks: Pick<INotebookTracker, "forEach" | "widgetAdded">) {
    const follow = ({ sessionContext }: NotebookPanel) => {
      sessionContext.kernelChanged.connect((_, { newValue }) => void this.#tell(newValue));
      sessionContext.statusChanged.connect(this.#onStatus);
    };
    notebooks.forEach(follow);
    notebooks.widgetAdded.connect((_, panel) => follow(panel));
  }

  readonly #onStatus = (context: ISessionContext, status: Kernel.Status): void => {
    // what is asked now is answered when the kernel is back
    if (status === "restarting" || status === "autorestarting") {
      void this.#tell(context.session?.kernel ?? null);
    }
  };

  async #tell(kernel: Kernel.IKernelConnection | null): Promise<void> {
    if (!kernel || this.budget.trim() === "") return;
    try {
      if ((await kernel.info).language_info.name !== "python") return;
      const value = JSON.stringify(this.budget.trim());
      await kernel.requestExecute({
        code: `__import__("os").environ.setdefault("LMKIT_BUDGET", ${value})`,
        silent: true,
        store_history: false,
      }).done;
    } catch {
      // the kernel went away, and with it what was to be told
    }
  }
}
