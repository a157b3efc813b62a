"""How much each constant that decides a search changes what is found, if it is made 30 % smaller or larger.

::

    python benchmarks/sensitivity.py TOMOGRAM.mrc POINTS.csv --distance 6 --kind 3cf3   # one click, every constant
    python benchmarks/sensitivity.py ... --only classification vectors                  # those whose names contain this
    python benchmarks/sensitivity.py ... --list                                         # their names only

The constants are the numbers in the settings of a search, and the private numbers of the modules that search. Each is
varied alone, in a process of its own. A pick is the same if the other search has one within a quarter of
``--distance``. The table gives, for both changes, the picks of both searches that the other one lacks, as a share of
all of them, and the F1. A click takes two searches per constant: hours for all of them.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import cryosam
from cryosam import Config, PointPrompts, pick, read_points, read_tomogram
from cryosam.arrays import Points
from cryosam.errors import CryosamError
from cryosam.evaluation.scores import match_points, score_detections
from speed import machine

_FACTORS = (0.7, 1.3)
_SAME = 0.25  # of the distance of a hit: picks nearer than this are the same
_SECTIONS = ("features", "matching", "propagation", "averaging", "classification", "vectors")
_ROOMS = ("averaging", "classification", "instances", "kind_sources", "matching")
_MODULES = ("by_vectors", "likely_diameter", "only_kind", "proposals", "search")
_NO_CHOICE = ("_EVEN_ODDS",)


def is_number(value: Any) -> bool:
    """Whether a value is a number, or some numbers, of which at least one is not zero."""
    values = value if isinstance(value, tuple) else (value,)
    are_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return bool(values) and are_numbers and any(values)


def constants() -> Iterator[tuple[str, Any]]:
    """Names and values: ``section.field`` of the settings, and ``cryosam.module:_NAME``."""
    config = Config()
    for section in _SECTIONS:
        part = getattr(config, section)
        yield from ((f"{section}.{one.name}", getattr(part, one.name)) for one in fields(part))
    names = [f"cryosam.{name}" for name in _MODULES]
    for room in _ROOMS:
        package = importlib.import_module(f"cryosam.{room}")
        names += [f"cryosam.{room}.{found.name}" for found in pkgutil.iter_modules(package.__path__)]
    for name in sorted(names):
        for key, value in vars(importlib.import_module(name)).items():
            if key.startswith("_") and key.isupper() and key not in _NO_CHOICE:
                yield f"{name}:{key}", value


def changed(value: Any, factor: float) -> Any:
    """A value times a factor; a whole number changes by at least one and stays at least one."""
    if isinstance(value, tuple):
        return tuple(changed(one, factor) for one in value)
    if isinstance(value, int):
        return max(1, round(value * factor), value + 1) if factor > 1 else max(1, min(round(value * factor), value - 1))
    return value * factor


def search(tomogram: Path, click: Points, contrast: str, name: str, value: Any) -> Points | str:
    """What a click finds with one constant changed, or why it cannot be changed; an empty name changes none."""
    settings = Config().override(tomogram__contrast=contrast)
    try:
        if ":" in name:
            module, key = name.split(":")
            setattr(importlib.import_module(module), key, value)
        elif name:
            settings = settings.override(**{name.replace(".", "__"): value})
        return pick(read_tomogram(tomogram), PointPrompts(click[None]), settings).points
    except CryosamError as error:
        return str(error)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomogram", type=Path)
    parser.add_argument("points", type=Path, help="annotated positions in voxels")
    parser.add_argument("--distance", type=float, required=True, help="voxels within which a pick is a hit")
    parser.add_argument("--kind", help="name of the annotated positions; all of them if not given")
    parser.add_argument("--click", type=int, default=0, help="which of the random annotated positions is clicked")
    parser.add_argument("--contrast", default="auto")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the names of constants")
    parser.add_argument("--list", action="store_true", help="print the constants, and search nothing")
    chosen = parser.parse_args()
    every = [(name, value) for name, value in constants() if is_number(value)]
    some = [(name, value) for name, value in every if any(part in name for part in chosen.only)]
    print(f"{len(every)} constants of cryosam {cryosam.__version__}, {len(some)} of them here\n")
    if chosen.list:
        print("\n".join(f"{name} = {value}" for name, value in some))
        return
    annotated = read_points(chosen.points)
    truth = (annotated.select(chosen.kind) if chosen.kind else annotated).points
    click = truth[np.random.default_rng(0).permutation(len(truth))[chosen.click]]
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        first = pool.apply(search, (chosen.tomogram, click, chosen.contrast, "", None))
        if isinstance(first, str):
            raise SystemExit(first)
        f1 = score_detections(first, truth, chosen.distance).f1
        print(f"{chosen.tomogram}, a click on {click.round()}, {machine()}: {len(first)} picks, F1 {f1:.2f}\n")
        print("| constant | value |" + "".join(f" times {factor} | F1 |" for factor in _FACTORS))
        print("| --- | --- |" + " --- | --- |" * len(_FACTORS))
        for name, value in some:
            cells = [name, str(value)]
            for factor in _FACTORS:
                found = pool.apply(search, (chosen.tomogram, click, chosen.contrast, name, changed(value, factor)))
                if isinstance(found, str):
                    cells += ["not allowed", ""]
                    continue
                n_all = len(first) + len(found)
                n_same = len(match_points(first, found, _SAME * chosen.distance).truth)
                f1 = score_detections(found, truth, chosen.distance).f1
                cells += [f"{(n_all - 2 * n_same) / max(n_all, 1):.1%}", f"{f1:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
