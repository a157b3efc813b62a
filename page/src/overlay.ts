/** Vector graphics over a slice: outlines, clicks, crosshair, scale bar. */

import type { Candidate, Click, Outline } from "./api";
import type { Frame, Plane, Point } from "./geometry";
import { roundLength, SHOWN, toScreen } from "./geometry";

export const PLANE_COLOURS: Readonly<Record<Plane, string>> = { z: "#7fb4ff", y: "#8fd694", x: "#f2a7a0" };
const POSITIVE_REACH = 4; // slices; largest distance at which a click is shown

export interface Pen {
  readonly context: CanvasRenderingContext2D;
  readonly frame: Frame;
  /** The index of the drawn slice. */
  readonly index: number;
  /** Screen pixels per point of text. */
  readonly unit: number;
}

const paths = new WeakMap<Outline, Path2D>();

/** The path of an outline, in voxels across and down; computed once per outline. */
function pathOf(outline: Outline, turned: boolean): Path2D {
  const known = paths.get(outline);
  if (known) return known;
  const path = new Path2D();
  for (const points of outline.paths) {
    points.forEach(([row, col], i) => {
      const [x, y] = turned ? [row, col] : [col, row];
      if (i) path.lineTo(x, y);
      else path.moveTo(x, y);
    });
    path.closePath();
  }
  paths.set(outline, path);
  return path;
}

export interface Stroke {
  readonly colour: string;
  readonly width: number;
  readonly dash?: readonly number[];
  readonly fill?: number;
}

export function drawOutline(pen: Pen, outline: Outline, stroke: Stroke): void {
  const { context, frame, unit } = pen;
  const path = pathOf(outline, SHOWN[frame.plane].turned);
  const { across, down } = SHOWN[frame.plane];
  context.save();
  context.translate(frame.width / 2, frame.height / 2);
  context.scale(frame.zoom, frame.zoom);
  context.translate(-frame.centre[across], -frame.centre[down]);
  const pixel = unit / frame.zoom;
  context.lineJoin = "round";
  if (stroke.fill) {
    context.globalAlpha = stroke.fill;
    context.fillStyle = stroke.colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
  }
  // A dark line below keeps the colour visible on a bright background.
  context.strokeStyle = "rgba(8, 10, 14, 0.55)";
  context.lineWidth = (stroke.width + 1.6) * pixel;
  context.stroke(path);
  context.setLineDash((stroke.dash ?? []).map((d) => d * pixel));
  context.strokeStyle = stroke.colour;
  context.lineWidth = stroke.width * pixel;
  context.stroke(path);
  context.restore();
}

export function holds(
  outline: Outline,
  turned: boolean,
  row: number,
  col: number,
  context: CanvasRenderingContext2D,
): boolean {
  const [x, y] = turned ? [row, col] : [col, row];
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0);
  const inside = context.isPointInPath(pathOf(outline, turned), x, y, "evenodd");
  context.restore();
  return inside;
}

export function drawClick(
  pen: Pen,
  click: Pick<Click, "point" | "positive">,
  colour: string,
  isPending: boolean,
): void {
  const { context, frame, index, unit } = pen;
  const away = Math.abs(click.point[SHOWN[frame.plane].normal] - index);
  if (away > POSITIVE_REACH) return;
  const [x, y] = toScreen(frame, click.point);
  const radius = 5 * unit;
  context.save();
  context.globalAlpha = 1 - (0.75 * away) / POSITIVE_REACH;
  context.translate(x, y);
  context.beginPath();
  context.arc(0, 0, radius, 0, 2 * Math.PI);
  context.fillStyle = click.positive ? "rgba(8, 10, 14, 0.6)" : "#c2334d";
  context.fill();
  context.lineWidth = 1.6 * unit;
  context.strokeStyle = click.positive ? colour : "#ffd9df";
  if (isPending) context.setLineDash([2 * unit, 2 * unit]);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(-0.5 * radius, 0);
  context.lineTo(0.5 * radius, 0);
  if (click.positive) {
    context.moveTo(0, -0.5 * radius);
    context.lineTo(0, 0.5 * radius);
  }
  context.stroke();
  context.restore();
}

/** The circle in which a slice cuts a ball. */
export function drawRing(pen: Pen, point: Point, colour: string, reach: number): void {
  const { context, frame, index, unit } = pen;
  const away = Math.abs(point[SHOWN[frame.plane].normal] - index);
  if (away > reach) return;
  const [x, y] = toScreen(frame, point);
  const radius = Math.sqrt(Math.max(reach * reach - away * away, 4)) * frame.zoom;
  context.save();
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  // As for outlines: a dark line below keeps the colour visible.
  context.strokeStyle = "rgba(8, 10, 14, 0.55)";
  context.lineWidth = 4 * unit;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = 2.4 * unit;
  context.setLineDash([5 * unit, 3 * unit]);
  context.stroke();
  context.restore();
}

/** A handle on the selected particle, and a ring for one that has no mask. */
export function drawCentre(pen: Pen, candidate: Candidate, colour: string, isSelected: boolean, reach: number): void {
  const { context, frame, index, unit } = pen;
  const away = Math.abs(candidate.point[SHOWN[frame.plane].normal] - index);
  if (away > reach) return;
  if (!isSelected || candidate.n_voxels === 0) drawRing(pen, candidate.point, colour, reach);
  const [x, y] = toScreen(frame, candidate.point);
  context.save();
  if (isSelected) {
    context.setLineDash([]);
    context.beginPath();
    context.arc(x, y, 3.5 * unit, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = "#ffffff";
    context.stroke();
  }
  context.restore();
}

export function drawCrosshair(pen: Pen, cursor: Point): void {
  const { context, frame, unit } = pen;
  const [x, y] = toScreen(frame, cursor);
  const { across, down } = SHOWN[frame.plane];
  const gap = 14 * unit;
  const names = ["z", "y", "x"] as const;
  context.save();
  context.lineWidth = unit;
  context.globalAlpha = 0.55;
  // The vertical line shows where the plane normal to the horizontal axis cuts this one, in the colour of that plane.
  context.strokeStyle = PLANE_COLOURS[names[across]];
  strokeLine(context, x, 0, x, y - gap);
  strokeLine(context, x, y + gap, x, frame.height);
  context.strokeStyle = PLANE_COLOURS[names[down]];
  strokeLine(context, 0, y, x - gap, y);
  strokeLine(context, x + gap, y, frame.width, y);
  context.restore();
}

function strokeLine(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  context.beginPath();
  context.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
  context.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  context.stroke();
}

/** Draws a scale bar in nanometres, or in voxels if the voxel size is unknown. */
export function drawScaleBar(pen: Pen, voxelSizeAngstrom: number | null): void {
  const { context, frame, unit } = pen;
  const perVoxel = voxelSizeAngstrom ? voxelSizeAngstrom / 10 : 1;
  const longest = (Math.min(0.3 * frame.width, 140 * unit) / frame.zoom) * perVoxel;
  if (!(longest > 0)) return;
  const length = roundLength(longest);
  const width = (length / perVoxel) * frame.zoom;
  const [left, bottom] = [12 * unit, frame.height - 12 * unit];
  const text = `${length} ${voxelSizeAngstrom ? "nm" : length === 1 ? "voxel" : "voxels"}`;
  context.save();
  context.font = `600 ${11 * unit}px system-ui, sans-serif`;
  context.fillStyle = "rgba(8, 10, 14, 0.6)";
  context.beginPath();
  const box = Math.max(width, context.measureText(text).width);
  context.roundRect(left - 6 * unit, bottom - 20 * unit, box + 12 * unit, 26 * unit, 4 * unit);
  context.fill();
  context.fillStyle = "#ffffff";
  context.fillRect(left, bottom - 3 * unit, width, 3 * unit);
  context.fillText(text, left, bottom - 7 * unit);
  context.restore();
}
