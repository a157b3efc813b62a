/** Types of the answers of the server, and one function per request. Points are z, y, x in voxels. */

import type { Plane, Point } from "./geometry";

export interface Tomogram {
  readonly id: number;
  readonly name: string;
  readonly shape: Point;
  readonly voxel_size_angstrom: number | null;
}

/** Intensities shown as 0 and 255, and the number of sampled voxels with each grey value. */
export interface Grey {
  readonly low: number;
  readonly high: number;
  readonly histogram: readonly number[];
}

export type Structure = "particle" | "membrane" | "filament" | "compartment";

export interface Kind {
  readonly id: number;
  readonly name: string;
  readonly colour: string;
  readonly structure: Structure;
}

export interface Click {
  readonly id: number;
  readonly point: Point;
  readonly positive: boolean;
  readonly has_mask: boolean;
  readonly message: string | null;
  /** What the click looks like; null until that was guessed. */
  readonly guess: { readonly structure: Structure | "unclear"; readonly confidence: number } | null;
}

/** The average of a kind; lengths are in voxels. */
export interface Average {
  readonly box_voxels: number;
  /** Fourier shell correlation of two halves; shell s has s cycles per box. */
  readonly fsc: readonly number[] | null;
  /** Finest period down to which the correlation is at least a half. */
  readonly resolution_voxels: number | null;
}

/** One kind in one tomogram. */
export interface KindView {
  readonly clicks: readonly Click[];
  readonly threshold: number;
  readonly default_threshold: number;
  readonly is_probability: boolean;
  readonly average: Average | null;
  /** Whether there was a search, also if it found nothing. */
  readonly is_searched: boolean;
  readonly stale: boolean;
  readonly n_candidates: number;
  readonly warnings: readonly string[];
  readonly diameter_voxels: number | null;
}

export interface Job {
  readonly id: number;
  readonly tomogram: number;
  readonly kind: number | null;
  /** Name of the current step, its number from 1, and the number of all steps. */
  readonly step: string;
  readonly number: number;
  readonly n_steps: number;
  /** Share of the whole that is done, 0 to 1. */
  readonly share: number;
  readonly seconds_left: number | null;
}

export interface Session {
  readonly revision: number;
  readonly version: string;
  readonly tomograms: readonly Tomogram[];
  readonly kinds: readonly Kind[];
  readonly views: Readonly<Record<string, { readonly kinds: Readonly<Record<string, KindView>> }>>;
  readonly job: Job | null;
  readonly can_undo: boolean;
  readonly can_redo: boolean;
}

export type Verdict = "accepted" | "rejected" | null;

/** What was measured on a membrane, filament or compartment, in angstrom; null stands for what could not be. */
export type Measures =
  | {
      readonly structure: "membrane";
      readonly area: number | null;
      readonly thickness: number | null;
      readonly volume: number | null;
      readonly is_closed: boolean;
    }
  | { readonly structure: "filament"; readonly length: number | null; readonly diameter: number | null }
  | { readonly structure: "compartment"; readonly volume: number | null; readonly is_cut: boolean };

export interface Candidate {
  readonly id: number;
  readonly point: Point;
  readonly score: number | null;
  readonly verdict: Verdict;
  /** Whether its orientation is known. */
  readonly is_oriented: boolean;
  readonly n_voxels: number;
  readonly box: readonly [Point, Point] | null;
  readonly moved?: boolean;
  /** Absent for a particle. */
  readonly measures?: Measures;
}

export interface Candidates {
  readonly revision: number;
  readonly kinds: Readonly<Record<string, readonly Candidate[]>>;
}

export interface Outline {
  readonly kind: number;
  readonly candidate: number | null;
  readonly click: number | null;
  readonly paths: readonly (readonly (readonly [row: number, col: number])[])[];
  /** Whether the voxels inside were filled in where the tomogram shows nothing. */
  readonly inferred?: boolean;
}

export interface Slice {
  readonly rows: number;
  readonly cols: number;
  readonly pixels: Uint8Array;
}

export interface Mesh {
  readonly candidate: number;
  /** z, y, x, z, y, x, ... */
  readonly vertices: Float32Array;
  readonly faces: Uint32Array;
}

/** A request that failed, with the message of the server; `status` is 0 if there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const UNREACHABLE = "The server does not answer. Is `cryosam serve` still running?";

async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  if (response.ok) return response;
  let detail = `The server answered ${response.status} to ${path.split("?")[0]}.`;
  try {
    const answer = (await response.json()) as { detail?: unknown };
    if (typeof answer.detail === "string") detail = answer.detail;
  } catch {
    // The answer has no message, so the status is shown.
  }
  throw new ApiError(response.status, detail);
}

async function getJson<T>(path: string): Promise<T> {
  return (await request(path)).json() as Promise<T>;
}

export interface Changed {
  readonly revision: number;
}

async function send<T extends Changed>(method: string, path: string, body?: object): Promise<T> {
  const init: RequestInit = { method };
  if (body) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  return (await request(path, init)).json() as Promise<T>;
}

export const getSession = () => getJson<Session>("/api/session");
export const getGrey = (tomogram: number) => getJson<Grey>(`/api/tomograms/${tomogram}/grey`);
export const getCandidates = (tomogram: number) => getJson<Candidates>(`/api/tomograms/${tomogram}/candidates`);

export async function getOutlines(tomogram: number, plane: Plane, index: number): Promise<readonly Outline[]> {
  const path = `/api/tomograms/${tomogram}/outlines/${plane}/${index}`;
  return (await getJson<{ outlines: readonly Outline[] }>(path)).outlines;
}

export async function getSlice(
  tomogram: number,
  plane: Plane,
  index: number,
  slab: number,
  smooth: number,
): Promise<Slice> {
  const response = await request(`/api/tomograms/${tomogram}/slice/${plane}/${index}?slab=${slab}&smooth=${smooth}`);
  const [rows = 0, cols = 0] = (response.headers.get("X-Shape") ?? "").split(",").map(Number);
  const pixels = new Uint8Array(await response.arrayBuffer());
  if (pixels.length !== rows * cols) throw new ApiError(0, `Slice ${plane} ${index} came back incomplete.`);
  return { rows, cols, pixels };
}

export async function getThumbnail(tomogram: number, kind: number, [z, y, x]: Point): Promise<ImageBitmap> {
  const response = await request(`/api/tomograms/${tomogram}/thumbnail/${kind}?z=${z}&y=${y}&x=${x}`);
  return createImageBitmap(await response.blob());
}

export async function getMeshes(tomogram: number, kind: number, minScore: number): Promise<Mesh[]> {
  const response = await request(`/api/tomograms/${tomogram}/meshes/${kind}?min_score=${minScore}`);
  return readMeshes(await response.arrayBuffer());
}

/** uint32 count, then for each: uint32 candidate, vertices, faces; float32 vertices; uint32 faces. */
function readMeshes(buffer: ArrayBuffer): Mesh[] {
  const header = new DataView(buffer);
  const meshes: Mesh[] = [];
  let at = 4;
  for (let left = header.getUint32(0, true); left > 0; left--) {
    const [candidate, nVertices, nFaces] = [0, 4, 8].map((o) => header.getUint32(at + o, true)) as [
      number,
      number,
      number,
    ];
    const vertices = new Float32Array(buffer, at + 12, 3 * nVertices);
    const faces = new Uint32Array(buffer, at + 12 + vertices.byteLength, 3 * nFaces);
    meshes.push({ candidate, vertices, faces });
    at += 12 + vertices.byteLength + faces.byteLength;
  }
  return meshes;
}

// `based` is the revision that a change is based on. The server answers 409 if the item was changed since.

export const addClick = (tomogram: number, kind: number, point: Point, positive: boolean) =>
  send<Changed & { click: number }>("POST", `/api/tomograms/${tomogram}/clicks`, { kind, point, positive });
export const removeClick = (tomogram: number, click: number, based: number) =>
  send("DELETE", `/api/tomograms/${tomogram}/clicks/${click}?expected_revision=${based}`);

export const addKind = (name: string, colour: string) =>
  send<Changed & { kind: number }>("POST", "/api/kinds", { name, colour });
export const changeKind = (
  kind: number,
  change: { name?: string; colour?: string; structure?: Structure },
  based: number,
) => send("PATCH", `/api/kinds/${kind}`, { ...change, expected_revision: based });

export const removeKind = (kind: number, based: number) =>
  send("DELETE", `/api/kinds/${kind}?expected_revision=${based}`);

export const findAll = (tomogram: number, kinds: readonly number[] | null, diameterAngstrom: number | null) =>
  send<Changed & { job: number }>("POST", `/api/tomograms/${tomogram}/find`, {
    kinds,
    diameter_angstrom: diameterAngstrom,
  });
export const segmentCandidates = (tomogram: number, kind: number) =>
  send<Changed & { job: number }>("POST", `/api/tomograms/${tomogram}/kinds/${kind}/segment`);
export const cancelJob = (job: number) => send("POST", `/api/jobs/${job}/cancel`);

export const setThreshold = (tomogram: number, kind: number, threshold: number, based: number) =>
  send("PATCH", `/api/tomograms/${tomogram}/kinds/${kind}`, { threshold, expected_revision: based });
export const addCandidate = (tomogram: number, kind: number, point: Point) =>
  send<Changed & { candidate: number }>("POST", `/api/tomograms/${tomogram}/kinds/${kind}/candidates`, { point });
export const changeCandidate = (
  tomogram: number,
  kind: number,
  candidate: number,
  change: { verdict?: Verdict; point?: Point },
  based: number,
) => {
  const path = `/api/tomograms/${tomogram}/kinds/${kind}/candidates/${candidate}`;
  return send("PATCH", path, { ...change, expected_revision: based });
};

export const undo = () => send("POST", "/api/undo");
export const redo = () => send("POST", "/api/redo");

/** Slices z, y and x through the middle of the average, side by side; `version` changes when the average may have. */
export const averageAddress = (tomogram: number, kind: number, version: number) =>
  `/api/tomograms/${tomogram}/average/${kind}?version=${version}`;

export const exportAddress = (tomogram: number, format: "zip" | "csv" | "star") =>
  `/api/tomograms/${tomogram}/export?format=${format}`;

export async function importPoints(tomogram: number, kind: number, role: "candidates" | "clicks", file: File) {
  const query = new URLSearchParams({ filename: file.name, kind: String(kind), role });
  const path = `/api/tomograms/${tomogram}/import?${query}`;
  const answer = await request(path, {
    method: "POST",
    body: file,
    headers: { "Content-Type": "application/octet-stream" },
  });
  return answer.json() as Promise<Changed & { n_points: number }>;
}
