"""Time and peak memory of several cases, each in a separate process.

::

    python benchmarks/speed.py
    python benchmarks/speed.py --json > speed.json
    python benchmarks/speed.py --only "whole method 100x464x480"

The matching stage is measured on synthetic tokens, 37 x 37 x 1024 per slice, for the slices that stride 4 needs. They
are random, because neither time nor memory depends on their values. At a smaller size it is compared with the
straightforward method, which interpolates the feature of every cell and then computes the cosine.

The whole method is measured with the default preset, from a click in a simulated tomogram to all files; tomograms of
more than 30 million voxels consist of eight simulated ones side by side. Two kinds are searched for in turn, with a
cache that is empty at first. For each stage the script reports the processor time, which other programs hardly change,
and two values of peak memory. The first is all resident memory, which includes the pages of mapped files. The second is
without these pages: the memory that the operating system cannot reclaim.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Config, PointPrompts, RunOptions, Tomogram, load_segmenter, read_points, read_tomogram, segment
from cryosam.arrays import PLANES, Plane
from cryosam.evaluation.scores import score_detections
from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.geometry import AXIS, in_plane_axes, level_to_voxel, patch_to_pixel
from cryosam.instances.propagation import propagate
from cryosam.intensities import normalise
from cryosam.io import PointTable, write_points, write_volume
from cryosam.io.results import write_segmentation
from cryosam.matching.feature_cache import FeatureCache, entry_key
from cryosam.matching.features.triplane import PlaneTokens, TriPlaneField, cell_centres

KINDS = ("bilobe", "barrel", "ring")
N_TOKENS = 37
N_CHANNELS = 1024
STRIDES = (16, 8, 4)

Shape = tuple[int, int, int]


@dataclass
class Result:
    """Measurements of one case: seconds of each stage, and the peak memory of its process."""

    name: str
    seconds: dict[str, float]
    note: str = ""
    peak_gb: float = 0.0


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Record how long a stage takes."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def synthetic_tokens(shape: Shape, plane: Plane) -> np.ndarray:
    """Random tokens in half precision, ``(n, h, w, c)``; made quickly, by shifting each of eight slices in turn."""
    rng = np.random.default_rng(AXIS[plane])
    pool = rng.standard_normal((8, N_TOKENS, N_TOKENS, N_CHANNELS), dtype=np.float32).astype(np.float16)
    n_slices = len(cell_centres(shape, STRIDES[-1])[AXIS[plane]])
    tokens = np.empty((n_slices, *pool.shape[1:]), dtype=np.float16)
    for k in range(n_slices):
        tokens[k] = np.roll(pool[k % len(pool)], k, axis=1)
    return tokens


def synthetic_field(shape: Shape, seconds: dict[str, float]) -> TriPlaneField:
    """Tokens of all planes, each slice stretched to 37 x 37 tokens; records the time for the norms."""
    planes = []
    norms = 0.0
    for plane in PLANES:
        tokens = synthetic_tokens(shape, plane)
        positions = [
            patch_to_pixel(np.arange(float(N_TOKENS)), shape[axis] / N_TOKENS) for axis in in_plane_axes(plane)
        ]
        positions.insert(AXIS[plane], cell_centres(shape, STRIDES[-1])[AXIS[plane]])
        z, y, x = positions
        start = time.perf_counter()
        planes.append(PlaneTokens.measure(plane, tokens, (z, y, x)))
        norms += time.perf_counter() - start
    seconds["norms, once"] = norms
    return TriPlaneField(shape, planes)


def matching(shape: Shape) -> Result:
    """Compute the similarity of every cell of every level to two queries."""
    seconds: dict[str, float] = {}
    field = synthetic_field(shape, seconds)
    clicks = np.array([shape, shape]) * [[0.5], [0.3]]
    for name, query in zip(("first query", "second query"), field.sample(clicks), strict=True):
        with timed(seconds, name):
            for stride in STRIDES:
                field.similarity_map(query, stride)
    return Result(f"matching {format_shape(shape)}", seconds)


def comparison(shape: Shape) -> Result:
    """Compute the finest level by interpolating scalars and by interpolating vectors; the results must agree."""
    seconds: dict[str, float] = {}
    field = synthetic_field(shape, seconds)
    (query,) = field.sample(np.array([shape]) * 0.5)
    with timed(seconds, "scalars"):
        similarity = field.similarity_map(query, STRIDES[-1]).ravel()
    cells = np.argwhere(np.ones([len(c) for c in cell_centres(shape, STRIDES[-1])], dtype=bool))
    points = level_to_voxel(cells, STRIDES[-1], shape)
    with timed(seconds, "vectors"):
        straightforward = np.concatenate([cosines(field.sample(part), query) for part in np.array_split(points, 50)])
    difference = float(np.abs(straightforward - similarity).max())
    if difference > 1e-4:
        raise SystemExit(f"the two methods differ by {difference:g}")
    ratio = seconds["vectors"] / seconds["scalars"]
    return Result(f"comparison {format_shape(shape)}", seconds, f"a query is {ratio:.0f} times faster with scalars")


def cosines(features: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine between each row and the query."""
    return features @ query / (np.linalg.norm(features, axis=1) * np.linalg.norm(query))


def simulated(shape: Shape, crowding: float, folder: Path) -> None:
    """Write a tomogram with particles of three kinds, at a density that does not depend on its size, and its answer."""
    depth, height, width = (n if np.prod(shape) < 30e6 else n // 2 for n in shape)
    block = (depth, height, width)
    count = max(1, round(crowding * 12 * np.prod(block) / np.prod((96, 256, 256))))
    whole = np.empty(shape, dtype=np.float32)
    points: list[np.ndarray] = []
    names: list[str] = []
    for seed, corner in enumerate(product(*(range(0, n, step) for n, step in zip(shape, block, strict=True)))):
        counts = dict.fromkeys(KINDS, count)
        part = simulate(SimulationConfig(shape=block, counts=counts, snr=0.3, dtype="float32", seed=seed))
        whole[tuple(slice(c, c + n) for c, n in zip(corner, block, strict=True))] = part.tomogram.data
        points.append(part.points + corner)
        names += part.names
    write_volume(folder / "tomo.mrc", whole, part.tomogram.voxel_size_angstrom)
    write_points(folder / "particles.csv", PointTable(np.concatenate(points), names=tuple(names)))


class Watch:
    """Measures the processor time of this process, and its peak memory, in each stage of a run."""

    def __init__(self) -> None:
        self.stage, self._since = "first mask", time.process_time()
        self.cpu: dict[str, float] = {}
        self.peaks: dict[str, tuple[float, float]] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def enter(self, stage: str, *_: int) -> None:
        """Record that a stage begins; also used as the progress callback of a run."""
        now = time.process_time()
        self.cpu[self.stage] = self.cpu.get(self.stage, 0.0) + now - self._since
        self.stage, self._since = stage, now

    def stop(self) -> None:
        """End the last stage and the sampling of memory."""
        self.enter("")
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        """Sample the memory in gigabytes: resident, and resident without mapped files."""
        while not self._is_over.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            sizes = {
                line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines if line.startswith(("VmR", "Rss"))
            }
            before = self.peaks.get(self.stage, (0.0, 0.0))
            self.peaks[self.stage] = max(before[0], sizes["VmRSS"]), max(before[1], sizes["RssAnon"])


def whole_method(shape: Shape, crowding: float = 1.0, n_clicks: int = 1) -> Result:
    """Search from clicks to files, then from clicks on another kind, with the features in the cache."""
    seconds: dict[str, float] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn")
        ) as pool:  # a separate process, so that its memory is not counted here
            pool.submit(simulated, shape, crowding, folder).result()
        for kind, name in (("bilobe", ""), ("barrel", "second click: ")):
            one_search(folder, kind, n_clicks, name, seconds, notes)
    details = f", {crowding:g} times as crowded" * (crowding != 1) + f", {n_clicks} clicks" * (n_clicks > 1)
    return Result(f"whole method {format_shape(shape)}{details}", seconds, "; ".join(notes))


def one_search(folder: Path, kind: str, n_clicks: int, name: str, seconds: dict[str, float], notes: list[str]) -> None:
    """Search for a kind, and record times and memory under names that begin with ``name``."""
    tomogram = read_tomogram(folder / "tomo.mrc")
    truth = read_points(folder / "particles.csv").select(kind).points
    is_inside = ((truth >= 20) & (truth <= np.array(tomogram.shape) - 21)).all(axis=1)
    prompts = PointPrompts(np.round(truth[is_inside][:n_clicks]))
    watch, start, cpu = Watch(), time.perf_counter(), time.process_time()

    def tell(*_: object) -> None:
        seconds.setdefault(f"{name}first detections", time.perf_counter() - start)
        seconds.setdefault(f"{name}first detections, cpu", time.process_time() - cpu)

    cache = FeatureCache(folder / "cache")
    found = segment(tomogram, prompts, options=RunOptions(cache=cache, progress=watch.enter, so_far=tell))
    watch.enter("writing")
    write_segmentation(folder / "out", found, tomogram=tomogram, prompts=prompts, overwrite=True)
    watch.stop()
    seconds[f"{name}files"] = time.perf_counter() - start
    seconds[f"{name}files, cpu"] = time.process_time() - cpu
    seconds |= {f"{name}{stage}, cpu": spent for stage, spent in watch.cpu.items()}
    scores = score_detections(found.points, truth, 6.0)
    notes.append(f"{name}{len(found.candidate_points)} candidates, F1 {scores.f1:.2f} of {len(truth)}")
    notes += [f"{name}{stage} {held:.2f} GB, {own:.2f} without files" for stage, (held, own) in watch.peaks.items()]


def remembering(shape: Shape) -> Result:
    """Time for the digest of a tomogram, and for storing as many bytes in the cache, verifying and loading them."""
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    tomogram = Tomogram(volume)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        cache = FeatureCache(Path(scratch))
        with timed(seconds, "digest"):
            key = entry_key(tomogram=tomogram.digest())
        with timed(seconds, "stored"):
            cache.get_or_compute(key, lambda: {"values": volume})
        with timed(seconds, "checked and found"):
            cache.get_or_compute(key, dict)
    return Result(f"remembering {format_shape(shape)}", seconds, f"{volume.nbytes / 1e9:.2f} GB")


def instances(shape: Shape) -> Result:
    """Segment 200 particles of 25 voxels from their centres, with the default segmenter."""
    axes = [np.arange(20, n - 19, 40) for n in shape]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)[:200]
    squares = [np.abs(np.arange(n)[:, None] - axis).min(axis=1) ** 2 for n, axis in zip(shape, axes, strict=True)]
    balls = squares[0][:, None, None] + squares[1][:, None] + squares[2] <= 12.5**2
    noise = np.random.default_rng(0).normal(scale=0.5, size=shape)
    volume = ndimage.gaussian_filter(balls + noise, 1.5).astype(np.float32)
    tomogram = normalise(Tomogram(volume), "bright", Config().tomogram.percentiles)
    settings = Config().propagation
    segmenter = load_segmenter(settings.segmenter, device="cpu")
    seconds: dict[str, float] = {}
    with timed(seconds, "in all"):
        masks = propagate(tomogram, centres.astype(float), segmenter, settings, 25.0)
    volume_ratio = np.median([mask.n_voxels for mask in masks]) / (4 / 3 * np.pi * 12.5**3)
    return Result(f"masks {format_shape(shape)}", seconds, f"{len(masks)} masks of {volume_ratio:.2f} times the volume")


def format_shape(shape: Shape) -> str:
    """Shape in the form that the names of cases have."""
    return "x".join(str(n) for n in shape)


CASES: tuple[partial[Result], ...] = (
    partial(comparison, (50, 232, 240)),
    partial(matching, (100, 464, 480)),
    partial(matching, (200, 928, 960)),
    partial(remembering, (100, 464, 480)),
    partial(instances, (80, 400, 400)),
    partial(whole_method, (96, 256, 256)),
    partial(whole_method, (100, 464, 480)),
    partial(whole_method, (100, 464, 480), 0.25),
    partial(whole_method, (100, 464, 480), 1.0, 3),
    partial(whole_method, (200, 928, 960)),
    partial(whole_method, (400, 1440, 1024), 0.25),
)


def with_peak_memory(case: Callable[[], Result]) -> Result:
    """Run a case, and record the peak memory of this process."""
    result = case()
    unit = 1 if sys.platform == "darwin" else 1024
    result.peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return result


def machine() -> dict[str, str]:
    """The machine and the versions on which the figures depend."""
    processor = platform.processor() or platform.machine()
    if sys.platform == "linux":
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = models[0] if models else processor
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("cryosam-et", "numpy", "torch")),
    }


def main() -> None:
    """Run the cases and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--only", default="", metavar="TEXT", help="run only cases whose name contains TEXT")
    options = parser.parse_args()
    facts = machine()
    results = []
    if not options.json:
        print(*(f"{key:10} {value}" for key, value in facts.items()), "", sep="\n")
        print(f"{'case':28} {'peak GB':>8}  seconds")
    for case in CASES:
        if options.only not in f"{case.func.__name__.replace('_', ' ')} {format_shape(case.args[0])}":
            continue
        # a new process for each case, so that the peak memory is that of the case
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            result = pool.submit(with_peak_memory, case).result()
        results.append(asdict(result))
        if not options.json:
            stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.seconds.items())
            stages += f"; {result.note}" if result.note else ""
            print(f"{result.name:28} {result.peak_gb:8.2f}  {stages}", flush=True)
    if options.json:
        print(json.dumps({"machine": facts, "results": results}, indent=2))


if __name__ == "__main__":
    main()
