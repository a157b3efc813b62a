/** Selection of the slices, outlines and thumbnails to request, and what is shown until they arrive. */

import { effect, signal } from "@preact/signals";
import type { Outline, Slice } from "./api";
import { getOutlines, getSlice, getThumbnail } from "./api";
import type { Plane, Point } from "./geometry";
import { PLANES, SHOWN } from "./geometry";
import { Loader } from "./loader";
import { connection, contentVersion, layout, looks, tomogram } from "./state";

const AHEAD = 4; // slices fetched ahead of scrolling
const BEHIND = 1;
const NEAR = 12; // largest distance at which another slice is shown instead while scrolling

export const slices = new Loader<Slice>(
  (key) => {
    const [id, slab, smooth, plane, index] = key.split("/");
    return getSlice(Number(id), plane as Plane, Number(index), Number(slab), Number(smooth));
  },
  4,
  240,
);

export const outlines = new Loader<readonly Outline[]>(
  (key) => {
    const [id, plane, index] = key.split("/");
    return getOutlines(Number(id), plane as Plane, Number(index));
  },
  2,
  400,
);

export const thumbnails = new Loader<ImageBitmap>(
  (key) => {
    const [id, kind, point] = key.split("/") as [string, string, string];
    return getThumbnail(Number(id), Number(kind), point.split(",").map(Number) as unknown as Point);
  },
  3,
  300,
);

const sliceKey = (id: number, slab: number, smooth: number, plane: Plane, index: number) =>
  `${id}/${slab}/${smooth}/${plane}/${index}`;
const outlineKey = (id: number, plane: Plane, index: number) => `${id}/${plane}/${index}`;
export const thumbnailKey = (id: number, kind: number, point: Point) => `${id}/${kind}/${point.join(",")}`;

/** The requested slice, if it is loaded. */
export function sliceAt(plane: Plane, index: number): Slice | undefined {
  const t = tomogram.value;
  if (!t) return undefined;
  void slices.arrivals.value;
  const { slab, smooth } = looks.value;
  return slices.get(sliceKey(t.id, slab, smooth, plane, index));
}

/** The requested slice, or while scrolling the nearest one that is loaded. */
export function sliceNear(plane: Plane, index: number): { index: number; slice: Slice } | null {
  const t = tomogram.value;
  if (!t) return null;
  const { slab, smooth } = looks.value;
  for (let away = 0; away <= NEAR; away++) {
    for (const at of away ? [index - away, index + away] : [index]) {
      const slice = slices.get(sliceKey(t.id, slab, smooth, plane, at));
      if (slice) return { index: at, slice };
    }
  }
  return null;
}

export function outlinesOf(plane: Plane, index: number): readonly Outline[] {
  const t = tomogram.value;
  return (t && outlines.get(outlineKey(t.id, plane, index))) || [];
}

/** The plane that was scrolled last and its direction, so that the next slices are fetched in advance. */
const heading = signal<{ plane: Plane; step: 1 | -1 }>({ plane: "z", step: 1 });

export function followCursor(): void {
  let before = looks.value.cursor;
  effect(() => {
    const { cursor, slab, smooth } = looks.value;
    const t = tomogram.value;
    void connection.value; // failed requests are repeated once the server is back
    if (!t) return;
    const moved = PLANES.filter((p) => cursor[SHOWN[p].normal] !== before[SHOWN[p].normal]);
    if (moved.length === 1) {
      const plane = moved[0]!;
      heading.value = { plane, step: cursor[SHOWN[plane].normal] > before[SHOWN[plane].normal] ? 1 : -1 };
    }
    before = cursor;
    const { plane, step } = heading.peek();
    const { enlarged } = layout.value;
    const visible = PLANES.filter((p) => enlarged === null || enlarged === p).sort(
      (p, q) => Number(q === plane) - Number(p === plane),
    );
    const wanted: [Plane, number][] = visible.map((p) => [p, cursor[SHOWN[p].normal]]);
    const { normal } = SHOWN[plane];
    const ahead: [Plane, number][] = [];
    for (let i = 1; i <= AHEAD; i++) ahead.push([plane, cursor[normal] + step * i]);
    for (let i = 1; i <= BEHIND; i++) ahead.push([plane, cursor[normal] - step * i]);
    wanted.push(...ahead.filter(([p, i]) => visible.includes(p) && i >= 0 && i < t.shape[normal]));
    slices.want(wanted.map(([p, i]) => sliceKey(t.id, slab, smooth, p, i)));
    outlines.want(wanted.map(([p, i]) => outlineKey(t.id, p, i)));
  });
  effect(() => {
    if (contentVersion.value) outlines.invalidate();
  });
}
