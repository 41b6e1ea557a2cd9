import type { Kernel } from "@jupyterlab/services";
import type { CellTask } from "./cells.ts";

/** What a kernel has of lmkit. */
export type Found =
  | { readonly state: "not-python" }
  | { readonly state: "missing"; readonly python: string }
  | { readonly state: "installed"; readonly version: string }
  | { readonly state: "loaded"; readonly version: string; readonly tasks: readonly CellTask[] };

/** One expression, so that nothing is left in the user's namespace; it prints a JSON string. */
const LOOK = `(lambda import_: import_("json").dumps({
  "python": import_("sys").prefix,
  "version": (import_("importlib.metadata", fromlist=["version"]).version("lmkit-core")
              if import_("importlib.util", fromlist=["util"]).find_spec("lmkit") else None),
  "tasks": (import_("msgspec").to_builtins([one.info() for one in
             import_("lmkit.kernel_session", fromlist=["kernel_session"]).current_host().tasks])
            if "lmkit" in getattr(getattr(getattr(get_ipython(), "kernel", None), "comm_manager",
                                          None), "targets", {}) else None),
}))(__import__)`
  .split("\n")
  .map((line) => line.trim())
  .join(" ");

/** Ask a kernel silently; waits for its running cell. Rejects with a sentence for people. */
export async function probe(kernel: Kernel.IKernelConnection): Promise<Found> {
  const info = await kernel.info;
  if (info.language_info.name !== "python") return { state: "not-python" };
  const future = kernel.requestExecute({
    code: "",
    silent: true,
    store_history: false,
    user_expressions: { lmkit: LOOK },
  });
  const { content } = await future.done;
  const answer = (content.status === "ok" ? content.user_expressions["lmkit"] : null) as {
    readonly status?: string;
    readonly evalue?: string;
    readonly data?: Readonly<Record<string, unknown>>;
  } | null;
  const shown = answer?.data?.["text/plain"];
  if (typeof shown !== "string") throw new Error(String(answer?.evalue ?? content.status));
  return read(shown);
}

/** @param shown Python's repr of a JSON string */
export function read(shown: string): Found {
  const inside = shown.slice(1, -1);
  // repr() escapes backslashes and its own quotes; JSON's ASCII has no other character it touches
  const json = inside.replace(/\\(.)/g, "$1");
  const { python, version, tasks } = JSON.parse(json) as Record<string, unknown>;
  if (typeof version !== "string") return { state: "missing", python: String(python) };
  if (!Array.isArray(tasks)) return { state: "installed", version };
  return { state: "loaded", version, tasks: tasks as CellTask[] };
}
