// Exports the documented part of the Jupyter extension's API, `kernels`, over a real kernel: the one
// whose connection file lies in the workspace. It is talked to by bridge.py, with Jupyter's own client.
// Where that file is written again, the kernel was restarted: what it was asked before has no answer.
"use strict";
const { spawn } = require("node:child_process");
const { existsSync, unwatchFile, watchFile } = require("node:fs");
const { join } = require("node:path");
const { createInterface } = require("node:readline");
const vscode = require("vscode");

const LANGUAGE = "python";

class Kernel {
  status = "idle";
  language = LANGUAGE;
  #changed = new vscode.EventEmitter();
  onDidChangeStatus = this.#changed.event;
  #count = 0;
  #waiting = new Map();

  constructor(connection) {
    this.connection = connection;
    this.#start();
    watchFile(connection, { interval: 100 }, (now, before) => {
      if (now.mtimeMs === 0 || now.mtimeMs === before.mtimeMs) return;
      this.child.kill();
      this.#tell("restarting");
      this.#waiting.clear();
      this.#start();
      this.#tell("idle");
    });
  }

  #tell(status) {
    this.status = status;
    this.#changed.fire(status);
  }

  #start() {
    const bridge = join(__dirname, "bridge.py");
    this.child = spawn(process.env.LMKIT_TEST_PYTHON, [bridge, this.connection]);
    this.child.stderr.on("data", (text) => console.error(String(text)));
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const { id, outputs, done } = JSON.parse(line);
      this.#waiting.get(id)?.({ outputs, done });
    });
  }

  dispose() {
    unwatchFile(this.connection);
    this.child.kill();
  }

  async *executeCode(code, _token) {
    const id = this.#count++;
    const came = [];
    let wake = () => {};
    this.#waiting.set(id, (message) => {
      came.push(message);
      wake();
    });
    this.child.stdin.write(`${JSON.stringify({ id, code })}\n`);
    for (;;) {
      while (came.length === 0) {
        await new Promise((resolve) => {
          wake = resolve;
        });
      }
      const { outputs, done } = came.shift();
      for (const items of outputs) {
        const encoded = items.map(([mime, text]) => ({ mime, data: Buffer.from(text, "utf8") }));
        yield { items: encoded };
      }
      if (done) break;
    }
    this.#waiting.delete(id);
  }
}

exports.activate = (context) => {
  const kernels = new Map();
  context.subscriptions.push({
    dispose: () => kernels.forEach((kernel) => kernel.dispose()),
  });
  return {
    kernels: {
      // as documented: nothing until the user has started one
      async getKernel(uri) {
        const folder = vscode.workspace.getWorkspaceFolder(uri)?.uri.fsPath;
        const connection = folder && join(folder, ".kernel.json");
        if (!connection || !existsSync(connection)) return undefined;
        if (!kernels.has(connection)) kernels.set(connection, new Kernel(connection));
        return kernels.get(connection);
      },
    },
  };
};
