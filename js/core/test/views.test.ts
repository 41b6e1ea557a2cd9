import { Blob } from "node:buffer";
import type { AttentionSpec, HomeSpec, PanelSpec, Request, ViewSpec } from "@lmkit/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeKernel, HOSTILE, saveTile, VIEWS } from "../dev/samples.ts";
import { mountBundle, mountLive } from "../src/index.ts";
import { readNumber } from "../src/panel/form.ts";
import { Mounted } from "./mounted.ts";

const live = { session: "session-1", view: "view-1" };
const options = { theme: "light", locale: "en" } as const;

beforeEach(() => {
  // jsdom's cannot be read as a stream, which is how saved tiles are unpacked.
  vi.stubGlobal("Blob", Blob);
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
});

afterEach(() => {
  Mounted.undoAll();
  document.body.replaceChildren();
});

function sample(name: string): PanelSpec {
  return (VIEWS[name] as () => PanelSpec)();
}

