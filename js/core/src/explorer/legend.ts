/** The scale with its numbers, and the choice of its mapping. */

import type { Context } from "../context.ts";
import { fitCanvas, h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
import { three } from "../numbers.ts";
import { MAPPINGS, mapped, type Numbers, rampOf, ticks } from "../scale.ts";
import type { Mapping, Store, ViewState } from "../store.ts";
import { paintBlock } from "./draw.ts";
import type { HeadModel } from "./head-model.ts";

const HEIGHT = 10;

/** Values to write beside the legend, and where, in percent of its width. */
function ticksOf(mapping: Mapping, numbers: Numbers): readonly { at: number; value: number }[] {
  if (numbers.scale === "difference") {
    const sizes = mapping === "log" ? [0.01, 1] : [0.1, 0.5, 1];
    return [...sizes.map((size) => -size).reverse(), 0, ...sizes].map((value) => ({
      at: 50 + 50 * Math.sign(value) * mapped(Math.abs(value), mapping),
      value,
    }));
  }
  return ticks(mapping)
    .filter((_, index, all) => numbers.scale === "share" || index === 0 || index > all.length - 3)
    .map((value) => ({ at: mapped(value, mapping) * 100, value: value * numbers.top }));
}

export function legend(
  host: HTMLElement,
  model: HeadModel,
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

  const tell = () => {
    const { mapping } = store.state;
    select.value = mapping;
    note.textContent = t(`legend.note.${model.numbers.scale}` as MessageKey, {
      mapping: t(`legend.${mapping}` as MessageKey),
    });
  };
  const draw = () => {
    const { mapping } = store.state;
    const { numbers } = model;
    const ramp = rampOf(numbers, theme.current);
    const width = strip.clientWidth;
    const drawing = width > 0 ? fitCanvas(bar, width, HEIGHT) : null;
    if (drawing) {
      const [pixels, high] = [bar.width, bar.height];
      const places = Uint8Array.from({ length: pixels }, (_, x) =>
        Math.round((x / (pixels - 1)) * (ramp.length - 1)),
      );
      paintBlock(drawing, places, pixels, 1, ramp, 0, 0, pixels, high);
      drawing.strokeStyle = theme.current.line;
      drawing.strokeRect(0.5, 0.5, width - 1, HEIGHT - 1);
    }
    refill(
      marks,
      ...ticksOf(mapping, numbers).map(({ at, value }) => {
        const tick = h(
          "span",
          {},
          mapping === "log" && value !== 0 && Math.abs(value) < 0.01
            ? value.toExponential(0)
            : numbers.scale === "amount"
              ? three(value)
              : `${value}`.replace("-", "−"),
        );
        tick.style.left = `${at}%`;
        if (at < 2) tick.classList.add("first");
        else if (at > 98) tick.classList.add("last");
        return tick;
      }),
    );
  };
  scope.on(select, "change", () => store.set({ mapping: select.value as Mapping }));
  tell();
  const redraw = scope.sized(strip, draw);
  scope.add(
    store.subscribe((state, before) => {
      if (state.mapping === before.mapping) return;
      tell();
      redraw();
    }),
  );
  scope.add(theme.subscribe(redraw));
  if (model.spec.scale === "amount") scope.add(model.subscribe(redraw));
}
