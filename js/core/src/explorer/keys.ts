/** Keys as pure functions: what a key means, where it was pressed. */

export type Command =
  | { readonly do: "layer"; readonly step: 1 | -1 }
  | { readonly do: "head"; readonly step: 1 | -1 }
  | { readonly do: "picture"; readonly digit: string }
  | { readonly do: "scale" }
  | { readonly do: "find" }
  | { readonly do: "help" }
  | { readonly do: "escape" };

export interface KeyPress {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
  /** True in a text box, a select or a slider: letters and digits belong to it. */
  readonly typing: boolean;
}

/** The command of a key press in the panel; null where the key means nothing here. */
export function command(press: KeyPress): Command | null {
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  if (press.key === "Escape") return { do: "escape" };
  if (press.typing) return null;
  switch (press.key) {
    case "[":
      return { do: "layer", step: -1 };
    case "]":
      return { do: "layer", step: 1 };
    case ",":
      return { do: "head", step: -1 };
    case ".":
      return { do: "head", step: 1 };
    case "s":
      return { do: "scale" };
    case "/":
      return { do: "find" };
    case "?":
      return { do: "help" };
    default:
      return /^[1-9]$/.test(press.key) ? { do: "picture", digit: press.key } : null;
  }
}

export interface Cursor {
  readonly layer: number;
  readonly head: number;
}

/** Where an arrow key leads in a grid whose rows may differ in length; null for other keys. */
export function gridMove(key: string, at: Cursor, heads: readonly number[]): Cursor | null {
  const last = heads.length - 1;
  const to = (layer: number, head: number): Cursor => {
    const row = Math.min(last, Math.max(0, layer));
    return { layer: row, head: Math.min((heads[row] ?? 1) - 1, Math.max(0, head)) };
  };
  switch (key) {
    case "ArrowUp":
      return to(at.layer - 1, at.head);
    case "ArrowDown":
      return to(at.layer + 1, at.head);
    case "ArrowLeft":
      return to(at.layer, at.head - 1);
    case "ArrowRight":
      return to(at.layer, at.head + 1);
    case "Home":
      return to(at.layer, 0);
    case "End":
      return to(at.layer, Number.MAX_SAFE_INTEGER);
    case "PageUp":
      return to(at.layer - 5, at.head);
    case "PageDown":
      return to(at.layer + 5, at.head);
    default:
      return null;
  }
}

/** The next layer or head of a step; heads run on into the next layer, ends stay put. */
export function step(
  at: Cursor,
  what: "layer" | "head",
  by: 1 | -1,
  heads: readonly number[],
): Cursor {
  if (what === "layer") {
    const layer = Math.min(heads.length - 1, Math.max(0, at.layer + by));
    return { layer, head: Math.min(at.head, (heads[layer] ?? 1) - 1) };
  }
  const head = at.head + by;
  if (head < 0) {
    if (at.layer === 0) return at;
    return { layer: at.layer - 1, head: (heads[at.layer - 1] ?? 1) - 1 };
  }
  if (head >= (heads[at.layer] ?? 1)) {
    return at.layer + 1 < heads.length ? { layer: at.layer + 1, head: 0 } : at;
  }
  return { layer: at.layer, head };
}
