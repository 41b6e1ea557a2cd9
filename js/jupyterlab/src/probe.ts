import type { Kernel } from "@jupyterlab/services";

/** What a kernel has of lmkit. */
export type Found =
  | { readonly state: "not-python" }
  | { readonly state: "missing"; readonly python: string }
  | { readonly state: "installed"; readonly version: string }
  | { readonly state: "loaded"; readonly version: string; readonly tasks: readonly string[] };

/**
 * One expression, so that nothing is left in the user's namespace; it prints a JSON string. The name
 * lmkit on the public index is another distribution's: ours is the one with this module, which is looked
 * for without importing its package. Nothing here raises where either is missing.
 */
const LOOK = `(lambda import_: import_("json").dumps({
  "python": import_("sys").prefix,
  "version": (lambda package: (
    next((one.version for one in
          import_("importlib.metadata", fromlist=["metadata"]).distributions(name="lmkit-core")), "?")
    if package and import_("importlib.machinery", fromlist=["machinery"]).PathFinder.find_spec(
      "lmkit.kernel_session", package.submodule_search_locations or []) else None
  ))(import_("importlib.util", fromlist=["util"]).find_spec("lmkit")),
  "tasks": ([one.task.name for one in
             import_("lmkit.kernel_session", fromlist=["kernel_session"]).current_host().tasks]
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
  let { content } = await ask(kernel);
  // a cell that fails, or is interrupted, takes along what waits behind it
  for (let more = 3; content.status === "aborted" && more > 0; more--) {
    content = (await ask(kernel)).content;
  }
  const answer = (content.status === "ok" ? content.user_expressions["lmkit"] : null) as {
    readonly status?: string;
    readonly evalue?: string;
    readonly data?: Readonly<Record<string, unknown>>;
  } | null;
  const shown = answer?.data?.["text/plain"];
  if (typeof shown !== "string") throw new Error(String(answer?.evalue ?? content.status));
  return read(shown);
}

function ask(kernel: Kernel.IKernelConnection) {
  return kernel.requestExecute({
    code: "",
    silent: true,
    store_history: false,
    user_expressions: { lmkit: LOOK },
  }).done;
}

/** @param shown Python's repr of a JSON string */
export function read(shown: string): Found {
  const inside = shown.slice(1, -1);
  // repr() escapes backslashes and its own quotes; JSON's ASCII has no other character it touches
  const json = inside.replace(/\\(.)/g, "$1");
  const { python, version, tasks } = JSON.parse(json) as Record<string, unknown>;
  if (typeof version !== "string") return { state: "missing", python: String(python) };
  if (!Array.isArray(tasks)) return { state: "installed", version };
  return { state: "loaded", version, tasks: tasks.map(String) };
}
