/** The home view: what is installed, which device, which models are loaded. */

import type { ErrorInfo, HomeSpec, JobInfo } from "@lmkit/protocol";
import type { Context } from "./context.ts";
import { bdi, h, refill, type Scope } from "./dom.ts";
import type { MessageKey } from "./messages.ts";
import { bytes, short } from "./numbers.ts";
import { badge, savedText } from "./panel/header.ts";
import { stepText } from "./panel/job.ts";
import { errorBox, progressBar } from "./panel/status.ts";
import { errorInfo } from "./source.ts";
import { visibleProse } from "./text.ts";

/** A path as a word of a magic's line. */
function quoted(path: string): string {
  return /^[\w./~:-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`;
}

/** The line that opens a job's panel; none where its task has no field for it. */
function opening(job: JobInfo): string | undefined {
  const plain = /^[A-Za-z_][\w-]*$/;
  if (!plain.test(job.task) || job.field === undefined || !plain.test(job.field)) return undefined;
  return `%lm ${job.task} --${job.field.replaceAll("_", "-")} ${quoted(job.name)}`;
}

/** Draw the home view into `root` until `scope` ends; returns how to give it a new spec. */
export function home(
  root: HTMLElement,
  first: HomeSpec,
  context: Context,
  scope: Scope,
): (spec: HomeSpec) => void {
  const { t, source } = context;
  const header = h("div", { class: "header", "data-lmkit": "header" });
  const saved = h("p", { class: "note saved", "data-lmkit": "saved-note" });
  const status = h("div", { class: "status", "data-lmkit": "status" });
  const content = h("div", { class: "home", "data-lmkit": "home" });
  root.append(header, h("div", { class: "body" }, saved, status, content));

  let spec = first;
  let inner = scope.child();
  let busy: string | null = null;
  let failure: ErrorInfo | null = null;
  /** The view that was asked for and stands in no open notebook. */
  let nowhere: string | null = null;

  const act = (name: string, argument: string, done: string) => {
    if (busy !== null) return;
    busy = `${name}/${argument}`;
    failure = null;
    draw();
    source.action(name, argument).then(
      () => {
        busy = null;
        draw();
        context.announce(done);
      },
      (error: unknown) => {
        busy = null;
        failure = errorInfo(error);
        draw();
      },
    );
  };
  /** @param done what is said once the kernel has done it */
  const button = (text: string, label: string, name: string, argument: string, done: string) => {
    const element = h(
      "button",
      {
        type: "button",
        "aria-label": label === text ? null : label,
        "data-lmkit": name,
        "data-argument": argument,
      },
      text,
    );
    element.disabled = source.state !== "live";
    // Not disabled while one of them is at work: the keyboard's place would be lost.
    if (busy !== null) element.setAttribute("aria-disabled", "true");
    if (busy === `${name}/${argument}`) element.setAttribute("aria-busy", "true");
    inner.on(element, "click", () => act(name, argument, done));
    return element;
  };
  /** A button of the application around the view, which needs no kernel. */
  const own = (
    text: string,
    label: string,
    name: string,
    argument: string,
    press: (argument: string) => unknown,
  ) => {
    const element = h(
      "button",
      { type: "button", "aria-label": label, "data-lmkit": name, "data-argument": argument },
      text,
    );
    inner.on(element, "click", () => press(argument));
    return element;
  };
  const section = (title: string, name: string, ...children: (Node | null)[]) =>
    h(
      "div",
      { class: "home-section", role: "group", "data-lmkit": `home-${name}`, "aria-label": title },
      h("h3", { class: "pane-title" }, title),
      ...children,
    );
  const text = (value: string, most = 300) =>
    bdi(visibleProse(value.length > most ? `${value.slice(0, most)}…` : value));
  const note = (value: string) => h("p", { class: "note" }, value);
  const list = (...items: Node[]) => h("ul", { class: "rows", role: "list" }, ...items);

  const tasks = () =>
    section(
      t("home.tasks"),
      "tasks",
      spec.tasks.length === 0
        ? note(t("home.tasks.none"))
        : list(
            ...spec.tasks.map((task) =>
              h(
                "li",
                { class: "row", "data-lmkit": "task", "data-name": task.name },
                h("span", { class: "row-name" }, text(task.title)),
                context.host.insertTask
                  ? own(
                      t("home.insert"),
                      t("home.insert.label", { name: visibleProse(task.title) }),
                      "insert",
                      task.name,
                      () => context.host.insertTask?.(task),
                    )
                  : h(
                      "code",
                      { class: "code" },
                      bdi(`${visibleProse(task.cell?.line ?? `%%lm ${task.name}`)} --model `),
                      h("i", {}, "…"),
                    ),
                h(
                  "span",
                  { class: "note row-more" },
                  text(task.help),
                  task.help === "" ? "" : " · ",
                  text(t("home.usedby", { plugin: visibleProse(task.plugin) })),
                ),
              ),
            ),
          ),
    );
  const plugins = () =>
    section(
      t("home.plugins"),
      "plugins",
      spec.plugins.length === 0
        ? note(t("home.plugins.none"))
        : list(
            ...spec.plugins.map((plugin) =>
              h(
                "li",
                {
                  class: "row",
                  "data-lmkit": "plugin",
                  "data-name": plugin.name,
                  "data-state": plugin.state,
                },
                h("span", { class: "row-name" }, text(plugin.name)),
                h(
                  "span",
                  { class: `state ${plugin.state}` },
                  t(`home.${plugin.state}` as MessageKey),
                ),
                h(
                  "span",
                  { class: "note row-more" },
                  text(
                    [plugin.version, plugin.tasks.join(", ")]
                      .filter((part) => part !== "")
                      .join(" · "),
                  ),
                ),
                plugin.error ? errorBox(plugin.error, context, inner) : null,
              ),
            ),
          ),
      h(
        "div",
        { class: "buttons" },
        button(t("home.rescan"), t("home.rescan"), "rescan", "", t("home.rescanned")),
      ),
    );
  const devices = () =>
    section(
      t("home.devices"),
      "devices",
      list(
        ...spec.devices.map((device) => {
          const memory =
            device.memoryTotal > 0
              ? t("home.memory", {
                  used: bytes(device.memoryUsed),
                  total: bytes(device.memoryTotal),
                })
              : "";
          return h(
            "li",
            {
              class: "row",
              "data-lmkit": "device",
              "data-name": device.name,
              "aria-current": device.chosen ? "true" : null,
            },
            h("span", { class: "row-name" }, text(device.name)),
            h(
              "span",
              { class: "note row-more" },
              text(device.title === device.name ? "" : device.title),
              memory === "" || device.title === device.name ? "" : " · ",
              memory,
            ),
            device.chosen
              ? h("span", { class: "state chosen" }, t("home.chosen"))
              : button(
                  t("home.choose"),
                  t("home.choose.label", { name: visibleProse(device.name) }),
                  "device",
                  device.name,
                  t("home.choose.done", { name: visibleProse(device.name) }),
                ),
          );
        }),
      ),
    );
  const models = () => {
    const used = spec.models.reduce((sum, model) => sum + model.bytes, 0);
    const meter = h("progress", {
      max: Math.max(1, spec.modelsBudget),
      "aria-label": t("home.models"),
    });
    meter.value = Math.min(used, spec.modelsBudget);
    return section(
      t("home.models"),
      "models",
      spec.models.length === 0
        ? note(t("home.models.none"))
        : list(
            ...spec.models.map((model) =>
              h(
                "li",
                { class: "row", "data-lmkit": "loaded-model", "data-name": model.name },
                h("span", { class: "row-name" }, text(model.name)),
                h(
                  "span",
                  { class: "note row-more" },
                  text(
                    [
                      model.kind,
                      t("home.parameters", { n: short(model.parameters, t.locale) }),
                      bytes(model.bytes),
                      model.device,
                      model.dtype,
                      model.pinned ? t("home.pinned") : "",
                    ]
                      .filter((part) => part !== "")
                      .join(" · "),
                  ),
                ),
                button(
                  t("home.unload"),
                  t("home.unload.label", { name: visibleProse(model.name) }),
                  "unload",
                  model.name,
                  t("home.unload.done", { name: visibleProse(model.name) }),
                ),
              ),
            ),
          ),
      spec.modelsBudget > 0
        ? h(
            "div",
            { class: "budget" },
            meter,
            h(
              "span",
              { class: "note number" },
              t("home.budget", { used: bytes(used), total: bytes(spec.modelsBudget) }),
            ),
          )
        : null,
    );
  };
  const views = () => {
    const { showView } = context.host;
    if (!showView || spec.views.length === 0) return null;
    return section(
      t("home.views"),
      "views",
      list(
        ...spec.views.map((view) =>
          h(
            "li",
            { class: "row", "data-lmkit": "open-view", "data-view": view.view },
            h("span", { class: "row-name" }, text(view.title)),
            own(
              t("home.show"),
              t("home.show.label", { name: visibleProse(view.title) }),
              "show",
              view.view,
              (id) => {
                nowhere = showView(id) ? null : id;
                draw();
                if (nowhere !== null) context.announce(t("home.show.none"));
              },
            ),
            h(
              "span",
              { class: "note row-more" },
              text([view.model, view.text].filter((part) => part !== "").join(" · ")),
            ),
            // beside what was pressed: the top of a scrolled panel is out of sight
            view.view === nowhere
              ? h("span", { class: "row-more", "data-lmkit": "nowhere" }, t("home.show.none"))
              : null,
          ),
        ),
      ),
    );
  };
  const jobs = () => {
    const { insertCode } = context.host;
    if (spec.jobs.length === 0) return null;
    return section(
      t("home.jobs"),
      "jobs",
      list(
        ...spec.jobs.map((job) => {
          const code = opening(job);
          return h(
            "li",
            { class: "row", "data-lmkit": "home-job", "data-name": job.name },
            h("span", { class: "row-name", title: visibleProse(job.name) }, text(job.title)),
            h("span", { class: `state job-${job.state}` }, t(`job.${job.state}` as MessageKey)),
            insertCode && code !== undefined
              ? own(
                  t("home.insert"),
                  t("home.jobs.insert", { name: visibleProse(job.title) }),
                  "open-job",
                  job.name,
                  () => insertCode(code),
                )
              : null,
            h(
              "span",
              { class: "note row-more number" },
              text([stepText(job, t), job.note].filter((part) => part !== "").join(" · ")),
            ),
            // why it ended
            job.problem
              ? h(
                  "span",
                  { class: "row-more", "data-lmkit": "home-job-problem" },
                  text(job.problem),
                )
              : null,
            h("span", { class: "note row-more", dir: "ltr" }, text(job.name)),
          );
        }),
      ),
    );
  };
  const starters = () =>
    spec.starters.length === 0
      ? null
      : section(
          t("home.starters"),
          "starters",
          list(
            ...spec.starters.map((starter) =>
              h(
                "li",
                {
                  class: "row",
                  "data-lmkit": "starter",
                  "data-name": starter.name,
                  "data-installed": String(starter.installed),
                },
                h(
                  "code",
                  { class: "code row-name" },
                  text(
                    starter.name.startsWith("starter:") ? starter.name : `starter:${starter.name}`,
                  ),
                ),
                h(
                  "span",
                  { class: `state ${starter.installed ? "ready" : "blocked"}` },
                  t(starter.installed ? "home.installed" : "home.missing"),
                ),
                h("span", { class: "note row-more" }, text(starter.title)),
              ),
            ),
          ),
          spec.starters.every((starter) => starter.installed)
            ? null
            : note(t("home.starters.hint")),
        );

  /** Where the keyboard is in the content; returns what puts it there again once that is drawn anew. */
  const keepFocus = (): (() => void) => {
    const root = content.getRootNode();
    if (!(root instanceof ShadowRoot || root instanceof Document)) return () => {};
    const active = root.activeElement;
    if (!(active instanceof HTMLElement && content.contains(active))) return () => {};
    const named = (name: string | undefined) => [
      ...content.querySelectorAll<HTMLElement>(`[data-lmkit="${name}"]`),
    ];
    const { lmkit, argument } = active.dataset;
    const same = () => named(lmkit).filter((one) => one.dataset["argument"] === argument);
    const place = same().indexOf(active);
    const section = active.closest<HTMLElement>(".home-section")?.dataset["lmkit"];
    return () => {
      same()[place]?.focus({ preventScroll: true });
      if (content.contains(root.activeElement)) return;
      // It went with its row: from the section the next one is a step away, and no key does harm.
      const around = named(section)[0];
      if (around) around.tabIndex = -1;
      around?.focus({ preventScroll: true });
    };
  };
  const draw = () => {
    const focusAgain = keepFocus();
    inner.dispose();
    inner = scope.child();
    refill(
      header,
      h("h2", { class: "title" }, t("home.title")),
      bdi(spec.version, { class: "fact", "data-lmkit": "version" }),
      badge(context),
    );
    const line = savedText(context);
    saved.textContent = line;
    saved.hidden = line === "";
    const error = failure ?? spec.status.error;
    refill(
      status,
      spec.status.state === "running" || busy !== null
        ? progressBar(spec.status.progress, context, t("working"))
        : null,
      error ? errorBox(error, context, inner) : null,
    );
    refill(content, tasks(), jobs(), views(), models(), devices(), starters(), plugins());
    focusAgain();
  };
  scope.add(
    source.subscribe((event) => {
      if (event.type === "state") draw();
      else if (event.type === "status") {
        spec = { ...spec, status: event.status };
        draw();
      }
    }),
  );
  draw();
  return (next) => {
    spec = next;
    draw();
  };
}
