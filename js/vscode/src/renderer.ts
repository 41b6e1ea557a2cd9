/** The notebook renderer: draws saved outputs, in any workspace and without a kernel. */
import { InSight, mountBundle } from "@lmkit/core";
import type { ActivationFunction } from "vscode-notebook-renderer";
import { extensionRest } from "./rest.ts";

interface Output {
  readonly element: HTMLElement;
  readonly place: InSight;
  data: unknown;
}

/** "zh" of "zh-CN": the words of a view differ by no more. */
function first(language: string): string {
  return language.split("-")[0]?.toLowerCase() ?? "";
}

export const activate: ActivationFunction = (context) => {
  // A notebook's page says "en" whatever VS Code speaks; this is right on a desktop, and a guess in a
  // browser until the extension has told.
  let locale = navigator.language;
  const outputs = new Map<string, Output>();
  const rest = extensionRest(context, (language) => {
    const same = first(language) === first(locale);
    locale = language;
    if (same) return;
    for (const output of outputs.values()) draw(output);
  });
  const draw = ({ element, place, data }: Output) => {
    place.show(data, () => mountBundle(element, data, null, { locale, ...(rest ? { rest } : {}) }));
  };
  const dispose = (id: string) => {
    outputs.get(id)?.place.dispose();
    outputs.delete(id);
  };
  return {
    renderOutputItem(item, element) {
      let data: unknown;
      try {
        data = item.json();
      } catch {
        data = null; // drawn as what it is: an output that cannot be read
      }
      let output = outputs.get(item.id);
      if (output?.element !== element) {
        dispose(item.id);
        output = { element, place: new InSight(element), data };
        outputs.set(item.id, output);
      }
      output.data = data;
      draw(output);
    },
    disposeOutputItem(id) {
      if (id !== undefined) dispose(id);
      else for (const one of [...outputs.keys()]) dispose(one);
    },
  };
};
