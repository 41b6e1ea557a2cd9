/** Which view of a pass can be asked of a label, and of which labels. */

import type { PanelSpec, ViewInfo } from "@lmkit/protocol";
import { visibleLabel } from "../text.ts";
import type { Explain } from "./hooks.ts";

/** The field of a view that takes a label: by it a view says that it can be asked of one. */
export const TARGET = "target";

/** The view that a click on a label opens; null where none is installed, or none is for this pass. */
export function labelView(
  spec: PanelSpec,
  open: (view: ViewInfo, label: string) => void,
): Explain | null {
  const view = spec.attention?.views.find(
    (one) =>
      one.reason === "" && one.fields.some(({ name, kind }) => name === TARGET && kind === "text"),
  );
  if (!view) return null;
  // Labels that were typed into the form are the user's own: no output of the model has their name.
  const typed = new Set(
    spec.fields
      .filter((field) => field.kind === "text" && !field.body)
      .flatMap(({ name }) => String(spec.values[name] ?? "").split(/[,\n]/u))
      .map((part) => part.trim()),
  );
  return {
    title: visibleLabel(view.title),
    knows: (label) => label.trim() !== "" && !typed.has(label.trim()),
    open: (label) => open(view, label),
  };
}
