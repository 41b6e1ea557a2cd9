import type { ISessionContext } from "@jupyterlab/apputils";
import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";

type Notebooks = Pick<INotebookTracker, "forEach" | "widgetAdded">;

/**
 * Gives the budget of saved outputs to each kernel of a notebook as it starts: as the environment
 * variable that lmkit reads when it is first needed, so that it is there before the first cell and costs
 * a kernel without lmkit nothing. A variable that the kernel has stays as it is.
 */
export class KernelBudget {
  readonly #notebooks: Notebooks;
  /** Null until the settings are read. */
  #budget: string | null = null;

  constructor(notebooks: Notebooks) {
    this.#notebooks = notebooks;
    const follow = ({ sessionContext }: NotebookPanel) => {
      sessionContext.kernelChanged.connect((_, { newValue }) => void this.#tell(newValue));
      sessionContext.statusChanged.connect(this.#onStatus);
    };
    notebooks.forEach(follow);
    notebooks.widgetAdded.connect((_, panel) => follow(panel));
  }

  /**
   * As people write it; empty for lmkit's own. Kernels that were there before the settings are told now;
   * of a change only those that start later hear.
   */
  set budget(budget: string) {
    const first = this.#budget === null;
    this.#budget = budget.trim();
    if (!first) return;
    this.#notebooks.forEach(({ sessionContext }) => {
      void this.#tell(sessionContext.session?.kernel ?? null);
    });
  }

  readonly #onStatus = (context: ISessionContext, status: Kernel.Status): void => {
    // what is asked now is answered when the kernel is back
    if (status === "restarting" || status === "autorestarting") {
      void this.#tell(context.session?.kernel ?? null);
    }
  };

  async #tell(kernel: Kernel.IKernelConnection | null): Promise<void> {
    if (!kernel || !this.#budget) return;
    try {
      if ((await kernel.info).language_info.name !== "python") return;
      const value = JSON.stringify(this.#budget);
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
