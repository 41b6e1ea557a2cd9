// The page of test_widget_manager.py: a kernel, and the widget manager of VS Code's Jupyter
// extension as that extension starts it in its output webview.
import { KernelManager, ServerConnection } from "@jupyterlab/services";
import { activate } from "widget-manager";

globalThis.start = async (base) => {
    const serverSettings = ServerConnection.makeSettings({
        baseUrl: `${base}/`,
        wsUrl: `${base.replace("http", "ws")}/`,
        token: "",
        appendToken: false,
    });
    const kernel = await new KernelManager({ serverSettings }).startNew({ name: "python3" });
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
            throw new Error(`The widget's script was not loaded: ${problem.map(String).join(" ")}`);
        },
    };
    const out = document.getElementById("out");
    const log = (message) => console.log(message);
    const manager = new globalThis.vscIPyWidgets.WidgetManager(kernel, out, scripts, log);

    /** Runs code; returns what it printed, and the widget view that it displayed last. */
    const run = async (code) => {
        const future = kernel.requestExecute({ code });
        const answer = { text: "", view: null, mimes: [] };
        future.onIOPub = ({ header, content }) => {
            if (header.msg_type === "stream") answer.text += content.text;
            if (header.msg_type === "error") answer.text += `${content.ename}: ${content.evalue}`;
            const view = content.data?.["application/vnd.jupyter.widget-view+json"];
            if (view) Object.assign(answer, { view, mimes: Object.keys(content.data) });
        };
        await future.done;
        return answer;
    };
    const show = async (data) => {
        const model = await manager.get_model(data.model_id);
        const node = document.createElement("div");
        node.className = "shown";
        out.append(node);
        const view = await manager.create_view(model, { el: node });
        await manager.display_view(data, view, { node });
    };
    globalThis.editor = { run, show, stop: () => kernel.shutdown() };
};
