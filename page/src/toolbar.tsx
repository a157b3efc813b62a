/** The toolbar at the top: tomogram, click tools, undo and redo, import and export, help. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import * as actions from "./actions";
import { exportAddress } from "./api";
import type { IconName } from "./icons";
import { Icon } from "./icons";
import type { Tool } from "./state";
import {
  activeStructure,
  arrange,
  candidates,
  countOf,
  dialog,
  isShown,
  job,
  keyOf,
  kindViews,
  layout,
  placing,
  session,
  thresholdOf,
  tomogram,
} from "./state";

export function Toolbar() {
  const s = session.value;
  return (
    <header class="toolbar">
      <h1 class="brand">
        <span class="brand-mark" aria-hidden="true" />
        <span class="word">CryoSAM</span>
      </h1>
      <TomogramChooser />
      <span class="grow" />
      <Tools />
      <span class="grow" />
      <div class="group">
        <button
          type="button"
          class="icon-button"
          disabled={!s?.can_undo}
          onClick={() => void actions.undo()}
          aria-label="Undo"
          title="Undo (Ctrl+Z)"
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="icon-button"
          disabled={!s?.can_redo}
          onClick={() => void actions.redo()}
          aria-label="Redo"
          title="Redo (Ctrl+Shift+Z)"
        >
          <Icon name="redo" />
        </button>
      </div>
      <button
        type="button"
        class="button"
        disabled={!s}
        onClick={() => (dialog.value = "import")}
        title="Read points from a file"
      >
        <Icon name="open" /> <span class="word">Import</span>
      </button>
      <ExportMenu />
      <button
        type="button"
        class="icon-button"
        onClick={() => (dialog.value = "help")}
        aria-label="Help and keyboard shortcuts"
        title="Help and keyboard shortcuts (?)"
      >
        <Icon name="help" />
      </button>
    </header>
  );
}

function TomogramChooser() {
  const all = session.value?.tomograms ?? [];
  const t = tomogram.value;
  if (!t) return null;
  const size = `${t.shape.join(" × ")} voxels`;
  const voxel = t.voxel_size_angstrom ? `${Number(t.voxel_size_angstrom.toFixed(2))} Å` : "voxel size unknown";
  return (
    <div class="tomogram">
      {all.length > 1 ? (
        <select
          aria-label="Tomogram"
          value={keyOf(t)}
          onChange={(event) => arrange({ tomogram: event.currentTarget.value })}
        >
          {all.map((each) => (
            <option key={each.id} value={keyOf(each)}>
              {each.name}
            </option>
          ))}
        </select>
      ) : (
        <strong class="tomogram-name" title={t.name}>
          {t.name}
        </strong>
      )}
      <span class="muted tomogram-size">
        {size}, {voxel}
      </span>
    </div>
  );
}

const TOOLS: readonly { tool: Tool; name: string; icon: IconName; title: string }[] = [
  {
    tool: "positive",
    name: "Particle",
    icon: "plus",
    title: "Click on a particle of the kind (1; or hold Shift with any tool)",
  },
  {
    tool: "negative",
    name: "Not a particle",
    icon: "minus",
    title: "Click on something that is not of the kind (2; or hold Ctrl or Alt with any tool)",
  },
  {
    tool: "browse",
    name: "Browse",
    icon: "target",
    title: "Click to move the crosshair (3; or use the right button with any tool)",
  },
];

/** The name of a tool, in the word for what the active kind is. */
function nameOf(tool: Tool, name: string): string {
  const structure = activeStructure.value;
  if (structure === "particle" || tool === "browse") return name;
  return tool === "negative" ? `Not a ${structure}` : structure.charAt(0).toUpperCase() + structure.slice(1);
}

function Tools() {
  return (
    <div class="segments" role="radiogroup" aria-label="What a click does">
      {TOOLS.map(({ tool, name, icon, title }) => (
        <label key={tool} class="segment" title={title.replace("particle", activeStructure.value)}>
          <input
            type="radio"
            name="tool"
            checked={layout.value.tool === tool}
            onChange={() => {
              placing.value = null;
              arrange({ tool });
            }}
          />
          <Icon name={icon} />
          <span class="word">{nameOf(tool, name)}</span>
        </label>
      ))}
    </div>
  );
}

/** Whether the searches of all kinds are up to date, so that export is the next step. */
function isSettled(): boolean {
  const views = Object.values(kindViews.value).filter((view) => view.clicks.length > 0 || view.n_candidates > 0);
  return !job.value && views.every((view) => view.n_candidates > 0 && !view.stale);
}

/** Number of shown particles of all kinds that have an orientation, which needs an average. */
function countOriented(): number {
  return (session.value?.kinds ?? [])
    .filter((k) => kindViews.value[String(k.id)]?.is_probability)
    .flatMap((k) =>
      (candidates.value[String(k.id)] ?? []).filter((c) => c.is_oriented && isShown(c, thresholdOf(k.id))),
    ).length;
}

const FORMATS = [
  { format: "star", name: "STAR", what: "coordinates for RELION" },
  { format: "csv", name: "CSV", what: "coordinates in voxels" },
  { format: "zip", name: "Everything (ZIP)", what: "masks, coordinates, score map, average, settings" },
] as const;

/** Number of the shown membranes, filaments and compartments of all kinds. */
function countStructures(): number {
  return (session.value?.kinds ?? []).flatMap((k) =>
    (candidates.value[String(k.id)] ?? []).filter((c) => c.measures && isShown(c, thresholdOf(k.id))),
  ).length;
}

function ExportMenu() {
  const isOpen = useSignal(false);
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      if (!host.current?.contains(event.target as Node)) isOpen.value = false;
    };
    addEventListener("pointerdown", close);
    addEventListener("focusin", close);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("focusin", close);
    };
  }, []);
  const t = tomogram.value;
  const nStructures = countStructures();
  const n = (session.value?.kinds ?? []).reduce((sum, k) => sum + countOf(k.id).shown, 0) - nStructures;
  const nOriented = countOriented();
  if (!t) return null;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: handles Escape for its buttons and links
    <div
      ref={host}
      class="menu"
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !isOpen.value) return;
        event.stopPropagation();
        isOpen.value = false;
        host.current?.querySelector("button")?.focus();
      }}
    >
      {n ? (
        <a
          class={isSettled() ? "button primary" : "button"}
          href={exportAddress(t.id, "star")}
          download=""
          title={`Save the ${n} shown particles for RELION`}
        >
          <Icon name="save" /> Export STAR
        </a>
      ) : nStructures ? (
        <a
          class={isSettled() ? "button primary" : "button"}
          href={exportAddress(t.id, "zip")}
          download=""
          title={`Save what is shown: ${nStructures} ${nStructures === 1 ? "structure" : "structures"}`}
        >
          <Icon name="save" /> Export ZIP
        </a>
      ) : (
        <button type="button" class="button" disabled title="Nothing to export yet: click a particle, then find all">
          <Icon name="save" /> Export STAR
        </button>
      )}
      <button
        type="button"
        class="button"
        disabled={n + nStructures === 0}
        aria-label="Export in another format"
        aria-expanded={isOpen.value}
        aria-controls="export-menu"
        onClick={() => (isOpen.value = !isOpen.value)}
      >
        ▾
      </button>
      {isOpen.value && (
        <div id="export-menu" class="menu-list">
          {FORMATS.filter(({ format }) => n > 0 || format === "zip").map(({ format, name, what }) => (
            <a
              key={format}
              class="menu-item"
              href={exportAddress(t.id, format)}
              download=""
              onClick={() => (isOpen.value = false)}
            >
              <strong>{name}</strong>
              <span class="muted">
                {format === "star" && nOriented === n
                  ? "coordinates and orientations for RELION"
                  : format === "zip" && nStructures
                    ? "volumes, meshes, lines, tables, one map of all kinds, settings"
                    : what}
              </span>
            </a>
          ))}
          <p class="menu-note muted">
            {n > 0 && `${n} ${n === 1 ? "particle" : "particles"} `}
            {n > 0 && nStructures > 0 && "and "}
            {nStructures > 0 &&
              `${nStructures} ${n > 0 ? "other " : ""}${nStructures === 1 ? "structure" : "structures"} `}
            of all kinds, as shown.{" "}
            {n === 0
              ? ""
              : nOriented === n
                ? "The STAR file has their orientations."
                : nOriented > 0
                  ? `The STAR file has no orientations, because ${n - nOriented} of the particles ${n - nOriented === 1 ? "has" : "have"} none. A search determines the orientations of the particles that it accepts.`
                  : ""}
          </p>
        </div>
      )}
    </div>
  );
}
