/** The actions of the user. Each sends a request to the server and then reads the session again. */

import type { Candidate, Changed, Structure, Verdict } from "./api";
import * as api from "./api";
import { ApiError } from "./api";
import type { Point } from "./geometry";
import { clampPoint, isInside, roundPoint } from "./geometry";
import type { Thing } from "./revisions";
import * as revisions from "./revisions";
import * as state from "./state";
import { candidateOf, candidates, goTo, kind, look, notify, selected, session, tomogram } from "./state";
import { renamed } from "./structures";
import { doubtCandidates, refresh } from "./sync";

export const PALETTE = ["#4cc9f0", "#ffb454", "#b794f6", "#7bd88f", "#ff7b9c", "#f6e05e", "#5eead4", "#f0a6ca"];

/** Runs a change, and shows an error message if it fails. */
async function change<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    doubtCandidates();
    if (error instanceof ApiError && error.status === 401) state.connection.value = "denied";
    else notify(error instanceof Error ? error.message : String(error), true);
    return null;
  } finally {
    await refresh();
  }
}

let lastChange: Promise<unknown> = Promise.resolve();

/**
 * Runs fast changes one after the other. If two were sent at once, a busy server could process the second one first, and
 * an undo would undo the wrong one. Slow changes, such as a new mask, are sent without waiting and delay nothing.
 */
function changeInOrder<T>(work: () => Promise<T>): Promise<T | null> {
  const done = lastChange.then(() => change(work));
  lastChange = done.catch(() => undefined);
  return done;
}

/**
 * Changes an item as it was `seen`, in order. The server refuses the change if the item was changed elsewhere since. For
 * the server, an undo and masks computed in the background change all items. If the item still has the content that was
 * seen, the change is therefore sent again.
 */
function changeThing<T extends Changed>(
  thing: Thing,
  send: (based: number) => Promise<T>,
  seen = thing.shown(),
): Promise<T | null> {
  return changeInOrder(async () => {
    let answer: T;
    try {
      answer = await send(revisions.basisOf(thing, seen));
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 409)) throw error;
      doubtCandidates();
      await refresh();
      const now = thing.shown();
      if (now.content !== seen.content) throw error;
      answer = await send(now.revision);
    }
    revisions.remember(thing, answer.revision);
    return answer;
  });
}

/** Changes that affect all items, such as an undo, in order. */
function changeAll(work: () => Promise<Changed | null>): Promise<Changed | null> {
  return changeInOrder(async () => {
    const answer = await work();
    if (answer) revisions.remember(null, answer.revision);
    return answer;
  });
}

// ---------------------------------------------------------------------------------------------------------------- kinds

export async function addKind(name?: string): Promise<number | null> {
  const kinds = session.value?.kinds ?? [];
  const colour =
    PALETTE.find((c) => kinds.every((k) => k.colour.toLowerCase() !== c)) ?? PALETTE[kinds.length % PALETTE.length]!;
  const taken = new Set(kinds.map((k) => k.name));
  let free = name ?? "particle";
  for (let n = 2; taken.has(free); n++) free = `${name ?? "particle"} ${n}`;
  const added = await change(() => api.addKind(free, colour));
  if (!added) return null;
  look({ kind: added.kind });
  return added.kind;
}

let firstKind: Promise<number | null> | null = null;

/** The active kind. If there is none, one kind is added, even if several clicks arrive before it exists. */
async function kindOrFirst(): Promise<number | null> {
  if (kind.value) return kind.value.id;
  firstKind ??= addKind().finally(() => {
    firstKind = null;
  });
  return firstKind;
}

export const renameKind = (id: number, name: string) =>
  changeThing(revisions.kindAlone(id), (based) => api.changeKind(id, { name }, based));
export const recolourKind = (id: number, colour: string) =>
  changeThing(revisions.kindAlone(id), (based) => api.changeKind(id, { colour }, based));

/** Says what a kind is; if its name is still the one it was added with, it is renamed accordingly. */
export async function setStructure(id: number, structure: Structure): Promise<void> {
  const kinds = session.value?.kinds ?? [];
  const old = kinds.find((k) => k.id === id);
  if (!old || old.structure === structure) return;
  state.placing.value = null;
  const taken = kinds.filter((k) => k.id !== id).map((k) => k.name);
  const name = renamed(old.name, structure, taken);
  const what = name === null ? { structure } : { structure, name };
  await changeThing(revisions.kindAlone(id), (based) => api.changeKind(id, what, based));
}

export async function removeKind(id: number): Promise<void> {
  const name = session.value?.kinds.find((k) => k.id === id)?.name;
  if (await changeThing(revisions.kindWithAll(id), (based) => api.removeKind(id, based)))
    notify(`Removed ${name ?? "the kind"} with its clicks and candidates. Undo restores it.`);
}

// --------------------------------------------------------------------------------------------------------------- clicks

export async function addClick(at: Point, positive: boolean): Promise<void> {
  const t = tomogram.value;
  if (!t || !isInside(at, t.shape)) return;
  const point = clampPoint(roundPoint(at), t.shape);
  look({ cursor: point });
  const kindId = await kindOrFirst();
  if (kindId === null) return;
  const pending = { kind: kindId, point, positive };
  state.pendingClicks.value = [...state.pendingClicks.value, pending];
  const added = await change(() => api.addClick(t.id, kindId, point, positive));
  state.pendingClicks.value = state.pendingClicks.value.filter((p) => p !== pending);
  const clicks = session.value?.views[String(t.id)]?.kinds[String(kindId)]?.clicks;
  const click = clicks?.find((c) => c.id === added?.click);
  if (click?.message) notify(click.message, true);
}

export async function removeClick(id: number): Promise<void> {
  const t = tomogram.value;
  if (t) await changeThing(revisions.click(t.id, id), (based) => api.removeClick(t.id, id, based));
}

// ------------------------------------------------------------------------------------------------------------- find all

export async function findAll(kinds: readonly number[] | null, diameterAngstrom: number | null): Promise<void> {
  const t = tomogram.value;
  if (!t || state.job.value) return;
  state.filter.value = "shown";
  await change(() => api.findAll(t.id, kinds, diameterAngstrom));
}

/** Computes masks of the shown candidates of a kind that have none. */
export async function segmentCandidates(kindId: number): Promise<void> {
  const t = tomogram.value;
  if (t && !state.job.value) await change(() => api.segmentCandidates(t.id, kindId));
}

export async function cancel(): Promise<void> {
  const running = state.job.value;
  if (!running) return;
  state.job.value = null;
  await change(() => api.cancelJob(running.id));
}

export async function setThreshold(kindId: number, threshold: number): Promise<void> {
  const t = tomogram.value;
  if (!t) return;
  const thing = revisions.threshold(t.id, kindId);
  await changeThing(thing, (based) => api.setThreshold(t.id, kindId, threshold, based));
  const { [kindId]: sent, ...others } = state.slidingThreshold.value;
  // Meanwhile the slider may have moved to another value, which is kept.
  if (sent === threshold) state.slidingThreshold.value = others;
}

// ----------------------------------------------------------------------------------------------------------- candidates

export function select(kindId: number, candidate: Candidate | null, move = true): void {
  state.placing.value = null;
  selected.value = candidate ? { kind: kindId, candidate: candidate.id } : null;
  if (!candidate) return;
  look({ kind: kindId });
  if (move) goTo(candidate.point);
  state.filter.value = state.sortedOut(candidate, state.thresholdOf(kindId));
}

/** Selects the candidate that is `step` rows further down the list. */
export function selectNext(step: number): void {
  const list = state.listed.value;
  const id = kind.value?.id;
  if (id === undefined || !list.length) return;
  const at = list.findIndex((c) => c.id === selected.value?.candidate);
  const next = list[at < 0 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + step, 0), list.length - 1)];
  if (next) select(id, next);
}

/** Judges a candidate; if it is selected, the next one in the list is selected instead. */
export async function judge(kindId: number, candidate: Candidate, verdict: Verdict): Promise<void> {
  const t = tomogram.value;
  if (!t) return;
  const thing = revisions.candidate(t.id, kindId, candidate.id);
  const seen = thing.shown();
  if (selected.value?.candidate === candidate.id && verdict !== null) {
    const list = state.listed.value;
    const at = list.findIndex((c) => c.id === candidate.id);
    const next = list[at + 1] ?? list[at - 1];
    if (at >= 0 && next) select(kindId, next);
  }
  replaceCandidate(kindId, { ...candidate, verdict });
  await changeThing(thing, (based) => api.changeCandidate(t.id, kindId, candidate.id, { verdict }, based), seen);
}

export async function moveCandidate(kindId: number, candidate: Candidate, at: Point): Promise<void> {
  const t = tomogram.value;
  if (!t || !isInside(at, t.shape)) return;
  const to = clampPoint(at, t.shape);
  state.placing.value = null;
  const thing = revisions.candidate(t.id, kindId, candidate.id);
  const seen = thing.shown();
  replaceCandidate(kindId, { ...candidate, point: to, moved: true });
  const send = (based: number) => api.changeCandidate(t.id, kindId, candidate.id, { point: to }, based);
  if (await changeThing(thing, send, seen)) goTo(to);
}

export async function addCandidate(at: Point): Promise<void> {
  const t = tomogram.value;
  if (!t || !isInside(at, t.shape)) return;
  state.placing.value = null;
  const kindId = await kindOrFirst();
  if (kindId === null) return;
  const added = await change(() => api.addCandidate(t.id, kindId, clampPoint(roundPoint(at), t.shape)));
  const candidate = candidateOf(added && { kind: kindId, candidate: added.candidate });
  if (candidate) select(kindId, candidate);
}

/** Shows a change before the server has answered; reading the session afterwards replaces it. */
function replaceCandidate(kindId: number, changed: Candidate): void {
  const all = candidates.value[String(kindId)] ?? [];
  candidates.value = { ...candidates.value, [kindId]: all.map((c) => (c.id === changed.id ? changed : c)) };
}

// -------------------------------------------------------------------------------------------------------------- history

/** Whether there is anything to undo or redo is known only after earlier changes have finished. */
export async function undo(): Promise<void> {
  await changeAll(async () => (session.value?.can_undo ? api.undo() : null));
}

export async function redo(): Promise<void> {
  await changeAll(async () => (session.value?.can_redo ? api.redo() : null));
}

// ---------------------------------------------------------------------------------------------------------------- files

export async function importPoints(file: File, role: "candidates" | "clicks", segments: boolean): Promise<boolean> {
  const t = tomogram.value;
  const kindId = await kindOrFirst();
  if (!t || kindId === null) return false;
  const answer = await change(() => api.importPoints(t.id, kindId, role, file));
  if (!answer) return false;
  revisions.remember(null, answer.revision);
  notify(`Imported ${answer.n_points} ${answer.n_points === 1 ? "point" : "points"} from ${file.name}.`);
  if (segments && role === "candidates") await segmentCandidates(kindId);
  return true;
}
