/** The bar below the views: display settings, and position and value of the voxel under the pointer. */

import { useSignal } from "@preact/signals";
import { Contrast } from "./contrast";
import type { Point } from "./geometry";
import { isInside } from "./geometry";
import { Icon } from "./icons";
import { hover } from "./pointer";
import { arrange, goTo, grey, layout, look, looks, notify, setContrast, tomogram } from "./state";

export function DisplayBar() {
  const { inverted, slab, smooth } = looks.value;
  const nm = (tomogram.value?.voxel_size_angstrom ?? 0) / 10;
  return (
    <fieldset class="display-bar" aria-label="Display">
      <div class="field">
        <span class="field-name">Contrast</span>
        <Contrast />
      </div>
      <div class="buttons">
        <button
          type="button"
          class="chip"
          disabled={!grey.value}
          onClick={() => setContrast(...spread())}
          title="Set black and white from the histogram (C)"
        >
          Auto
        </button>
        <button
          type="button"
          class="chip"
          aria-pressed={inverted}
          onClick={() => look({ inverted: !inverted })}
          title="Swap black and white (I)"
        >
          <Icon name="invert" /> Invert
        </button>
      </div>
      <label class="field" title="Average several slices: less noise, but less detail along the normal">
        <span class="field-name">
          Slab <output>{slab === 1 ? "off" : `${slab} slices${nm ? `, ${round(slab * nm)} nm` : ""}`}</output>
        </span>
        <input
          type="range"
          min={0}
          max={10}
          value={(slab - 1) / 2}
          aria-label="Slab, slices averaged"
          aria-valuetext={slab === 1 ? "off" : `${slab} slices`}
          onInput={(event) => look({ slab: 2 * event.currentTarget.valueAsNumber + 1 })}
        />
      </label>
      <label class="field" title="Gaussian blur of the picture; it does not affect the search">
        <span class="field-name">
          Denoise <output>{smooth ? `${smooth} voxels` : "off"}</output>
        </span>
        <input
          type="range"
          min={0}
          max={4}
          step={0.5}
          value={smooth}
          aria-label="Denoise, sigma in voxels"
          onInput={(event) => look({ smooth: event.currentTarget.valueAsNumber })}
        />
      </label>
      <div class="buttons">
        <button
          type="button"
          class="chip"
          aria-pressed={layout.value.outlines}
          onClick={() => arrange({ outlines: !layout.value.outlines })}
          title="Show outlines (O)"
        >
          <Icon name="outline" /> Outlines
        </button>
        <button
          type="button"
          class="chip"
          aria-pressed={layout.value.crosshair}
          onClick={() => arrange({ crosshair: !layout.value.crosshair })}
          title="Show the crosshair (X)"
        >
          <Icon name="target" /> Crosshair
        </button>
      </div>
      <Readout />
    </fieldset>
  );
}

/** Position and value at the pointer, or else at the crosshair; a typed position moves the crosshair. */
function Readout() {
  const typed = useSignal<string | null>(null);
  const point = hover.value?.point ?? looks.value.cursor;
  const shown = hover.value?.grey;
  const range = grey.value;
  const value = range && typeof shown === "number" ? range.low + ((range.high - range.low) * shown) / 255 : null;
  function go(field: HTMLInputElement): void {
    const numbers = (typed.value ?? "")
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    const shape = tomogram.value?.shape;
    if (numbers.length !== 3 || !numbers.every(Number.isFinite))
      notify("Type three numbers z, y, x, such as 43, 127, 127.", true);
    else if (shape && !isInside(numbers as unknown as Point, shape))
      notify(`This position is outside: the tomogram has ${shape.join(" × ")} voxels, counted from 0.`, true);
    else {
      goTo(numbers as unknown as Point);
      field.blur();
    }
  }
  return (
    <div class="readout">
      <label title="z, y, x in voxels, counted from 0; an integer is the centre of a voxel. Type three numbers and press Enter to go there.">
        <b>z, y, x</b>
        <input
          aria-label="Position z, y, x; Enter goes there"
          data-testid="position"
          value={typed.value ?? point.join(", ")}
          spellcheck={false}
          onFocus={(event) => {
            typed.value = looks.value.cursor.join(", ");
            const field = event.currentTarget;
            requestAnimationFrame(() => field.select());
          }}
          onInput={(event) => (typed.value = event.currentTarget.value)}
          onBlur={() => (typed.value = null)}
          onKeyDown={(event) => {
            if (event.key === "Enter") go(event.currentTarget);
            else if (event.key === "Escape") event.currentTarget.blur();
          }}
        />
      </label>
      <span class="muted">{value === null ? "crosshair" : `grey ${value.toPrecision(3)}`}</span>
    </div>
  );
}

/** Grey values that exclude a few percent of the voxels at each end; the full range until the histogram is loaded. */
export function spread(): [black: number, white: number] {
  const counts = grey.value?.histogram ?? [];
  const total = counts.reduce((sum, n) => sum + n, 0);
  let [black, white] = [0, 255];
  for (let sum = counts[0] ?? 0; black < 120 && sum < 0.02 * total; ) sum += counts[++black] ?? 0;
  for (let sum = counts[255] ?? 0; white > 135 && sum < 0.02 * total; ) sum += counts[--white] ?? 0;
  return [black, white];
}

function round(nm: number): string {
  return nm >= 10 ? nm.toFixed(0) : nm.toFixed(1);
}
