import type { Request } from "@lmkit/protocol";

/** What a shell implements: carries messages, knows no view. */
export interface Channel {
  send(message: Request): void;
  /** Calls back for every message of the kernel: JSON and binary buffers; returns its undo. */
  listen(onMessage: (message: unknown, buffers: readonly ArrayBufferView[]) => void): () => void;
  /** Called when the connection ended (kernel restart, comm closed); returns its undo. */
  onClose(callback: () => void): () => void;
  close(): void;
}
