/** The notebook renderer: draws saved outputs, in any workspace and without a kernel. */
import { mountBundle } from "@lmkit/core";
import type { ActivationFunction } from "vscode-notebook-renderer";
import { extensionRest } from "./rest.ts";

export const activate: ActivationFunction = (context) => {
  const rest = extensionRest(context);
  const undo = new Map<string, () => void>();
  const dispose = (id: string) => {
    undo.get(id)?.();
    undo.delete(id);
  };
  return {
    renderOutputItem(item, element) {
      dispose(item.id);
      let data: unknown;
      try {
        data = item.json();
      } catch {
        data = null; // drawn as what it is: an output that cannot be read
      }
      undo.set(item.id, mountBundle(element, data, null, rest ? { rest } : {}));
    },
    disposeOutputItem(id) {
      if (id !== undefined) dispose(id);
      else for (const one of [...undo.keys()]) dispose(one);
    },
  };
};
