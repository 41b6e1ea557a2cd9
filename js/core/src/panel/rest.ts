/** The button that asks a kernel for what a saved output lacks. */

import type { Context } from "../context.ts";
import { h, type Scope } from "../dom.ts";

export interface RestButton {
  readonly element: HTMLButtonElement;
  /** Follow the source; hidden where there is nothing to ask for. */
  draw(): void;
}

export function restButton(context: Context, scope: Scope): RestButton {
  const { t, source } = context;
  const element = h("button", { type: "button", class: "rest", "data-lmkit": "rest" });
  scope.on(element, "click", () => source.askForRest());
  const draw = () => {
    const asking = source.rest === "asking";
    const nothing = source.rest === "none";
    element.hidden = nothing;
    // Not disabled while it asks: the keyboard's place would be lost.
    element.setAttribute("aria-disabled", String(asking));
    element.textContent = nothing ? "" : t(asking ? "rest.asking" : "rest.get");
  };
  draw();
  return { element, draw };
}
