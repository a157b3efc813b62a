"""Writing the result folder of a run that found structures: volumes, tables, meshes, points and a report page."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryosam.full_map import FullMap
from cryosam.io.exports import EXPORT_PATTERNS, check_exports, describe_exports, write_exports
from cryosam.io.filament_files import (
    write_filaments_copick,
    write_filaments_csv,
    write_filaments_dynamo,
    write_filaments_star,
)
from cryosam.io.folders import check_output, output_folder
from cryosam.io.membrane_files import write_membrane_star, write_membranes
from cryosam.io.meshes import write_obj, write_ply
from cryosam.io.mrc import write_mrc_labels
from cryosam.io.report import render_report
from cryosam.io.results import OUTPUTS, RunInfo, describe_run, points_of, write_files
from cryosam.io.straightened_files import describe_straightened, straightened_names, write_straightened
from cryosam.io.structure_report import render_structures
from cryosam.io.structure_tables import STRUCTURE_PATTERNS, write_compartments, write_labels, write_relations
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.saved_query import SavedQuery
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import Membrane, Mesh, StructureResult
from cryosam.tomogram import Tomogram

__all__ = ["describe_map", "write_map"]


def write_map(
    folder: str | os.PathLike[str],
    found: FullMap,
    *,
    tomogram: Tomogram,
    prompts: Sequence[PointPrompts | SavedQuery | StructureQuery],
    run: RunInfo | None = None,
    spacings: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write all outputs of a run with structures; each file appears only when all are complete.

    Parameters
    ----------
    folder
        Output folder, created if missing.
    found
        The result.
    tomogram
        The tomogram that was searched.
    prompts
        The clicks on each kind, or the query for it.
    run
        What only the caller knows: command, settings, formats of other programs for the particles.
    spacings
        Distance in angstrom, by kind, of the points along filaments and on membranes that are written for subtomogram
        averaging; without it no such points are written.
    overwrite
        Whether the files of an earlier run may be replaced.

    Returns
    -------
    folder
        Absolute path of the output folder.

    Raises
    ------
    OutputExistsError
        If the folder is not empty, and ``overwrite`` is False.
    InputError, VoxelSizeError
        As in `cryosam.io.exports.check_exports`.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.structure_results import Compartment
    >>> volume = Tomogram(np.random.default_rng(0).random((9, 10, 11), dtype=np.float32), 10.0)
    >>> lumen = Compartment(InstanceMask((2, 2, 2), np.ones((3, 3, 3), dtype=bool)), 0.9, 27000.0, False)
    >>> cell = StructureResult((9, 10, 11), "compartment", (lumen,), np.full((1, 3), 3.0), 10.0, kind="cell")
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     clicks = [PointPrompts(cell.prompts, name="cell")]
    ...     out = write_map(f"{parent}/out", FullMap(("cell",), (cell,)), tomogram=volume, prompts=clicks)
    ...     print(*sorted(path.name for path in out.iterdir()))
    compartments.csv instances.mrc labels.csv report.html run.json semantic.mrc
    """
    run, spacings, target = run or RunInfo(), spacings or {}, Path(folder)
    check_output(target, overwrite=overwrite)
    particles = found.particles
    if particles is not None:
        kinds = list(points_of(particles).by_kind())
        check_exports(run.exports, found.voxel_size_angstrom, run.tilt_series_pixel_size_angstrom, kinds)
    description = describe_map(found, tomogram=tomogram, prompts=prompts, run=run)
    clicks = [each for each in prompts if isinstance(each, PointPrompts)]
    patterns = ("score-*.mrc", "average-*.mrc", *EXPORT_PATTERNS, *STRUCTURE_PATTERNS)
    names = [*sorted({path.name for pattern in patterns for path in target.glob(pattern)}), *OUTPUTS]
    with output_folder(target, names, overwrite=overwrite) as temporary:
        if particles is not None:
            _write_particles(temporary, found, particles, tomogram, prompts, run)
            written = write_exports(
                temporary,
                run.exports,
                [points_of(particles)],
                tilt_series_pixel_size_angstrom=run.tilt_series_pixel_size_angstrom,
                labels=lambda _: particles.labels(),
                lies_at=target,
            )
            names[:0] = [path.name for path in written]
        for part in found.structures:
            _write_structure(temporary, found, part, spacings.get(part.kind), run, target.absolute())
        write_labels(temporary / "labels.csv", found)
        write_mrc_labels(
            temporary / "semantic.mrc",
            found.shape,
            found.painted(),
            found.voxel_size_angstrom,
            run.origin_angstrom,
        )
        listed = {path.name for path in temporary.iterdir()} | {"report.html", "run.json"}
        description["outputs"] = {name: text for name, text in _texts(found).items() if name in listed}
        description["outputs"] |= {} if particles is None else describe_exports(run.exports, points_of(particles))
        page = render_structures(found, tomogram, clicks, description)
        (temporary / "report.html").write_text(page, encoding="utf-8")
        (temporary / "run.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        names[:0] = sorted({path.name for path in temporary.iterdir()} - set(names))
    return target.absolute()


def describe_map(
    found: FullMap,
    *,
    tomogram: Tomogram,
    prompts: Sequence[PointPrompts | SavedQuery | StructureQuery],
    run: RunInfo | None = None,
) -> dict[str, Any]:
    """Return the content of ``run.json``: what `cryosam.io.results.describe_run` says, and the structures."""
    nothing = Segmentation(found.shape, np.zeros((0, 3)), np.zeros(0), (), kind=", ".join(found.kinds))
    own = [each for each in prompts if not isinstance(each, StructureQuery)]
    content = describe_run(found.particles or nothing, tomogram=tomogram, prompts=own, run=run)
    content["queries"] += [
        {
            "kind": each.name,
            "structure": each.structure,
            "digest": each.digest(),
            "n_instances": each.n_instances,
            "source": each.source,
            "source_sha256": each.source_digest,
        }
        for each in prompts
        if isinstance(each, StructureQuery)
    ]
    content["prompts"] = [
        {"kind": each.name, "zyx": point, "is_positive": is_positive}
        for each in prompts
        if isinstance(each, PointPrompts)
        for is_positive in (True, False)
        for point in (each.positive if is_positive else each.negative).tolist()
    ]
    content["warnings"] = list(found.warnings)
    content["warning_codes"] += [each.code for part in found.structures for each in part.report.warnings]
    content["labels"] = [
        {"label": each.label, "kind": each.kind, "structure": each.structure, "n_instances": each.n_instances}
        for each in found.legend()
    ]
    content["structures"] = [
        {
            "kind": part.kind,
            "structure": part.structure,
            "n_instances": len(part.instances),
            "scores": [round(float(score), 5) for score in part.scores],
            "inferred_voxels": sum(each.inferred.n_voxels for each in part.instances),
            "provenance": part.report.provenance(),
        }
        | ({} if part.straightened is None else {"straightened": describe_straightened(part.straightened)})
        for part in found.structures
    ]
    return content


def _write_particles(
    folder: Path,
    found: FullMap,
    particles: Segmentation,
    tomogram: Tomogram,
    prompts: Sequence[PointPrompts | SavedQuery | StructureQuery],
    run: RunInfo,
) -> None:
    """Write what a run with particles alone writes; its page becomes ``particles.html``."""
    names = {part.kind for part in particles.kinds or (particles,)}
    own = [each for each in prompts if each.name in names and not isinstance(each, StructureQuery)]
    description = describe_run(particles, tomogram=tomogram, prompts=own, run=run)
    clicks = [each.positive for each in own if isinstance(each, PointPrompts)]
    page = render_report(particles, tomogram, PointPrompts(np.concatenate(clicks)) if clicks else None, description)
    write_files(folder, particles, description, page, run.origin_angstrom)
    (folder / "report.html").rename(folder / "particles.html")
    write_relations(folder / "relations.csv", found)


def _write_structure(
    folder: Path, found: FullMap, part: StructureResult, spacing: float | None, run: RunInfo, lies_at: Path
) -> None:
    """Write the volumes, the table and the points of one kind."""
    ending = "" if len(found.kinds) == 1 else f"-{part.kind}"
    for name, masks in (
        ("instances", [each.mask for each in part.instances]),
        ("inferred", [each.inferred for each in part.instances]),
    ):
        if name == "instances" or any(mask.n_voxels for mask in masks):
            best_last: list[tuple[int, InstanceMask]] = list(enumerate(masks, start=1))[::-1]
            path = folder / f"{name}{ending}.mrc"
            write_mrc_labels(path, part.shape, best_last, part.voxel_size_angstrom, run.origin_angstrom)
    table = _table_name(found, part)
    if part.structure == "compartment":
        write_compartments(folder / f"{table}.csv", part)
    elif part.structure == "filament":
        write_filaments_csv(folder / f"{table}.csv", part)
        write_straightened(folder, part, ending)
        if spacing is not None:
            _write_filament_points(folder, table, part, spacing, run, lies_at)
    else:
        membranes = [each for each in part.instances if isinstance(each, Membrane)]
        write_membranes(folder / f"{table}.csv", membranes)
        _write_meshes(folder / "meshes", part.kind, membranes, part.voxel_size_angstrom, run)
        if spacing is not None:
            _write_membrane_points(folder, table, part, spacing, run)


def _write_meshes(folder: Path, kind: str, membranes: Sequence[Membrane], size: float, run: RunInfo) -> None:
    """Write a mesh of each membrane, shifted by the origin of the tomogram, as viewers place its volumes."""
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(membranes, start=1):
        mesh = Mesh(each.mesh.vertices + np.array(run.origin_angstrom) / size, each.mesh.faces)
        write_ply(folder / f"{kind}-{number:03d}.ply", mesh, size)
        write_obj(folder / f"{kind}-{number:03d}.obj", mesh, size)


def _write_membrane_points(folder: Path, table: str, part: StructureResult, spacing: float, run: RunInfo) -> None:
    """Write points on membranes for subtomogram averaging."""
    write_membrane_star(folder / f"{table}.star", part, spacing)
    pixel_size = run.tilt_series_pixel_size_angstrom
    for name in ("relion4", "warp"):
        if name in run.exports:
            path = folder / f"{table}-{name}.star"
            write_membrane_star(path, part, spacing, program=name, tilt_series_pixel_size_angstrom=pixel_size)


def _write_filament_points(
    folder: Path, table: str, part: StructureResult, spacing: float, run: RunInfo, lies_at: Path
) -> None:
    """Write points along filaments for subtomogram averaging, in the formats that filaments have."""
    pixel_size = run.tilt_series_pixel_size_angstrom
    write_filaments_star(folder / f"{table}.star", [part], spacing)
    for name in dict.fromkeys(run.exports):
        match name:
            case "relion4" | "warp":
                write_filaments_star(
                    folder / f"{table}-{name}.star",
                    [part],
                    spacing,
                    program=name,
                    tilt_series_pixel_size_angstrom=pixel_size,
                )
            case "dynamo":
                write_filaments_dynamo(folder / f"{table}.tbl", [part], spacing)
            case "copick":
                project = f"{table}-copick"
                write_filaments_copick(folder / project, [part], spacing, lies_at=lies_at / project)


def _table_name(found: FullMap, part: StructureResult) -> str:
    """Name of the files of a kind without their endings; it has that of the kind if others are of the structure."""
    is_only = sum(other.structure == part.structure for other in found.structures) == 1
    return f"{part.structure}s{'' if is_only else f'-{part.kind}'}"


def _texts(found: FullMap) -> dict[str, str]:
    """What each file that can be written holds."""
    texts = {
        "report.html": "this page",
        "labels.csv": "what each number in semantic.mrc stands for: kind, structure, number of instances",
        "semantic.mrc": "the exclusive map: at each voxel the number of its kind, or 0; what was inferred is left out",
        "relations.csv": "per particle: distance to the nearest membrane, and the compartment it is in",
        "particles.html": "the report of the particles",
    }
    texts |= {name: text for name, text in OUTPUTS.items() if name not in texts} if found.particles is not None else {}
    for part in found.structures:
        ending = "" if len(found.kinds) == 1 else f"-{part.kind}"
        texts[f"instances{ending}.mrc"] = f"the number of the {part.structure} at each voxel, or 0; {part.kind}"
        texts[f"inferred{ending}.mrc"] = f"voxels that were filled in without evidence, numbered likewise; {part.kind}"
        texts |= straightened_names(ending)
        table = _table_name(found, part)
        texts[f"{table}.csv"] = _TABLES[part.structure]
        texts[f"{table}.star"] = f"points on {part.structure}s of kind {part.kind}, for subtomogram averaging"
        for ending, program in _POINT_EXPORTS.items():
            texts[f"{table}{ending}"] = f"the same points for {program}"
        texts["meshes"] = "a mesh of each membrane, PLY and OBJ, in angstrom in the frame of the tomogram"
    return texts | {"run.json": OUTPUTS["run.json"]}


_POINT_EXPORTS = {
    "-relion4.star": "RELION 4",
    "-warp.star": "Warp and M",
    ".tbl": "Dynamo; the filament is in column 21",
    ".doc": "Dynamo: the tomogram that .tbl refers to",
    "-copick": "copick",
}
_TABLES = {
    "membrane": "one row per membrane: open or closed, area, thickness, curvature, enclosed volume, score",
    "filament": "points along each filament from one end to the other: z,y,x in voxels",
    "compartment": "one row per compartment: centre, volume, whether the border cuts it, score",
}
