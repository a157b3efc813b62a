/** The contrast control: a histogram of grey values with handles for black and white. */

import { useEffect, useRef } from "preact/hooks";
import { clamp } from "./geometry";
import { grey, looks, setContrast } from "./state";

const LEAST_SPAN = 4;
const NONE: readonly number[] = []; // one constant object, so that it causes no redraw

export function Contrast() {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { black, white } = looks.value;
  const histogram = grey.value?.histogram ?? NONE;

  useEffect(() => {
    const draw = () => drawHistogram(canvas.current!, histogram, black, white);
    const observer = new ResizeObserver(draw);
    observer.observe(canvas.current!);
    draw();
    return () => observer.disconnect();
  }, [histogram, black, white]);

  const valueAt = (event: PointerEvent) => {
    const box = host.current!.getBoundingClientRect();
    return clamp(Math.round((255 * (event.clientX - box.left)) / box.width), 0, 255);
  };
  /** Pressing takes the nearer handle, or moves both if pressed between them. */
  function press(event: PointerEvent) {
    const start = valueAt(event);
    const [b, w] = [looks.value.black, looks.value.white];
    const third = (w - b) / 3;
    const what = start < b + third ? "black" : start > w - third ? "white" : "both";
    host.current!.setPointerCapture(event.pointerId);
    host.current!.onpointermove = (next) => {
      const value = valueAt(next);
      if (what === "black") setBlack(value);
      else if (what === "white") setWhite(value);
      else {
        const by = clamp(value - start, -b, 255 - w);
        setContrast(b + by, w + by);
      }
    };
    host.current!.onpointerup = host.current!.onpointercancel = () => (host.current!.onpointermove = null);
    if (what === "black") setBlack(start);
    if (what === "white") setWhite(start);
  }
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: only a larger target for the pointer; its handles take keys
    <div
      ref={host}
      class="contrast"
      title="Drag the handles; double-click to reset"
      onPointerDown={press}
      onDblClick={() => setContrast(0, 255)}
    >
      {/* biome-ignore lint/a11y/noAriaHiddenOnFocusable: a canvas without a tabIndex cannot be focused */}
      <canvas ref={canvas} aria-hidden="true" />
      <Handle name="Black" value={black} set={setBlack} />
      <Handle name="White" value={white} set={setWhite} />
    </div>
  );
}

function setBlack(value: number): void {
  setContrast(clamp(value, 0, looks.value.white - LEAST_SPAN), looks.value.white);
}

function setWhite(value: number): void {
  setContrast(looks.value.black, clamp(value, looks.value.black + LEAST_SPAN, 255));
}

function Handle({ name, value, set }: { name: string; value: number; set: (value: number) => void }) {
  function key(event: KeyboardEvent) {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(value + by * (event.shiftKey ? 10 : 2));
  }
  return (
    <div
      class={`handle handle-${name.toLowerCase()}`}
      style={{ left: `${(100 * value) / 255}%` }}
      role="slider"
      tabIndex={0}
      aria-label={`${name} point`}
      aria-valuenow={value}
      aria-valuemin={0}
      aria-valuemax={255}
      onKeyDown={key}
    />
  );
}

function drawHistogram(canvas: HTMLCanvasElement, counts: readonly number[], black: number, white: number): void {
  const width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = Math.round(canvas.clientHeight * devicePixelRatio);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d")!;
  // The end bins count all clipped voxels and would flatten the rest. The square root makes the tails visible.
  const top = Math.sqrt(Math.max(...counts.slice(1, -1), 1));
  const bar = width / Math.max(counts.length, 1);
  counts.forEach((count, value) => {
    const tall = Math.min(Math.sqrt(count) / top, 1) * height;
    context.fillStyle = value >= black && value <= white ? "#8b97a8" : "#3b4452";
    context.fillRect(value * bar, height - tall, Math.ceil(bar), tall);
  });
}
