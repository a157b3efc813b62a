import { beforeEach, describe, expect, it, vi } from "vitest";
import { candidate, FakeServer } from "./fake-server";
import type * as State from "./state";

let state: typeof State;
const kept = new Map<string, string>();

beforeEach(async () => {
  kept.clear();
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  });
  vi.resetModules();
  state = await import("./state");
});

/** Shows what a server has. */
async function show(server: FakeServer) {
  state.session.value = await (await server.fetch("/api/session")).json();
  state.candidates.value = server.content.candidates;
}

describe("candidates", () => {
  it.each([
    [0.5, null, "shown"],
    [0.49, null, "hidden"],
    [null, null, "shown"],
    [0.1, "accepted", "shown"],
    [0.9, "rejected", "rejected"],
  ] as const)("with score %s and verdict %s are %s at 0.5", (score, verdict, place) => {
    expect(state.sortedOut(candidate(1, score, { verdict }), 0.5)).toBe(place);
  });

  it("are counted, and those not judged add what is expected to be false", async () => {
    const server = FakeServer.searched();
    server.content.candidates[1] = [
      candidate(11, 0.9),
      candidate(12, 0.7),
      candidate(13, 0.6, { verdict: "accepted" }),
      candidate(14, 0.95, { verdict: "rejected" }),
      candidate(15, 0.2),
      candidate(16, null),
    ];
    await show(server);
    const { expectedFalse, ...counts } = state.countOf(1);
    expect(counts).toEqual({ shown: 4, hidden: 1, rejected: 1 });
    expect(expectedFalse).toBeCloseTo(0.1 + 0.3, 12);
    expect(state.countOf(2)).toEqual({ shown: 0, hidden: 0, rejected: 0, expectedFalse: null });
  });

  it("follow the threshold under the finger before the server's", async () => {
    await show(FakeServer.searched());
    state.slidingThreshold.value = { 1: 0.8 };
    expect(state.thresholdOf(1)).toBe(0.8);
    expect(state.listed.value.map((c) => c.id)).toEqual([11]);
    state.slidingThreshold.value = {};
    expect(state.listed.value.map((c) => c.id)).toEqual([11, 12]);
    state.filter.value = "hidden";
    expect(state.listed.value.map((c) => c.id)).toEqual([13]);
  });
});

describe("looking", () => {
  it("stays in the tomogram, axis by axis", async () => {
    await show(FakeServer.searched());
    state.look({ cursor: [99, 5, -3], centre: [-1, 22.5, 40] });
    expect(state.looks.value.cursor).toEqual([10, 5, 0]);
    expect(state.looks.value.centre).toEqual([0, 22, 36]);
  });

  it("goes to a voxel, and centres on the point itself", async () => {
    await show(FakeServer.searched());
    state.look({ zoom: 9 });
    state.viewSizes.value = { z: [60, 60], y: [60, 20], x: [20, 60] };
    state.goTo([3.4, 7.6, 30.5]);
    expect(state.looks.value.cursor).toEqual([3, 8, 31]);
    expect(state.looks.value.centre).toEqual([3.4, 7.6, 30.5]);
  });

  it("fits the tomogram unless a zoom was chosen", async () => {
    await show(FakeServer.searched());
    state.viewSizes.value = { z: [370, 2300] };
    expect(state.zoomOf("z")).toBeCloseTo(9.6, 12);
    state.look({ zoom: 3 });
    expect([state.zoomOf("z"), state.zoomOf("x")]).toEqual([3, 3]);
  });

  it("is taken up where this browser left the tomogram", async () => {
    kept.set("cryosam:tomo.mrc 11x23x37", JSON.stringify({ cursor: [50, 2, 3], slab: 5 }));
    state.followLooks();
    await show(FakeServer.searched());
    expect(state.looks.value).toMatchObject({ cursor: [10, 2, 3], slab: 5, white: 255, centre: [5, 11, 18] });
  });

  it("is remembered, each tomogram by itself", async () => {
    const server = FakeServer.searched();
    server.tomograms.push({ id: 1, name: "other.mrc", shape: [5, 7, 9], voxel_size_angstrom: null });
    state.followLooks();
    await show(server);
    state.look({ slab: 3 });
    vi.advanceTimersByTime(300);
    state.arrange({ tomogram: "other.mrc 5x7x9" });
    expect(state.tomogram.value?.id).toBe(1);
    expect(state.looks.value).toMatchObject({ slab: 1, cursor: [2, 3, 4] });
    expect(state.candidates.value).toEqual({});
    state.arrange({ tomogram: "tomo.mrc 11x23x37" });
    expect(state.looks.value.slab).toBe(3);
  });
});

describe("notices", () => {
  it("are three at most, none twice, and go by themselves", () => {
    for (const text of ["a", "b", "c", "a", "d"]) state.notify(text, text === "d");
    expect(state.notices.value.map((n) => n.text)).toEqual(["c", "a", "d"]);
    vi.advanceTimersByTime(4000);
    expect(state.notices.value.map((n) => n.text)).toEqual(["d"]);
    vi.advanceTimersByTime(5000);
    expect(state.notices.value).toEqual([]);
  });

  it("of a long computation that failed stay until they are dismissed", () => {
    vi.useFakeTimers();
    state.notify("failed", true, null);
    vi.advanceTimersByTime(60_000);
    expect(state.notices.value.map((n) => n.text)).toEqual(["failed"]);
    state.dismiss(state.notices.value[0]!.id);
    expect(state.notices.value).toEqual([]);
  });
});
