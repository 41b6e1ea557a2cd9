import type { PanelSpec, Request } from "@lmkit/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, VIEWS } from "../dev/samples.ts";
import { mountBundle } from "../src/index.ts";

const live = { session: "session-1", view: "view-1" };
const spec = (VIEWS["short"] as () => PanelSpec)();
const bundle = () =>
  JSON.parse(
    JSON.stringify({
      version: "0.1.0",
      spec,
      live,
      heads: 72,
      headsCarried: 0,
      record: { model: "starter:sentiment", tokens: 12 },
    }),
  ) as object;

let downloads: { name: string; blob: Blob }[] = [];
let undo: () => void = () => {};

beforeEach(() => {
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
  downloads = [];
  const blobs = new Map<string, Blob>();
  vi.stubGlobal(
    "URL",
    Object.assign(URL, {
      createObjectURL: (blob: Blob) => {
        const url = `blob:lmkit/${blobs.size}`;
        blobs.set(url, blob);
        return url;
      },
      revokeObjectURL: () => {},
    }),
  );
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (
    this: HTMLAnchorElement,
  ) {
    const blob = blobs.get(this.getAttribute("href") ?? "");
    if (blob) downloads.push({ name: this.download, blob });
  });
});

afterEach(() => {
  undo();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

async function view(kernel: FakeKernel | null) {
  const element = document.createElement("div");
  document.body.append(element);
  undo = mountBundle(element, bundle(), kernel, { theme: "light", locale: "en" });
  const root = element.firstElementChild?.shadowRoot as ShadowRoot;
  const one = <T extends HTMLElement>(name: string) =>
    root.querySelector<T>(`[data-lmkit="${name}"]`) as T;
  if (kernel) await vi.waitFor(() => expect(one("badge").dataset["state"]).toBe("live"));
  const items = () => [...root.querySelectorAll<HTMLElement>('[data-lmkit="save-item"]')];
  const item = (format: string) =>
    items().find((each) => each.dataset["format"] === format) as HTMLElement;
  const key = (name: string) =>
    (root.activeElement ?? one("save")).dispatchEvent(
      new KeyboardEvent("keydown", { key: name, bubbles: true, composed: true, cancelable: true }),
    );
  return { root, one, items, item, key };
}

/** jsdom's blobs have no text(). */
function textOf(blob: Blob | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsText(blob as Blob);
  });
}

const exportsOf = (kernel: FakeKernel) =>
  kernel.sent.filter(
    (message): message is Extract<Request, { type: "export" }> => message.type === "export",
  );

describe("the Save menu", () => {
  test("asks the kernel for what is on show and downloads what comes", async () => {
    const kernel = new FakeKernel(spec, 0);
    const { one, item, root } = await view(kernel);
    const answer = kernel.answer;
    kernel.answer = (request) => {
      if (request.type !== "export") return answer?.call(kernel, request);
      const { id, view: name } = request;
      kernel.say(
        {
          type: "exported",
          id,
          view: name,
          name: "a/b\\c.svg",
          mime: "image/svg+xml",
          notes: ["Pooled."],
        },
        [new TextEncoder().encode("<svg/>")],
      );
    };
    one("save").click();
    expect(one("save").getAttribute("aria-expanded")).toBe("true");
    item("svg").click();
    expect(one("save-menu").hidden).toBe(true);
    await vi.waitFor(() => expect(downloads).toHaveLength(1));
    const [request] = exportsOf(kernel);
    const { layer, head } = spec.attention?.selection ?? { layer: 0, head: 0 };
    expect(request?.format).toBe("svg");
    expect(request?.options.selection).toMatchObject({ layer, head });
    expect(request?.options).toMatchObject({ picture: "arcs", mapping: "sqrt", theme: "light" });
    expect(downloads[0]?.name).toBe("a_b_c.svg");
    expect(downloads[0]?.blob.type).toBe("image/svg+xml");
    expect(await textOf(downloads[0]?.blob)).toBe("<svg/>");
    await vi.waitFor(() =>
      expect(root.querySelector('[data-lmkit="live-region"]')?.textContent).toContain("Pooled."),
    );
  });

  test("shows an error of the kernel in words, and can be used again", async () => {
    const kernel = new FakeKernel(spec, 0);
    const { one, item } = await view(kernel);
    const answer = kernel.answer;
    kernel.answer = (request) => {
      if (request.type !== "export") return answer?.call(kernel, request);
      const error = { code: "save", message: "There is no room.", hint: "", details: "" };
      kernel.say({ type: "error", id: request.id, view: request.view, error });
    };
    one("save").click();
    item("pdf").click();
    await vi.waitFor(() => expect(one("error").textContent).toContain("There is no room."));
    expect(one("save").hasAttribute("aria-disabled")).toBe(false);
    expect(downloads).toEqual([]);
  });

  test("without a kernel gives the JSON that is carried, and says what the rest needs", async () => {
    const { one, item } = await view(null);
    one("save").click();
    for (const format of ["html", "svg", "pdf", "npz"]) {
      expect(item(format).getAttribute("aria-disabled")).toBe("true");
      expect(item(format).textContent).toContain("needs the kernel");
      item(format).click();
    }
    expect(one("save-menu").hidden).toBe(false);
    item("json").click();
    await vi.waitFor(() => expect(downloads).toHaveLength(1));
    expect(downloads[0]?.name).toMatch(/^attention-layer\d+-head\d+\.json$/);
    const saved = JSON.parse(await textOf(downloads[0]?.blob)) as Record<string, unknown>;
    expect(saved["heads"]).toBe(72);
    expect(saved["live"]).toBe(null);
    expect(saved["record"]).toMatchObject({ model: "starter:sentiment", tokens: 12 });
    expect((saved["spec"] as PanelSpec).header).toEqual(spec.header);
  });

  test("goes by the keyboard, and keeps its keys to itself", async () => {
    const { root, one, items, key } = await view(new FakeKernel(spec, 0));
    const heard = vi.fn();
    root.querySelector('[data-lmkit="root"]')?.addEventListener("keydown", heard);
    one("save").focus();
    key("ArrowDown");
    expect(root.activeElement).toBe(items()[0]);
    key("ArrowDown");
    expect(root.activeElement).toBe(items()[1]);
    key("End");
    expect(root.activeElement).toBe(items().at(-1));
    key("ArrowDown");
    expect(root.activeElement).toBe(items()[0]);
    key("ArrowUp");
    expect(root.activeElement).toBe(items().at(-1));
    key("]");
    expect(heard).not.toHaveBeenCalled();
    key("Escape");
    expect(one("save-menu").hidden).toBe(true);
    expect(root.activeElement).toBe(one("save"));
    key("ArrowUp");
    expect(root.activeElement).toBe(items().at(-1));
    key("Tab");
    expect(one("save-menu").hidden).toBe(true);
    expect(heard).toHaveBeenCalledTimes(1); // Tab alone went on
    expect(one("save").getAttribute("aria-expanded")).toBe("false");
  });

  test("has a role, a name and words in Chinese", async () => {
    const { one, items } = await view(new FakeKernel(spec, 0));
    one("save").click();
    expect(one("save-menu").getAttribute("role")).toBe("menu");
    expect(one("save").getAttribute("aria-controls")).toBe(one("save-menu").id);
    expect(items().every((each) => each.getAttribute("role") === "menuitem")).toBe(true);
    undo();
    document.body.replaceChildren();
    const element = document.createElement("div");
    document.body.append(element);
    undo = mountBundle(element, bundle(), null, { theme: "light", locale: "zh-CN" });
    const save = element.firstElementChild?.shadowRoot?.querySelector('[data-lmkit="save"]');
    expect(save?.textContent).toBe("保存");
  });
});
