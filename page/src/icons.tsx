/** Line icons on a 16 x 16 grid, in the colour of the text around them. */

const PATHS = {
  undo: "M6 3 2.5 6.5 6 10M3 6.5h6.5a4 4 0 0 1 0 8H7",
  redo: "M10 3l3.5 3.5L10 10M13 6.5H6.5a4 4 0 0 0 0 8H9",
  enlarge: "M9.5 2.5h4v4M6.5 13.5h-4v-4M13 3 9.5 6.5M3 13l3.5-3.5",
  shrink: "M13.5 6.5h-4v-4M2.5 9.5h4v4M9.5 6.5 13.5 2.5M6.5 9.5l-4 4",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  check: "M3 8.5 6.5 12 13 4.5",
  cross: "M4 4l8 8M12 4l-8 8",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  eyeOff:
    "M2 2l12 12M6 4c.6-.3 1.300-.5 2-.5 4 0 6.500 4.500 6.500 4.500s-.7 1.300-2 2.500M10 12c-.6.3-1.300.5-2 .5C4 12.500 1.500 8 1.500 8s.7-1.300 2-2.500",
  bin: "M2.500 4.500h11M6 4.500v-2h4v2M4 4.500l.7 9h6.600l.7-9M6.700 7v4M9.300 7v4",
  save: "M8 2v8M4.500 7 8 10.500 11.500 7M2.500 13.500h11",
  open: "M8 10.500V2.500M4.500 6 8 2.500 11.500 6M2.500 13.500h11",
  help: "M5.500 6a2.500 2.500 0 1 1 3.500 2.300c-.7.3-1 .8-1 1.700M8 12.500v.4",
  move: "M8 1.500v13M1.500 8h13M6 3.500l2-2 2 2M6 12.500l2 2 2-2M3.500 6l-2 2 2 2M12.500 6l2 2-2 2",
  hand: "M8 1.500l0 13M8 1.500 4 12l4 2.500L12 12Z",
  invert: "M8 1.500a6.500 6.500 0 1 0 0 13ZM8 1.500a6.500 6.500 0 0 1 0 13",
  outline: "M8 2.500c3.500 0 5.500 2 5.500 5s-2.500 6-6 6-5-2-5-5.500 2-5.500 5.500-5.500Z",
  target: "M8 1v4M8 11v4M1 8h4M11 8h4",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.700 10.700 14 14",
  reset: "M3 8a5 5 0 1 0 1.500-3.500M3 2v3.500h3.500",
  warn: "M8 2 1.500 13.500h13ZM8 6.500v3.500M8 11.800v.2",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
