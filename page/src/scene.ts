/** The content of one view, computed from the state, and its painter. */

import { computed } from "@preact/signals";
import type { Candidate, Outline, Slice } from "./api";
import type { Frame, Plane, Point } from "./geometry";
import { SHOWN } from "./geometry";
import { greyTable, paintSlice } from "./lut";
import type { Pen, Stroke } from "./overlay";
import { drawCentre, drawClick, drawCrosshair, drawOutline, drawRing, drawScaleBar } from "./overlay";
import { outlines, outlinesOf, sliceNear, slices } from "./slices";
import * as state from "./state";

export const table = computed(() => {
  const { black, white, inverted } = state.looks.value;
  return greyTable(black, white, inverted);
});

const byId = computed(() => {
  const all = new Map<string, Candidate>();
  for (const [kind, list] of Object.entries(state.candidates.value))
    for (const candidate of list) all.set(`${kind}/${candidate.id}`, candidate);
  return all;
});

export interface DrawnOutline {
  readonly outline: Outline;
  readonly stroke: Stroke;
}

export interface Scene {
  readonly frame: Frame;
  readonly index: number;
  readonly slice: Slice | null;
  readonly table: Uint32Array;
  readonly outlines: readonly DrawnOutline[];
  readonly draw: readonly ((pen: Pen) => void)[];
}

/** The frame of a view, in screen pixels. */
export function frameOf(plane: Plane): Frame {
  const [width, height] = state.viewSizes.value[plane] ?? [0, 0];
  return { plane, centre: state.looks.value.centre, zoom: state.zoomOf(plane), width, height };
}

/** `moved` is the position to which the selected candidate is being dragged. */
export function readScene(plane: Plane, moved: Point | null): Scene | null {
  const t = state.tomogram.value;
  if (!t) return null;
  void slices.arrivals.value;
  void outlines.arrivals.value;
  const { cursor } = state.looks.value;
  const wanted = cursor[SHOWN[plane].normal];
  const near = sliceNear(plane, wanted);
  const index = near?.index ?? wanted;
  const layout = state.layout.value;
  const draw: ((pen: Pen) => void)[] = [];
  if (layout.outlines) draw.push(...readMarks(moved));
  if (layout.crosshair) draw.push((pen) => drawCrosshair(pen, cursor));
  draw.push((pen) => drawScaleBar(pen, t.voxel_size_angstrom));
  return {
    frame: frameOf(plane),
    index,
    slice: near?.slice ?? null,
    table: table.value,
    outlines: layout.outlines ? readOutlines(plane, index) : [],
    draw,
  };
}

function readOutlines(plane: Plane, index: number): DrawnOutline[] {
  const drawn: DrawnOutline[] = [];
  const colours = new Map(state.session.value?.kinds.map((k) => [k.id, k.colour]));
  const last: DrawnOutline[] = [];
  for (const outline of outlinesOf(plane, index)) {
    const colour = colours.get(outline.kind);
    if (!colour || state.hiddenKinds.value.has(outline.kind)) continue;
    if (outline.candidate === null) {
      if (state.structureOf(outline.kind) !== "particle") continue; // the mask of the click is one of a particle
      const isFound = (state.kindViews.value[String(outline.kind)]?.n_candidates ?? 0) > 0;
      drawn.push({ outline, stroke: isFound ? { colour, width: 1, dash: [2, 3] } : { colour, width: 2, fill: 0.14 } });
      continue;
    }
    const candidate = byId.value.get(`${outline.kind}/${outline.candidate}`);
    if (!candidate) continue;
    const choice = state.selected.value;
    const isSelected = choice?.candidate === candidate.id && choice.kind === outline.kind;
    const drawnAs = strokeOf(candidate, outline.kind, colour, isSelected);
    const stroke = drawnAs && outline.inferred ? { ...drawnAs, width: 1.2, dash: [1.5, 3] } : drawnAs;
    if (stroke) (isSelected ? last : drawn).push({ outline, stroke });
  }
  return [...drawn, ...last];
}

function strokeOf(candidate: Candidate, kind: number, colour: string, isSelected: boolean): Stroke | null {
  const place = state.sortedOut(candidate, state.thresholdOf(kind));
  const isListed = kind === state.kind.value?.id && place === state.filter.value;
  if (place !== "shown" && !isListed && !isSelected) return null;
  const dash = place === "shown" ? {} : { dash: place === "hidden" ? [5, 4] : [2, 4] };
  if (isSelected) return { colour: "#ffffff", width: 2.4, fill: 0.12, ...dash };
  return { colour, width: candidate.verdict === "accepted" ? 2.4 : 1.6, ...dash };
}

/** Clicks, the handle of the selected candidate, and rings for candidates without a mask. */
function readMarks(moved: Point | null): ((pen: Pen) => void)[] {
  const marks: ((pen: Pen) => void)[] = [];
  const isSearched = state.job.value?.tomogram === state.tomogram.value?.id;
  for (const { id, colour } of state.session.value?.kinds ?? []) {
    if (state.hiddenKinds.value.has(id)) continue;
    const view = state.kindViews.value[String(id)];
    const reach = (view?.diameter_voxels ?? 12) / 2;
    const choice = state.selected.value;
    for (const candidate of state.candidates.value[String(id)] ?? []) {
      const isSelected = choice?.kind === id && choice.candidate === candidate.id;
      if (candidate.measures) continue; // it has neither a handle nor a diameter
      const hasRing = candidate.n_voxels === 0 && state.isShown(candidate, state.thresholdOf(id));
      if (!isSelected && !hasRing) continue;
      const drawn = isSelected && moved ? { ...candidate, point: moved } : candidate;
      marks.push((pen) => drawCentre(pen, drawn, colour, isSelected, reach));
    }
    if (isSearched)
      for (const point of state.soFar.value[id] ?? []) marks.push((pen) => drawRing(pen, point, colour, reach));
    for (const click of view?.clicks ?? []) marks.push((pen) => drawClick(pen, click, colour, false));
    for (const click of state.pendingClicks.value)
      if (click.kind === id) marks.push((pen) => drawClick(pen, click, colour, true));
  }
  return marks;
}

/** Draws a scene; the slice is mapped to colours only if the slice or the table changed. */
export class Painter {
  private readonly picture = document.createElement("canvas");
  private painted: { slice: Slice; table: Uint32Array } | null = null;

  constructor(private readonly canvas: HTMLCanvasElement) {}

  paint(scene: Scene, unit: number): void {
    const { canvas, picture } = this;
    const { frame } = scene;
    if (canvas.width !== frame.width) canvas.width = frame.width;
    if (canvas.height !== frame.height) canvas.height = frame.height;
    const context = canvas.getContext("2d")!;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#0b0d11";
    context.fillRect(0, 0, frame.width, frame.height);
    if (scene.slice) {
      const { across, down, turned } = SHOWN[frame.plane];
      if (this.painted?.slice !== scene.slice || this.painted.table !== scene.table) {
        paintSlice(picture, scene.slice, scene.table, turned);
        this.painted = { slice: scene.slice, table: scene.table };
      }
      // Voxel centres are integers, so the picture starts half a voxel before 0.
      const left = (-0.5 - frame.centre[across]) * frame.zoom + frame.width / 2;
      const top = (-0.5 - frame.centre[down]) * frame.zoom + frame.height / 2;
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = frame.zoom < 1 ? "high" : "low";
      context.drawImage(picture, left, top, picture.width * frame.zoom, picture.height * frame.zoom);
    }
    const pen: Pen = { context, frame, index: scene.index, unit };
    for (const { outline, stroke } of scene.outlines) drawOutline(pen, outline, stroke);
    for (const draw of scene.draw) draw(pen);
  }
}
