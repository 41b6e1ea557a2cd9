/**
 * Drawing when it comes into sight, so that a notebook of sixty outputs opens as fast as one. JupyterLab
 * and VS Code both hand over outputs that are not: VS Code, when it has nothing else to do, all of them.
 */

/** How far beyond the window's edge a view is drawn already, so that scrolling meets a finished one. */
const AHEAD = "400px";
/**
 * The room that a view is given until it is drawn: with attention pictures it fills the height that it
 * may have. With less, views that are drawn push what is below them out of sight.
 */
const ROOM = { pictures: "var(--lmkit-max-height, 600px)", other: "8rem" };

/** A view's place in a page that may hold many: room until it is drawn, and then the view. */
export class InSight {
  readonly #element: HTMLElement;
  readonly #sight: IntersectionObserver;
  #draw: (() => () => void) | null = null;
  #undo: (() => void) | null = null;

  constructor(element: HTMLElement) {
    this.#element = element;
    element.style.minHeight = ROOM.other;
    this.#sight = new IntersectionObserver(
      (entries) => {
        if (entries.at(-1)?.isIntersecting) wait(this);
        else waiting.delete(this);
      },
      // The window is the root, and not the document: VS Code's is as tall as all outputs together. The
      // second margin is for the element that scrolls. Where a browser does not know it, or in a frame
      // of another origin, a view is drawn in sight.
      { rootMargin: AHEAD, scrollMargin: AHEAD },
    );
  }

  /** Whether the view is drawn, not only its room kept. */
  get drawn(): boolean {
    return this.#undo !== null;
  }

  /** Where it begins, in pixels from the frame's upper edge. */
  get top(): number {
    return this.#element.getBoundingClientRect().top;
  }

  /**
   * Draw, once in sight, in place of what is there.
   *
   * @param data the saved output, not yet checked: says how much room to keep
   * @param draw draws and returns its undo
   */
  show(data: unknown, draw: () => () => void): void {
    // nothing has a height in a tab that is not shown
    const height = this.#undo ? this.#element.offsetHeight : 0;
    const room = hasPictures(data) ? ROOM.pictures : ROOM.other;
    this.#element.style.minHeight = height > 0 ? `${height}px` : room;
    this.#clear();
    this.#draw = draw;
    this.#sight.observe(this.#element);
  }

  /** What {@link wait} calls at the view's turn. */
  reached(): void {
    const draw = this.#draw;
    if (!draw) return;
    this.#draw = null;
    this.#sight.disconnect();
    this.#undo = draw();
    this.#element.style.minHeight = "";
  }

  dispose(): void {
    this.#clear();
    this.#element.style.minHeight = "";
  }

  #clear(): void {
    this.#sight.disconnect();
    waiting.delete(this);
    this.#draw = null;
    this.#undo?.();
    this.#undo = null;
  }
}

/**
 * Views in sight that are not yet drawn. One is drawn a frame, the uppermost: VS Code places outputs
 * before it knows their heights, too many in sight, and takes the lower ones out of it a few frames
 * later.
 */
const waiting = new Set<InSight>();
let drawing = false;

function wait(place: InSight): void {
  waiting.add(place);
  if (drawing) return;
  drawing = true;
  next();
}

function next(): void {
  let first: InSight | null = null;
  for (const place of waiting) if (first === null || place.top < first.top) first = place;
  if (!first) {
    drawing = false;
    return;
  }
  waiting.delete(first);
  // asked for before, since drawing may fail
  requestAnimationFrame(next);
  first.reached();
}

/** Whether a saved output has attention to draw, read with care: nobody has checked it yet. */
function hasPictures(data: unknown): boolean {
  return Boolean((data as { spec?: { attention?: unknown } | null } | null)?.spec?.attention);
}
