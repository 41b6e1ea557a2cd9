/** Every word of the views, in one table: English, Simplified Chinese. */

export const MESSAGES = {
  "add.more": ["Show {n} more", "再显示 {n} 个"],
  "badge.connecting": ["connecting", "连接中"],
  "badge.live": ["live", "在线"],
  "badge.lost": ["saved", "已保存"],
  "badge.saved": ["saved", "已保存"],
  "badge.unknown-session": ["saved", "已保存"],
  "cells.more": ["{n} more cells are not drawn.", "另有 {n} 个单元格未绘制。"],
  "choices.branch": ["Go on with {token} instead", "改用 {token} 继续"],
  "choices.by.entropy": ["entropy", "熵"],
  "choices.by.probability": ["probability", "概率"],
  "choices.by.rank": ["rank", "排名"],
  "choices.click": ["Click an alternative to go on from there.", "单击候选词元，即从该处继续。"],
  "choices.entropy": ["{value} bits of entropy", "熵 {value} 比特"],
  "choices.forced": ["chosen by you", "由您选定"],
  "choices.hint": [
    "Darker tokens were less expected. Point at one to see its alternatives; click holds it.",
    "颜色越深越出乎模型意料。指向词元可查看候选；单击可固定。",
  ],
  "choices.label": ["Tokens with their alternatives", "词元及其候选"],
  "choices.plain": ["Run the cell to go on from an alternative.", "运行单元格后可从候选词元继续。"],
  "choices.probability": ["probability {value}", "概率 {value}"],
  "choices.rank": ["rank {n}", "第 {n} 位"],
  "choices.shade": ["Shaded by", "着色依据"],
  "copy.details": ["Copy details", "复制详情"],
  "copy.done": ["Copied", "已复制"],
  "copy.failed": ["Copying is not allowed here", "此处不允许复制"],
  "copy.python": ["Copy as Python", "复制为 Python"],
  "error.details": ["Details", "详情"],
  "error.title": ["Something went wrong", "出错了"],
  "error.unreadable": ["This output cannot be shown", "无法显示此输出"],
  "explorer.label": ["Attention explorer", "注意力浏览器"],
  "field.more": ["More", "更多"],
  "form.empty": ["Nothing has run yet: press Run.", "尚未运行：请按“运行”。"],
  "form.label": ["Input", "输入"],
  "form.required": ["{label} is empty.", "{label}为空。"],
  "grid.help": ["layers down, heads across, from 0", "纵向为层，横向为头，从 0 编号"],
  "grid.label": ["Heads: layers down, heads across", "注意力头：纵向为层，横向为头"],
  "grid.title": ["Heads", "注意力头"],
  "heads.any": ["any", "不限"],
  "heads.least": ["At least", "不低于"],
  "heads.legend": ["{low} to {high}", "{low} 至 {high}"],
  "heads.list": ["Heads by this measure", "按此度量排列的头"],
  "heads.measure": ["Measure", "度量"],
  "heads.none": ["no value", "无数值"],
  "head.name": ["Layer {layer}, head {head}", "第 {layer} 层，第 {head} 头"],
  "head.name.role": ["{name}, {role}", "{name}，{role}"],
  "head.next": ["Next head", "下一个头"],
  "head.notcarried": [
    "This head was not saved with the notebook: run the cell to see it.",
    "此头未随笔记本保存：运行单元格即可查看。",
  ],
  "head.previous": ["Previous head", "上一个头"],
  "head.word": ["Head", "头"],
  "header.exact": ["{path}, exact to {deviation}", "{path}，精确到 {deviation}"],
  "header.differs": ["{path}, differs by up to {deviation}", "{path}，最大偏差 {deviation}"],
  "header.own": ["{path}, the model’s own numbers", "{path}，模型自身的数值"],
  "header.shape": ["{layers} layers × {heads} heads", "{layers} 层 × {heads} 头"],
  "header.shape.part": ["{n} {role}", "{n} {role}"],
  "header.shape.roles": ["{parts} layers × {heads} heads", "{parts}层 × {heads} 头"],
  "header.tokens.one": ["{n} token", "{n} 个词元"],
  "header.tokens.other": ["{n} tokens", "{n} 个词元"],
  "help.close": ["Close", "关闭"],
  "help.title": ["Keys", "按键"],
  "home.blocked": ["blocked", "已屏蔽"],
  "home.budget": ["{used} of {total} used by loaded models", "已加载模型占用 {used}，上限 {total}"],
  "home.choose": ["Choose", "选用"],
  "home.choose.label": ["Choose device {name}", "选用设备 {name}"],
  "home.chosen": ["chosen", "当前"],
  "home.devices": ["Device", "设备"],
  "home.insert": ["Insert cell", "插入单元格"],
  "home.insert.label": ["Insert a cell: {name}", "插入单元格：{name}"],
  "home.installed": ["installed", "已安装"],
  "home.memory": ["{used} of {total} used", "已用 {used}，共 {total}"],
  "home.missing": ["not installed", "未安装"],
  "home.models": ["Loaded models", "已加载的模型"],
  "home.models.none": [
    "No model is loaded. Running a task loads one.",
    "尚未加载模型。运行任务时会自动加载。",
  ],
  "home.parameters": ["{n} parameters", "{n} 参数"],
  "home.pinned": ["pinned", "已固定"],
  "home.plugins": ["Plugins", "插件"],
  "home.plugins.none": [
    "No plugin was found. Install one, then rescan.",
    "未找到插件。请安装后重新扫描。",
  ],
  "home.quarantined": ["not working", "不可用"],
  "home.ready": ["ready", "就绪"],
  "home.rescan": ["Rescan plugins", "重新扫描插件"],
  "home.show": ["Go to", "转到"],
  "home.show.label": ["Go to the output of {name}", "转到 {name} 的输出"],
  "home.show.none": ["No open notebook shows this view.", "没有打开的笔记本显示此视图。"],
  "home.starters": ["Starter models", "入门模型"],
  "home.starters.hint": [
    "lmkit starter install fetches the missing ones.",
    "lmkit starter install 可安装缺少的模型。",
  ],
  "home.tasks": ["Tasks", "任务"],
  "home.tasks.none": [
    "No task is available: see the plugins below.",
    "没有可用的任务：请查看下面的插件。",
  ],
  "home.title": ["lmkit", "lmkit"],
  "home.unload": ["Unload", "卸载"],
  "home.unload.label": ["Unload {name}", "卸载 {name}"],
  "home.views": ["Open views", "打开的视图"],
  "home.usedby": ["plugin {plugin}", "插件 {plugin}"],
  "key.arrows": ["Move in the grid or the picture", "在网格或图中移动"],
  "key.enter": ["Open the head, or select the token", "打开头，或选中词元"],
  "key.escape": ["Clear the selection, or close", "清除选择，或关闭"],
  "key.find": ["Find a token", "查找词元"],
  "key.head": ["Previous, next head", "上一个、下一个头"],
  "key.help": ["Show these keys", "显示按键"],
  "key.layer": ["Previous, next layer", "上一层、下一层"],
  "key.run": ["Run", "运行"],
  "key.scale": ["Next scale", "切换标度"],
  "key.zoom": ["Zoom the map in, out, to the whole", "放大、缩小热图，显示整张"],
  keys: ["Keys", "按键"],
  "layer.info": ["{name}: {role}, {queries} × {keys}", "{name}：{role}，{queries} × {keys}"],
  "layer.info.kv": [
    "{name}: {role}, {queries} × {keys}, {heads} heads on {kv} key-value heads",
    "{name}：{role}，{queries} × {keys}，{heads} 个头共用 {kv} 个键值头",
  ],
  "layer.info.window": ["window {window}", "窗口 {window}"],
  "layer.causal": ["causal", "因果"],
  "layer.next": ["Next layer", "下一层"],
  "layer.previous": ["Previous layer", "上一层"],
  "layer.word": ["Layer", "层"],
  "legend.label": ["Scale", "标度"],
  "legend.linear": ["linear", "线性"],
  "legend.log": ["log", "对数"],
  "legend.note.amount": [
    "amounts, {mapping} scale, up to the largest of this head",
    "数值，{mapping}标度，上限为此头的最大值",
  ],
  "legend.note.difference": [
    "difference, {mapping} scale: blue more, red less, 0 is the background",
    "差异，{mapping}标度：蓝多红少，0 为背景色",
  ],
  "lens.label": ["See", "查看"],
  "lens.loading": ["Looking through the lens", "正在应用透镜"],
  "lens.none": ["Attention", "注意力"],
  "lines.scale": [
    "Several heads are drawn together where numbers are shares: choose Attention or a lens of shares.",
    "仅当数值为占比时才能同时绘制多个头：请选择注意力或占比类透镜。",
  ],
  "neuron.lens": [
    "Queries and keys are those of tokens: choose Attention to see them.",
    "查询与键属于词元：请选择“注意力”查看。",
  ],
  "legend.note.share": [
    "attention, {mapping} scale, 0 is the background",
    "注意力，{mapping}标度，0 为背景色",
  ],
  "legend.sqrt": ["square root", "平方根"],
  "list.comma": [", ", "、"],
  "lines.all": ["All", "全部"],
  "lines.dropped": [
    "Lines of {least} and more: {drawn} of the attention of these heads, {dropped} is not drawn.",
    "绘出不小于 {least} 的连线：占这些头注意力的 {drawn}，其余 {dropped} 未绘出。",
  ],
  "lines.head": ["Head {head}", "第 {head} 头"],
  "lines.least": ["Smallest weight that is drawn", "绘出的最小权重"],
  "lines.legend": ["Heads on show", "显示的头"],
  "lines.loading": ["Computing heads.", "正在计算各头。"],
  "lines.long": [
    "Lines of several heads are drawn for up to {most} tokens; this layer has {n}.",
    "多头连线最多支持 {most} 个词元；此层有 {n} 个。",
  ],
  "lines.lost": ["Not saved with the notebook: {heads}.", "未随笔记本保存的头：{heads}。"],
  "lines.none": ["None", "全不选"],
  "lines.off": ["No head is on.", "未显示任何头。"],
  "lines.one": ["This layer has one head.", "此层只有一个头。"],
  "lines.only": ["Only {head}", "仅 {head}"],
  "lines.say": ["head {head} {token} {value}", "第 {head} 头 {token} {value}"],
  "lines.stage": [
    "Lines of several of {n} heads: arrows move along the tokens",
    "{n} 个头中若干头的连线：方向键沿词元移动",
  ],
  "loading.connect": ["Connecting to the kernel", "正在连接内核"],
  "loading.head": ["Computing this head", "正在计算此头"],
  "loading.thumbs": ["Computing thumbnails", "正在计算缩略图"],
  "map.fit": ["Show the whole map", "显示整张图"],
  "map.fit.key": ["Show the whole map (0)", "显示整张图（0）"],
  "map.in": ["Zoom in", "放大"],
  "map.in.key": [
    "Zoom in (+, or the wheel once the map was clicked)",
    "放大（+，或单击热图后滚动滚轮）",
  ],
  "map.loading": ["Finer cells are on their way.", "正在计算更细的格子。"],
  "map.out": ["Zoom out", "缩小"],
  "map.out.key": ["Zoom out (-)", "缩小（-）"],
  "map.sight": ["In sight: queries {rows}, keys {columns}.", "可见：查询 {rows}，键 {columns}。"],
  "map.whole": ["The whole map.", "整张图。"],
  "loading.thumbs.glance": ["a first glance is shown", "先显示概略图"],
  "missing.layers": ["No attention from: {names}", "以下层没有注意力：{names}"],
  "neuron.bias": ["bias", "偏置"],
  "neuron.closed": ["masked", "已屏蔽"],
  "neuron.copy": ["Copy numbers", "复制数值"],
  "neuron.dimension": [
    "dimension {index}: {q} × {k} = {product}",
    "第 {index} 维：{q} × {k} = {product}",
  ],
  "neuron.dot": ["q·k", "q·k"],
  "neuron.group": ["Key-value head {kv} serves {n} heads.", "键值头 {kv} 由 {n} 个头共用。"],
  "neuron.key": ["Key", "键"],
  "neuron.key.next": ["Next key", "下一个键"],
  "neuron.key.previous": ["Previous key", "上一个键"],
  "neuron.keys": ["key", "键"],
  "neuron.largest": ["largest size {value}", "最大绝对值 {value}"],
  "neuron.list": ["Keys of this query, with score and weight", "此查询的各键及其分数与权重"],
  "neuron.loading": ["Fetching queries and keys", "正在获取查询与键"],
  "neuron.masked": [
    "A mask closes this pair: the query does not see this key.",
    "此对被掩码屏蔽：该查询看不到该键。",
  ],
  "neuron.notcarried": [
    "The queries and keys of this head were not saved with the notebook: run the cell to see them.",
    "此头的查询与键未随笔记本保存：运行单元格即可查看。",
  ],
  "neuron.plain": ["{n} dimensions.", "{n} 维。"],
  "neuron.product": ["q × k, {n} dimensions", "q × k，{n} 维"],
  "neuron.query": ["Query", "查询"],
  "neuron.query.next": ["Next query", "下一个查询"],
  "neuron.query.previous": ["Previous query", "上一个查询"],
  "neuron.rotary": [
    "{n} dimensions, post-rotary: positions are already turned into q and k.",
    "{n} 维，旋转位置编码之后：位置已旋入 q 与 k。",
  ],
  "neuron.say": [
    "{query} → {key}: score {score}, weight {weight}",
    "{query} → {key}：分数 {score}，权重 {weight}",
  ],
  "neuron.say.masked": ["{query} → {key}: masked", "{query} → {key}：已屏蔽"],
  "neuron.scale": ["scale", "缩放"],
  "neuron.score": ["score", "分数"],
  "neuron.sink": ["sink", "汇点"],
  "neuron.sort": ["Keys", "键"],
  "neuron.sort.text": ["in text order", "按文本顺序"],
  "neuron.sort.weight": ["by weight", "按权重"],
  "neuron.sum.one": ["sum over {n} key", "{n} 个键之和"],
  "neuron.sum.other": ["sum over {n} keys", "{n} 个键之和"],
  "neuron.top": ["less the largest score of the row", "减去该行最大的分数"],
  "neuron.unavailable": [
    "This layer gave its attention only: its queries and keys are not there.",
    "此层只给出了注意力：没有其查询与键。",
  ],
  "neuron.value": ["dimension {index}: {value}", "第 {index} 维：{value}"],
  "neuron.weight": ["weight", "权重"],
  "picture.arcs": ["Arcs", "弧线图"],
  "picture.arcs.pooled": [
    "Arcs of {n} tokens need the kernel, row by row. The saved map shows blocks of tokens: press 2, or run the cell.",
    "{n} 个词元的弧线图需要内核逐行计算。已保存的热图按词元块显示：按 2 查看，或运行单元格。",
  ],
  "picture.heads": ["Heads", "多头"],
  "picture.label": ["{head}, {picture}", "{head}，{picture}"],
  "picture.map": ["Map", "热图"],
  "picture.neuron": ["q·k", "q·k"],
  "picture.pooled": [
    "One cell stands for {rows} × {columns} tokens: the attention mass of the block.",
    "一格代表 {rows} × {columns} 个词元：该块的注意力总量。",
  ],
  "picture.tabs": ["Picture", "图"],
  "picture.keys": ["keys", "键"],
  "picture.side": ["{name} ({role})", "{name}（{role}）"],
  "picture.queries": ["queries", "查询"],
  "progress.left": ["about {time} left", "约剩 {time}"],
  "progress.of": ["{done} of {total}", "{done}/{total}"],
  "page.live": [
    "This part is drawn only while its kernel runs: run the cell to see it.",
    "此部分仅在内核运行时绘制：运行单元格即可查看。",
  ],
  "page.title": ["A plugin’s own page", "插件自带页面"],
  "result.all": ["Show all {n}", "显示全部 {n} 个"],
  "result.empty": ["Nothing found.", "没有找到。"],
  "result.less": ["Show fewer", "收起"],
  "result.long": [
    "The first {n} of {total} characters are shown.",
    "显示前 {n} 个字符，共 {total} 个。",
  ],
  "result.over": ["above the threshold {threshold}", "高于阈值 {threshold}"],
  "result.spans": [
    "The first {n} of {total} spans are marked.",
    "标出前 {n} 个片段，共 {total} 个。",
  ],
  "result.threshold": ["Threshold {threshold}", "阈值 {threshold}"],
  "scores.amount": ["0 to {top}", "0 至 {top}"],
  "scores.rows": ["{n} more rows are not drawn.", "另有 {n} 行未绘制。"],
  "scores.signed": ["−{top} to {top}", "−{top} 至 {top}"],
  "scores.tokens": ["{n} more tokens are not drawn.", "另有 {n} 个词元未绘制。"],
  "lens.difference": ["Difference", "差异"],
  "lens.saved": [
    "A saved view has the lens that was on show last: run the cell for the others.",
    "已保存的视图只含最后使用的视角：运行单元格即可使用其他视角。",
  ],
  "view.kept": [
    "Saved as it was shown last, for {place}. Run the cell for another question.",
    "保存的是最后一次显示的内容（{place}）。运行单元格可再次提问。",
  ],
  "view.kept.all": [
    "Saved as it was shown last. Run the cell for another question.",
    "保存的是最后一次显示的内容。运行单元格可再次提问。",
  ],
  "view.live": [
    "This view is computed by the kernel: run the cell to see it.",
    "此视图由内核计算：运行单元格即可查看。",
  ],
  "views.label": ["More views of this pass", "此次前向传播的更多视图"],
  "views.more": ["More views…", "更多视图…"],
  "result.under": ["below the threshold {threshold}", "低于阈值 {threshold}"],
  retry: ["Try again", "重试"],
  "role.cross": ["cross-attention", "交叉注意力"],
  "role.decoder": ["decoder", "解码器"],
  "role.encoder": ["encoder", "编码器"],
  run: ["Run", "运行"],
  "run.hint": ["Run (Ctrl+Enter)", "运行（Ctrl+Enter）"],
  save: ["Save", "保存"],
  "save.busy": ["Saving …", "正在保存……"],
  "save.done": ["Saved {name}", "已保存 {name}"],
  "save.html": ["Page that needs nothing else (HTML)", "独立网页 (HTML)"],
  "save.json": ["Numbers as text (JSON)", "文本数值 (JSON)"],
  "save.label": ["Save as", "另存为"],
  "save.needs": ["needs the kernel: run the cell", "需要内核：请运行单元格"],
  "save.nopicture": ["no picture is on show", "当前没有图"],
  "save.npz": ["Exact numbers (NPZ)", "精确数值 (NPZ)"],
  "save.pdf": ["Picture for print (PDF)", "印刷用图 (PDF)"],
  "save.png": ["Picture in pixels (PNG)", "像素图 (PNG)"],
  "save.shown": ["what is on show", "当前所示"],
  "save.carried": ["what this output carries", "此输出所含内容"],
  "save.svg": ["Picture as vectors (SVG)", "矢量图 (SVG)"],
  "saved.carries": [
    "It carries {carried} of {heads} heads.",
    "包含 {heads} 个头中的 {carried} 个。",
  ],
  "saved.carries.all": ["It carries all {heads} heads.", "包含全部 {heads} 个头。"],
  "saved.carries.none": ["It carries no head.", "不含任何头。"],
  "saved.connecting": ["Saved view: looking for its kernel.", "已保存的视图：正在寻找内核。"],
  "saved.lost": [
    "The kernel has ended. Saved view: run the cell to go live.",
    "内核已结束。已保存的视图：运行单元格即可恢复。",
  ],
  "saved.note": ["Saved view: run the cell to go live.", "已保存的视图：运行单元格即可恢复。"],
  "scale.now": ["{mapping} scale", "{mapping}标度"],
  "sentence.attended": ["is attended by", "受关注于"],
  "sentence.hint": [
    "Point at a token to see what it attends to; click holds it.",
    "指向词元可查看它关注什么；单击可固定。",
  ],
  "sentence.sum.one": ["attends to", "关注"],
  "sentence.sum.other": ["{n} tokens, summed, attend to", "等 {n} 个词元合计关注"],
  "status.cancelled": [
    "Stopped. The results are those of the run before.",
    "已停止。结果来自上一次运行。",
  ],
  "status.cancelled.kept": [
    "Stopped. What there was by then is kept.",
    "已停止。已保留停止前的结果。",
  ],
  "status.cancelled.empty": ["Stopped.", "已停止。"],
  "status.done": ["Done", "完成"],
  "status.running": ["Running", "运行中"],
  "status.stopping": ["Stopping at the next layer or token", "将在下一层或下一词元停止"],
  "steps.all": ["All steps", "全部步骤"],
  "steps.label": ["Steps of the generated text", "生成文本的步骤"],
  "steps.next": ["Next step", "下一步"],
  "steps.none": ["all steps", "全部步骤"],
  "steps.of": ["step {n} of {total}", "第 {n} 步，共 {total} 步"],
  "steps.pause": ["Pause", "暂停"],
  "steps.play": ["Play the steps", "逐步播放"],
  "steps.previous": ["Previous step", "上一步"],
  stop: ["Stop", "停止"],
  "table.columns": ["{title}", "{title}"],
  "tree.best": ["the best", "最佳"],
  "tree.dropped": ["given up", "已放弃"],
  "tree.kept": ["kept to the end", "保留到最后"],
  "tree.more": ["{n} more nodes are not drawn.", "另有 {n} 个节点未绘制。"],
  "token.find": ["Find a token", "查找词元"],
  "token.found": ["{n} of {total}", "第 {n} 个，共 {total} 个"],
  "token.index": ["token {index}", "词元 {index}"],
  "token.length": ["{n} characters", "{n} 个字符"],
  "token.nomatch": ["no match", "无匹配"],
  "token.raw": ["raw: {raw}", "原始：{raw}"],
  "token.special": ["special token", "特殊词元"],
  "tokens.clear": ["Clear selection", "清除选择"],
  "tokens.hide": ["Hide specials", "隐藏特殊词元"],
  "tokens.keys": ["Key tokens", "键词元"],
  "tokens.label": ["Tokens", "词元"],
  "tokens.shown": [
    "The first {n} of {total} tokens are shown.",
    "显示前 {n} 个词元，共 {total} 个。",
  ],
  "value.cell": ["{query} → {key}: {value}", "{query} → {key}：{value}"],
  warnings: ["Warnings", "警告"],
  working: ["Working", "处理中"],
} as const satisfies Record<string, readonly [english: string, chinese: string]>;

export type MessageKey = keyof typeof MESSAGES;

export type Values = Readonly<Record<string, string | number>>;

/** Looks words up; `plural` picks the form of a count. */
export interface Translate {
  (key: MessageKey, values?: Values): string;
  plural(stem: string, n: number, values?: Values): string;
  readonly locale: string;
}

function fillIn(template: string, values: Values): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? String(values[name]) : whole,
  );
}

/** The locale of a view: as asked, else the page's language, else English. */
export function pickLocale(asked: string | undefined): string {
  const wanted = asked || globalThis.document?.documentElement.lang || "en";
  try {
    return Intl.getCanonicalLocales(wanted)[0] ?? "en";
  } catch {
    return "en";
  }
}

export function translator(asked: string | undefined): Translate {
  const locale = pickLocale(asked);
  const chinese = locale.toLowerCase().startsWith("zh");
  const translate = (key: MessageKey, values: Values = {}) =>
    fillIn(MESSAGES[key][chinese ? 1 : 0], values);
  const plural = (stem: string, n: number, values: Values = {}) => {
    // The rule of English, and of Chinese, which has one form. To load the rules of all languages
    // would take longer than all other words of a view.
    const form = n === 1 && !chinese ? "one" : "other";
    return translate(`${stem}.${form}` as MessageKey, { n, ...values });
  };
  return Object.assign(translate, { plural, locale: chinese ? "zh-Hans" : locale });
}

/** A time left in words as short as "40 s" or "3 min". */
export function timeLeft(seconds: number, locale: string): string {
  const whole = Math.max(1, Math.round(seconds));
  const [value, unit] =
    whole < 90
      ? [whole, "second"]
      : whole < 5400
        ? [Math.round(whole / 60), "minute"]
        : [Math.round(whole / 3600), "hour"];
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "short" }).format(value);
}
