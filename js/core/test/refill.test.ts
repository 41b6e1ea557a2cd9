import { deflateRawSync } from "node:zlib";
import type { Bundle, PanelSpec, RefillRequest, SavedTile } from "@lmkit/protocol";
import { afterEach, describe, expect, test, vi } from "vitest";
import { makeTile, VIEWS } from "../dev/samples.ts";
import { mountBundle } from "../src/mount.ts";
import type { Rest } from "../src/refill.ts";
import { KernelError, KernelSource, type SourceEvent } from "../src/source.ts";
import { Mounted } from "./mounted.ts";

const where = { session: "session-1", view: "view-1", state: "digest" };
const spec = (VIEWS["short"] as () => PanelSpec)();
const attention = spec.attention as NonNullable<PanelSpec["attention"]>;

/** As saveTile() of the samples, which takes a stream that jsdom has not. */
function saveTile(from: typeof attention, key: string): SavedTile {
  const { bytes, shape, encoding } = makeTile(from, key);
  return { key, shape, encoding, data: deflateRawSync(bytes).toString("base64") };
}

/** A kernel that answers one question at a time, as an editor's extension carries it. */
class FakeRest implements Rest {
  readonly asked: RefillRequest[] = [];
  note = "";
  tell: (note: string) => void = () => {};
  undone = 0;
  /** What a test answers instead. */
  instead: ((request: RefillRequest) => unknown) | null = null;

  offer(tell: (note: string) => void): () => void {
    this.tell = tell;
    tell(this.note);
    return () => {
      this.undone += 1;
    };
  }

  async ask(request: RefillRequest): Promise<unknown> {
    this.asked.push(request);
    const other = this.instead?.(request);
    if (other !== undefined) return other;
    const tiles = request.keys.map((key) => saveTile(attention, key));
    return answered({ tiles });
  }

  get keys(): string[] {
    return this.asked.flatMap(({ keys }) => keys);
  }
}

const answered = (more: object) => ({ version: "0.1.0", state: "digest", ...more });
const failed = (code: string) =>
  answered({ error: { code, message: "Not here.", hint: "", details: "" } });

function source(rest: FakeRest, tiles: SavedTile[] = []) {
  const made = new KernelSource({ where, spec, rest, tiles, saved: { heads: 12, carried: 1 } });
  const events: SourceEvent[] = [];
  made.subscribe((event) => events.push(event));
  return { made, events };
}

async function refilled(rest: FakeRest) {
  const { made, events } = source(rest);
  made.askForRest();
  await vi.waitFor(() => expect(made.state).toBe("refill"));
  return { made, events };
}

afterEach(() => Mounted.undoAll());

describe("a source with the rest", () => {
  test("asks nothing before the user does", async () => {
    const rest = new FakeRest();
    const { made } = source(rest);
    expect(made.rest).toBe("offered");
    expect(made.reaches("head/0/1")).toBe(false);
    await expect(made.tile("head/0/1")).rejects.toMatchObject({ info: { code: "not-carried" } });
    expect(rest.asked).toEqual([]);
  });

  test("offers nothing without a kernel's name, and says how where it cannot be asked", () => {
    const rest = new FakeRest();
    expect(new KernelSource({ spec, rest }).rest).toBe("none");
    rest.note = "Install the Jupyter extension.";
    const { made, events } = source(rest);
    expect([made.rest, made.reason]).toEqual(["none", "Install the Jupyter extension."]);
    rest.tell("");
    expect([made.rest, made.reason]).toEqual(["offered", ""]);
    expect(events.at(-1)).toEqual({ type: "state", state: "saved" });
    made.close();
    expect(rest.undone).toBe(1);
  });

  test("gives tiles of the kernel once it has been asked, those of one moment in one question", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    expect(rest.asked).toEqual([{ ...where, keys: [] }]);
    expect(made.reaches("head/0/1")).toBe(true);
    const [head, thumb] = await Promise.all([made.tile("head/0/1"), made.tile("thumb/0")]);
    expect([head.shape, thumb.shape.length]).toEqual([
      [attention.tokens.text.length, head.shape[1]],
      3,
    ]);
    expect(rest.asked[1]?.keys).toEqual(["head/0/1", "thumb/0"]);
    await made.tile("head/0/1");
    expect(rest.asked.length).toBe(2);
  });

  test("asks for what was clicked before what fills in, and never for much of it at once", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    const filling = Array.from({ length: 11 }, (_, head) =>
      made.tile(`head/1/${head}`, undefined, true),
    );
    await Promise.all([...filling, made.tile("head/0/2")]);
    expect(rest.asked.map(({ keys }) => keys.length)).toEqual([0, 1, 8, 3]);
    expect(rest.asked[1]?.keys).toEqual(["head/0/2"]);
  });

  test("does not ask for what nobody waits for any more", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    const abort = new AbortController();
    const tile = made.tile("head/0/1", abort.signal);
    abort.abort(new DOMException("gone", "AbortError"));
    await expect(tile).rejects.toThrow("gone");
    await made.tile("head/0/2");
    expect(rest.keys).toEqual(["head/0/2"]);
  });

  test("asks again for what did not fit, and ends where an answer brings nothing", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    const first = saveTile(attention, "head/0/1");
    rest.instead = ({ keys }) => (keys.length > 1 ? answered({ tiles: [first] }) : undefined);
    await Promise.all([made.tile("head/0/1"), made.tile("head/0/2")]);
    expect(rest.asked.slice(1).map(({ keys }) => keys)).toEqual([
      ["head/0/1", "head/0/2"],
      ["head/0/2"],
    ]);
    rest.instead = () => answered({});
    await expect(made.tile("head/0/3")).rejects.toThrow("none of the tiles");
    expect(made.state).toBe("refill");
  });

  test("a refused tile is an error of its own", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    const error = { code: "protocol", message: "Too large.", hint: "", details: "" };
    rest.instead = () => answered({ refused: [{ key: "head/0/1", error }] });
    await expect(made.tile("head/0/1")).rejects.toMatchObject({ info: { message: "Too large." } });
    expect(made.state).toBe("refill");
  });

  test("another selection in the kernel is the same pass; another run is not", async () => {
    const rest = new FakeRest();
    const { made, events } = await refilled(rest);
    const selection = { ...attention.selection, head: 3 };
    const other = { ...spec, attention: { ...attention, selection } };
    rest.instead = ({ state }) =>
      state === "later" ? undefined : answered({ state: "later", spec: other });
    await made.tile("head/0/1");
    expect(rest.asked.map(({ state }) => state)).toEqual(["digest", "digest", "later"]);

    const moved = { ...spec, header: { ...spec.header, model: "another" } };
    rest.instead = () => answered({ state: "another", spec: moved });
    const last = made.tile("head/0/2");
    await expect(last).rejects.toMatchObject({ info: { code: "not-carried" } });
    expect(events.at(-1)).toMatchObject({ type: "failed", error: { code: "moved" } });
    expect([made.state, made.rest]).toEqual(["unknown-session", "none"]);
    expect(made.reaches("head/0/2")).toBe(false);
    expect(made.reaches("head/0/1")).toBe(true);
  });

  test.each(["unknown-session", "unknown-view"])(
    "%s: there is nothing to ask for",
    async (code) => {
      const rest = new FakeRest();
      rest.instead = () => failed(code);
      const { made, events } = source(rest);
      made.askForRest();
      await vi.waitFor(() =>
        expect(events.at(-1)).toMatchObject({ type: "failed", error: { code } }),
      );
      expect([made.state, made.rest]).toEqual(["unknown-session", "none"]);
    },
  );

  test.each(["not-loaded", "ended"])(
    "%s, says the shell: the kernel was restarted, and there is nothing more to ask for",
    async (code) => {
      const rest = new FakeRest();
      const { made, events } = source(rest);
      made.askForRest();
      await vi.waitFor(() => expect(made.state).toBe("refill"));
      rest.instead = () => {
        throw new KernelError({ code, message: "Gone.", hint: "", details: "" });
      };
      await expect(made.tile("head/0/1")).rejects.toMatchObject({ info: { code: "not-carried" } });
      expect(events.at(-1)).toMatchObject({ type: "failed", error: { code } });
      expect([made.state, made.rest]).toEqual(["unknown-session", "none"]);
    },
  );

  test("who says no can be asked again", async () => {
    const rest = new FakeRest();
    rest.instead = () => {
      const [code, message] = ["declined", "The kernel was not asked."];
      throw new KernelError({ code, message, hint: "", details: "" });
    };
    const { made, events } = source(rest);
    made.askForRest();
    expect(made.rest).toBe("asking");
    made.askForRest();
    await vi.waitFor(() => expect(made.rest).toBe("offered"));
    expect(events.at(-1)).toMatchObject({ type: "failed", error: { code: "declined" } });
    expect(rest.asked.length).toBe(1);
  });

  test.each([
    ["no answer", null],
    ["another shape", { version: 1 }],
    ["a key of somebody else", answered({ tiles: [{ key: "x".repeat(5_000) }] })],
    ["too many", answered({ tiles: Array(33).fill({}) })],
  ])("what cannot be read is an error: %s", async (_, found) => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    rest.instead = () => found;
    await expect(made.tile("head/0/1")).rejects.toThrow(
      "The kernel sent what this view cannot read",
    );
  });

  test("a tile that lies about its size is an error, and those beside it are drawn", async () => {
    const rest = new FakeRest();
    const { made } = await refilled(rest);
    rest.instead = ({ keys }) => {
      const [one, two] = keys.map((key) => saveTile(attention, key));
      return answered({ tiles: [{ ...one, shape: [9_999, 9_999] }, two] });
    };
    const [one, two] = await Promise.allSettled([made.tile("head/0/1"), made.tile("head/0/2")]);
    expect([one.status, two.status]).toEqual(["rejected", "fulfilled"]);
  });
});

describe("a saved output with the rest", () => {
  function shown(rest: FakeRest): Mounted {
    const { layer, head } = attention.selection;
    const tiles = [saveTile(attention, `head/${layer}/${head}`)];
    const bundle: Partial<Bundle> = { protocol: 1, version: "0.1.0", spec, tiles, live: where };
    const saved = { ...bundle, heads: 12, headsCarried: 1, record: null, answers: [] };
    return new Mounted((element) => mountBundle(element, saved, null, { rest }));
  }

  test("shows a button, asks, and draws the head that was not saved", async () => {
    const rest = new FakeRest();
    const view = shown(rest);
    expect(view.text("rest")).toBe("Get the rest from the kernel");
    const other = view.all("cell").find((cell) => cell.getAttribute("data-head") === "1");
    other?.click();
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("missing"));
    // beside the note on the whole output, and where the picture is missing
    expect(view.all("rest").length).toBe(2);
    view.all("rest")[1]?.click();
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    expect(view.text("badge")).toBe("saved + kernel");
    expect(view.text("saved-note")).toContain("its kernel gives what it lacks");
    expect(view.all("rest").filter((button) => !button.hidden)).toEqual([]);
    await vi.waitFor(() => expect(rest.keys).toContain("thumb/0"));
  });

  test("says why not, in text, and can be pressed again", async () => {
    const rest = new FakeRest();
    const words = "<b>Run any cell</b>";
    rest.instead = () => {
      throw new KernelError({ code: "no-kernel", message: words, hint: "", details: "" });
    };
    const view = shown(rest);
    view.one("rest").click();
    await vi.waitFor(() => expect(view.root.textContent).toContain(words));
    expect(view.text("rest")).toBe("Get the rest from the kernel");
  });

  test("says how the rest is had where it cannot be asked for", async () => {
    const rest = new FakeRest();
    rest.note = "This workspace is not trusted.";
    const view = shown(rest);
    expect(view.one("rest").hidden).toBe(true);
    expect(view.text("saved-note")).toContain("This workspace is not trusted.");
  });
});
