import { describe, expect, it } from "vitest";
import { Loader } from "./loader";

/** A loader whose requests are answered by hand. */
function make(atOnce: number, capacity: number) {
  const sent: string[] = [];
  const open = new Map<string, { resolve: (value: string) => void; reject: (error: Error) => void }>();
  const loader = new Loader<string>(
    (key) => {
      sent.push(key);
      return new Promise((resolve, reject) => open.set(key, { resolve, reject }));
    },
    atOnce,
    capacity,
  );
  const settle = () => new Promise<void>((resolve) => setTimeout(resolve));
  const answer = async (key: string, value: string | Error) => {
    const request = open.get(key)!;
    if (value instanceof Error) request.reject(value);
    else request.resolve(value);
    await settle();
  };
  return { loader, sent, answer };
}

describe("Loader", () => {
  it("asks for the most urgent first, and for few at once", async () => {
    const { loader, sent, answer } = make(2, 9);
    loader.want(["a", "b", "c"]);
    expect(sent).toEqual(["a", "b"]);
    await answer("b", "B");
    expect(sent).toEqual(["a", "b", "c"]);
    expect([loader.get("a"), loader.get("b")]).toEqual([undefined, "B"]);
    expect(loader.arrivals.value).toBe(1);
  });

  it("forgets a wish that was never sent", async () => {
    const { loader, sent, answer } = make(1, 9);
    loader.want(["a", "b"]);
    loader.want(["c"]);
    await answer("a", "A");
    expect(sent).toEqual(["a", "c"]);
    expect(loader.get("a")).toBe("A");
  });

  it("asks no second time for what is here or under way", async () => {
    const { loader, sent, answer } = make(2, 9);
    loader.want(["a"]);
    loader.want(["a"]);
    await answer("a", "A");
    loader.want(["a"]);
    expect(sent).toEqual(["a"]);
  });

  it("gives the outdated answer until the newer one is here", async () => {
    const { loader, sent, answer } = make(2, 9);
    loader.want(["a"]);
    await answer("a", "old");
    loader.invalidate();
    expect(sent).toEqual(["a", "a"]);
    expect(loader.get("a")).toBe("old");
    await answer("a", "new");
    expect(loader.get("a")).toBe("new");
    expect(sent).toEqual(["a", "a"]);
  });

  it("asks anew for what was outdated on its way", async () => {
    const { loader, sent, answer } = make(2, 9);
    loader.want(["a"]);
    loader.invalidate();
    expect(sent).toEqual(["a"]);
    await answer("a", "old");
    expect(sent).toEqual(["a", "a"]);
  });

  it("lets the one unused for longest go", async () => {
    const { loader, answer } = make(3, 2);
    loader.want(["a", "b", "c"]);
    await answer("a", "A");
    await answer("b", "B");
    loader.get("a");
    await answer("c", "C");
    expect(["a", "b", "c"].map((key) => loader.get(key))).toEqual(["A", undefined, "C"]);
  });

  it("says what failed, and does not ask for it without end", async () => {
    const { loader, sent, answer } = make(1, 9);
    loader.want(["a", "b"]);
    await answer("a", new Error("no slice 7"));
    expect(loader.error.value).toBe("no slice 7");
    expect(sent).toEqual(["a", "b"]);
    await answer("b", "B");
    expect(loader.error.value).toBeNull();
    expect(sent).toEqual(["a", "b"]);
    loader.want(["a"]);
    expect(sent).toEqual(["a", "b", "a"]);
  });
});
