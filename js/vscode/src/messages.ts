/** What travels between a panel's page and the extension, and what a panel is made of again. */
import type { FieldValue } from "@lmkit/protocol";

export interface Where {
  readonly session: string;
  readonly view: string;
}

/** All that a panel needs to come back after a reload; kept by VS Code, so it is checked when read. */
export interface PanelState {
  readonly task: string;
  readonly model: string;
  readonly values: Readonly<Record<string, FieldValue>>;
  /** Whether these values have a result: a reload computes it again. */
  readonly ran?: boolean;
  /** Layer, head and tokens that are shown. Python checks it. */
  readonly selection?: Readonly<Record<string, unknown>>;
  /** The view's saved form, drawn until the result is there again. */
  readonly bundle?: unknown;
}

export type ToPage =
  | { readonly type: "open"; readonly where: Where }
  | { readonly type: "message"; readonly message: unknown; readonly data: readonly string[] }
  | { readonly type: "closed" }
  /** The saved form is all that there is of its result: it stays until the user asks for the form. */
  | { readonly type: "kept" }
  | {
      readonly type: "state";
      readonly state: Omit<PanelState, "bundle">;
      /** Where it is another than before; null where there is none any more. */
      readonly bundle?: unknown;
    }
  | { readonly type: "problem"; readonly message: string; readonly hint: string }
  /** What became of a file: false where the user said nowhere; else why it is not there. */
  | {
      readonly type: "saved";
      readonly id: number;
      readonly done: boolean;
      readonly problem: string;
    };

export type FromPage =
  | { readonly type: "ready" }
  | { readonly type: "begin" }
  | { readonly type: "send"; readonly message: unknown }
  | { readonly type: "save"; readonly id: number; readonly name: string; readonly data: string };

/** Bytes of the saved form that VS Code keeps for a panel. */
export const MAX_KEPT = 2_000_000;

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The state that VS Code kept, or null where it is none of ours. */
export function readState(data: unknown): PanelState | null {
  if (!isObject(data)) return null;
  const { task, model, values, ran, selection, bundle } = data;
  if (typeof task !== "string" || task === "" || typeof model !== "string") return null;
  const read: Record<string, FieldValue> = {};
  if (isObject(values)) {
    for (const [name, value] of Object.entries(values)) {
      if (value === null || ["string", "number", "boolean"].includes(typeof value)) {
        read[name] = value as FieldValue;
      }
    }
  }
  return {
    task,
    model,
    values: read,
    ...(ran === true ? { ran } : {}),
    ...(isObject(selection) ? { selection } : {}),
    ...(isObject(bundle) ? { bundle } : {}),
  };
}
