/** Mounting a view: the root, its theme and words, and what is drawn before and instead of a view. */

import type { ErrorInfo, Result, ViewSpec } from "@lmkit/protocol";
import { parseBundle } from "@lmkit/protocol";
import type { Channel } from "./channel.ts";
import type { Context, HostActions } from "./context.ts";
import { h, refill, Scope } from "./dom.ts";
import { home } from "./home.ts";
import { translator } from "./messages.ts";
import { panel } from "./panel/panel.ts";
import { errorBox } from "./panel/status.ts";
import type { Rest } from "./refill.ts";
import { errorInfo, givesTiles, KernelSource, type Source } from "./source.ts";
import STYLES from "./theme.css";
import { followTheme, type ThemeChoice } from "./theme.ts";

export interface MountOptions {
  /** "auto" (the default) follows the host's theme, else the user's system. */
  readonly theme?: ThemeChoice;
  /** A BCP 47 tag; the default is the page's language. English and Simplified Chinese are there. */
  readonly locale?: string;
  /** Where the view fills its element instead of following its content up to about 560 pixels. */
  readonly fill?: boolean;
  readonly host?: HostActions;
  /** Of the page's content security policy, where it runs no script without one. */
  readonly nonce?: string;
  /** How a saved output asks a kernel for what it lacks, where there is no channel. */
  readonly rest?: Rest;
}

let sheet: CSSStyleSheet | null = null;

/** The styles of every copy in one sheet; a style element where a sheet cannot be made. */
function style(root: ShadowRoot): void {
  try {
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLES);
    }
    root.adoptedStyleSheets = [sheet];
  } catch {
    root.append(h("style", {}, STYLES));
  }
}

/** Draw `spec` (or the frame, while it is null) and follow the source until the undo is called. */
function mountView(
  element: HTMLElement,
  first: ViewSpec | null,
  source: Source,
  options: MountOptions,
  failure: ErrorInfo | null = null,
): () => void {
  const scope = new Scope();
  const t = translator(options.locale);
  const host = h("div", { class: "lmkit-view", "data-lmkit": "view" });
  // Letters typed at the picture are its keys, not the notebook's: hosts look for this mark.
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  const shadow = host.attachShadow({ mode: "open" });
  style(shadow);
  const root = h("div", {
    class: "lmkit",
    // Not a landmark: a notebook has dozens of outputs, and many have the same name.
    role: "group",
    lang: t.locale,
    "aria-label": "lmkit",
    "data-lmkit": "root",
  });
  root.classList.toggle("fill", options.fill === true);
  const live = h("div", {
    class: "unseen",
    role: "status",
    "aria-live": "polite",
    "data-lmkit": "live-region",
  });
  const stage = h("div", { class: "frame" });
  root.append(stage, live);
  shadow.append(root);
  element.append(host);

  const theme = followTheme(root, options.theme ?? "auto", scope);
  let said = 0;
  const context: Context = {
    source,
    t,
    theme,
    host: options.host ?? {},
    nonce: options.nonce ?? "",
    announce(text) {
      if (text === "") return;
      // A screen reader is silent about the same text again: an invisible space makes it another.
      said += 1;
      live.textContent = said % 2 ? text : `${text}\u00a0`;
    },
    fail(error) {
      showFailure(error);
    },
  };

  let viewScope = scope.child();
  let kind: ViewSpec["kind"] | null = null;
  let update: ((spec: ViewSpec) => void) | null = null;

  const begin = () => {
    viewScope.dispose();
    viewScope = scope.child();
    refill(stage);
    kind = null;
    update = null;
  };
  const show = (spec: ViewSpec) => {
    try {
      if (update && kind === spec.kind) {
        update(spec);
        return;
      }
      begin();
      kind = spec.kind;
      if (spec.kind === "panel") {
        root.setAttribute("aria-label", spec.header.title.slice(0, 100) || "lmkit");
        const next = panel(stage, spec, context, viewScope);
        update = (value) => {
          if (value.kind === "panel") next(value);
        };
      } else {
        const next = home(stage, spec, context, viewScope);
        update = (value) => {
          if (value.kind === "home") next(value);
        };
      }
    } catch (error) {
      begin();
      showError(errorInfo(error));
    }
  };
  const showError = (error: ErrorInfo) => {
    begin();
    stage.append(
      h(
        "div",
        { class: "body" },
        h("p", { class: "pane-title" }, t("error.unreadable")),
        errorBox(error, context, viewScope),
      ),
    );
  };
  const showFailure = (failed: ErrorInfo) => {
    const error =
      failed.code === "moved"
        ? { code: failed.code, message: t("rest.moved"), hint: t("rest.moved.hint"), details: "" }
        : failed;
    const place = stage.querySelector('[data-lmkit="failures"], [data-lmkit="status"]');
    if (place) refill(place, errorBox(error, context, viewScope));
    else showError(error);
  };
  const showFrame = () => {
    begin();
    stage.append(
      h(
        "div",
        { class: "body loading", "data-lmkit": "loading", "aria-busy": "true" },
        h(
          "div",
          { class: "progress" },
          h("span", { class: "progress-label" }, t("loading.connect")),
          h("progress", { "aria-label": t("loading.connect") }),
        ),
        h("div", { class: "ghost tall", "aria-hidden": "true" }),
        h("div", { class: "ghost", "aria-hidden": "true" }),
        h("div", { class: "ghost wide", "aria-hidden": "true" }),
      ),
    );
  };

  scope.add(
    source.subscribe((event) => {
      if (event.type === "changed") show(event.spec);
      else if (event.type === "failed") showFailure(event.error);
      else if (
        event.type === "state" &&
        kind === null &&
        event.state !== "connecting" &&
        !givesTiles(event.state)
      ) {
        const message = t(event.state === "lost" ? "saved.lost" : "saved.note");
        showError({ code: event.state, message, hint: "", details: "" });
      }
    }),
  );
  if (failure) showError(failure);
  else if (first) show(first);
  else showFrame();

  return () => {
    scope.dispose();
    source.close();
    host.remove();
  };
}

/** The inner seam: a view's spec and a source of tiles and events. */
export function mount(
  element: HTMLElement,
  spec: ViewSpec,
  source: Source,
  options: MountOptions = {},
): () => void {
  return mountView(element, spec, source, options);
}

/**
 * Draw a saved output, untrusted as it is; when a channel comes, say hello and go live. An output
 * that cannot be read is drawn as an error. Returns the undo.
 */
export function mountBundle(
  element: HTMLElement,
  data: unknown,
  channel: Promise<Channel> | Channel | null = null,
  options: MountOptions = {},
): () => void {
  try {
    const read = parseBundle(data);
    const bundle = { ...read, spec: withoutPages(read.spec) };
    const source = new KernelSource({
      where: bundle.live,
      tiles: bundle.tiles,
      saved: { heads: bundle.heads, carried: bundle.headsCarried },
      spec: bundle.spec,
      record: bundle.record,
      answers: bundle.answers.map((answer) => ({ ...answer, results: blank(answer.results) })),
      channel: bundle.live ? channel : null,
      rest: options.rest ?? null,
    });
    if (!bundle.live) void closeUnused(channel);
    return mountView(element, bundle.spec, source, options);
  } catch (error) {
    void closeUnused(channel);
    return mountView(element, null, new KernelSource({}), options, errorInfo(error));
  }
}

/** A saved page is somebody's script: it is never run, only a live kernel's is. */
function withoutPages(spec: ViewSpec): ViewSpec {
  if (spec.kind !== "panel") return spec;
  return { ...spec, results: blank(spec.results) };
}

function blank(results: readonly Result[]): Result[] {
  return results.map((result) => (result.kind === "page" ? { ...result, html: "" } : result));
}

async function closeUnused(channel: Promise<Channel> | Channel | null): Promise<void> {
  try {
    (await channel)?.close();
  } catch {
    // A channel that never opened needs no closing.
  }
}

/** Draw a view that exists in a kernel only: the frame until its spec comes. Returns the undo. */
export function mountLive(
  element: HTMLElement,
  where: { readonly session: string; readonly view: string },
  channel: Channel,
  options: MountOptions = {},
): () => void {
  return mountView(element, null, new KernelSource({ where, channel }), options);
}
