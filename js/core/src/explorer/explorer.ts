/** The attention explorer: the grid of heads beside the picture of the one chosen. */

import type { AttentionSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, refill, type Scope } from "../dom.ts";
import type { Store, ViewState } from "../store.ts";
import { grid } from "./grid.ts";
import type { HeadModel } from "./head-model.ts";
import { legend } from "./legend.ts";
import { lensChooser } from "./lens.ts";
import { layerInfo, picture } from "./picture.ts";

export function explorer(
  host: HTMLElement,
  spec: AttentionSpec,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): { choose(digit: string): void } {
  const { t } = context;
  const gridPane = h("div", { class: "pane grid-pane" });
  const picturePane = h("div", { class: "pane picture-pane" });
  const legendPane = h("div", { class: "pane legend-pane" });
  const section = h(
    "div",
    {
      class: "explorer",
      role: "group",
      "data-lmkit": "explorer",
      "aria-label": t("explorer.label"),
    },
    gridPane,
    picturePane,
    legendPane,
  );
  host.append(section);
  gridPane.append(
    h(
      "div",
      { class: "grid-head" },
      h("span", { class: "pane-title" }, t("grid.title")),
      h("span", { class: "note" }, t("grid.help")),
    ),
  );
  const chooser = lensChooser(spec, store, context, scope);
  if (chooser) gridPane.append(chooser);
  grid(gridPane, spec, store, context, scope);
  const info = h("p", { class: "note layer-info", "data-lmkit": "layer-info" });
  legendPane.append(info);
  legend(legendPane, model, store, context, scope);
  const main = picture(picturePane, spec, model, store, context, scope);
  const tell = () => refill(info, layerInfo(model, context));
  scope.add(model.subscribe(tell));
  tell();
  if (spec.missing.length > 0) {
    legendPane.append(
      h(
        "p",
        { class: "note warn", "data-lmkit": "missing-layers" },
        t("missing.layers", { names: spec.missing.join(", ") }),
      ),
    );
  }
  return { choose: main.choose };
}
