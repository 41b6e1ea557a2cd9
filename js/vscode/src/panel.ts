/** One panel: a webview whose view lives in the Python process. */
import { randomBytes, randomUUID } from "node:crypto";
import { type Opened, PROTOCOL, type Status } from "@lmkit/protocol";
import * as vscode from "vscode";
import { pageOf } from "./html.ts";
import { type FromPage, isObject, MAX_KEPT, type PanelState, type ToPage } from "./messages.ts";
import { RunProgress } from "./progress.ts";
import { fileFolder } from "./python.ts";
import { errorOf, type Server, ServerError } from "./server.ts";

/** Milliseconds after a result until its saved form is made. */
const REST = 500;
/** And after another head was chosen: the form, up to megabytes, is made and sent anew. */
const LOOKED = 2_000;

/** How a run may end. */
const ENDS: ReadonlySet<Status["state"]> = new Set(["done", "cancelled", "error"]);

export const VIEW_TYPE = "lmkit.panel";

interface Answered {
  readonly message: unknown;
  readonly data: readonly string[];
}

export class Panel implements vscode.Disposable {
  readonly #undo: vscode.Disposable[] = [];
  readonly #progress: RunProgress;
  #state: PanelState;
  #where: Opened | null = null;
  /** Counts openings: what was begun for an earlier process says nothing about this one. */
  #openings = 0;
  #keeping: ReturnType<typeof setTimeout> | undefined;
  /** Run once it is open: after "Analyse Selection", and where there was a result before. */
  #wish: boolean;
  /** Whether the page draws a result of before. It does so until another can take its place. */
  #saved: boolean;
  /** Whether the page listens. It takes VS Code most of a second to load one; Python begins before. */
  #ready = false;
  /** What became of the opening, for a page that comes later. Empty while it goes on. */
  #told: ToPage[] = [];
  /** Whether it shows a table's rows: no place for a selected text. */
  #overRows = false;
  /** Whether something runs in it. */
  #busy = false;
  /** Counts the runs that began. */
  #runs = 0;
  #disposed = false;

  constructor(
    private readonly panel: vscode.WebviewPanel,
    private readonly server: Server,
    extension: vscode.Uri,
    state: PanelState,
    run: boolean,
    title: string,
  ) {
    this.#state = state;
    this.#wish = run;
    this.#saved = state.bundle !== undefined;
    this.#progress = new RunProgress(`lmkit: ${title}`, (id) => this.#cancel(id));
    panel.title = `lmkit: ${title}`;
    panel.iconPath = vscode.Uri.joinPath(extension, "media", "icon.png");
    panel.webview.options = { enableScripts: true, localResourceRoots: [extension] };
    this.#undo.push(
      panel.onDidDispose(() => this.dispose()),
      panel.webview.onDidReceiveMessage((message: FromPage) => this.#hear(message)),
      server.onEvent((event) => this.#event(event)),
      server.onEnded(() => void this.#reopen()),
      // what kept it from opening may be gone: lmkit was installed, the workspace is trusted
      server.onState((state) => state === "running" && this.#again()),
      vscode.workspace.onDidGrantWorkspaceTrust(() => this.#again()),
    );
    panel.webview.html = pageOf(panel.webview, extension, randomBytes(16).toString("base64url"));
    void this.#open();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    clearTimeout(this.#keeping);
    this.#progress.dispose();
    for (const one of this.#undo) one.dispose();
    this.#close();
  }

  /** Bring it to the front. */
  reveal(): void {
    this.panel.reveal();
  }

  get visible(): boolean {
    return this.panel.visible;
  }

  /** Whether a selected text can be run here: the same task, and the model that is asked for, if one is. */
  takes(task: string, model: string | undefined): boolean {
    const { task: mine, model: loaded } = this.#state;
    return task === mine && (model ?? loaded) === loaded && !this.#overRows && !this.#showsKept;
  }

  /** Whether it shows a result that only the page still has. */
  get #showsKept(): boolean {
    const types = this.#told.map(({ type }) => type);
    return types.includes("kept") && !types.includes("open");
  }

  /** Run with these values; what else the form holds stays. The keyboard stays where it is. */
  async run(values: PanelState["values"]): Promise<void> {
    this.panel.reveal(undefined, true);
    this.#keepValues(values);
    this.#wish = true;
    // Where it is being opened it runs then; where that failed it is tried again.
    if (this.#where) await this.#attempt(this.#where);
    else if (this.#told.length > 0) await this.#open();
  }

  #again(): void {
    if (!this.#where && this.#problem) void this.#open();
  }

  /** For tests in the extension host. */
  get state(): PanelState {
    return this.#state;
  }

  #post(message: ToPage): void {
    if (this.#ready && !this.#disposed) void this.panel.webview.postMessage(message);
  }

  #close(): void {
    const where = this.#where;
    this.#where = null;
    if (where && this.server.state === "running") {
      this.server.request("close", { view: where.view }).catch(() => {}); // gone with its process
    }
  }

  async #open(): Promise<void> {
    const opening = ++this.#openings;
    this.#close();
    this.#clearProblem();
    this.#told = [];
    this.#overRows = false;
    let where: Opened;
    try {
      const { task, model, values } = this.#state;
      where = await this.server.request<Opened>("open", { task, model, values });
    } catch (error) {
      if (opening === this.#openings) this.#tellProblem(error);
      return;
    }
    if (opening !== this.#openings || this.#disposed) {
      this.server.request("close", { view: where.view }).catch(() => {});
      return;
    }
    this.#where = where;
    if (this.#wish) {
      if (!this.#saved) this.#tellOpen(where);
      await this.#attempt(where);
    } else if (this.#saved && !(await this.#follows(where).catch(() => true))) {
      if (this.#where === where) this.#tell({ type: "kept" });
    } else if (this.#where === where) this.#tellOpen(where);
  }

  #tellOpen(where: Opened): void {
    this.#saved = false;
    if (!this.#told.some((told) => told.type === "open")) this.#tell({ type: "open", where });
  }

  #tell(what: ToPage): void {
    this.#told.push(what);
    this.#post(what);
  }

  #tellProblem(error: unknown): void {
    const { message, hint } = errorOf(error);
    this.#tell({ type: "problem", message, hint });
  }

  get #problem(): boolean {
    return this.#told.some((told) => told.type === "problem");
  }

  /** What was said of an earlier try says nothing of the next. */
  #clearProblem(): void {
    if (!this.#problem) return;
    this.#told = this.#told.filter((told) => told.type !== "problem");
    this.#post({ type: "problem", message: "", hint: "" });
  }

  async #attempt(where: Opened): Promise<void> {
    this.#wish = false;
    this.#clearProblem();
    try {
      await this.#run(where);
    } catch (error) {
      // a process that died has been told of, and the panel is opened anew
      if (this.#where !== where) return;
      this.#tellOpen(where);
      this.#tellProblem(error);
    }
  }

  /** Say hello; whether the view follows a job. */
  async #follows({ view, session }: Opened): Promise<boolean> {
    // Events go to who has said hello; the page says it again and is told what there is by then.
    const hello = {
      type: "hello",
      id: randomUUID(),
      view,
      session,
      protocol: PROTOCOL,
      version: "",
    };
    const { message } = await this.server.request<Answered>("request", { message: hello });
    const spec = isObject(message) ? message["spec"] : null;
    return isObject(spec) && Boolean(spec["job"]);
  }

  /** Run what the form holds, unless the view follows a job: that is drawn from its folder. */
  async #run(where: Opened): Promise<void> {
    const { view } = where;
    // as they are now: a run that ends meanwhile brings those that it was made with
    const { values } = this.#state;
    const follows = await this.#follows(where);
    if (this.#where !== where) return;
    if (follows) {
      this.#tellOpen(where);
      return;
    }
    // The form takes the values over first: a run that is refused leaves them there to be mended.
    for (const type of ["edit", "run"]) {
      const asked = { type, id: randomUUID(), view, values };
      const { message: answer } = await this.server.request<Answered>("request", {
        message: asked,
      });
      if (isObject(answer) && answer["type"] === "error") throw refused(answer["error"]);
    }
  }

  async #reopen(): Promise<void> {
    if (this.#disposed) return;
    this.#post({ type: "closed" });
    this.#progress.dispose();
    this.#where = null;
    // What it showed is computed again and stays until then. A run that went on has no result yet: it
    // may be what the process died of.
    if (this.#state.ran) this.#wish = true;
    if (this.#state.ran || (!this.#busy && this.#state.bundle !== undefined)) this.#saved = true;
    this.#busy = false;
    await this.#open();
  }

  #hear(told: FromPage): void {
    if (told.type === "ready") this.#show();
    else if (told.type === "begin") this.#begin();
    else if (told.type === "send") void this.#carry(told.message);
    else if (told.type === "save") void this.#save(told);
  }

  async #save({ id, name, data }: Extract<FromPage, { type: "save" }>): Promise<void> {
    let [done, problem] = [false, ""];
    try {
      done = await save(name, data);
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    this.#post({ type: "saved", id, done, problem });
  }

  /** The page is there: for the first time, or a new one after the panel went into another window. */
  #show(): void {
    this.#ready = true;
    this.#postState(true);
    for (const told of this.#told) this.#post(told);
  }

  /** The user leaves the kept result for the form. */
  #begin(): void {
    if (this.#where) this.#tellOpen(this.#where);
  }

  /** Carry a message of the view to Python and its answer back. */
  async #carry(message: unknown): Promise<void> {
    if (!isObject(message)) return;
    // other messages carry values too: of the report on a data set, of a view
    if (message["type"] === "edit" || message["type"] === "run") {
      const before = JSON.stringify(this.#state.values);
      this.#keepValues(message["values"]);
      // a result of other values: a reload shows it as it was and runs nothing
      const edited = before !== JSON.stringify(this.#state.values);
      if (edited && this.#state.ran) this.#keep({ ...this.#state, ran: false });
    }
    if (message["type"] === "select") this.#keepSelection(message["selection"]);
    let answer: Answered;
    try {
      answer = await this.server.request<Answered>("request", { message });
    } catch (error) {
      const { id, view } = message;
      answer = { message: { type: "error", id, view, error: errorOf(error) }, data: [] };
    }
    this.#post({ type: "message", ...answer });
  }

  #event(event: Readonly<Record<string, unknown>>): void {
    const where = this.#where;
    if (!where || event["view"] !== where.view) return;
    this.#post({ type: "message", message: event, data: [] });
    const spec = isObject(event["spec"]) ? event["spec"] : {};
    const status = (event["type"] === "status" ? event["status"] : spec["status"]) as
      | Status
      | undefined;
    const before = this.#busy;
    if (status) {
      this.#busy = status.state !== "idle" && !ENDS.has(status.state);
      if (this.#busy && !before) this.#runs += 1;
    }
    if (status?.state === "running") this.#clearProblem();
    if (status) this.#progress.follow(status);
    if (event["type"] === "selected") this.#keepSelection(event["selection"]);
    if (event["type"] === "changed") {
      const { dataSet } = spec;
      this.#overRows = isObject(dataSet) && dataSet["source"] !== "";
      this.#keepValues(spec["values"]);
      if (status?.state === "done" || status?.kept || spec["job"]) this.#keepSoon();
    }
    // An edit tells the end of the run before once more.
    if (this.#busy || before) this.#follow(status?.state === "done" && !spec["job"]);
    // The page asks for all that there is, so what it was told before is told again.
    if (event["type"] === "partial") this.#tellOpen(where);
    else if (status && ENDS.has(status.state)) void this.#showEnd(where, status);
  }

  /** Note whether the form's values have a result, which a reload computes again. */
  #follow(done: boolean): void {
    const ran = done && !this.#overRows;
    if (ran !== (this.#state.ran ?? false)) this.#keep({ ...this.#state, ran });
  }

  /** A run has ended: where the page draws what was before, the new takes its place as it was left. */
  async #showEnd(where: Opened, status: Status): Promise<void> {
    const { selection } = this.#state;
    if (this.#saved && status.state === "done" && selection !== undefined) {
      const message = { type: "select", id: randomUUID(), view: where.view, selection };
      // what is no selection of this model is refused, and nothing is lost by it
      await this.server.request("request", { message }).catch(() => {});
    }
    if (this.#where === where) this.#tellOpen(where);
  }

  #keepSelection(selection: unknown): void {
    if (!isObject(selection)) return;
    this.#keep({ ...this.#state, selection });
    if (this.#state.bundle !== undefined) this.#keepSoon(LOOKED); // which carries the shown head
  }

  #keepValues(values: unknown): void {
    if (!isObject(values)) return;
    const merged = { ...this.#state.values, ...values } as PanelState["values"];
    this.#keep({ ...this.#state, values: merged });
  }

  /** Have VS Code keep a state. The saved form, up to megabytes, goes to the page when it is another. */
  #keep(state: PanelState): void {
    const { bundle } = this.#state;
    this.#state = state;
    this.#postState(state.bundle !== bundle);
  }

  #postState(whole: boolean): void {
    const { bundle = null, ...state } = this.#state;
    this.#post(whole ? { type: "state", state, bundle } : { type: "state", state });
  }

  /** Not at once: the pictures of the result are asked for now, by the same Python. */
  #keepSoon(rest = REST): void {
    clearTimeout(this.#keeping);
    this.#keeping = setTimeout(() => void this.#keepView(), rest);
  }

  /** Keep the view's saved form, so that a reload shows it at once. */
  async #keepView(): Promise<void> {
    // while something runs the view is in part of the run before: its end is kept instead
    if (!this.#where || this.#busy) return;
    const { view } = this.#where;
    const runs = this.#runs;
    try {
      const bundle = await this.server.request<unknown>("snapshot", { view });
      if (runs !== this.#runs || view !== this.#where?.view) return;
      const { bundle: _, ...rest } = this.#state;
      const small = JSON.stringify(bundle).length <= MAX_KEPT;
      this.#keep(small ? { ...rest, bundle } : rest);
    } catch {
      // The form comes back all the same.
    }
  }

  #cancel(run: string): void {
    const message = { type: "cancel", id: randomUUID(), view: this.#where?.view, target: run };
    this.server.request("request", { message }).catch(() => {}); // its end is told by an event
  }
}

/** What the session says of a message that it refuses, as an error. */
function refused(error: unknown): ServerError {
  const { message, hint } = isObject(error) ? error : {};
  return new ServerError(String(message ?? ""), String(hint ?? ""));
}

/** Write what a view saved where the user says; false where they say nowhere. */
async function save(name: string, data: string): Promise<boolean> {
  const safe = name.replace(/[^\p{L}\p{N}._ -]/gu, "_").slice(0, 120) || "lmkit";
  const folder = fileFolder()?.uri;
  const target = await vscode.window.showSaveDialog(
    folder ? { defaultUri: vscode.Uri.joinPath(folder, safe) } : {},
  );
  if (!target) return false;
  try {
    await vscode.workspace.fs.writeFile(target, Buffer.from(data, "base64"));
  } catch (error) {
    const why = (error instanceof Error ? error.message : String(error)).replace(/^Error: /, "");
    throw new Error(vscode.l10n.t("{0} could not be written: {1}", target.fsPath, why));
  }
  return true;
}
