/** The overlay that names the keys. */

import type { Context } from "../context.ts";
import { h, type Scope, uniqueId } from "../dom.ts";
import { PICTURES } from "../explorer/pictures.ts";
import type { MessageKey } from "../messages.ts";

const KEYS: readonly (readonly [readonly string[], MessageKey | null])[] = [
  [["←", "→", "↑", "↓"], "key.arrows"],
  [["Enter"], "key.enter"],
  [["[", "]"], "key.layer"],
  [[",", "."], "key.head"],
  [PICTURES.map((kind) => kind.digit), null],
  [["+", "-", "0"], "key.zoom"],
  [["s"], "key.scale"],
  [["/"], "key.find"],
  [["F2"], "key.edit"],
  [["Esc"], "key.escape"],
  [["Ctrl+Enter"], "key.run"],
  [["?"], "key.help"],
];

export function help(
  host: HTMLElement,
  context: Context,
  scope: Scope,
): { toggle(): void; close(): boolean } {
  const { t } = context;
  const pictures = PICTURES.map((kind) => t(kind.title)).join(t("list.comma"));
  const id = uniqueId("help");
  const close = h("button", { type: "button", class: "quiet" }, t("help.close"));
  const box = h(
    "div",
    { class: "help", role: "dialog", "aria-labelledby": id, "data-lmkit": "help" },
    h(
      "div",
      { class: "help-head" },
      h("span", { class: "pane-title", id }, t("help.title")),
      close,
    ),
    h(
      "dl",
      {},
      ...KEYS.flatMap(([names, key]) => [
        h("dt", {}, ...names.map((name) => h("kbd", {}, name))),
        h("dd", {}, key === null ? pictures : t(key)),
      ]),
    ),
  );
  box.hidden = true;
  host.append(box);
  let before: Element | null = null;
  const shut = (): boolean => {
    if (box.hidden) return false;
    box.hidden = true;
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    return true;
  };
  scope.on(close, "click", shut);
  return {
    toggle() {
      if (shut()) return;
      const root = box.getRootNode();
      before = root instanceof ShadowRoot || root instanceof Document ? root.activeElement : null;
      box.hidden = false;
      close.focus({ preventScroll: true });
    },
    close: shut,
  };
}
