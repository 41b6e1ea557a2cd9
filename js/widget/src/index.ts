/**
 * The anywidget's `_esm`: a loader, saved with each instance, so it stays under 2 kB. The core comes once
 * a page, by a message from the kernel, and is cached for every widget and frame script of that page.
 */
import type { Channel, mountLive } from "@lmkit/core";

type Core = { mountLive: typeof mountLive };
type Heard = (content: unknown, buffers?: readonly ArrayBufferView[]) => void;

/** What anywidget gives to render(). */
export interface Model {
  get(name: string): unknown;
  send(content: unknown): void;
  on(event: string, callback: Heard): void;
  off(event: string, callback: Heard): void;
}

const CORE = Symbol.for("lmkit.core@1");
const page = globalThis as unknown as Record<symbol, Promise<Core> | undefined>;
const MESSAGE = "msg:custom";

/** In the page's language: the core, with its table, is not there yet. */
function words(english: string, chinese: string): string {
  return document.documentElement.lang.startsWith("zh") ? chinese : english;
}

/** Asks this widget's kernel for the core; rejects when the widget goes before the answer has come. */
function fetchCore(model: Model, gone: Promise<never>): Promise<Core> {
  let hear: Heard = () => {};
  const code = new Promise<string>((resolve) => {
    hear = (content) => {
      const message = content as { type?: string; code?: string };
      if (message.type === "lmkit-core") resolve(`${message.code}`);
    };
  });
  model.on(MESSAGE, hear);
  model.send({ type: "lmkit-core" });
  return Promise.race([code, gone])
    .then((text) => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      return import(url).finally(() => URL.revokeObjectURL(url)) as Promise<Core>;
    })
    .finally(() => model.off(MESSAGE, hear));
}

/** The page's one core. A fetch that failed is not kept: the next widget, or this one, asks again. */
async function loadCore(model: Model, gone: Promise<never>): Promise<Core> {
  const others = page[CORE];
  if (others) {
    const core = await Promise.race([others.catch(() => null), gone]);
    if (core) return core;
    if (page[CORE] !== others) return loadCore(model, gone);
  }
  const mine = fetchCore(model, gone);
  page[CORE] = mine;
  mine.catch(() => {
    if (page[CORE] === mine) delete page[CORE];
  });
  return mine;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const undo: (() => void)[] = [];
  const on = (event: string, callback: Heard): (() => void) => {
    model.on(event, callback);
    const off = () => model.off(event, callback);
    undo.push(off);
    return off;
  };
  const channel: Channel = {
    send: (message) => model.send(message),
    listen: (heard) => on(MESSAGE, (content, buffers) => heard(content, buffers ?? [])),
    onClose: (closed) => {
      // the one fires when the kernel goes, the other when the widget is closed from Python
      const offs = [on("comm_live_update", closed), on("destroy", closed)];
      return () => {
        for (const off of offs) off();
      };
    },
    close: () => {
      for (const off of undo.splice(0)) off();
    },
  };
  let unmount = () => {};
  let leave: (error: Error) => void = () => {};
  let left = false;
  const gone = new Promise<never>((_, reject) => {
    leave = reject;
  });
  gone.catch(() => {});
  // A view fits itself to its width, so it has none of its own to offer to an HBox. Of a Layout ipywidgets
  // clears what is not given, so "width" would not stay; where it is given, it comes later and wins.
  el.style.setProperty("inline-size", "100%");
  el.textContent = words("Loading lmkit…", "正在加载 lmkit…");
  loadCore(model, gone).then(
    (core) => {
      if (left) return;
      el.textContent = "";
      const where = { session: `${model.get("_session")}`, view: `${model.get("_view")}` };
      unmount = core.mountLive(el, where, channel);
    },
    (error) => {
      if (left) return;
      const said = words("lmkit's view could not be loaded: ", "无法加载 lmkit 视图：");
      el.textContent = said + (error?.message ?? error);
    },
  );
  return () => {
    left = true;
    leave(new Error("closed")); // which nobody is shown
    unmount();
    channel.close();
  };
}

export default { render };
