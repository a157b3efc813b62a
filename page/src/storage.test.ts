import { beforeEach, describe, expect, it, vi } from "vitest";
import { recall, remember } from "./storage";

const kept = new Map<string, string>();

beforeEach(() => {
  kept.clear();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  });
});

describe("storage", () => {
  it("gives back what it was given, under a name of its own", () => {
    remember("layout", { across: 0.4 });
    expect(kept.get("cryosam:layout")).toBe('{"across":0.4}');
    expect(recall("layout", { across: 0, down: 1 })).toEqual({ across: 0.4, down: 1 });
  });

  it("gives the other value where nothing is kept", () => {
    expect(recall("layout", { across: 0.5 })).toEqual({ across: 0.5 });
  });

  it("takes what cannot be read for nothing", () => {
    kept.set("cryosam:layout", "{");
    expect(recall("layout", { across: 0.5 })).toEqual({ across: 0.5 });
  });

  it("does without a storage that refuses", () => {
    const refuse = () => {
      throw new DOMException("no", "SecurityError");
    };
    vi.stubGlobal("localStorage", { getItem: refuse, setItem: refuse });
    expect(() => remember("layout", { across: 0.4 })).not.toThrow();
    expect(recall("layout", { across: 0.5 })).toEqual({ across: 0.5 });
  });
});
