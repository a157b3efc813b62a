"""Loading results of the command line into a session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cryosam.errors import InputError
from cryosam.io import read_info, read_points, read_volume
from cryosam.io.earlier_results import (
    Results,
    find_results,
    has_particles,
    masks_of_labels,
    read_results,
    read_run,
    warnings_of,
)
from cryosam.io.earlier_structures import read_structure_results
from cryosam.io.points import PointTable
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Average, ScoreMap, Segmentation
from cryosam.run_report import RunReport
from cryosam.structure_results import StructureKind, StructureResult
from cryosam.ui.session import Session
from cryosam.ui.viewed import Gallery, ViewedTomogram

__all__ = ["add_results"]

_Read = tuple[int, PointPrompts | None, Segmentation | StructureResult]
"""Number of the tomogram, the clicks if there were any, and the result for one kind."""

_COLOURS = ("#4cc9f0", "#ffb454", "#b794f6", "#7bd88f", "#ff7b9c", "#f6e05e", "#5eead4", "#f0a6ca")
_NO_NAME = "particle"


@dataclass(frozen=True, eq=False)
class _Kind:
    """One kind of a run: its part of ``run.json``, its clicks if there were any, and its rows in the tables."""

    name: str
    description: Mapping[str, Any]
    prompts: PointPrompts | None
    particles: np.ndarray
    candidates: np.ndarray


def add_results(session: Session, folders: Sequence[Path]) -> list[str]:
    """Add results of ``cryosam segment``, ``demo`` or ``batch`` to a session; if one cannot be read, none is added.

    Rejected candidates are added without masks, because the files have no masks of them. For membranes, filaments and
    compartments see `cryosam.io.earlier_structures`.

    Parameters
    ----------
    session
        Session with the tomograms that were searched.
    folders
        Folders that were given as ``--out``.

    Returns
    -------
    left_out
        A message for each tomogram of a batch that the session does not have.

    Raises
    ------
    InputError
        If a folder is not a result, or is of another tomogram; for a batch, if the session has none of its tomograms.
    """
    read: list[_Read] = []
    left_out: list[str] = []
    for given in folders:
        parts, missing = _read_all(given, session.tomograms)
        read += parts
        left_out += missing
    for number, prompts, found in read:
        structure = found.structure if isinstance(found, StructureResult) else "particle"
        session.add_found(number, _kind_for(session, number, found.kind, structure), prompts, found)
    return left_out


def _read_all(given: Path, tomograms: Gallery) -> tuple[list[_Read], list[str]]:
    """Read the results in a folder, and say of which other tomograms there are results too."""
    read: list[_Read] = []
    left_out: list[str] = []
    for folder in find_results(given):
        run = read_run(folder)
        try:
            number = _tomogram_of(folder, run, tomograms)
        except InputError as error:
            left_out.append(str(error))
        else:
            if has_particles(folder, run):
                read += _read(read_results(folder), number, tomograms[number])
            read += [(number, _clicks(run, each.kind), each) for each in read_structure_results(folder)]
    if not read:
        raise InputError(left_out[0])
    return read, left_out


def _kind_for(session: Session, number: int, name: str, structure: StructureKind) -> int:
    """Return the kind of a name; a new numbered one if that has clicks or candidates in the tomogram, or is another."""
    kinds = session.state.kinds
    numbered = (name, *(f"{name} {i}" for i in range(2, len(kinds) + 3)))
    for each in numbered:
        same = [kind for kind in kinds if kind.name == each]
        if not same:
            added = session.add_kind(each, _COLOURS[len(kinds) % len(_COLOURS)])
            session.change_kind(added, structure=structure)
            return added
        view = session.state.view(number, same[0].id)
        if same[0].structure == structure and not view.clicks and not view.candidates:
            return same[0].id
    raise AssertionError("one of the names is always free")


def _read(results: Results, number: int, viewed: ViewedTomogram) -> list[_Read]:
    """Read each kind of a result."""
    candidates = _read_candidates(results)
    masks, rotations = _read_masks(results), _read_rotations(results, viewed)
    return [
        (number, kind.prompts, _segmentation(results, viewed, kind, candidates, masks, rotations))
        for kind in _kinds(results, candidates)
    ]


def _tomogram_of(folder: Path, run: Mapping[str, Any], tomograms: Gallery) -> int:
    """Return the tomogram with the shape of the result; if there are several, the one with its path or file name."""
    known = run["input"]
    path, shape = Path(known["path"]), tuple(known["shape_zyx"])
    fitting = [i for i, viewed in enumerate(tomograms) if viewed.shape == shape]
    same_path = [i for i in fitting if tomograms[i].path == path.absolute()]
    same_name = [i for i in fitting if tomograms[i].path.name == path.name]
    for chosen in (same_path, same_name):
        if len(chosen) == 1:
            return chosen[0]
    if len(fitting) != 1:
        size = " x ".join(str(n) for n in shape)
        raise InputError(f"{folder}: this is a result of {path}, {size} voxels; give that tomogram too")
    return fitting[0]


def _read_candidates(results: Results) -> PointTable:
    """Read all candidates; only the particles if there is no file of candidates."""
    file = results.folder / "candidates.csv"
    return read_points(file) if file.is_file() else results.particles


def _read_masks(results: Results) -> tuple[InstanceMask, ...]:
    """Read one mask per particle; it is empty for a particle without a mask."""
    instances = results.particles.instances
    if instances is None or not results.has_instances:
        return (InstanceMask.empty(),) * len(results.particles)
    return masks_of_labels(results.read_instances(), instances.tolist())


def _read_rotations(results: Results, viewed: ViewedTomogram) -> Rotation | None:
    """Read the rotations from the STAR file, which has the same rows as ``particles.csv``."""
    file = results.folder / "particles.star"
    if not file.is_file() or not len(results.particles):
        return None
    rotations = read_points(file, shape=viewed.shape, voxel_size_angstrom=viewed.voxel_size_angstrom).rotations
    return rotations if rotations is not None and len(rotations) == len(results.particles) else None


def _kinds(results: Results, candidates: PointTable) -> list[_Kind]:
    run = results.run
    if not run["kinds"]:
        name = run.get("kind", _NO_NAME)
        everything = np.arange(len(results.particles)), np.arange(len(candidates))
        return [_Kind(name, run, _clicks(run, name), *everything)]
    kinds = []
    for part in run["kinds"]:
        name = part["name"]
        own, own_candidates = (np.flatnonzero(np.array(t.names or ()) == name) for t in (results.particles, candidates))
        kinds.append(_Kind(name, part, _clicks(run, name), own, own_candidates))
    return kinds


def _clicks(run: Mapping[str, Any], name: str) -> PointPrompts | None:
    """Return the clicks on a kind of a run; those of a run with one kind have no name. None for a saved query."""
    clicks = [click for click in run["prompts"] if click.get("kind", name) == name]
    if not clicks:
        return None
    points = np.array([click["zyx"] for click in clicks], dtype=float).reshape(-1, 3)
    return PointPrompts(points, np.array([click["is_positive"] for click in clicks], dtype=bool), name)


def _segmentation(
    results: Results,
    viewed: ViewedTomogram,
    kind: _Kind,
    candidates: PointTable,
    masks: Sequence[InstanceMask],
    rotations: Rotation | None,
) -> Segmentation:
    """Build the result of one kind; its candidates are the particles, followed by the rejected candidates."""
    own = results.particles.take(kind.particles)
    rest = candidates.take(kind.candidates[len(own) :])
    own_masks = tuple(masks[i] for i in kind.particles)
    suffix = f"-{kind.name}" if results.run["kinds"] else ""
    return Segmentation(
        shape=viewed.shape,
        points=own.points,
        scores=_scores(own),
        masks=own_masks,
        rotations=None if rotations is None else rotations[kind.particles],
        score_map=_read_score_map(results.folder / f"score{suffix}.mrc", viewed.shape),
        candidate_points=np.concatenate([own.points, rest.points]),
        candidate_scores=np.concatenate([_scores(own), _scores(rest)]),
        candidate_masks=own_masks + (InstanceMask.empty(),) * len(rest),
        threshold=kind.description["threshold"],
        average=_read_average(
            results.folder / f"average{suffix}.mrc", viewed.voxel_size_angstrom, kind.description.get("average_fsc")
        ),
        prompt_masks=tuple(
            _under(point, own_masks) for point in ([] if kind.prompts is None else kind.prompts.positive)
        ),
        report=replace(
            RunReport.from_provenance({**results.run["provenance"], **kind.description["provenance"]}),
            warnings=warnings_of(results.run, kind.name),
        ),
        voxel_size_angstrom=viewed.voxel_size_angstrom,
        name=viewed.tomogram.name,
        kind=kind.name,
    )


def _scores(table: PointTable) -> np.ndarray:
    """Return the scores; 1 if the table has none."""
    return np.ones(len(table)) if table.scores is None else np.asarray(table.scores, dtype=float)


def _under(point: np.ndarray, masks: Sequence[InstanceMask]) -> InstanceMask:
    """Return the mask that contains a click; empty if none does."""
    return next((mask for mask in masks if mask.holds(point)), InstanceMask.empty())


def _read_score_map(file: Path, shape: tuple[int, int, int]) -> ScoreMap | None:
    if not file.is_file():
        return None
    values = np.array(read_volume(file), dtype=np.float32)
    stride = round(max(shape) / max(values.shape))  # the number of cells is the number of voxels / stride, rounded up
    return ScoreMap(np.where(values < 0, np.float32(np.nan), values), stride)


def _read_average(file: Path, voxel_size_angstrom: float | None, fsc: Sequence[float] | None) -> Average | None:
    if not file.is_file():
        return None
    pixel = read_info(file).voxel_size_angstrom
    # without a voxel size, no output depends on the step
    step = 1.0 if pixel is None or voxel_size_angstrom is None else pixel / voxel_size_angstrom
    return Average(np.array(read_volume(file), dtype=np.float32), step, None if fsc is None else np.array(fsc))
