/** One of the three linked slices: drawing, and handling of pointer, wheel and keys. */

import { effect, useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import * as actions from "./actions";
import type { Candidate } from "./api";
import { EnlargeButton } from "./enlarge";
import type { Frame, Plane, Point } from "./geometry";
import { AXIS_NAMES, clamp, SHOWN, toScreen, toVoxels, withAxis } from "./geometry";
import { holds } from "./overlay";
import { pointer } from "./pointer";
import type { Scene } from "./scene";
import { frameOf, Painter, readScene } from "./scene";
import { slices } from "./slices";
import * as state from "./state";
import { look, looks, tomogram } from "./state";

const SLACK = 4; // points; a press that moves less is a click
const GRIP = 9; // points; radius in which the handle of the selected particle is grabbed

type Press = { x: number; y: number; what: "pan" | "move" | "click"; centre: Point; canClick: boolean };

export function SliceView({ plane }: { plane: Plane }) {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const moved = useSignal<Point | null>(null);
  const scene = useRef<Scene | null>(null);
  const press = useRef<Press | null>(null);
  const wheel = useRef(0);
  const { normal } = SHOWN[plane];

  // Measured before any click, because the position of a click is unknown until the view has a size.
  useLayoutEffect(() => {
    const painter = new Painter(canvas.current!);
    let asked = 0;
    const stop = effect(() => {
      scene.current = readScene(plane, moved.value);
      asked ||= requestAnimationFrame(() => {
        asked = 0;
        if (scene.current) painter.paint(scene.current, unit());
      });
    });
    const measure = () => {
      const { clientWidth, clientHeight } = host.current!;
      const size = [Math.round(clientWidth * devicePixelRatio), Math.round(clientHeight * devicePixelRatio)] as const;
      state.viewSizes.value = { ...state.viewSizes.value, [plane]: size };
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(host.current!);
    // Not passive: the browser must not zoom the page or go back in history.
    const onWheel = (event: WheelEvent) => scroll(event);
    host.current!.addEventListener("wheel", onWheel, { passive: false });
    const element = host.current!;
    return () => {
      stop();
      observer.disconnect();
      element.removeEventListener("wheel", onWheel);
      cancelAnimationFrame(asked);
      const { [plane]: _, ...others } = state.viewSizes.value;
      state.viewSizes.value = others;
    };
  }, [plane]);

  /** Screen pixels from the corner of the view. */
  function at(event: MouseEvent): [number, number] {
    const corner = host.current!.getBoundingClientRect();
    return [(event.clientX - corner.left) * devicePixelRatio, (event.clientY - corner.top) * devicePixelRatio];
  }

  function pointAt(event: MouseEvent): Point {
    return toVoxels(frameOf(plane), ...at(event), looks.value.cursor[normal]);
  }

  function scroll(event: WheelEvent): void {
    event.preventDefault();
    const line = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 40 : 1;
    const delta = (event.deltaY || event.deltaX) * line;
    if (event.ctrlKey || event.metaKey) {
      zoomAt(plane, at(event), Math.exp(-clamp(delta, -60, 60) / 150));
      return;
    }
    // One notch of a mouse wheel is one slice, whatever its scroll distance; a touchpad sends many small steps.
    if (Math.abs(delta) >= 50) wheel.current = Math.sign(delta) * 25;
    else wheel.current += delta;
    const steps = Math.trunc(wheel.current / 25);
    wheel.current -= 25 * steps;
    if (steps) step(plane, steps * (event.shiftKey ? 10 : 1));
  }

  function down(event: PointerEvent): void {
    if (event.button === 2) return;
    const [x, y] = at(event);
    const isGrip = event.button === 0 && !event.shiftKey && !isNegative(event) && onGrip(frameOf(plane), x, y);
    press.current = { x, y, what: isGrip ? "move" : "click", centre: looks.value.centre, canClick: event.button === 0 };
    host.current!.setPointerCapture(event.pointerId);
  }

  function move(event: PointerEvent): void {
    const [x, y] = at(event);
    state.attend(plane);
    pointer.value = { plane, x, y };
    const pressed = press.current;
    if (!pressed) return;
    if (pressed.what === "move") {
      moved.value = keepDepth(pointAt(event));
      return;
    }
    if (pressed.what === "click" && Math.hypot(x - pressed.x, y - pressed.y) > SLACK * devicePixelRatio)
      pressed.what = "pan";
    if (pressed.what !== "pan") return;
    const { across, down: downAxis } = SHOWN[plane];
    const zoom = state.zoomOf(plane);
    const centre = withAxis(pressed.centre, across, pressed.centre[across] - (x - pressed.x) / zoom);
    look({ centre: withAxis(centre, downAxis, pressed.centre[downAxis] - (y - pressed.y) / zoom) });
  }

  /** Moves the handle in the shown plane, and keeps its position along the normal. */
  function keepDepth(point: Point): Point {
    const candidate = state.candidateOf(state.selected.value);
    return candidate ? withAxis(point, normal, candidate.point[normal]) : point;
  }

  function up(event: PointerEvent): void {
    const pressed = press.current;
    press.current = null;
    const target = moved.value;
    moved.value = null;
    if (!pressed) return;
    if (pressed.what === "move") {
      const candidate = state.candidateOf(state.selected.value);
      if (target && candidate) void actions.moveCandidate(state.selected.value!.kind, candidate, target);
    } else if (pressed.what === "click" && pressed.canClick) {
      click(pointAt(event), event);
    }
  }

  function click(point: Point, keys: Keys): void {
    const candidate = state.candidateOf(state.selected.value);
    if (state.placing.value === "add") return void actions.addCandidate(point);
    if (state.placing.value === "move" && candidate)
      return void actions.moveCandidate(state.selected.value!.kind, candidate, point);
    if (isNegative(keys)) return void actions.addClick(point, false);
    if (keys.shiftKey) return void actions.addClick(point, true);
    const hit = candidateUnder(plane, point, scene.current, canvas.current!.getContext("2d")!);
    if (hit) {
      actions.select(hit.kind, hit.candidate, false);
      look({ cursor: rounded(point) });
      return;
    }
    const { tool } = state.layout.value;
    if (tool === "browse") look({ cursor: rounded(point) });
    else void actions.addClick(point, tool === "positive");
  }

  function keyDown(event: KeyboardEvent): void {
    const { across, down: downAxis } = SHOWN[plane];
    const arrows: Record<string, [axis: 0 | 1 | 2, way: number]> = {
      ArrowLeft: [across, -1],
      ArrowRight: [across, 1],
      ArrowUp: [downAxis, -1],
      ArrowDown: [downAxis, 1],
    };
    const arrow = arrows[event.key];
    const { cursor } = looks.value;
    if (arrow && !event.ctrlKey && !event.metaKey) {
      look({ cursor: withAxis(cursor, arrow[0], cursor[arrow[0]] + arrow[1] * (event.shiftKey ? 10 : 1)) });
    } else if (event.key === "Enter") {
      click(cursor, event);
    } else {
      return;
    }
    event.preventDefault();
  }

  const t = tomogram.value;
  const index = looks.value.cursor[normal];
  const count = t?.shape[normal] ?? 0;
  const axes = `${AXIS_NAMES[SHOWN[plane].across]} to the right, ${AXIS_NAMES[SHOWN[plane].down]} down`;
  const isMissing = !scene.current?.slice && slices.error.value;
  return (
    <section class={`view view-${plane}`} aria-label={`Plane ${plane}`}>
      <div
        ref={host}
        class={`slice tool-${state.placing.value ? "place" : state.layout.value.tool}`}
        role="application"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: an application handles keys, and must be focusable
        tabIndex={0}
        aria-label={`Plane ${plane}, ${axes}. Arrow keys move the crosshair, comma and full stop change the slice, Enter clicks.`}
        data-plane={plane}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={() => {
          press.current = null;
          moved.value = null;
        }}
        onPointerLeave={() => (pointer.value = null)}
        onContextMenu={(event) => {
          event.preventDefault();
          press.current = null; // on a Mac, Ctrl and click is the right button
          look({ cursor: rounded(pointAt(event)) });
        }}
        onFocus={() => state.attend(plane)}
        onKeyDown={keyDown}
      >
        <canvas ref={canvas} />
        {isMissing && (
          <p class="view-note" role="alert">
            {slices.error.value}
          </p>
        )}
      </div>
      <header class="view-head">
        <span class={`axis axis-${plane}`}>{plane}</span>
        <input
          type="range"
          min={0}
          max={Math.max(count - 1, 0)}
          value={index}
          aria-label={`Slice of plane ${plane}`}
          onInput={(event) => look({ cursor: withAxis(looks.value.cursor, normal, event.currentTarget.valueAsNumber) })}
        />
        <output class="slice-number" data-testid={`slice-${plane}`}>
          {index}
          <span class="of"> / {count - 1}</span>
        </output>
        <EnlargeButton pane={plane} name={`plane ${plane}`} />
      </header>
    </section>
  );
}

type Keys = Pick<MouseEvent, "shiftKey" | "altKey" | "ctrlKey" | "metaKey">;

/** Whether a click is on something that is not of the kind. Many Linux desktops keep Alt and click for themselves. */
function isNegative({ altKey, ctrlKey, metaKey }: Keys): boolean {
  return altKey || ctrlKey || metaKey;
}

/** Screen pixels per point of text, at the base text size of 16 points. */
function unit(): number {
  return (parseFloat(getComputedStyle(document.documentElement).fontSize) / 16) * devicePixelRatio;
}

function rounded(point: Point): Point {
  return [Math.round(point[0]), Math.round(point[1]), Math.round(point[2])];
}

/** Steps through the slices of a plane. */
export function step(plane: Plane, by: number): void {
  const { normal } = SHOWN[plane];
  const { cursor } = looks.value;
  look({ cursor: withAxis(cursor, normal, cursor[normal] + by) });
}

/** Zooms all views by a factor, and keeps the voxel under one pixel of a view in place. */
export function zoomAt(plane: Plane, [x, y]: readonly [number, number], factor: number): void {
  const frame = frameOf(plane);
  const next = clamp(frame.zoom * factor, 0.05, 64);
  const { across, down } = SHOWN[plane];
  const fixed = toVoxels(frame, x, y, 0);
  const centre = withAxis(frame.centre, across, fixed[across] - (x - frame.width / 2) / next);
  look({ zoom: next, centre: withAxis(centre, down, fixed[down] - (y - frame.height / 2) / next) });
}

export function zoomBy(factor: number): void {
  const plane = state.activePlane.value;
  const frame = frameOf(plane);
  zoomAt(plane, [frame.width / 2, frame.height / 2], factor);
}

function onGrip(frame: Frame, x: number, y: number): boolean {
  const candidate = state.candidateOf(state.selected.value);
  if (!candidate || candidate.measures || !state.layout.value.outlines || state.placing.value) return false;
  const { normal } = SHOWN[frame.plane];
  const reach = (state.kindView.value?.diameter_voxels ?? 12) / 2;
  if (Math.abs(candidate.point[normal] - looks.value.cursor[normal]) > reach) return false;
  const [gx, gy] = toScreen(frame, candidate.point);
  return Math.hypot(x - gx, y - gy) <= GRIP * unit();
}

/** The particle whose drawn outline contains a point; the smallest one, as an outline may be inside another. */
function candidateUnder(
  plane: Plane,
  point: Point,
  scene: Scene | null,
  context: CanvasRenderingContext2D,
): { kind: number; candidate: Candidate } | null {
  const { down, across, turned } = SHOWN[plane];
  const [row, col] = [point[turned ? across : down], point[turned ? down : across]];
  let best: { kind: number; candidate: Candidate } | null = null;
  for (const { outline } of scene?.outlines ?? []) {
    if (outline.candidate === null || !holds(outline, turned, row, col, context)) continue;
    const candidate = state.candidates.value[String(outline.kind)]?.find((c) => c.id === outline.candidate);
    // What is inside a compartment can be clicked, unless compartments are what the user works on.
    if (candidate?.measures?.structure === "compartment" && outline.kind !== state.kind.value?.id) continue;
    if (candidate && (!best || candidate.n_voxels < best.candidate.n_voxels)) best = { kind: outline.kind, candidate };
  }
  return best;
}
