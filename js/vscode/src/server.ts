/** The Python process: started when first needed, kept, and started again when it dies. */
import { type ChildProcess, spawn } from "node:child_process";
import { type Initialized, PROTOCOL } from "@lmkit/protocol";
import * as vscode from "vscode";
import type { MessageConnection } from "vscode-jsonrpc/node";
import { isObject } from "./messages.ts";
import { fileFolder, isVirtual } from "./python.ts";

const VERSION = "0.1.0";
/** Deaths within this time after which it is not started again by itself. */
const SPELL_MS = 5 * 60_000;
const MOST_DEATHS = 3;
const START_MS = 120_000;
/** Milliseconds between two looks at a process that owes an answer, and from when on it is said. */
const LOOK_MS = 5_000;
const SILENT_MS = 15_000;
/** A process that does not end with its input is ended. */
const END_MS = 6_000;

export type ServerState = "stopped" | "starting" | "running" | "failed";

interface Running {
  readonly process: ChildProcess;
  readonly connection: MessageConnection;
  readonly about: Initialized;
}

/** What keeps the process from answering, as far as a command can be offered for it. */
export type Obstacle = "untrusted" | "virtual" | "no-python" | "missing" | "silent" | "server";

/** A sentence for people, with what to do. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly hint = "",
    readonly code: Obstacle = "server",
  ) {
    super(message);
  }
}

/** Any failure of a request as the error that a view draws. */
export function errorOf(error: unknown): {
  code: string;
  message: string;
  hint: string;
  details: string;
} {
  // by its shape: the module of a ResponseError's class is loaded with the first process
  const data = error instanceof Error && "data" in error ? error.data : null;
  if (error instanceof Error && isObject(data)) {
    const { code, message, hint, details } = data;
    return {
      code: String(code ?? "error"),
      message: String(message ?? error.message),
      hint: String(hint ?? ""),
      details: String(details ?? ""),
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  const { code, hint } = error instanceof ServerError ? error : { code: "server", hint: "" };
  return { code, message, hint, details: "" };
}

/** How a process ended: the signal's name, or its status. */
function endOf(code: number | null, signal: string | null): string {
  return signal ?? vscode.l10n.t("status {0}", String(code));
}

function alive(process: ChildProcess): boolean {
  return process.exitCode === null && process.signalCode === null;
}

export class Server implements vscode.Disposable {
  readonly #state = new vscode.EventEmitter<ServerState>();
  readonly #events = new vscode.EventEmitter<Readonly<Record<string, unknown>>>();
  readonly #ended = new vscode.EventEmitter<void>();
  readonly onState = this.#state.event;
  /** What views are told unasked. */
  readonly onEvent = this.#events.event;
  /** The process is gone; its views with it. */
  readonly onEnded = this.#ended.event;
  state: ServerState = "stopped";
  /** Why it is not there, where its state is "failed". */
  failure: unknown = null;

  #running: Promise<Running> | null = null;
  #process: ChildProcess | null = null;
  #interpreter: string | null = null;
  #deaths: number[] = [];
  #disposed = false;
  /** Requests that have no answer yet. */
  #owed = 0;
  #looking: NodeJS.Timeout | null = null;
  /** Since when a `ping` has no answer. */
  #pinged: number | null = null;
  /** Whether that was said. */
  #silent = false;

  constructor(
    private readonly python: () => Promise<string>,
    private readonly log: vscode.OutputChannel,
  ) {}

  /** Who answers, started if need be. */
  async about(): Promise<Initialized> {
    return (await this.#ensure()).about;
  }

  /** The interpreter of the process that runs or is being started; null without one. */
  get interpreter(): string | null {
    return this.#running ? this.#interpreter : null;
  }

  /** Of the Python process, while there is one. */
  get processId(): number | undefined {
    return this.#process?.pid;
  }

  /** Ask; rejects with a `ResponseError` of the server or a `ServerError`. */
  async request<T>(method: string, params?: unknown, token?: vscode.CancellationToken): Promise<T> {
    const running = await this.#ensure();
    const { connection } = running;
    this.#owed++;
    this.#looking ??= setTimeout(() => this.#look(running), LOOK_MS);
    try {
      // an undefined token would be taken for a second parameter
      return await (token
        ? connection.sendRequest<T>(method, params ?? {}, token)
        : connection.sendRequest<T>(method, params ?? {}));
    } finally {
      this.#owed--;
    }
  }

  /** What was owed by an earlier process is no more. */
  #rest(): void {
    if (this.#looking) clearTimeout(this.#looking);
    this.#looking = null;
    this.#pinged = null;
  }

  /**
   * Whether a process that owes answers is still there: it answers `ping` at once, whatever it
   * computes. One that does not, hung or stopped, is told of once, and again after it was back.
   */
  #look(running: Running): void {
    this.#looking = null;
    if (this.#process !== running.process || this.#owed === 0) return;
    if (this.#pinged === null) {
      this.#pinged = Date.now();
      const back = () => {
        if (this.#process === running.process) this.#pinged = null;
      };
      running.connection.sendRequest("ping").then(back, back); // an error is an answer, too
      this.#silent = false;
    } else if (!this.#silent && Date.now() - this.#pinged >= SILENT_MS) {
      this.#silent = true;
      this.#tellSilent();
    }
    this.#looking = setTimeout(() => this.#look(running), LOOK_MS);
  }

  /** End the process; the next request starts another. */
  async stop(): Promise<void> {
    const [there, starting] = [this.#process, this.#running];
    this.#process = null;
    there?.stdin?.end(); // the server ends with its input
    const running = await starting?.catch(() => null);
    // one whose Python was still being looked for is there by now
    const process = there ?? running?.process;
    if (this.#process === process) this.#process = null;
    if (this.#running === starting) this.#running = null;
    running?.connection.dispose();
    process?.stdin?.end();
    // one that hangs hears no milder signal
    if (process) setTimeout(() => alive(process) && process.kill("SIGKILL"), END_MS).unref();
    this.#become("stopped");
    this.#ended.fire();
  }

  dispose(): void {
    this.#disposed = true;
    this.#process?.stdin?.end();
    this.#process?.kill("SIGKILL");
    this.#rest();
  }

  #become(state: ServerState): void {
    if (this.#disposed || this.state === state) return;
    this.state = state;
    this.#state.fire(state);
  }

  #ensure(): Promise<Running> {
    if (!vscode.workspace.isTrusted) {
      const hint = vscode.l10n.t("Trust the workspace to run models in it.");
      const said = vscode.l10n.t("This workspace is not trusted.");
      return Promise.reject(new ServerError(said, hint, "untrusted"));
    }
    if (isVirtual()) {
      const hint = vscode.l10n.t("Open it from a machine with Python to run models in it.");
      const said = vscode.l10n.t("The files of this workspace are on no machine with Python.");
      return Promise.reject(new ServerError(said, hint, "virtual"));
    }
    this.#running ??= this.#start().catch((error: unknown) => {
      const { message, hint } = errorOf(error);
      this.log.appendLine([message, hint].filter(Boolean).join(" "));
      this.#running = null;
      this.failure = error;
      this.#become("failed");
      throw error;
    });
    return this.#running;
  }

  async #start(): Promise<Running> {
    this.#become("starting");
    // not before it is needed: it is most of the extension's code
    const [rpc, python] = await Promise.all([import("vscode-jsonrpc/node"), this.python()]);
    this.#interpreter = python;
    this.#rest();
    const cwd = fileFolder()?.uri.fsPath;
    this.log.appendLine(`Starting ${python} -m lmkit serve --stdio`);
    const child = spawn(python, ["-m", "lmkit", "serve", "--stdio"], {
      ...(cwd ? { cwd } : {}),
      env: { ...process.env, PYTHONUTF8: "1", PYTHONSAFEPATH: "1" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#process = child;
    child.stderr.setEncoding("utf8");
    let last = "";
    child.stderr.on("data", (text: string) => {
      last = `${last}${text}`.slice(-2_000);
      this.log.append(text);
    });
    child.stdin.on("error", () => {}); // the process has gone: its end is heard below
    const gone = new Promise<never>((_, reject) => {
      child.once("error", (error) =>
        reject(
          new ServerError(
            vscode.l10n.t("{0} cannot be started: {1}.", python, error.message),
            vscode.l10n.t("Choose another Python."),
            "no-python",
          ),
        ),
      );
      child.once("exit", (code, signal) => {
        if (/No module named '?lmkit/.test(last)) {
          const said = vscode.l10n.t("lmkit is not in the Python environment {0}.", python);
          const hint = vscode.l10n.t("Install it there, or choose another Python.");
          reject(new ServerError(said, hint, "missing"));
          return;
        }
        reject(
          new ServerError(
            vscode.l10n.t("lmkit's Python process ended ({0}).", endOf(code, signal)),
            vscode.l10n.t("The log says why."),
          ),
        );
      });
    });
    gone.catch(() => {});
    const writer = new rpc.StreamMessageWriter(child.stdin);
    const write = writer.write.bind(writer);
    // a pipe that breaks says nothing that the end of its process does not say better
    writer.write = (message) => write(message).catch(() => {});
    const connection = rpc.createMessageConnection(
      new rpc.StreamMessageReader(child.stdout),
      writer,
      { error: (text) => this.log.appendLine(text), warn: () => {}, info: () => {}, log: () => {} },
    );
    connection.onNotification("event", (params: { readonly message?: unknown }) => {
      if (isObject(params.message)) this.#events.fire(params.message);
    });
    connection.onError(([error]) => this.log.appendLine(String(error)));
    connection.listen();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new ServerError(
              vscode.l10n.t("lmkit's Python process does not answer."),
              vscode.l10n.t("The log may say why."),
              "silent",
            ),
          ),
        START_MS,
      );
    });
    try {
      const about = await Promise.race([
        connection.sendRequest<Initialized>("initialize", { protocol: PROTOCOL, client: VERSION }),
        gone,
        late,
      ]);
      this.log.appendLine(`lmkit ${about.version}, Python ${about.python}`);
      child.once("exit", (code, signal) => this.#died(child, connection, code, signal));
      this.#become("running");
      return { process: child, connection, about };
    } catch (error) {
      connection.dispose();
      if (this.#process === child) this.#process = null;
      child.kill("SIGKILL");
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #died(
    child: ChildProcess,
    connection: MessageConnection,
    code: number | null,
    signal: string | null,
  ): void {
    connection.dispose();
    if (this.#process !== child || this.#disposed) return; // it was asked to go
    this.#process = null;
    this.#running = null;
    const how = endOf(code, signal);
    this.log.appendLine(`The Python process ended (${how}).`);
    const now = Date.now();
    this.#deaths = [...this.#deaths.filter((then) => now - then < SPELL_MS), now];
    const again = this.#deaths.length < MOST_DEATHS;
    if (again) {
      this.#become("stopped");
      this.#ended.fire(); // panels open again, and that starts it
      this.#tell(
        this.#running
          ? vscode.l10n.t("lmkit's Python process ended ({0}) and was started again.", how)
          : vscode.l10n.t("lmkit's Python process ended ({0}). It starts when it is needed.", how),
        false,
      );
    } else {
      this.failure = new ServerError(
        vscode.l10n.t("lmkit's Python process keeps ending."),
        vscode.l10n.t("The log says why."),
      );
      this.#running = Promise.reject(this.failure);
      this.#running.catch(() => {});
      this.#tell(
        vscode.l10n.t(
          "lmkit's Python process ended ({0}), {1} times in {2} minutes, and is not started again.",
          how,
          MOST_DEATHS,
          SPELL_MS / 60_000,
        ),
        true,
      );
      this.#become("failed");
      this.#ended.fire();
    }
  }

  /** Forget earlier deaths and start afresh. */
  async restart(): Promise<void> {
    this.#deaths = [];
    await this.stop();
    await this.about();
  }

  #tellSilent(): void {
    const message = vscode.l10n.t("lmkit's Python process does not answer.");
    this.log.appendLine(message);
    const restart = vscode.l10n.t("Restart Python");
    const showLog = vscode.l10n.t("Show Log");
    void vscode.window.showWarningMessage(message, restart, showLog).then((chosen) => {
      if (chosen === restart) void this.restart().catch(() => {});
      else if (chosen === showLog) this.log.show(true);
    });
  }

  #tell(message: string, givenUp: boolean): void {
    const showLog = vscode.l10n.t("Show Log");
    const tryAgain = vscode.l10n.t("Try Again");
    const offered = givenUp ? [tryAgain, showLog] : [showLog];
    void vscode.window.showErrorMessage(message, ...offered).then((chosen) => {
      if (chosen === showLog) this.log.show(true);
      else if (chosen === tryAgain) void this.restart().catch(() => {});
    });
  }
}
