import type { IRenderMime } from "@jupyterlab/rendermime";
import { Signal } from "@lumino/signaling";
import { expect, test, vi } from "vitest";

vi.hoisted(() => {
  // Lumino's widgets name these classes while they load, and jsdom has neither
  Object.assign(globalThis, {
    DragEvent: globalThis.MouseEvent,
    IntersectionObserver: class {
      observe() {}
      disconnect() {}
    },
  });
});
// only the tokens are needed of these
vi.mock("@jupyterlab/notebook", () => ({ INotebookTracker: "notebooks" }));
vi.mock("@jupyterlab/rendermime", () => ({ IRenderMimeRegistry: "rendermime" }));
vi.mock("@lmkit/core", async (original) => ({
  ...(await original<object>()),
  mountBundle: () => () => {},
  mountLive: "mountLive",
}));
// it has an end-to-end test; its packages do not load in jsdom
vi.mock("../src/side-panel-plugin.ts", () => ({ sidePanel: { id: "lmkit:side-panel" } }));
const { default: plugins } = await import("../src/index.ts");
const [plugin] = plugins;

type Added = [IRenderMime.IRendererFactory, number];

function registry() {
  const added: Added[] = [];
  return {
    added,
    addFactory: (...factory: Added) => {
      added.push(factory);
    },
  };
}

function activate(notebooks: object | null) {
  const rendermime = registry();
  const activate = plugin?.activate as unknown as (...given: unknown[]) => void;
  activate({}, rendermime, notebooks);
  return rendermime;
}

function panel() {
  const rendermime = registry();
  const kernelChanged = { connect: vi.fn(), disconnect: vi.fn() };
  return { rendermime, kernelChanged, content: { rendermime }, sessionContext: { kernelChanged } };
}

function check({ added }: { added: Added[] }) {
  expect(added.length).toBe(1);
  const [factory, rank] = added[0] as Added;
  // before the widget manager's -10
  expect(rank).toBe(-20);
  expect(factory.safe).toBe(true);
  expect(factory.mimeTypes).toEqual(["application/vnd.lmkit.view.v1+json"]);
  return factory.createRenderer({
    mimeType: factory.mimeTypes[0],
  } as unknown as IRenderMime.IRendererOptions);
}

test("views are drawn everywhere, and live in notebooks, open ones and those to come", () => {
  const [open, next] = [panel(), panel()];
  const widgetAdded = new Signal<object, unknown>({});
  const everywhere = activate({
    forEach: (visit: (panel: unknown) => void) => visit(open),
    widgetAdded,
  });
  check(everywhere).dispose();
  check(open.rendermime).dispose();
  expect(open.kernelChanged.connect).toHaveBeenCalledOnce();
  expect(next.rendermime.added).toEqual([]);
  widgetAdded.emit(next);
  check(next.rendermime).dispose();
  expect(next.kernelChanged.connect).toHaveBeenCalledOnce();
});

test("views are drawn in an application without notebooks", () => {
  check(activate(null)).dispose();
});

test("anywidgets of the page find the core that came with the extension", async () => {
  const CORE = Symbol.for("lmkit.core@1");
  const page = globalThis as unknown as Record<symbol, unknown>;
  delete page[CORE];
  activate(null);
  expect(await page[CORE]).toMatchObject({ mountLive: "mountLive" });
  const first = page[CORE];
  activate(null);
  expect(page[CORE]).toBe(first);
});
