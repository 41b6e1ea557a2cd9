/** Thumbnails of all heads: layers down, heads across. Visible rows are asked for first. */

import type { AttentionSpec, Tile } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { fitCanvas, h, pixelRatio, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey } from "../messages.ts";
import { errorInfo, KernelError } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { paintBlock, positions } from "./draw.ts";
import { gridMove } from "./keys.ts";
import { headName, inGrid, layerGroups, layerLabel, layerOrder } from "./layers.ts";

const LABEL = 26;
const GAP = 2;
const SMALLEST = 14;
const LARGEST = 40;
/** Where the grid stands above the picture it stays small, so that both are in sight. */
const LARGEST_ABOVE = 22;
const BESIDE = 640;

interface Row {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly cells: readonly HTMLElement[];
  tile: Tile | null;
  state: "waiting" | "loading" | "ready" | "failed";
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
        id: uniqueId("cell"),
        "data-lmkit": "cell",
        "data-layer": l,
        "data-head": head,
        "aria-label": headName(spec, l, head, t),
        title: headName(spec, l, head, t),
        "aria-rowindex": place + 1,
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
    return { element, canvas, cells, tile: null, state: "waiting", seen: false };
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
    for (let head = 0; head < count; head += 1) {
      const x = Math.round(head * size * ratio);
      const inner = Math.round((size - GAP) * ratio);
      if (row.tile && row.tile.shape.length === 3 && head < (row.tile.shape[0] ?? 0)) {
        const [, height, width] = row.tile.shape as [number, number, number];
        const start = head * height * width;
        const cells = positions(row.tile, start, start + height * width, store.state.mapping);
        paintBlock(drawing, cells, width, height, current.ramp, x, 0, inner, inner);
      }
      drawing.strokeStyle = current.line;
      drawing.lineWidth = 1 / ratio;
      const edge = 0.5 / ratio;
      drawing.strokeRect(
        x / ratio + edge,
        edge,
        inner / ratio - 2 * edge,
        inner / ratio - 2 * edge,
      );
      if (row.state === "failed") {
        drawing.beginPath();
        drawing.moveTo(x / ratio, inner / ratio);
        drawing.lineTo((x + inner) / ratio, 0);
        drawing.stroke();
      }
    }
  };
  const drawSeen = () => {
    for (const [l, row] of rows.entries()) if (row.seen) drawRow(l);
  };
  const redraw = scope.frame(drawSeen);

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
    redraw();
  };

  // -- tiles ------------------------------------------------------------------------------------

  const report = () => {
    const failed = rows.filter((row) => row.state === "failed").length;
    const loading = rows.some((row) => row.state === "loading");
    table.setAttribute("aria-busy", String(loading));
    note.textContent = loading ? t("loading.thumbs") : "";
    note.hidden = !loading && failed === 0;
    if (!loading && failed > 0) note.textContent = t("head.notcarried");
  };

  const load = (l: number) => {
    const row = rows[l] as Row;
    if (row.state === "loading" || row.state === "ready") return;
    const key = `thumb/${l}`;
    if (!source.reaches(key)) {
      row.state = "failed";
      report();
      drawRow(l);
      return;
    }
    row.state = "loading";
    report();
    const abort = new AbortController();
    scope.add(() => abort.abort(new DOMException("The grid was closed.", "AbortError")));
    source.tile(key, abort.signal, true).then(
      (tile) => {
        row.tile = tile;
        row.state = "ready";
        report();
        redraw();
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        row.state = "failed";
        report();
        redraw();
        const code = error instanceof KernelError ? error.info.code : "";
        if (!["not-carried", "lost", "closed", "cancelled"].includes(code)) {
          context.fail(errorInfo(error));
        }
      },
    );
  };

  const see = (l: number) => {
    const row = rows[l] as Row;
    row.seen = true;
    load(l);
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
      if (event.type !== "state" || event.state !== "live") return;
      for (const [l, row] of rows.entries()) {
        if (row.state === "failed") {
          row.state = "waiting";
          if (row.seen) load(l);
        }
      }
    }),
  );
  scope.resize(scroller, layout);
  layout();
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
