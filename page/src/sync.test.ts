import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeServer } from "./fake-server";
import type * as State from "./state";
import type * as Sync from "./sync";

let server: FakeServer;
let state: typeof State;
let sync: typeof Sync;

beforeEach(async () => {
  server = FakeServer.searched();
  vi.stubGlobal("fetch", server.fetch);
  vi.resetModules();
  state = await import("./state");
  sync = await import("./sync");
});

const paths = () => server.sent.map(({ path }) => path.replace("/api/", ""));
const verdicts = () => state.candidates.value["1"]?.map((c) => c.verdict);
const judge = (verdict: string | null) =>
  server.elsewhere("PATCH", "/api/tomograms/0/kinds/1/candidates/11", { verdict });

describe("refresh", () => {
  it("reads the session, the grey values and the candidates", async () => {
    await sync.refresh();
    expect(paths().sort()).toEqual(["session", "tomograms/0/candidates", "tomograms/0/grey"]);
    expect(state.session.value?.revision).toBe(10);
    expect(state.candidates.value["1"]?.map((c) => c.id)).toEqual([11, 12, 13]);
    expect(state.connection.value).toBe("open");
    await vi.waitFor(() => expect(state.grey.value).toEqual({ low: -1, high: 2, histogram: [1, 2, 3] }));
  });

  it("reads the candidates again only when something changed", async () => {
    await sync.refresh();
    const version = state.contentVersion.value;
    await sync.refresh();
    expect(paths().filter((path) => path.endsWith("candidates"))).toHaveLength(1);
    judge("accepted");
    await sync.refresh();
    expect(verdicts()).toEqual(["accepted", null, null]);
    expect(state.contentVersion.value).toBe(version + 1);
  });

  it("answers calls that come meanwhile by one more reading", async () => {
    const release = server.hold(/session/, true);
    const first = sync.refresh();
    judge("accepted"); // after the session was read, before its answer is here
    const others = [sync.refresh(), sync.refresh(), sync.refresh()];
    release();
    await Promise.all([first, ...others]);
    expect(paths().filter((path) => path === "session")).toHaveLength(2);
    expect(state.session.value?.revision).toBe(11);
    expect(verdicts()).toEqual(["accepted", null, null]);
  });

  it("keeps the tomograms it knows, and what hangs on them", async () => {
    await sync.refresh();
    const before = state.tomogram.value;
    judge("accepted");
    await sync.refresh();
    expect(state.tomogram.value).toBe(before);
  });

  it("says that the server is gone, and that it is back", async () => {
    await sync.refresh();
    server.isGone = true;
    await sync.refresh();
    expect(state.connection.value).toBe("lost");
    server.isGone = false;
    await sync.refresh();
    expect(state.connection.value).toBe("open");
  });

  it("says that the token is missing", async () => {
    vi.stubGlobal("fetch", async () => new Response("", { status: 401 }));
    await sync.refresh();
    expect(state.connection.value).toBe("denied");
  });

  it("reads the candidates though the server went away between the two", async () => {
    await sync.refresh();
    judge("accepted");
    const release = server.hold(/candidates/);
    const reading = sync.refresh();
    server.isGone = true; // the session is on its way already, the candidates are not answered
    release();
    await reading;
    server.isGone = false;
    await sync.refresh();
    expect(verdicts()).toEqual(["accepted", null, null]);
  });

  it("lets go of a selected candidate that is not there any more", async () => {
    await sync.refresh();
    state.selected.value = { kind: 1, candidate: 13 };
    judge("accepted");
    await sync.refresh();
    expect(state.selected.value).toEqual({ kind: 1, candidate: 13 });
    server.content.candidates[1]?.pop();
    judge(null);
    await sync.refresh();
    expect(state.selected.value).toBeNull();
  });

  it("forgets what a server said that was started anew without its session", async () => {
    await sync.refresh();
    const fresh = FakeServer.searched();
    fresh.revision = 2;
    fresh.content.candidates[1]?.pop();
    vi.stubGlobal("fetch", fresh.fetch);
    await sync.refresh();
    expect(state.candidates.value["1"]?.map((c) => c.id)).toEqual([11, 12]);
  });
});

describe("followServer", () => {
  let tell: (name: string, content?: object) => void;

  beforeEach(() => {
    const listeners = new Map<string, (event: { data: string }) => void>();
    tell = (name, content = {}) => listeners.get(name)?.({ data: JSON.stringify(content) });
    class FakeEvents {
      static readonly CLOSED = 2;
      readonly readyState = 1;
      addEventListener = (name: string, listen: (event: { data: string }) => void) => listeners.set(name, listen);
      close() {}
    }
    vi.stubGlobal("EventSource", FakeEvents);
    vi.stubGlobal("document", { hidden: false, addEventListener: () => {} });
    vi.stubGlobal("setInterval", () => 0);
    sync.followServer();
  });

  it("reads the session when it changed elsewhere", async () => {
    await vi.waitFor(() => expect(verdicts()).toEqual([null, null, null]));
    judge("rejected");
    tell("session", { revision: 11 });
    await vi.waitFor(() => expect(verdicts()).toEqual(["rejected", null, null]));
  });

  it("shows what a search found so far, and why it failed", async () => {
    await vi.waitFor(() => expect(verdicts()).toBeDefined());
    tell("so_far", { kind: 1, points: [[1, 2, 3]] });
    tell("so_far", { kind: 2, points: [[4, 5, 6]] });
    expect(state.soFar.value).toEqual({ 1: [[1, 2, 3]], 2: [[4, 5, 6]] });
    tell("done", { error: "Out of memory." });
    expect(state.notices.value.map((n) => [n.text, n.isError])).toEqual([["Out of memory.", true]]);
    await vi.waitFor(() => expect(state.soFar.value).toEqual({}));
  });

  it("reads the other tomogram's candidates when it is shown, and no older answer after a newer one", async () => {
    server.tomograms.push({ id: 1, name: "other.mrc", shape: [5, 7, 9], voxel_size_angstrom: null });
    await sync.refresh();
    const release = server.hold(/tomograms\/1\/candidates/, true);
    state.arrange({ tomogram: "other.mrc 5x7x9" });
    judge("accepted");
    await sync.refresh();
    expect(verdicts()).toEqual(["accepted", null, null]);
    release();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(verdicts()).toEqual(["accepted", null, null]);
  });
});
