/** The scale with its numbers, and the choice of its mapping. */

import type { Context } from "../context.ts";
import { fitCanvas, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
import { css, MAPPINGS, mapped, type Rgb, ticks } from "../scale.ts";
import type { Mapping, Store, ViewState } from "../store.ts";

const HEIGHT = 10;

export function legend(
  host: HTMLElement,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): void {
  const { t, theme } = context;
  const id = uniqueId("scale");
  const select = h(
    "select",
    { id, "data-lmkit": "scale" },
    ...MAPPINGS.map((mapping) =>
      h("option", { value: mapping }, t(`legend.${mapping}` as MessageKey)),
    ),
  );
  const bar = h("canvas", { "aria-hidden": "true" });
  const marks = h("div", { class: "legend-ticks", "aria-hidden": "true" });
  const strip = h("div", { class: "legend-strip" }, bar, marks);
  const note = h("span", { class: "legend-note" });
  host.append(
    h(
      "div",
      { class: "legend", "data-lmkit": "legend" },
      h("div", { class: "legend-head" }, h("label", { for: id }, t("legend.label")), select),
      strip,
      note,
    ),
  );

  const draw = () => {
    const { mapping } = store.state;
    select.value = mapping;
    note.textContent = t("legend.note", { mapping: t(`legend.${mapping}` as MessageKey) });
    const width = strip.clientWidth;
    const drawing = width > 0 ? fitCanvas(bar, width, HEIGHT) : null;
    if (drawing) {
      for (let x = 0; x < width; x += 1) {
        drawing.fillStyle = css(theme.current.ramp[Math.round((x / (width - 1)) * 255)] as Rgb);
        drawing.fillRect(x, 0, 1.5, HEIGHT);
      }
      drawing.strokeStyle = theme.current.line;
      drawing.strokeRect(0.5, 0.5, width - 1, HEIGHT - 1);
    }
    refill(
      marks,
      ...ticks(mapping).map((value) => {
        const at = mapped(value, mapping) * 100;
        const tick = h(
          "span",
          {},
          mapping === "log" && value < 0.01 ? value.toExponential(0) : `${value}`,
        );
        tick.style.left = `${at}%`;
        if (at < 2) tick.classList.add("first");
        else if (at > 98) tick.classList.add("last");
        return tick;
      }),
    );
  };
  scope.on(select, "change", () => store.set({ mapping: select.value as Mapping }));
  scope.add(
    store.subscribe((state, before) => {
      if (state.mapping !== before.mapping) draw();
    }),
  );
  scope.add(theme.subscribe(draw));
  scope.resize(strip, scope.frame(draw));
  draw();
}
