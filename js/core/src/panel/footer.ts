/** The last line: what the chosen token attends to, and the tools. */

import type { PanelSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, copyText, h, refill, type Scope } from "../dom.ts";
import type { HeadModel } from "../explorer/head-model.ts";
import { reading, top, verb } from "../explorer/sentence.ts";
import { quoted } from "../numbers.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken } from "../text.ts";

const MOST_SUBJECTS = 3;
const MOST_ITEMS = 6;

/** The sentence on the token under the cursor or the chosen ones, kept up to date. */
export function sentence(
  host: HTMLElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): void {
  const { t } = context;
  const draw = () => {
    const read = reading(model, store.state);
    if (!read) {
      refill(
        host,
        h("span", { class: "note" }, model.status === "ready" ? t("sentence.hint") : ""),
      );
      return;
    }
    const subjects = read.subjects
      .slice(0, MOST_SUBJECTS)
      .flatMap((token, index) => [
        index > 0 ? " + " : null,
        bdi(shortToken(token.text), { class: "code subject" }),
      ]);
    const items = top(read, MOST_ITEMS, store.state.hideSpecials).map((item) =>
      h(
        "span",
        { class: "sentence-item", "data-lmkit": "sentence-item" },
        bdi(shortToken(item.token.text), { class: "code" }),
        " ",
        h("span", { class: "number" }, quoted(item.value, read.values.exact)),
      ),
    );
    refill(
      host,
      h(
        "span",
        {},
        ...subjects,
        read.subjects.length > MOST_SUBJECTS ? " … " : " ",
        verb(read, t),
        ": ",
      ),
      ...items,
    );
  };
  const redraw = scope.frame(draw);
  scope.add(store.subscribe(redraw));
  scope.add(model.subscribe(redraw));
  draw();
}

/** The button that copies the Python of what is shown. */
export function copyPython(spec: () => PanelSpec, context: Context, scope: Scope): HTMLElement {
  const { t } = context;
  const button = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "copy-python" },
    t("copy.python"),
  );
  scope.on(button, "click", () => {
    void copyText(spec().python, button).then((copied) => {
      const said = t(copied ? "copy.done" : "copy.failed");
      button.textContent = said;
      context.announce(said);
      scope.later(2000, () => {
        button.textContent = t("copy.python");
      });
    });
  });
  return button;
}
