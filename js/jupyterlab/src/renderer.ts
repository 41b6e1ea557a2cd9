import type { ISessionContext } from "@jupyterlab/apputils";
import type { IRenderMime } from "@jupyterlab/rendermime";
import type { Kernel } from "@jupyterlab/services";
import { type Channel, InSight, mountBundle } from "@lmkit/core";
import { PACKAGES } from "@lmkit/protocol";
import { Widget } from "@lumino/widgets";
import { connect, RefusedError } from "./link.ts";
import { probe } from "./probe.ts";
import { pageWords } from "./words.ts";

/** One output. */
export class ViewRenderer extends Widget implements IRenderMime.IRenderer {
  readonly #mimeType: string;
  readonly #session: ISessionContext | null;
  readonly #place: InSight;
  #data: unknown = null;
  #live: { readonly view: string } | null = null;
  /** The kernel that this view talks or tries to talk to. */
  #kernel: Kernel.IKernelConnection | null = null;
  #connected = false;
  /** Counts mounts: a connection that was begun for an earlier one says nothing about this one. */
  #mounts = 0;

  /** @param session the notebook's, or null where there is no kernel to ask */
  constructor(mimeType: string, session: ISessionContext | null) {
    super();
    this.#mimeType = mimeType;
    this.#session = session;
    this.addClass("lmkit-output");
    this.node.dataset["jpSuppressContextMenu"] = "";
    this.#place = new InSight(this.node);
    session?.kernelChanged.connect(this.#onKernel);
    window.addEventListener("keydown", this.#onKey, true);
  }

  /** Called again when the output's data is updated: a view that is live has had the news by its comm. */
  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.#data = model.data[this.#mimeType];
    const live = liveOf(this.#data);
    const same = live !== null && live.view === this.#live?.view;
    this.#live = live;
    if (!(same && this.#connected)) this.#remount();
  }

  override dispose(): void {
    if (this.isDisposed) return;
    this.#place.dispose();
    this.#session?.kernelChanged.disconnect(this.#onKernel);
    window.removeEventListener("keydown", this.#onKey, true);
    super.dispose();
  }

  #remount(): void {
    this.#connected = false;
    this.#mounts++;
    this.#place.show(this.#data, () => {
      const channel =
        this.#session && this.#live ? this.#connect(this.#session, this.#live.view) : null;
      return mountBundle(this.node, this.#data, channel);
    });
  }

  async #connect(session: ISessionContext, view: string): Promise<Channel> {
    const mount = this.#mounts;
    await session.ready;
    this.#kernel = session.session?.kernel ?? null;
    if (!this.#kernel) throw new Error(pageWords()("output.no-kernel"));
    const channel = await connect(this.#kernel, view).catch(explain(this.#kernel));
    if (mount === this.#mounts) this.#connected = true;
    channel.onClose(() => {
      if (mount === this.#mounts) this.#connected = false;
    });
    return channel;
  }

  readonly #onKernel = (
    _: unknown,
    change: { newValue: Kernel.IKernelConnection | null },
  ): void => {
    // the first kernel of a notebook is met by #connect, which waits for it
    const another = this.#kernel && change.newValue && change.newValue !== this.#kernel;
    if (another && this.#place.drawn) this.#remount();
  };

  /**
   * Keys pressed inside belong to the view, not to the notebook, whose shortcuts would delete or run the
   * cell; with Ctrl or Command they stay the application's (save, find), but for Enter. The mark goes on
   * the element itself, just before Lumino looks: a shortcut of ":focus" matches before its ancestors.
   */
  readonly #onKey = (event: KeyboardEvent): void => {
    if (!(event.target instanceof Element && this.node.contains(event.target))) return;
    const ours = event.key === "Enter" || !(event.ctrlKey || event.metaKey);
    event.target.toggleAttribute("data-lm-suppress-shortcuts", ours);
  };
}

/** A refusal, with the side that lacks lmkit by name; waits for the kernel's running cell. */
function explain(kernel: Kernel.IKernelConnection): (error: unknown) => Promise<never> {
  return async (error) => {
    if (error instanceof RefusedError) {
      const found = await probe(kernel).catch(() => null);
      const word = pageWords();
      if (found?.state === "missing")
        throw new Error(
          word("output.missing", { where: found.python, packages: PACKAGES.join(" ") }),
        );
      if (found?.state === "not-python") throw new Error(word("not-python"));
    }
    throw error;
  };
}

function liveOf(data: unknown): { readonly view: string } | null {
  const live = (data as { live?: { view?: unknown } | null } | null)?.live;
  return typeof live?.view === "string" ? { view: live.view } : null;
}
