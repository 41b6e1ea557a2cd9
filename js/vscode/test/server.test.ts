// @vitest-environment node
/** The Python process as the extension sees it; a child process speaks for Python. */
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

/** Answers `initialize`, and `ping` until it is asked to hang; owes an answer to all else. */
const CHILD = `#!${process.execPath}
let rest = Buffer.alloc(0);
let hangs = false;
process.stdin.on("data", (data) => {
  rest = Buffer.concat([rest, data]);
  for (;;) {
    const end = rest.indexOf("\\r\\n\\r\\n");
    if (end < 0) return;
    const size = Number(/Content-Length: (\\d+)/.exec(rest.subarray(0, end).toString())[1]);
    if (rest.length < end + 4 + size) return;
    const { id, method } = JSON.parse(rest.subarray(end + 4, end + 4 + size).toString());
    rest = rest.subarray(end + 4 + size);
    if (method === "hang") hangs = true;
    if (hangs || (method !== "initialize" && method !== "ping")) continue;
    const result = method === "ping" ? null : { version: "0", python: "3", session: process.pid };
    const text = JSON.stringify({ jsonrpc: "2.0", id, result });
    process.stdout.write("Content-Length: " + text.length + "\\r\\n\\r\\n" + text);
    if (method === "ping") process.stderr.write("answered\\n");
  }
});
process.stdin.on("end", () => { if (!hangs) process.exit(); });
setInterval(() => {}, 1_000_000);
`;

const said = vi.hoisted(() => ({ warnings: [] as string[], errors: [] as string[], press: "" }));
vi.mock("vscode", () => ({
  EventEmitter: class {
    readonly #told = new Set<(value: unknown) => void>();
    readonly event = (listen: (value: unknown) => void) => this.#told.add(listen);
    fire(value: unknown) {
      for (const tell of this.#told) tell(value);
    }
  },
  l10n: {
    t: (text: string, ...values: readonly unknown[]) =>
      text.replace(/\{(\d+)\}/g, (_, at) => String(values[Number(at)])),
  },
  window: {
    showWarningMessage: (text: string) => {
      said.warnings.push(text);
      return Promise.resolve(said.press);
    },
    showErrorMessage: (text: string) => {
      said.errors.push(text);
      return Promise.resolve(undefined);
    },
  },
  workspace: { isTrusted: true },
}));
const { Server, errorOf } = await import("../src/server.ts");

const python = join(mkdtempSync(join(tmpdir(), "lmkit-")), "python");
writeFileSync(python, CHILD);
chmodSync(python, 0o755);
const log = { appendLine: vi.fn(), append: vi.fn() };
const started = (command = python) => new Server(() => Promise.resolve(command), log as never);
let server: InstanceType<typeof Server>;

beforeEach(() => {
  Object.assign(said, { warnings: [], errors: [], press: "" });
  log.appendLine.mockClear();
  log.append.mockClear();
  server = started();
});
afterEach(() => {
  vi.useRealTimers();
  server.dispose();
});

/** Let time pass for the extension, in steps in which the child is heard. */
async function pass(seconds: number): Promise<void> {
  for (let step = 0; step < seconds; step++) {
    vi.advanceTimersByTime(Math.min(1, seconds) * 1_000);
    for (let turn = 0; turn < 20; turn++) await new Promise((go) => setImmediate(go));
  }
}

function owed(method: string): void {
  server.request(method).catch(() => {}); // it ends with its process
}

test("a process that computes for long is left alone", async () => {
  await server.about();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  owed("compute");
  const answered = () => log.append.mock.calls.join("").split("answered").length - 1;
  // Each look at it asks; time goes on once the answer is there, however slow this machine is.
  for (let looks = 1; looks <= 20; looks++) {
    vi.advanceTimersByTime(5_000);
    while (answered() < looks) await pass(0.001);
    await pass(0.001);
  }
  expect(said.warnings).toEqual([]);
});

test("one that hangs is told of once, and another takes its place when the user says so", async () => {
  const { session } = await server.about();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  owed("hang");
  await pass(19);
  expect(said.warnings).toEqual([]);
  said.press = "Restart Python";
  await pass(60);
  expect(said.warnings).toEqual(["lmkit's Python process does not answer."]);
  vi.useRealTimers();
  await vi.waitFor(async () => expect((await server.about()).session).not.toBe(session), {
    timeout: 60_000,
  });
  expect(said.errors).toEqual([]);
}, 120_000);

test("what keeps it from starting has a code, a sentence, and a line in the log", async () => {
  server = started("/nowhere/python");
  const error = await server.about().catch(errorOf);
  expect(error).toMatchObject({ code: "no-python", hint: "Choose another Python." });
  expect(log.appendLine).toHaveBeenCalledWith(
    expect.stringMatching(/^\/nowhere\/python cannot be started: .* Choose another Python\.$/),
  );
  const missing = join(python, "..", "bare");
  writeFileSync(
    missing,
    '#!/bin/sh\nhead -c 1 >/dev/null\necho "$0: No module named lmkit" >&2\nexit 1\n',
  );
  chmodSync(missing, 0o755);
  server = started(missing);
  await expect(server.about().catch(errorOf)).resolves.toMatchObject({
    code: "missing",
    message: `lmkit is not in the Python environment ${missing}.`,
  });
});
