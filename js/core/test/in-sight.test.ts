import { beforeEach, expect, test, vi } from "vitest";
import { InSight } from "../src/in-sight.ts";
import { frames, Sight } from "./sight.ts";

beforeEach(() => Sight.stub());

/** Places in a page, and which of them were drawn, in order. */
function places(count: number) {
  const drawn: number[] = [];
  const made = Array.from({ length: count }, (_, number) => {
    const element = document.createElement("div");
    document.body.append(element);
    const place = new InSight(element);
    place.show({}, () => {
      drawn.push(number);
      return () => {};
    });
    return { element, place };
  });
  const dispose = () => {
    for (const { element, place } of made) {
      place.dispose();
      element.remove();
    }
  };
  return { made, drawn, dispose };
}

test("one view is drawn a frame, and none that has left before its turn", async () => {
  const { made, drawn, dispose } = places(60);
  Sight.reach(); // as VS Code places outputs of unknown heights: one upon another
  expect(drawn).toEqual([0]);
  for (const { element } of made.slice(2)) Sight.reach(false, element);
  await frames(5);
  expect(drawn).toEqual([0, 1]);
  Sight.reach(true, made[59]?.element);
  expect(drawn).toEqual([0, 1, 59]);
  expect(made.map(({ place }) => place.drawn).filter(Boolean)).toHaveLength(3);
  dispose();
  await frames(2);
});

test("the uppermost is drawn first, whatever the order in which they came", async () => {
  const { made, drawn, dispose } = places(4);
  for (const [number, { element }] of made.entries()) {
    vi.spyOn(element, "getBoundingClientRect").mockReturnValue(new DOMRect(0, -number * 100));
  }
  Sight.reach(); // the first that is told of is drawn at once
  await vi.waitFor(() => expect(drawn).toEqual([0, 3, 2, 1]));
  dispose();
  await frames(2);
});

test("a view that fails to draw does not keep the next from being drawn", async () => {
  const { made, drawn, dispose } = places(2);
  made[0]?.place.show({}, () => {
    throw new Error("no");
  });
  expect(() => Sight.reach(true, made[0]?.element)).toThrow("no");
  Sight.reach(true, made[1]?.element);
  await vi.waitFor(() => expect(drawn).toEqual([1]));
  dispose();
  await frames(2);
});

test("what is disposed while it waits is not drawn", async () => {
  const { made, drawn, dispose } = places(3);
  Sight.reach();
  made[1]?.place.dispose();
  await vi.waitFor(() => expect(drawn).toEqual([0, 2]));
  dispose();
  await frames(3);
});
