/** Changes of the same thing from two tabs: none is overwritten unseen, and a tab is in no conflict with itself. */

import { beforeEach, describe, expect, it, vi } from "vitest";
import type * as Actions from "./actions";
import { CONFLICT, FakeServer } from "./fake-server";
import type * as State from "./state";
import type * as Sync from "./sync";

let server: FakeServer;
let state: typeof State;
let sync: typeof Sync;
let actions: typeof Actions;

beforeEach(async () => {
  server = FakeServer.searched();
  vi.stubGlobal("fetch", server.fetch);
  vi.resetModules();
  state = await import("./state");
  sync = await import("./sync");
  actions = await import("./actions");
  await sync.refresh();
});

const CANDIDATE = "/api/tomograms/0/kinds/1/candidates/11";
const listed = (id: number) => state.candidates.value["1"]!.find((c) => c.id === id)!;
const kept = (id: number) => server.content.candidates[1]!.find((c) => c.id === id)!;
const told = () => state.notices.value.map((n) => n.text);
const based = () => server.changes.map(({ body }) => body.expected_revision);

describe("of two tabs", () => {
  it("a threshold is not overwritten, and both show it", async () => {
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.9 });
    state.slidingThreshold.value = { 1: 0.2 };
    await actions.setThreshold(1, 0.2);
    expect(server.content.thresholds[1]).toBe(0.9);
    expect(state.thresholdOf(1)).toBe(0.9);
    expect(state.notices.value).toMatchObject([{ text: CONFLICT, isError: true }]);
  });

  it("a threshold can be set once the other one was seen", async () => {
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.9 });
    await actions.setThreshold(1, 0.2);
    await actions.setThreshold(1, 0.2);
    expect(server.content.thresholds[1]).toBe(0.2);
    expect(told()).toEqual([CONFLICT]);
  });

  it("a verdict is not overwritten, and both show it", async () => {
    server.elsewhere("PATCH", CANDIDATE, { verdict: "accepted" });
    await actions.judge(1, listed(11), "rejected");
    expect(kept(11).verdict).toBe("accepted");
    expect(listed(11).verdict).toBe("accepted");
    expect(told()).toEqual([CONFLICT]);
  });

  it("a verdict on another candidate is no conflict", async () => {
    server.elsewhere("PATCH", CANDIDATE, { verdict: "accepted" });
    await actions.judge(1, listed(12), "rejected");
    expect([11, 12].map((id) => listed(id).verdict)).toEqual(["accepted", "rejected"]);
    expect(told()).toEqual([]);
  });

  it("a place is not overwritten, and the view does not go to where it was meant to be", async () => {
    server.elsewhere("PATCH", CANDIDATE, { point: [1, 2, 9] });
    await actions.moveCandidate(1, listed(11), [4, 5, 6]);
    expect(listed(11).point).toEqual([1, 2, 9]);
    expect(state.looks.value.cursor).toEqual([0, 0, 0]);
    expect(told()).toEqual([CONFLICT]);
  });

  it("a name is not overwritten", async () => {
    server.elsewhere("PATCH", "/api/kinds/1", { name: "barrel" });
    await actions.renameKind(1, "proteasome");
    expect(state.kind.value?.name).toBe("barrel");
    expect(told()).toEqual([CONFLICT]);
  });

  it("a kind is not removed that was renamed, or for which a search has found more", async () => {
    server.elsewhere("PATCH", "/api/kinds/1", { name: "barrel" });
    await actions.removeKind(1);
    server.changeAll(({ candidates }) => candidates[1]?.push({ ...kept(13), id: 14 }));
    await actions.removeKind(1);
    expect(state.kind.value?.name).toBe("barrel");
    expect(listed(14).id).toBe(14);
    expect(told()).toEqual([CONFLICT]); // said twice, shown once
    await actions.removeKind(1);
    expect(server.content.kinds).toEqual([]);
  });

  it("the second to remove a click is told that it is gone", async () => {
    server.elsewhere("DELETE", "/api/tomograms/0/clicks/5");
    await actions.removeClick(5);
    expect(told()).toHaveLength(1);
    expect(state.kindView.value?.clicks).toEqual([]);
  });

  it("what was done before the conflict was seen is refused, too", async () => {
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.9 });
    await Promise.all([actions.setThreshold(1, 0.2), actions.setThreshold(1, 0.3)]);
    expect(server.content.thresholds[1]).toBe(0.9);
  });

  it("what an undo or new masks left as it was is changed without a word", async () => {
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.9 });
    await sync.refresh();
    server.elsewhere("POST", "/api/undo");
    await actions.judge(1, listed(11), "rejected");
    server.changeAll(({ candidates }) => Object.assign(candidates[1]![1]!, { n_voxels: 77 }));
    await actions.judge(1, listed(12), "accepted");
    server.changeAll(() => {});
    await actions.removeClick(5);
    expect([11, 12].map((id) => kept(id).verdict)).toEqual(["rejected", "accepted"]);
    expect(server.content.clicks[1]).toEqual([]);
    expect(told()).toEqual([]);
  });

  it("what an undo did change is not overwritten", async () => {
    server.elsewhere("PATCH", CANDIDATE, { verdict: "accepted" });
    await sync.refresh();
    server.elsewhere("POST", "/api/undo");
    await actions.judge(1, listed(11), "rejected");
    expect(listed(11).verdict).toBeNull();
    expect(told()).toEqual([CONFLICT]);
  });
});

describe("of one tab", () => {
  it("a change is based on what it showed when it was made", async () => {
    server.elsewhere("PATCH", CANDIDATE, { verdict: "accepted" });
    server.elsewhere("PATCH", CANDIDATE, { verdict: "rejected" });
    await sync.refresh();
    await actions.judge(1, listed(11), null);
    await actions.setThreshold(1, 0.3);
    expect(based()).toEqual([12, 13]);
  });

  it("quick changes of one thing follow each other", async () => {
    const release = server.hold(/PATCH/);
    const all = [
      actions.setThreshold(1, 0.9),
      actions.judge(1, listed(11), "accepted"),
      actions.setThreshold(1, 0.2),
      actions.judge(1, listed(11), "rejected"),
      actions.moveCandidate(1, listed(11), [4, 5, 6]),
      actions.renameKind(1, "barrel"),
      actions.recolourKind(1, "#ff7b9c"),
    ];
    release();
    await Promise.all(all);
    expect(told()).toEqual([]);
    expect(server.content.thresholds[1]).toBe(0.2);
    expect(kept(11)).toMatchObject({ verdict: "rejected", point: [4, 5, 6] });
    expect(server.content.kinds).toEqual([{ id: 1, name: "barrel", colour: "#ff7b9c", structure: "particle" }]);
  });

  it("a change after an undo that is on its way is no conflict", async () => {
    await actions.setThreshold(1, 0.9);
    const release = server.hold(/undo/);
    const all = [actions.undo(), actions.setThreshold(1, 0.3), actions.removeKind(1)];
    release();
    await Promise.all(all);
    expect(server.content.kinds).toEqual([]);
    expect(told().filter((text) => text === CONFLICT)).toEqual([]);
  });

  it("a change whose result could not be read is no conflict for the next one", async () => {
    vi.stubGlobal("fetch", async (path: string, init?: RequestInit) => {
      if (!init) throw new TypeError("Failed to fetch");
      return server.fetch(path, init);
    });
    await actions.setThreshold(1, 0.9);
    await actions.setThreshold(1, 0.3);
    expect(server.content.thresholds[1]).toBe(0.3);
    expect(based()).toEqual([10, 11]);
  });

  it("what it knew of a server that counts anew is forgotten", async () => {
    await actions.setThreshold(1, 0.9);
    const fresh = FakeServer.searched();
    fresh.revision = 2;
    vi.stubGlobal("fetch", fresh.fetch);
    await sync.refresh();
    fresh.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.7 });
    await actions.setThreshold(1, 0.3);
    expect(fresh.content.thresholds[1]).toBe(0.7);
    expect(told()).toEqual([CONFLICT]);
  });
});
