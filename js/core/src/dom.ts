/** Elements without HTML strings, and one place that undoes every listener, observer and timer. */

export type Child = Node | string | null | undefined | false;
export type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>;

function apply(element: Element, attributes: Attributes, children: readonly Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  fill(element, ...children);
}

/** An element; strings become text nodes, `false` and `null` are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  apply(element, attributes, children);
  return element;
}

/** Append children to an element. */
export function fill(element: Element, ...children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
}

/** Replace what an element holds. */
export function refill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  fill(element, ...children);
}

/** Text of unknown origin and direction: isolated, so that it cannot reorder its neighbours. */
export function bdi(text: string, attributes: Attributes = {}): HTMLElement {
  return h("bdi", attributes, text);
}

/** Set or remove a boolean attribute. */
export function flag(element: Element, name: string, on: boolean): void {
  element.toggleAttribute(name, on);
}

let counter = 0;

/** An id for aria references, unique in the page however many views it holds. */
export function uniqueId(prefix: string): string {
  counter += 1;
  return `lmkit-${prefix}-${counter}`;
}

/** Owns listeners, observers, timers and inner scopes; `dispose` undoes them all, once. */
export class Scope {
  #undo: (() => void)[] = [];
  #disposed = false;

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Run `undo` at the end (at once when the scope has already ended). */
  add(undo: () => void): void {
    if (this.#disposed) undo();
    else this.#undo.push(undo);
  }

  on<T extends Event = Event>(
    target: EventTarget,
    type: string,
    handler: (event: T) => void,
    options?: AddEventListenerOptions,
  ): void {
    const listener = (event: Event) => handler(event as T);
    target.addEventListener(type, listener, options);
    this.add(() => target.removeEventListener(type, listener, options));
  }

  /** An inner scope that ends with this one, or earlier. */
  child(): Scope {
    const inner = new Scope();
    this.add(() => inner.dispose());
    return inner;
  }

  /** Call later unless the scope ends first; returns the cancel. */
  later(milliseconds: number, callback: () => void): () => void {
    const timer = setTimeout(() => {
      if (!this.#disposed) callback();
    }, milliseconds);
    return () => clearTimeout(timer);
  }

  /** A function that draws once in the next frame, however often it is called. */
  frame(draw: () => void): () => void {
    let waiting = false;
    return () => {
      if (waiting || this.#disposed) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        if (!this.#disposed) draw();
      });
    };
  }

  /** Call when the element changes its size (and once soon after now). */
  resize(element: Element, callback: () => void): void {
    if (typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(() => callback());
    observer.observe(element);
    this.add(() => observer.disconnect());
  }

  /**
   * Draw what depends on the width of `element`: in the next frame, whenever the function that this
   * returns is called, and when the element has got another width than it was drawn for.
   */
  sized(element: Element, draw: () => void): () => void {
    let drawn = -1;
    const redraw = this.frame(() => {
      drawn = element.clientWidth;
      draw();
    });
    // Observers speak of the first size too, for which a picture has mostly been drawn already.
    this.resize(element, () => {
      if (element.clientWidth !== drawn) redraw();
    });
    redraw();
    return redraw;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const undo = this.#undo;
    this.#undo = [];
    for (const step of undo.reverse()) step();
  }
}

/** The page's device pixel ratio, at least 1 so that a zoomed-out page stays readable. */
export function pixelRatio(): number {
  return Math.max(1, globalThis.devicePixelRatio || 1);
}

/** Give a canvas its size in CSS pixels, crisp at this pixel ratio; null where there is no canvas. */
export function fitCanvas(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const ratio = pixelRatio();
  const [deviceWidth, deviceHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== deviceWidth) canvas.width = deviceWidth;
  if (canvas.height !== deviceHeight) canvas.height = deviceHeight;
  // Even the same value, set again, has the browser lay out the page again.
  const [cssWidth, cssHeight] = [`${width}px`, `${height}px`];
  if (canvas.style.width !== cssWidth) canvas.style.width = cssWidth;
  if (canvas.style.height !== cssHeight) canvas.style.height = cssHeight;
  const context = canvas.getContext("2d");
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

/** Copy text; falls back to a hidden text area where the clipboard API is not allowed. */
export async function copyText(text: string, near: Node): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { "aria-hidden": "true", tabindex: -1 });
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    const root = near.getRootNode();
    const focused = (root instanceof ShadowRoot ? root : document).activeElement;
    near.appendChild(area);
    area.select();
    // Deprecated, and the only way left in a frame without clipboard permission.
    const copied = document.execCommand?.("copy") ?? false;
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return copied;
  }
}
