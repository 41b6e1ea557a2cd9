/** Tests wait for what a page draws longer than vitest's second: other work may hold the machine. */
import { vi } from "vitest";

const { waitFor } = vi;

vi.waitFor = (check, options) =>
  waitFor(check, typeof options === "number" ? options : { timeout: 20_000, ...options });
