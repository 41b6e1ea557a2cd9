/** The one style sheet. Colours are tokens: the host's where it has them, else our own. */
export const STYLES = `
:host { display: block; min-width: 0; }

.lmkit {
  --lmkit-own-bg: #ffffff; --lmkit-own-raised: #f5f6f7; --lmkit-own-ink: #1d2126;
  --lmkit-own-muted: #5c636d; --lmkit-own-line: #d5d9de; --lmkit-own-field: #8a929c;
  --lmkit-own-accent: #0f62a8; --lmkit-own-accent-ink: #ffffff;
  --lmkit-own-error: #b3261e; --lmkit-own-warn: #8a5300; --lmkit-own-ok: #1b6e3c;
  --lmkit-mark: #d55e00;
  --lmkit-bg: var(--jp-layout-color1, var(--vscode-editor-background, var(--lmkit-own-bg)));
  --lmkit-raised: var(--jp-layout-color2, var(--vscode-editorWidget-background, var(--lmkit-own-raised)));
  --lmkit-ink: var(--jp-content-font-color1, var(--vscode-editor-foreground, var(--lmkit-own-ink)));
  --lmkit-muted: var(--vscode-descriptionForeground, var(--lmkit-own-muted));
  --lmkit-line: var(--jp-border-color2, var(--vscode-editorWidget-border, var(--lmkit-own-line)));
  --lmkit-field: var(--vscode-input-border, var(--lmkit-own-field));
  --lmkit-accent: var(--vscode-textLink-foreground, var(--lmkit-own-accent));
  --lmkit-accent-ink: var(--lmkit-own-accent-ink);
  --lmkit-error: var(--lmkit-own-error); --lmkit-warn: var(--lmkit-own-warn); --lmkit-ok: var(--lmkit-own-ok);
  --lmkit-ui-font: var(--jp-ui-font-family, var(--vscode-font-family, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif));
  --lmkit-code-font: var(--jp-code-font-family, var(--vscode-editor-font-family, ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono", monospace));
  container-type: inline-size;
  position: relative; box-sizing: border-box; min-width: 0;
  display: flex; flex-direction: column;
  background: var(--lmkit-bg); color: var(--lmkit-ink);
  border: 1px solid var(--lmkit-line); border-radius: 4px;
  font: 13px/1.45 var(--lmkit-ui-font);
  max-height: var(--lmkit-max-height, 600px); overflow: hidden;
  text-align: start; font-variant-numeric: tabular-nums;
}
.lmkit.fill { max-height: none; height: 100%; border: 0; border-radius: 0; }
.lmkit[data-theme="dark"] {
  --lmkit-own-bg: #15181c; --lmkit-own-raised: #20242a; --lmkit-own-ink: #e4e7eb;
  --lmkit-own-muted: #9aa3ae; --lmkit-own-line: #373d45; --lmkit-own-field: #737c88;
  --lmkit-own-accent: #6cb4f5; --lmkit-own-accent-ink: #0c1a28;
  --lmkit-own-error: #ff8a80; --lmkit-own-warn: #f0b35b; --lmkit-own-ok: #6fce93;
  --lmkit-mark: #e69f00;
  color-scheme: dark;
}
.lmkit[data-theme="light"] { color-scheme: light; }
/* A theme asked for by name is ours, whatever the page around has. */
.lmkit[data-choice="light"], .lmkit[data-choice="dark"] {
  --lmkit-bg: var(--lmkit-own-bg); --lmkit-raised: var(--lmkit-own-raised); --lmkit-ink: var(--lmkit-own-ink);
  --lmkit-muted: var(--lmkit-own-muted); --lmkit-line: var(--lmkit-own-line); --lmkit-field: var(--lmkit-own-field);
  --lmkit-accent: var(--lmkit-own-accent);
}

*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
p, h2, h3, ul, dl, dd { margin: 0; padding: 0; }
ul { list-style: none; }
.probe { display: none; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.frame { display: flex; flex-direction: column; min-height: 0; flex: 1 1 auto; }
.body { overflow: auto; min-height: 0; flex: 1 1 auto; padding: 10px 12px; display: flex; flex-direction: column; gap: 10px; scrollbar-width: thin; }
.body > * { flex: none; }
.body > div:not(.ghost):empty { display: none; }
.number { font-variant-numeric: tabular-nums; }
.code { font-family: var(--lmkit-code-font); font-size: 12px; }
.subject { font-weight: 600; background: var(--lmkit-bg); box-shadow: 0 0 0 1px var(--lmkit-line); border-radius: 2px; padding: 0 3px; }
.note { color: var(--lmkit-muted); font-size: 12px; }
.warn { color: var(--lmkit-warn); }
.grow { flex: 1 1 auto; }
.pane-title { font-size: 12px; font-weight: 600; }
bdi { unicode-bidi: isolate; }

button, input, select, textarea { font: inherit; color: inherit; margin: 0; }
button { cursor: pointer; padding: 3px 12px; border-radius: 3px; border: 1px solid var(--lmkit-field); background: var(--lmkit-bg); line-height: 1.4; }
button:hover:not(:disabled) { background: var(--lmkit-raised); }
button:disabled { cursor: default; color: var(--lmkit-muted); border-color: var(--lmkit-line); }
button.primary:not(:disabled) { background: var(--lmkit-accent); border-color: var(--lmkit-accent); color: var(--lmkit-accent-ink); font-weight: 600; }
button.primary:hover:not(:disabled) { filter: brightness(1.08); }
button.quiet { border-color: transparent; background: none; padding: 2px 6px; color: var(--lmkit-accent); font-size: 12px; }
button.quiet:hover:not(:disabled) { background: var(--lmkit-raised); }
select { border: 1px solid var(--lmkit-field); border-radius: 3px; background: var(--lmkit-bg); padding: 2px 4px; max-width: 100%; }
input[type="text"], input[type="number"], input[type="search"], textarea { border: 1px solid var(--lmkit-field); border-radius: 3px; background: var(--lmkit-bg); padding: 4px 8px; min-width: 0; }
textarea { display: block; width: 100%; min-height: 30px; resize: vertical; line-height: 1.45; }
input[type="range"], input[type="checkbox"], progress { accent-color: var(--lmkit-accent); }
input[type="checkbox"] { margin: 0; }
::placeholder { color: var(--lmkit-muted); opacity: 1; }
:focus-visible { outline: 2px solid var(--lmkit-accent); outline-offset: 1px; }
progress { height: 6px; flex: 1 1 120px; min-width: 80px; border: 0; border-radius: 3px; appearance: none; overflow: hidden; background: var(--lmkit-raised); }
progress::-webkit-progress-bar { background: var(--lmkit-raised); }
progress::-webkit-progress-value { background: var(--lmkit-accent); }
progress::-moz-progress-bar { background: var(--lmkit-accent); }
progress:indeterminate { background: linear-gradient(90deg, var(--lmkit-raised) 0 35%, var(--lmkit-accent) 45% 55%, var(--lmkit-raised) 65%) 0 0 / 250% 100%; animation: sweep 1.4s linear infinite; }
progress:indeterminate::-webkit-progress-bar { background: transparent; }
progress:indeterminate::-moz-progress-bar { background: transparent; }
@keyframes sweep { from { background-position: 120% 0; } to { background-position: -60% 0; } }
kbd { font-family: var(--lmkit-code-font); font-size: 11px; border: 1px solid var(--lmkit-line); border-radius: 3px; padding: 0 4px; background: var(--lmkit-raised); color: var(--lmkit-ink); }

.header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; padding: 6px 12px; border-bottom: 1px solid var(--lmkit-line); background: var(--lmkit-raised); flex: none; }
.title { font-size: 13px; font-weight: 600; line-height: 1.45; overflow-wrap: anywhere; }
.fact { color: var(--lmkit-muted); font-size: 12px; overflow-wrap: anywhere; }
.header .fact.warn { color: var(--lmkit-warn); font-weight: 600; }
.header .fact[data-lmkit="model"] { font-family: var(--lmkit-code-font); color: var(--lmkit-ink); }
.badge { margin-inline-start: auto; font-size: 11px; line-height: 1.3; padding: 1px 8px; border-radius: 9px; border: 1px solid currentColor; color: var(--lmkit-muted); white-space: nowrap; }
.badge.live { color: var(--lmkit-ok); }
.badge.live::before { content: "●"; font-size: 8px; margin-inline-end: 4px; vertical-align: 1px; }

.form { display: flex; flex-direction: column; gap: 6px; }
.form-line { display: flex; gap: 8px; align-items: end; }
.form-line.bare { justify-content: end; }
.form-main { flex: 1 1 auto; min-width: 0; display: flex; flex-direction: column; gap: 6px; }
.buttons { display: flex; gap: 6px; flex: none; padding-top: 2px; }
.buttons button { min-height: 30px; }
.field { display: flex; flex-direction: column; gap: 2px; min-width: 0; }
.field > label { font-size: 12px; color: var(--lmkit-muted); overflow-wrap: anywhere; }
.field .help { line-height: 1.3; overflow-wrap: anywhere; }
.form-rest { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: start; }
.form-more > summary { cursor: pointer; font-size: 12px; color: var(--lmkit-accent); width: fit-content; }
.form-more[open] > summary { margin-bottom: 6px; }
.slider { display: flex; align-items: center; gap: 6px; }
.slider input[type="range"] { width: 120px; }
.slider input[type="number"] { width: 78px; padding: 2px 4px; }
.check { display: inline-flex; gap: 5px; align-items: center; font-size: 12px; color: var(--lmkit-ink); cursor: pointer; }
.form.frozen textarea, .form.frozen input[type="text"] { background: var(--lmkit-raised); border-color: var(--lmkit-line); }

.status { display: flex; flex-direction: column; gap: 6px; }
.status:empty { display: none; }
.progress { display: flex; align-items: center; gap: 4px 10px; flex-wrap: wrap; }
.progress-label { font-size: 12px; }
.error { border: 1px solid var(--lmkit-error); border-inline-start-width: 4px; border-radius: 3px; padding: 6px 10px; display: flex; flex-direction: column; gap: 4px; overflow-wrap: anywhere; }
.error-message { color: var(--lmkit-error); font-weight: 600; white-space: pre-wrap; max-height: 8em; overflow: auto; }
.error-hint { white-space: pre-wrap; max-height: 8em; overflow: auto; }
.error summary { cursor: pointer; font-size: 12px; color: var(--lmkit-muted); width: fit-content; }
.error pre { margin: 4px 0; padding: 6px 8px; max-height: 200px; overflow: auto; background: var(--lmkit-raised); font: 11px/1.45 var(--lmkit-code-font); white-space: pre-wrap; overflow-wrap: anywhere; }
.error-tools { display: flex; justify-content: end; }
.warnings { display: flex; flex-direction: column; gap: 4px; }
.warnings li { border-inline-start: 3px solid var(--lmkit-warn); padding: 1px 8px; font-size: 12px; overflow-wrap: anywhere; white-space: pre-wrap; }
.boxed { border: 1px dashed var(--lmkit-line); border-radius: 3px; padding: 14px; text-align: center; overflow-wrap: anywhere; }

.results { display: flex; flex-direction: column; gap: 10px; }
.result { display: flex; flex-direction: column; gap: 4px; min-width: 0; }
.labels .labels, ul.labels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr)); gap: 3px 24px; }
.result.many ul.labels { grid-template-columns: 1fr; max-height: 240px; overflow: auto; scrollbar-width: thin; }
.label-row { display: grid; grid-template-columns: minmax(70px, max-content) 1fr 5.5ch; gap: 8px; align-items: center; min-width: 0; }
.result.many .label-row { grid-template-columns: minmax(70px, 30%) 1fr 7ch; }
.label-name { text-align: left; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 24ch; }
.result.many .label-name { max-width: none; }
.label-row.over .label-name, .label-row.over .number { font-weight: 600; }
.label-row .number { text-align: end; white-space: nowrap; }
.label-track { position: relative; height: 12px; background: var(--lmkit-raised); border-radius: 2px; }
.label-fill { position: absolute; inset: 0 auto 0 0; background: var(--lmkit-field); border-radius: 2px; min-width: 1px; }
.over .label-fill { background: var(--lmkit-accent); }
.label-threshold { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-inline-start: -1px; background: var(--lmkit-ink); }
.result > button.quiet { align-self: start; }
.marked { white-space: pre-wrap; overflow-wrap: anywhere; line-height: calc(1.9em + var(--lanes, 1) * 3px); max-height: 240px; overflow: auto; scrollbar-width: thin; }
.marked mark { background-color: transparent; background-repeat: no-repeat; color: inherit; padding-bottom: calc(var(--lanes, 1) * 4px); -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.chip { display: inline-block; font-size: 10px; line-height: 1.3; padding: 0 4px; margin-inline-end: 3px; border: 1px solid; border-inline-start-width: 4px; border-radius: 3px; vertical-align: 1px; user-select: none; white-space: nowrap; }
.prose { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 240px; overflow: auto; scrollbar-width: thin; }
.table-scroll { overflow: auto; max-height: 240px; scrollbar-width: thin; border: 1px solid var(--lmkit-line); border-radius: 3px; }
table { border-collapse: collapse; width: 100%; font-size: 12px; }
th, td { text-align: start; padding: 3px 10px; border-bottom: 1px solid var(--lmkit-line); vertical-align: top; overflow-wrap: anywhere; white-space: pre-wrap; }
td { min-width: 4ch; max-width: 60ch; }
tbody tr:last-child td { border-bottom: 0; }
th { position: sticky; top: 0; background: var(--lmkit-raised); font-weight: 600; }
th.number, td.number { text-align: end; }

.tokens { display: flex; flex-direction: column; gap: 0; }
.tokens-bar { display: flex; align-items: center; gap: 10px; min-height: 24px; flex-wrap: wrap; }
.find { width: 160px; padding: 1px 6px !important; font-size: 12px; }
.strips { max-height: 92px; overflow: auto; scrollbar-width: thin; display: flex; flex-direction: column; gap: 4px; }
.strip { display: flex; flex-wrap: wrap; gap: 2px 2px; direction: ltr; padding: 1px; }
.token { position: relative; display: inline-flex; flex-direction: column; font: 12px/18px var(--lmkit-code-font); padding: 10px 4px 0; border: 1px solid transparent; border-radius: 3px; cursor: pointer; max-width: 100%; white-space: pre; }
.token-text { overflow: hidden; text-overflow: ellipsis; background: var(--lmkit-raised); border-radius: 2px; padding: 0 3px; margin: 0 -3px; }
.token.special .token-text { color: var(--lmkit-muted); background: none; }
.token-bar { position: absolute; left: 1px; right: 1px; top: 0; height: 9px; display: flex; align-items: end; }
.token-bar > span { display: block; width: 100%; height: 0; border-radius: 1px 1px 0 0; }
.mark-ws { color: var(--lmkit-muted); }
.token:hover .token-text, .token.focused .token-text { box-shadow: inset 0 0 0 1px var(--lmkit-mark); }
.token[aria-selected="true"] .token-text { box-shadow: inset 0 0 0 2px var(--lmkit-mark); }
.token.match .token-text { text-decoration: underline 2px var(--lmkit-mark); text-underline-offset: 3px; }
.whole-token { max-height: 90px; overflow: auto; border: 1px solid var(--lmkit-line); border-radius: 3px; padding: 4px 8px; overflow-wrap: anywhere; white-space: pre-wrap; display: flex; flex-direction: column; }

.explorer { display: grid; grid-template-columns: minmax(0, 1fr); gap: 12px; border-top: 1px solid var(--lmkit-line); padding-top: 10px; }
.pane { min-width: 0; display: flex; flex-direction: column; gap: 6px; }
.grid-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 8px; min-height: 24px; }
.grid-head .note { font-size: 11px; }
.grid-scroll { overflow: auto; max-height: 190px; position: relative; scrollbar-width: thin; }
.grid-columns { display: flex; position: sticky; top: 0; z-index: 2; background: var(--lmkit-bg); padding-inline-start: 26px; width: max-content; min-width: 100%; }
.grid-columns > span { width: var(--cell); flex: none; text-align: center; font-size: 10px; line-height: 16px; color: var(--lmkit-muted); padding-inline-end: var(--gap); white-space: nowrap; overflow: visible; }
.grid { width: max-content; }
.grid-row { display: flex; align-items: center; direction: ltr; }
.row-label { position: sticky; left: 0; z-index: 1; width: 26px; flex: none; height: var(--cell); line-height: calc(var(--cell) - var(--gap)); text-align: right; padding-right: 7px; font-size: 10px; color: var(--lmkit-muted); background: var(--lmkit-bg); }
.row-cells { position: relative; height: var(--cell); display: flex; }
.row-cells canvas { position: absolute; left: 0; top: 0; }
.cell { position: relative; width: var(--cell); height: var(--cell); flex: none; cursor: pointer; outline: none; }
.cell::after { content: ""; position: absolute; inset: 0 var(--gap) var(--gap) 0; }
.cell:hover::after { box-shadow: inset 0 0 0 1px var(--lmkit-mark); }
.cell[aria-selected="true"]::after { box-shadow: inset 0 0 0 2px var(--lmkit-mark), 0 0 0 1px var(--lmkit-bg); z-index: 1; }
.cell:focus-visible::after { outline: 2px solid var(--lmkit-accent); outline-offset: 1px; z-index: 2; }
.layer-info { overflow-wrap: anywhere; }
.legend { display: flex; flex-direction: column; gap: 3px; max-width: 360px; }
.legend-head { display: flex; gap: 8px; align-items: center; font-size: 12px; }
.legend-head select { font-size: 12px; padding: 0 2px; }
.legend-strip { position: relative; padding-bottom: 15px; }
.legend-strip canvas { display: block; }
.legend-ticks span { position: absolute; top: 11px; font-size: 10px; line-height: 14px; color: var(--lmkit-muted); transform: translateX(-50%); white-space: nowrap; }
.legend-ticks .first { transform: none; }
.legend-ticks .last { transform: translateX(-100%); }
.legend-note { font-size: 11px; color: var(--lmkit-muted); }

.picture-bar { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 14px; min-height: 24px; }
.stepper { display: inline-flex; align-items: center; gap: 3px; font-size: 12px; }
.stepper-name { color: var(--lmkit-muted); margin-inline-end: 2px; }
.stepper-value { min-width: 2.2ch; text-align: center; font-weight: 600; }
.step { padding: 0 7px; font-size: 14px; line-height: 20px; border-color: var(--lmkit-line); }
.tabs { display: inline-flex; margin-inline-start: auto; gap: 2px; }
.tab { border: 0; border-bottom: 2px solid transparent; border-radius: 0; background: none; padding: 1px 10px; color: var(--lmkit-muted); }
.tab[aria-selected="true"] { color: var(--lmkit-ink); border-bottom-color: var(--lmkit-accent); font-weight: 600; }
.stage { position: relative; border-radius: 3px; display: flex; flex-direction: column; outline-offset: 2px; }
.stage > .empty { flex: 1 1 auto; display: flex; flex-direction: column; gap: 10px; align-items: center; justify-content: center; text-align: center; padding: 20px; border: 1px dashed var(--lmkit-line); border-radius: 3px; color: var(--lmkit-muted); white-space: pre-wrap; overflow-wrap: anywhere; }
.stage > .empty progress { flex: none; width: 60%; }
.stage.scrolls { overflow: hidden auto; scrollbar-width: thin; }
.sides { position: sticky; top: 0; z-index: 1; background: var(--lmkit-bg); display: flex; justify-content: space-between; font-size: 11px; line-height: 18px; color: var(--lmkit-muted); padding: 0 4px; }
.arcs-inner { flex: none; }
.arcs-inner canvas { position: sticky; top: 18px; display: block; }
.map-frame { position: relative; cursor: crosshair; overflow: hidden; }
.map-frame canvas { position: absolute; left: 0; top: 0; }
.over { pointer-events: none; }
.tip { position: absolute; left: 0; top: 0; z-index: 3; pointer-events: none; background: var(--lmkit-bg); color: var(--lmkit-ink); border: 1px solid var(--lmkit-field); border-radius: 3px; padding: 2px 8px; font-size: 12px; display: flex; flex-direction: column; max-width: 260px; overflow-wrap: anywhere; box-shadow: 0 1px 4px rgb(0 0 0 / 25%); }
.tip-value { font-variant-numeric: tabular-nums; font-weight: 600; }

.footer { flex: none; display: flex; flex-wrap: wrap; align-items: center; gap: 2px 14px; padding: 4px 12px; border-top: 1px solid var(--lmkit-line); background: var(--lmkit-raised); min-height: 34px; }
.sentence { flex: 1 1 260px; min-width: 0; font-size: 12px; line-height: 20px; max-height: 40px; overflow: hidden; overflow-wrap: anywhere; }
.sentence-item { white-space: nowrap; margin-inline-end: 10px; display: inline-block; max-width: 100%; overflow: hidden; text-overflow: ellipsis; vertical-align: bottom; }
.tools { display: inline-flex; gap: 4px; margin-inline-start: auto; }
.footer .quiet:hover:not(:disabled) { background: var(--lmkit-bg); }

.help { position: absolute; z-index: 5; right: 12px; bottom: 44px; max-width: calc(100% - 24px); max-height: calc(100% - 60px); overflow: auto; background: var(--lmkit-bg); border: 1px solid var(--lmkit-field); border-radius: 4px; padding: 8px 14px 12px; box-shadow: 0 2px 12px rgb(0 0 0 / 30%); }
.help-head { display: flex; justify-content: space-between; align-items: center; gap: 40px; margin-bottom: 6px; }
.help dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 14px; font-size: 12px; align-items: center; }
.help dt { display: flex; gap: 3px; }

.home { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px 28px; }
.home-section { display: flex; flex-direction: column; gap: 4px; min-width: 0; align-content: start; }
.rows { display: flex; flex-direction: column; }
.row { display: flex; flex-wrap: wrap; align-items: baseline; gap: 1px 10px; padding: 4px 0; border-top: 1px solid var(--lmkit-line); min-width: 0; }
.row-name { font-weight: 600; overflow-wrap: anywhere; }
.row-more { flex: 1 1 100%; order: 1; min-width: 0; overflow-wrap: anywhere; }
.row > button, .row > .state { margin-inline-start: auto; }
.row > .error { flex: 1 1 100%; order: 2; margin: 2px 0; }
.row code { overflow-wrap: anywhere; }
.row code i { color: var(--lmkit-muted); font-style: normal; }
.row button { padding: 0 10px; font-size: 12px; }
.state { font-size: 12px; color: var(--lmkit-muted); }
.state.ready, .state.chosen { color: var(--lmkit-ok); }
.state.ready::before, .state.chosen::before { content: "✓ "; }
.state.quarantined { color: var(--lmkit-error); font-weight: 600; }
.state.quarantined::before { content: "✕ "; }
.budget { display: flex; gap: 4px 10px; align-items: center; flex-wrap: wrap; }

.loading { min-height: 200px; }
.ghost { background: var(--lmkit-raised); border-radius: 3px; height: 22px; width: 60%; }
.ghost.tall { height: 34px; width: 100%; }
.ghost.wide { height: 110px; width: 100%; }

@container (min-width: 640px) {
  .explorer { grid-template-columns: minmax(210px, 38fr) minmax(0, 62fr); gap: 20px; }
  .grid-scroll { max-height: 280px; }
  .result.many ul.labels { grid-template-columns: 1fr 1fr; }
  .home { grid-template-columns: repeat(2, minmax(0, 1fr)); align-items: start; }
  .home > [data-lmkit="home-plugins"] { grid-column: 1 / -1; }
}
@container (max-width: 460px) {
  .form-line { flex-direction: column; align-items: stretch; }
  .form-line > .buttons { align-self: end; }
}
@media (prefers-reduced-motion: reduce) {
  progress:indeterminate { animation: none; background: repeating-linear-gradient(90deg, var(--lmkit-raised) 0 6px, var(--lmkit-accent) 6px 9px); }
}
@media (forced-colors: active) {
  .lmkit {
    --lmkit-bg: Canvas; --lmkit-raised: Canvas; --lmkit-ink: CanvasText; --lmkit-muted: CanvasText; --lmkit-line: CanvasText;
    --lmkit-field: CanvasText; --lmkit-accent: LinkText; --lmkit-accent-ink: Canvas; --lmkit-mark: Highlight;
    --lmkit-error: CanvasText; --lmkit-warn: CanvasText; --lmkit-ok: CanvasText;
  }
  .label-track, .token-bar, .label-fill, .label-threshold, .marked mark, progress, .legend-strip { forced-color-adjust: none; }
  .over .label-fill { background: Highlight; }
  .label-fill { background: GrayText; }
  .label-track { border: 1px solid CanvasText; }
  .cell[aria-selected="true"]::after { outline: 2px solid Highlight; outline-offset: -2px; }
  .token[aria-selected="true"] .token-text { outline: 2px solid Highlight; }
  .tab[aria-selected="true"] { border-bottom: 3px solid Highlight; }
}
`;
