/**
 * Thumbnails of all heads: layers down, heads across. Rows in sight are asked for first; those of a
 * long text as a glance of a few of its queries, which the exact picture replaces when it comes.
 */

import type { AttentionSpec, LayerSpec, Tile } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { fitCanvas, h, pixelRatio, refill, type Scope } from "../dom.ts";
import { type MessageKey, timeLeft } from "../messages.ts";
import { MIDDLE, type Numbers, rampOf, SHARES } from "../scale.ts";
import { errorInfo, givesTiles, KernelError } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { fillBlock, positions, topOf } from "./draw.ts";
import { gridMove } from "./keys.ts";
import { headName, inGrid, layerGroups, layerLabel, layerOrder } from "./layers.ts";

const LABEL = 26;
const GAP = 2;
const SMALLEST = 14;
const LARGEST = 40;
/** Where the grid stands above the picture it stays small, so that both are in sight. */
const LARGEST_ABOVE = 22;
const BESIDE = 640;
/** From so many queries on a glance comes first: below, the exact picture is as soon there. */
const LONG = 1024;
/** Heads of one layer asked for together; a layer of 128 comes in parts, those in sight first. */
const TOGETHER = 32;
/** Rows of the smallest size that the grid shows before it scrolls. */
const FIRST_ROWS = 24;
/** A wait shorter than this is not worth a number. */
const SOON = 3;

/** Heads first to last (excluded) of a layer, which come in one tile. */
interface Part {
  readonly layer: number;
  readonly first: number;
  readonly last: number;
  tile: Tile | null;
  state: "waiting" | "loading" | "ready" | "failed";
}

interface Row {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly cells: readonly HTMLElement[];
  readonly parts: readonly Part[];
  seen: boolean;
}

/** Draw the grid into `host`; it follows and sets the store's layer and head. */
export function grid(
  host: HTMLElement,
  spec: AttentionSpec,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
): { focus(): void } {
  const { t, source, theme } = context;
  const heads = Math.max(...spec.layers.map((layer) => layer.heads));
  const cursor = { layer: store.state.layer, head: store.state.head };
  let size = 24;

  const columns = h("div", { class: "grid-columns", "aria-hidden": "true" });
  const table = h("div", {
    class: "grid",
    role: "grid",
    "data-lmkit": "grid",
    "aria-label": t("grid.label"),
    "aria-rowcount": spec.layers.length,
    "aria-colcount": heads,
  });
  const note = h("p", { class: "note", "data-lmkit": "grid-note" });
  const scroller = h("div", { class: "grid-scroll" }, columns, table);
  host.append(scroller, note);

  const order = layerOrder(spec);
  const rows: Row[] = spec.layers.map((layer, l) => {
    const place = order.indexOf(l);
    const canvas = h("canvas", { "aria-hidden": "true" });
    const cells = Array.from({ length: layer.heads }, (_, head) =>
      h("div", {
        class: "cell",
        role: "gridcell",
        "data-lmkit": "cell",
        "data-layer": l,
        "data-head": head,
        "aria-label": headName(spec, l, head, t),
        "aria-colindex": head + 1,
        tabindex: -1,
      }),
    );
    const name = h(
      "span",
      { class: "row-label", "aria-hidden": "true", title: layer.name },
      layerLabel(spec, l),
    );
    const strip = h("div", { class: "row-cells" }, canvas, ...cells);
    strip.setAttribute("role", "presentation");
    const element = h(
      "div",
      { class: "grid-row", role: "row", "aria-rowindex": place + 1 },
      name,
      strip,
    );
    // A saved output carries the layer whole, and most layers are small enough to come whole.
    const whole = layer.heads <= 2 * TOGETHER || source.has(`thumb/${l}`);
    const size = whole ? layer.heads : TOGETHER;
    const parts = Array.from({ length: Math.ceil(layer.heads / size) }, (_, part): Part => {
      const first = part * size;
      const last = Math.min(layer.heads, first + size);
      return { layer: l, first, last, tile: null, state: "waiting" };
    });
    return { element, canvas, cells, parts, seen: false };
  });
  const groups = layerGroups(spec);
  for (const { role, layers } of groups) {
    const elements = layers.map((l) => (rows[l] as Row).element);
    if (groups.length === 1) {
      table.append(...elements);
      continue;
    }
    const title = t(`role.${role}` as MessageKey);
    table.append(
      h(
        "div",
        { role: "rowgroup", "aria-label": title },
        h("div", { class: "grid-group", "aria-hidden": "true" }, title),
        ...elements,
      ),
    );
  }

  const cellAt = (layer: number, head: number) => rows[layer]?.cells[head];

  // -- drawing ----------------------------------------------------------------------------------

  const drawRow = (l: number) => {
    const row = rows[l] as Row;
    const count = row.cells.length;
    const drawing = fitCanvas(row.canvas, count * size, size);
    if (!drawing) return;
    const { current } = theme;
    const ratio = pixelRatio();
    const inner = Math.round((size - GAP) * ratio);
    const left = (head: number) => Math.round(head * size * ratio);
    const partOf = (head: number) => row.parts.find((one) => head < one.last) as Part;
    const pixels = new ImageData(row.canvas.width, row.canvas.height);
    for (let head = 0; head < count; head += 1) {
      const { tile, first } = partOf(head);
      const at = head - first;
      if (tile?.shape.length !== 3 || at >= (tile.shape[0] ?? 0)) continue;
      const [, height, width] = tile.shape as [number, number, number];
      const start = at * height * width;
      const numbers = numbersNow();
      const cells = positions(tile, start, start + height * width, store.state.mapping, numbers);
      const ramp = rampOf(numbers, current);
      const middle = spec.scale === "difference" ? MIDDLE : 0;
      fillBlock(pixels, cells, width, height, ramp, left(head), inner, inner, middle);
    }
    drawing.putImageData(pixels, 0, 0);
    drawing.strokeStyle = current.line;
    drawing.lineWidth = 1 / ratio;
    for (let head = 0; head < count; head += 1) {
      const x = left(head);
      const part = partOf(head);
      const edge = 0.5 / ratio;
      drawing.strokeRect(
        x / ratio + edge,
        edge,
        inner / ratio - 2 * edge,
        inner / ratio - 2 * edge,
      );
      if (part.state === "failed" && !part.tile) {
        drawing.beginPath();
        drawing.moveTo(x / ratio, inner / ratio);
        drawing.lineTo((x + inner) / ratio, 0);
        drawing.stroke();
      }
    }
  };
  const layout = () => {
    const room = scroller.clientWidth - LABEL - 2;
    const above = (host.parentElement?.clientWidth ?? 0) < BESIDE - 60;
    const largest = above ? LARGEST_ABOVE : LARGEST;
    const next = Math.max(SMALLEST, Math.min(largest, Math.floor(room / heads) || SMALLEST));
    const every = next >= 18 ? 1 : heads > 20 ? 4 : 2;
    if (next !== size || columns.childElementCount === 0) {
      size = next;
      host.style.setProperty("--cell", `${size}px`);
      host.style.setProperty("--gap", `${GAP}px`);
      refill(
        columns,
        ...Array.from({ length: heads }, (_, head) =>
          h("span", {}, head % every === 0 ? `${head}` : ""),
        ),
      );
    }
  };
  const redraw = scope.sized(scroller, () => {
    layout();
    for (const [l, row] of rows.entries()) if (row.seen) drawRow(l);
  });

  // -- tiles ------------------------------------------------------------------------------------

  const parts = rows.flatMap((row) => row.parts);
  let begun = 0;
  let finished = 0;

  const report = () => {
    const failed = parts.filter((part) => part.state === "failed").length;
    const loading = parts.filter((part) => part.state === "loading");
    const busy = loading.length > 0;
    table.setAttribute("aria-busy", String(busy));
    note.hidden = !busy && failed === 0;
    if (!busy) {
      note.textContent = failed > 0 ? t("head.notcarried") : "";
      return;
    }
    const words = [t("loading.thumbs")];
    if (loading.some((part) => part.tile)) words.push(t("loading.thumbs.glance"));
    const left =
      finished > 0 ? ((performance.now() - begun) / 1000 / finished) * loading.length : 0;
    if (left >= SOON) words.push(t("progress.left", { time: timeLeft(left, t.locale) }));
    note.textContent = words.join(", ");
  };

  const keyOf = (kind: "thumb" | "glance", part: Part) => {
    const { heads: count } = spec.layers[part.layer] as LayerSpec;
    const all = part.first === 0 && part.last === count;
    return `${kind}/${part.layer}${all ? "" : `/${part.first}-${part.last}`}`;
  };

  // Amounts are drawn relative to the largest of all thumbnails that are there.
  let top = 0;
  const numbersNow = (): Numbers =>
    spec.scale === "share" ? SHARES : { scale: spec.scale, top: top || 1 };
  const measure = (tile: Tile) => {
    if (spec.scale !== "share") top = Math.max(top, topOf(tile));
  };

  const glancing = new Set<Part>();
  const pending: (() => void)[] = [];

  const exactly = (part: Part, signal: AbortSignal) => {
    source.tile(keyOf("thumb", part), signal, true).then(
      (tile) => {
        if (signal.aborted) return;
        part.tile = tile;
        measure(tile);
        part.state = "ready";
        finished += 1;
        report();
        redraw();
      },
      (error: unknown) => {
        if (signal.aborted) return;
        part.state = "failed";
        report();
        redraw();
        const code = error instanceof KernelError ? error.info.code : "";
        if (!["not-carried", "lost", "closed", "cancelled"].includes(code)) {
          context.fail(errorInfo(error));
        }
      },
    );
  };

  const load = (part: Part) => {
    if (part.state === "loading" || part.state === "ready") return;
    const key = keyOf("thumb", part);
    if (!source.reaches(key)) {
      part.state = "failed";
      report();
      redraw();
      return;
    }
    if (!parts.some((one) => one.state === "loading")) {
      begun = performance.now();
      finished = 0;
    }
    part.state = "loading";
    report();
    const abort = new AbortController();
    scope.add(() => abort.abort(new DOMException("The grid was closed.", "AbortError")));
    const long = (spec.layers[part.layer]?.queries ?? 0) >= LONG;
    if (!long || ["saved", "refill"].includes(source.state) || source.has(key)) {
      exactly(part, abort.signal);
      return;
    }
    // Every row in sight gets its glance before the first exact picture is begun.
    const done = () => {
      glancing.delete(part);
      if (abort.signal.aborted) return;
      pending.push(() => exactly(part, abort.signal));
      if (glancing.size > 0) return;
      for (const go of pending.splice(0)) go();
    };
    glancing.add(part);
    source.tile(keyOf("glance", part), abort.signal, true).then(
      (tile) => {
        part.tile = tile;
        measure(tile);
        done();
        report();
        redraw();
      },
      // The exact picture comes all the same, or says what is wrong.
      done,
    );
  };

  const see = (l: number) => {
    const row = rows[l] as Row;
    row.seen = true;
    for (const part of row.parts) load(part);
    redraw();
  };
  if (typeof IntersectionObserver === "undefined") {
    for (const l of rows.keys()) see(l);
  } else {
    const index = new Map<Element, number>(rows.map((row, l) => [row.element, l]));
    const observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (entry.isIntersecting) see(index.get(entry.target) as number);
        }
      },
      { root: null, rootMargin: "200px" },
    );
    for (const row of rows) observer.observe(row.element);
    scope.add(() => observer.disconnect());
    // What was saved and may be in sight is there for the first frame; an observer speaks after it.
    for (const l of order.slice(0, FIRST_ROWS)) {
      if ((rows[l] as Row).parts.every((part) => source.has(keyOf("thumb", part)))) see(l);
    }
  }

  // -- choosing ---------------------------------------------------------------------------------

  const mark = () => {
    for (const [l, row] of rows.entries()) {
      for (const [head, cell] of row.cells.entries()) {
        const chosen = l === store.state.layer && head === store.state.head;
        if (chosen !== (cell.getAttribute("aria-selected") === "true")) {
          cell.setAttribute("aria-selected", String(chosen));
        }
        if (!cell.hasAttribute("aria-selected")) cell.setAttribute("aria-selected", "false");
        const tab = l === cursor.layer && head === cursor.head ? 0 : -1;
        if (cell.tabIndex !== tab) cell.tabIndex = tab;
      }
    }
  };

  const reveal = (layer: number, head: number) => {
    const cell = cellAt(layer, head);
    if (!cell) return;
    // By hand: scrollIntoView would also scroll the notebook.
    const [box, view] = [cell.getBoundingClientRect(), scroller.getBoundingClientRect()];
    if (box.top < view.top + 18) scroller.scrollTop -= view.top + 18 - box.top;
    else if (box.bottom > view.bottom) scroller.scrollTop += box.bottom - view.bottom;
    if (box.left < view.left + LABEL) scroller.scrollLeft -= view.left + LABEL - box.left;
    else if (box.right > view.right) scroller.scrollLeft += box.right - view.right;
  };

  const place = (element: EventTarget | null): { layer: number; head: number } | null => {
    const cell = element instanceof Element ? element.closest<HTMLElement>(".cell") : null;
    if (!cell) return null;
    return { layer: Number(cell.dataset["layer"]), head: Number(cell.dataset["head"]) };
  };

  scope.on<PointerEvent>(table, "pointerover", (event) => {
    const at = place(event.target);
    const cell = at && cellAt(at.layer, at.head);
    // Not for every cell from the start: a grid may have thousands.
    if (cell && cell.title === "") cell.title = cell.getAttribute("aria-label") ?? "";
  });
  scope.on<MouseEvent>(table, "click", (event) => {
    const at = place(event.target);
    if (!at) return;
    Object.assign(cursor, at);
    store.set({ ...at, focus: null });
    mark();
    cellAt(at.layer, at.head)?.focus({ preventScroll: true });
  });
  scope.on<FocusEvent>(table, "focusin", (event) => {
    const at = place(event.target);
    if (!at) return;
    Object.assign(cursor, at);
    mark();
  });
  scope.on<KeyboardEvent>(table, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      store.set({ ...cursor, focus: null });
      return;
    }
    const next = inGrid(spec, cursor, (at, counts) => gridMove(event.key, at, counts));
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    Object.assign(cursor, next);
    mark();
    reveal(next.layer, next.head);
    cellAt(next.layer, next.head)?.focus({ preventScroll: true });
  });

  scope.add(
    store.subscribe((state, before) => {
      if (state.layer !== before.layer || state.head !== before.head) {
        Object.assign(cursor, { layer: state.layer, head: state.head });
        mark();
        reveal(state.layer, state.head);
      }
      if (state.mapping !== before.mapping) redraw();
    }),
  );
  scope.add(theme.subscribe(redraw));
  scope.add(
    source.subscribe((event) => {
      if (event.type !== "state" || !givesTiles(event.state)) return;
      for (const row of rows) {
        for (const part of row.parts) {
          if (part.state !== "failed") continue;
          part.state = "waiting";
          if (row.seen) load(part);
        }
      }
    }),
  );
  mark();
  requestAnimationFrame(() => {
    if (!scope.disposed) reveal(store.state.layer, store.state.head);
  });

  return {
    focus() {
      cellAt(cursor.layer, cursor.head)?.focus({ preventScroll: true });
    },
  };
}
