import { beforeEach, describe, expect, it, vi } from "vitest";
import type * as Actions from "./actions";
import type { Verdict } from "./api";
import { FakeServer } from "./fake-server";
import type * as State from "./state";
import type * as Sync from "./sync";

let server: FakeServer;
let state: typeof State;
let sync: typeof Sync;
let actions: typeof Actions;

async function open(opened: FakeServer) {
  server = opened;
  vi.stubGlobal("fetch", server.fetch);
  vi.resetModules();
  state = await import("./state");
  sync = await import("./sync");
  actions = await import("./actions");
  await sync.refresh();
}

beforeEach(() => open(FakeServer.searched()));

const listed = (id: number) => state.candidates.value["1"]!.find((c) => c.id === id)!;
const kept = (id: number) => server.content.candidates[1]!.find((c) => c.id === id)!;
const judge = (id: number, verdict: Verdict) => actions.judge(1, listed(id), verdict);
const told = () => state.notices.value.map((n) => n.text);
const changed = () => server.changes.map(({ method, path }) => `${method} ${path.replace("/api/", "").split("?")[0]}`);

describe("order", () => {
  it("is kept by thresholds though the first is slow", async () => {
    const release = server.hold(/PATCH/);
    const both = [actions.setThreshold(1, 0.9), actions.setThreshold(1, 0.2)];
    release();
    await Promise.all(both);
    expect(server.changes.map(({ body }) => body.threshold)).toEqual([0.9, 0.2]);
    expect(state.thresholdOf(1)).toBe(0.2);
  });

  it("is kept by an undo, which takes back the last change", async () => {
    const release = server.hold(/PATCH/);
    const all = [actions.setThreshold(1, 0.9), judge(11, "rejected"), judge(12, "accepted")];
    release();
    await Promise.all(all);
    await actions.undo();
    expect(server.content.thresholds[1]).toBe(0.9);
    expect([11, 12].map((id) => listed(id).verdict)).toEqual(["rejected", null]);
    expect(told()).toEqual([]);
  });

  it("lets an undo wait for the first change of all", async () => {
    const work = judge(11, "rejected");
    await Promise.all([work, actions.undo()]);
    expect(changed()).toEqual(["PATCH tomograms/0/kinds/1/candidates/11", "POST undo"]);
    expect(listed(11).verdict).toBeNull();
  });

  it("lets no undo ask for more than there is", async () => {
    await judge(11, "rejected");
    await Promise.all([actions.undo(), actions.undo()]);
    expect(changed().filter((change) => change === "POST undo")).toHaveLength(1);
    expect(told()).toEqual([]);
  });

  it("goes on after a change that was refused", async () => {
    const gone = listed(13);
    server.content.candidates[1]?.pop();
    await Promise.all([actions.judge(1, gone, "accepted"), actions.setThreshold(1, 0.3)]);
    expect(server.content.thresholds[1]).toBe(0.3);
    expect(told()).toEqual(["There is no 13 any more."]);
  });
});

describe("a threshold", () => {
  it("stays under the finger until the server has it", async () => {
    state.slidingThreshold.value = { 1: 0.3, 2: 0.6 };
    await actions.setThreshold(1, 0.3);
    expect(state.slidingThreshold.value).toEqual({ 2: 0.6 });
    expect(state.thresholdOf(1)).toBe(0.3);
  });

  it("that is older than the finger's does not move it", async () => {
    const release = server.hold(/PATCH/);
    const work = actions.setThreshold(1, 0.3);
    state.slidingThreshold.value = { 1: 0.8 };
    release();
    await work;
    expect(state.thresholdOf(1)).toBe(0.8);
  });
});

describe("a verdict", () => {
  it("is shown before the server has it", async () => {
    const release = server.hold(/PATCH/);
    const work = judge(11, "rejected");
    expect(listed(11).verdict).toBe("rejected");
    expect(kept(11).verdict).toBeNull();
    release();
    await work;
    expect(kept(11).verdict).toBe("rejected");
  });

  it("is taken off the page again when the server refuses it", async () => {
    vi.stubGlobal("fetch", async (path: string, init?: RequestInit) =>
      init?.method === "PATCH" ? Response.json({ detail: "No." }, { status: 422 }) : server.fetch(path, init),
    );
    await judge(11, "rejected");
    expect(listed(11).verdict).toBeNull();
    expect(told()).toEqual(["No."]);
  });

  it("selects the next of the list, and after the last one the one before", async () => {
    actions.select(1, listed(11));
    await judge(11, "rejected");
    expect(state.selected.value).toEqual({ kind: 1, candidate: 12 });
    await judge(12, "rejected");
    expect(state.selected.value).toEqual({ kind: 1, candidate: 12 });
    await judge(11, null);
    actions.select(1, listed(11));
    actions.selectNext(1);
    expect(state.selected.value).toEqual({ kind: 1, candidate: 11 });
  });
});

describe("a move", () => {
  it("keeps to the voxels that there are", async () => {
    await actions.moveCandidate(1, listed(11), [-0.4, 22.4, 17.25]);
    expect(kept(11)).toMatchObject({ point: [0, 22, 17.25], moved: true });
    expect(state.looks.value.cursor).toEqual([0, 22, 17]);
  });

  it("is left out where the tomogram ends", async () => {
    await actions.moveCandidate(1, listed(11), [11, 5, 5]);
    expect(changed()).toEqual([]);
  });
});

describe("clicks", () => {
  it("go to the nearest voxel, z first", async () => {
    await actions.addClick([2.4, 7.6, 30.2], false);
    expect(server.content.clicks[1]?.at(-1)).toMatchObject({ point: [2, 8, 30], positive: false });
    expect(state.pendingClicks.value).toEqual([]);
  });

  it("on the outermost face go to the last voxel", async () => {
    await actions.addClick([10.5, 22.5, 36.5], true);
    expect(server.content.clicks[1]?.at(-1)?.point).toEqual([10, 22, 36]);
    expect(told()).toEqual([]);
  });

  it("that come quickly on a page without kinds begin one kind", async () => {
    await open(new FakeServer());
    await Promise.all([actions.addClick([1, 2, 3], true), actions.addClick([4, 5, 6], true)]);
    expect(server.content.kinds.map((k) => k.name)).toEqual(["particle"]);
    expect(server.content.clicks[server.content.kinds[0]!.id]?.map((c) => c.point)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(told()).toEqual([]);
  });

  it("that fail say nothing of an earlier one", async () => {
    const [earlier] = server.content.clicks[1]!;
    server.content.clicks[1] = [{ ...earlier!, message: "No mask was found here." }];
    vi.stubGlobal("fetch", async (path: string, init?: RequestInit) =>
      init?.method === "POST" ? Response.json({ detail: "No." }, { status: 422 }) : server.fetch(path, init),
    );
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.4 });
    await actions.addClick([1, 2, 3], true);
    expect(told()).toEqual(["No."]);
  });
});

describe("the structure of a kind", () => {
  it("names a kind that has no name of its own", async () => {
    server.content.kinds.push({ id: 2, name: "particle", colour: "#FFB454", structure: "particle" });
    await sync.refresh();
    await actions.setStructure(2, "membrane");
    expect(server.content.kinds[1]).toMatchObject({ name: "membrane", structure: "membrane" });
    await actions.setStructure(2, "filament");
    expect(server.content.kinds[1]).toMatchObject({ name: "filament", structure: "filament" });
  });

  it("leaves the name that the user gave, and is not sent if it is the same", async () => {
    await actions.setStructure(1, "compartment");
    await actions.setStructure(1, "compartment");
    expect(server.content.kinds[0]).toMatchObject({ name: "ring", structure: "compartment" });
    expect(server.changes).toHaveLength(1);
  });

  it("ends placing, because only particles are placed by hand", async () => {
    state.placing.value = "add";
    await actions.setStructure(1, "membrane");
    expect(state.placing.value).toBeNull();
    expect(state.activeStructure.value).toBe("membrane");
  });
});

describe("kinds", () => {
  it("get a name and a colour that are free", async () => {
    server.content.kinds.push({ id: 2, name: "particle", colour: "#FFB454", structure: "particle" });
    server.elsewhere("PATCH", "/api/kinds/1", { name: "particle 2" });
    await sync.refresh();
    await actions.addKind();
    expect(server.content.kinds.at(-1)).toMatchObject({ name: "particle 3", colour: actions.PALETTE[2] });
    expect(state.kind.value?.name).toBe("particle 3");
  });

  it("that are removed are named, and come back by undo", async () => {
    await actions.removeKind(1);
    expect(told()).toEqual(["Removed ring with its clicks and candidates. Undo restores it."]);
    expect(state.kind.value).toBeNull();
    await actions.undo();
    expect(state.kind.value?.name).toBe("ring");
  });
});

describe("a server that is gone", () => {
  it("is told in a sentence", async () => {
    server.isGone = true;
    await judge(11, "accepted");
    expect(told()).toEqual(["The server does not answer. Is `cryosam serve` still running?"]);
    expect(state.connection.value).toBe("lost");
    server.isGone = false;
    await sync.refresh();
    expect(listed(11).verdict).toBeNull();
  });
});
