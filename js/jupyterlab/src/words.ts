/** Words of the shell itself, English and Simplified Chinese; those of the views are the core's. */

export const WORDS = {
  ask: ["Asking the kernel…", "正在询问内核…"],
  busy: [
    "The kernel is computing; it answers when the cell has ended.",
    "内核正在计算；单元格结束后会回应。",
  ],
  cancel: ["Cancel", "取消"],
  close: ["Close", "关闭"],
  "command.load": ["Load lmkit in this notebook's kernel", "在此笔记本的内核中加载 lmkit"],
  "command.new": ["lmkit notebook", "lmkit 笔记本"],
  "command.new.caption": [
    "A notebook that classifies a text and explores its attention",
    "对一段文本分类并浏览其注意力的笔记本",
  ],
  "command.run": ["Run an lmkit task on the selected text…", "对所选文本运行 lmkit 任务…"],
  "command.show": ["Show lmkit's side panel", "显示 lmkit 侧栏"],
  "dialog.task": ["Task", "任务"],
  differs: [
    "This page has lmkit {page}, the kernel {kernel}: install the same on both sides.",
    "此页面的 lmkit 为 {page}，内核为 {kernel}：请在两侧安装相同版本。",
  ],
  failed: ["The kernel did not answer: {why}", "内核没有回应：{why}"],
  insert: ["Insert a cell with it", "插入含此命令的单元格"],
  load: ["Load lmkit", "加载 lmkit"],
  loaded: ["lmkit is loaded in this notebook's kernel.", "此笔记本的内核已加载 lmkit。"],
  missing: [
    "lmkit is not in this kernel's environment ({where}). This installs it there:",
    "此内核的环境（{where}）中没有 lmkit。用以下命令安装：",
  ],
  "no-kernel": ["This notebook has no kernel.", "此笔记本没有内核。"],
  "no-notebook": ["Open a notebook to see its kernel here.", "打开笔记本即可在此查看其内核。"],
  "not-loaded": [
    "lmkit {version} is installed here and not loaded.",
    "此处已安装 lmkit {version}，尚未加载。",
  ],
  "not-python": ["This kernel does not run Python.", "此内核不运行 Python。"],
  "output.ended": [
    "The connection to the kernel ended: run the cell again.",
    "与内核的连接已断开：请重新运行单元格。",
  ],
  "output.missing": [
    "lmkit is not in this kernel's environment ({where}): install {packages} there, then run the cell again.",
    "此内核的环境（{where}）中没有 lmkit：请在其中安装 {packages}，然后重新运行单元格。",
  ],
  "output.no-kernel": [
    "This notebook has no kernel: choose one and run the cell.",
    "此笔记本没有内核：请选择内核并运行单元格。",
  ],
  "output.not-loaded": [
    "lmkit is not loaded in this kernel: run %load_ext lmkit, then run the cell again.",
    "此内核尚未加载 lmkit：请运行 %load_ext lmkit，然后重新运行单元格。",
  ],
  retry: ["Try again", "重试"],
  title: ["lmkit", "lmkit"],
} as const satisfies Record<string, readonly [string, string]>;

export type Word = keyof typeof WORDS;
export type Words = (word: Word, values?: Readonly<Record<string, string>>) => string;

/** @param language a BCP 47 tag or JupyterLab's `zh_CN` form */
export function words(language: string): Words {
  const column = language.toLowerCase().startsWith("zh") ? 1 : 0;
  return (word, values = {}) =>
    WORDS[word][column].replace(/\{(\w+)\}/g, (all, name: string) => values[name] ?? all);
}

/** The words in the page's language as it is now. */
export function pageWords(): Words {
  return words(globalThis.document?.documentElement.lang ?? "");
}

/** The words in whatever language the page has when they are asked for. */
export const currentWords: Words = (word, values) => pageWords()(word, values);
