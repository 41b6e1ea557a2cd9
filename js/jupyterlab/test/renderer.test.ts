import type { ISessionContext } from "@jupyterlab/apputils";
import type { IRenderMime } from "@jupyterlab/rendermime";
import type { Kernel } from "@jupyterlab/services";
import type { Channel } from "@lmkit/core";
import { Signal } from "@lumino/signaling";
import { beforeEach, expect, test, vi } from "vitest";
import { frames, Sight } from "../../core/test/sight.ts";

const MIME = "application/vnd.lmkit.view.v1+json";
const { mountBundle, connect, unmount, probe, Refused } = vi.hoisted(() => {
  // Lumino's widgets name these classes while they load, and jsdom has neither
  Object.assign(globalThis, { DragEvent: globalThis.MouseEvent });
  const unmount = vi.fn();
  return {
    unmount,
    mountBundle: vi.fn(),
    connect: vi.fn(),
    probe: vi.fn(),
    Refused: class extends Error {},
  };
});
vi.mock("@lmkit/core", async (original) => ({ ...(await original<object>()), mountBundle }));
vi.mock("../src/link.ts", () => ({ connect, RefusedError: Refused }));
vi.mock("../src/probe.ts", () => ({ probe }));
const { ViewRenderer } = await import("../src/renderer.ts");

class FakeChannel implements Channel {
  readonly closers = new Set<() => void>();
  send() {}
  listen() {
    return () => {};
  }
  onClose(callback: () => void) {
    this.closers.add(callback);
    return () => {};
  }
  close() {}
  end() {
    for (const callback of this.closers) callback();
  }
}

function notebook(kernel: unknown = { id: "k1" }) {
  const fake = {
    ready: Promise.resolve(),
    session: kernel ? { kernel } : null,
    kernelChanged: new Signal<object, { newValue: unknown }>({}),
  };
  return { fake, session: fake as unknown as ISessionContext };
}

const bundle = (view: string | null, more = {}) =>
  ({
    data: { [MIME]: { spec: {}, live: view && { session: "s", view }, ...more } },
  }) as unknown as IRenderMime.IMimeModel;

let channel: FakeChannel;

beforeEach(() => {
  Sight.stub();
  channel = new FakeChannel();
  mountBundle.mockReset().mockReturnValue(unmount.mockReset());
  connect.mockReset().mockImplementation(async () => channel);
});

const settled = () => new Promise((resolve) => setTimeout(resolve));
const given = () =>
  mountBundle.mock.calls.at(-1) as Parameters<typeof import("@lmkit/core").mountBundle>;

test("a view is drawn when it comes into sight, not before, and once", async () => {
  const renderer = new ViewRenderer(MIME, notebook().session);
  await renderer.renderModel(bundle("v"));
  Sight.reach(false);
  expect(mountBundle).not.toHaveBeenCalled();
  await Sight.drawn();
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledOnce();
  expect(given()[0]).toBe(renderer.node);
  expect(await given()[2]).toBe(channel);
  expect(connect).toHaveBeenCalledWith({ id: "k1" } as unknown as Kernel.IKernelConnection, "v");
});

test("until it is drawn a view has the room that it will take", async () => {
  const renderer = new ViewRenderer(MIME, null);
  await renderer.renderModel(bundle(null, { spec: { attention: {} } }));
  expect(renderer.node.style.minHeight).toBe("var(--lmkit-max-height, 600px)");
  await Sight.drawn();
  expect(renderer.node.style.minHeight).toBe("");
  const { node } = renderer;
  vi.spyOn(node, "offsetHeight", "get").mockReturnValue(321);
  await renderer.renderModel(bundle(null));
  expect(node.style.minHeight).toBe("321px");
  for (const data of [bundle(null), bundle(null, { spec: null }), { data: { [MIME]: "x" } }]) {
    const other = new ViewRenderer(MIME, null);
    await other.renderModel(data as unknown as IRenderMime.IMimeModel);
    expect(other.node.style.minHeight).toBe("8rem");
  }
});

test("a view without a kernel to ask is drawn as it was saved", async () => {
  await new ViewRenderer(MIME, null).renderModel(bundle("v"));
  await Sight.drawn();
  expect(given()[2]).toBeNull();
  await new ViewRenderer(MIME, notebook().session).renderModel(bundle(null));
  await Sight.drawn();
  expect(given()[2]).toBeNull();
  expect(connect).not.toHaveBeenCalled();
});

test("a notebook without a kernel says so", async () => {
  await new ViewRenderer(MIME, notebook(null).session).renderModel(bundle("v"));
  await Sight.drawn();
  await expect(given()[2]).rejects.toThrow("This notebook has no kernel");
});

test("new data for a view that is live leaves it alone; after its end the newest data are drawn", async () => {
  const renderer = new ViewRenderer(MIME, notebook().session);
  await renderer.renderModel(bundle("v"));
  await Sight.drawn();
  await settled();
  await renderer.renderModel(bundle("v", { version: "2" }));
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledOnce();
  channel.end();
  await renderer.renderModel(bundle("v", { version: "3" }));
  await Sight.drawn();
  expect(unmount).toHaveBeenCalledOnce();
  expect(mountBundle).toHaveBeenCalledTimes(2);
  expect(given()[1]).toMatchObject({ version: "3" });
});

test("another view in the same output replaces the first", async () => {
  const renderer = new ViewRenderer(MIME, notebook().session);
  await renderer.renderModel(bundle("v"));
  await Sight.drawn();
  await settled();
  await renderer.renderModel(bundle("w"));
  await Sight.drawn();
  await settled();
  expect(unmount).toHaveBeenCalledOnce();
  expect(connect.mock.calls.map(([, view]) => view)).toEqual(["v", "w"]);
});

test("the end of an earlier view's connection says nothing about the present one", async () => {
  const renderer = new ViewRenderer(MIME, notebook().session);
  await renderer.renderModel(bundle("v"));
  await Sight.drawn();
  await settled();
  const first = channel;
  channel = new FakeChannel();
  await renderer.renderModel(bundle("w"));
  await Sight.drawn();
  await settled();
  first.end();
  await renderer.renderModel(bundle("w"));
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledTimes(2);
});

test("another kernel is asked again; the first that comes is not another", async () => {
  const { fake, session } = notebook();
  await new ViewRenderer(MIME, session).renderModel(bundle("v"));
  await frames(2);
  Sight.reach();
  fake.kernelChanged.emit({ newValue: { id: "k0" } }); // while the session is not ready yet
  await settled();
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledOnce();
  fake.kernelChanged.emit({ newValue: null });
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledOnce();
  fake.session = { kernel: { id: "k2" } };
  fake.kernelChanged.emit({ newValue: { id: "k2" } });
  await Sight.drawn();
  await settled();
  expect(connect).toHaveBeenLastCalledWith({ id: "k2" }, "v");
});

test("what is disposed is taken down and hears nothing more", async () => {
  const { fake, session } = notebook();
  const renderer = new ViewRenderer(MIME, session);
  await renderer.renderModel(bundle("v"));
  await Sight.drawn();
  await settled();
  renderer.dispose();
  renderer.dispose();
  expect(unmount).toHaveBeenCalledOnce();
  fake.kernelChanged.emit({ newValue: { id: "k2" } });
  await Sight.drawn();
  expect(mountBundle).toHaveBeenCalledOnce();
});

test("plain keys and Enter belong to the view, Ctrl and Command to JupyterLab", async () => {
  const renderer = new ViewRenderer(MIME, null);
  const inside = document.createElement("button");
  renderer.node.append(inside);
  const outside = document.createElement("button");
  document.body.append(renderer.node, outside);
  const marked = (element: Element, init: KeyboardEventInit) => {
    // as Lumino sees it: while the event passes the document
    let mark = false;
    const look = () => {
      mark = element.hasAttribute("data-lm-suppress-shortcuts");
    };
    document.addEventListener("keydown", look, { capture: true, once: true });
    element.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...init }));
    return mark;
  };
  expect(marked(inside, { key: "d" })).toBe(true);
  expect(marked(inside, { key: "s", ctrlKey: true })).toBe(false);
  expect(marked(inside, { key: "s", metaKey: true })).toBe(false);
  expect(marked(inside, { key: "Enter", ctrlKey: true })).toBe(true);
  expect(marked(outside, { key: "d" })).toBe(false);
});

test("a kernel without lmkit is named as the side that lacks it", async () => {
  const { session } = notebook();
  for (const [found, words] of [
    [
      { state: "missing", python: "/envs/other" },
      /not in this kernel's environment \(\/envs\/other\)/,
    ],
    [{ state: "installed", version: "0.1.0" }, /^not loaded$/],
    [{ state: "not-python" }, /does not run Python/],
  ] as const) {
    connect.mockRejectedValueOnce(new Refused("not loaded"));
    probe.mockResolvedValueOnce(found);
    const renderer = new ViewRenderer(MIME, session);
    await renderer.renderModel(bundle("v"));
    await Sight.drawn();
    await expect(mountBundle.mock.lastCall?.[2]).rejects.toThrow(words);
    renderer.dispose();
  }
});
