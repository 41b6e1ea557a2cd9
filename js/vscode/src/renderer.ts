/** The notebook renderer: draws saved outputs, in any workspace and without a kernel. */
import { mountBundle } from "@lmkit/core";
import type { ActivationFunction } from "vscode-notebook-renderer";
import { extensionRest } from "./rest.ts";

interface Drawn {
  readonly element: HTMLElement;
  readonly data: unknown;
  undo(): void;
}

/** "zh" of "zh-CN": the words of a view differ by no more. */
function first(language: string): string {
  return language.split("-")[0]?.toLowerCase() ?? "";
}

export const activate: ActivationFunction = (context) => {
  // A notebook's page says "en" whatever VS Code speaks; this is right on a desktop, and a guess in a
  // browser until the extension has told.
  let locale = navigator.language;
  const drawn = new Map<string, Drawn>();
  const rest = extensionRest(context, (language) => {
    const same = first(language) === first(locale);
    locale = language;
    if (same) return;
    for (const [id, { element, data }] of [...drawn]) draw(id, element, data);
  });
  const draw = (id: string, element: HTMLElement, data: unknown) => {
    drawn.get(id)?.undo();
    const undo = mountBundle(element, data, null, { locale, ...(rest ? { rest } : {}) });
    drawn.set(id, { element, data, undo });
  };
  const dispose = (id: string) => {
    drawn.get(id)?.undo();
    drawn.delete(id);
  };
  return {
    renderOutputItem(item, element) {
      let data: unknown;
      try {
        data = item.json();
      } catch {
        data = null; // drawn as what it is: an output that cannot be read
      }
      draw(item.id, element, data);
    },
    disposeOutputItem(id) {
      if (id !== undefined) dispose(id);
      else for (const one of [...drawn.keys()]) dispose(one);
    },
  };
};
