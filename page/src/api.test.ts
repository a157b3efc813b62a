import { beforeEach, describe, expect, it, vi } from "vitest";
import * as api from "./api";

const fetch = vi.fn<(path: string, init?: RequestInit) => Promise<Response>>();

beforeEach(() => {
  fetch.mockReset();
  vi.stubGlobal("fetch", fetch);
});

const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });
const refused = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => error as api.ApiError,
  );
/** Method, path and body of the one request that was sent. */
function sent() {
  expect(fetch).toHaveBeenCalledOnce();
  const [path, init] = fetch.mock.calls[0]!;
  return [init?.method ?? "GET", path, init?.body === undefined ? undefined : JSON.parse(init.body as string)];
}

describe("errors", () => {
  it("are the server's own sentence", async () => {
    fetch.mockResolvedValue(json({ detail: "There is no kind 7 any more." }, 404));
    const error = await refused(api.addClick(0, 7, [1, 2, 3], true));
    expect(error).toBeInstanceOf(api.ApiError);
    expect([error?.status, error?.message]).toEqual([404, "There is no kind 7 any more."]);
  });

  it("name the status and the path without its query where no sentence came", async () => {
    fetch.mockResolvedValue(new Response("<h1>Bad gateway</h1>", { status: 502 }));
    const error = await refused(api.getMeshes(0, 3, 0.25));
    expect([error?.status, error?.message]).toEqual([502, "The server answered 502 to /api/tomograms/0/meshes/3."]);
  });

  it("pass over a detail that is no sentence", async () => {
    fetch.mockResolvedValue(json({ detail: [{ loc: "body" }] }, 422));
    expect((await refused(api.undo()))?.message).toBe("The server answered 422 to /api/undo.");
  });

  it("have status 0 where there was no answer", async () => {
    fetch.mockRejectedValue(new TypeError("Failed to fetch"));
    const error = await refused(api.getSession());
    expect(error?.status).toBe(0);
    expect(error?.message).toContain("does not answer");
  });

  it("leave a request that was given up alone", async () => {
    fetch.mockRejectedValue(new DOMException("given up", "AbortError"));
    const error = await refused(api.getSession());
    expect(error).not.toBeInstanceOf(api.ApiError);
    expect(error?.name).toBe("AbortError");
  });
});

describe("requests", () => {
  beforeEach(() => fetch.mockImplementation(() => Promise.resolve(json({ revision: 5 }))));

  it("carry a click", async () => {
    await api.addClick(2, 7, [11, 23, 37], false);
    expect(sent()).toEqual(["POST", "/api/tomograms/2/clicks", { kind: 7, point: [11, 23, 37], positive: false }]);
  });

  it("say that what they carry is JSON", async () => {
    await api.addKind("ring", "#4cc9f0");
    expect(fetch.mock.calls[0]?.[1]?.headers).toEqual({ "Content-Type": "application/json" });
  });

  it("carry a search", async () => {
    await api.findAll(1, null, 120.5);
    expect(sent()).toEqual(["POST", "/api/tomograms/1/find", { kinds: null, diameter_angstrom: 120.5 }]);
  });

  it("take a verdict back by a null, which is sent", async () => {
    await api.changeCandidate(0, 3, 9, { verdict: null }, 12);
    const body = { verdict: null, expected_revision: 12 };
    expect(sent()).toEqual(["PATCH", "/api/tomograms/0/kinds/3/candidates/9", body]);
  });

  it.each<[string, () => Promise<unknown>, unknown[]]>([
    [
      "a threshold",
      () => api.setThreshold(2, 3, 0.25, 12),
      ["PATCH", "/api/tomograms/2/kinds/3", { threshold: 0.25, expected_revision: 12 }],
    ],
    [
      "a name",
      () => api.changeKind(3, { name: "ring" }, 12),
      ["PATCH", "/api/kinds/3", { name: "ring", expected_revision: 12 }],
    ],
    ["a kind removed", () => api.removeKind(3, 12), ["DELETE", "/api/kinds/3?expected_revision=12", undefined]],
    [
      "a click removed",
      () => api.removeClick(2, 5, 12),
      ["DELETE", "/api/tomograms/2/clicks/5?expected_revision=12", undefined],
    ],
  ])("say on which revision %s is based", async (_, work, request) => {
    await work();
    expect(sent()).toEqual(request);
  });

  it("have no body where there is nothing to say", async () => {
    await api.undo();
    expect(sent()).toEqual(["POST", "/api/undo", undefined]);
    expect(fetch.mock.calls[0]?.[1]?.headers).toBeUndefined();
  });

  it("carry a file as it is, and its name as a query", async () => {
    const file = new File(["z,y,x\n1,2,3\n"], "my picks & more.csv");
    await api.importPoints(1, 4, "clicks", file);
    const [path, init] = fetch.mock.calls[0]!;
    const query = new URL(path, "http://localhost").searchParams;
    expect(Object.fromEntries(query)).toEqual({ filename: "my picks & more.csv", kind: "4", role: "clicks" });
    expect(path.split("?")[0]).toBe("/api/tomograms/1/import");
    expect([init?.method, init?.body]).toEqual(["POST", file]);
  });
});

describe("getSlice", () => {
  const slice = (shape: string, n: number) =>
    new Response(
      Uint8Array.from({ length: n }, (_, i) => i),
      { headers: { "X-Shape": shape } },
    );

  it("knows rows from columns", async () => {
    fetch.mockResolvedValue(slice("3,5", 15));
    const { rows, cols, pixels } = await api.getSlice(0, "x", 7, 3, 0.5);
    expect([rows, cols]).toEqual([3, 5]);
    expect([...pixels]).toEqual([...Array(15).keys()]);
    expect(sent()[1]).toBe("/api/tomograms/0/slice/x/7?slab=3&smooth=0.5");
  });

  it.each([
    ["3,5", 14],
    ["", 15],
  ])("refuses %j with %i pixels", async (shape, n) => {
    fetch.mockResolvedValue(slice(shape, n));
    expect((await refused(api.getSlice(0, "z", 4, 1, 0)))?.message).toBe("Slice z 4 came back incomplete.");
  });
});

describe("getMeshes", () => {
  it("reads one mesh after the other", async () => {
    const vertices = [0.5, 1.5, 2.5, 3, 4, 5, 6, 7, 8];
    const parts = [
      Uint32Array.of(2, 41, 3, 1),
      Float32Array.from(vertices),
      Uint32Array.of(0, 2, 1, 42, 1, 0),
      Float32Array.of(9, 8, 7),
    ];
    fetch.mockResolvedValue(new Response(new Blob(parts)));
    const meshes = await api.getMeshes(0, 3, 0.5);
    expect(meshes.map((m) => [m.candidate, [...m.vertices], [...m.faces]])).toEqual([
      [41, vertices, [0, 2, 1]],
      [42, [9, 8, 7], []],
    ]);
  });

  it("reads that there are none", async () => {
    fetch.mockResolvedValue(new Response(new ArrayBuffer(4)));
    expect(await api.getMeshes(0, 3, 0.5)).toEqual([]);
  });
});
