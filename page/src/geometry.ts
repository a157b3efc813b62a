/** Conversion between points in voxels (z, y, x; an integer is a voxel centre) and positions on the screen. */

export type Point = readonly [z: number, y: number, x: number];
export type Axis = 0 | 1 | 2;
/** A plane is named by its normal: plane "z" is the y-x image. */
export type Plane = "z" | "y" | "x";

export const PLANES: readonly Plane[] = ["z", "y", "x"];
export const AXIS_NAMES = ["z", "y", "x"] as const;

interface Shown {
  readonly normal: Axis;
  /** Axis that runs down the screen, and across it. */
  readonly down: Axis;
  readonly across: Axis;
  /** Whether rows of the server run across: plane x is transposed, so that its y axis is parallel to that of plane z. */
  readonly turned: boolean;
}

export const SHOWN: Readonly<Record<Plane, Shown>> = {
  z: { normal: 0, down: 1, across: 2, turned: false },
  y: { normal: 1, down: 0, across: 2, turned: false },
  x: { normal: 2, down: 1, across: 0, turned: true },
};

/** The visible part of a view: the voxel in its centre, pixels per voxel, and its size in pixels. */
export interface Frame {
  readonly plane: Plane;
  readonly centre: Point;
  readonly zoom: number;
  readonly width: number;
  readonly height: number;
}

export function toScreen(frame: Frame, point: Point): [across: number, down: number] {
  const { across, down } = SHOWN[frame.plane];
  return [
    (point[across] - frame.centre[across]) * frame.zoom + frame.width / 2,
    (point[down] - frame.centre[down]) * frame.zoom + frame.height / 2,
  ];
}

/** Inverse of `toScreen`; the coordinate along the normal is that of the shown slice. */
export function toVoxels(frame: Frame, x: number, y: number, index: number): Point {
  const { across, down, normal } = SHOWN[frame.plane];
  const point: [number, number, number] = [0, 0, 0];
  point[normal] = index;
  point[across] = (x - frame.width / 2) / frame.zoom + frame.centre[across];
  point[down] = (y - frame.height / 2) / frame.zoom + frame.centre[down];
  return point;
}

export function clampPoint(point: Point, shape: Point): Point {
  return [clamp(point[0], 0, shape[0] - 1), clamp(point[1], 0, shape[1] - 1), clamp(point[2], 0, shape[2] - 1)];
}

export function isInside(point: Point, shape: Point): boolean {
  return point.every((c, axis) => c >= -0.5 && c <= shape[axis as Axis] - 0.5);
}

export function withAxis(point: Point, axis: Axis, value: number): Point {
  const copy: [number, number, number] = [...point];
  copy[axis] = value;
  return copy;
}

export function roundPoint(point: Point): Point {
  return [Math.round(point[0]), Math.round(point[1]), Math.round(point[2])];
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), Math.max(low, high));
}

type Size = readonly [width: number, height: number];

/** Largest zoom at which a view shows its whole plane, with a small margin; 1 if the view has no size yet. */
export function fitZoom(shape: Point, plane: Plane, size: Size | undefined): number {
  const { across, down } = SHOWN[plane];
  const [width, height] = size ?? [0, 0];
  return Math.min((0.96 * width) / shape[across], (0.96 * height) / shape[down]) || 1;
}

/** The centre nearest to a point at which no view of a given zoom shows more than it must of what is outside. */
export function keepInside(centre: Point, shape: Point, zoom: number, sizes: Partial<Record<Plane, Size>>): Point {
  const reach: [number, number, number] = [Infinity, Infinity, Infinity];
  for (const plane of PLANES) {
    const { across, down } = SHOWN[plane];
    const [width, height] = sizes[plane] ?? [Infinity, Infinity];
    reach[across] = Math.min(reach[across], width / 2 / zoom);
    reach[down] = Math.min(reach[down], height / 2 / zoom);
  }
  const kept = (axis: Axis) => {
    const middle = (shape[axis] - 1) / 2;
    const most = Math.max(shape[axis] / 2 - reach[axis], 0);
    return clamp(centre[axis], middle - most, middle + most);
  };
  return [kept(0), kept(1), kept(2)];
}

/** Length of a scale bar: the largest of 1, 2 or 5 times a power of ten that is at most `longest`. */
export function roundLength(longest: number): number {
  const power = 10 ** Math.floor(Math.log10(longest));
  const step = [5, 2, 1].find((s) => s * power <= longest) ?? 1;
  return step * power;
}
