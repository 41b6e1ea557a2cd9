// Stands between lmkit's data and BertViz's script: its parameters, its `require`, its labels.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("lmkit-data").textContent);
  addEventListener("error", (event) => {
    document.getElementById("problem").textContent = `BertViz failed: ${event.message}`;
  });

  const cut = (matrix, rows, columns) =>
    matrix.slice(...rows).map((row) => (columns ? row.slice(...columns) : row));
  const each = (layers, work) => layers.map((heads) => heads.map(work));

  /** One entry of BertViz's attention: the weights between two ranges of tokens. */
  const part = (name, rows, columns) => ({
    name,
    attn: each(data.attention, (matrix) => cut(matrix, rows, columns)),
    left_text: data.left.slice(...rows),
    right_text: data.right.slice(...columns),
    ...(data.queries && {
      queries: each(data.queries, (vectors) => cut(vectors, rows)),
      keys: each(data.keys, (vectors) => cut(vectors, columns)),
    }),
  });

  const parts = [part("All", [0], [0])];
  if (data.second !== null) {
    const a = [0, data.second];
    const b = [data.second];
    parts.push(
      part("Sentence A -> Sentence A", a, a),
      part("Sentence B -> Sentence B", b, b),
      part("Sentence A -> Sentence B", a, b),
      part("Sentence B -> Sentence A", b, a),
    );
    const filter = document.getElementById("filter");
    parts.forEach(({ name }, index) => filter.add(new Option(name, index)));
  }

  window.bertviz_params = {
    attention: parts,
    default_filter: "0",
    root_div_id: "bertviz",
    display_mode: "light",
    include_layers: data.layers,
    include_heads: data.heads,
    total_heads: data.total_heads,
    bidirectional: !data.causal,
    heads: null,
    // The neuron view counts the layers and heads that it was given, the head view names them.
    layer: data.view === "neuron" ? 0 : data.layers[0],
    head: data.heads.indexOf(data.head),
  };

  window.requirejs = window.require = (names, use) => use(window.jQuery, window.d3);
  window.require.config = () => {};

  window.lmkit = {
    label() {
      if (data.view !== "neuron") return;
      for (const [id, numbers] of [["layer", data.layers], ["att_head", data.heads]]) {
        for (const option of document.getElementById(id).options) {
          option.textContent = numbers[Number(option.value)];
        }
      }
    },
  };
})();
