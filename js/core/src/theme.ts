/** The colours that canvases need, read from the host's theme and re-read when it changes. */

import { parseColour } from "./colour.ts";
import type { Scope } from "./dom.ts";
import { h } from "./dom.ts";
import { preferred } from "./preferences.ts";
import { BLUES, GREYS, makeDiverging, makeRamp, type Ramp } from "./scale.ts";

export type ThemeChoice = "light" | "dark" | "auto";

export interface Theme {
  readonly dark: boolean;
  readonly background: string;
  readonly ink: string;
  readonly muted: string;
  readonly line: string;
  /** Outline of what is chosen or pointed at: orange, never a colour of the scale. */
  readonly mark: string;
  readonly fontUi: string;
  readonly fontCode: string;
  readonly ramp: Ramp;
  /** Of differences: 255 colours, the middle one the background. */
  readonly diverging: Ramp;
}

/** A theme that may change; listeners also hear of a new device pixel ratio, and of lost graphics. */
export interface ThemeHandle {
  readonly current: Theme;
  subscribe(listener: () => void): () => void;
}

/** Perceived lightness 0..1 of a CSS colour; null when it is transparent. */
export function lightness(colour: string): number | null {
  const { r, g, b, opacity } = parseColour(colour);
  if (opacity < 0.5) return null;
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}

function plain(colour: string): string {
  const { r, g, b } = parseColour(colour);
  return `rgb(${Math.round(r)}, ${Math.round(g)}, ${Math.round(b)})`;
}

/** What tells two themes apart: the ramps follow from the rest. */
function signature({ ramp, diverging, ...rest }: Theme): string {
  return JSON.stringify(rest);
}

let lastRamps: (Pick<Theme, "ramp" | "diverging"> & { readonly of: string }) | null = null;

/** The ramps on a background; those made last are kept, since all views of a page share a theme. */
function ramps(background: string, dark: boolean): Pick<Theme, "ramp" | "diverging"> {
  const { colours } = preferred();
  const of = `${background} ${dark} ${colours}`;
  if (lastRamps?.of !== of) {
    lastRamps = {
      of,
      ramp: makeRamp(background, dark, colours === "greys" ? GREYS : BLUES),
      diverging: makeDiverging(background, dark),
    };
  }
  const { ramp, diverging } = lastRamps;
  return { ramp, diverging };
}

/**
 * Follow the theme of `root`. Sets `data-theme` to light or dark: from the option, else from the
 * background that the host's tokens give, else from the user's system.
 */
export function followTheme(root: HTMLElement, choice: ThemeChoice, scope: Scope): ThemeHandle {
  // One element a colour, so that reading all of them takes one look at the styles.
  const probes = new Map(
    (["bg", "ink", "muted", "line", "mark"] as const).map((name) => {
      const element = h("i", {});
      element.style.color = `var(--lmkit-${name})`;
      return [name, element];
    }),
  );
  root.append(h("span", { class: "probe", "aria-hidden": "true" }, ...probes.values()));
  const listeners = new Set<() => void>();

  const read = (): Theme => {
    const colour = (name: "bg" | "ink" | "muted" | "line" | "mark") => {
      const probe = probes.get(name) as HTMLElement;
      return plain(getComputedStyle(probe).color || "rgb(255, 255, 255)");
    };
    root.setAttribute("data-choice", choice);
    const systemDark = globalThis.matchMedia?.("(prefers-color-scheme: dark)").matches ?? false;
    root.setAttribute("data-theme", choice === "auto" ? (systemDark ? "dark" : "light") : choice);
    const background = colour("bg");
    // Forced colours are the user's own, whatever was chosen: white on "dark" too.
    const forced = globalThis.matchMedia?.("(forced-colors: active)").matches ?? false;
    const dark =
      choice === "auto" || forced ? (lightness(background) ?? 1) < 0.5 : choice === "dark";
    root.setAttribute("data-theme", dark ? "dark" : "light");
    const style = getComputedStyle(root);
    return {
      dark,
      background: colour("bg"),
      ink: colour("ink"),
      muted: colour("muted"),
      line: colour("line"),
      mark: colour("mark"),
      fontUi: style.fontFamily || "sans-serif",
      fontCode: style.getPropertyValue("--lmkit-code-font") || "monospace",
      ...ramps(colour("bg"), dark),
    };
  };

  let current = read();
  let before = signature(current);
  const update = (force: boolean) => {
    if (scope.disposed) return;
    current = read();
    const now = signature(current);
    if (!force && now === before) return;
    before = now;
    for (const listener of [...listeners]) listener();
  };
  const soon = scope.frame(() => update(false));
  const changed = () => {
    soon();
    // Hosts load the theme's stylesheet after they have changed the attribute.
    scope.later(400, () => update(false));
  };
  if (typeof MutationObserver !== "undefined") {
    const observer = new MutationObserver(changed);
    const what = {
      attributes: true,
      attributeFilter: [
        "class",
        "style",
        "data-theme",
        "data-jp-theme-name",
        "data-jp-theme-light",
        "data-vscode-theme-kind",
        "lang",
      ],
    };
    observer.observe(document.documentElement, what);
    if (document.body) observer.observe(document.body, what);
    scope.add(() => observer.disconnect());
  }
  if (globalThis.matchMedia) {
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      scope.on(globalThis.matchMedia(query), "change", changed);
    }
    watchPixelRatio(scope, () => update(true));
  }
  // Canvases are blank once the browser has lost its graphics: a driver that was reset, a computer that
  // slept, a machine so busy that Chromium took its graphics process for hung. What listens draws anew.
  const again = scope.frame(() => update(true));
  scope.on(root, "contextrestored", again, { capture: true }); // it does not bubble
  // The element may be mounted before it is in the page, where no token has a value yet.
  changed();
  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function watchPixelRatio(scope: Scope, callback: () => void): void {
  let inner = scope.child();
  const watch = () => {
    inner = scope.child();
    const query = globalThis.matchMedia(`(resolution: ${globalThis.devicePixelRatio}dppx)`);
    inner.on(query, "change", () => {
      inner.dispose();
      callback();
      watch();
    });
  };
  watch();
}
