/** The average of the particles of a kind, and how far the averages of two halves of them agree. */

import type { Average } from "../api";
import { averageAddress } from "../api";
import { contentVersion, kind, kindView, tomogram } from "../state";

const OPEN_FROM = 900; // pixels of window height: on a lower one, the list needs the room

export function AveragePart() {
  const [t, k, average] = [tomogram.value, kind.value, kindView.value?.average];
  if (!t || !k || !average) return null;
  const resolution = average.resolution_voxels && sayLength(average.resolution_voxels, t.voxel_size_angstrom);
  return (
    <details class="average" open={innerHeight >= OPEN_FROM}>
      <summary>
        <h2>Average</h2>
        {resolution && (
          <span
            class="muted"
            title="Finest detail down to which the Fourier shell correlation of two halves is at least 0.5"
          >
            halves agree up to {resolution}
          </span>
        )}
      </summary>
      <img
        src={averageAddress(t.id, k.id, contentVersion.value)}
        alt={`Average of ${k.name}: slices z, y and x through its middle, protein bright`}
      />
      {average.fsc && <Correlation average={average} fsc={average.fsc} voxelSize={t.voxel_size_angstrom} />}
    </details>
  );
}

function Correlation({
  average,
  fsc,
  voxelSize,
}: {
  average: Average;
  fsc: readonly number[];
  voxelSize: number | null;
}) {
  const points = fsc.map((c, s) => `${(100 * s) / (fsc.length - 1)},${100 - 96 * Math.max(c, 0)}`).join(" ");
  const finest = sayLength(average.box_voxels / (fsc.length - 1), voxelSize);
  return (
    <figure>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Fourier shell correlation">
        <path class="half" d="M0 52H100" />
        <path class="axes" d="M0 4V100H100" />
        <polyline points={points} />
      </svg>
      <figcaption class="muted">
        Correlation of two halves, to 1/{finest}; dashed: 0.5. They were aligned together, so it is a little optimistic.
      </figcaption>
    </figure>
  );
}

function sayLength(voxels: number, voxelSize: number | null): string {
  return voxelSize ? `${Number((voxels * voxelSize).toPrecision(3))} Å` : `${Number(voxels.toPrecision(3))} voxels`;
}
