"""Find ribosomes of M. pneumoniae (EMPIAR-10499) from a few annotated ones, and score the result.

::

    python examples/empiar_10499.py FOLDER --max-tomograms 2
    python examples/empiar_10499.py FOLDER --prompt-share 0.1 --distance 10 --json > scores.json

FOLDER has ``denoised/*.mrc`` and one RELION STAR file with ``rlnMicrographName`` and, in voxels,
``rlnCoordinateX/Y/Z``. A share of each tomogram's annotations is used as clicks. The picks are scored against all
annotations; "recall of rest" is the recall of those that were not clicked. Tomograms without annotations are left out.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import starfile

from cryosam import Config, CryosamError, PointPrompts, RunOptions, Segmentation, Tomogram, read_tomogram, segment
from cryosam.arrays import Points
from cryosam.errors import InputError, InputNotFoundError
from cryosam.evaluation.scores import match_points
from cryosam.io import PointTable, write_points
from cryosam.io.folders import check_output
from cryosam.io.results import RunInfo, write_segmentation
from cryosam.matching.feature_cache import FeatureCache

# The annotations of this data set are not in the coordinates of its denoised tomograms, which no header mentions. Their
# z is larger by 16 voxels; their y and x are counted from the other end, which is a rotation by 180 degrees about z.
Z_SHIFT = -16
FLIPPED = "yx"
HEADER = f"{'tomogram':24}  prompts    truth    picks  precision     recall         F1  recall of rest"
COORDINATES = ["rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX"]


@dataclass(frozen=True)
class Frame:
    """Coordinate system of the annotations, relative to the voxels of a tomogram.

    Parameters
    ----------
    shape
        Shape of the tomogram, z, y, x in voxels.
    z_shift
        Added to an annotation's z.
    flipped
        The axes along which annotations are counted from the other end: "yx", "y", "x" or "none".
    """

    shape: tuple[int, ...]
    z_shift: float = Z_SHIFT
    flipped: str = FLIPPED

    def to_voxels(self, annotated: Points) -> Points:
        """Convert annotations ``(n, 3)`` z, y, x to voxels; a flip maps coordinate c to N - 1 - c."""
        return self._flip(annotated + np.array([self.z_shift, 0, 0]))

    def from_voxels(self, points: Points) -> Points:
        """Inverse of `to_voxels`."""
        return self._flip(points) - np.array([self.z_shift, 0, 0])

    def _flip(self, points: Points) -> Points:
        is_flipped = np.array([axis in self.flipped for axis in "zyx"])
        return np.where(is_flipped, np.array(self.shape) - 1 - points, points)


@dataclass(frozen=True)
class Row:
    """Counts of one tomogram, or of all; hits are one-to-one pairs of a pick and an annotation."""

    tomogram: str
    n_prompts: int
    n_truth: int
    n_picks: int
    n_hits: int
    n_hits_of_rest: int

    def ratios(self) -> dict[str, float | None]:
        """Precision, recall, F1, and the recall of annotations that were not clicked; None if all were clicked."""
        n_rest = self.n_truth - self.n_prompts
        return {
            "precision": self.n_hits / self.n_picks if self.n_picks else 0.0,
            "recall": self.n_hits / self.n_truth,
            "f1": 2 * self.n_hits / (self.n_picks + self.n_truth),
            "recall_of_rest": self.n_hits_of_rest / n_rest if n_rest else None,
        }

    def __str__(self) -> str:
        cells = "".join(f"{n:9d}" for n in (self.n_prompts, self.n_truth, self.n_picks))
        *ratios, of_rest = ("-" if r is None else f"{r:.3f}" for r in self.ratios().values())
        return f"{self.tomogram:24}{cells}{''.join(f'{r:>11}' for r in ratios)}{of_rest:>16}"


def read_annotations(folder: Path) -> dict[str, Points]:
    """Annotations ``(n, 3)`` z, y, x as in the folder's STAR file, by the name of their tomogram (`name_of`)."""
    stars = sorted(folder.glob("*.star"))
    if len(stars) != 1:
        raise InputError(f"{folder}: it has {len(stars)} STAR files, but must have exactly one, with the annotations")
    try:
        blocks = starfile.read(stars[0], always_dict=True, parse_as_string=["rlnMicrographName"])
        tables = [b for b in blocks.values() if {"rlnMicrographName", *COORDINATES} <= set(b)]
        points = np.array([tables[0][c] for c in COORDINATES], dtype=float).T.reshape(-1, 3) if tables else None
    except Exception as error:  # the reader has no exceptions of its own
        reason = " ".join(str(error).split())
        raise InputError(f"{stars[0]}: not a STAR file of numbers, or damaged ({reason})") from error
    if points is None or not np.isfinite(points).all():
        raise InputError(f"{stars[0]}: it must have a table with rlnMicrographName and finite rlnCoordinateX, Y and Z")
    names = np.array([name_of(name) for name in np.atleast_1d(tables[0]["rlnMicrographName"])])
    return {str(name): points[names == name] for name in np.unique(names)}


def name_of(path: str) -> str:
    """Name up to the first dot, because the STAR file may have ``TS_01.mrc.tomostar`` for ``TS_01.mrc``."""
    return PurePosixPath(path).name.partition(".")[0]


def choose_prompts(points: Points, tomogram: Tomogram, share: float, seed: int) -> tuple[PointPrompts, np.ndarray]:
    """Choose a share of the annotations, at least one, among those inside the tomogram; also returns their rows."""
    inside = np.flatnonzero(((points >= 0) & (points <= np.array(tomogram.shape) - 1)).all(axis=1))
    if len(inside) < len(points):
        note = f"{tomogram.name}: {len(points) - len(inside)} of {len(points)} annotations lie outside the tomogram"
        if not len(inside):
            raise InputError(f"{note}; check the binning, --z-shift and --flip")
        print(f"empiar_10499: {note}; they count as missed", file=sys.stderr)
    n = min(max(1, round(share * len(points))), len(inside))
    chosen = np.random.default_rng(seed).choice(inside, size=n, replace=False)
    return PointPrompts(points[chosen], name="ribosome"), chosen


def score(name: str, found: Segmentation, truth: Points, chosen: np.ndarray, distance: float) -> Row:
    """Count the hits, among all annotations and among those that were not clicked."""
    hits = match_points(found.points, truth, distance).truth
    return Row(name, len(chosen), len(truth), len(found.points), len(hits), len(np.setdiff1d(hits, chosen)))


def run(options: argparse.Namespace) -> list[Row]:
    """Segment and score one tomogram after the other."""
    config = Config.from_preset(options.preset)
    annotations = read_annotations(options.folder)
    volumes = sorted((options.folder / "denoised").glob("*.mrc"))
    if not volumes:
        raise InputNotFoundError(f"{options.folder / 'denoised'}: no .mrc files; give the folder that holds denoised/")
    paths = [path for path in volumes if name_of(path.name) in annotations][: options.max_tomograms]
    if not paths:
        names = f"{', '.join(list(annotations)[:4])} ... in the STAR file, {volumes[0].name} ... in denoised"
        raise InputError(f"{options.folder}: no tomogram has annotations; the names are {names}")
    if options.out is not None:
        for path in paths:  # fail before the search, not after it
            check_output(options.out / path.stem, overwrite=options.overwrite)
    if not options.json:
        print(HEADER)
    rows = []
    for path in paths:
        tomogram = read_tomogram(path)
        number, is_angstrom = options.distance
        distance = tomogram.voxels(number) if is_angstrom else number
        frame = Frame(tomogram.shape, options.z_shift, options.flip)
        truth = frame.to_voxels(annotations[name_of(path.name)])
        prompts, chosen = choose_prompts(truth, tomogram, options.prompt_share, options.seed)
        found = segment(tomogram, prompts, config, RunOptions(cache=FeatureCache()))
        for warning in found.warnings:
            print(f"empiar_10499: {tomogram.name}: {warning}", file=sys.stderr)
        rows.append(score(tomogram.name, found, truth, chosen, distance))
        if not options.json:
            print(rows[-1], flush=True)
        if options.out is not None:
            folder = options.out / path.stem
            info = RunInfo(command="empiar_10499", input_path=str(path.absolute()), config=config)
            write_segmentation(folder, found, tomogram=tomogram, prompts=prompts, run=info, overwrite=options.overwrite)
            picks = PointTable(frame.from_voxels(found.points), found.scores)
            write_points(folder / "as-annotated.star", picks, tomogram_name=tomogram.name, relion=4)
    return rows


def parse_distance(text: str) -> tuple[float, bool]:
    """A length and whether it is in angstrom: ``10`` is voxels, ``125A`` is angstrom."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(A?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a distance such as 10 (voxels) or 125A (angstrom)")
    return float(match[1]), match[2] == "A"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, and print one line per tomogram and one for all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    in_what = "in voxels, or in angstrom if it ends in A; the default is a ribosome's radius"
    add("folder", type=Path, help="contains denoised/*.mrc and one .star file")
    add("--preset", default="embedded", help="settings of the method (%(default)s)")
    add(
        "--prompt-share",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the annotations used as clicks (%(default)s)",
    )
    add("--seed", type=int, default=0, help="seed for the choice of clicks (%(default)s)")
    add(
        "--distance",
        type=parse_distance,
        default="125A",
        metavar="D",
        help=f"largest distance of a hit, {in_what} (%(default)s)",
    )
    add("--max-tomograms", type=int, metavar="N", help="only the first N that have annotations")
    add("--z-shift", type=float, default=Z_SHIFT, help="voxels added to an annotation's z (%(default)s)")
    add(
        "--flip",
        choices=("none", "y", "x", "yx"),
        default=FLIPPED,
        help="axes along which annotations are counted from the other end (%(default)s)",
    )
    add("--out", type=Path, metavar="DIR", help="write a folder of results for each tomogram")
    add("--overwrite", action="store_true", help="replace earlier results in DIR")
    add("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    if not 0 < options.prompt_share <= 1:
        parser.error(f"--prompt-share must be above 0 and at most 1, got {options.prompt_share:g}")
    if options.seed < 0 or (options.max_tomograms is not None and options.max_tomograms < 1):
        parser.error("--seed must be at least 0, and --max-tomograms at least 1")
    try:
        rows = run(options)
    except CryosamError as error:
        parser.exit(2, f"empiar_10499: {error}\n")
    counts = [sum(getattr(row, name) for row in rows) for name in list(Row.__dataclass_fields__)[1:]]
    total = Row("all", *counts)
    if options.json:
        described = [{**vars(row), **row.ratios()} for row in (*rows, total)]
        print(json.dumps({"tomograms": described[:-1], "all": described[-1]}, indent=2))
    else:
        print(total)


if __name__ == "__main__":
    main()
