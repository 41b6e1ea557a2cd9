import type { JupyterFrontEnd, JupyterFrontEndPlugin } from "@jupyterlab/application";
import type { ISessionContext } from "@jupyterlab/apputils";
import { INotebookTracker } from "@jupyterlab/notebook";
import { type IRenderMime, IRenderMimeRegistry } from "@jupyterlab/rendermime";
import * as core from "@lmkit/core";
import { MIME, PROTOCOL } from "@lmkit/protocol";
import { ViewRenderer } from "./renderer.ts";
import { sidePanel } from "./side-panel-plugin.ts";

/** Before the widget manager's -10: a reopened notebook has no widget to show, but always a saved view. */
const RANK = -20;

function factory(session: ISessionContext | null): IRenderMime.IRendererFactory {
  return {
    // everything in the data is drawn as text or pixels: fit for notebooks that are not trusted
    safe: true,
    mimeTypes: [MIME],
    createRenderer: (options) => new ViewRenderer(options.mimeType, session),
  };
}

const renderer: JupyterFrontEndPlugin<void> = {
  id: "lmkit:renderer",
  description: "Draws lmkit's views, live where the notebook's kernel has them.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [INotebookTracker],
  activate: (
    _: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    notebooks: INotebookTracker | null,
  ): void => {
    // where anywidgets look for the core before they ask a kernel for it
    const page = globalThis as unknown as Record<symbol, unknown>;
    page[Symbol.for(`lmkit.core@${PROTOCOL}`)] ??= Promise.resolve(core);
    rendermime.addFactory(factory(null), RANK);
    // only a notebook's own registry leads to its kernel
    notebooks?.forEach((panel) => {
      panel.content.rendermime.addFactory(factory(panel.sessionContext), RANK);
    });
    notebooks?.widgetAdded.connect((_tracker, panel) => {
      panel.content.rendermime.addFactory(factory(panel.sessionContext), RANK);
    });
  },
};

export default [renderer, sidePanel];
