/** The switch that says what the clicks of a kind are on, with what they look like. */

import * as actions from "../actions";
import { kind, kindView, tomogram } from "../state";
import { guessOf, STRUCTURES } from "../structures";

export function StructureSwitch() {
  const [k, t] = [kind.value, tomogram.value];
  if (!k || !t) return null;
  const guess = guessOf(kindView.value?.clicks ?? []);
  const isKnown = t.voxel_size_angstrom !== null;
  return (
    <section class="structure" aria-labelledby="structure-title">
      <h2 id="structure-title" class="visually-hidden">
        What it is
      </h2>
      <div class="segments small" role="radiogroup" aria-labelledby="structure-title">
        {STRUCTURES.map(({ value, name }) => (
          <label
            key={value}
            class={guess === value && k.structure !== value ? "segment guessed" : "segment"}
            title={guess === value ? `The clicks look like a ${value}` : `Each ${k.name} is a ${value}`}
          >
            <input
              type="radio"
              name="structure"
              checked={k.structure === value}
              disabled={!isKnown && value !== "particle" && k.structure !== value}
              onChange={() => void actions.setStructure(k.id, value)}
            />
            {name}
          </label>
        ))}
      </div>
      {!isKnown ? (
        <p class="hint">
          Membranes, filaments and compartments are told by their size, but the voxel size is unknown: start the server
          with <code>--voxel-size</code>.
        </p>
      ) : (
        guess !== null &&
        guess !== k.structure && (
          <p class="hint" role="status" data-testid="guess">
            This looks like a <strong>{guess}</strong>.{" "}
            <button type="button" class="chip" onClick={() => void actions.setStructure(k.id, guess)}>
              It is a {guess}
            </button>
          </p>
        )
      )}
    </section>
  );
}
