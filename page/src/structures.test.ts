import { describe, expect, it } from "vitest";
import type { Click } from "./api";
import { guessOf, renamed, sayMeasures } from "./structures";

function click(structure: "particle" | "membrane" | "filament" | "unclear" | null, confidence = 0.8, positive = true) {
  return { positive, guess: structure && { structure, confidence } } as Click;
}

describe("the guess at the clicks of a kind", () => {
  it("is none without a guess, or with an unclear one", () => {
    expect(guessOf([])).toBeNull();
    expect(guessOf([click(null)])).toBeNull();
    expect(guessOf([click("unclear", 0)])).toBeNull();
  });

  it("is what the clicks look like most", () => {
    expect(guessOf([click("membrane")])).toBe("membrane");
    expect(guessOf([click("membrane", 0.9), click("filament", 0.6), click("membrane", 0.9)])).toBe("membrane");
  });

  it("is none if no structure is clear in the mean of the clicks", () => {
    expect(guessOf([click("membrane", 0.45)])).toBeNull();
    expect(guessOf([click("membrane", 0.8), click("unclear", 0)])).toBeNull();
  });

  it("does not count negative clicks", () => {
    expect(guessOf([click("filament", 0.6), click("membrane", 0.9, false)])).toBe("filament");
  });
});

describe("the name of a kind that becomes another structure", () => {
  it("follows the structure if the user gave none", () => {
    expect(renamed("particle", "membrane", [])).toBe("membrane");
    expect(renamed("particle 2", "filament", ["filament", "filament 2"])).toBe("filament 3");
  });

  it("stays if the user gave one, or it fits already", () => {
    expect(renamed("ribosome", "membrane", [])).toBeNull();
    expect(renamed("membrane 2", "membrane", [])).toBeNull();
  });
});

describe("measures", () => {
  it("are in nanometres", () => {
    const membrane = {
      structure: "membrane",
      area: 1.2345e6,
      thickness: 52.3,
      volume: null,
      is_closed: false,
    } as const;
    expect(sayMeasures(membrane)).toEqual(["12,300 nm²", "open", "5.23 nm thick"]);
    expect(sayMeasures({ structure: "filament", length: 3210, diameter: 250 })).toEqual(["321 nm long", "25 nm wide"]);
    expect(sayMeasures({ structure: "compartment", volume: 4e6, is_cut: true })).toEqual([
      "4,000 nm³",
      "cut by the border",
    ]);
  });

  it("say nothing of what could not be measured", () => {
    const closed = { structure: "membrane", area: 1e4, thickness: null, volume: 1e6, is_closed: true } as const;
    expect(sayMeasures(closed)).toEqual(["100 nm²", "closed", "encloses 1,000 nm³"]);
  });
});
