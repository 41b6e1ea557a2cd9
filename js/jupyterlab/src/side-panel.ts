import type { INotebookTracker, NotebookPanel } from "@jupyterlab/notebook";
import { NotebookActions } from "@jupyterlab/notebook";
import type { Kernel } from "@jupyterlab/services";
import { type Channel, type HostActions, mountLive, VERSION } from "@lmkit/core";
import { PACKAGES } from "@lmkit/protocol";
import { Widget } from "@lumino/widgets";
import { connect } from "./link.ts";
import { PATIENCE } from "./patience.ts";
import { type Found, probe } from "./probe.ts";
import type { Words } from "./words.ts";

/** The view that every kernel has under this name: what it is, has, and shows. */
const VIEW = "kernel";
const INSTALL = `%pip install ${PACKAGES.join(" ")}`;

export interface SidePanelOptions {
  readonly notebooks: INotebookTracker;
  readonly words: Words;
  readonly host: HostActions;
  /** Put a code cell into a notebook. */
  readonly insert: (panel: NotebookPanel, source: string) => void;
}

/**
 * The kernel of the notebook at hand, drawn by the core's own home view. Where there is no lmkit to
 * ask, it says what is missing and offers the way there.
 */
export class SidePanel extends Widget {
  readonly #options: SidePanelOptions;
  #panel: NotebookPanel | null = null;
  #channel: Channel | null = null;
  #unmount: (() => void) | null = null;
  /** Counts looks: what an earlier one found out late says nothing any more. */
  #looks = 0;

  constructor(options: SidePanelOptions) {
    super();
    this.#options = options;
    this.id = "lmkit-side-panel";
    this.addClass("lmkit-side-panel");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", "lmkit");
    options.notebooks.currentChanged.connect(this.#onNotebook);
    NotebookActions.executed.connect(this.#onExecuted);
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.#options.notebooks.currentChanged.disconnect(this.#onNotebook);
    NotebookActions.executed.disconnect(this.#onExecuted);
    this.#follow(null);
    this.#clear();
    super.dispose();
  }

  protected override onAfterShow(): void {
    void this.look();
  }

  protected override onAfterHide(): void {
    // a hidden panel asks a kernel nothing
    this.#clear();
  }

  /** Look at the kernel of the notebook at hand anew. */
  async look(): Promise<void> {
    this.#clear();
    this.#follow(this.#options.notebooks.currentWidget);
    if (!this.isVisible) return;
    const look = this.#looks;
    const { words } = this.#options;
    const panel = this.#panel;
    if (!panel) {
      this.#say(words("no-notebook"));
      return;
    }
    this.#say(words("ask"));
    await panel.sessionContext.ready;
    const kernel = panel.sessionContext.session?.kernel ?? null;
    if (look !== this.#looks) return;
    if (!kernel) {
      this.#say(words("no-kernel"));
      return;
    }
    const slow = setTimeout(() => {
      if (look === this.#looks) this.#say(words("busy"));
    }, PATIENCE);
    try {
      const found = await probe(kernel);
      if (look === this.#looks) await this.#show(found, kernel, panel, look);
    } catch (error) {
      if (look === this.#looks) this.#fail(error);
    } finally {
      clearTimeout(slow);
    }
  }

  async #show(
    found: Found,
    kernel: Kernel.IKernelConnection,
    panel: NotebookPanel,
    look: number,
  ): Promise<void> {
    const { words, insert } = this.#options;
    if (found.state === "not-python") {
      this.#say(words("not-python"));
    } else if (found.state === "missing") {
      const command = document.createElement("code");
      command.textContent = INSTALL;
      this.#say(
        words("missing", { where: found.python }),
        command,
        button(words("insert"), "install", () => insert(panel, INSTALL)),
      );
    } else if (found.state === "installed") {
      const load = async () => {
        await loadIn(kernel);
        await this.look();
      };
      this.#say(
        words("not-loaded", { version: found.version }),
        button(words("load"), "load", () => void load().catch((error) => this.#fail(error))),
      );
    } else {
      const channel = await connect(kernel, VIEW);
      if (look !== this.#looks) {
        channel.close();
        return;
      }
      this.node.replaceChildren();
      if (found.version !== VERSION) {
        this.node.append(paragraph(words("differs", { page: VERSION, kernel: found.version })));
      }
      const place = document.createElement("div");
      place.className = "lmkit-side-view";
      this.node.append(place);
      this.#channel = channel;
      channel.onClose(() => {
        // after a restart the kernel has no lmkit until it is loaded again
        if (look === this.#looks) void this.look();
      });
      this.#unmount = mountLive(place, { session: VIEW, view: VIEW }, channel, {
        fill: true,
        host: this.#options.host,
      });
    }
  }

  #follow(panel: NotebookPanel | null): void {
    if (panel === this.#panel) return;
    this.#panel?.sessionContext.kernelChanged.disconnect(this.#onKernel);
    this.#panel?.sessionContext.statusChanged.disconnect(this.#onStatus);
    this.#panel = panel;
    panel?.sessionContext.kernelChanged.connect(this.#onKernel);
    panel?.sessionContext.statusChanged.connect(this.#onStatus);
  }

  #clear(): void {
    this.#looks++;
    this.#unmount?.();
    this.#unmount = null;
    this.#channel = null;
    this.node.replaceChildren();
  }

  #say(text: string, ...more: readonly HTMLElement[]): void {
    this.node.replaceChildren(paragraph(text), ...more);
  }

  #fail(error: unknown): void {
    const { words } = this.#options;
    const why = error instanceof Error && error.message ? error.message : String(error);
    this.#say(
      words("failed", { why }),
      button(words("retry"), "retry", () => void this.look()),
    );
  }

  readonly #onNotebook = (): void => {
    if (this.#options.notebooks.currentWidget !== this.#panel) void this.look();
  };

  readonly #onKernel = (): void => void this.look();

  readonly #onStatus = (_: unknown, status: Kernel.Status): void => {
    // the answer comes when the kernel is back
    if (["restarting", "autorestarting"].includes(status)) void this.look();
  };

  readonly #onExecuted = (_: unknown, { notebook }: { readonly notebook: Widget }): void => {
    if (!this.isVisible || notebook !== this.#panel?.content) return;
    if (this.#channel) {
      // a cell may have loaded or unloaded a model
      const id = `refresh-${this.#looks}`;
      this.#channel.send({ type: "action", id, view: VIEW, name: "refresh", argument: "" });
    } else {
      void this.look();
    }
  };
}

/** Run `%load_ext lmkit` in a kernel; rejects with the kernel's own words. */
export async function loadIn(kernel: Kernel.IKernelConnection): Promise<void> {
  const { content } = await kernel.requestExecute({
    code: "%load_ext lmkit",
    store_history: false,
  }).done;
  if (content.status === "error") throw new Error(`${content.ename}: ${content.evalue}`);
  if (content.status !== "ok") throw new Error(content.status);
}

function paragraph(text: string): HTMLElement {
  const element = document.createElement("p");
  element.setAttribute("role", "status"); // it comes and goes unasked
  element.textContent = text;
  return element;
}

function button(text: string, name: string, press: () => void): HTMLElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "jp-mod-styled jp-mod-accept";
  element.dataset["lmkit"] = name;
  element.textContent = text;
  element.addEventListener("click", press);
  return element;
}
