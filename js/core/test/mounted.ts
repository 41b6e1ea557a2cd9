/** A mounted view with ways to look into its shadow root. */
export class Mounted {
  readonly element = document.createElement("div");
  readonly root: ShadowRoot;
  readonly undo: () => void;
  static #open: Mounted[] = [];

  /** Undo every view of a test, so that none draws into the next. */
  static undoAll(): void {
    for (const view of Mounted.#open.splice(0)) view.undo();
  }

  constructor(mount: (element: HTMLElement) => () => void) {
    document.body.append(this.element);
    this.undo = mount(this.element);
    Mounted.#open.push(this);
    this.root = this.element.firstElementChild?.shadowRoot as ShadowRoot;
  }

  all<T extends HTMLElement>(name: string): T[] {
    return [...this.root.querySelectorAll<T>(`[data-lmkit="${name}"]`)];
  }

  one<T extends HTMLElement>(name: string): T {
    const found = this.all<T>(name)[0];
    if (!found) throw new Error(`There is no ${name}.`);
    return found;
  }

  text(name: string): string {
    return this.one(name).textContent ?? "";
  }

  key(target: HTMLElement, key: string, more: KeyboardEventInit = {}): KeyboardEvent {
    const event = new KeyboardEvent("keydown", {
      key,
      bubbles: true,
      composed: true,
      cancelable: true,
      ...more,
    });
    target.dispatchEvent(event);
    return event;
  }
}
