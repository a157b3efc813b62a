/** The four views in a grid with movable dividers. */

import { useRef } from "preact/hooks";
import { clamp, PLANES } from "./geometry";
import { SliceView } from "./slice-view";
import { arrange, layout, tomogram } from "./state";
import { VolumePane } from "./volume-pane";

const [LEAST, MOST] = [0.25, 0.8];

/** Fraction of the size for plane z along an axis, from the shape of the tomogram, so that all planes have one scale. */
function natural(axis: 1 | 2): number {
  const shape = tomogram.value?.shape;
  return shape ? clamp(shape[axis] / (shape[axis] + shape[0]), 0.5, 0.64) : 0.6;
}

export function Workspace() {
  const host = useRef<HTMLDivElement>(null);
  const across = layout.value.across ?? natural(2);
  const down = layout.value.down ?? natural(1);
  const { enlarged } = layout.value;
  const style = { "--across": `${100 * across}%`, "--down": `${100 * down}%` };
  return (
    <div ref={host} class={enlarged ? "workspace enlarged" : "workspace"} style={style}>
      {PLANES.map((plane) => (enlarged === null || enlarged === plane) && <SliceView key={plane} plane={plane} />)}
      {(enlarged === null || enlarged === "volume") && <VolumePane key="volume" />}
      {enlarged === null && (
        <>
          <Divider host={host} along="across" share={across} />
          <Divider host={host} along="down" share={down} />
        </>
      )}
    </div>
  );
}

function Divider({
  host,
  along,
  share,
}: {
  host: { current: HTMLDivElement | null };
  along: "across" | "down";
  share: number;
}) {
  const isAcross = along === "across";
  const set = (value: number | null) => arrange({ [along]: value === null ? null : clamp(value, LEAST, MOST) });
  function drag(event: PointerEvent) {
    if (!(event.buttons & 1)) return;
    const box = host.current!.getBoundingClientRect();
    set(isAcross ? (event.clientX - box.left) / box.width : (event.clientY - box.top) / box.height);
  }
  function key(event: KeyboardEvent) {
    const by = { ArrowLeft: -0.02, ArrowUp: -0.02, ArrowRight: 0.02, ArrowDown: 0.02 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(share + by);
  }
  return (
    // biome-ignore lint/a11y/useSemanticElements: this separator can be dragged and takes keys, unlike an hr
    <div
      class={`divider divider-${along}`}
      role="separator"
      tabIndex={0}
      aria-orientation={isAcross ? "vertical" : "horizontal"}
      aria-label={isAcross ? "Width of plane z" : "Height of plane z"}
      aria-valuenow={Math.round(100 * share)}
      aria-valuemin={100 * LEAST}
      aria-valuemax={100 * MOST}
      title="Drag to resize, double-click to reset"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag}
      onDblClick={() => set(null)}
      onKeyDown={key}
    />
  );
}
