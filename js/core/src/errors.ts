/** Errors of views, as they travel and as they are drawn. */
import type { ErrorInfo } from "@lmkit/protocol";

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

/** Any error as one that can be drawn. */
export function errorInfo(error: unknown): ErrorInfo {
  if (error instanceof KernelError) return error.info;
  if (error instanceof Error) {
    return { code: error.name || "error", message: error.message, hint: "", details: "" };
  }
  return { code: "error", message: String(error), hint: "", details: "" };
}
