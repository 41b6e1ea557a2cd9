/** A window for what is drawn in sight: jsdom has none. */
import { vi } from "vitest";

/** So many frames of the page. */
export async function frames(count: number): Promise<void> {
  for (let past = 0; past < count; past++) await new Promise(requestAnimationFrame);
}

/** Stands for the window: says what has come into sight. */
export class Sight {
  static all: Sight[] = [];
  readonly observed = new Set<Element>();

  constructor(
    readonly callback: (entries: { isIntersecting: boolean; target: Element }[]) => void,
  ) {
    Sight.all.push(this);
  }

  /** A window in which nothing is in sight before {@link reach} says so. */
  static stub(): void {
    Sight.all = [];
    vi.stubGlobal("IntersectionObserver", Sight);
  }

  /** All that is observed, or what an element holds of it, comes into sight or leaves it. */
  static reach(isIntersecting = true, within?: Element): void {
    for (const each of Sight.all) {
      const there = [...each.observed].filter((one) => within?.contains(one) ?? true);
      if (there.length) each.callback(there.map((target) => ({ isIntersecting, target })));
    }
  }

  /** All comes into sight, and is drawn by when this is fulfilled: what was alone there, at once. */
  static async drawn(): Promise<void> {
    await frames(2); // after which nothing that was drawn before holds up another
    const count = Sight.all.filter(({ observed }) => observed.size).length;
    Sight.reach();
    if (count > 1) await frames(count);
  }

  observe(element: Element): void {
    this.observed.add(element);
  }

  disconnect(): void {
    this.observed.clear();
  }
}

/** A window in which all is in sight, as it is with one output. */
export function stubAllInSight(): void {
  vi.stubGlobal(
    "IntersectionObserver",
    class extends Sight {
      override observe(element: Element): void {
        super.observe(element);
        this.callback([{ isIntersecting: true, target: element }]);
      }
    },
  );
}
