/** Two columns of tokens that scroll together: which rows are in sight, the pointer, the keyboard. */

import type { Token } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, type Scope } from "../dom.ts";
import { clickToken, type Focus, type Store, type ViewState } from "../store.ts";
import type { HeadModel } from "./head-model.ts";
import { sideName } from "./layers.ts";

/** The tokens on show: all, or those that are not special. */
export function shown(tokens: readonly Token[], hideSpecials: boolean): readonly number[] {
  const all = tokens.map((_, index) => index);
  return hideSpecials ? all.filter((index) => !tokens[index]?.special) : all;
}

const PAD = 4;
/** Height of the line that names the two sides. */
const SIDES = 18;

/** Rows `from` to `to` (excluded) of a column. */
export interface Seen {
  readonly from: number;
  readonly to: number;
}

export interface Columns {
  /** Query tokens on show, top to bottom. */
  readonly queries: readonly number[];
  readonly keys: readonly number[];
  readonly rowHeight: number;
  /** Width of all, where the lines begin and end, height in sight, width of a column of tokens. */
  geometry(): { width: number; left: number; right: number; view: number; column: number };
  /** The top of a row on the canvas, as it was scrolled when `geometry` was asked for last. */
  top(row: number): number;
  middle(row: number): number;
  seen(): { queries: Seen; keys: Seen };
  key(event: KeyboardEvent): boolean;
}

/**
 * Lay out two columns in `host`, which scrolls and holds the focus, around `canvas`.
 *
 * @param more pixels beside each column's tokens, for bars.
 * @param measured called when the tokens on show have changed.
 */
export function columns(
  host: HTMLElement,
  canvas: HTMLCanvasElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  height: number,
  options: { readonly more?: () => number; readonly measured: () => void; redraw(): void },
): Columns {
  const { t } = context;
  const inner = h("div", { class: "arcs-inner" }, canvas);
  const sides = h(
    "div",
    { class: "sides", "aria-hidden": "true" },
    h("span", {}, sideName("query", model.layer, t)),
    h("span", {}, sideName("key", model.layer, t)),
  );
  host.append(sides, inner);
  host.classList.add("scrolls");
  scope.add(() => {
    host.classList.remove("scrolls");
    host.style.height = "";
  });

  let queries = shown(model.queries, store.state.hideSpecials);
  let keys = shown(model.keys, store.state.hideSpecials);
  let rowHeight = 20;
  let anchor: number | null = null;
  let hovering = false;

  const measure = () => {
    queries = shown(model.queries, store.state.hideSpecials);
    keys = shown(model.keys, store.state.hideSpecials);
    const most = Math.max(1, queries.length, keys.length);
    rowHeight = Math.max(18, Math.min(24, Math.floor((height - SIDES - 2 * PAD) / most)));
    host.style.height = `${height}px`;
    inner.style.height = `${most * rowHeight + 2 * PAD}px`;
    options.measured();
  };
  // Asked of the page once a picture, not once a line.
  let scrolled = 0;
  const geometry = () => {
    scrolled = host.scrollTop;
    const width = host.clientWidth;
    const column = Math.min(150, Math.max(56, width * 0.24)) + (options.more?.() ?? 0);
    const view = Math.min(host.clientHeight - SIDES, inner.clientHeight);
    return { width, left: column, right: width - column, view, column };
  };
  const top = (row: number) => PAD + row * rowHeight - scrolled;
  const seen = () => {
    const { view } = geometry();
    const first = Math.max(0, Math.floor((scrolled - PAD) / rowHeight));
    const last = Math.ceil((scrolled + view) / rowHeight);
    const range = (count: number) => ({ from: Math.min(first, count), to: Math.min(last, count) });
    return { queries: range(queries.length), keys: range(keys.length) };
  };

  // -- pointer ----------------------------------------------------------------------------------

  const hit = (event: MouseEvent): Focus | null => {
    const box = canvas.getBoundingClientRect();
    const { left, right } = geometry();
    const x = event.clientX - box.left;
    const row = Math.floor((event.clientY - box.top + host.scrollTop - PAD) / rowHeight);
    if (x < left + 8) {
      const query = queries[row];
      return query === undefined ? null : { query, key: null };
    }
    if (x > right - 8) {
      const key = keys[row];
      return key === undefined ? null : { query: null, key };
    }
    return null;
  };
  const setFocus = (focus: Focus | null) => {
    const before = store.state.focus;
    if (before?.query === focus?.query && before?.key === focus?.key) return;
    store.set({ focus });
    if (!focus) return;
    if (focus.query !== null) model.want(focus.query);
    else if (focus.key !== null) model.wantColumn(focus.key);
  };
  scope.on<PointerEvent>(host, "pointermove", (event) => {
    hovering = true;
    const focus = hit(event);
    setFocus(focus);
    host.style.cursor = focus && focus.query !== null ? "pointer" : "default";
  });
  scope.on(host, "pointerleave", () => {
    if (hovering) setFocus(null);
    hovering = false;
  });
  scope.on<MouseEvent>(host, "click", (event) => {
    const focus = hit(event);
    if (!focus || focus.query === null) return;
    const keysHeld = { shift: event.shiftKey, toggle: event.ctrlKey || event.metaKey };
    store.set({ tokens: clickToken(store.state.tokens, focus.query, anchor, keysHeld) });
    if (!event.shiftKey) anchor = focus.query;
  });
  scope.on(host, "scroll", () => options.redraw());

  // -- keyboard ---------------------------------------------------------------------------------

  const reveal = (row: number) => {
    const [from, to] = [PAD + row * rowHeight, PAD + (row + 1) * rowHeight];
    if (from < host.scrollTop) host.scrollTop = from - PAD;
    else if (to > host.scrollTop + host.clientHeight - SIDES) {
      host.scrollTop = to - host.clientHeight + SIDES + PAD;
    }
  };
  const key = (event: KeyboardEvent): boolean => {
    const focus = store.state.focus;
    const onKeys = focus !== null && focus.query === null;
    const list = onKeys ? keys : queries;
    const at = list.indexOf((onKeys ? focus?.key : focus?.query) ?? -1);
    const page = Math.max(1, Math.floor((host.clientHeight - SIDES) / rowHeight) - 1);
    const steps: Record<string, number> = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -list.length,
      End: list.length,
    };
    const by = steps[event.key];
    if (by !== undefined) {
      const from = at < 0 ? (by > 0 ? -1 : list.length) : at;
      const row = Math.max(0, Math.min(list.length - 1, from + by));
      const index = list[row];
      if (index !== undefined) {
        setFocus(onKeys ? { query: null, key: index } : { query: index, key: null });
        reveal(row);
      }
      return true;
    }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const toKeys = event.key === "ArrowRight";
      const other = toKeys ? keys : queries;
      const row = Math.min(Math.max(0, at), other.length - 1);
      const index = other[row];
      if (index !== undefined) {
        setFocus(toKeys ? { query: null, key: index } : { query: index, key: null });
        reveal(row);
      }
      return true;
    }
    if ((event.key === "Enter" || event.key === " ") && focus && focus.query !== null) {
      const tokens = clickToken(store.state.tokens, focus.query, anchor, {
        shift: event.shiftKey,
        toggle: !event.shiftKey,
      });
      anchor = focus.query;
      store.set({ tokens });
      return true;
    }
    return false;
  };

  scope.add(
    store.subscribe((state, before) => {
      if (state.hideSpecials !== before.hideSpecials) measure();
      // A step brings its row into sight: it was chosen elsewhere.
      const row = state.step === null ? -1 : queries.indexOf(state.tokens[0] ?? -1);
      if (state.step !== before.step && row >= 0) reveal(row);
      options.redraw();
    }),
  );
  measure();
  return {
    get queries() {
      return queries;
    },
    get keys() {
      return keys;
    },
    get rowHeight() {
      return rowHeight;
    },
    geometry,
    top,
    middle: (row) => top(row) + rowHeight / 2,
    seen,
    key,
  };
}
