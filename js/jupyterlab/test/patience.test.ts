import { beforeEach, expect, test, vi } from "vitest";
import { words } from "../src/words.ts";

const { emit, dismiss } = vi.hoisted(() => ({ emit: vi.fn(), dismiss: vi.fn() }));
// its package does not load in jsdom
vi.mock("@jupyterlab/apputils", () => ({ Notification: { emit, dismiss } }));
const { PATIENCE, patiently } = await import("../src/patience.ts");

beforeEach(() => {
  vi.useFakeTimers();
  emit.mockReset().mockReturnValue("n1");
  dismiss.mockReset();
  return () => vi.useRealTimers();
});

test("a quick answer comes without a word", async () => {
  expect(await patiently(Promise.resolve(3), words("en"))).toBe(3);
  await vi.advanceTimersByTimeAsync(2 * PATIENCE);
  expect(emit).not.toHaveBeenCalled();
});

test("a busy kernel is named after a second, until it answers", async () => {
  let answer: (value: number) => void = () => {};
  const waiting = patiently(new Promise<number>((resolve) => (answer = resolve)), words("en"));
  await vi.advanceTimersByTimeAsync(PATIENCE);
  expect(emit).toHaveBeenCalledWith(
    expect.stringContaining("The kernel is computing"),
    "in-progress",
    expect.objectContaining({ autoClose: false }),
  );
  expect(dismiss).not.toHaveBeenCalled();
  answer(4);
  expect(await waiting).toBe(4);
  expect(dismiss).toHaveBeenCalledWith("n1");
});

test("who waits no longer hears no more of it, not even that it failed", async () => {
  let fail: (error: Error) => void = () => {};
  const waiting = patiently(new Promise<number>((_, reject) => (fail = reject)), words("zh-CN"));
  await vi.advanceTimersByTimeAsync(PATIENCE);
  const [cancel] = emit.mock.calls[0]?.[2].actions ?? [];
  expect(cancel.label).toBe("取消");
  cancel.callback();
  expect(await waiting).toBeNull();
  expect(dismiss).toHaveBeenCalledWith("n1");
  fail(new Error("too late"));
});

test("a failure is the caller's to tell", async () => {
  await expect(patiently(Promise.reject(new Error("gone")), words("en"))).rejects.toThrow("gone");
});
