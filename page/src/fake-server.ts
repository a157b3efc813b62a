/** A fake server for tests: revisions, conflicts and undo as on the real one, and answers that can be delayed. */

import type { Candidate, Click, Kind, Session, Tomogram } from "./api";

export interface Sent {
  readonly method: string;
  readonly path: string;
  readonly body: Record<string, unknown>;
}

interface Content {
  kinds: Kind[];
  clicks: Record<number, Click[]>;
  thresholds: Record<number, number>;
  candidates: Record<number, Candidate[]>;
}

class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export const CONFLICT =
  "This was changed in the meantime, in another tab or by a search; check it and repeat the change.";

export class FakeServer {
  revision = 1;
  tomograms: Tomogram[] = [{ id: 0, name: "tomo.mrc", shape: [11, 23, 37], voxel_size_angstrom: 10 }];
  content: Content = { kinds: [], clicks: {}, thresholds: {}, candidates: {} };
  /** Requests of the page, in the order in which they were answered. */
  readonly sent: Sent[] = [];
  isGone = false;

  private past: string[] = [];
  private readonly touched = new Map<string, number>();
  private allTouched = 0;
  private nextId = 100;
  private readonly held: { readonly path: RegExp; readonly when: Promise<void>; readonly isLate: boolean }[] = [];

  /** Starts with kind 1 and its candidates 11 to 13, in order of decreasing score. */
  static searched(): FakeServer {
    const server = new FakeServer();
    server.content.kinds = [{ id: 1, name: "ring", colour: "#4cc9f0", structure: "particle" }];
    server.content.clicks = { 1: [click(5, [2, 7, 30])] };
    server.content.thresholds = { 1: 0.5 };
    server.content.candidates = { 1: [candidate(11, 0.9), candidate(12, 0.7), candidate(13, 0.2)] };
    server.revision = 10;
    return server;
  }

  /** Replaces the fetch function of the browser. */
  readonly fetch = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const method = init.method ?? "GET";
    const body = typeof init.body === "string" ? JSON.parse(init.body) : {};
    const at = this.held.findIndex((h) => h.path.test(`${method} ${path}`));
    const [hold] = at < 0 ? [] : this.held.splice(at, 1);
    if (hold && !hold.isLate) await hold.when;
    const answer = this.answer(method, path, body);
    if (hold?.isLate) await hold.when;
    return answer;
  };

  /** Holds the next matching request, or its answer if `late`, until the returned function is called. */
  hold(path: RegExp, isLate = false): () => void {
    let release = () => {};
    const when = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.held.push({ path, when, isLate });
    return release;
  }

  /** Makes a change as another tab would. */
  elsewhere(method: string, path: string, body: Record<string, unknown> = {}): void {
    this.handle(method, path, body);
  }

  /** Makes a change of all items, as the end of a search does, or new masks. */
  changeAll(work: (content: Content) => void): void {
    this.change(null, null, work);
  }

  /** Requests that change something, without those that only read. */
  get changes(): Sent[] {
    return this.sent.filter(({ method }) => method !== "GET");
  }

  private answer(method: string, path: string, body: Record<string, unknown>): Response {
    if (this.isGone) throw new TypeError("Failed to fetch");
    this.sent.push({ method, path, body });
    try {
      return Response.json(this.handle(method, path, body));
    } catch (error) {
      if (error instanceof Refused) return Response.json({ detail: error.message }, { status: error.status });
      throw error;
    }
  }

  private handle(method: string, path: string, body: Record<string, unknown>): object {
    const [where = "", query] = path.split("?");
    const ids = (where.match(/\d+/g) ?? []).map(Number) as [number, number, number];
    const asked = body.expected_revision ?? new URLSearchParams(query).get("expected_revision");
    const expected = asked === undefined || asked === null ? null : Number(asked);
    switch (`${method} ${where.replace(/\d+/g, "#")}`) {
      case "GET /api/session":
        return this.describe();
      case "GET /api/tomograms/#/grey":
        return { low: -1, high: 2, histogram: [1, 2, 3] };
      case "GET /api/tomograms/#/candidates":
        return { revision: this.revision, kinds: structuredClone(this.content.candidates) };
      case "POST /api/kinds":
        return this.addKind(body as unknown as Kind);
      case "PATCH /api/kinds/#":
        return this.change(`kind ${ids[0]}`, expected, ({ kinds }) => Object.assign(find(kinds, ids[0]), named(body)));
      case "DELETE /api/kinds/#":
        return this.change(`kind ${ids[0]}`, expected, ({ kinds }) => remove(kinds, ids[0]));
      case "POST /api/tomograms/#/clicks":
        return this.addClick(body as unknown as { kind: number; point: Click["point"]; positive: boolean });
      case "DELETE /api/tomograms/#/clicks/#":
        return this.change(`click ${ids[1]}`, expected, ({ clicks }) => remove(clicks[1] ?? [], ids[1]));
      case "PATCH /api/tomograms/#/kinds/#":
        return this.change(`threshold ${ids[0]} ${ids[1]}`, expected, ({ thresholds }) => {
          thresholds[ids[1]] = body.threshold as number;
        });
      case "PATCH /api/tomograms/#/kinds/#/candidates/#":
        return this.change(`candidate ${ids[2]}`, expected, ({ candidates }) => {
          const moved = "point" in body ? { moved: true } : {};
          Object.assign(find(candidates[ids[1]] ?? [], ids[2]), named(body), moved);
        });
      case "POST /api/undo":
        return this.undo();
      default:
        throw new Refused(404, `There is no ${method} ${where}.`);
    }
  }

  private describe(): Session {
    const { kinds, clicks, thresholds, candidates } = this.content;
    const views = kinds.map(({ id }) => ({
      clicks: clicks[id] ?? [],
      threshold: thresholds[id] ?? 0.5,
      default_threshold: 0.5,
      is_probability: true,
      average: null,
      is_searched: (candidates[id]?.length ?? 0) > 0,
      stale: false,
      n_candidates: candidates[id]?.length ?? 0,
      warnings: [],
      diameter_voxels: 8,
    }));
    const ofKinds = Object.fromEntries(kinds.map(({ id }, i) => [id, views[i]!]));
    return structuredClone({
      revision: this.revision,
      version: "0",
      tomograms: this.tomograms,
      kinds,
      views: Object.fromEntries(this.tomograms.map(({ id }) => [id, { kinds: ofKinds }])),
      job: null,
      can_undo: this.past.length > 0,
      can_redo: false,
    });
  }

  private change(thing: string | null, expected: number | null, work: (content: Content) => void): object {
    const last = Math.max((thing && this.touched.get(thing)) || 0, this.allTouched);
    if (expected !== null && last > expected) throw new Refused(409, CONFLICT);
    const before = JSON.stringify(this.content);
    work(this.content);
    this.past.push(before);
    this.publish(thing);
    return { revision: this.revision };
  }

  private publish(thing: string | null): void {
    this.revision++;
    if (thing === null) this.allTouched = this.revision;
    else this.touched.set(thing, this.revision);
  }

  private undo(): object {
    const before = this.past.pop();
    if (before === undefined) throw new Refused(409, "There is nothing to undo.");
    this.content = JSON.parse(before) as Content;
    this.publish(null);
    return { revision: this.revision };
  }

  private addKind({ name, colour }: Kind): object {
    const id = this.nextId++;
    if (this.content.kinds.some((k) => k.name === name)) throw new Refused(422, "Two kinds would have the same name.");
    return {
      ...this.change(`kind ${id}`, null, ({ kinds }) => kinds.push({ id, name, colour, structure: "particle" })),
      kind: id,
    };
  }

  private addClick({ kind, point, positive }: { kind: number; point: Click["point"]; positive: boolean }): object {
    const id = this.nextId++;
    find(this.content.kinds, kind);
    const outside = point.some((c, axis) => c < 0 || c > this.tomograms[0]!.shape[axis as 0 | 1 | 2] - 1);
    if (outside) throw new Refused(422, `Point ${point} lies outside.`);
    const made = this.change(`click ${id}`, null, (content) => {
      content.clicks[kind] = [...(content.clicks[kind] ?? []), { ...click(id, point), positive }];
    });
    return { ...made, click: id };
  }
}

function click(id: number, point: Click["point"]): Click {
  return { id, point, positive: true, has_mask: true, message: null, guess: null };
}

export function candidate(id: number, score: number | null, change: Partial<Candidate> = {}): Candidate {
  return { id, point: [id % 7, 2, 3], score, verdict: null, is_oriented: false, n_voxels: 40, box: null, ...change };
}

function find<T extends { id: number }>(all: T[], id: number): T {
  const found = all.find((each) => each.id === id);
  if (!found) throw new Refused(404, `There is no ${id} any more.`);
  return found;
}

function remove<T extends { id: number }>(all: T[], id: number): void {
  all.splice(all.indexOf(find(all, id)), 1);
}

function named({ expected_revision: _, ...change }: Record<string, unknown>): Record<string, unknown> {
  return change;
}
