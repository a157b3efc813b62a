import { describe, expect, it } from "vitest";
import type { Frame, Plane, Point } from "./geometry";
import {
  clamp,
  clampPoint,
  fitZoom,
  isInside,
  keepInside,
  PLANES,
  roundLength,
  roundPoint,
  SHOWN,
  toScreen,
  toVoxels,
  withAxis,
} from "./geometry";

const SHAPE: Point = [11, 23, 37];
const frame = (plane: Plane): Frame => ({ plane, centre: [5, 11, 18], zoom: 3, width: 301, height: 201 });

describe("toScreen", () => {
  it.each<[Plane, [number, number]]>([
    // across is x, z and x; down is y, y and z
    ["z", [(30 - 18) * 3 + 150.5, (7 - 11) * 3 + 100.5]],
    ["y", [(30 - 18) * 3 + 150.5, (2 - 5) * 3 + 100.5]],
    ["x", [(2 - 5) * 3 + 150.5, (7 - 11) * 3 + 100.5]],
  ])("puts z, y, x = 2, 7, 30 in plane %s", (plane, seen) => {
    expect(toScreen(frame(plane), [2, 7, 30])).toEqual(seen);
  });

  it.each(PLANES)("puts the centre of plane %s in the middle of its view", (plane) => {
    expect(toScreen(frame(plane), [5, 11, 18])).toEqual([150.5, 100.5]);
  });
});

describe("toVoxels", () => {
  it.each(PLANES)("undoes toScreen in plane %s", (plane) => {
    const point: Point = [2, 7, 30];
    const [x, y] = toScreen(frame(plane), point);
    expect(toVoxels(frame(plane), x, y, point[SHOWN[plane].normal])).toEqual(point);
  });

  it("takes the coordinate along the normal from the slice", () => {
    expect(toVoxels(frame("y"), 150.5, 100.5, 4)).toEqual([5, 4, 18]);
  });

  it("knows parts of voxels", () => {
    expect(toVoxels({ ...frame("z"), zoom: 4 }, 151.5, 98.5, 0)).toEqual([0, 10.5, 18.25]);
  });
});

describe("SHOWN", () => {
  it.each(PLANES)("uses each axis once in plane %s", (plane) => {
    const { normal, down, across } = SHOWN[plane];
    expect([normal, down, across].sort()).toEqual([0, 1, 2]);
  });
});

describe("points", () => {
  it("are clamped axis by axis", () => {
    expect(clampPoint([-3, 22.5, 99], SHAPE)).toEqual([0, 22, 36]);
    expect(clampPoint([10, 0.25, 36], SHAPE)).toEqual([10, 0.25, 36]);
  });

  it("are inside up to the faces of the outermost voxels", () => {
    expect(isInside([-0.5, 22.5, 36.5], SHAPE)).toBe(true);
    expect(isInside([-0.51, 5, 5], SHAPE)).toBe(false);
    expect(isInside([5, 22.51, 5], SHAPE)).toBe(false);
    expect(isInside([5, 5, 36.51], SHAPE)).toBe(false);
    expect(isInside([12, 5, 5], SHAPE)).toBe(false);
    expect(isInside([5, 12, 12], SHAPE)).toBe(true);
  });

  it("are rounded to the nearest voxel", () => {
    expect(roundPoint([1.49, 2.5, 3.51])).toEqual([1, 3, 4]);
  });

  it("change along one axis, as a copy", () => {
    const point: Point = [1, 2, 3];
    expect([0, 1, 2].map((axis) => withAxis(point, axis as 0 | 1 | 2, 9))).toEqual([
      [9, 2, 3],
      [1, 9, 3],
      [1, 2, 9],
    ]);
    expect(point).toEqual([1, 2, 3]);
  });
});

describe("clamp", () => {
  it("keeps to the lower end where the range is empty", () => {
    expect([clamp(-1, 0, 4), clamp(2, 0, 4), clamp(9, 0, 4), clamp(3, 0, -1)]).toEqual([0, 2, 4, 0]);
  });
});

describe("fitZoom", () => {
  it("is that of the tightest side of the view", () => {
    expect(fitZoom(SHAPE, "z", [370, 2300])).toBeCloseTo(0.96 * 10, 12);
    expect(fitZoom(SHAPE, "y", [370, 55])).toBeCloseTo(0.96 * 5, 12);
  });

  it("measures plane x across z", () => {
    expect(fitZoom(SHAPE, "x", [22, 2300])).toBeCloseTo(0.96 * 2, 12);
  });

  it("is 1 where the view has no size yet", () => {
    expect(fitZoom(SHAPE, "z", undefined)).toBe(1);
    expect(fitZoom(SHAPE, "z", [0, 0])).toBe(1);
  });
});

describe("keepInside", () => {
  const sizes = { z: [40, 20], x: [8, 20] } as const;

  it("leaves what is far from every face", () => {
    expect(keepInside([5, 11, 18], SHAPE, 2, sizes)).toEqual([5, 11, 18]);
  });

  it("moves a view back that would show more than it must of what is outside", () => {
    // at 2 pixels per voxel, 10 voxels are visible on each side along x, 5 along y and 2 along z
    expect(keepInside([0, 0, 0], SHAPE, 2, sizes)).toEqual([1.5, 4.5, 9.5]);
    expect(keepInside([10, 22, 36], SHAPE, 2, sizes)).toEqual([8.5, 17.5, 26.5]);
  });

  it("is the middle where everything fits, and where the zoom is not chosen", () => {
    expect(keepInside([0, 0, 36], SHAPE, 0.5, sizes)).toEqual([5, 11, 18]);
    expect(keepInside([0, 0, 36], SHAPE, 0, sizes)).toEqual([5, 11, 18]);
  });
});

describe("roundLength", () => {
  it.each([
    [1, 1],
    [1.99, 1],
    [2, 2],
    [4.9, 2],
    [5, 5],
    [9.9, 5],
    [10, 10],
    [1000, 1000],
    [137, 100],
    [0.3, 0.2],
    [0.05, 0.05],
  ])("of %f is %f", (longest, length) => {
    expect(roundLength(longest)).toBe(length);
  });
});
