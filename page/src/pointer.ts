/** The pointer over a slice, and what lies under it, also when the slice changes while the pointer rests. */

import { computed, signal } from "@preact/signals";
import type { Plane, Point } from "./geometry";
import { isInside, roundPoint, SHOWN, toVoxels } from "./geometry";
import { frameOf } from "./scene";
import { sliceAt } from "./slices";
import { looks, tomogram } from "./state";

/** The view under the pointer, and the position in it, in screen pixels from its corner. */
export const pointer = signal<{ readonly plane: Plane; readonly x: number; readonly y: number } | null>(null);

/** The voxel under the pointer and its grey value of 0..255, which is null until the slice is loaded. */
export const hover = computed<{ readonly point: Point; readonly grey: number | null } | null>(() => {
  const shape = tomogram.value?.shape;
  if (!pointer.value || !shape) return null;
  const { plane, x, y } = pointer.value;
  const { normal, down, across, turned } = SHOWN[plane];
  const index = looks.value.cursor[normal];
  const point = roundPoint(toVoxels(frameOf(plane), x, y, index));
  if (!isInside(point, shape)) return null;
  const slice = sliceAt(plane, index);
  const [row, col] = turned ? [point[across], point[down]] : [point[down], point[across]];
  return { point, grey: slice?.pixels[row * slice.cols + col] ?? null };
});
