/** What travels between the notebook renderer and the extension: JSON, and to every output at once. */
import type { ErrorInfo, RefillRequest } from "@lmkit/protocol";

/** The id of the renderer in the manifest. */
export const RENDERER = "lmkit.renderer";

export type FromRenderer =
  /** May the kernel be asked? Answered by "offered" then, and whenever that changes. */
  | { readonly type: "offer" }
  | { readonly type: "refill"; readonly id: string; readonly request: RefillRequest };

export type ToRenderer =
  | {
      readonly type: "offered";
      /** Empty: the user may ask; else how the rest is had. */
      readonly note: string;
      /** Another one owes no answer to what its forerunner was asked. */
      readonly host: string;
      /** Of VS Code, which its notebooks' pages do not say. */
      readonly language: string;
    }
  | { readonly type: "refilled"; readonly id: string; readonly found: unknown }
  | { readonly type: "refused"; readonly id: string; readonly error: ErrorInfo };
