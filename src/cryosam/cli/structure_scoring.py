"""Scoring of membranes, filaments and compartments for ``evaluate``: read, compare, show."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from cryosam.arrays import Labels
from cryosam.cli.point_frame import PointFrame
from cryosam.errors import InputError, InputNotFoundError, VoxelSizeError
from cryosam.evaluation.compartments import CompartmentScores, score_compartments
from cryosam.evaluation.filaments import FilamentScores, score_filaments
from cryosam.evaluation.surfaces import SurfaceScores, score_surfaces
from cryosam.io import read_info
from cryosam.io.earlier_results import describe_result, read_labels, read_structures
from cryosam.io.lines import read_lines

__all__ = ["compare_structures", "print_scores", "to_json"]

StructureScores = SurfaceScores | FilamentScores | CompartmentScores

_HEADINGS = {
    "n_predicted": "found",
    "n_truth": "true",
    "n_paired": "one to one",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "dice": "Dice",
    "mean_distance_angstrom": "off by (Å)",
    "n_merges": "merges",
    "n_splits": "splits",
    "tangent_error_degrees": "direction off by (°)",
    "volume_error": "volume off by",
    "n_leaks": "leaks",
}


def compare_structures(
    predicted: Path,
    truth: Path,
    frame: PointFrame,
    *,
    structure: str,
    name: str | None,
    labels: Sequence[int],
    tolerance: float,
) -> StructureScores:
    """Compare structures with the true ones.

    Parameters
    ----------
    predicted
        Result folder, volume of labels or, for filaments, a table of points.
    truth
        Likewise.
    frame
        Its voxel size has precedence over that of the files.
    structure
        What is compared.
    name
        Only the true filaments with this name.
    labels
        Only these labels of the true volume, divided into connected parts; without any, each label is an instance.
    tolerance
        Largest distance of a hit, in angstrom.
    """
    size = frame.voxel_size_angstrom
    if structure == "filament":
        lines = read_lines(_in_folder(predicted, structure))
        true_lines = read_lines(_in_folder(truth, structure), name)
        return score_filaments(lines, true_lines, _voxel_size(size, predicted, truth), tolerance_angstrom=tolerance)
    if name is not None:
        raise InputError("--name chooses true filaments; choose the labels of a true volume with --label")
    found, true = (_in_folder(path, structure) for path in (predicted, truth))
    answer = _chosen(read_labels(true), labels)
    if structure == "compartment":
        return score_compartments(read_labels(found), answer)
    return score_surfaces(read_labels(found), answer, _voxel_size(size, predicted, truth), tolerance_angstrom=tolerance)


def to_json(scores: StructureScores) -> str:
    """Return the scores as JSON."""
    return json.dumps(asdict(scores), indent=2)


def print_scores(scores: StructureScores, structure: str) -> None:
    """Show the scores as a table on stdout."""
    values = asdict(scores)
    tolerance = values.pop("tolerance_angstrom", None)
    within = "" if tolerance is None else f"; a hit is within {tolerance:g} Å"
    table = Table(title=f"{structure}s{within}", title_justify="left", box=None, header_style="bold", pad_edge=False)
    for key in values:
        table.add_column(_HEADINGS[key], justify="right")
    table.add_row(*map(_cell, values.values()))
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _in_folder(path: Path, structure: str) -> Path:
    """The file of a structure in a result folder, possibly compressed; a file as it is."""
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder; check the path")
    if not path.is_dir() or path.suffix.lower() == ".zarr":
        return path
    name, found = ("filaments.csv" if structure == "filament" else "instances.mrc"), read_structures(path)
    if found is not None:
        names = [file for file, of in found.items() if of == structure and file.endswith(name.partition(".")[2])]
        if len(names) != 1:
            raise InputError(
                f"{path}: {len(names) or 'no'} kinds of {structure}s in this folder"
                + (f"; give one of the files {', '.join(names)}" if names else "")
            )
        name = names[0]
    for ending in ("", ".gz"):
        if (path / f"{name}{ending}").is_file():
            return path / f"{name}{ending}"
    raise InputNotFoundError(f"{path}: no {name} in this folder; give the file itself")


def _voxel_size(given: float | None, *paths: Path) -> float:
    """Edge of a voxel: as given, or as the first file that knows it says."""
    if given is not None:
        return given
    for path in paths:
        folder = path if path.is_dir() else path.parent
        if (folder / "run.json").is_file():
            known = describe_result(folder / "run.json").voxel_size_angstrom
        else:
            known = None if path.is_dir() or path.suffix == ".csv" else read_info(path).voxel_size_angstrom
        if known is not None:
            return known
    raise VoxelSizeError("the voxel size is not known, and distances are in angstrom; set it with --voxel-size")


def _chosen(labels: Labels, chosen: Sequence[int]) -> Labels:
    """The labels as they are, or the connected parts of the chosen ones."""
    if not chosen:
        return labels
    mask = np.isin(labels, list(chosen))
    if not mask.any():
        there = ", ".join(str(label) for label in np.unique(labels)[:20].tolist() if label)
        raise InputError(f"the true volume has no label {', '.join(map(str, chosen))}; it has {there}")
    parts: Labels = ndimage.label(mask, np.ones((3, 3, 3)))[0]
    return parts
