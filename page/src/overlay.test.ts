import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Candidate, Outline } from "./api";
import type { Frame, Plane } from "./geometry";
import type { Pen } from "./overlay";
import {
  drawCentre,
  drawClick,
  drawCrosshair,
  drawOutline,
  drawRing,
  drawScaleBar,
  holds,
  PLANE_COLOURS,
} from "./overlay";

type Call = [name: string, ...args: unknown[]];

/** A canvas that writes down what is drawn, and with which colour a line is. */
function makePen(plane: Plane, change: Partial<Frame> = {}, index = 5): { pen: Pen; calls: Call[] } {
  const calls: Call[] = [];
  const settings: Record<string, unknown> = {};
  const context = new Proxy(settings, {
    get: (_, name: string) =>
      name in settings
        ? settings[name]
        : (...args: unknown[]) => {
            calls.push(name === "stroke" ? [name, settings.strokeStyle, ...args] : [name, ...args]);
            return name === "measureText" ? { width: 30 } : undefined;
          },
    set: (_, name: string, value) => {
      settings[name] = value;
      return true;
    },
  });
  const frame: Frame = { plane, centre: [5, 11, 18], zoom: 2, width: 400, height: 200, ...change };
  return { pen: { context: context as unknown as CanvasRenderingContext2D, frame, index, unit: 1 }, calls };
}

const named = (calls: Call[], ...names: string[]) => calls.filter(([name]) => names.includes(name));

describe("outlines", () => {
  const made: Call[][] = [];
  const outline = (): Outline => ({
    kind: 1,
    candidate: 2,
    click: null,
    paths: [
      [
        [1, 20],
        [3, 20],
        [3, 25],
      ],
      [
        [7, 8],
        [9, 8],
      ],
    ],
  });

  beforeEach(() => {
    made.length = 0;
    class FakePath {
      private readonly calls: Call[] = [];
      constructor() {
        made.push(this.calls);
      }
      moveTo = (x: number, y: number) => this.calls.push(["moveTo", x, y]);
      lineTo = (x: number, y: number) => this.calls.push(["lineTo", x, y]);
      closePath = () => this.calls.push(["closePath"]);
    }
    vi.stubGlobal("Path2D", FakePath);
  });

  it("run over columns across and rows down, each path closed", () => {
    const { pen } = makePen("z");
    drawOutline(pen, outline(), { colour: "#fff", width: 2 });
    expect(made).toEqual([
      [
        ["moveTo", 20, 1],
        ["lineTo", 20, 3],
        ["lineTo", 25, 3],
        ["closePath"],
        ["moveTo", 8, 7],
        ["lineTo", 8, 9],
        ["closePath"],
      ],
    ]);
  });

  it("are turned in plane x", () => {
    const { pen, calls } = makePen("x");
    drawOutline(pen, outline(), { colour: "#fff", width: 2 });
    expect(made[0]?.[0]).toEqual(["moveTo", 1, 20]);
    // across is z, down is y
    expect(named(calls, "translate", "scale")).toEqual([
      ["translate", 200, 100],
      ["scale", 2, 2],
      ["translate", -5, -11],
    ]);
  });

  it("are made into a path once", () => {
    const { pen } = makePen("z");
    const one = outline();
    drawOutline(pen, one, { colour: "#fff", width: 2 });
    drawOutline(pen, one, { colour: "#000", width: 1, dash: [2, 3], fill: 0.1 });
    expect(made).toHaveLength(1);
  });

  it("are asked at a row and column whether they hold it", () => {
    const { pen, calls } = makePen("z");
    holds(outline(), false, 3, 20, pen.context);
    holds(outline(), true, 3, 20, pen.context);
    expect(named(calls, "isPointInPath").map(([, , x, y, rule]) => [x, y, rule])).toEqual([
      [20, 3, "evenodd"],
      [3, 20, "evenodd"],
    ]);
  });
});

describe("marks", () => {
  it("show a click where it lies, and near its slice only", () => {
    for (const [index, n] of [
      [5, 1],
      [9, 1],
      [10, 0],
      [0, 0],
    ] as const) {
      const { pen, calls } = makePen("z", {}, index);
      drawClick(pen, { point: [5, 7, 30], positive: true }, "#4cc9f0", false);
      expect(named(calls, "translate")).toEqual(n ? [["translate", (30 - 18) * 2 + 200, (7 - 11) * 2 + 100]] : []);
    }
  });

  it("cut a ball in a smaller circle away from its middle", () => {
    const { pen, calls } = makePen("y", {}, 10);
    drawRing(pen, [5, 7, 30], "#fff", 5);
    expect(named(calls, "arc")[0]?.slice(1, 4)).toEqual([(30 - 18) * 2 + 200, 100, 4 * 2]);
    drawRing(pen, [5, 4, 30], "#fff", 5);
    expect(named(calls, "arc")).toHaveLength(1);
  });

  it("draw a ring upon a dark line, so that it is seen on any background", () => {
    const { pen, calls } = makePen("z");
    drawRing(pen, [5, 7, 30], "#4cc9f0", 5);
    expect(named(calls, "stroke").map(([, colour]) => colour)).toEqual(["rgba(8, 10, 14, 0.55)", "#4cc9f0"]);
  });

  it("give a particle without a mask a ring, and the selected one a handle", () => {
    const candidate = { id: 1, point: [5, 11, 18], n_voxels: 40 } as unknown as Candidate;
    const radii = (isSelected: boolean, n_voxels: number) => {
      const { pen, calls } = makePen("z");
      drawCentre(pen, { ...candidate, n_voxels }, "#fff", isSelected, 6);
      return named(calls, "arc").map(([, , , radius]) => radius);
    };
    expect(radii(true, 40)).toEqual([3.5]);
    expect(radii(true, 0)).toEqual([12, 3.5]);
    expect(radii(false, 0)).toEqual([12]);
  });
});

describe("drawCrosshair", () => {
  it("draws each line in the colour of the plane that it stands for, with a gap", () => {
    const { pen, calls } = makePen("x");
    drawCrosshair(pen, [3, 6, 30]);
    const [x, y] = [(3 - 5) * 2 + 200.5, (6 - 11) * 2 + 100.5];
    expect(named(calls, "moveTo", "lineTo").map(([, ...at]) => at)).toEqual([
      [x, 0.5],
      [x, y - 14],
      [x, y + 14],
      [x, 200.5],
      [0.5, y],
      [x - 14, y],
      [x + 14, y],
      [400.5, y],
    ]);
    const colours = named(calls, "stroke").map(([, colour]) => colour);
    expect(colours).toEqual([PLANE_COLOURS.z, PLANE_COLOURS.z, PLANE_COLOURS.y, PLANE_COLOURS.y]);
  });
});

describe("drawScaleBar", () => {
  const bar = (voxelSize: number | null, change: Partial<Frame> = {}) => {
    const { pen, calls } = makePen("z", change);
    drawScaleBar(pen, voxelSize);
    return [named(calls, "fillText")[0]?.[1], named(calls, "fillRect")[0]?.[3]];
  };

  it("is in nanometres", () => {
    // 120 pixels are 60 voxels of 0.78 nm, 46.8 nm
    expect(bar(7.8)).toEqual(["20 nm", (20 / 0.78) * 2]);
  });

  it("is in voxels where their size is unknown", () => {
    expect(bar(null)).toEqual(["50 voxels", 100]);
    expect(bar(null, { zoom: 64 })).toEqual(["1 voxel", 64]);
  });

  it("is left out where there is no room", () => {
    expect(bar(7.8, { width: 0 })).toEqual([undefined, undefined]);
  });
});
