/** The side panel: kinds, clicks, search, threshold and candidates, in the order in which they are used. */

import { kind } from "../state";
import { AveragePart } from "./average";
import { Candidates } from "./candidates";
import { Clicks } from "./clicks";
import { Find } from "./find";
import { Kinds } from "./kinds";
import { StructureSwitch } from "./structure";
import { Threshold } from "./threshold";

export function Panel() {
  return (
    <aside class="panel" aria-label="Particles">
      <Kinds />
      {kind.value === null ? (
        <Welcome />
      ) : (
        <>
          <StructureSwitch />
          <Clicks />
          <Find />
          <Threshold />
          <AveragePart />
          <Candidates />
        </>
      )}
    </aside>
  );
}

function Welcome() {
  return (
    <div class="empty">
      <ol class="steps">
        <li>
          <strong>Click a particle</strong> in any of the slices. Its mask appears.
        </li>
        <li>
          <strong>Find all</strong> of the same kind.
        </li>
        <li>
          <strong>Export</strong> their coordinates and masks.
        </li>
      </ol>
      <p class="muted">
        Membranes, filaments and compartments are found too: <strong>Add kind</strong>, and say what it is before the
        click.
      </p>
      <p class="muted">
        Scroll to change the slice, drag to pan, Ctrl and scroll to zoom. Press <kbd>?</kbd> for all keys.
      </p>
    </div>
  );
}
