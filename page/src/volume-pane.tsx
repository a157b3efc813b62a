/** The pane of the 3D view: loads the view and updates its content. */

import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import * as actions from "./actions";
import type { Candidate, Slice } from "./api";
import { getMeshes } from "./api";
import { EnlargeButton } from "./enlarge";
import { Icon } from "./icons";
import { paintSlice } from "./lut";
import { table } from "./scene";
import { sliceNear, slices } from "./slices";
import * as state from "./state";
import type { Body, Dot, VolumeView } from "./volume-view";

const REST = 120; // ms

const trouble = signal<string | null>(null);

export function VolumePane() {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<VolumeView | null>(null);
  const pressed = useRef<[number, number]>([0, 0]);

  useEffect(() => {
    let stop = () => {};
    let isGone = false;
    void import("./volume-view").then(({ VolumeView }) => {
      if (isGone) return;
      try {
        view.current = new VolumeView(host.current!);
      } catch {
        trouble.value = "This browser has no WebGL, which the 3D view needs. The slices work without it.";
        return;
      }
      trouble.value = null;
      stop = follow(view.current);
    });
    return () => {
      isGone = true;
      stop();
      view.current?.dispose();
    };
  }, []);

  function select(event: PointerEvent): void {
    const [x, y] = pressed.current;
    if (event.button !== 0 || Math.hypot(event.clientX - x, event.clientY - y) > 4) return;
    const corner = host.current!.getBoundingClientRect();
    const key = view.current?.keyAt(event.clientX - corner.left, event.clientY - corner.top);
    const [kind, candidate] = (key ?? "").split("/").map(Number);
    const found = state.candidates.value[String(kind)]?.find((c) => c.id === candidate);
    if (found) actions.select(kind!, found);
  }

  function key(event: KeyboardEvent): void {
    const turns: Record<string, [number, number]> = {
      ArrowLeft: [-0.05, 0],
      ArrowRight: [0.05, 0],
      ArrowUp: [0, -0.05],
      ArrowDown: [0, 0.05],
    };
    const turn = turns[event.key];
    if (turn) view.current?.turn(...turn);
    else if (event.key === "+" || event.key === "=") view.current?.zoom(1.2);
    else if (event.key === "-") view.current?.zoom(1 / 1.2);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return (
    <section class="view view-volume" aria-label="3D view">
      <div
        ref={host}
        class="volume"
        role="application"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: an application handles keys, and must be focusable
        tabIndex={0}
        aria-label="Particles in 3D. Arrow keys turn, plus and minus zoom."
        onPointerMove={() => state.attend("volume")}
        onFocus={() => state.attend("volume")}
        onPointerDown={(event) => (pressed.current = [event.clientX, event.clientY])}
        onPointerUp={select}
        onKeyDown={key}
      />
      {trouble.value && <p class="view-note">{trouble.value}</p>}
      <header class="view-head">
        <span class="axis axis-volume">3D</span>
        <span class="grow" />
        <button
          type="button"
          class="icon-button"
          aria-label="Reset the 3D view"
          title="Reset the 3D view"
          onClick={() => view.current?.home()}
        >
          <Icon name="reset" />
        </button>
        <EnlargeButton pane="volume" name="the 3D view" />
      </header>
    </section>
  );
}

/** Keeps the 3D view up to date with the state. */
function follow(view: VolumeView): () => void {
  const loaded = signal(0);
  const picture = document.createElement("canvas");
  let painted: { slice: Slice; table: Uint32Array } | null = null;
  let wait = 0;
  let rest = 0;
  const stops = [
    effect(() => {
      const t = state.tomogram.value;
      if (t) view.setShape(t.shape);
    }),
    effect(() => {
      void slices.arrivals.value;
      const near = sliceNear("z", state.looks.value.cursor[0]);
      const colours = table.value;
      if (!near || (painted?.slice === near.slice && painted.table === colours)) return;
      // After scrolling has stopped, because a new texture for every slice would slow down all views.
      clearTimeout(rest);
      rest = window.setTimeout(() => {
        painted = { slice: near.slice, table: colours };
        paintSlice(picture, near.slice, colours, false);
        view.setSlice(picture, near.index);
      }, REST);
    }),
    effect(() => {
      void loaded.value;
      view.show(...readBodies(view));
    }),
    // Meshes are fetched with one request per kind, after the slider has stopped.
    effect(() => {
      void state.contentVersion.value;
      const wanted = (state.session.value?.kinds ?? []).map((k) => [k.id, state.thresholdOf(k.id)] as const);
      clearTimeout(wait);
      wait = window.setTimeout(() => void loadMeshes(view, wanted).then(() => loaded.value++), 250);
    }),
  ];
  return () => {
    clearTimeout(wait);
    clearTimeout(rest);
    for (const stop of stops) stop();
  };
}

/** A moved particle has a new mask, and therefore a new key. */
const meshKey = (kind: number, candidate: { id: number; point: readonly number[] }) =>
  `${kind}/${candidate.id}/${candidate.point.join(",")}`;

async function loadMeshes(
  view: VolumeView,
  wanted: readonly (readonly [kind: number, threshold: number])[],
): Promise<void> {
  const t = state.tomogram.value;
  if (!t) return;
  for (const [kind, threshold] of wanted) {
    const found = state.candidates.value[String(kind)] ?? [];
    const missing = found.filter((c) => c.n_voxels > 0 && state.isShown(c, threshold) && !view.has(meshKey(kind, c)));
    if (!missing.length) continue;
    try {
      for (const mesh of await getMeshes(t.id, kind, threshold)) {
        const candidate = found.find((c) => c.id === mesh.candidate);
        if (candidate && t === state.tomogram.value) view.addMesh(meshKey(kind, candidate), mesh);
      }
    } catch {
      // The 3D view is drawn without meshes; errors of the server are reported by refresh.
    }
  }
}

function opacityOf({ measures }: Candidate): number {
  return measures?.structure === "compartment" ? 0.45 : measures?.structure === "membrane" ? 0.7 : 1;
}

function readBodies(view: VolumeView): [Body[], Dot[]] {
  const bodies: Body[] = [];
  const dots: Dot[] = [];
  const choice = state.selected.value;
  for (const { id, colour } of state.session.value?.kinds ?? []) {
    if (state.hiddenKinds.value.has(id)) continue;
    const kindView = state.kindViews.value[String(id)];
    const threshold = state.thresholdOf(id);
    const radius = Math.max((kindView?.diameter_voxels ?? 12) / 6, 1.5);
    for (const candidate of state.candidates.value[String(id)] ?? []) {
      if (!state.isShown(candidate, threshold)) continue;
      const key = meshKey(id, candidate);
      if (view.has(key))
        bodies.push({
          key,
          colour,
          isSelected: choice?.kind === id && choice.candidate === candidate.id,
          opacity: opacityOf(candidate),
        });
      else dots.push({ point: candidate.point, colour, radius: 2 * radius });
    }
    if (state.job.value?.tomogram === state.tomogram.value?.id)
      for (const point of state.soFar.value[id] ?? []) dots.push({ point, colour, radius: 2 * radius });
    for (const click of kindView?.clicks ?? [])
      dots.push({ point: click.point, colour: click.positive ? colour : "#e0566f", radius });
  }
  return [bodies, dots];
}
