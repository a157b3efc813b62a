import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeServer } from "./fake-server";
import type * as Shortcuts from "./shortcuts";
import type * as State from "./state";

let state: typeof State;
let shortcuts: typeof Shortcuts;
let server: FakeServer;
let press: (key: string, change?: Partial<KeyboardEvent>) => boolean;

beforeEach(async () => {
  server = FakeServer.searched();
  vi.stubGlobal("fetch", server.fetch);
  vi.stubGlobal("addEventListener", (_: string, listen: (event: KeyboardEvent) => void) => {
    press = (key, change = {}) => {
      const preventDefault = vi.fn();
      const held = { ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, defaultPrevented: false };
      const target = { matches: () => false };
      listen({ ...held, key, target, preventDefault, ...change } as unknown as KeyboardEvent);
      return preventDefault.mock.calls.length > 0;
    };
  });
  vi.resetModules();
  state = await import("./state");
  shortcuts = await import("./shortcuts");
  const { refresh } = await import("./sync");
  await refresh();
  state.look({ cursor: [5, 11, 18] });
  shortcuts.followKeys();
});

const all = () => Object.values(shortcuts.SHORTCUTS).flat();

describe("keys", () => {
  it("mean one thing each", () => {
    const keys = all().flatMap(({ keys, ctrl }) => keys.map((key) => `${ctrl ? "ctrl " : ""}${key}`));
    expect(keys).toEqual([...new Set(keys)]);
    expect(keys).toEqual(keys.map((key) => key.toLowerCase()));
  });

  it("step through the plane pointed at, by ten with Shift", () => {
    expect(press(".")).toBe(true);
    expect(state.looks.value.cursor).toEqual([6, 11, 18]);
    state.activePlane.value = "x";
    press("<", { shiftKey: true });
    expect(state.looks.value.cursor).toEqual([6, 11, 8]);
  });

  it("choose what a click does, and turn things on and off", () => {
    press("2");
    expect(state.layout.value.tool).toBe("negative");
    press("O");
    press("X");
    expect([state.layout.value.outlines, state.layout.value.crosshair]).toEqual([false, false]);
    press("e");
    expect(state.layout.value.enlarged).toBe("z");
    press("e");
    expect(state.layout.value.enlarged).toBeNull();
  });

  it("enlarge the 3D view when the pointer was there last, and still scroll the plane before", () => {
    state.attend("y");
    state.attend("volume");
    press("e");
    expect(state.layout.value.enlarged).toBe("volume");
    press(".");
    expect(state.looks.value.cursor).toEqual([5, 12, 18]);
  });

  it("say why nothing can be found yet", async () => {
    const told = () => state.notices.value.map((n) => n.text);
    server.content.clicks = {};
    await (await import("./sync")).refresh();
    press("f");
    expect(told()).toEqual(["Click a particle first: a search needs an example."]);
    const steps = { step: "averaging", number: 2, n_steps: 3, share: 0.5, seconds_left: null };
    state.job.value = { id: 1, tomogram: 0, kind: 1, ...steps };
    press("f");
    expect(told()[1]).toContain("A search is running");
    expect(server.changes).toEqual([]);
  });

  it("fit the tomogram about its middle", () => {
    state.look({ zoom: 9, centre: [1, 2, 3] });
    press("0");
    expect(state.looks.value).toMatchObject({ zoom: null, centre: [5, 11, 18] });
  });

  it("judge the selected candidate and go to the next", async () => {
    press("j");
    expect(state.selected.value).toEqual({ kind: 1, candidate: 11 });
    press("r");
    expect(state.selected.value).toEqual({ kind: 1, candidate: 12 });
    await vi.waitFor(() => expect(server.content.candidates[1]?.[0]?.verdict).toBe("rejected"));
  });

  it("leave the placing first, then the selection", () => {
    press("m");
    expect(state.placing.value).toBeNull();
    press("j");
    press("m");
    expect(state.placing.value).toBe("move");
    press("Escape");
    expect([state.placing.value, state.selected.value?.candidate]).toEqual([null, 11]);
    press("Escape");
    expect(state.selected.value).toBeNull();
  });

  it("undo with Ctrl or Cmd only", async () => {
    server.elsewhere("PATCH", "/api/tomograms/0/kinds/1", { threshold: 0.9 });
    await (await import("./sync")).refresh();
    expect(press("z")).toBe(false);
    expect(press("z", { metaKey: true })).toBe(true);
    await vi.waitFor(() => expect(server.content.thresholds[1]).toBe(0.5));
  });

  it.each<[string, Partial<KeyboardEvent>]>([
    ["is typed", { target: { matches: () => true } as unknown as HTMLElement }],
    ["was used already", { defaultPrevented: true }],
    ["comes with Alt", { altKey: true }],
    ["belongs to the browser", { ctrlKey: true }],
  ])("do nothing when one %s", (_, change) => {
    expect(press("2", change)).toBe(false);
    expect(state.layout.value.tool).toBe("positive");
  });

  it("do nothing behind a dialog", () => {
    state.dialog.value = "help";
    expect(press("2")).toBe(false);
  });
});
