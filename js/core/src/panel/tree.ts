/** A tree that grows from left to right; a stretch without a branch is one box. */

import type { Change, Tree, TreeNode } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { bdi, h, type Scope } from "../dom.ts";
import { exact, three } from "../numbers.ts";
import { head, visibleLabel, visibleProse } from "../text.ts";
import type { ResultActions } from "./results.ts";

const MOST_BOXES = 400;
const MOST_DEEP = 120;
const LONG = 400;

/** A stretch of nodes without a branch, of one fate. */
export interface Stretch {
  readonly text: string;
  readonly kept: boolean;
  readonly best: boolean;
  readonly score: number | null;
  readonly detail: string;
  readonly change: Change | null;
  readonly children: readonly Stretch[];
}

/** The tree as stretches, cut at a number of boxes and a depth; `left` counts nodes left out. */
export function stretches(nodes: readonly TreeNode[]): { roots: Stretch[]; left: number } {
  const children: number[][] = nodes.map(() => []);
  const roots: number[] = [];
  nodes.forEach((node, index) => {
    // An untrusted tree may name a parent that is not there: such a node is a root.
    const parent = node.parent !== null && node.parent < index ? children[node.parent] : undefined;
    (parent ?? roots).push(index);
  });
  let boxes = 0;
  let used = 0;
  const grow = (start: number, depth: number): Stretch => {
    boxes += 1;
    const first = nodes[start] as TreeNode;
    let last = first;
    let index = start;
    let text = first.text;
    used += 1;
    for (;;) {
      const only = (children[index] as number[]).length === 1 ? children[index]?.[0] : undefined;
      const next = only === undefined ? undefined : nodes[only];
      if (only === undefined || !next || next.kept !== last.kept || next.best !== last.best) break;
      index = only;
      last = next;
      text += next.text;
      used += 1;
    }
    const below: Stretch[] = [];
    if (depth < MOST_DEEP) {
      for (const child of children[index] as number[]) {
        if (boxes < MOST_BOXES) below.push(grow(child, depth + 1));
      }
    }
    const { kept, best, score, detail, change } = last;
    return { text, kept, best, score, detail, change, children: below };
  };
  const grown: Stretch[] = [];
  for (const root of roots) if (boxes < MOST_BOXES) grown.push(grow(root, 0));
  return { roots: grown, left: nodes.length - used };
}

export function tree(result: Tree, context: Context, scope: Scope, actions: ResultActions): Node[] {
  const { t } = context;
  const { roots, left } = stretches(result.nodes);
  const draw = (one: Stretch): HTMLElement => {
    const start = head(one.text, LONG);
    const label = `${visibleLabel(start.text)}${start.cut ? "…" : ""}`;
    const state = one.best ? t("tree.best") : one.kept ? t("tree.kept") : t("tree.dropped");
    const attributes = {
      class: `tree-box${one.best ? " best" : one.kept ? " kept" : ""}`,
      "data-lmkit": "tree-box",
      "data-best": one.best ? "" : null,
      title: [label, state, one.score === null ? "" : exact(one.score), visibleProse(one.detail)]
        .filter((part) => part !== "")
        .join("\n"),
    };
    const inner = [
      bdi(label, { class: "tree-text" }),
      one.score === null ? null : h("span", { class: "number" }, three(one.score)),
      h("span", { class: "unseen" }, `, ${state}`),
    ];
    const { change } = one;
    const { apply } = actions;
    const box =
      change === null || apply === null
        ? h("span", attributes, ...inner)
        : h("button", { type: "button", ...attributes }, ...inner);
    if (change !== null && apply !== null) scope.on(box, "click", () => apply(change));
    return h(
      "li",
      { class: "tree-node" },
      box,
      one.children.length > 0 ? h("ul", { role: "list" }, ...one.children.map(draw)) : null,
    );
  };
  return [
    h(
      "div",
      { class: "tree-scroll", tabindex: 0, role: "region", "aria-label": result.title || null },
      h("ul", { class: "tree", role: "list" }, ...roots.map(draw)),
    ),
    ...(left > 0 ? [h("p", { class: "note" }, t("tree.more", { n: left }))] : []),
    ...(result.note === ""
      ? []
      : [h("p", { class: "note", dir: "auto" }, visibleProse(result.note))]),
  ];
}
