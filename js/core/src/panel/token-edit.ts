/** Another word in place of a token: the run that follows shows what that changes. */

import type { Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, refill, type Scope, uniqueId } from "../dom.ts";
import { shortToken } from "../text.ts";

/** The text of the form, and a run with another one. */
export interface EditedText {
  /** Whether a kernel is there to run it. */
  can(): boolean;
  get(): string;
  run(text: string): void;
}

const plain = (text: string): string =>
  text
    .normalize("NFKD")
    .replace(/[\p{M}\s]/gu, "")
    .toLocaleLowerCase();

/**
 * Where a token stands in the text of the form, in UTF-16 units; null where it does not stand there:
 * a special token, one of the second text of a pair, or of a text that was edited or put into a
 * template since. One word may stand at the same place of another text by chance, so most of the
 * tokens have to be where they say.
 */
export function placeOf(
  text: string,
  tokens: readonly Token[],
  index: number,
): readonly [number, number] | null {
  const points = Array.from(text);
  const there = (token: Token) => points.slice(token.start, token.end).join("");
  const matches = (token: Token) => {
    const found = token.end <= points.length ? plain(there(token)) : "";
    return found !== "" && found === plain(token.text);
  };
  let [placed, right, last] = [0, 0, 0];
  for (const [at, token] of tokens.entries()) {
    if (token.special || token.end <= token.start) continue;
    if (token.start < last) {
      if (at <= index) return null; // a second text begins
      break;
    }
    last = token.start;
    placed += 1;
    if (matches(token)) right += 1;
  }
  const token = tokens[index];
  if (!token || token.special || !matches(token) || 2 * right < placed) return null;
  const start = points.slice(0, token.start).join("").length;
  return [start, start + there(token).length];
}

/** The line below the tokens. `open` gives false where the token cannot be replaced. */
export function tokenEdit(
  host: HTMLElement,
  edited: EditedText,
  context: Context,
  scope: Scope,
): { open(tokens: readonly Token[], index: number, back: HTMLElement): boolean; close(): void } {
  const { t } = context;
  const id = uniqueId("replace");
  const label = h("label", { for: id });
  const input = h("input", { type: "text", id, "data-lmkit": "token-edit", autocomplete: "off" });
  const go = h(
    "button",
    { type: "button", class: "quiet", "data-lmkit": "token-edit-run" },
    t("run"),
  );
  const line = h("div", { class: "token-edit", "data-lmkit": "token-edit-line" }, label, input, go);
  line.hidden = true;
  host.append(line);
  let place: readonly [number, number] | null = null;
  let from: HTMLElement | null = null;

  const close = () => {
    if (line.hidden) return;
    line.hidden = true;
    from?.focus({ preventScroll: true });
  };
  const run = () => {
    if (!place) return;
    const text = edited.get();
    const made = text.slice(0, place[0]) + input.value + text.slice(place[1]);
    close();
    if (made !== text) edited.run(made);
  };
  scope.on(go, "click", run);
  scope.on<KeyboardEvent>(input, "keydown", (event) => {
    // Its keys are its own: no shortcut of the panel or the editor is meant.
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Enter") run();
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  return {
    open(tokens, index, back) {
      const text = edited.get();
      const token = tokens[index];
      place = placeOf(text, tokens, index);
      if (!place || !token) return false;
      from = back;
      refill(label, t("token.replace"), " ", bdi(shortToken(token.text), { class: "code" }));
      input.value = text.slice(place[0], place[1]);
      line.hidden = false;
      input.focus();
      input.select();
      return true;
    },
    close,
  };
}
