import { Blob } from "node:buffer";
import type { AttentionSpec, HomeSpec, PanelSpec, Request, ViewSpec } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, HOSTILE, saveTile, VIEWS } from "../dev/samples.ts";
import { mountBundle, mountLive } from "../src/index.ts";
import { readNumber } from "../src/panel/form.ts";
import { Mounted } from "./mounted.ts";

const live = { session: "session-1", view: "view-1" };
const options = { theme: "light", locale: "en" } as const;

beforeEach(() => {
  // jsdom's cannot be read as a stream, which is how saved tiles are unpacked.
  vi.stubGlobal("Blob", Blob);
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});

afterEach(() => {
  Mounted.undoAll();
  document.body.replaceChildren();
});

function sample(name: string): PanelSpec {
  return (VIEWS[name] as () => PanelSpec)();
}

function bundle(spec: ViewSpec, more: object = {}): unknown {
  return JSON.parse(
    JSON.stringify({ version: "0.1.0", spec, live, heads: 72, headsCarried: 0, ...more }),
  );
}

async function liveView(spec: ViewSpec, kernel = new FakeKernel(spec, 0)) {
  const view = new Mounted((element) => mountBundle(element, bundle(spec), kernel, options));
  await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
  return { view, kernel };
}

const sentOf = (kernel: FakeKernel, type: Request["type"]) =>
  kernel.sent.filter((message) => message.type === type);

describe("a saved output", () => {
  test("is drawn with its results, and says how to go live", () => {
    const view = new Mounted((element) =>
      mountBundle(element, bundle(sample("short")), null, options),
    );
    expect(view.text("saved-note")).toBe(
      "Saved view: run the cell to go live. It carries no head.",
    );
    expect(view.text("badge")).toBe("saved");
    expect(view.all("label-row").map((row) => row.getAttribute("aria-label"))).toEqual([
      "positive 0.930",
      "negative 0.0698",
    ]);
    expect(view.text("shape")).toBe("6 layers × 12 heads");
    expect(view.text("path")).toBe("sdpa, exact to 3e-7");
    expect(view.one<HTMLButtonElement>("run").disabled).toBe(true);
    expect(view.text("head-missing")).toContain("not saved with the notebook");
  });

  test("that cannot be read is an error in words, not a blank", () => {
    for (const data of [null, 7, { protocol: 9 }, { version: "1", spec: { kind: "nothing" } }]) {
      const view = new Mounted((element) => mountBundle(element, data, null, options));
      expect(view.text("error")).toMatch(/saved|protocol/);
      view.undo();
    }
  });

  test("of a session that the kernel does not know stays, and says so", async () => {
    const kernel = new FakeKernel(sample("short"), 0);
    kernel.answer = ({ id, view }) =>
      kernel.say({ type: "error", id, view, error: { code: "unknown-session", message: "?" } });
    const view = new Mounted((element) =>
      mountBundle(element, bundle(sample("short")), kernel, options),
    );
    expect(view.text("saved-note")).toContain("looking for its kernel");
    await vi.waitFor(() => expect(view.text("saved-note")).toContain("run the cell to go live"));
    expect(view.all("label-row")).toHaveLength(2);
  });

  test("tells the kernel, once there is one, which head was chosen before", async () => {
    const kernel = new FakeKernel(sample("short"), 0);
    let open: (channel: FakeKernel) => void = () => {};
    const channel = new Promise<FakeKernel>((resolve) => {
      open = resolve;
    });
    const view = new Mounted((element) =>
      mountBundle(element, bundle(sample("short")), channel, options),
    );
    view.key(view.one("picture"), "]");
    open(kernel);
    await vi.waitFor(() =>
      expect(sentOf(kernel, "select")).toMatchObject([{ selection: { layer: 4, head: 7 } }]),
    );
    expect(view.one("picture").getAttribute("aria-label")).toContain("Layer 4, head 7");
  });

  test("goes live, and back to saved when the kernel ends", async () => {
    const { view, kernel } = await liveView(sample("short"));
    expect(view.one("saved-note").hidden).toBe(true);
    expect(view.one<HTMLButtonElement>("run").disabled).toBe(false);
    kernel.die();
    expect(view.text("saved-note")).toContain("The kernel has ended.");
    expect(view.one<HTMLButtonElement>("run").disabled).toBe(true);
    expect(view.all("label-row")).toHaveLength(2);
  });
});

describe("a live view", () => {
  test("is a frame until the kernel's welcome", async () => {
    const kernel = new FakeKernel(sample("short"), 0);
    const view = new Mounted((element) => mountLive(element, live, kernel, options));
    expect(view.all("loading")).toHaveLength(1);
    await vi.waitFor(() => expect(view.all("label-row")).toHaveLength(2));
    expect(view.all("loading")).toHaveLength(0);
  });

  test("runs the form's values; progress, stop and end are seen at once", async () => {
    const { view, kernel } = await liveView(sample("short"));
    const field = view.one<HTMLTextAreaElement>("field");
    field.value = "Another text.";
    field.dispatchEvent(new Event("input", { bubbles: true }));
    view.key(field, "Enter", { ctrlKey: true });
    expect(sentOf(kernel, "run")).toMatchObject([{ values: { text: "Another text." } }]);
    const run = sentOf(kernel, "run")[0] as Request;
    const stop = view.one<HTMLButtonElement>("stop");
    expect(stop.disabled).toBe(false);
    expect(view.one<HTMLButtonElement>("run").disabled).toBe(true);
    await vi.waitFor(() => expect(view.text("status")).toContain("3 of 6"));
    stop.click();
    expect(view.text("status")).toContain("Stopping");
    expect(stop.disabled).toBe(true);
    expect(sentOf(kernel, "cancel")).toMatchObject([{ target: run.id }]);
    kernel.say({ type: "status", view: live.view, status: { state: "cancelled", run: null } });
    expect(view.text("status")).toContain("Stopped");
    expect(view.one<HTMLButtonElement>("run").disabled).toBe(false);
    expect(view.all("label-row")).toHaveLength(2);
  });

  test("draws a failed run with hint and details, and keeps the results", async () => {
    const { view, kernel } = await liveView(sample("short"));
    const error = {
      code: "x",
      message: "It <b>failed</b>.",
      hint: "Try less.",
      details: "Traceback",
    };
    kernel.say({ type: "status", view: live.view, status: { state: "error", error } });
    expect(view.text("error")).toContain("It <b>failed</b>.");
    expect(view.text("error")).toContain("Try less.");
    expect(view.text("error-details")).toContain("Traceback");
    expect(view.all("label-row")).toHaveLength(2);
  });

  test("does not run an empty text, and says which", async () => {
    const { view, kernel } = await liveView(sample("empty"));
    expect(view.text("empty")).toContain("Run");
    view.one<HTMLButtonElement>("run").click();
    expect(sentOf(kernel, "run")).toEqual([]);
    expect(view.text("form-problem")).toBe("Text is empty.");
  });

  test("takes a changed spec: results, tokens, values; the layer and head stay", async () => {
    const { view, kernel } = await liveView(sample("short"));
    view
      .all("cell")
      .find((cell) => cell.dataset["layer"] === "1" && cell.dataset["head"] === "2")
      ?.click();
    const next = sample("long");
    kernel.spec = next;
    kernel.say({ type: "changed", view: live.view, spec: next });
    expect(view.all("label-row")).toHaveLength(5);
    expect(view.text("token-count")).toBe("512 tokens");
    expect(view.one<HTMLTextAreaElement>("field").value).toBe(next.values["text"]);
    expect(view.one("picture").getAttribute("aria-label")).toBe("Layer 1, head 2, arcs");
    expect(view.text("warnings")).toContain("512");
  });

  test("keeps the keyboard where it was when the explorer is drawn anew", async () => {
    const { view, kernel } = await liveView(sample("short"));
    for (const name of ["picture", "cell", "token"]) {
      const part = view.all(name).find((item) => item.tabIndex === 0);
      part?.focus();
      const model = `another for ${name}`;
      const header = { ...kernel.spec, header: { ...sample("short").header, model } };
      kernel.say({ type: "changed", view: live.view, spec: header });
      expect(view.text("model")).toBe(model);
      expect(part?.isConnected).toBe(false);
      expect((view.root.activeElement as HTMLElement).dataset["lmkit"]).toBe(name);
    }
  });

  test("does not write into the box that the user is typing in", async () => {
    const { view, kernel } = await liveView(sample("short"));
    const field = view.one<HTMLTextAreaElement>("field");
    field.focus();
    field.value = "typing";
    field.dispatchEvent(new Event("input", { bubbles: true }));
    kernel.say({
      type: "changed",
      view: live.view,
      spec: { ...kernel.spec, values: { text: "from Python" } },
    });
    expect(field.value).toBe("typing");
    await vi.waitFor(() => expect(kernel.sent.at(-1)?.type).toBe("edit"));
    await new Promise((resolve) => setTimeout(resolve, 0));
    field.blur();
    kernel.say({
      type: "changed",
      view: live.view,
      spec: { ...kernel.spec, values: { text: "from Python" } },
    });
    expect(field.value).toBe("from Python");
  });

  test("says why there is no attention", async () => {
    const { view } = await liveView(sample("running"));
    expect(view.text("attention-note")).toContain("state-space model");
  });
});

describe("the explorer", () => {
  test("switches head by click and keys, tells the kernel and screen readers", async () => {
    const { view, kernel } = await liveView(sample("short"));
    const label = () => view.one("picture").getAttribute("aria-label");
    expect(label()).toBe("Layer 3, head 7, arcs");
    const cell = view
      .all("cell")
      .find((item) => item.dataset["layer"] === "1" && item.dataset["head"] === "2");
    cell?.click();
    expect(label()).toBe("Layer 1, head 2, arcs");
    expect(cell?.getAttribute("aria-selected")).toBe("true");
    expect(view.text("live-region")).toContain("Layer 1, head 2");
    const picture = view.one("picture");
    view.key(picture, "]");
    view.key(picture, ".");
    expect(label()).toBe("Layer 2, head 3, arcs");
    view.key(picture, "2");
    expect(label()).toBe("Layer 2, head 3, map");
    expect(view.one("tab-map").getAttribute("aria-selected")).toBe("true");
    await vi.waitFor(() =>
      expect(sentOf(kernel, "tile").map((message) => (message as { key: string }).key)).toContain(
        "head/2/3",
      ),
    );
    await vi.waitFor(() =>
      expect(sentOf(kernel, "select").at(-1)).toMatchObject({
        selection: { layer: 2, head: 3, tokens: [], lens: "", picture: "map" },
      }),
    );
  });

  test("the grid is walked by arrows and opened by Enter", async () => {
    const { view } = await liveView(sample("short"));
    const at = () => view.root.activeElement as HTMLElement;
    const cells = view.all("cell");
    expect(cells.filter((cell) => cell.tabIndex === 0)).toHaveLength(1);
    cells.find((cell) => cell.tabIndex === 0)?.focus();
    view.key(at(), "ArrowDown");
    view.key(at(), "ArrowLeft");
    expect(at().getAttribute("aria-label")).toBe("Layer 4, head 6");
    expect(view.one("picture").getAttribute("aria-label")).toContain("Layer 3, head 7");
    view.key(at(), "Enter");
    expect(view.one("picture").getAttribute("aria-label")).toContain("Layer 4, head 6");
  });

  test("sums over the chosen tokens, exactly, and Escape lets them go", async () => {
    const { view, kernel } = await liveView(sample("short"));
    const tokens = view.all("token");
    tokens[4]?.click();
    tokens[9]?.dispatchEvent(new MouseEvent("click", { bubbles: true, ctrlKey: true }));
    await vi.waitFor(() => expect(view.text("sentence")).toContain("2 tokens, summed, attend to"));
    await vi.waitFor(() => expect(view.text("sentence")).not.toContain("≈"));
    expect(sentOf(kernel, "tile").map((message) => (message as { key: string }).key)).toContain(
      "sum/3/7/4,9",
    );
    expect(
      view.all("token").filter((item) => item.getAttribute("aria-selected") === "true"),
    ).toHaveLength(2);
    view.key(view.one("picture"), "Escape");
    await vi.waitFor(() => expect(view.text("sentence")).toContain("Point at a token"));
  });

  test("the picture is read by keys: exact values come from the kernel", async () => {
    const { view } = await liveView(sample("short"));
    const picture = view.one("picture");
    await vi.waitFor(() => expect(picture.dataset["state"]).toBe("ready"));
    view.key(picture, "2");
    view.key(picture, "ArrowDown");
    view.key(picture, "ArrowDown");
    view.key(picture, "ArrowRight");
    await vi.waitFor(() => expect(view.text("live-region")).toMatch(/^the → the: \d/));
    await vi.waitFor(() => expect(view.one("value").dataset["exact"]).toBe("true"));
    view.key(picture, "1");
    view.key(picture, "ArrowDown");
    await vi.waitFor(() => expect(view.text("live-region")).toContain("[CLS] attends to: "));
    view.key(picture, "ArrowRight");
    await vi.waitFor(() =>
      expect(view.text("live-region")).toMatch(/^\[CLS\] is attended by: \S+ [\d.]+,/),
    );
  });

  test("a page that is loaded again shows what the kernel shows, until its user chooses", async () => {
    const saved = sample("short");
    const attention = saved.attention as NonNullable<PanelSpec["attention"]>;
    const selection = { layer: 4, head: 9, tokens: [1], lens: "", picture: "" };
    const kernel = new FakeKernel({ ...saved, attention: { ...attention, selection } }, 0);
    const view = new Mounted((element) => mountBundle(element, bundle(saved), kernel, options));
    await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
    expect([view.text("layer-number"), view.text("head-number")]).toEqual(["4", "9"]);
    expect(sentOf(kernel, "select")).toEqual([]);
    view.key(view.one("picture"), ",");
    kernel.say({ type: "changed", view: live.view, spec: kernel.spec });
    await vi.waitFor(() => expect(view.text("head-number")).toBe("8"));
  });

  test("a selection made elsewhere is followed and not sent back", async () => {
    const { view, kernel } = await liveView(sample("short"));
    kernel.say({
      type: "selected",
      view: live.view,
      selection: { layer: 5, head: 11, tokens: [2], lens: "", picture: "" },
    });
    expect(view.one("picture").getAttribute("aria-label")).toContain("Layer 5, head 11");
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(sentOf(kernel, "select")).toEqual([]);
  });

  test("special tokens can be hidden, tokens found, keys shown, the scale switched", async () => {
    const { view } = await liveView(sample("short"));
    view.one<HTMLInputElement>("hide-specials").click();
    await vi.waitFor(() =>
      expect(view.all("token").filter((token) => token.hidden)).toHaveLength(2),
    );
    const picture = view.one("picture");
    view.key(picture, "/");
    const find = view.one<HTMLInputElement>("find");
    expect(view.root.activeElement).toBe(find);
    find.value = "mov";
    find.dispatchEvent(new Event("input"));
    expect(view.text("found")).toBe("1 of 1");
    view.key(picture, "s");
    expect(view.one<HTMLSelectElement>("scale").value).toBe("linear");
    view.key(picture, "?");
    expect(view.one("help").hidden).toBe(false);
    view.key(picture, "Escape");
    expect(view.one("help").hidden).toBe(true);
  });

  test("keys that mean nothing here are left to the notebook", async () => {
    const { view } = await liveView(sample("short"));
    const picture = view.one("picture");
    expect(view.key(picture, "s", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(view.key(picture, "x").defaultPrevented).toBe(false);
    expect(view.key(view.one("field"), "s").defaultPrevented).toBe(false);
  });
});

describe("the neuron view", () => {
  const open = async (name: string) => {
    const { view, kernel } = await liveView(sample(name));
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    view.one("tab-neuron").click();
    await vi.waitFor(() => expect(view.all("neuron-score")).toHaveLength(1));
    return { view, kernel };
  };
  const terms = (view: Mounted) =>
    Object.fromEntries(
      ["neuron-dot", "neuron-score", "neuron-weight"].map((name) => [
        name,
        Number.parseFloat(view.one(name).lastElementChild?.textContent ?? ""),
      ]),
    );

  test("shows the product, the score and the weight of a pair, and follows the keys", async () => {
    const { view, kernel } = await open("short");
    view.all("token")[9]?.click();
    await vi.waitFor(() => expect(view.text("neuron-query")).toBe("moved"));
    await vi.waitFor(() => expect(view.all("neuron-weight")).toHaveLength(1));
    const first = terms(view);
    expect((first["neuron-dot"] as number) * 0.125).toBeCloseTo(first["neuron-score"] as number, 1);
    expect(view.all("neuron-row").length).toBeGreaterThan(5);
    const before = view.text("neuron-key");
    view.key(view.one("picture"), "Home");
    await vi.waitFor(() => expect(view.text("neuron-key")).toBe("[CLS]"));
    expect(before).not.toBe("[CLS]");
    expect(view.text("live-region")).toMatch(/^moved → \[CLS\]: score .*, weight /);
    view.key(view.one("neuron-list"), "ArrowDown");
    await vi.waitFor(() => expect(view.text("neuron-key")).toBe("the"));
    view.key(view.one("neuron-list"), "ArrowLeft");
    await vi.waitFor(() => expect(view.text("neuron-query")).toBe("was"));
    const asked = sentOf(kernel, "tile").map((message) => (message as { key: string }).key);
    for (const key of ["q/3/7/0-12", "k/3/7/0-12", "score/3/7/8-12"]) expect(asked).toContain(key);
  });

  test("weights in the list add up to 1, and sorting puts the largest first", async () => {
    const { view } = await open("short");
    const weights = () =>
      view
        .all("neuron-row")
        .sort((a, b) => Number(a.ariaPosInSet) - Number(b.ariaPosInSet))
        .map((row) => Number(row.querySelector(".neuron-weight")?.textContent));
    const sort = view.one<HTMLSelectElement>("neuron-sort");
    sort.value = "weight";
    sort.dispatchEvent(new Event("change"));
    await vi.waitFor(() => {
      const all = weights();
      expect(all).toEqual([...all].sort((a, b) => b - a));
    });
    const chosen = view.all("neuron-row").filter((row) => row.ariaSelected === "true");
    expect(chosen).toHaveLength(1);
  });

  test("a pair that the mask closes is said to be closed", async () => {
    const { view } = await open("deep");
    view.key(view.one("picture"), "End");
    await vi.waitFor(() => expect(view.text("equation")).toContain("A mask closes this pair"));
    expect(view.all("neuron-weight")).toHaveLength(0);
    expect(view.text("live-region")).toContain("masked");
    expect(view.root.textContent).toContain("post-rotary");
  });

  test("a layer without queries and keys says why, and so does an output without them", async () => {
    const spec = sample("short");
    for (const layer of spec.attention?.layers ?? []) Object.assign(layer, { hasQk: false });
    const { view } = await liveView(spec);
    const tab = view.one("tab-neuron");
    expect(tab.getAttribute("aria-disabled")).toBe("true");
    expect(tab.title).toMatch(/queries and keys are not there/);
    tab.click();
    expect(view.text("picture-why")).toBe(tab.title);
    expect(view.one("tab-arcs").getAttribute("aria-selected")).toBe("true");

    const saved = sample("short");
    const tiles = [await saveTile(saved.attention as AttentionSpec, "head/3/7")];
    const still = new Mounted((element) =>
      mountBundle(element, bundle(saved, { tiles, live: null }), null, options),
    );
    await vi.waitFor(() => expect(still.one("picture").dataset["state"]).toBe("ready"));
    still.one("tab-neuron").click();
    await vi.waitFor(() => expect(still.text("neuron-missing")).toMatch(/run the cell/));
  });

  test("a saved output that carries them needs no kernel", async () => {
    const spec = sample("short");
    const attention = spec.attention as AttentionSpec;
    const keys = ["head/3/7", "q/3/7/0-12", "k/3/7/0-12", "score/3/7/0-8", "score/3/7/8-12"];
    const tiles = await Promise.all(keys.map((key) => saveTile(attention, key)));
    const view = new Mounted((element) =>
      mountBundle(element, bundle(spec, { tiles, live: null }), null, options),
    );
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    view.one("tab-neuron").click();
    await vi.waitFor(() => expect(view.text("neuron-weight")).toMatch(/0\.\d/));
    expect(view.all("neuron-missing")).toHaveLength(0);
  });
});

describe("several heads at once", () => {
  test("are switched on and off, fetched when first on, and their dropped share is said", async () => {
    const { view, kernel } = await liveView(sample("short"));
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    view.one("tab-heads").click();
    const on = () =>
      view.all<HTMLInputElement>("heads-toggle").flatMap((box, head) => (box.checked ? head : []));
    await vi.waitFor(() => expect(on()).toEqual([6, 7, 8, 9, 10, 11]));
    await vi.waitFor(() =>
      expect(view.text("heads-note")).toMatch(/^Lines of 0.05 and more: \d+% .* is not drawn\.$/),
    );
    const asked = () => sentOf(kernel, "tile").map((message) => (message as { key: string }).key);
    expect(asked()).not.toContain("head/3/0");
    view.all("heads-toggle")[0]?.click();
    await vi.waitFor(() => expect(asked()).toContain("head/3/0"));
    expect(on()).toEqual([0, 6, 7, 8, 9, 10, 11]);
    const [all, none, only] = [...view.root.querySelectorAll<HTMLElement>(".heads-tools button")];
    none?.click();
    await vi.waitFor(() => expect(view.text("heads-note")).toBe("No head is on."));
    only?.click();
    await vi.waitFor(() => expect(on()).toEqual([7]));
    all?.click();
    await vi.waitFor(() => expect(on()).toHaveLength(12));
    view.key(view.one("heads-stage"), "ArrowDown");
    expect(view.text("live-region")).toMatch(/^\[CLS\]: head 0 \S+ 0\.\d+, head 1 /);
  });

  test("say which heads a saved output does not carry", async () => {
    const spec = sample("short");
    const tiles = [await saveTile(spec.attention as AttentionSpec, "head/3/7")];
    const view = new Mounted((element) =>
      mountBundle(element, bundle(spec, { tiles, live: null }), null, options),
    );
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    view.one("tab-heads").click();
    await vi.waitFor(() =>
      expect(view.text("heads-note")).toContain("Not saved with the notebook: 6, 8, 9, 10, 11."),
    );
  });
});

describe("a generated text", () => {
  test("is stepped through: each step selects its row and marks what came later", async () => {
    const { view } = await liveView(sample("generated"));
    const slider = view.one<HTMLInputElement>("step-slider");
    expect(view.text("step-now")).toBe("all steps");
    slider.value = "3";
    slider.dispatchEvent(new Event("input"));
    const chosen = () =>
      view.all("token").flatMap((token, index) => (token.ariaSelected === "true" ? index : []));
    const later = () => view.all("token").filter((token) => token.classList.contains("later"));
    await vi.waitFor(() => expect(chosen()).toEqual([22]));
    expect(later()).toHaveLength(17);
    expect(view.text("step-now")).toContain("step 4 of 21");
    view.one("step-next").click();
    await vi.waitFor(() => expect(chosen()).toEqual([23]));
    view.one("step-previous").click();
    view.one("step-previous").click();
    await vi.waitFor(() => expect(chosen()).toEqual([21]));
    view.all("token")[5]?.click();
    await vi.waitFor(() => expect(later()).toHaveLength(0));
    expect(view.text("step-now")).toBe("all steps");
  });

  test("plays to its end and stops; a space pauses", async () => {
    const { view } = await liveView(sample("generated"));
    vi.useFakeTimers();
    try {
      view.one("step-play").click();
      expect(view.text("step-now")).toContain("step 1 of 21");
      vi.advanceTimersByTime(1800);
      expect(view.text("step-now")).toContain("step 3 of 21");
      view.key(view.one("step-slider"), " ");
      vi.advanceTimersByTime(5000);
      expect(view.text("step-now")).toContain("step 3 of 21");
      view.one("step-play").click();
      vi.advanceTimersByTime(60_000);
      expect(view.text("step-now")).toContain("step 21 of 21");
      expect(view.one("step-play").getAttribute("aria-label")).toBe("Play the steps");
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("an encoder-decoder", () => {
  test("lists its layers by role, and names both texts", async () => {
    const { view } = await liveView(sample("translation"));
    expect(view.text("shape")).toBe("3 encoder + 3 decoder + 3 cross-attention layers × 8 heads");
    const groups = [...view.root.querySelectorAll('[role="rowgroup"]')];
    expect(groups.map((group) => group.getAttribute("aria-label"))).toEqual([
      "encoder",
      "decoder",
      "cross-attention",
    ]);
    expect(view.text("layer-number")).toBe("X1");
    expect(view.one("picture").getAttribute("aria-label")).toContain("cross-attention");
    await vi.waitFor(() => expect(view.one("picture").dataset["state"]).toBe("ready"));
    await vi.waitFor(() =>
      expect(view.one("picture").textContent).toBe("queries (decoder)keys (encoder)"),
    );
    expect(view.all("key-tokens")).toHaveLength(1);
    view.one("layer-previous").click();
    expect(view.text("layer-number")).toBe("X0");
    view.one("layer-previous").click();
    expect(view.text("layer-number")).toBe("D2");
  });
});

describe("hostile text", () => {
  test("is drawn as text everywhere, and nothing is lost", async () => {
    const { view } = await liveView(sample("hostile"));
    expect(view.root.querySelector("img, script, iframe, b:not([class]), i[class=x]")).toBeNull();
    expect("__hacked" in globalThis).toBe(false);
    const tokens = view.all("token");
    expect(tokens).toHaveLength(HOSTILE.length);
    expect(tokens[0]?.textContent).toContain("<img·src=x·onerror=");
    expect(tokens[2]?.textContent).toContain("⟨RLO⟩");
    expect(tokens[3]?.textContent).toContain("⟨NUL⟩");
    expect(tokens[10]?.textContent?.length).toBeLessThan(100);
    tokens[10]?.dispatchEvent(new Event("pointerover", { bubbles: true }));
    expect(tokens[10]?.title).toContain("100,000 characters");
    tokens[10]?.click();
    expect(view.text("whole-token")).toContain("x".repeat(100_000));
    expect(view.text("warnings")).toContain("</script><script>");
    expect(view.text("marked-text")).toContain("<b>not</b>");
    expect(view.all("label-row")).toHaveLength(HOSTILE.length);
  });

  test("many labels show twenty, and all on request", async () => {
    const scores = Array.from({ length: 200 }, (_, index) => ({
      label: `label ${index}`,
      score: index / 200,
    }));
    const spec = {
      ...sample("empty"),
      results: [{ kind: "labels", multi: true, threshold: 0.5, title: "", scores }],
    };
    const { view } = await liveView(spec as PanelSpec);
    expect(view.all("label-row")).toHaveLength(20);
    expect(view.all("label-row")[0]?.getAttribute("aria-label")).toBe(
      "label 199 0.995, above the threshold 0.500",
    );
    expect(view.text("show-all")).toBe("Show all 200");
    view.one("show-all").click();
    expect(view.all("label-row")).toHaveLength(200);
    view.one("show-all").click();
    expect(view.all("label-row")).toHaveLength(20);
  });
});

describe("the form", () => {
  test("folds the lesser fields away, unless one is set", async () => {
    const field = {
      kind: "integer",
      name: "k",
      label: "K",
      help: "",
      default: 3,
      minimum: 1,
      maximum: 9,
      step: 1,
    };
    const short = sample("short");
    const fields = [...short.fields, field] as PanelSpec["fields"];
    const plain = await liveView({ ...short, fields });
    const more = plain.view.one("more-fields");
    expect(more.getAttribute("aria-expanded")).toBe("false");
    more.click();
    expect(more.getAttribute("aria-expanded")).toBe("true");
    const set = await liveView({ ...short, fields, values: { ...short.values, k: 5 } });
    expect(set.view.one("more-fields").getAttribute("aria-expanded")).toBe("true");
  });

  test("where some fields wait by their own word, the others stand beside the text", async () => {
    const short = sample("short");
    const number = (name: string, later: boolean) => ({
      kind: "integer",
      name,
      label: name,
      help: "",
      default: 3,
      minimum: 1,
      maximum: 9,
      step: 1,
      later,
    });
    const fields = [
      ...short.fields,
      number("near", false),
      number("set", true),
      number("far", true),
    ] as PanelSpec["fields"];
    const { view } = await liveView({ ...short, fields, values: { ...short.values, set: 5 } });
    const waits = (name: string) =>
      view
        .all("field")
        .find((one) => one.dataset["field"] === name)
        ?.closest("[hidden]") !== null;
    const more = view.one("more-fields");
    expect(more.getAttribute("aria-expanded")).toBe("false");
    expect(["near", "set", "far"].map(waits)).toEqual([false, false, true]);
    more.click();
    expect(["near", "set", "far"].map(waits)).toEqual([false, false, false]);
    more.click();
    expect(["near", "set", "far"].map(waits)).toEqual([false, false, true]);
  });

  test("numbers are bounded and shown by box and slider alike", async () => {
    const { view, kernel } = await liveView(sample("deep"));
    const by = (name: string, part: string) =>
      view
        .all<HTMLInputElement>(part)
        .find((item) => item.dataset["field"] === name) as HTMLInputElement;
    const box = by("max_new_tokens", "field");
    box.value = "9999";
    box.dispatchEvent(new Event("input", { bubbles: true }));
    expect(by("max_new_tokens", "slider").value).toBe("512");
    box.dispatchEvent(new Event("change", { bubbles: true }));
    expect(box.value).toBe("512");
    view.one("run").click();
    expect(sentOf(kernel, "run")).toMatchObject([
      { values: { max_new_tokens: 512, temperature: 0.7, strategy: "sample", echo: true } },
    ]);
  });

  test("any number typed becomes one that the field allows", () => {
    const kind = fc.constantFrom("integer" as const, "number" as const);
    fc.assert(
      fc.property(kind, fc.string(), fc.double(), (name, text, number) => {
        const field = { kind: name, minimum: -3, maximum: 7, step: 1 };
        for (const typed of [text, String(number)]) {
          const value = readNumber(field, typed, 2);
          expect(value).toBeGreaterThanOrEqual(-3);
          expect(value).toBeLessThanOrEqual(7);
          if (name === "integer") expect(Number.isInteger(value)).toBe(true);
        }
      }),
    );
  });
});

describe("the home view", () => {
  const home = () => (VIEWS["home"] as () => HomeSpec)();

  test("names plugins, and broken ones with their error", async () => {
    const { view } = await liveView(home());
    expect(view.all("plugin").map((row) => [row.dataset["name"], row.dataset["state"]])).toEqual([
      ["lmkit-classification", "ready"],
      ["lmkit-ner", "ready"],
      ["acme-lmkit", "quarantined"],
      ["old-plugin", "blocked"],
    ]);
    expect(view.text("error")).toContain("No module named 'acme'");
    expect(view.all("task")[0]?.textContent).toContain("%%lm classification --model …");
  });

  test("its buttons are actions, one at a time", async () => {
    const { view, kernel } = await liveView(home());
    const free = () => expect(view.one("rescan").getAttribute("aria-disabled")).toBeNull();
    view.all<HTMLButtonElement>("unload")[0]?.click();
    expect(
      view
        .all("device")
        .find((item) => item.tagName === "BUTTON")
        ?.getAttribute("aria-disabled"),
    ).toBe("true");
    view.one("rescan").click();
    await vi.waitFor(free);
    view.one("rescan").click();
    await vi.waitFor(free);
    view
      .all("device")
      .find((item) => item.tagName === "BUTTON")
      ?.click();
    expect(sentOf(kernel, "action")).toMatchObject([
      { name: "unload", argument: "starter:sentiment" },
      { name: "rescan", argument: "" },
      { name: "device", argument: "cuda:0" },
    ]);
  });

  test("the application inserts a task's own cell", () => {
    const tasks = home().tasks.map((task) => ({
      ...task,
      cell: { line: `%%lm ${task.name}`, text: "An example." },
    }));
    const insertTask = vi.fn();
    const view = new Mounted((element) =>
      mountBundle(element, bundle({ ...home(), tasks }), null, {
        ...options,
        host: { insertTask },
      }),
    );
    view.all("insert")[1]?.click();
    expect(insertTask).toHaveBeenCalledExactlyOnceWith(tasks[1]);
    // where none can be inserted, its line is there to be read
    const panel = { ...(tasks[0] as object), cell: { line: "%lm news", text: "" } };
    const plain = new Mounted((element) =>
      mountBundle(element, bundle({ ...home(), tasks: [panel] as never }), null, options),
    );
    expect(plain.all("task")[0]?.textContent).toContain("%lm news --model …");
    expect(plain.all("task")[0]?.textContent).not.toContain("%%lm");
  });

  test("a run that failed says why, as text", async () => {
    const run = {
      name: "runs/a",
      title: "bert → 2 layers",
      task: "distillation",
      field: "folder",
      step: 3,
      steps: 10,
      note: "",
      secondsLeft: null,
      actions: [],
    };
    const jobs = [
      { ...run, state: "failed", problem: "The loss is <b>NaN</b>." },
      { ...run, name: "runs/b", state: "running", problem: "" },
    ] as HomeSpec["jobs"];
    const { view } = await liveView({ ...home(), jobs });
    const [failed, running] = view.all("home-job");
    expect(failed?.textContent).toContain("The loss is <b>NaN</b>.");
    expect(failed?.querySelector("b")).toBe(null);
    expect(running?.querySelector('[data-lmkit="home-job-problem"]')).toBe(null);
  });

  test("the keyboard stays where it was, and what came of a button is said", async () => {
    const { view } = await liveView(home());
    const focused = () => (view.root.activeElement as HTMLElement | null)?.dataset ?? {};
    const said = () => view.text("live-region").trim();
    expect(said()).toBe("");
    for (const [name, words] of [
      ["rescan", "The plugins were scanned again."],
      ["unload", "starter:sentiment is unloaded."],
      ["device", "New models go to cuda:0."],
    ] as const) {
      const button = view.all(name).find((item) => item.tagName === "BUTTON");
      const argument = button?.dataset["argument"];
      button?.focus();
      button?.click();
      expect(focused()).toMatchObject({ lmkit: name, argument });
      await vi.waitFor(() => expect(said()).toBe(words));
      expect(focused()).toMatchObject({ lmkit: name, argument });
    }
  });

  test("where a row goes with its button, the keyboard stays in the section", async () => {
    const spec = home();
    const { view, kernel } = await liveView(spec);
    const gone = spec.models[0]?.name ?? "";
    kernel.answer = ({ id, view: name }) => {
      kernel.say({ type: "changed", view: name, spec: { ...spec, models: [] } });
      kernel.say({ type: "done", id, view: name });
    };
    view.all("unload")[0]?.focus();
    view.all("unload")[0]?.click();
    await vi.waitFor(() => expect(view.text("live-region")).toContain(`${gone} is unloaded.`));
    const focused = view.root.activeElement as HTMLElement | null;
    expect(focused?.dataset["lmkit"]).toBe("home-models");
    expect(focused?.getAttribute("aria-label")).toBe("Loaded models");
  });

  test("a view that no notebook shows is told beside its button, until one does", async () => {
    const spec = {
      ...home(),
      views: ["a", "b"].map((view) => ({ view, title: "NER", model: "m", text: view })),
    } as HomeSpec;
    const showView = vi.fn(() => false);
    const kernel = new FakeKernel(spec, 0);
    const view = new Mounted((element) =>
      mountBundle(element, bundle(spec), kernel, { ...options, host: { showView } }),
    );
    await vi.waitFor(() => expect(view.one("badge").dataset["state"]).toBe("live"));
    const words = "No open notebook shows this view.";
    view.all("show")[1]?.focus();
    view.all("show")[1]?.click();
    expect(showView).toHaveBeenCalledWith("b");
    expect(view.all("nowhere").map((one) => one.textContent)).toEqual([words]);
    expect(view.all("open-view")[1]?.textContent).toContain(words);
    expect(view.text("live-region").trim()).toBe(words);
    expect(view.root.activeElement).toBe(view.all("show")[1]);
    showView.mockReturnValue(true);
    view.all("show")[1]?.click();
    expect(view.all("nowhere")).toEqual([]);
  });

  test("a failed action is told", async () => {
    const { view, kernel } = await liveView(home());
    kernel.answer = ({ id, view: name }) =>
      kernel.say({ type: "error", id, view: name, error: { code: "x", message: "It is in use." } });
    view.all("unload")[0]?.click();
    await vi.waitFor(() => expect(view.text("status")).toContain("It is in use."));
  });
});

describe("mounting", () => {
  test("the undo removes every element and listener, and closes the channel", async () => {
    const added = new Map<EventTarget, number>();
    const count = (target: EventTarget, by: number) =>
      added.set(target, (added.get(target) ?? 0) + by);
    const add = vi.spyOn(EventTarget.prototype, "addEventListener").mockImplementation(function (
      this: EventTarget,
      ...args
    ) {
      count(this, 1);
      return Reflect.apply(add.getMockImplementation() ? original.add : original.add, this, args);
    });
    const remove = vi
      .spyOn(EventTarget.prototype, "removeEventListener")
      .mockImplementation(function (this: EventTarget, ...args) {
        count(this, -1);
        return Reflect.apply(original.remove, this, args);
      });
    const { view, kernel } = await liveView(sample("short"));
    const closed = vi.spyOn(kernel, "close");
    view.undo();
    add.mockRestore();
    remove.mockRestore();
    expect(view.element.childElementCount).toBe(0);
    expect(closed).toHaveBeenCalledOnce();
    const left = [...added].filter(([target, n]) => n > 0 && !(target instanceof AbortSignal));
    expect(left).toEqual([]);
  });
  const original = {
    add: EventTarget.prototype.addEventListener,
    remove: EventTarget.prototype.removeEventListener,
  };

  test("two copies live side by side, with no id twice, and one may go", async () => {
    const spec = sample("short");
    const one = await liveView(spec);
    const two = await liveView(spec);
    const ids = [one, two].flatMap(({ view }) =>
      [...view.root.querySelectorAll("[id]")].map((item) => item.id),
    );
    expect(new Set(ids).size).toBe(ids.length);
    one.view.undo();
    two.view.key(two.view.one("picture"), "]");
    expect(two.view.one("picture").getAttribute("aria-label")).toContain("Layer 4");
  });

  test("the same element can be drawn into again", async () => {
    const view = new Mounted((element) =>
      mountBundle(element, bundle(sample("short")), null, options),
    );
    view.undo();
    const undo = mountBundle(view.element, bundle(sample("home") as never), null, options);
    expect(view.element.childElementCount).toBe(1);
    undo();
  });

  test("a channel that the output cannot use is closed", async () => {
    const kernel = new FakeKernel(sample("short"));
    const closed = vi.spyOn(kernel, "close");
    const view = new Mounted((element) =>
      mountBundle(
        element,
        bundle(sample("short"), { live: null }),
        Promise.resolve(kernel),
        options,
      ),
    );
    await vi.waitFor(() => expect(closed).toHaveBeenCalledOnce());
    expect(view.text("badge")).toBe("saved");
  });

  test("speaks Chinese where asked", () => {
    const view = new Mounted((element) =>
      mountBundle(element, bundle(sample("short")), null, { ...options, locale: "zh-CN" }),
    );
    expect(view.text("run")).toBe("运行");
    expect(view.one("root").lang).toBe("zh-Hans");
  });
});
