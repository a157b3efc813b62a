import * as actions from "../actions";
import type { Click } from "../api";
import { Icon } from "../icons";
import { activeStructure, goTo, kind, kindView, pendingClicks } from "../state";
import { STRUCTURES } from "../structures";

export function Clicks() {
  const clicks = kindView.value?.clicks ?? [];
  const pending = pendingClicks.value.filter((p) => p.kind === kind.value?.id);
  const structure = activeStructure.value;
  const where = STRUCTURES.find(({ value }) => value === structure)!.where;
  const isEmpty = !clicks.length && !pending.length;
  return (
    <section class="clicks" aria-labelledby="clicks-title">
      <h2 id="clicks-title">Clicks</h2>
      {isEmpty ? (
        <p class="hint">
          Click {where} <strong>{kind.value?.name}</strong> in any slice.
        </p>
      ) : (
        <ul class="plain chips">
          {clicks.map((click) => (
            <ClickChip key={click.id} click={click} />
          ))}
          {pending.map((click) => (
            <li key={click.point.join()} class="click pending" role="status">
              <span class="spinner" aria-hidden="true" /> segmenting
            </li>
          ))}
        </ul>
      )}
      {clicks
        .filter((c) => c.message && structure === "particle")
        .map((c) => (
          <p key={c.id} class="warning">
            <Icon name="warn" /> {c.message}
          </p>
        ))}
    </section>
  );
}

function ClickChip({ click }: { click: Click }) {
  const where = click.point.map((c) => Math.round(c)).join(", ");
  const structure = activeStructure.value;
  const what = click.positive ? STRUCTURES.find(({ value }) => value === structure)!.name : `Not a ${structure}`;
  return (
    <li class={click.positive ? "click" : "click negative"} data-testid="click">
      <button
        type="button"
        class="click-go"
        onClick={() => goTo(click.point)}
        title={`${what} at z, y, x = ${where}. Go there.`}
      >
        <Icon name={click.positive ? "plus" : "minus"} />
        <span class="visually-hidden">{what} at</span> {where}
        {click.message && structure === "particle" && <span class="visually-hidden"> {click.message}</span>}
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={`Remove the click at ${where}`}
        title="Remove this click"
        onClick={() => void actions.removeClick(click.id)}
      >
        <Icon name="cross" />
      </button>
    </li>
  );
}
