"""Scoring for ``evaluate`` and ``demo``: read result and ground truth, compare points and instances, show scores."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from cryosam.cli.point_frame import PointFrame, naming_options
from cryosam.errors import InputError, InputNotFoundError
from cryosam.evaluation.scores import DetectionScores, InstanceScores, score_detections, score_instances
from cryosam.io import PointTable, is_points_name, read_points
from cryosam.io.csv_points import is_list
from cryosam.io.earlier_results import describe_result, read_labels
from cryosam.io.volume_info import settle_voxel_size

__all__ = ["Comparison", "compare", "print_comparison"]

ALL = "all"
_LISTS = (".csv", ".txt")  # files that may have no column names


@dataclass(frozen=True)
class Comparison:
    """Scores by kind; the kind is called "all" if the truth has no kind names.

    ``is_one_kind`` tells that the truth has several kinds and the picks do not say of which they are.
    """

    detections: dict[str, DetectionScores]
    instances: dict[str, InstanceScores]
    is_one_kind: bool = False

    def to_json(self) -> str:
        """Return the scores as JSON."""
        scores = asdict(self)
        return json.dumps({key: scores[key] for key in ("detections", "instances")}, indent=2)

    def only_hits(self) -> "Comparison":
        """The scores of the kinds that were hit; of all, if none was."""
        hit = {kind for kind, scores in self.detections.items() if scores.n_matched}
        hit = hit or set(self.detections)
        detections = {kind: scores for kind, scores in self.detections.items() if kind in hit}
        instances = {kind: scores for kind, scores in self.instances.items() if kind in hit}
        return replace(self, detections=detections, instances=instances)


@dataclass(frozen=True)
class _Side:
    """The points and the file of instance labels; None where there are none."""

    table: PointTable | None
    labels: Path | None


def compare(
    predicted: Path,
    truth: Path,
    frame: PointFrame,
    *,
    name: str | None,
    distance: float,
    beta: float,
    axes: str | None = None,
) -> Comparison:
    """Compare points with points and instances with instances; a folder may have both.

    ``axes`` is the order of the numbers in files that are lists without column names.
    """
    ours, theirs = (_read_side(path, frame, axes) for path in (predicted, truth))
    kinds = _kinds(theirs.table, name, truth)
    detections, instances = {}, {}
    if ours.table is not None and theirs.table is not None:
        for kind, rows in kinds.items():
            picks = _picks_of(ours.table, kind, kinds)
            detections[kind] = score_detections(
                picks.points, theirs.table.points[rows], distance, scores=picks.scores, beta=beta
            )
    if ours.labels is not None and theirs.labels is not None:
        found, answer = read_labels(ours.labels), read_labels(theirs.labels)
        for kind, rows in kinds.items():
            known = None if theirs.table is None else theirs.table.instances
            chosen = None if known is None else known[rows].tolist()
            if chosen is not None or kind == ALL:
                instances[kind] = score_instances(found, answer, truth_labels=chosen)
    if not detections and not instances:
        raise InputError(
            f"{predicted} and {truth} cannot be compared; give two files of points, two volumes of labels, "
            "or a result folder and one of these"
        )
    return Comparison(detections, instances, len(kinds) > 1 and ours.table is not None and not ours.table.names)


def print_comparison(comparison: Comparison, distance: float, beta: float) -> None:
    """Show the scores as tables on stdout; picks that do not name their kind are compared with the kinds they hit."""
    if comparison.is_one_kind:
        best = max(comparison.detections, key=lambda kind: comparison.detections[kind].f1)
        click.echo(
            f"the picks have no kind names, so all of them are compared with each kind; for one kind: --name {best}",
            err=True,
        )
        comparison = comparison.only_hits()
    console = Console(width=None if Console().is_terminal else 140)
    if comparison.detections:
        columns = ("kind", "picks", "true", "hits", "precision", "recall", "F1", f"F{beta:g}", "average precision")
        table = _table(
            f"detections; a hit is within {distance:g} voxels", (*columns, "best F1", "at threshold", "off by")
        )
        for kind, d in comparison.detections.items():
            counts = (d.n_predicted, d.n_truth, d.n_matched)
            ratios = (d.precision, d.recall, d.f1, d.f_beta, d.average_precision, d.best_f1, d.best_threshold)
            off = "" if d.mean_distance is None else f"{d.mean_distance:.1f}"
            table.add_row(kind, *map(str, counts), *map(_number, ratios), off)
        console.print(table)
    if comparison.instances:
        overlaps = ("paired", "IoU", "Dice", "IoU > 0.5", "panoptic", "= SQ", "x RQ", "semantic Dice")
        table = _table("instances", ("kind", "found", "true", *overlaps))
        for kind, i in comparison.instances.items():
            quality = (i.panoptic_quality, i.segmentation_quality, i.recognition_quality, i.semantic_dice)
            counts = (i.n_predicted, i.n_truth, i.n_paired)
            overlap = (_number(i.mean_iou), _number(i.mean_dice), str(i.n_matched))
            table.add_row(kind, *map(str, counts), *overlap, *map(_number, quality))
        console.print(table)


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "kind" else "right")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _read_side(path: Path, frame: PointFrame, axes: str | None) -> _Side:
    if not path.exists():
        raise InputNotFoundError(f"{path}: no such file or folder; check the path")
    if is_points_name(path):
        return _Side(_read_table(path, frame, axes), None)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        table = path / "particles.csv"
        if not table.is_file():
            raise InputNotFoundError(
                f"{path}: no particles.csv in this folder; give the --out folder of a run, or a file"
            )
        volumes = [path / f"instances.mrc{ending}" for ending in ("", ".gz")]
        return _Side(read_points(table), next((v for v in volumes if v.is_file()), None))
    return _Side(None, path)


def _read_table(path: Path, frame: PointFrame, axes: str | None) -> PointTable:
    """Read points; a run.json in the same folder describes the tomogram where the options do not."""
    run = path.parent / "run.json"
    if run.is_file():
        known = describe_result(run)
        frame = PointFrame(
            shape=frame.shape or known.shape,
            voxel_size_angstrom=settle_voxel_size(frame.voxel_size_angstrom, known.voxel_size_angstrom, str(run)),
            name=frame.name or known.name,
        )
    with naming_options("--voxel-size, or --tomogram", "--tomogram"):
        return frame.read(path, axes if path.suffix.lower() in _LISTS and is_list(path) else None)


def _kinds(table: PointTable | None, name: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the rows of each kind of the truth."""
    names = None if table is None else table.names
    if name is not None:
        if table is None or names is None:
            raise InputError(f"--name {name}: the points in {path} have no kind names; leave out --name")
        table.select(name)  # raises an error that lists the names
        return {name: np.flatnonzero(np.asarray(names) == name)}
    if table is None or names is None:
        return {ALL: np.arange(0 if table is None else len(table))}
    return {kind: np.flatnonzero(np.asarray(names) == kind) for kind in dict.fromkeys(names)}


def _picks_of(table: PointTable, kind: str, kinds: dict[str, np.ndarray]) -> PointTable:
    """Return the picks of a kind; all picks if their names match no kind of the truth, because they are of one kind."""
    if table.names is None or set(table.names).isdisjoint(kinds):
        return table
    return table.take(np.flatnonzero(np.asarray(table.names) == kind))
