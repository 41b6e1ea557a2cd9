/** A plugin's own HTML document, in a frame that has no origin and no network. */

import type { Page } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h } from "../dom.ts";
import { visibleLabel } from "../text.ts";

/** Scripts and styles of the document itself run; nothing is fetched from anywhere. */
export const POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:";

/**
 * The document with the policy as the first thing in it: a later one can only tighten it. The frame has
 * the policy of the page around it, too: where that runs scripts by a nonce alone, the document's own
 * get it, as the first attribute, which is the one that counts. Their origin is their own all the same.
 */
export function framed(html: string, nonce = ""): string {
  const marked = /^[\w-]+$/.test(nonce)
    ? html.replace(/<script(?=[\s/>])/gi, `<script nonce=${nonce}`)
    : html;
  return `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}">${marked}`;
}

export function page(result: Page, context: Context): Node[] {
  const { t, source } = context;
  if (source.state !== "live") {
    return [h("p", { class: "note boxed", "data-lmkit": "page-note" }, t("page.live"))];
  }
  const frame = h("iframe", {
    class: "page",
    sandbox: "allow-scripts",
    referrerpolicy: "no-referrer",
    "data-lmkit": "page",
    title: visibleLabel(result.title) || t("page.title"),
  });
  frame.style.height = `${result.height}px`;
  frame.srcdoc = framed(result.html, context.nonce);
  return [frame];
}
