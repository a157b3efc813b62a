import * as actions from "../actions";
import type { Click } from "../api";
import { Icon } from "../icons";
import { goTo, kind, kindView, pendingClicks } from "../state";

export function Clicks() {
  const clicks = kindView.value?.clicks ?? [];
  const pending = pendingClicks.value.filter((p) => p.kind === kind.value?.id);
  const isEmpty = !clicks.length && !pending.length;
  return (
    <section class="clicks" aria-labelledby="clicks-title">
      <h2 id="clicks-title">Clicks</h2>
      {isEmpty ? (
        <p class="hint">
          Click the middle of a <strong>{kind.value?.name}</strong> in any slice.
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
        .filter((c) => c.message)
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
  const what = click.positive ? "Particle" : "Not a particle";
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
        {click.message && <span class="visually-hidden"> {click.message}</span>}
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
