/** The complete state of the page, as signals: data from the server, and view settings of the user. */

import { batch, computed, effect, signal } from "@preact/signals";
import type { Candidate, Grey, Job, Kind, KindView, Session, Structure, Tomogram } from "./api";
import type { Plane, Point } from "./geometry";
import { clampPoint, fitZoom, keepInside } from "./geometry";
import { recall, remember } from "./storage";

// ------------------------------------------------------------------------------------------------ from the server

export const session = signal<Session | null>(null);
/** Grey values of the shown tomogram; null until they are known. */
export const grey = signal<Grey | null>(null);
/** Candidates of the shown tomogram, by kind, best first. */
export const candidates = signal<Readonly<Record<string, readonly Candidate[]>>>({});
/** The tomogram and the revision of the session that the candidates are from; null until they are read. */
export const candidatesRead = signal<{ readonly tomogram: number; readonly revision: number } | null>(null);
export const job = signal<Job | null>(null);
/** Points that resemble a kind, found so far by a running search, by kind. */
export const soFar = signal<Readonly<Record<number, readonly Point[]>>>({});
export const connection = signal<"connecting" | "open" | "lost" | "denied">("connecting");
/** Increases when outlines, thumbnails or meshes may have changed. */
export const contentVersion = signal(0);

// ------------------------------------------------------------------------------------------------- view settings

export interface Looks {
  readonly cursor: Point;
  readonly centre: Point;
  /** Screen pixels per voxel; null fits the whole tomogram. */
  readonly zoom: number | null;
  readonly slab: number;
  readonly smooth: number;
  /** Grey values shown as black and white, in 0..255. */
  readonly black: number;
  readonly white: number;
  readonly inverted: boolean;
  readonly kind: number | null;
}

interface Layout {
  /** Fraction of the width and height for plane z; null follows the shape of the tomogram. */
  readonly across: number | null;
  readonly down: number | null;
  readonly enlarged: Plane | "volume" | null;
  readonly outlines: boolean;
  readonly crosshair: boolean;
  readonly tool: Tool;
  readonly tomogram: string | null;
}

/** The effect of a plain click. */
export type Tool = "positive" | "negative" | "browse";
export type Filter = "shown" | "hidden" | "rejected";
export interface Selected {
  readonly kind: number;
  readonly candidate: number;
}

export const layout = signal<Layout>(
  recall<Layout>("layout", {
    across: null,
    down: null,
    enlarged: null,
    outlines: true,
    crosshair: true,
    tool: "positive",
    tomogram: null,
  }),
);
export const looks = signal<Looks>({
  cursor: [0, 0, 0],
  centre: [0, 0, 0],
  zoom: null,
  slab: 1,
  smooth: 0,
  black: 0,
  white: 255,
  inverted: false,
  kind: null,
});
/** Whether the next click moves the selected particle or adds a new one. */
export const placing = signal<"move" | "add" | null>(null);
export const selected = signal<Selected | null>(null);
export const filter = signal<Filter>("shown");
export const hiddenKinds = signal<ReadonlySet<number>>(new Set());
/** Current value of the threshold slider, by kind, until the server has it. */
export const slidingThreshold = signal<Readonly<Record<number, number>>>({});
/** Clicks whose masks are being computed. */
export const pendingClicks = signal<
  readonly { readonly kind: number; readonly point: Point; readonly positive: boolean }[]
>([]);
/** The pane that was last under the pointer or focused, and the last plane, which the keyboard scrolls. */
export const activePane = signal<Plane | "volume">("z");
export const activePlane = signal<Plane>("z");
export const viewSizes = signal<Partial<Record<Plane, readonly [number, number]>>>({});
export const dialog = signal<"help" | "import" | null>(null);
export const notices = signal<readonly { readonly id: number; readonly text: string; readonly isError: boolean }[]>([]);

// -------------------------------------------------------------------------------------------------------------- derived

export const tomogram = computed<Tomogram | null>(() => {
  const all = session.value?.tomograms ?? [];
  return all.find((t) => keyOf(t) === layout.value.tomogram) ?? all[0] ?? null;
});
export const kind = computed<Kind | null>(() => {
  const kinds = session.value?.kinds ?? [];
  return kinds.find((k) => k.id === looks.value.kind) ?? kinds[0] ?? null;
});
export const kindViews = computed<Readonly<Record<string, KindView>>>(
  () => session.value?.views[String(tomogram.value?.id)]?.kinds ?? {},
);
export const kindView = computed<KindView | null>(() => kindViews.value[String(kind.value?.id)] ?? null);

/** What the active kind is; a particle as long as there is none. */
export const activeStructure = computed<Structure>(() => kind.value?.structure ?? "particle");

/** What a kind is, by number. */
export function structureOf(kindId: number): Structure {
  return session.value?.kinds.find((k) => k.id === kindId)?.structure ?? "particle";
}

/** Screen pixels per voxel in a view: the chosen zoom, which all views have, or else each shows its whole plane. */
export function zoomOf(plane: Plane): number {
  const shape = tomogram.value?.shape;
  return looks.value.zoom ?? (shape ? fitZoom(shape, plane, viewSizes.value[plane]) : 1);
}

export function thresholdOf(kindId: number): number {
  return slidingThreshold.value[kindId] ?? kindViews.value[String(kindId)]?.threshold ?? 0;
}

/** Whether a candidate counts as found: accepted by the user, or without a verdict and above the threshold. */
export function isShown(candidate: Candidate, threshold: number): boolean {
  return candidate.verdict === "accepted" || (candidate.verdict === null && (candidate.score ?? 1) >= threshold);
}

export function sortedOut(candidate: Candidate, threshold: number): Filter {
  if (candidate.verdict === "rejected") return "rejected";
  return isShown(candidate, threshold) ? "shown" : "hidden";
}

export interface Counts {
  readonly shown: number;
  readonly hidden: number;
  readonly rejected: number;
  /** Sum of 1 - score of shown candidates without a verdict; null if scores are not probabilities. */
  readonly expectedFalse: number | null;
}

export function countOf(kindId: number): Counts {
  const threshold = thresholdOf(kindId);
  const counts = { shown: 0, hidden: 0, rejected: 0 };
  let expectedFalse = 0;
  for (const candidate of candidates.value[String(kindId)] ?? []) {
    const place = sortedOut(candidate, threshold);
    counts[place]++;
    if (place === "shown" && candidate.verdict === null) expectedFalse += 1 - (candidate.score ?? 1);
  }
  const isProbability = kindViews.value[String(kindId)]?.is_probability ?? false;
  return { ...counts, expectedFalse: isProbability ? expectedFalse : null };
}

export const listed = computed<readonly Candidate[]>(() => {
  const id = kind.value?.id;
  if (id === undefined) return [];
  const threshold = thresholdOf(id);
  return (candidates.value[String(id)] ?? []).filter((c) => sortedOut(c, threshold) === filter.value);
});

export function candidateOf(choice: Selected | null): Candidate | undefined {
  return choice ? candidates.value[String(choice.kind)]?.find((c) => c.id === choice.candidate) : undefined;
}

// -------------------------------------------------------------------------------------------------- remembered view settings

export function keyOf(t: Tomogram): string {
  return `${t.name} ${t.shape.join("x")}`;
}

export function look(change: Partial<Looks>): void {
  const shape = tomogram.value?.shape;
  const next = { ...looks.value, ...change };
  looks.value = shape
    ? { ...next, cursor: clampPoint(next.cursor, shape), centre: clampPoint(next.centre, shape) }
    : next;
}

export function arrange(change: Partial<Layout>): void {
  layout.value = { ...layout.value, ...change };
}

/** Moves the crosshair to a point, and the views to it, as far as they stay within the tomogram. */
export function goTo(point: Point): void {
  const shape = tomogram.value?.shape;
  const zoom = looks.value.zoom ?? 0; // without one, all is visible
  const centre = shape ? keepInside(point, shape, zoom, viewSizes.value) : point;
  look({ cursor: [Math.round(point[0]), Math.round(point[1]), Math.round(point[2])], centre });
}

/** Notes which pane the user is in. */
export function attend(pane: Plane | "volume"): void {
  activePane.value = pane;
  if (pane !== "volume") activePlane.value = pane;
}

function initialLooks(t: Tomogram): Looks {
  const middle: Point = [(t.shape[0] - 1) / 2, (t.shape[1] - 1) / 2, (t.shape[2] - 1) / 2];
  const cursor: Point = [Math.floor(middle[0]), Math.floor(middle[1]), Math.floor(middle[2])];
  return { cursor, centre: middle, zoom: null, slab: 1, smooth: 0, black: 0, white: 255, inverted: false, kind: null };
}

let lookingAt: string | null = null;

/** Restores the view settings of a tomogram in this browser when it is shown, and remembers their changes. */
export function followLooks(): void {
  effect(() => {
    const t = tomogram.value;
    if (!t || keyOf(t) === lookingAt) return;
    lookingAt = keyOf(t);
    batch(() => {
      looks.value = initialLooks(t);
      look(recall<Looks>(keyOf(t), initialLooks(t)));
      selected.value = null;
      placing.value = null;
      filter.value = "shown";
      candidates.value = {};
      candidatesRead.value = null;
      grey.value = null;
      pendingClicks.value = [];
    });
  });
  let waiting = 0;
  const write = () => {
    waiting = 0;
    remember("layout", layout.value);
    if (lookingAt) remember(lookingAt, looks.value);
  };
  effect(() => {
    void layout.value;
    void looks.value;
    if (!waiting) waiting = window.setTimeout(write, 200);
  });
  addEventListener("pagehide", write);
}

let nextNotice = 1;

/** Shows a message; errors stay longer, and those of a long computation until they are dismissed. */
export function notify(text: string, isError = false, seconds: number | null = isError ? 9 : 4): void {
  const id = nextNotice++;
  notices.value = [...notices.value.filter((n) => n.text !== text), { id, text, isError }].slice(-3);
  if (seconds !== null) setTimeout(() => dismiss(id), 1000 * seconds);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((n) => n.id !== id);
}

export function setContrast(black: number, white: number): void {
  look({ black, white });
}
