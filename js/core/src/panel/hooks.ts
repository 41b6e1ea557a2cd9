/** What results may do with the panel they stand in. */

import type { Change, FieldValue } from "@lmkit/protocol";
import type { FieldValues } from "../source.ts";

/** Set fields and run, as a click in a result asks for. */
export type Apply = (change: Change) => void;

/** The panel's field values, which a result may follow and set. */
export interface Fields {
  get(name: string): FieldValue | undefined;
  set(values: FieldValues): void;
  /** Called when values came from elsewhere; returns the undo. */
  subscribe(listener: () => void): () => void;
}

/** A view that says what speaks for a label of a result. */
export interface Explain {
  /** What the view is called. */
  readonly title: string;
  /** Whether the label is the model's own, and so one that the view can be asked of. */
  knows(label: string): boolean;
  open(label: string): void;
}
