// The page of test_widget_manager.py: a kernel, and the widget manager of VS Code's Jupyter
// extension as that extension starts it in its output webview.
import { KernelManager, ServerConnection } from "@jupyterlab/services";
import { activate } from "widget-manager";

/** The widget view that a display carries, by MIME type. */
const WIDGET = "application/vnd.jupyter.widget-view+json";

/**
 * Ends a wait that would otherwise never end, by an error that says for what.
 *
 * @param {number} ms
 * @param {string} what
 * @param {Promise<T>} promise
 * @template T
 */
async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${ms} ms for ${what}.`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

globalThis.start = async (base, ms) => {
  const serverSettings = ServerConnection.makeSettings({
    baseUrl: `${base}/`,
    wsUrl: `${base.replace("http", "ws")}/`,
    token: "",
    appendToken: false,
  });
  const kernels = new KernelManager({ serverSettings });
  // its first look at the server's kernels: a kernel that is just starting fails that in the server
  await within(ms, "the server", kernels.ready);
  const kernel = await within(ms, "a kernel", kernels.startNew({ name: "python3" }));
  activate();
  globalThis.vscIPyWidgets8.load();
  const scripts = {
    widgetsRegisteredInRequireJs: new Set(),
    async loadWidgetScript(name) {
      globalThis.requirejs.config({ paths: { [name]: `${base}/nbextensions/${name}/index` } });
      this.widgetsRegisteredInRequireJs.add(name);
    },
    successHandler() {},
    errorHandler(...problem) {
      console.error(`The widget's script was not loaded: ${problem.map(String).join(" ")}`);
    },
  };
  const out = document.getElementById("out");
  const log = (message) => console.log(message);
  const manager = new globalThis.vscIPyWidgets.WidgetManager(kernel, out, scripts, log);

  /** Runs code; returns what it printed, and the widget view that it displayed last. */
  const run = async (code) => {
    const future = kernel.requestExecute({ code });
    const answer = { text: "", error: "", view: null, mimes: [] };
    future.onIOPub = ({ header, content }) => {
      if (header.msg_type === "stream" && content.name === "stdout") answer.text += content.text;
      if (header.msg_type === "error") answer.error = `${content.ename}: ${content.evalue}`;
      const view = content.data?.[WIDGET];
      if (view) Object.assign(answer, { view, mimes: Object.keys(content.data) });
    };
    await within(ms, "the kernel's answer", future.done);
    return answer;
  };
  const show = async (data) => {
    const model = await within(ms, "the widget's model", manager.get_model(data.model_id));
    const node = document.createElement("div");
    node.className = "shown";
    out.append(node);
    const view = await within(ms, "the view", manager.create_view(model, { el: node }));
    await within(ms, "the view's place", manager.display_view(data, view, { node }));
  };
  const stop = () => within(ms, "the kernel's end", kernel.shutdown());
  globalThis.editor = { run, show, stop };
};
