import { useSignal } from "@preact/signals";
import * as actions from "../actions";
import { Icon } from "../icons";
import { activeStructure, job, kind, kindView, kindViews, notify, session, soFar, tomogram } from "../state";

/** Kinds with at least one positive click in the shown tomogram. */
function clickedKinds(): number[] {
  const views = kindViews.value;
  return (session.value?.kinds ?? [])
    .map((k) => k.id)
    .filter((id) => views[String(id)]?.clicks.some((c) => c.positive));
}

/** Searches for the active kind, or for all clicked kinds at once if there are several, because they compete. */
export function startFind(diameterAngstrom: number | null = null): void {
  const kinds = clickedKinds();
  const id = kind.value?.id;
  if (job.value) notify("A search is running: wait until it ends, or cancel it.", true);
  else if (id === undefined || !kinds.includes(id))
    notify(`Click a ${activeStructure.value} first: a search needs an example.`, true);
  else void actions.findAll(kinds.length > 1 ? null : [id], diameterAngstrom);
}

export function Find() {
  const diameter = useSignal("");
  const kinds = clickedKinds();
  const id = kind.value?.id;
  const view = kindView.value;
  const canFind = id !== undefined && kinds.includes(id);
  const isRepeated = !!view?.is_searched;
  const structure = activeStructure.value;
  const isParticle = structure === "particle";
  const isDoubtful = isParticle && canFind && !!view?.clicks.filter((c) => c.positive).every((c) => c.message);
  if (job.value) return <Progress />;
  const value = parseFloat(diameter.value);
  return (
    <section class="find" aria-label="Search">
      <div class="find-row">
        <button
          type="button"
          class={(isRepeated && !view?.stale) || isDoubtful ? "button" : "button primary"}
          disabled={!canFind}
          onClick={() => startFind(value > 0 ? value : null)}
          title={canFind ? "Search the whole tomogram (F)" : `Click a ${structure} first`}
        >
          <Icon name="search" />
          {isRepeated ? "Find all again" : kinds.length > 1 ? `Find all of ${kinds.length} kinds` : "Find all"}
        </button>
        {isParticle && (
          <label
            class="diameter"
            title={
              tomogram.value?.voxel_size_angstrom
                ? "Diameter of the particle, if you know it; otherwise it is measured on the clicked mask"
                : "The voxel size is unknown; start the server with --voxel-size to give a diameter"
            }
          >
            <span>Diameter</span>
            <input
              type="number"
              min={1}
              step="any"
              inputMode="decimal"
              placeholder="auto"
              value={diameter.value}
              disabled={!tomogram.value?.voxel_size_angstrom}
              onInput={(event) => (diameter.value = event.currentTarget.value)}
            />
            <span aria-hidden="true">Å</span>
            <span class="visually-hidden">in angstrom</span>
          </label>
        )}
      </div>
      {!canFind && !!view?.clicks.length && (
        <p class="hint">Click a {structure} too: so far there are only negative clicks.</p>
      )}
      {view?.stale && (
        <p class="hint">
          The clicks {isParticle ? "" : "or the structure "}changed since the last search. Press Find all again to use
          them.
        </p>
      )}
      {view?.warnings.map((text) => (
        <p key={text} class="warning">
          <Icon name="warn" /> {text}
        </p>
      ))}
    </section>
  );
}

function Progress() {
  const { step, number, n_steps, share, seconds_left, tomogram: where } = job.value!;
  const n = Object.values(soFar.value).reduce((sum, points) => sum + points.length, 0);
  const name = session.value?.tomograms.find((t) => t.id === where)?.name;
  const facts = [
    where !== tomogram.value?.id ? `in ${name}` : n_steps > 1 ? `step ${number} of ${n_steps}` : "",
    seconds_left === null ? "" : `about ${sayTime(seconds_left)} left`,
  ];
  return (
    <section class="find" aria-label="Progress">
      <div class="find-row">
        <div class="progress-text">
          <strong role="status">{step.charAt(0).toUpperCase() + step.slice(1)}</strong>
          <span class="muted">
            {facts.filter(Boolean).join(", ")}
            {n > 0 && <span data-testid="so-far">{`, ${n} so far`}</span>}
          </span>
        </div>
        <button type="button" class="button" onClick={() => void actions.cancel()}>
          Cancel
        </button>
      </div>
      {share > 0 ? (
        <progress aria-label="Progress" value={share} max={1} />
      ) : (
        <progress class="unknown" aria-label="Progress" />
      )}
    </section>
  );
}

function sayTime(seconds: number): string {
  return seconds < 100 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}
