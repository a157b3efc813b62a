import * as actions from "../actions";
import type { Kind } from "../api";
import { Icon } from "../icons";
import { candidates, countOf, hiddenKinds, kind, kindViews, look, selected, session } from "../state";

export function Kinds() {
  const kinds = session.value?.kinds ?? [];
  return (
    <section class="kinds" aria-labelledby="kinds-title">
      <div class="section-head">
        <h2 id="kinds-title">Kinds</h2>
        <button
          type="button"
          class="chip"
          onClick={() => void actions.addKind()}
          title="Search for another kind of particle"
        >
          <Icon name="plus" /> Add kind
        </button>
      </div>
      {kinds.length > 0 && (
        <ul class="plain">
          {kinds.map((k) => (
            <KindRow key={k.id} kind={k} />
          ))}
        </ul>
      )}
    </section>
  );
}

function KindRow({ kind: k }: { kind: Kind }) {
  const isActive = kind.value?.id === k.id;
  const isHidden = hiddenKinds.value.has(k.id);
  const nClicks = kindViews.value[String(k.id)]?.clicks.length ?? 0;
  const isSearched = (candidates.value[String(k.id)]?.length ?? 0) > 0;
  const activate = () => {
    if (isActive) return;
    selected.value = null;
    look({ kind: k.id });
  };
  function toggle() {
    const next = new Set(hiddenKinds.value);
    if (!next.delete(k.id)) next.add(k.id);
    hiddenKinds.value = next;
  }
  return (
    <li class={isActive ? "kind active" : "kind"} onPointerDown={activate}>
      <input
        type="radio"
        name="kind"
        class="visually-hidden"
        checked={isActive}
        onChange={activate}
        aria-label={`Work on ${k.name}`}
      />
      <input
        type="color"
        class="swatch"
        value={k.colour}
        aria-label={`Colour of ${k.name}`}
        title="Colour"
        onChange={(event) => void actions.recolourKind(k.id, event.currentTarget.value)}
      />
      <input
        class="kind-name"
        value={k.name}
        aria-label="Name of the kind"
        spellcheck={false}
        onKeyDown={(event) => {
          if (event.key === "Escape") event.currentTarget.value = k.name;
          if (event.key === "Enter" || event.key === "Escape") event.currentTarget.blur();
        }}
        onBlur={(event) => {
          const name = event.currentTarget.value.trim();
          if (name && name !== k.name) void actions.renameKind(k.id, name);
          else event.currentTarget.value = k.name;
        }}
      />
      <span class="kind-count muted">
        {isSearched
          ? `${countOf(k.id).shown} found`
          : nClicks
            ? `${nClicks} ${nClicks === 1 ? "click" : "clicks"}`
            : "no clicks"}
      </span>
      <button
        type="button"
        class="icon-button"
        aria-pressed={isHidden}
        aria-label={`Hide ${k.name}`}
        title={isHidden ? "Show" : "Hide"}
        onClick={toggle}
      >
        <Icon name={isHidden ? "eyeOff" : "eye"} />
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={`Remove ${k.name}`}
        title="Remove the kind (undo restores it)"
        onClick={() => void actions.removeKind(k.id)}
      >
        <Icon name="bin" />
      </button>
    </li>
  );
}
