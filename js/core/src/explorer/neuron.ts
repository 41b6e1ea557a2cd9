/** The neuron view: softmax(q k / sqrt(d)) v of one query and one key, number by number. */

import { MASKED } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, copyText, h, refill, type Scope, uniqueId } from "../dom.ts";
import { errorText } from "../errors.ts";
import { exact, quoted, three } from "../numbers.ts";
import { colourOf, css, mapped } from "../scale.ts";
import type { Store, ViewState } from "../store.ts";
import { shortToken } from "../text.ts";
import { shown } from "./columns.ts";
import { pairOf, type Softmax, softmaxOf, weightOf } from "./equation.ts";
import type { HeadModel } from "./head-model.ts";
import { type Drawn, pictureNote } from "./pictures.ts";
import { drawStrip, largest } from "./strip.ts";
import { Vectors } from "./vectors.ts";

const ROW = 22;
const STRIP = 26;
/** Rows of the list that are drawn beyond what is in sight. */
const MARGIN = 3;

interface Row {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly score: HTMLElement;
  readonly bar: HTMLElement;
  readonly weight: HTMLElement;
}

/** All that is known of the query on show. */
interface Line {
  readonly query: number;
  readonly scores: Float32Array | null;
  readonly softmax: Softmax | null;
  /** What a learned sink adds to the sum of exponentials; null where there is none or it is not known. */
  readonly sink: number | null;
  readonly weights: ArrayLike<number> | null;
  /** Whether the weights are the model's own, or rounded for a picture. */
  readonly exact: boolean;
}

export function neuron(
  host: HTMLElement,
  model: HeadModel,
  store: Store<ViewState>,
  context: Context,
  scope: Scope,
  height: number,
): Drawn {
  const { t, theme } = context;
  const { layer } = model;
  const place = { layer: store.state.layer, head: store.state.head };
  let pinned: number | null = null;
  let order: readonly number[] = [];
  let line: Line = {
    query: -1,
    scores: null,
    softmax: null,
    sink: null,
    weights: null,
    exact: false,
  };
  let most = 0;
  let byWeight = false;

  // -- frame ------------------------------------------------------------------------------------

  const chooser = (side: "query" | "key") => {
    const value = h("bdi", { class: "code neuron-token", "data-lmkit": `neuron-${side}` });
    const button = (by: 1 | -1) => {
      const name = t(`neuron.${side}.${by > 0 ? "next" : "previous"}`);
      const element = h(
        "button",
        { type: "button", class: "step", "aria-label": name, title: name },
        by > 0 ? "›" : "‹",
      );
      scope.on(element, "click", () => (side === "query" ? moveQuery(by) : moveKey(by)));
      return element;
    };
    const element = h(
      "span",
      { class: "stepper" },
      h("span", { class: "stepper-name" }, t(`neuron.${side}`)),
      button(-1),
      value,
      button(1),
    );
    return { element, value };
  };
  const queryChooser = chooser("query");
  const keyChooser = chooser("key");
  const copy = h("button", { type: "button", class: "quiet" }, t("neuron.copy"));
  const strip = (name: "q" | "k" | "product" | "v") => {
    const canvas = h("canvas", { "aria-hidden": "true", "data-strip": name });
    const value = h("span", { class: "neuron-size" });
    const label = h("span", { class: "neuron-name" });
    return { canvas, value, label, row: h("div", { class: "neuron-row" }, label, canvas, value) };
  };
  const strips = {
    q: strip("q"),
    k: strip("k"),
    product: strip("product"),
    ...(layer.hasValues ? { v: strip("v") } : {}),
  };
  const steps = h("div", { class: "steps", "data-lmkit": "equation" });
  const note = h("p", { class: "note" });
  const pair = h(
    "div",
    { class: "neuron-pair" },
    ...Object.values(strips).map((one) => one.row),
    steps,
    note,
  );

  const sortId = uniqueId("sort");
  const sort = h(
    "select",
    { id: sortId, "data-lmkit": "neuron-sort" },
    h("option", { value: "text" }, t("neuron.sort.text")),
    h("option", { value: "weight" }, t("neuron.sort.weight")),
  );
  const rail = h("span", {});
  const listHead = h(
    "div",
    { class: "neuron-line neuron-head", "aria-hidden": "true" },
    h("span", {}, t("neuron.keys")),
    h("span", {}, t("neuron.product", { n: layer.headSize })),
    h("span", { class: "right" }, t("neuron.score")),
    h("span", {}, t("neuron.weight")),
    rail,
  );
  const sheet = h("div", { class: "neuron-sheet", role: "presentation" });
  const list = h(
    "div",
    {
      class: "neuron-list",
      role: "listbox",
      tabindex: 0,
      "data-lmkit": "neuron-list",
    },
    sheet,
  );
  const tip = h("div", { class: "tip", "aria-hidden": "true", "data-lmkit": "tooltip" });
  tip.hidden = true;
  const frame = h(
    "div",
    { class: "neuron" },
    h(
      "div",
      { class: "neuron-bar" },
      queryChooser.element,
      keyChooser.element,
      h(
        "span",
        { class: "stepper" },
        h("label", { for: sortId, class: "stepper-name" }, t("neuron.sort")),
        sort,
      ),
      copy,
    ),
    pair,
    listHead,
    list,
    tip,
  );
  host.append(frame);
  const room = Math.max(6, Math.floor((height - 150) / ROW)) * ROW;

  // -- what is on show --------------------------------------------------------------------------

  const usual = () => {
    if (layer.causal) return layer.queries - 1;
    const first = model.queries.findIndex((token) => !token.special);
    return Math.max(0, first);
  };
  const theQuery = (): number => {
    const { focus, tokens } = store.state;
    const wanted = focus?.query ?? tokens[tokens.length - 1] ?? usual();
    return Math.min(wanted, layer.queries - 1);
  };
  const theKey = (): number => {
    const { focus } = store.state;
    const wanted = focus?.key ?? pinned;
    if (wanted !== null && wanted !== undefined && wanted < layer.keys) return wanted;
    const { weights } = line;
    if (!weights) return order[0] ?? 0;
    return order.reduce(
      (best, key) => ((weights[key] ?? 0) > (weights[best] ?? 0) ? key : best),
      order[0] ?? 0,
    );
  };

  const read = (query: number): Line => {
    const scores = vectors.get("score", query);
    if (!scores) {
      return { query, scores, softmax: null, sink: null, weights: null, exact: false };
    }
    const softmax = softmaxOf(scores);
    if (!layer.sinks && softmax.open > 0) {
      const weights = Float64Array.from(scores, (score) => weightOf(score, softmax));
      return { query, scores, softmax, sink: null, weights, exact: true };
    }
    // A sink's number is not sent: what the row's weights lack of 1 tells it.
    model.want(query);
    const row = model.row(query);
    if (!row) return { query, scores, softmax, sink: null, weights: null, exact: false };
    const { values } = row;
    let share = 0;
    for (let key = 0; key < values.length; key += 1) share += values[key] as number;
    const sink = layer.sinks && share > 0 ? Math.max(0, softmax.sum / share - softmax.sum) : null;
    return { query, scores, softmax, sink, weights: values, exact: row.exact };
  };

  const arrange = () => {
    const keys = shown(model.keys, store.state.hideSpecials).filter((key) => key < layer.keys);
    const { weights, scores } = line;
    order =
      byWeight && weights && scores
        ? [...keys].sort(
            (a, b) =>
              (weights[b] as number) - (weights[a] as number) ||
              (scores[b] as number) - (scores[a] as number) ||
              a - b,
          )
        : keys;
  };

  // -- drawing ----------------------------------------------------------------------------------

  const term = (caption: string, value: string, title: string, name = "") =>
    h(
      "span",
      { class: "term", title, "data-lmkit": name || null },
      h("span", { class: "term-caption" }, caption),
      h("span", { class: "term-value" }, value),
    );
  const operator = (sign: string) => h("span", { class: "term-operator" }, sign);

  const drawSteps = (query: Float32Array | null, key: Float32Array | null, at: number) => {
    const { scores, softmax, sink, weights } = line;
    if (!query || !key || !scores || !softmax) {
      refill(steps, h("span", { class: "note" }, t("neuron.loading")));
      return;
    }
    const found = pairOf(query, key, scores[at] ?? 0, layer);
    const number = (caption: string, value: number, name = "") =>
      term(caption, three(value), exact(value), name);
    const root = Math.abs(layer.scale * Math.sqrt(query.length) - 1) < 1e-6;
    const first: Node[] = [
      number(t("neuron.dot"), found.dot, "neuron-dot"),
      operator("×"),
      number(root ? `1/√${query.length}` : t("neuron.scale"), layer.scale),
    ];
    if (found.capped !== null) {
      const bound = three(layer.softcap ?? 0);
      first.push(operator("→"), number(`${bound}·tanh(x/${bound})`, found.capped));
    }
    if (found.bias !== null) first.push(operator("+"), number(t("neuron.bias"), found.bias));
    first.push(operator(found.score === null ? "→" : "="));
    if (found.score === null) {
      first.push(term(t("neuron.score"), "−∞", t("neuron.masked"), "neuron-score"));
      refill(
        steps,
        h("div", { class: "steps-line" }, ...first),
        h("p", { class: "note" }, t("neuron.masked")),
      );
      return;
    }
    first.push(number(t("neuron.score"), found.score, "neuron-score"));
    const { top, sum, open } = softmax;
    const weight = weights?.[at];
    const last: Node[] = [
      term(
        `exp(${three(found.score)} − ${three(top)})`,
        three(Math.exp(found.score - top)),
        `exp(${exact(found.score)} − ${exact(top)}) = ${exact(Math.exp(found.score - top))}\n${t("neuron.top")}`,
      ),
      operator("÷"),
      sink === null ? "" : operator("("),
      number(t.plural("neuron.sum", open), sum),
      ...(sink === null ? [] : [operator("+"), number(t("neuron.sink"), sink), operator(")")]),
      operator("="),
      weight === undefined
        ? term(t("neuron.weight"), "…", "")
        : term(t("neuron.weight"), quoted(weight, line.exact), exact(weight), "neuron-weight"),
    ].filter((node): node is HTMLElement => node !== "");
    refill(
      steps,
      h("div", { class: "steps-line" }, ...first),
      h("div", { class: "steps-line" }, ...last),
    );
  };

  const drawPair = () => {
    const at = theKey();
    const query = vectors.get("q", line.query);
    const key = vectors.get("k", at);
    const value = strips.v ? vectors.get("v", at) : null;
    const products = query && key ? query.map((one, index) => one * (key[index] ?? 0)) : null;
    const [queryName, keyName] = [
      shortToken(model.queries[line.query]?.text ?? ""),
      shortToken(model.keys[at]?.text ?? ""),
    ];
    queryChooser.value.textContent = queryName;
    queryChooser.value.title = t("token.index", { index: line.query });
    keyChooser.value.textContent = keyName;
    keyChooser.value.title = t("token.index", { index: at });
    const width = strips.q.canvas.parentElement ? Math.floor(strips.q.row.clientWidth - 2 * 64) : 0;
    const put = (
      one: ReturnType<typeof strip>,
      name: string,
      token: string,
      values: ArrayLike<number> | null,
    ) => {
      const size = values ? largest(values) : 0;
      refill(one.label, h("b", {}, name), token === "" ? null : bdi(token, { class: "code" }));
      one.value.textContent = values ? `± ${three(size)}` : "";
      one.value.title = values ? t("neuron.largest", { value: exact(size) }) : "";
      drawStrip(one.canvas, width, STRIP, values, size, theme.current);
    };
    put(strips.q, "q", queryName, query);
    put(strips.k, "k", keyName, key);
    put(strips.product, "q × k", "", products);
    if (strips.v) put(strips.v, "v", keyName, value);
    drawSteps(query, key, at);
  };

  const rows = new Map<number, Row>();
  const makeRow = (key: number): Row => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const [score, bar, weight] = [
      h("span", { class: "right" }),
      h("span", {}),
      h("span", { class: "neuron-weight" }),
    ];
    const element = h(
      "div",
      {
        class: model.keys[key]?.special ? "neuron-line special" : "neuron-line",
        role: "option",
        id: uniqueId("key"),
        "data-key": key,
        "data-lmkit": "neuron-row",
      },
      bdi(shortToken(model.keys[key]?.text ?? ""), { class: "code neuron-label" }),
      canvas,
      h("span", { class: "unseen" }, t("neuron.score")),
      score,
      h("span", { class: "unseen" }, t("neuron.weight")),
      h("span", { class: "neuron-share" }, h("span", { class: "track" }, bar), weight),
    );
    const row = { element, canvas, score, bar, weight };
    rows.set(key, row);
    sheet.append(element);
    return row;
  };

  const drawList = () => {
    const whole = order.length * ROW;
    sheet.style.height = `${whole}px`;
    list.style.height = `${Math.min(whole, room)}px`;
    rail.style.width = `${list.offsetWidth - list.clientWidth}px`;
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - MARGIN);
    const to = Math.min(order.length, Math.ceil((list.scrollTop + room) / ROW) + MARGIN);
    const seen = new Set(order.slice(from, to));
    for (const [key, row] of rows) {
      if (seen.has(key)) continue;
      row.element.remove();
      rows.delete(key);
    }
    const query = vectors.get("q", line.query);
    const at = theKey();
    const products = new Map<number, Float32Array>();
    for (const key of seen) {
      const vector = vectors.get("k", key);
      if (!query || !vector) continue;
      const product = query.map((one, index) => one * (vector[index] ?? 0));
      products.set(key, product);
      most = Math.max(most, largest(product));
    }
    const width = (list.clientWidth || 0) - columnsWidth();
    for (let position = from; position < to; position += 1) {
      const key = order[position] as number;
      const row = rows.get(key) ?? makeRow(key);
      const { element } = row;
      element.style.transform = `translateY(${position * ROW}px)`;
      element.setAttribute("aria-setsize", String(order.length));
      element.setAttribute("aria-posinset", String(position + 1));
      element.setAttribute("aria-selected", String(key === at));
      drawStrip(row.canvas, width, ROW - 4, products.get(key) ?? null, most, theme.current);
      const score = line.scores?.[key];
      const weight = line.weights?.[key];
      const masked = score !== undefined && score <= MASKED;
      row.score.textContent = score === undefined ? "" : masked ? t("neuron.closed") : three(score);
      row.score.title = score === undefined ? "" : masked ? t("neuron.masked") : exact(score);
      row.weight.textContent = weight === undefined ? "" : three(weight);
      row.weight.title = weight === undefined ? "" : exact(weight);
      row.bar.style.width = `${100 * mapped(weight ?? 0, store.state.mapping)}%`;
      row.bar.style.background = css(
        colourOf(Math.max(weight ?? 0, 0.05), store.state.mapping, theme.current.ramp),
      );
      element.classList.toggle("closed", masked);
      if (key === at) list.setAttribute("aria-activedescendant", element.id);
    }
    if (!seen.has(at)) list.removeAttribute("aria-activedescendant");
  };
  /** What the columns of a row other than the strip take, gaps included; as in theme.css. */
  const columnsWidth = () => {
    const label = Math.max(56, Math.min(120, list.clientWidth * 0.2));
    frame.style.setProperty("--neuron-label", `${label}px`);
    return label + 54 + 120 + 3 * 8 + 8;
  };

  let failed = false;
  const draw = () => {
    if (failed) return;
    const query = theQuery();
    const next = read(query);
    if (next.query !== line.query) most = 0;
    line = next;
    arrange();
    if (vectors.error) {
      failed = true;
      const retry = h("button", { type: "button" }, t("retry"));
      scope.on(retry, "click", () => {
        failed = false;
        vectors = makeVectors();
        refill(host, frame);
        redraw();
      });
      pictureNote(host, errorText(vectors.error, t), retry, "picture-error");
      return;
    }
    drawPair();
    drawList();
    if (vectors.missing) pictureNote(host, t("neuron.notcarried"), null, "neuron-missing");
  };
  const redraw = scope.frame(draw);
  const makeVectors = () => new Vectors(place, layer, context, scope, redraw);
  let vectors = makeVectors();

  // -- moving -----------------------------------------------------------------------------------

  const reveal = (key: number) => {
    const top = order.indexOf(key) * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + ROW - list.clientHeight;
    }
  };
  const moveQuery = (by: number) => {
    const queries = shown(model.queries, store.state.hideSpecials);
    const at = queries.indexOf(line.query);
    const next = queries[Math.max(0, Math.min(queries.length - 1, at + by))];
    if (next !== undefined) store.set({ tokens: [next], focus: null });
  };
  const moveKey = (by: number) => {
    const at = order.indexOf(theKey());
    const next = order[Math.max(0, Math.min(order.length - 1, at + by))];
    if (next === undefined) return;
    pinned = next;
    store.set({ focus: { query: line.query, key: next } });
    reveal(next);
    redraw();
  };
  const key = (event: KeyboardEvent): boolean => {
    const page = Math.max(1, Math.floor(room / ROW) - 1);
    const moves: Record<string, number> = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -order.length,
      End: order.length,
    };
    const by = moves[event.key];
    if (by !== undefined) moveKey(by);
    else if (event.key === "ArrowLeft") moveQuery(-1);
    else if (event.key === "ArrowRight") moveQuery(1);
    else {
      if (event.key === "Escape") pinned = null;
      return false;
    }
    return true;
  };
  scope.on<KeyboardEvent>(list, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !key(event)) return;
    event.preventDefault();
    event.stopPropagation();
    context.announce(say());
  });
  scope.on(list, "scroll", redraw);
  const keyOf = (event: Event): number | null => {
    const row = event.target instanceof Element ? event.target.closest("[data-key]") : null;
    return row instanceof HTMLElement ? Number(row.dataset["key"]) : null;
  };
  scope.on<PointerEvent>(list, "pointermove", (event) => {
    const found = keyOf(event);
    const { focus } = store.state;
    if (found !== null && (focus?.key !== found || focus.query !== line.query)) {
      store.set({ focus: { query: line.query, key: found } });
    }
  });
  scope.on(list, "pointerleave", () => store.set({ focus: null }));
  scope.on(list, "click", (event) => {
    const found = keyOf(event);
    if (found === null) return;
    pinned = found;
    // What was a preview of the query is now held with its key.
    store.set({ tokens: [line.query], focus: { query: line.query, key: found } });
  });
  scope.on(sort, "change", () => {
    byWeight = sort.value === "weight";
    list.scrollTop = 0;
    redraw();
  });

  // -- exact numbers ----------------------------------------------------------------------------

  const numbersAt = (at: number, index: number): string => {
    const query = vectors.get("q", line.query);
    const vector = vectors.get("k", at);
    if (!query || !vector) return "";
    const [a, b] = [query[index] ?? 0, vector[index] ?? 0];
    return t("neuron.dimension", { index, q: exact(a), k: exact(b), product: exact(a * b) });
  };
  scope.on<PointerEvent>(frame, "pointermove", (event) => {
    const canvas = event.target;
    if (!(canvas instanceof HTMLCanvasElement)) {
      tip.hidden = true;
      return;
    }
    const box = canvas.getBoundingClientRect();
    const index = Math.floor(
      ((event.clientX - box.left) / Math.max(1, box.width)) * layer.headSize,
    );
    const at = keyOf(event) ?? theKey();
    const value = canvas.dataset["strip"] === "v" ? vectors.get("v", at)?.[index] : undefined;
    const text =
      value === undefined
        ? numbersAt(at, Math.max(0, Math.min(layer.headSize - 1, index)))
        : t("neuron.value", { index, value: exact(value) });
    tip.hidden = text === "";
    tip.textContent = text;
    const outer = frame.getBoundingClientRect();
    const left = Math.min(event.clientX - outer.left + 12, outer.width - tip.offsetWidth - 2);
    const top = event.clientY - outer.top + 16;
    const over = top + tip.offsetHeight > outer.height ? top - tip.offsetHeight - 24 : top;
    tip.style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(over)}px)`;
  });
  scope.on(frame, "pointerleave", () => {
    tip.hidden = true;
  });
  scope.on(copy, "click", () => {
    const [query, vector] = [vectors.get("q", line.query), vectors.get("k", theKey())];
    if (!query || !vector) return;
    const table = Array.from(query, (one, index) =>
      [index, one, vector[index], one * (vector[index] ?? 0)].join("\t"),
    );
    void copyText(["dimension\tq\tk\tq*k", ...table].join("\n"), copy).then((copied) => {
      context.announce(t(copied ? "copy.done" : "copy.failed"));
      copy.textContent = t(copied ? "copy.done" : "copy.failed");
      scope.later(2000, () => {
        copy.textContent = t("neuron.copy");
      });
    });
  });

  const sayPair = (at: number): string => {
    const score = line.scores?.[at];
    const weight = line.weights?.[at];
    const names = {
      query: shortToken(model.queries[line.query]?.text ?? ""),
      key: shortToken(model.keys[at]?.text ?? ""),
    };
    if (score === undefined || weight === undefined) return `${names.query} → ${names.key}`;
    if (score <= MASKED) return t("neuron.say.masked", names);
    return t("neuron.say", { ...names, score: three(score), weight: quoted(weight, line.exact) });
  };
  const say = () => {
    // The state may be ahead of what the last frame drew.
    line = read(theQuery());
    return sayPair(theKey());
  };

  note.textContent = [
    t(layer.rotary ? "neuron.rotary" : "neuron.plain", { n: layer.headSize }),
    layer.kvHeads < layer.heads
      ? t("neuron.group", {
          kv: Math.floor((place.head * layer.kvHeads) / layer.heads),
          n: layer.heads / layer.kvHeads,
        })
      : "",
  ]
    .filter((part) => part !== "")
    .join(t.locale.startsWith("zh") ? "" : " ");
  list.setAttribute("aria-label", t("neuron.list"));

  scope.add(
    store.subscribe((state, before) => {
      if (state.layer === before.layer && state.head === before.head) redraw();
    }),
  );
  scope.add(model.subscribe(redraw));
  scope.add(theme.subscribe(redraw));
  scope.resize(list, redraw);
  draw();
  requestAnimationFrame(() => {
    if (!scope.disposed) reveal(theKey());
  });
  return { key, say };
}
