import type { ErrorInfo, TaskInfo } from "@lmkit/protocol";
import type { Translate } from "./messages.ts";
import type { Source } from "./source.ts";
import type { ThemeHandle } from "./theme.ts";

/** What the application around a view can do that a page cannot; each only where there is one. */
export interface HostActions {
  /** Put a cell that runs this task into the notebook at hand. */
  readonly insertTask?: (task: TaskInfo) => void;
  /** Put a cell with these lines into the notebook at hand. */
  readonly insertCode?: (source: string) => void;
  /** Go to the output that shows this view; false when it is nowhere to be seen. */
  readonly showView?: (view: string) => boolean;
  /**
   * Write a file where the user says, in place of a download; false where the user says nowhere.
   * Rejects with why it could not be written.
   */
  readonly saveFile?: (name: string, file: Blob) => Promise<boolean>;
  /** What a saved view says of itself where no cell brings it to life. */
  readonly saved?: string;
}

/** What every part of a view is given. */
export interface Context {
  readonly source: Source;
  readonly t: Translate;
  readonly theme: ThemeHandle;
  readonly host: HostActions;
  /** What scripts need to run here by the policy of the page around; "" where they need nothing. */
  readonly nonce: string;
  /** Say something to screen readers, politely. */
  announce(text: string): void;
  /** Draw an error that belongs to no part of its own. */
  fail(error: ErrorInfo): void;
}
