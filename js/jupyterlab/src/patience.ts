import { Notification } from "@jupyterlab/apputils";
import type { Words } from "./words.ts";

/** Milliseconds until one is told that the kernel is busy rather than about to answer. */
export const PATIENCE = 1_000;

/**
 * What a kernel answers, or null when the user waits for it no longer: after a second a notification
 * says that the kernel computes, and has a way out.
 */
export async function patiently<T>(answer: Promise<T>, words: Words): Promise<T | null> {
  let notice: string | null = null;
  let leave = () => {};
  const left = new Promise<null>((resolve) => {
    leave = () => resolve(null);
  });
  const slow = setTimeout(() => {
    notice = Notification.emit(words("busy"), "in-progress", {
      autoClose: false,
      actions: [{ label: words("cancel"), callback: leave }],
    });
  }, PATIENCE);
  try {
    return await Promise.race([answer, left]);
  } finally {
    clearTimeout(slow);
    if (notice !== null) Notification.dismiss(notice);
  }
}
