import type { ErrorInfo } from "@lmkit/protocol";
import type { Translate } from "./messages.ts";
import type { Source } from "./source.ts";
import type { ThemeHandle } from "./theme.ts";

/** What every part of a view is given. */
export interface Context {
  readonly source: Source;
  readonly t: Translate;
  readonly theme: ThemeHandle;
  /** Say something to screen readers, politely. */
  announce(text: string): void;
  /** Draw an error that belongs to no part of its own. */
  fail(error: ErrorInfo): void;
}
