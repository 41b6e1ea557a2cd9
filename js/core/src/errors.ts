/** Errors of views, as they travel and as they are drawn. */
import { type ErrorInfo, inWords, type Phrase, ProtocolError } from "@lmkit/protocol";
import { fillIn, MESSAGES, type MessageKey, type Translate, type Values } from "./messages.ts";

/** Under which an error of the page itself has its words; no message from outside can hold a symbol. */
const WORDS = Symbol("words");
type Worded = ErrorInfo & { readonly [WORDS]?: Phrase<MessageKey> };

/** An error that came from the kernel, or stands for its absence (`code` "not-carried", "lost"). */
export class KernelError extends Error {
  override readonly name = "KernelError";

  constructor(readonly info: ErrorInfo) {
    super(info.message);
  }
}

export function plainError(code: string, message: string, hint = ""): KernelError {
  return new KernelError({ code, message, hint, details: "" });
}

/** An error of the page itself: told in the view's language, in English to whoever knows none. */
export function ownError(code: string, key: MessageKey, values: Values = {}): KernelError {
  const message = fillIn(MESSAGES[key][0], values);
  const info: Worded = { code, message, hint: "", details: "", [WORDS]: { key, values } };
  return new KernelError(info);
}

/** Any error as one that can be drawn. */
export function errorInfo(error: unknown): ErrorInfo {
  if (error instanceof KernelError) return error.info;
  if (error instanceof Error) {
    const info = { code: error.name || "error", message: error.message, hint: "", details: "" };
    const words = error instanceof ProtocolError ? error.problem : null;
    return words ? Object.assign(info, { [WORDS]: words }) : info;
  }
  return { code: "error", message: String(error), hint: "", details: "" };
}

/** What an error says, in the view's language where the words are the page's own. */
export function errorText(error: ErrorInfo, t: Translate): string {
  const words = (error as Worded)[WORDS];
  return words ? inWords(words, t) : error.message;
}
