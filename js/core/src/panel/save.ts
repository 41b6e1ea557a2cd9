/** The Save menu: the view as a file, made by the kernel; without one, what the page itself has. */

import type { Export, PanelSpec } from "@lmkit/protocol";
import type { Context } from "../context.ts";
import { h, refill, type Scope, uniqueId } from "../dom.ts";
import type { MessageKey, Translate } from "../messages.ts";
import { errorInfo } from "../source.ts";
import type { Store, ViewState } from "../store.ts";
import { visibleProse } from "../text.ts";

type ExportFormat = Export["format"];

const FORMATS: readonly ExportFormat[] = ["html", "svg", "png", "pdf", "npz", "json"];
const JSON_MIME = "application/json";
/** How long the browser may take to start reading the file. */
const KEEP = 30_000;

/** What the menu needs of the panel around it. */
export interface SaveHost {
  spec(): PanelSpec;
  readonly store: Store<ViewState>;
  /** The canvas of the picture on show; null where there is none. */
  canvas(): HTMLCanvasElement | null;
}

/** Let the browser save bytes under a name. */
function download(name: string, blob: Blob, near: Node, scope: Scope): void {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name, hidden: true });
  near.appendChild(link);
  link.click();
  link.remove();
  // Not revoked at once: the download begins after this turn of the loop.
  const cancel = scope.later(KEEP, () => URL.revokeObjectURL(url));
  scope.add(() => {
    cancel();
    URL.revokeObjectURL(url);
  });
}

/** The picture on the page's own background: a canvas itself is transparent. */
async function pixels(canvas: HTMLCanvasElement, background: string, t: Translate): Promise<Blob> {
  const copy = h("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const drawing = copy.getContext("2d");
  if (!drawing) throw new Error(t("save.undrawn"));
  drawing.fillStyle = background;
  drawing.fillRect(0, 0, copy.width, copy.height);
  drawing.drawImage(canvas, 0, 0);
  return new Promise((resolve, reject) => {
    copy.toBlob((blob) => {
      if (blob) resolve(blob);
      else reject(new Error(t("save.unpacked")));
    }, "image/png");
  });
}

/** The button and its menu. */
export function saveMenu(host: SaveHost, context: Context, scope: Scope): HTMLElement {
  const { t, source } = context;
  const id = uniqueId("save");
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet",
      "data-lmkit": "save",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      "aria-controls": id,
    },
    t("save"),
  );
  const menu = h("div", {
    class: "menu",
    role: "menu",
    id,
    "aria-label": t("save.label"),
    "data-lmkit": "save-menu",
  });
  menu.hidden = true;
  const place = h("span", { class: "menu-place" }, button, menu);
  let busy = false;

  /** Why a format cannot be had now, or what it is made from without a kernel. */
  const standing = (format: ExportFormat): { able: boolean; note: string } => {
    if (source.state === "live") return { able: true, note: "" };
    if (format === "png") {
      return host.canvas()
        ? { able: true, note: t("save.shown") }
        : { able: false, note: t("save.nopicture") };
    }
    if (format === "json") return { able: true, note: t("save.carried") };
    return { able: false, note: t("save.needs") };
  };

  const items = (): HTMLElement[] => [...menu.querySelectorAll<HTMLElement>('[role="menuitem"]')];
  const focusAt = (index: number) => {
    const all = items();
    all.at(index % all.length)?.focus({ preventScroll: true });
  };
  const draw = () => {
    refill(
      menu,
      ...FORMATS.map((format) => {
        const { able, note } = standing(format);
        return h(
          "button",
          {
            type: "button",
            role: "menuitem",
            tabindex: -1,
            "data-lmkit": "save-item",
            "data-format": format,
            "aria-disabled": able ? null : "true",
          },
          t(`save.${format}` as MessageKey),
          note !== "" && h("span", { class: "note" }, note),
        );
      }),
    );
  };
  const open = (at: number) => {
    if (busy) return;
    draw();
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    focusAt(at);
  };
  const shut = (refocus: boolean) => {
    if (menu.hidden) return;
    menu.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (refocus) button.focus({ preventScroll: true });
  };

  /** Hand a file over; false where the user says that it is to go nowhere. */
  const give = async (name: string, file: Blob): Promise<boolean> => {
    const safe = name.replace(/[\\/]/g, "_");
    if (context.host.saveFile) return context.host.saveFile(safe, file);
    download(safe, file, place, scope);
    return true;
  };
  const make = async (
    format: ExportFormat,
  ): Promise<{ name: string; notes: string; given: boolean }> => {
    const spec = host.spec();
    const { layer, head, tokens, lens, picture, mapping } = host.store.state;
    if (source.state === "live") {
      const file = await source.exportAs(format, {
        selection: {
          layer,
          head,
          tokens: [...tokens],
          lens,
          picture,
        },
        picture,
        heads: (host.store.state.heads ?? []).filter((one) => one !== null),
        theme: "light",
        mapping,
        text: true,
      });
      const { buffer, byteOffset, byteLength } = file.data;
      const bytes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
      const given = await give(file.name, new Blob([bytes], { type: file.mime }));
      return { name: file.name, notes: file.notes.join(" "), given };
    }
    const name = `attention-layer${layer}-head${head}.${format}`;
    if (format === "json") {
      const text = JSON.stringify(source.carried(spec));
      return { name, notes: "", given: await give(name, new Blob([text], { type: JSON_MIME })) };
    }
    const canvas = host.canvas();
    if (!canvas) throw new Error(t("save.nopicture"));
    const shown = await pixels(canvas, context.theme.current.background, t);
    return { name, notes: "", given: await give(name, shown) };
  };
  const save = (format: ExportFormat) => {
    if (busy || !standing(format).able) return;
    shut(true);
    busy = true;
    button.setAttribute("aria-disabled", "true");
    button.textContent = t("save.busy");
    context.announce(t("save.busy"));
    make(format)
      .then(({ name, notes, given }) => {
        if (scope.disposed) return;
        const said = given ? `${t("save.done", { name })}. ${notes}`.trim() : t("save.nowhere");
        context.announce(visibleProse(said));
        button.title = visibleProse(said);
      })
      .catch((error: unknown) => {
        if (!scope.disposed) context.fail(errorInfo(error));
      })
      .finally(() => {
        busy = false;
        button.removeAttribute("aria-disabled");
        button.textContent = t("save");
      });
  };

  scope.on(button, "click", () => {
    if (menu.hidden) open(0);
    else shut(true);
  });
  scope.on<MouseEvent>(menu, "click", (event) => {
    const item = (event.target as Element).closest<HTMLElement>('[role="menuitem"]');
    const format = FORMATS.find((one) => one === item?.dataset["format"]);
    if (format) save(format);
  });
  scope.on<KeyboardEvent>(place, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (menu.hidden) {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      open(event.key === "ArrowDown" ? 0 : -1);
    } else {
      const all = items();
      const root = menu.getRootNode() as ShadowRoot | Document;
      const at = all.indexOf(root.activeElement as HTMLElement);
      if (event.key === "Escape") shut(true);
      else if (event.key === "Tab") {
        shut(true); // from the button on, Tab goes where it would have gone
        return;
      } else if (event.key === "ArrowDown") focusAt(at + 1);
      else if (event.key === "ArrowUp") focusAt(at <= 0 ? -1 : at - 1);
      else if (event.key === "Home") focusAt(0);
      else if (event.key === "End") focusAt(-1);
      else if (event.key !== "Enter" && event.key !== " ") {
        event.stopPropagation(); // letters are no keys of the picture while the menu is open
        return;
      } else return; // Enter and Space click, as on every button
    }
    event.preventDefault();
    event.stopPropagation();
  });
  scope.on<FocusEvent>(place, "focusout", (event) => {
    if (!(event.relatedTarget instanceof Node) || !place.contains(event.relatedTarget)) shut(false);
  });
  scope.add(
    source.subscribe((event) => {
      if (event.type === "state" && !menu.hidden) draw();
    }),
  );
  return place;
}
