"""Compare two versions of the package: whether their results are identical, and their time and memory.

    python benchmarks/same_results.py BEFORE AFTER FOLDER [--cases demo corners kinds together negative query ...]

BEFORE and AFTER are checkouts of this repository; FOLDER has the development data (``tomo_dev``,
``microtubule_13pf.tif``). Each case runs in a separate process with one thread, first with BEFORE, then with AFTER. For
each case the script prints whether all arrays are identical, the processor time and peak memory of both, and their
ratios. The exit code is 1 if any result differs.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

CASES = ("demo", "corners", "kinds", "together", "negative", "query", "microtubule")
KINDS = ("5mrc", "4cr2", "3j9i", "1f4a", "3cf3", "2cg9")


def run_case(case: str, data: Path) -> dict[str, Any]:
    """All results of a case, as arrays by name; it runs with both versions, so it uses only what both have."""
    from cryosam import PointPrompts, make_queries, read_points, read_tomogram, segment, segment_kinds, segment_prompts

    if case == "demo":
        from importlib import import_module

        try:
            simulation: Any = import_module("cryosam.evaluation.simulation")
        except ModuleNotFoundError:
            simulation = import_module("cryosam.simulation")
        simulated = simulation.simulate(simulation.demo_config(0))
        is_kind = np.array(simulated.names) == simulation.DEMO_KIND
        click = simulated.points[int(np.argmax(is_kind))]
        return arrays_of(segment(simulated.tomogram, PointPrompts(np.round(click)[None])))
    if case == "corners":
        return corner_cases()
    if case == "microtubule":
        found = segment_prompts(read_tomogram(data / "microtubule_13pf.tif"), PointPrompts(np.array([[18.0, 100, 31]])))
        return arrays_of(found)
    tomogram, truth = read_tomogram(data / "tomo_dev" / "tomo.mrc"), read_points(data / "tomo_dev" / "particles.csv")
    clicks = {kind: np.round(truth.select(kind).points[1]) for kind in KINDS}
    if case == "kinds":
        each = {kind: arrays_of(segment(tomogram, PointPrompts(click[None]))) for kind, click in clicks.items()}
        return {f"{kind}/{name}": array for kind, arrays in each.items() for name, array in arrays.items()}
    if case == "together":
        return arrays_of(segment_kinds(tomogram, [PointPrompts(c[None], name=kind) for kind, c in clicks.items()]))
    if case == "negative":
        points = np.stack([clicks["3cf3"], clicks["2cg9"]])
        return arrays_of(segment(tomogram, PointPrompts(points, np.array([True, False]))))
    (query,), found = make_queries(tomogram, [PointPrompts(clicks["3j9i"][None], name="3j9i")])
    return arrays_of(found) | {f"again/{k}": v for k, v in arrays_of(segment(tomogram, query)).items()}


def corner_cases() -> dict[str, Any]:
    """What seldom happens, on balls and shells: no average, no candidate, nothing under a click, limits, trials."""
    from cryosam import Config, PointPrompts, Tomogram, segment, segment_kinds

    grid, random = np.indices((36, 60, 72)), np.random.default_rng(7)
    balls = np.array([[10.0, 12, 14], [24, 14, 50], [12, 44, 20], [25, 46, 52], [18, 30, 34]])
    shells = np.array([[24.0, 28, 12], [10, 30, 60]])
    volume = random.normal(0, 0.06, grid.shape[1:])
    for centre in balls:
        volume += 1 / (1 + np.exp(2 * (np.linalg.norm(grid.T - centre, axis=-1).T - 4)))
    for centre in shells:
        volume += np.exp(-((np.linalg.norm(grid.T - centre, axis=-1).T - 6) ** 2) / 2)
    tomogram, ball = Tomogram(volume.astype(np.float32), 10.0), PointPrompts(balls[:1], name="ball")
    shell, nothing = PointPrompts(shells[:1], name="shell"), PointPrompts(np.array([balls[0], (5.0, 55, 40)]))
    against = PointPrompts(balls[:2], np.array([True, False]))
    found = {
        "few": segment(tomogram, ball),
        "several": segment_kinds(tomogram, [ball, shell]),
        "against": segment(tomogram, against),
        "one on nothing": segment(tomogram, nothing),
        "all on nothing": segment(tomogram, PointPrompts(np.array([(5.0, 55, 40)]))),
        "limit": segment(tomogram, ball, Config().override(matching__max_particles=2, matching__threshold=0.3)),
        "margin": segment(tomogram, ball, Config().override(matching__edge_margin=11)),
        "masks do not count": segment(tomogram, ball, Config().override(matching__volume_tolerance=None)),
        "false discovery": segment(tomogram, ball, Config().override(matching__max_false_discovery=0.1)),
        "diameter": segment(tomogram, ball, Config().override(diameter_angstrom=85.0)),
        "empty mask": segment(tomogram, ball, **given(search_mask=np.zeros(tomogram.shape, dtype=bool))),
        "half a mask": segment(tomogram, ball, **given(search_mask=grid[2] < 40)),
        "trials": segment(tomogram, ball, **given(n_trials=2)),
    }
    return {f"{name}/{key}": value for name, one in found.items() for key, value in arrays_of(one).items()}


def given(**options: Any) -> dict[str, Any]:
    """Options as either version takes them."""
    try:
        from cryosam import RunOptions
    except ImportError:
        return options
    return {"options": RunOptions(**options)}


def arrays_of(found: Any) -> dict[str, Any]:
    """The parts of a result that a user sees, by name."""
    arrays: dict[str, Any] = {
        name: getattr(found, name)
        for name in ("points", "scores", "candidate_points", "candidate_scores", "names", "threshold")
    }
    for name in ("masks", "candidate_masks", "prompt_masks"):
        arrays |= {f"{name}/{i}": (mask.origin, mask.data) for i, mask in enumerate(getattr(found, name))}
    arrays["rotations"] = None if found.rotations is None else found.rotations.as_quat()
    arrays["average"] = None if found.average is None else found.average.data
    arrays["score_map"] = None if found.score_map is None else found.score_map.data
    arrays["n_warnings"] = len(found.warnings)  # their words may change
    told = {name: value for name, value in found.provenance.items() if not name.startswith("seconds_")}
    arrays |= {f"provenance/{name}": value for name, value in told.items()}
    if found.trust is not None:
        arrays |= {f"trust/{name}": value for name, value in vars(found.trust).items()}
    for part in found.kinds:
        arrays |= {f"{part.kind}/{name}": array for name, array in arrays_of(part).items()}
    return arrays


def are_equal(first: Any, second: Any) -> bool:
    """Whether two values are equal, bit for bit; NaN equals NaN."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(are_equal(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and first.tobytes() == second.tobytes() and first.shape == second.shape
    return bool(first == second)


def measure(checkout: Path, case: str, data: Path) -> tuple[dict[str, Any], float, float]:
    """Result of a case with the package of a checkout, processor seconds, and peak memory in gigabytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.pickle")
        environment = {**os.environ, "PYTHONPATH": str(checkout.absolute() / "src"), "CRYOSAM_CACHE": folder}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        command = [sys.executable, __file__, "--run", case, str(data), str(file)]
        process = subprocess.Popen(command, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{checkout}: {case} failed")
        return pickle.loads(file.read_bytes()), used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def main() -> int:
    """Compare two checkouts."""
    if sys.argv[1:2] == ["--run"]:
        case, data, file = sys.argv[2:5]
        Path(file).write_bytes(pickle.dumps(run_case(case, Path(data))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options = parser.parse_args()
    n_different = 0
    for case in options.cases:
        (first, cpu, memory), (second, cpu_after, memory_after) = (
            measure(checkout, case, options.folder) for checkout in (options.before, options.after)
        )
        names = sorted(set(first) | set(second))
        different = [name for name in names if not are_equal(first.get(name), second.get(name))]
        n_different += len(different)
        verdict = f"{len(names)} results equal" if not different else f"{len(different)} of {len(names)} differ"
        print(
            f"{case}: {verdict}; {cpu:.1f} -> {cpu_after:.1f} s of processor time ({cpu_after / cpu:.2f}), "
            f"{memory:.2f} -> {memory_after:.2f} GB ({memory_after / memory:.2f})",
            *different[:8],
            flush=True,
        )
    return int(n_different > 0)


if __name__ == "__main__":
    sys.exit(main())
