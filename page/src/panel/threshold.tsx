/** The threshold slider, with the number of shown candidates and how many of them are expected to be false. */

import { useEffect, useRef } from "preact/hooks";
import * as actions from "../actions";
import type { Candidate } from "../api";
import { candidates, countOf, kind, kindView, slidingThreshold, thresholdOf } from "../state";

const BINS = 50;

export function Threshold() {
  const k = kind.value;
  const view = kindView.value;
  const all = candidates.value[String(k?.id)] ?? [];
  if (!k || !view || !all.length) return null;
  const threshold = thresholdOf(k.id);
  const { shown, expectedFalse } = countOf(k.id);
  const name = view.is_probability ? "Probability" : "Score";
  const slide = (value: number) => (slidingThreshold.value = { ...slidingThreshold.value, [k.id]: value });
  return (
    <section class="threshold" aria-labelledby="threshold-title">
      <div class="section-head">
        <h2 id="threshold-title">{name}</h2>
        <p class="counts" aria-live="polite">
          <strong data-testid="shown-count">{shown}</strong> shown
          {expectedFalse !== null && (
            <span class="muted" data-testid="expected-false">
              , about {expectedFalse < 9.95 ? expectedFalse.toFixed(1) : Math.round(expectedFalse)} false
            </span>
          )}
        </p>
      </div>
      <Scores all={all} threshold={threshold} colour={k.colour} />
      <div class="threshold-row">
        <input
          type="range"
          min={0}
          max={1}
          step={0.01}
          value={threshold}
          aria-label={`Lowest ${name.toLowerCase()} shown`}
          data-testid="threshold"
          onInput={(event) => slide(event.currentTarget.valueAsNumber)}
          onChange={(event) => void actions.setThreshold(k.id, event.currentTarget.valueAsNumber)}
        />
        <output>{threshold.toFixed(2)}</output>
        <button
          type="button"
          class="chip"
          disabled={Math.abs(threshold - view.default_threshold) < 1e-6}
          title={`The search chose ${view.default_threshold.toFixed(2)}`}
          onClick={() => {
            slide(view.default_threshold);
            void actions.setThreshold(k.id, view.default_threshold);
          }}
        >
          Reset
        </button>
      </div>
    </section>
  );
}

/** Histogram of the scores, above the threshold in the colour of the kind. */
function Scores({ all, threshold, colour }: { all: readonly Candidate[]; threshold: number; colour: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current!; // the observer may call once more after an undo removed it from the page
    const draw = () => drawScores(element, all, threshold, colour);
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    draw();
    return () => observer.disconnect();
  }, [all, threshold, colour]);
  // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a canvas without a tabIndex cannot be focused
  return <canvas ref={canvas} class="scores" aria-hidden="true" />;
}

function drawScores(canvas: HTMLCanvasElement, all: readonly Candidate[], threshold: number, colour: string): void {
  const width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = Math.round(canvas.clientHeight * devicePixelRatio);
  canvas.width = width;
  canvas.height = height;
  const counts = new Array<number>(BINS).fill(0);
  for (const { score } of all) if (score !== null) counts[Math.min(Math.floor(score * BINS), BINS - 1)]!++;
  const top = Math.sqrt(Math.max(...counts, 1));
  const context = canvas.getContext("2d")!;
  const bar = width / BINS;
  counts.forEach((count, i) => {
    if (!count) return;
    const tall = Math.max((Math.sqrt(count) / top) * height, 2 * devicePixelRatio);
    context.fillStyle = (i + 0.5) / BINS >= threshold ? colour : "#465060";
    context.fillRect(i * bar, height - tall, bar - devicePixelRatio, tall);
  });
}
