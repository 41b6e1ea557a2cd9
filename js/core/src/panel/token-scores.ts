/** Tokens shaded by numbers: one line of tokens for each row. */

import type { TokenRow, TokenScores } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope } from "../dom.ts";
import { exact, three } from "../numbers.ts";
import { css, divergingIndex, luminance, mapped, type Rgb } from "../scale.ts";
import { shortToken, visibleLabel, visibleProse } from "../text.ts";

const FIRST_TOKENS = 2000;
const FIRST_ROWS = 20;
/** In characters; a longer one goes over several lines. */
const LONGEST_LABEL = 16;
/** The luminance on which black and white contrast alike: sqrt(1.05 * 0.05) - 0.05. */
const EVEN = 0.179;

export function tokenScores(result: TokenScores, context: Context, scope: Scope): Node[] {
  const { t, theme } = context;
  const rows = result.rows.slice(0, FIRST_ROWS);
  const painted: { element: HTMLElement; part: number }[] = [];

  // Rows that are compared begin at the same place.
  const widest = Math.min(
    LONGEST_LABEL,
    Math.max(0, ...rows.map((row) => [...visibleLabel(row.label)].length)),
  );
  const line = (row: TokenRow) => {
    let top = 0;
    for (const value of row.values) top = Math.max(top, Math.abs(value));
    const tokens = result.tokens.slice(0, FIRST_TOKENS).map((token, index) => {
      const value = row.values[index] ?? 0;
      const element = bdi(shortToken(token.text), {
        class: token.special ? "scored special" : "scored",
        "data-lmkit": "scored",
      });
      element.setAttribute("data-value", String(value));
      element.title = `${index} ${visibleLabel(token.raw)}\n${exact(value)}`;
      painted.push({ element, part: top > 0 ? value / top : 0 });
      return element;
    });
    const signed = result.diverging && row.values.some((value) => value < 0);
    const words = t(signed ? "scores.signed" : "scores.amount", { top: three(top) });
    const label = h("span", { class: "scored-label" }, bdi(visibleLabel(row.label)));
    label.style.minWidth = `${widest}ch`;
    return h(
      "div",
      { class: "scored-row", "data-lmkit": "scored-row" },
      widest === 0 ? null : label,
      h(
        "div",
        {
          class: "scored-tokens",
          dir: "auto",
          role: "group",
          tabindex: result.tokens.length > 60 ? 0 : null,
          "aria-label": `${visibleLabel(row.label)} ${words}`.trim(),
        },
        ...tokens,
      ),
      h("span", { class: "note number" }, words),
      row.note === ""
        ? null
        : h(
            "p",
            { class: "note scored-note", "data-lmkit": "scored-note", dir: "auto" },
            visibleProse(row.note),
          ),
    );
  };
  const lines = rows.map(line);
  const paint = () => {
    const { current } = theme;
    for (const { element, part } of painted) {
      const colour = result.diverging
        ? current.diverging[divergingIndex(part, "linear")]
        : current.ramp[Math.round(mapped(Math.max(0, part), "linear") * 255)];
      const [r, g, b] = colour as Rgb;
      element.style.backgroundColor = css([r, g, b]);
      // The text keeps its contrast on both ends of the scale.
      element.style.color = luminance([r, g, b]) > EVEN ? "#000" : "#fff";
    }
  };
  paint();
  scope.add(theme.subscribe(paint));
  const left = result.rows.length - rows.length;
  const cut = result.tokens.length - FIRST_TOKENS;
  return [
    ...lines,
    ...(left > 0 ? [h("p", { class: "note" }, t("scores.rows", { n: left }))] : []),
    ...(cut > 0 ? [h("p", { class: "note" }, t("scores.tokens", { n: cut }))] : []),
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, visibleProse(result.note))]),
  ];
}
