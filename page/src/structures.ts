/** What a kind is: a particle, a membrane, a filament or a compartment; how the page says it, and what was guessed. */

import type { Click, Measures, Structure } from "./api";

export const STRUCTURES: readonly { readonly value: Structure; readonly name: string; readonly where: string }[] = [
  { value: "particle", name: "Particle", where: "the middle of a" },
  { value: "membrane", name: "Membrane", where: "the middle of a" },
  { value: "filament", name: "Filament", where: "the middle of a" },
  { value: "compartment", name: "Compartment", where: "the inside of a" },
];

/** The confidence from which a guess is taken seriously: below it, a click counts as one on a particle. */
const CONFIDENT = 0.5;

/** What the positive clicks of a kind look like most, if that is clear; null also as long as nothing was guessed. */
export function guessOf(clicks: readonly Click[]): Structure | null {
  const guesses = clicks.filter((c) => c.positive && c.guess).map((c) => c.guess!);
  const total = new Map<string, number>();
  for (const { structure, confidence } of guesses)
    total.set(structure, (total.get(structure) ?? 0) + confidence / guesses.length);
  const [best, confidence] = [...total].sort((a, b) => b[1] - a[1])[0] ?? ["unclear", 0];
  return best === "unclear" || confidence < CONFIDENT ? null : (best as Structure);
}

/** A name for a kind that still has the name of another structure, such as "particle 2"; else null. */
export function renamed(name: string, structure: Structure, taken: readonly string[]): string | null {
  const isDefault = STRUCTURES.some(({ value }) => new RegExp(`^${value}( \\d+)?$`).test(name));
  if (!isDefault || name.startsWith(structure)) return null;
  let free: string = structure;
  for (let n = 2; taken.includes(free); n++) free = `${structure} ${n}`;
  return free;
}

/** Measures of a structure, the most telling first, in nanometres. */
export function sayMeasures(measures: Measures): readonly string[] {
  switch (measures.structure) {
    case "membrane":
      return [
        say(measures.area, 2, "nm²"),
        measures.is_closed ? "closed" : "open",
        ...(measures.volume === null ? [] : [`encloses ${say(measures.volume, 3, "nm³")}`]),
        ...(measures.thickness === null ? [] : [`${say(measures.thickness, 1, "nm")} thick`]),
      ];
    case "filament":
      return [
        `${say(measures.length, 1, "nm")} long`,
        ...(measures.diameter === null ? [] : [`${say(measures.diameter, 1, "nm")} wide`]),
      ];
    case "compartment":
      return [say(measures.volume, 3, "nm³"), ...(measures.is_cut ? ["cut by the border"] : [])];
  }
}

/** A length, area or volume from angstrom to the given power, with three digits. */
function say(value: number | null, power: number, unit: string): string {
  if (value === null) return `? ${unit}`;
  const digits = Number((value / 10 ** power).toPrecision(3));
  return `${digits.toLocaleString("en")} ${unit}`;
}
