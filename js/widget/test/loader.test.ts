import { afterEach, beforeEach, expect, test, vi } from "vitest";
import loader, { type Model } from "../src/index.ts";

const CORE = Symbol.for("lmkit.core@1");
const page = globalThis as Record<symbol, unknown>;

/** Stands for the core: writes down what it was mounted with. */
const FAKE_CORE = `export function mountLive(el, where, channel) {
  const note = { el, where, channel, unmounted: false };
  (globalThis.mounted ??= []).push(note);
  el.textContent = "mounted " + where.view;
  return () => { note.unmounted = true; };
}`;

interface Mounted {
  el: HTMLElement;
  where: { session: string; view: string };
  channel: Parameters<typeof import("@lmkit/core").mountLive>[2];
  unmounted: boolean;
}
const mounted = () => (globalThis as { mounted?: Mounted[] }).mounted ?? [];

type Heard = Parameters<Model["on"]>[1];

class FakeModel implements Model {
  readonly sent: unknown[] = [];
  readonly heard = new Map<string, Set<Heard>>();
  constructor(readonly traits: Record<string, unknown>) {}
  get(name: string): unknown {
    return this.traits[name];
  }
  send(content: unknown): void {
    this.sent.push(content);
  }
  on(event: string, callback: Heard): void {
    this.heard.set(event, (this.heard.get(event) ?? new Set()).add(callback));
  }
  off(event: string, callback: Heard): void {
    this.heard.get(event)?.delete(callback);
  }
  emit(event: string, content?: unknown, buffers?: readonly ArrayBufferView[]): void {
    for (const callback of [...(this.heard.get(event) ?? [])]) callback(content, buffers);
  }
  answer(code = FAKE_CORE): void {
    this.emit("msg:custom", { type: "lmkit-core", code });
  }
  get listening(): number {
    return [...this.heard.values()].reduce((sum, callbacks) => sum + callbacks.size, 0);
  }
}

function show(view: string) {
  const model = new FakeModel({ _session: "s", _view: view });
  const el = document.createElement("div");
  return { model, el, undo: loader.render({ model, el }) };
}

/** Lets promises and the import settle. */
const settled = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 5 });

beforeEach(() => {
  // Node imports data: addresses where a browser imports blob: ones
  vi.stubGlobal(
    "Blob",
    class {
      constructor(readonly parts: string[]) {}
    },
  );
  URL.createObjectURL = (blob) =>
    `data:text/javascript,${encodeURIComponent((blob as unknown as { parts: string[] }).parts.join(""))}`;
  URL.revokeObjectURL = () => {};
});

afterEach(() => {
  vi.unstubAllGlobals();
  delete page[CORE];
  delete (globalThis as { mounted?: unknown }).mounted;
});

test("two widgets at once share one fetch, and each mounts its own view", async () => {
  const [one, two] = [show("one"), show("two")];
  expect(one.model.sent).toEqual([{ type: "lmkit-core" }]);
  expect(two.model.sent).toEqual([]);
  one.model.answer();
  await settled(() => expect(mounted().length).toBe(2));
  expect(mounted().map(({ where }) => where)).toEqual([
    { session: "s", view: "one" },
    { session: "s", view: "two" },
  ]);
  expect(one.el.textContent).toBe("mounted one");
});

test("a core that the page has already is not asked for", async () => {
  const mountLive = vi.fn(() => () => {});
  page[CORE] = Promise.resolve({ mountLive });
  const { model } = show("one");
  await settled(() => expect(mountLive).toHaveBeenCalledOnce());
  expect(model.sent).toEqual([]);
});

test("a widget that goes before the answer leaves the fetch to the next", async () => {
  const [one, two] = [show("one"), show("two")];
  one.undo();
  await settled(() => expect(two.model.sent).toEqual([{ type: "lmkit-core" }]));
  two.model.answer();
  await settled(() => expect(mounted().map(({ where }) => where.view)).toEqual(["two"]));
  expect(one.model.listening).toBe(0);
});

test("a failure is drawn as text, and the next widget asks again", async () => {
  const one = show("one");
  one.model.answer('throw new Error("<img src=x onerror=alert(1)>")');
  await settled(() =>
    expect(one.el.textContent).toBe(
      "lmkit's view could not be loaded: <img src=x onerror=alert(1)>",
    ),
  );
  expect(one.el.children.length).toBe(0);
  const two = show("two");
  expect(two.model.sent).toEqual([{ type: "lmkit-core" }]);
  two.model.answer();
  await settled(() => expect(two.el.textContent).toBe("mounted two"));
});

test("what is said before the core is there is in the page's language", async () => {
  document.documentElement.lang = "zh-CN";
  const one = show("one");
  expect(one.el.textContent).toBe("正在加载 lmkit…");
  one.model.answer('throw new Error("no")');
  await settled(() => expect(one.el.textContent).toBe("无法加载 lmkit 视图：no"));
  document.documentElement.lang = "en";
});

test("the channel carries requests, answers with their buffers, and the end of the connection", async () => {
  const { model } = show("one");
  model.answer();
  await settled(() => expect(mounted().length).toBe(1));
  const { channel } = mounted()[0] as Mounted;
  channel.send({ type: "cancel", id: "1", view: "one", target: "0" });
  expect(model.sent.at(-1)).toEqual({ type: "cancel", id: "1", view: "one", target: "0" });

  const [heard, closed] = [vi.fn(), vi.fn()];
  const deaf = channel.listen(heard);
  channel.onClose(closed);
  const tile = new DataView(new ArrayBuffer(4));
  model.emit("msg:custom", { type: "tile" }, [tile]);
  expect(heard).toHaveBeenLastCalledWith({ type: "tile" }, [tile]);
  model.emit("msg:custom", { type: "done" });
  expect(heard).toHaveBeenLastCalledWith({ type: "done" }, []);
  deaf();
  model.emit("msg:custom", { type: "done" });
  expect(heard).toHaveBeenCalledTimes(2);
  model.emit("comm_live_update");
  expect(closed).toHaveBeenCalledOnce();
});

test("a view takes the width there is, also where ipywidgets has cleared its layout", () => {
  const { el } = show("one");
  el.style.removeProperty("width");
  expect(el.getAttribute("style")).toContain("inline-size: 100%");
});

test("undo unmounts and hears nothing more", async () => {
  const { model, undo } = show("one");
  model.answer();
  await settled(() => expect(mounted().length).toBe(1));
  mounted()[0]?.channel.listen(() => {});
  mounted()[0]?.channel.onClose(() => {});
  undo();
  expect(mounted()[0]?.unmounted).toBe(true);
  expect(model.listening).toBe(0);
});
