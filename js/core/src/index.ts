/** The views of lmkit, framework-free. A shell gives an element, data and perhaps a channel. */

export type { Channel } from "./channel.ts";
export type { HostActions } from "./context.ts";
export { InSight } from "./in-sight.ts";
export { type MessageKey, type Translate, translator } from "./messages.ts";
export { type MountOptions, mount, mountBundle, mountLive } from "./mount.ts";
export { type Preferences, prefer } from "./preferences.ts";
export type { Rest } from "./refill.ts";
export {
  type FieldValues,
  KernelError,
  KernelSource,
  type Liveness,
  type Source,
  type SourceEvent,
  type SourceOptions,
  VERSION,
} from "./source.ts";
