/** Asks a kernel for tiles by the one thing that the Jupyter extension lends: executing code. */
import { parseRefillRequest, REFILL_MIME, type RefillRequest } from "@lmkit/protocol";
import type { Kernel, KernelStatus } from "@vscode/jupyter-extension";
import * as vscode from "vscode";
import { isObject } from "./messages.ts";
import { RefusedError } from "./refused.ts";

export { parseRefillRequest } from "@lmkit/protocol";

/** As the Jupyter extension names an exception among outputs. */
const ERROR_MIME = "application/vnd.code.notebook.error";
/** What a kernel says of itself when it will not answer what it was asked before. */
const ENDS: ReadonlySet<KernelStatus> = new Set([
  "terminating",
  "restarting",
  "autorestarting",
  "dead",
]);
/** Bytes of an answer that are read; the kernel stops at less. */
const MOST_BYTES = 80_000_000;

/**
 * The one line that is executed. Where lmkit is not loaded no output of this kernel can be live, so
 * that nothing is imported by a name that a file beside the notebook might have. The request, checked,
 * is a JSON text within a JSON string, which is a Python string as well: it is ASCII throughout.
 */
export function codeOf(request: RefillRequest): string {
  const text = JSON.stringify(JSON.stringify(parseRefillRequest(request))).replace(
    /[^\x20-\x7e]/g,
    // within the inner JSON: the backslash is one of the inner text, and so it is written twice
    (unit) => `\\\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return (
    `(lambda there: there and __import__("lmkit.transports.refill", fromlist=["refill"])` +
    `.refill(${text}))(__import__("sys").modules.get("lmkit"))`
  );
}

/** What the kernel answers, untrusted. @throws RefusedError with a sentence for people. */
export async function askKernel(kernel: Kernel, request: RefillRequest): Promise<unknown> {
  if (kernel.language !== "python") {
    throw new RefusedError("not-python", vscode.l10n.t("This notebook's kernel is not Python."));
  }
  // Never cancelled: that would interrupt what the user runs in this kernel.
  const source = new vscode.CancellationTokenSource();
  let following: vscode.Disposable | undefined;
  const ended = new Promise<never>((_, reject) => {
    const look = (status: KernelStatus) => {
      if (!ENDS.has(status)) return;
      const said = vscode.l10n.t("The kernel was restarted or ended before it answered.");
      reject(new RefusedError("ended", said, vscode.l10n.t("Run the cell again to go live.")));
    };
    following = kernel.onDidChangeStatus(look);
    look(kernel.status);
  });
  try {
    return await Promise.race([answerOf(kernel, request, source.token), ended]);
  } finally {
    following?.dispose();
    source.dispose();
  }
}

async function answerOf(
  kernel: Kernel,
  request: RefillRequest,
  token: vscode.CancellationToken,
): Promise<unknown> {
  let failure = "";
  for await (const { items } of kernel.executeCode(codeOf(request), token)) {
    for (const { mime, data } of items) {
      if (mime === REFILL_MIME) return read(data);
      if (mime === ERROR_MIME) failure = exceptionOf(data);
    }
  }
  if (failure) throw new RefusedError("kernel", vscode.l10n.t("The kernel says: {0}", failure));
  throw new RefusedError(
    "not-loaded",
    vscode.l10n.t("lmkit is not loaded in this notebook's kernel."),
    vscode.l10n.t("Run the cell again to go live."),
  );
}

function read(data: Uint8Array): unknown {
  if (data.byteLength > MOST_BYTES) {
    throw new RefusedError("too-large", vscode.l10n.t("The kernel's answer is too large."));
  }
  return JSON.parse(new TextDecoder().decode(data));
}

/** An exception of the kernel in one line. */
function exceptionOf(data: Uint8Array): string {
  try {
    const found: unknown = JSON.parse(new TextDecoder().decode(data.subarray(0, 100_000)));
    if (isObject(found))
      return `${String(found["name"])}: ${String(found["message"])}`.slice(0, 500);
  } catch {
    // Whatever it was, the code did not run.
  }
  return "error";
}
