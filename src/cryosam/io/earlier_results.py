"""Reading the results of an earlier run."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from cryosam.arrays import Labels
from cryosam.errors import InputError, InputNotFoundError
from cryosam.io.point_files import read_points
from cryosam.io.points import PointTable
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.io.volumes import read_volume
from cryosam.masks import InstanceMask
from cryosam.run_report import RunWarning

__all__ = [
    "Results",
    "describe_result",
    "ending_of",
    "find_results",
    "has_particles",
    "masks_of_labels",
    "name_tables",
    "read_labels",
    "read_result_points",
    "read_results",
    "read_run",
    "read_structures",
    "warnings_of",
]


@dataclass(frozen=True, eq=False)
class Results:
    """A result folder written by `write_segmentation`.

    Parameters
    ----------
    folder
        Path of the folder.
    particles
        Particles sorted by score, best first, with scores and instances.
    run
        The content of ``run.json``.
    """

    folder: Path
    particles: PointTable
    run: Mapping[str, Any]

    @property
    def has_instances(self) -> bool:
        """Whether masks were written."""
        return (self.folder / "instances.mrc").is_file()

    def read_instances(self) -> Labels:
        """Instance labels ``(z, y, x)``, 0 is background."""
        return read_labels(self.folder / "instances.mrc")


def find_results(folder: Path) -> list[Path]:
    """Return the result folders of the tomograms of a batch, by name; for any other folder, the folder itself.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b", "a"):
    ...         Path(folder, name).mkdir()
    ...         Path(folder, name, "run.json").touch()
    ...     [found.name for found in find_results(Path(folder))]
    ['a', 'b']
    """
    if (folder / "run.json").is_file():
        return [folder]
    return sorted(file.parent for file in folder.glob("*/run.json")) or [folder]


def read_results(folder: str | os.PathLike[str]) -> Results:
    """Read a result folder written by `write_segmentation`; volumes are read only when requested.

    Raises
    ------
    InputNotFoundError
        If the folder has no ``particles.csv`` or no ``run.json``.
    """
    target = Path(folder)
    if read_structures(target) is not None and not (target / "particles.csv").is_file():
        raise InputNotFoundError(f"{target} has structures but no particles; see its report.html")
    for name in ("particles.csv", "run.json"):
        if not (target / name).is_file():
            raise InputNotFoundError(
                f"{target} has no {name}, so it is not a complete result; give the --out folder of a run or a batch"
            )
    return Results(target, read_points(target / "particles.csv"), read_run(target))


def read_run(folder: Path) -> dict[str, Any]:
    """Read the ``run.json`` of a result folder.

    Raises
    ------
    InputNotFoundError
        If there is none.
    InputError
        If it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text('{"kind": "ribosome"}')
    ...     read_run(Path(folder))
    {'kind': 'ribosome'}
    """
    file = folder / "run.json"
    if not file.is_file():
        raise InputNotFoundError(
            f"{folder} has no run.json, so it is not a complete result; give the --out folder of a run or a batch"
        )
    return _read_run(file)


def has_particles(folder: Path, run: Mapping[str, Any]) -> bool:
    """Return whether a run searched for particles; one for structures alone has no file of them.

    Examples
    --------
    >>> has_particles(Path("nowhere"), {"kind": "ribosome"}), has_particles(Path("nowhere"), {"structures": [{}]})
    (True, False)
    """
    return not run.get("structures") or (folder / "particles.csv").is_file()


def warnings_of(run: Mapping[str, Any], kind: str) -> tuple[RunWarning, ...]:
    """Return the warnings of one kind of a run; where there are several kinds, they start with its name.

    Examples
    --------
    >>> run = {"warnings": ["look twice", "er: nothing there"], "warning_codes": ["doubt", "nothing_at_click"]}
    >>> run |= {"structures": [{"kind": "er"}], "kinds": []}
    >>> [str(warning) for warning in (*warnings_of(run, "ribosome"), *warnings_of(run, "er"))]
    ['look twice', 'nothing there']
    """
    structures = {str(part["kind"]) for part in run.get("structures", [])}
    start = f"{kind}: " if run["kinds"] or kind in structures else ""
    others = tuple(f"{each}: " for each in structures - {kind})
    coded = zip(run["warning_codes"], run["warnings"], strict=True)
    return tuple(
        RunWarning(code, text.removeprefix(start))
        for code, text in coded
        if text.startswith(start) and not text.startswith(others)
    )


def read_structures(folder: Path) -> dict[str, str] | None:
    """Names of the volumes of instances and tables of a run with structures, and of which structure each is.

    Returns
    -------
    files
        None if this is no folder of a run with structures.

    Raises
    ------
    InputError
        If ``run.json`` is damaged.

    Examples
    --------
    >>> import tempfile
    >>> run = {"labels": [{}, {}], "structures": [{"kind": "er", "structure": "membrane"}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text(json.dumps(run))
    ...     read_structures(Path(folder))
    {'instances-er.mrc': 'membrane', 'membranes.csv': 'membrane'}
    """
    if not (folder / "run.json").is_file():
        return None
    run = _read_run(folder / "run.json")
    parts = run.get("structures")
    if not parts:
        return None
    files = {}
    for kind, (structure, table) in name_tables(run).items():
        files[f"instances{ending_of(run, kind)}.mrc"] = structure
        files[f"{table}.csv"] = structure
    return files


def ending_of(run: Mapping[str, Any], kind: str) -> str:
    """Return what the names of the volumes of a kind end with: nothing if it is the only one of a run.

    Examples
    --------
    >>> ending_of({"labels": [{}]}, "er"), ending_of({"labels": [{}, {}]}, "er")
    ('', '-er')
    """
    return "" if len(run["labels"]) == 1 else f"-{kind}"


def name_tables(run: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The structure of each kind of a run that is no particle, and the name of its table without the ending.

    Examples
    --------
    >>> name_tables({"structures": [{"kind": "er", "structure": "membrane"}]})
    {'er': ('membrane', 'membranes')}
    """
    parts = [(str(part["kind"]), str(part["structure"])) for part in run.get("structures", [])]
    of = [structure for _, structure in parts]
    return {kind: (each, f"{each}s" if of.count(each) == 1 else f"{each}s-{kind}") for kind, each in parts}


def _read_run(file: Path) -> dict[str, Any]:
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    if not isinstance(run, dict):
        raise InputError(f"{file} is damaged: it is no object of JSON")
    return run


def describe_result(file: Path) -> TomogramPoints:
    """Read what a ``run.json`` says about the tomogram and the kinds; there are no points.

    Raises
    ------
    InputError
        If the file is damaged, or is not that of a run.

    Examples
    --------
    >>> import tempfile
    >>> run = {"input": {"name": "TS_01", "shape_zyx": [9, 10, 11], "voxel_size_angstrom": 10.0}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text(json.dumps(run))
    ...     describe_result(Path(folder, "run.json")).shape
    (9, 10, 11)
    """
    run = _read_run(file)
    try:
        given, only = run["input"], (str(run["kind"]),) if "kind" in run else ()
        z, y, x = (int(n) for n in given["shape_zyx"])
        return TomogramPoints(
            table=PointTable(np.empty((0, 3))),
            name=str(given["name"]),
            shape=(z, y, x),
            voxel_size_angstrom=given["voxel_size_angstrom"],
            kinds=tuple(str(kind["name"]) for kind in run.get("kinds", [])) or only,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} does not describe its tomogram ({error}); run it again") from error


def read_result_points(folder: str | os.PathLike[str]) -> TomogramPoints:
    r"""Read the particles of a result folder, with their orientations and the description of their tomogram.

    Raises
    ------
    InputNotFoundError, InputError
        As in `read_results`; InputError also if ``particles.star`` has other particles.

    Examples
    --------
    >>> import tempfile
    >>> run = {"input": {"name": "TS_01", "shape_zyx": [9, 10, 11], "voxel_size_angstrom": 10.0}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text(json.dumps(run))
    ...     _ = Path(folder, "particles.csv").write_text("z,y,x,score\n4,5,6,0.9\n")
    ...     part = read_result_points(folder)
    >>> part.name, part.table.points
    ('TS_01', array([[4., 5., 6.]]))
    """
    results = read_results(folder)
    part = replace(describe_result(results.folder / "run.json"), table=results.particles)
    star = results.folder / "particles.star"
    if star.is_file():
        oriented = read_points(star, shape=part.shape, voxel_size_angstrom=part.voxel_size_angstrom)
        if len(oriented) != len(part.table):
            raise InputError(
                f"{star} has {len(oriented)} particles, but particles.csv has {len(part.table)}; run it again"
            )
        part = replace(part, table=replace(part.table, rotations=oriented.rotations))
    return part


def masks_of_labels(labels: Labels, numbers: Sequence[int]) -> tuple[InstanceMask, ...]:
    """Return the voxels of each of some labels; the mask of one that no voxel has is empty.

    Examples
    --------
    >>> masks = masks_of_labels(np.array([[[0, 2, 2]]]), [2, 1])
    >>> masks[0].origin, masks[0].n_voxels, masks[1].n_voxels
    ((0, 0, 1), 2, 0)
    """
    boxes = ndimage.find_objects(labels)
    masks = []
    for label in numbers:
        box = boxes[label - 1] if 0 < label <= len(boxes) else None
        if box is None:
            masks.append(InstanceMask.empty())
            continue
        z, y, x = (each.start for each in box)
        masks.append(InstanceMask((z, y, x), np.asarray(labels[box]) == label))
    return tuple(masks)


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read labels ``(z, y, x)`` from a volume; whole numbers stored as floating point are accepted.

    Raises
    ------
    InputNotFoundError, InputError, TomogramError
        As in `cryosam.io.read_volume`; InputError also if a voxel is not a whole number.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.io.mrc import write_mrc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mrc(Path(folder, "labels.mrc"), np.full((1, 2, 3), 7, dtype=np.float32), 10.0)
    ...     int(read_labels(f"{folder}/labels.mrc").max())
    7
    """
    volume = read_volume(path)
    if volume.dtype.kind in "ui":
        return volume
    labels = np.asarray(volume).astype(np.int64)
    if not np.array_equal(labels, volume):
        raise InputError(f"{path}: not a volume of labels; its voxels are not whole numbers")
    return labels
