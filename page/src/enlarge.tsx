import type { Plane } from "./geometry";
import { Icon } from "./icons";
import { arrange, layout } from "./state";

/** Enlarges one pane to the whole area, or shows all panes again. */
export function EnlargeButton({ pane, name }: { pane: Plane | "volume"; name: string }) {
  const isLarge = layout.value.enlarged === pane;
  const label = isLarge ? "Show all views" : `Enlarge ${name}`;
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={label}
      title={label}
      aria-pressed={isLarge}
      onClick={() => arrange({ enlarged: isLarge ? null : pane })}
    >
      <Icon name={isLarge ? "shrink" : "enlarge"} />
    </button>
  );
}
