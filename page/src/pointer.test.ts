import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeServer } from "./fake-server";
import type * as Pointer from "./pointer";
import type * as Slices from "./slices";
import type * as State from "./state";

let state: typeof State;
let pointer: typeof Pointer;
let slices: typeof Slices;

/** A tomogram of 11 x 23 x 37 voxels, with two screen pixels per voxel and its middle in the middle of plane z. */
beforeEach(async () => {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  vi.resetModules();
  state = await import("./state");
  pointer = await import("./pointer");
  slices = await import("./slices");
  await (await import("./sync")).refresh();
  state.viewSizes.value = { z: [100, 100] };
  state.look({ cursor: [5, 11, 18], centre: [5, 11, 18], zoom: 2 });
  pointer.pointer.value = { plane: "z", x: 60, y: 40 };
});

const point = () => pointer.hover.value?.point;

describe("what lies under a resting pointer", () => {
  it("follows the slice", () => {
    expect(point()).toEqual([5, 6, 23]);
    state.look({ cursor: [8, 11, 18] });
    expect(point()).toEqual([8, 6, 23]);
  });

  it("follows the zoom and the centre", () => {
    state.look({ zoom: 5 });
    expect(point()).toEqual([5, 9, 20]);
    state.goTo([3, 5, 9]);
    expect(point()).toEqual([3, 8, 12]); // the view stays within the tomogram
  });

  it("is nothing outside the tomogram and outside the views", () => {
    state.look({ zoom: 0.5 });
    expect(point()).toBeUndefined();
    state.look({ zoom: 2 });
    pointer.pointer.value = null;
    expect(point()).toBeUndefined();
  });

  it("has the grey value of its own slice, not of one that is shown until that arrives", async () => {
    expect(pointer.hover.value?.grey).toBeNull();
    const pixels = new Uint8Array(23 * 37);
    pixels[6 * 37 + 23] = 99;
    vi.stubGlobal("fetch", async () => new Response(pixels, { headers: { "X-Shape": "23,37" } }));
    slices.slices.want(["0/1/0/z/5"]);
    await vi.waitFor(() => expect(pointer.hover.value?.grey).toBe(99));
    state.look({ cursor: [6, 11, 18] });
    expect(pointer.hover.value?.grey).toBeNull();
  });
});
