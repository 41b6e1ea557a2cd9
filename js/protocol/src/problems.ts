/** What can be wrong with data from a kernel or a saved notebook: English, Simplified Chinese. */
export const PROBLEMS = {
  "unread.bundle": [
    "This saved output cannot be read: {what}.",
    "无法读取此已保存的输出：{what}。",
  ],
  "unread.message": [
    "The kernel sent what this view cannot read: {what}.",
    "内核发来了此视图无法读取的内容：{what}。",
  ],
  "unread.request": ["This is no request for tiles: {what}.", "这不是图块请求：{what}。"],
  "unread.tokens": [
    "The tokens of this view cannot be read: {what}.",
    "无法读取此视图的词元：{what}。",
  ],
  "unread.tokens.column": [
    "a column has {places} places for {tokens} tokens",
    "一列有 {places} 个位置，词元却有 {tokens} 个",
  ],
  "unread.tokens.none": ["there is no token {index}", "没有词元 {index}"],
  "unread.tokens.place": [
    "the place of token {index} is out of bounds",
    "词元 {index} 的位置超出范围",
  ],
  "unread.view": ["This view cannot be read: {what}.", "无法读取此视图：{what}。"],
  "unread.version.bundle": [
    "This output was saved with protocol {given}; this lmkit reads {own}. Run the cell again, or install the lmkit that saved it.",
    "此输出以协议 {given} 保存；当前 lmkit 读取协议 {own}。请重新运行单元格，或安装保存它的 lmkit。",
  ],
  "unread.version.view": [
    "This view has protocol {given}; this lmkit reads {own}. Run the cell again, or install the lmkit that saved it.",
    "此视图使用协议 {given}；当前 lmkit 读取协议 {own}。请重新运行单元格，或安装保存它的 lmkit。",
  ],
  "unread.whole": ["it is not {expected}", "它不是{expected}"],
  "unread.place": ["{place} is not {expected}", "{place} 不是{expected}"],
  "unread.missing": ["{place} is not given", "缺少 {place}"],
  "unread.expected.known": ["known", "已知的值"],
  "unread.expected.list": ["a list", "列表"],
  "unread.expected.list.least": ["a list of at least {n}", "至少 {n} 项的列表"],
  "unread.expected.list.most": ["a list of at most {n}", "至多 {n} 项的列表"],
  "unread.expected.flag": ["true or false", " true 或 false"],
  "unread.expected.null": ["null", "空值 null"],
  "unread.expected.number": ["a number{range}", "{range}数字"],
  "unread.expected.object": ["an object", "对象"],
  "unread.expected.one": ["one of {names}", "以下之一：{names}"],
  "unread.expected.text": ["a text", "文本"],
  "unread.expected.text.empty": ["a text that is not empty", "非空文本"],
  "unread.expected.text.most": ["a text of at most {n} characters", "至多 {n} 个字符的文本"],
  "unread.expected.whole": ["a whole number{range}", "{range}整数"],
  "unread.range.both": [" from {low} to {high}", " {low} 至 {high} 之间的"],
  "unread.range.high": [" to {high}", "不大于 {high} 的"],
  "unread.range.low": [" from {low}", "不小于 {low} 的"],
  "unread.key": ["{text} is not the name of a tile.", "{text} 不是图块的名称。"],
  "unread.key.empty": ['The range of "{text}" is empty.', "“{text}”的范围为空。"],
  "unread.tile.bytes": [
    "Tile {name} has {given} bytes where its shape asks for {wanted}.",
    "图块 {name} 有 {given} 字节，按其形状应为 {wanted} 字节。",
  ],
  "unread.tile.damaged": [
    "Tile {name} is damaged: its data cannot be unpacked.",
    "图块 {name} 已损坏：无法解压其数据。",
  ],
  "unread.tile.large": [
    "Tile {name} claims {bytes} bytes, more than is read.",
    "图块 {name} 声称有 {bytes} 字节，超出读取上限。",
  ],
  "unread.tile.size": [
    "Tile {name} has not the {wanted} bytes that its shape asks for.",
    "图块 {name} 的数据不是其形状所需的 {wanted} 字节。",
  ],
} as const satisfies Record<string, readonly [english: string, chinese: string]>;

/** A sentence or a part of one, whose language is chosen when it is shown. */
export interface Phrase<Key extends string = string> {
  readonly key: Key;
  readonly values?: Readonly<Record<string, string | number | Phrase<Key>>>;
}

export type Problem = Phrase<keyof typeof PROBLEMS>;

/** Put values in the places of a template, once: what a value holds is no template. */
export function fillIn(
  template: string,
  values: Readonly<Record<string, string | number>>,
): string {
  return template.replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? String(values[name]) : whole,
  );
}

/** A phrase in words, as `look` gives them for a key and its values. */
export function inWords<Key extends string>(
  { key, values = {} }: Phrase<Key>,
  look: (key: Key, values: Readonly<Record<string, string | number>>) => string,
): string {
  const said = Object.entries(values).map(([name, value]) => [
    name,
    typeof value === "object" ? inWords(value, look) : value,
  ]);
  return look(key, Object.fromEntries(said));
}

export function inEnglish(problem: Problem): string {
  return inWords(problem, (key, values) => fillIn(PROBLEMS[key][0], values));
}
