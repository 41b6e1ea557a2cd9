import type { Kernel, KernelMessage } from "@jupyterlab/services";
import type { Channel } from "@lmkit/core";
import type { JSONObject } from "@lumino/coreutils";
import { pageWords } from "./words.ts";

const TARGET = "lmkit";

/** The kernel knows nobody under lmkit's name: lmkit is not loaded there, or not even installed. */
export class RefusedError extends Error {}

type Heard = Parameters<Channel["listen"]>[0];

/** What JupyterLab's comms have beyond their interface: a subshell of the kernel, once it has started. */
type SubshellComm = Kernel.IComm & { readonly subshellStarted?: Promise<void> };

/**
 * The comm to one kernel, shared by all views of a page: sixty outputs cost one comm and one subshell,
 * and every message names its view.
 */
class Link {
  readonly #listeners = new Map<string, Set<Heard>>();
  readonly #onEnd = new Set<() => void>();
  readonly #comm: SubshellComm;
  #ended = false;
  #refused = false;

  constructor(readonly kernel: Kernel.IKernelConnection) {
    this.#comm = kernel.createComm(TARGET);
    this.#comm.onMsg = (message) => this.#hear(message);
    this.#comm.onClose = () => {
      this.#refused = true;
      this.end();
    };
    // a restart disposes the comm without a word
    kernel.statusChanged.connect(this.#onStatus);
    kernel.disposed.connect(this.end);
  }

  /** Resolves when the kernel has accepted the comm; rejects with a sentence for people. */
  async open(): Promise<this> {
    const comm = this.#comm;
    const ended = new Promise<void>((resolve) => this.#onEnd.add(resolve));
    // a message that was under way when the kernel went rejects
    const done = (step: Promise<unknown> | undefined) =>
      Promise.race([step?.catch(this.end), ended]);
    await done(this.kernel.info);
    // Opened on a subshell, the comm is answered while a cell computes. Where subshells are off or
    // unknown to the kernel the promise would never settle.
    if (!this.#ended && this.kernel.supportsSubshells && comm.commsOverSubshells !== "disabled") {
      await done(comm.subshellStarted?.catch(() => undefined));
    }
    // the kernel closes a comm of an unknown target before it reports this message as done
    if (!this.#ended) await done(comm.open().done);
    if (this.#ended) {
      throw this.#refused
        ? new RefusedError(pageWords()("output.not-loaded"))
        : new Error(pageWords()("output.ended"));
    }
    return this;
  }

  channel(view: string): Channel {
    const undo = new Set<() => void>();
    const add = <T>(to: Set<T>, item: T): (() => void) => {
      to.add(item);
      const remove = () => void to.delete(item);
      undo.add(remove);
      return remove;
    };
    return {
      send: (message) => {
        if (this.#comm.isDisposed) this.end();
        else this.#comm.send(message as unknown as JSONObject);
      },
      listen: (heard) => {
        const listeners = this.#listeners.get(view) ?? new Set();
        this.#listeners.set(view, listeners);
        return add(listeners, heard);
      },
      onClose: (closed) => {
        if (this.#ended) queueMicrotask(closed);
        return add(this.#onEnd, closed);
      },
      close: () => {
        for (const remove of undo) remove();
      },
    };
  }

  readonly end = (): void => {
    if (this.#ended) return;
    this.#ended = true;
    this.kernel.statusChanged.disconnect(this.#onStatus);
    this.kernel.disposed.disconnect(this.end);
    links.delete(this.kernel);
    for (const closed of this.#onEnd) closed();
  };

  readonly #onStatus = (_: unknown, status: Kernel.Status): void => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) this.end();
  };

  #hear(message: KernelMessage.ICommMsgMsg): void {
    const { data } = message.content;
    const buffers = (message.buffers ?? []).map((buffer) =>
      ArrayBuffer.isView(buffer) ? buffer : new Uint8Array(buffer),
    );
    for (const heard of this.#listeners.get(String(data["view"])) ?? []) heard(data, buffers);
  }
}

const links = new WeakMap<Kernel.IKernelConnection, Promise<Link>>();

/** The way of one view to its kernel. Rejects with a sentence when lmkit is not loaded there. */
export async function connect(kernel: Kernel.IKernelConnection, view: string): Promise<Channel> {
  let link = links.get(kernel);
  if (!link) {
    const opening = new Link(kernel).open();
    link = opening;
    links.set(kernel, link);
    // a later view tries again
    link.catch(() => links.get(kernel) === opening && links.delete(kernel));
  }
  return (await link).channel(view);
}
