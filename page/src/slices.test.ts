import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeServer } from "./fake-server";
import type * as Slices from "./slices";
import type * as State from "./state";

let state: typeof State;
let slices: typeof Slices;
/** Slices asked for, as plane and index, and whether they are answered. */
let asked: string[];
let isGone: boolean;

const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve));
};

beforeEach(async () => {
  asked = [];
  isGone = false;
  vi.stubGlobal("fetch", async (path: string) => {
    const slice = /slice\/(\w)\/(\d+)/.exec(path);
    if (slice) asked.push(`${slice[1]}${slice[2]}`);
    if (isGone) throw new TypeError("Failed to fetch");
    if (!slice) return Response.json({ outlines: [{ kind: 1, candidate: 2, click: null, paths: [] }] });
    return new Response(Uint8Array.of(Number(slice[2])), { headers: { "X-Shape": "1,1" } });
  });
  vi.resetModules();
  state = await import("./state");
  slices = await import("./slices");
  state.session.value = await (await FakeServer.searched().fetch("/api/session")).json();
  state.look({ cursor: [5, 11, 18] });
});

describe("followCursor", () => {
  it("asks for the three slices at the crosshair first, then ahead and behind along z", async () => {
    slices.followCursor();
    await settle();
    expect(asked.slice(0, 3)).toEqual(["z5", "y11", "x18"]);
    expect(asked.slice(3).sort()).toEqual(["z4", "z6", "z7", "z8", "z9"]);
  });

  it("asks ahead in the way in which a plane was scrolled, that plane first", async () => {
    slices.followCursor();
    await settle();
    asked = [];
    state.look({ cursor: [5, 11, 16] });
    await settle();
    expect(asked).toEqual(["x16", "x15", "x14", "x13", "x12", "x17"]);
  });

  it("asks for nothing outside the tomogram", async () => {
    slices.followCursor();
    state.look({ cursor: [9, 11, 18] });
    await settle();
    asked = [];
    state.look({ cursor: [10, 11, 18] });
    await settle();
    expect(asked).toEqual([]);
  });

  it("asks only for the plane that is enlarged", async () => {
    state.arrange({ enlarged: "y" });
    slices.followCursor();
    await settle();
    expect(asked).toEqual(["y11"]);
  });

  it("asks again for what failed once the server is back", async () => {
    isGone = true;
    state.connection.value = "lost";
    slices.followCursor();
    await settle();
    expect(slices.sliceNear("z", 5)).toBeNull();
    isGone = false;
    state.connection.value = "open";
    await settle();
    expect(slices.sliceNear("z", 5)?.slice.pixels).toEqual(Uint8Array.of(5));
    expect(slices.slices.error.value).toBeNull();
  });
});

describe("what is shown", () => {
  it("is the nearest slice while the one wanted is on its way, the earlier of two", async () => {
    slices.followCursor();
    await settle();
    expect(slices.sliceNear("x", 20)?.index).toBe(18);
    expect(slices.sliceNear("z", 5)?.index).toBe(5);
    expect(slices.sliceNear("x", 31)).toBeNull();
    state.look({ cursor: [5, 11, 20] });
    await settle();
    state.look({ cursor: [5, 11, 30] });
    expect(slices.sliceNear("x", 24 + 2)?.index).toBe(24);
  });

  it("is nothing of another slab", async () => {
    slices.followCursor();
    await settle();
    state.look({ slab: 3 });
    expect(slices.sliceNear("z", 5)).toBeNull();
  });

  it("has the outlines of its slice", async () => {
    slices.followCursor();
    await settle();
    expect(slices.outlinesOf("y", 11).map((o) => o.candidate)).toEqual([2]);
    expect(slices.outlinesOf("y", 12)).toEqual([]);
  });
});

describe("thumbnailKey", () => {
  it("tells tomograms, kinds and places apart", () => {
    expect(slices.thumbnailKey(0, 3, [1.5, 2, 3])).toBe("0/3/1.5,2,3");
  });
});
