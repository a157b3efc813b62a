"""Export of results from a session and import of points, with the file formats of the command line."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from scipy.spatial.transform import Rotation

from cryosam.errors import InputError, PointsFileError
from cryosam.full_map import FullMap
from cryosam.io import read_points
from cryosam.io.point_files import POINT_FORMATS
from cryosam.io.results import RunInfo, write_particles, write_segmentation
from cryosam.io.structure_files import write_map
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.structure_results import StructureResult
from cryosam.structure_scene import with_straightened
from cryosam.ui.session import Session
from cryosam.ui.state import Kind, Point, View
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["import_points", "write_all", "write_tables"]


def write_all(session: Session, tomogram: int, folder: Path, command: str = "") -> None:
    """Write what is shown of a tomogram with the files of ``cryosam segment``: masks, tables, report.

    Parameters
    ----------
    session
        The session.
    tomogram
        Number of the tomogram.
    folder
        Output folder, which is created.
    command
        Command line that started the session, for ``run.json``.

    Raises
    ------
    InputError
        If nothing is shown.
    """
    shown, viewed = _shown(session, tomogram), session.tomograms[tomogram]
    path = str(viewed.path) if viewed.path.exists() else viewed.name
    run = RunInfo(command=command, input_path=path, origin_angstrom=viewed.info.origin_angstrom, config=session.config)
    if shown.structures:
        found = FullMap(tuple(each.name for each in shown.prompts), shown.structures, shown.segmentation)
        found = with_straightened(found, viewed.tomogram, session.config)
        write_map(folder, found, tomogram=viewed.tomogram, prompts=shown.prompts, run=run)
        return
    prompts = shown.prompts if len(shown.prompts) > 1 else shown.prompts[0]
    write_segmentation(folder, shown.particles, tomogram=viewed.tomogram, prompts=prompts, run=run)


def write_tables(session: Session, tomogram: int, folder: Path) -> None:
    """Write ``particles.csv`` and ``particles.star`` of the shown particles; parameters as in `write_all`."""
    write_particles(folder, _shown(session, tomogram).particles)


def import_points(
    session: Session, tomogram: int, kind_id: int, filename: str, content: bytes, *, are_clicks: bool
) -> int:
    """Add the points of a file to a kind, as clicks or as accepted particles; return their number.

    If points in the file have the name of this kind, only these are added.

    Parameters
    ----------
    session, tomogram, kind_id
        Session, tomogram and kind that get the points.
    filename
        Name of the file, whose extension sets the format; no file of that name is opened.
    content
        Content of the file.
    are_clicks
        Whether the points are clicks.

    Raises
    ------
    PointsFileError
        If the points cannot be read, or there are none.
    PromptError
        If a point is outside the tomogram.
    """
    viewed, kind = session.tomograms[tomogram], session.state.kind(kind_id)
    ending = PurePath(filename).suffix.lower()
    if ending not in POINT_FORMATS:
        raise PointsFileError(f"{filename}: unknown points format; use {' '.join(POINT_FORMATS)}")
    with tempfile.TemporaryDirectory(prefix="cryosam-") as folder:
        file = Path(folder, f"points{ending}")
        file.write_bytes(content)
        try:
            table = read_points(
                file,
                shape=viewed.shape,
                voxel_size_angstrom=viewed.voxel_size_angstrom,
                tomogram_name=viewed.tomogram.name,
            )
        except InputError as error:
            raise PointsFileError(str(error).replace(str(file), filename)) from error
    names = table.names or ()
    table = table.select(kind.name) if kind.name in names else table
    if not len(table):
        raise PointsFileError(f"{filename}: the file has no points")
    session.add_points(tomogram, kind_id, np.asarray(table.points, dtype=float), are_clicks=are_clicks)
    return len(table)


@dataclass(frozen=True, eq=False)
class _Shown:
    """The shown particles and other structures, and the clicks that they came from, with one entry per kind."""

    segmentation: Segmentation | None
    structures: tuple[StructureResult, ...]
    prompts: Sequence[PointPrompts]

    @property
    def particles(self) -> Segmentation:
        """The particles; InputError if there are none."""
        if self.segmentation is None:
            raise InputError("no particle is shown, only other structures: export everything instead")
        return self.segmentation


def _shown(session: Session, tomogram: int) -> _Shown:
    state, viewed = session.state, session.tomograms[tomogram]
    views = [(kind, state.view(tomogram, kind.id)) for kind in state.kinds]
    views = [(kind, view) for kind, view in views if view.shown]
    if not views:
        raise InputError("no particle is shown, so there is nothing to export: find particles, or lower the threshold")
    names = _file_names([kind for kind, _ in views])
    named = [(view, name) for (_, view), name in zip(views, names, strict=True)]
    parts = [_segmentation(viewed, view, name) for view, name in named if view.searched_as == "particle"]
    others = [_structures(viewed, view, name) for view, name in named if view.searched_as != "particle"]
    segmentation = Segmentation.combine(parts) if len(parts) > 1 else next(iter(parts), None)
    return _Shown(segmentation, tuple(others), [_prompts(view, name) for view, name in named])


def _structures(viewed: ViewedTomogram, view: View, name: str) -> StructureResult:
    """Return the shown membranes, filaments or compartments of one kind."""
    clicks = [click.point for click in view.clicks if click.is_positive]
    shown = sorted(
        (each.instance for each in view.shown if each.instance is not None), key=lambda instance: -instance.score
    )
    return StructureResult(
        shape=viewed.shape,
        structure=view.searched_as,
        instances=tuple(shown),
        prompts=_points(clicks or [each.point for each in view.shown]),
        voxel_size_angstrom=viewed.voxel_size_angstrom or 1.0,
        name=viewed.tomogram.name,
        kind=name,
        report=RunReport(warnings=tuple(RunWarning("found", text) for text in view.current_warnings)),
    )


def _segmentation(viewed: ViewedTomogram, view: View, name: str) -> Segmentation:
    """Return the shown particles of one kind; those added by hand get the score 1.

    Orientations are left out unless all particles have one, because RELION cannot mark a particle as unoriented.
    """
    scored = [(1.0 if c.score is None else c.score, c) for c in view.shown]
    scored.sort(key=lambda pair: -pair[0])
    scored_candidates = [c for c in view.candidates if c.score is not None]
    report = RunReport(
        diameter=None if view.size is None else view.size.diameter,
        warnings=tuple(RunWarning("found", text) for text in view.current_warnings),
    )
    if view.average is not None:
        doubtful = [1 - c.score for c in view.shown if c.verdict is None and c.score is not None]
        report = replace(report, expected_false=float(sum(doubtful)))
    oriented = [c.rotation for _, c in scored if c.rotation is not None]
    rotations = None
    if view.average is not None and len(oriented) == len(scored):
        rotations = Rotation.from_quat(oriented)
    elif view.average is not None:
        text = (
            f"no orientations were written, because {len(scored) - len(oriented)} of {len(scored)} particles have none"
        )
        report = replace(report, warnings=(*report.warnings, RunWarning("orientations_left_out", text)))
    return Segmentation(
        shape=viewed.shape,
        points=_points([c.point for _, c in scored]),
        scores=np.array([score for score, _ in scored], dtype=float),
        masks=tuple(c.mask for _, c in scored),
        rotations=rotations,
        score_map=view.score_map,
        candidate_points=_points([c.point for c in scored_candidates]),
        candidate_scores=np.array([c.score for c in scored_candidates], dtype=float),
        candidate_masks=tuple(c.mask for c in scored_candidates),
        threshold=view.threshold,
        average=view.average,
        prompt_masks=tuple(click.mask for click in view.clicks if click.is_positive),
        report=report,
        voxel_size_angstrom=viewed.voxel_size_angstrom,
        name=viewed.tomogram.name,
        kind=name,
    )


def _prompts(view: View, name: str) -> PointPrompts:
    """Return the clicks; if none is positive, the shown particles take their place."""
    if not any(click.is_positive for click in view.clicks):
        return PointPrompts(_points([c.point for c in view.shown]), name=name)
    positive = np.array([click.is_positive for click in view.clicks])
    return PointPrompts(_points([click.point for click in view.clicks]), positive, name)


def _file_names(kinds: Sequence[Kind]) -> list[str]:
    """Make the names of kinds valid in file names, and keep them different."""
    names: list[str] = []
    for kind in kinds:
        plain = re.sub(r"[^\w.+-]+", "-", kind.name)
        names.append(plain if plain not in names else f"{plain}-{kind.id}")
    return names


def _points(points: Sequence[Point]) -> np.ndarray:
    return np.array(points, dtype=float).reshape(-1, 3)
