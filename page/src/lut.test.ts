import { beforeEach, describe, expect, it, vi } from "vitest";
import { greyTable, paintSlice } from "./lut";

/** Red, green, blue and alpha of a packed pixel, as they lie in memory. */
const channels = (packed: number) => [...new Uint8Array(Uint32Array.of(packed).buffer)];

describe("greyTable", () => {
  it("changes nothing at full range", () => {
    const table = greyTable(0, 255, false);
    expect(table).toHaveLength(256);
    for (const value of [0, 1, 100, 254, 255]) expect(channels(table[value]!)).toEqual([value, value, value, 255]);
  });

  it("stretches between black and white, and cuts off beyond", () => {
    const table = greyTable(50, 100, false);
    expect([0, 50, 60, 75, 100, 255].map((v) => channels(table[v]!)[0])).toEqual([0, 0, 51, 128, 255, 255]);
  });

  it("turns round when inverted", () => {
    const table = greyTable(50, 100, true);
    expect([0, 60, 100].map((v) => channels(table[v]!))).toEqual([
      [255, 255, 255, 255],
      [204, 204, 204, 255],
      [0, 0, 0, 255],
    ]);
  });

  it("is a step where black is white", () => {
    const table = greyTable(80, 80, false);
    expect([79, 80, 81].map((v) => channels(table[v]!)[0])).toEqual([0, 0, 255]);
  });
});

describe("paintSlice", () => {
  let put: { width: number; height: number; data: Uint8ClampedArray } | null = null;
  const canvas = () => {
    const context = { putImageData: (image: typeof put) => (put = image) };
    return { width: 1, height: 1, getContext: () => context } as unknown as HTMLCanvasElement;
  };
  const reds = () => [...(put?.data ?? [])].filter((_, i) => i % 4 === 0);
  const slice = { rows: 2, cols: 3, pixels: Uint8Array.of(10, 20, 30, 40, 50, 60) };

  beforeEach(() => {
    put = null;
    class FakeImage {
      readonly data: Uint8ClampedArray;
      constructor(
        readonly width: number,
        readonly height: number,
      ) {
        this.data = new Uint8ClampedArray(4 * width * height);
      }
    }
    vi.stubGlobal("ImageData", FakeImage);
  });

  it("keeps the rows", () => {
    const painted = canvas();
    paintSlice(painted, slice, greyTable(0, 255, false), false);
    expect([painted.width, painted.height]).toEqual([3, 2]);
    expect(reds()).toEqual([10, 20, 30, 40, 50, 60]);
  });

  it("swaps rows and columns when turned", () => {
    const painted = canvas();
    paintSlice(painted, slice, greyTable(0, 255, false), true);
    expect([painted.width, painted.height]).toEqual([2, 3]);
    expect(reds()).toEqual([10, 40, 20, 50, 30, 60]);
  });

  it("paints through the table", () => {
    paintSlice(canvas(), slice, greyTable(20, 40, true), false);
    expect(reds()).toEqual([255, 255, 128, 0, 0, 0]);
  });
});
