/** All keyboard shortcuts in one table, which the help dialog shows too. */

import * as actions from "./actions";
import { spread } from "./display-bar";
import { startFind } from "./panel/find";
import { step, zoomBy } from "./slice-view";
import * as state from "./state";
import { arrange, layout, look, looks, setContrast } from "./state";

export interface Shortcut {
  /** Values of `KeyboardEvent.key` in lower case; all of them run the shortcut. */
  readonly keys: readonly string[];
  readonly shown: string;
  readonly what: string;
  readonly run: (event: KeyboardEvent) => void;
  readonly ctrl?: boolean;
}

const by = (event: KeyboardEvent) => (event.shiftKey ? 10 : 1);

function judge(verdict: "accepted" | "rejected" | null): void {
  const choice = state.selected.value;
  const candidate = state.candidateOf(choice);
  if (choice && candidate) void actions.judge(choice.kind, candidate, verdict);
}

function place(what: "move" | "add"): void {
  const candidate = state.candidateOf(state.selected.value);
  if (what === "move" && (!candidate || candidate.measures)) return;
  if (what === "add" && state.activeStructure.value !== "particle") return;
  state.placing.value = state.placing.value === what ? null : what;
}

export const SHORTCUTS: Readonly<Record<string, readonly Shortcut[]>> = {
  Look: [
    {
      keys: [",", "<", "pageup"],
      shown: ",",
      what: "Previous slice (10 with Shift)",
      run: (e) => step(state.activePlane.value, -by(e)),
    },
    {
      keys: [".", ">", "pagedown"],
      shown: ".",
      what: "Next slice (10 with Shift)",
      run: (e) => step(state.activePlane.value, by(e)),
    },
    { keys: ["+", "="], shown: "+", what: "Zoom in", run: () => zoomBy(1.25) },
    { keys: ["-", "_"], shown: "-", what: "Zoom out", run: () => zoomBy(0.8) },
    { keys: ["0"], shown: "0", what: "Fit the tomogram", run: fit },
    {
      keys: ["g"],
      shown: "G",
      what: "Centre the views on the crosshair",
      run: () => look({ centre: looks.value.cursor }),
    },
    { keys: ["e"], shown: "E", what: "Enlarge the view under the pointer, or show all views", run: enlarge },
    { keys: ["c"], shown: "C", what: "Automatic contrast", run: () => setContrast(...spread()) },
    { keys: ["i"], shown: "I", what: "Invert", run: () => look({ inverted: !looks.value.inverted }) },
    {
      keys: ["o"],
      shown: "O",
      what: "Show or hide outlines",
      run: () => arrange({ outlines: !layout.value.outlines }),
    },
    {
      keys: ["x"],
      shown: "X",
      what: "Show or hide the crosshair",
      run: () => arrange({ crosshair: !layout.value.crosshair }),
    },
  ],
  Pick: [
    { keys: ["1"], shown: "1", what: "Tool: particle of the kind", run: () => arrange({ tool: "positive" }) },
    { keys: ["2"], shown: "2", what: "Tool: not a particle of the kind", run: () => arrange({ tool: "negative" }) },
    {
      keys: ["3"],
      shown: "3",
      what: "Tool: browse, a click moves the crosshair",
      run: () => arrange({ tool: "browse" }),
    },
    { keys: ["f"], shown: "F", what: "Find all", run: () => startFind() },
  ],
  Judge: [
    { keys: ["j"], shown: "J", what: "Next candidate", run: () => actions.selectNext(1) },
    { keys: ["k"], shown: "K", what: "Previous candidate", run: () => actions.selectNext(-1) },
    { keys: ["a"], shown: "A", what: "Accept, and go to the next", run: () => judge("accepted") },
    { keys: ["r", "delete"], shown: "R", what: "Reject, and go to the next", run: () => judge("rejected") },
    { keys: ["u"], shown: "U", what: "Remove the verdict", run: () => judge(null) },
    { keys: ["m"], shown: "M", what: "Move the selected particle to the next click", run: () => place("move") },
    { keys: ["n"], shown: "N", what: "Add a particle with the next click", run: () => place("add") },
    { keys: ["escape"], shown: "Esc", what: "Cancel moving or adding, or clear the selection", run: leave },
  ],
  Session: [
    {
      keys: ["z"],
      ctrl: true,
      shown: "Ctrl Z",
      what: "Undo (redo with Shift)",
      run: (e) => void (e.shiftKey ? actions.redo() : actions.undo()),
    },
    { keys: ["y"], ctrl: true, shown: "Ctrl Y", what: "Redo", run: () => void actions.redo() },
    { keys: ["?"], shown: "?", what: "This help", run: () => (state.dialog.value = "help") },
  ],
};

/** Actions of the pointer, for the help dialog. */
export const POINTER: readonly (readonly [string, string])[] = [
  ["Click", "Use the selected tool; on an outline: select the particle"],
  ["Shift click", "Mark a particle of the kind"],
  ["Ctrl click", "Mark something that is not of the kind (or Cmd, or Alt)"],
  ["Right click", "Move the crosshair"],
  ["Drag", "Pan; on the handle of the selected particle: move it"],
  ["Scroll", "Change the slice (10 with Shift)"],
  ["Ctrl scroll", "Zoom"],
  ["Arrow keys", "In a focused view: move the crosshair; Enter clicks there"],
];

function fit(): void {
  const shape = state.tomogram.value?.shape;
  if (shape) look({ zoom: null, centre: [(shape[0] - 1) / 2, (shape[1] - 1) / 2, (shape[2] - 1) / 2] });
}

function enlarge(): void {
  arrange({ enlarged: layout.value.enlarged ? null : state.activePane.value });
}

function leave(): void {
  if (state.placing.value) state.placing.value = null;
  else state.selected.value = null;
}

export function followKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || state.dialog.value) return;
    const target = event.target as HTMLElement;
    const isTyping = target.matches("input:not([type=range], [type=radio], [type=color]), select, textarea");
    if (isTyping) return;
    const hasCtrl = event.ctrlKey || event.metaKey;
    for (const shortcut of Object.values(SHORTCUTS).flat()) {
      if (!shortcut.keys.includes(event.key.toLowerCase()) || hasCtrl !== !!shortcut.ctrl || event.altKey) continue;
      event.preventDefault();
      shortcut.run(event);
      return;
    }
  });
}
