// @vitest-environment node
import type { PanelSpec, Request, SavedTile, Selection } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, makeTile, saveTile, VIEWS } from "../dev/samples.ts";
import { KernelError, KernelSource, type SourceEvent, type SourceOptions } from "../src/source.ts";

const where = { session: "session-1", view: "view-1" };
const spec = (VIEWS["short"] as () => PanelSpec)();

/** A kernel that answers only when told to. */
class HeldKernel extends FakeKernel {
  readonly held: Request[] = [];
  override send(message: Request): void {
    this.sent.push(message);
    if (message.type === "hello") this.answer(message);
    else this.held.push(message);
  }
  release(): void {
    for (const message of this.held.splice(0)) this.answer(message);
  }
  tiles(): string[] {
    return this.sent.flatMap((message) => (message.type === "tile" ? [message.key] : []));
  }
  cancels(): string[] {
    return this.sent.flatMap((message) => (message.type === "cancel" ? [message.target] : []));
  }
}

async function live(options: SourceOptions = {}, kernel = new HeldKernel(spec)) {
  const source = new KernelSource({ where, channel: kernel, spec, ...options });
  const events: SourceEvent[] = [];
  source.subscribe((event) => events.push(event));
  await vi.waitFor(() => expect(source.state).toBe("live"));
  return { source, kernel, events };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof KernelError ? error.info.code : String(error)),
  );
}

afterEach(() => {
  vi.useRealTimers();
});

describe("the connection", () => {
  test("says hello with session, view and protocol, and goes live with the kernel's spec", async () => {
    const { kernel, events } = await live();
    expect(kernel.sent[0]).toMatchObject({
      type: "hello",
      session: "session-1",
      view: "view-1",
      protocol: 1,
    });
    expect(events).toMatchObject([
      { type: "state", state: "live" },
      { type: "changed", welcome: true },
    ]);
  });

  test("a page that shows what the kernel has is not sent it again", async () => {
    const kernel = new FakeKernel(spec);
    kernel.answer = (message) => {
      if (message.type !== "hello") return;
      const { id, view, session } = message;
      kernel.say({ type: "welcome", id, view, session, version: "0.1.0", spec: null });
    };
    const source = new KernelSource({ where: { ...where, state: "a1" }, channel: kernel, spec });
    const events: SourceEvent[] = [];
    source.subscribe((event) => events.push(event));
    await vi.waitFor(() => expect(source.state).toBe("live"));
    expect(kernel.sent[0]).toMatchObject({ type: "hello", state: "a1" });
    expect(events).toEqual([{ type: "state", state: "live" }]);
  });

  test("what the kernel says of an older choice does not undo a newer one", async () => {
    const { source, kernel, events } = await live();
    const attention = spec.attention?.selection as Selection;
    const told = () => events.filter((event) => event.type === "selected");
    source.select({ ...attention, layer: 1 });
    const selected = { type: "selected", view: "view-1", selection: { ...attention, layer: 2 } };
    kernel.say(selected);
    expect(told()).toEqual([]);
    await vi.waitFor(() => expect(kernel.sent.at(-1)?.type).toBe("select"));
    kernel.say(selected);
    expect(told()).toEqual([]);
    kernel.release();
    await new Promise((resolve) => setTimeout(resolve, 0));
    kernel.say(selected);
    expect(told()).toHaveLength(1);
  });

  test("what the kernel says of an older value does not undo a newer one", async () => {
    const { source, kernel, events } = await live();
    const told = () => {
      const last = events.filter((event) => event.type === "changed").at(-1);
      return last?.spec.kind === "panel" ? last.spec.values : {};
    };
    const says = (text: string) =>
      kernel.say({
        type: "changed",
        view: "view-1",
        spec: { ...spec, values: { text, other: 1 } },
      });
    source.edit({ text: "newer" });
    says("older");
    expect(told()).toEqual({ text: "newer", other: 1 });
    await vi.waitFor(() => expect(kernel.sent.at(-1)?.type).toBe("edit"));
    says("older");
    expect(told()).toEqual({ text: "newer", other: 1 });
    kernel.release();
    await new Promise((resolve) => setTimeout(resolve, 0));
    says("of another page");
    expect(told()).toEqual({ text: "of another page", other: 1 });
  });

  test("what was selected before the kernel came is told then", async () => {
    const kernel = new FakeKernel(spec);
    let open = (_: FakeKernel): void => undefined;
    const channel = new Promise<FakeKernel>((resolve) => {
      open = resolve;
    });
    kernel.answer = (message) => {
      if (message.type !== "hello") return;
      const { id, view, session } = message;
      kernel.say({ type: "welcome", id, view, session, version: "0.1.0", spec: null });
    };
    const source = new KernelSource({ where: { ...where, state: "a1" }, channel, spec });
    const selection = { ...(spec.attention?.selection as Selection), layer: 1 };
    source.select(selection);
    await new Promise((resolve) => setTimeout(resolve, 150));
    open(kernel);
    await vi.waitFor(() => expect(kernel.sent.at(-1)).toMatchObject({ type: "select", selection }));
  });

  test.each(["unknown-session", "unknown-view"])("an error %s means a saved view", async (code) => {
    const kernel = new FakeKernel(spec);
    kernel.answer = (message) =>
      kernel.say({
        type: "error",
        id: message.id,
        view: message.view,
        error: { code, message: "gone" },
      });
    const source = new KernelSource({ where, channel: kernel, spec });
    await vi.waitFor(() => expect(source.state).toBe("unknown-session"));
    expect(await codeOf(source.tile("head/0/0"))).toBe("not-carried");
  });

  test("another error of hello is told", async () => {
    const kernel = new FakeKernel(spec);
    kernel.answer = (message) =>
      kernel.say({
        type: "error",
        id: message.id,
        view: message.view,
        error: { code: "protocol", message: "Versions differ." },
      });
    const source = new KernelSource({ where, channel: kernel, spec });
    const events: SourceEvent[] = [];
    source.subscribe((event) => events.push(event));
    await vi.waitFor(() => expect(source.state).toBe("lost"));
    expect(events).toContainEqual(
      expect.objectContaining({
        type: "failed",
        error: expect.objectContaining({ message: "Versions differ." }),
      }),
    );
  });

  test("a channel that never opens leaves the saved view", async () => {
    const source = new KernelSource({ where, channel: Promise.reject(new Error("no comm")), spec });
    await vi.waitFor(() => expect(source.state).toBe("saved"));
    expect(source.reason).toBe("no comm");
  });

  test("a kernel that dies rejects what was asked and makes the view saved", async () => {
    const { source, kernel } = await live();
    const asked = codeOf(source.tile("head/0/0"));
    await vi.waitFor(() => expect(kernel.tiles()).toEqual(["head/0/0"]));
    kernel.die();
    expect(await asked).toBe("lost");
    expect(source.state).toBe("lost");
    expect(source.reaches("head/0/1")).toBe(false);
  });

  test("messages of another view, and answers to nothing, change nothing", async () => {
    const { source, kernel, events } = await live();
    const before = events.length;
    kernel.say({ type: "changed", view: "view-2", spec });
    kernel.say({ type: "status", view: "view-2", status: { state: "running" } });
    kernel.say({ view: "view-2", nonsense: true });
    kernel.say({ type: "done", id: "nobody", view: "view-1" });
    const asked = source.tile("head/0/0");
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    const { id } = kernel.held[0] as Request;
    kernel.say({ type: "error", id, view: "view-2", error: { code: "x", message: "not yours" } });
    kernel.release();
    expect((await asked).key).toBe("head/0/0");
    expect(events).toHaveLength(before);
  });

  test("what is no message of the protocol is told, not thrown", async () => {
    const { kernel, events } = await live();
    kernel.say({ type: "changed", view: "view-1", spec: { kind: "panel" } });
    expect(events.at(-1)).toMatchObject({ type: "failed" });
  });

  test("close lets go of the channel and rejects what waits", async () => {
    const { source, kernel } = await live();
    const closed = vi.spyOn(kernel, "close");
    const asked = codeOf(source.tile("head/0/0"));
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    source.close();
    expect(await asked).toBe("closed");
    expect(closed).toHaveBeenCalledOnce();
  });

  test("a channel that opens after the close is closed", async () => {
    const kernel = new FakeKernel(spec);
    const closed = vi.spyOn(kernel, "close");
    let open: (channel: FakeKernel) => void = () => {};
    const source = new KernelSource({
      where,
      channel: new Promise((resolve) => {
        open = resolve;
      }),
      spec,
    });
    source.close();
    open(kernel);
    await vi.waitFor(() => expect(closed).toHaveBeenCalledOnce());
    expect(kernel.sent).toEqual([]);
  });
});

describe("tiles", () => {
  test("two askers share one request, and the cache answers the third", async () => {
    const { source, kernel } = await live();
    const both = Promise.all([source.tile("head/1/2"), source.tile("head/1/2")]);
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    kernel.release();
    const [a, b] = await both;
    expect(a).toBe(b);
    expect(await source.tile("head/1/2")).toBe(a);
    expect(kernel.tiles()).toEqual(["head/1/2"]);
  });

  test("the tile goes on while one asker is left; the last to leave cancels it", async () => {
    const { source, kernel } = await live();
    const [one, two] = [new AbortController(), new AbortController()];
    const first = codeOf(source.tile("head/1/2", one.signal));
    const second = codeOf(source.tile("head/1/2", two.signal));
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    one.abort(new Error("left"));
    expect(await first).toContain("left");
    expect(kernel.cancels()).toEqual([]);
    two.abort(new Error("left too"));
    expect(await second).toContain("left too");
    await vi.waitFor(() => expect(kernel.cancels()).toEqual([kernel.held[0]?.id]));
    kernel.held.length = 0;
    const again = source.tile("head/1/2");
    await vi.waitFor(() => expect(kernel.tiles()).toEqual(["head/1/2", "head/1/2"]));
    kernel.release();
    expect((await again).shape).toEqual([12, 12]);
  });

  test("an answer of another key, or without its buffer, is refused", async () => {
    const { source, kernel } = await live();
    const asked = source.tile("head/0/0");
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    const { id } = kernel.held[0] as Request;
    const header = { key: "head/0/1", shape: [1], encoding: "f32" };
    kernel.say({ type: "tile", id, view: "view-1", tile: header }, [new Uint8Array(4)]);
    await expect(asked).rejects.toThrow("something else");
  });

  test("a lying shape is refused", async () => {
    const { source, kernel } = await live();
    const asked = source.tile("head/0/0");
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    const { id } = kernel.held[0] as Request;
    const header = { key: "head/0/0", shape: [9, 9], encoding: "f32" };
    kernel.say({ type: "tile", id, view: "view-1", tile: header }, [new Uint8Array(4)]);
    await expect(asked).rejects.toThrow("bytes");
  });

  test("saved tiles come without a kernel; others say that they were not carried", async () => {
    const tiles = [await saveTile(spec.attention as never, "head/3/7")];
    const source = new KernelSource({ where, tiles, saved: { heads: 72, carried: 1 }, spec });
    expect((await source.tile("head/3/7")).at(0, 0)).toBeGreaterThan(0);
    expect(source.reaches("head/3/7")).toBe(true);
    expect(source.reaches("head/0/0")).toBe(false);
    expect(await codeOf(source.tile("head/0/0"))).toBe("not-carried");
  });

  test("saved tiles survive a welcome of the same computation, and not another one", async () => {
    const tiles = [await saveTile(spec.attention as never, "head/3/7")];
    const { source, kernel } = await live({ tiles });
    await source.tile("head/3/7");
    expect(kernel.tiles()).toEqual([]);
    const other = { ...spec, header: { ...spec.header, model: "another" } };
    kernel.say({ type: "changed", view: "view-1", spec: other });
    const asked = source.tile("head/3/7");
    await vi.waitFor(() => expect(kernel.tiles()).toEqual(["head/3/7"]));
    kernel.release();
    await asked;
  });

  test("a damaged saved tile is asked of the kernel, where there is one", async () => {
    const good = await saveTile(spec.attention as never, "head/3/7");
    const tiles: SavedTile[] = [{ ...good, data: "AAAA" }];
    const alone = new KernelSource({ where, tiles, spec });
    await expect(alone.tile("head/3/7")).rejects.toThrow();
    const { source, kernel } = await live({ tiles });
    const asked = source.tile("head/3/7");
    await vi.waitFor(() => expect(kernel.tiles()).toEqual(["head/3/7"]));
    kernel.release();
    expect((await asked).shape).toEqual([12, 12]);
  });

  test("a changed view stops the tiles of the old one", async () => {
    const { source, kernel } = await live();
    const asked = codeOf(source.tile("head/0/0"));
    await vi.waitFor(() => expect(kernel.held).toHaveLength(1));
    kernel.say({
      type: "changed",
      view: "view-1",
      spec: { ...spec, header: { ...spec.header, model: "x" } },
    });
    expect(await asked).toContain("AbortError");
    expect(kernel.cancels()).toEqual([kernel.held[0]?.id]);
  });

  test("thumbnails wait for each other and never before a head", async () => {
    const { source, kernel } = await live();
    const thumbs = [0, 1, 2, 3].map((layer) => source.tile(`thumb/${layer}`, undefined, true));
    await vi.waitFor(() => expect(kernel.tiles()).toEqual(["thumb/0", "thumb/1"]));
    const head = source.tile("head/2/2");
    await vi.waitFor(() => expect(kernel.tiles()).toContain("head/2/2"));
    expect(kernel.tiles()).not.toContain("thumb/2");
    kernel.release();
    await vi.waitFor(() => expect(kernel.tiles()).toContain("thumb/3"));
    kernel.release();
    await Promise.all([...thumbs, head]);
  });

  test("every tile goes to its asker, in whatever order the answers come", async () => {
    const keys = ["head/0/0", "head/0/1", "rows/0/0/0-4", "sum/1/1/1,2", "from/1/1/3", "thumb/2"];
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(keys, { minLength: keys.length }), async (order) => {
        const { source, kernel } = await live();
        const asked = keys.map((key) => source.tile(key));
        await vi.waitFor(() => expect(kernel.held).toHaveLength(keys.length));
        kernel.held.sort(
          (a, b) =>
            order.indexOf((a as { key: string }).key) - order.indexOf((b as { key: string }).key),
        );
        kernel.release();
        for (const [index, tile] of (await Promise.all(asked)).entries()) {
          const key = keys[index] as string;
          expect(tile.key).toBe(key);
          expect(tile.shape).toEqual(makeTile(spec.attention as never, key).shape);
        }
        source.close();
      }),
      { numRuns: 20 },
    );
  });
});

describe("requests", () => {
  test("run carries the values and its refusal becomes an error status", async () => {
    const { source, kernel, events } = await live();
    const id = source.run({ text: "x" });
    expect(kernel.held).toMatchObject([{ type: "run", id, values: { text: "x" } }]);
    kernel.say({ type: "error", id, view: "view-1", error: { code: "busy", message: "Busy." } });
    await vi.waitFor(() =>
      expect(events.at(-1)).toMatchObject({
        type: "status",
        status: { state: "error", error: { code: "busy" } },
      }),
    );
  });

  test("edits are told once, after the typing has stopped, and not after a run", async () => {
    const { source, kernel } = await live();
    vi.useFakeTimers();
    source.edit({ text: "a" });
    vi.advanceTimersByTime(100);
    source.edit({ text: "ab" });
    vi.advanceTimersByTime(149);
    expect(kernel.held).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(kernel.held).toMatchObject([{ type: "edit", values: { text: "ab" } }]);
    source.edit({ text: "abc" });
    source.run({ text: "abc" });
    vi.advanceTimersByTime(1000);
    expect(kernel.held.map((message) => message.type)).toEqual(["edit", "run"]);
  });

  test("selections are told once, the last one", async () => {
    const { source, kernel } = await live();
    vi.useFakeTimers();
    source.select({ layer: 0, head: 1, tokens: [], lens: "", picture: "" });
    source.select({ layer: 0, head: 2, tokens: [3], lens: "", picture: "" });
    vi.advanceTimersByTime(1000);
    expect(kernel.held).toMatchObject([
      { type: "select", selection: { layer: 0, head: 2, tokens: [3], lens: "", picture: "" } },
    ]);
  });

  test("cancel names the run and is answered", async () => {
    const { source, kernel } = await live();
    const stopped = source.cancel("run-1");
    expect(kernel.held).toMatchObject([{ type: "cancel", target: "run-1" }]);
    kernel.release();
    await expect(stopped).resolves.toBeUndefined();
  });
});
