/** The list of candidates, best first. Only visible rows are rendered, so that thousands of candidates stay fast. */

import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import * as actions from "../actions";
import type { Candidate } from "../api";
import type { Point } from "../geometry";
import { Icon } from "../icons";
import { thumbnailKey, thumbnails } from "../slices";
import type { Filter } from "../state";
import {
  activeStructure,
  candidateOf,
  candidates,
  countOf,
  filter,
  goTo,
  isShown,
  job,
  kind,
  kindView,
  listed,
  looks,
  placing,
  selected,
  soFar,
  thresholdOf,
  tomogram,
} from "../state";
import { sayMeasures } from "../structures";

const ROW_REM = 3.5;
const MOST_SO_FAR = 60;
const SPARE = 3; // rows rendered above and below the visible part

const FILTERS: readonly { value: Filter; name: string }[] = [
  { value: "shown", name: "Shown" },
  { value: "hidden", name: "Below" },
  { value: "rejected", name: "Rejected" },
];

export function Candidates() {
  const k = kind.value;
  if (!k) return null;
  const all = candidates.value[String(k.id)] ?? [];
  const counts = countOf(k.id);
  const isHere = job.value?.tomogram === tomogram.value?.id;
  const foundSoFar = (isHere && soFar.value[k.id]) || [];
  return (
    <section class="candidates" aria-labelledby="candidates-title">
      <div class="section-head">
        <h2 id="candidates-title">Candidates</h2>
        {k.structure === "particle" && (
          <button
            type="button"
            class="chip"
            aria-pressed={placing.value === "add"}
            title="Add a particle with the next click (N)"
            onClick={() => (placing.value = placing.value === "add" ? null : "add")}
          >
            <Icon name="plus" /> By hand
          </button>
        )}
      </div>
      {all.length > 0 && (
        <div class="segments small" role="radiogroup" aria-label="Which candidates are listed">
          {FILTERS.map(({ value, name }) => (
            <label key={value} class="segment">
              <input
                type="radio"
                name="filter"
                checked={filter.value === value}
                onChange={() => (filter.value = value)}
              />
              {name} <span class="muted">{counts[value]}</span>
            </label>
          ))}
        </div>
      )}
      <WithoutMask kindId={k.id} all={all} />
      {listed.value.length > 0 ? (
        <List kindId={k.id} />
      ) : foundSoFar.length > 0 ? (
        <SoFar kindId={k.id} points={foundSoFar} />
      ) : (
        <Empty isSearched={all.length > 0} />
      )}
      <SelectedBar />
    </section>
  );
}

/** Shows how many of the shown candidates have no mask, as after an import, and offers to segment them. */
function WithoutMask({ kindId, all }: { kindId: number; all: readonly Candidate[] }) {
  const threshold = thresholdOf(kindId);
  const n = all.filter((c) => c.n_voxels === 0 && isShown(c, threshold)).length;
  if (!n || job.value) return null;
  return (
    <p class="without-mask">
      <span class="muted">
        {n} shown {n === 1 ? "has" : "have"} no mask.
      </span>
      <button
        type="button"
        class="chip"
        onClick={() => void actions.segmentCandidates(kindId)}
        title="Compute their masks in the background"
      >
        Segment {n === 1 ? "it" : "them"}
      </button>
    </p>
  );
}

function Empty({ isSearched }: { isSearched: boolean }) {
  const structure = activeStructure.value;
  const isFound = kindView.value?.is_searched && !kindView.value.stale;
  const text = !isSearched
    ? structure !== "particle" && isFound && !job.value
      ? `No ${structure} was found. Click another one.`
      : job.value
        ? "Searching. Candidates appear here."
        : kindView.value?.clicks.length
          ? `Press Find all to list every ${structure} of this kind here, best first.`
          : `${structure.charAt(0).toUpperCase()}${structure.slice(1)}s of this kind are listed here, best first.`
    : filter.value === "shown"
      ? "No candidate is above the threshold. Move the slider to the left, or see Below."
      : filter.value === "hidden"
        ? "No candidate is below the threshold."
        : "No candidate was rejected.";
  return <p class="hint">{text}</p>;
}

/** Points that resemble the kind, listed while the search runs, the most similar first. */
function SoFar({ kindId, points }: { kindId: number; points: readonly Point[] }) {
  const rows = points.slice(0, MOST_SO_FAR);
  useEffect(() => {
    const id = tomogram.peek()?.id;
    if (id !== undefined) thumbnails.want(rows.map((point) => thumbnailKey(id, kindId, point)));
  });
  return (
    <div class="list" tabIndex={-1}>
      <ul class="plain so-far" aria-label="So far">
        {rows.map((point) => {
          const where = point.map((c) => Math.round(c)).join(", ");
          return (
            <li key={point.join()}>
              <button type="button" class="row-go" onClick={() => goTo(point)} title="Go there">
                <Thumbnail kindId={kindId} point={point} />
                <span class="row-text">
                  <span class="muted">similar</span>
                  <span class="muted row-where">{where}</span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {points.length > rows.length && <p class="hint so-far-more">and {points.length - rows.length} more</p>}
    </div>
  );
}

function List({ kindId }: { kindId: number }) {
  const host = useRef<HTMLDivElement>(null);
  const visible = useSignal({ top: 0, height: 400, row: 56 });
  const list = listed.value;

  useEffect(() => {
    const element = host.current!;
    const measure = () => {
      const row = ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
      visible.value = { top: element.scrollTop, height: element.clientHeight, row };
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    measure();
    // Scrolls to the selected row, also if it was selected in a slice.
    const stop = effect(() => {
      const at = listed.value.findIndex((c) => c.id === selected.value?.candidate);
      if (at < 0) return;
      const { row } = visible.peek();
      if (at * row < element.scrollTop) element.scrollTop = at * row;
      else if ((at + 1) * row > element.scrollTop + element.clientHeight)
        element.scrollTop = (at + 1) * row - element.clientHeight;
    });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
      stop();
    };
  }, []);

  const { top, height, row } = visible.value;
  const first = Math.max(Math.floor(top / row) - SPARE, 0);
  const last = Math.min(Math.ceil((top + height) / row) + SPARE, list.length);
  const rows = list.slice(first, last);

  useEffect(() => {
    const id = tomogram.peek()?.id;
    if (id !== undefined) thumbnails.want(rows.map((c) => thumbnailKey(id, kindId, c.point)));
  });

  return (
    <div ref={host} class="list" tabIndex={-1}>
      <ul class="plain" style={{ height: `${list.length * ROW_REM}rem` }} data-testid="candidates">
        {rows.map((candidate, i) => (
          <Row key={candidate.id} kindId={kindId} candidate={candidate} at={first + i} count={list.length} />
        ))}
      </ul>
    </div>
  );
}

function Row({ kindId, candidate, at, count }: { kindId: number; candidate: Candidate; at: number; count: number }) {
  const isSelected = selected.value?.kind === kindId && selected.value.candidate === candidate.id;
  const { score, verdict } = candidate;
  const where = candidate.point.map((c) => Math.round(c)).join(", ");
  const facts = candidate.measures ? sayMeasures(candidate.measures) : [];
  const judge = (to: "accepted" | "rejected") => void actions.judge(kindId, candidate, verdict === to ? null : to);
  return (
    <li
      class={isSelected ? "row selected" : "row"}
      style={{ top: `${at * ROW_REM}rem` }}
      aria-setsize={count}
      aria-posinset={at + 1}
      data-candidate={candidate.id}
    >
      <button
        type="button"
        class="row-go"
        aria-current={isSelected ? "true" : undefined}
        title={facts.length ? `${facts.join(", ")}; at ${where}` : undefined}
        onClick={() => actions.select(kindId, candidate)}
      >
        <Thumbnail kindId={kindId} point={candidate.point} />
        <span class="row-text">
          <span class="visually-hidden">Candidate {at + 1}</span>
          <span class="row-score">
            <strong>{score === null ? "added" : score.toFixed(2)}</strong>
            {score !== null && (
              <span class="bar" aria-hidden="true">
                <span style={{ width: `${100 * score}%`, background: kind.value?.colour ?? "" }} />
              </span>
            )}
          </span>
          <span class="muted row-where">
            {facts.length ? facts.slice(0, 2).join(", ") : where}
            {candidate.moved && " · moved"}
            {verdict && ` · ${verdict}`}
          </span>
        </span>
      </button>
      <button
        type="button"
        class="icon-button accept"
        aria-pressed={verdict === "accepted"}
        aria-label={`Accept candidate ${at + 1}`}
        title="Accept (A)"
        onClick={() => judge("accepted")}
      >
        <Icon name="check" />
      </button>
      <button
        type="button"
        class="icon-button reject"
        aria-pressed={verdict === "rejected"}
        aria-label={`Reject candidate ${at + 1}`}
        title="Reject (R)"
        onClick={() => judge("rejected")}
      >
        <Icon name="cross" />
      </button>
    </li>
  );
}

function Thumbnail({ kindId, point }: { kindId: number; point: Point }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  void thumbnails.arrivals.value;
  const id = tomogram.value?.id;
  const picture = id === undefined ? undefined : thumbnails.get(thumbnailKey(id, kindId, point));
  useEffect(() => {
    const context = canvas.current!.getContext("2d")!;
    if (picture) context.drawImage(picture, 0, 0, 96, 96);
    else context.clearRect(0, 0, 96, 96);
  }, [picture]);
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a canvas without a tabIndex cannot be focused
    <canvas
      ref={canvas}
      class={looks.value.inverted ? "thumbnail inverted" : "thumbnail"}
      width={96}
      height={96}
      aria-hidden="true"
    />
  );
}

/** The actions on the selected candidate. */
function SelectedBar() {
  const choice = selected.value;
  const candidate = candidateOf(choice);
  if (!choice || !candidate || choice.kind !== kind.value?.id) return null;
  const judge = (verdict: "accepted" | "rejected") =>
    void actions.judge(choice.kind, candidate, candidate.verdict === verdict ? null : verdict);
  return (
    <fieldset class="selected-bar" aria-label="Selected candidate">
      <button
        type="button"
        class="button accept"
        aria-pressed={candidate.verdict === "accepted"}
        onClick={() => judge("accepted")}
      >
        <Icon name="check" /> Accept
      </button>
      <button
        type="button"
        class="button reject"
        aria-pressed={candidate.verdict === "rejected"}
        onClick={() => judge("rejected")}
      >
        <Icon name="cross" /> Reject
      </button>
      {!candidate.measures && (
        <button
          type="button"
          class="button"
          aria-pressed={placing.value === "move"}
          title="Move it to the next click (M), or drag its handle"
          onClick={() => (placing.value = placing.value === "move" ? null : "move")}
        >
          <Icon name="move" /> Move
        </button>
      )}
    </fieldset>
  );
}
