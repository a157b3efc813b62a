"""Membranes, filaments and compartments of an earlier run, read from its volumes, tables and meshes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryosam.arrays import Points
from cryosam.errors import InputError
from cryosam.geometry import unit
from cryosam.io.earlier_results import ending_of, masks_of_labels, name_tables, read_labels, read_run, warnings_of
from cryosam.io.meshes import read_ply
from cryosam.io.volumes import read_info
from cryosam.masks import InstanceMask
from cryosam.run_report import RunReport
from cryosam.structure_results import (
    Compartment,
    Filament,
    Membrane,
    Mesh,
    StructureInstance,
    StructureKind,
    StructureResult,
)

__all__ = ["read_structure_results"]

_STRUCTURES: dict[str, StructureKind] = {each: each for each in ("membrane", "filament", "compartment")}


def read_structure_results(folder: Path) -> tuple[StructureResult, ...]:
    """Read the structures that `cryosam.io.structure_files.write_map` wrote, one result per kind.

    Points on a membrane are the middles of the measured triangles of its mesh, because the points that it was found by
    are in no file. Where instances share voxels, only the better one has them. An instance of which no voxel and no
    triangle is left has no place and is left out.

    Parameters
    ----------
    folder
        Result folder of one tomogram.

    Returns
    -------
    results
        In the order of the run; none if it searched for particles only.

    Raises
    ------
    InputNotFoundError, InputError
        If a file is missing or damaged.
    """
    run = read_run(folder)
    return tuple(_read(folder, run, part) for part in run.get("structures", []))


@dataclass(frozen=True, eq=False)
class _Volumes:
    """What the volumes of a kind hold of one instance, its score, and its number from 1."""

    number: int
    score: float
    mask: InstanceMask
    inferred: InstanceMask


def _read(folder: Path, run: Mapping[str, Any], part: Mapping[str, Any]) -> StructureResult:
    """The result of one kind."""
    kind, given = str(part["kind"]), run["input"]
    structure, table = name_tables(run)[kind]
    size = float(given["voxel_size_angstrom"])
    path, volumes = folder / f"{table}.csv", _volumes(folder, ending_of(run, kind), part["scores"])
    instances: Iterator[StructureInstance]
    try:
        rows = pd.read_csv(path)
        match structure:
            case "membrane":
                origin = np.array(read_info(folder / f"instances{ending_of(run, kind)}.mrc").origin_angstrom) / size
                instances = _membranes(rows, volumes, folder / "meshes" / kind, size, origin)
            case "filament":
                instances = _filaments(rows, volumes)
            case _:
                instances = _compartments(rows, volumes)
        found: tuple[StructureInstance, ...] = tuple(instances)
    except (OSError, KeyError, IndexError) as error:
        raise InputError(f"{path} does not describe what was found ({error}); run it again") from error
    clicks = [each["zyx"] for each in run["prompts"] if each.get("kind") == kind and each["is_positive"]]
    z, y, x = given["shape_zyx"]
    return StructureResult(
        shape=(z, y, x),
        structure=_STRUCTURES[structure],
        instances=found,
        prompts=np.array(clicks, dtype=float).reshape(-1, 3),
        voxel_size_angstrom=size,
        name=str(given["name"]),
        kind=kind,
        report=replace(RunReport.from_provenance(part["provenance"]), warnings=warnings_of(run, kind)),
    )


def _volumes(folder: Path, ending: str, scores: Sequence[float]) -> list[_Volumes]:
    numbers = range(1, len(scores) + 1)
    masks = masks_of_labels(read_labels(folder / f"instances{ending}.mrc"), numbers)
    path = folder / f"inferred{ending}.mrc"
    nothing = (InstanceMask.empty(),) * len(scores)
    inferred = masks_of_labels(read_labels(path), numbers) if path.is_file() else nothing
    return [_Volumes(*each) for each in zip(numbers, scores, masks, inferred, strict=True)]


def _membranes(
    rows: pd.DataFrame, volumes: Sequence[_Volumes], meshes: Path, size: float, origin: np.ndarray
) -> Iterator[Membrane]:
    """Membranes with their meshes, whose files begin with the path ``meshes`` and have the origin of the tomogram."""
    for each in volumes:
        row = rows.iloc[each.number - 1]
        shifted = read_ply(meshes.with_name(f"{meshes.name}-{each.number:03d}.ply"), size)
        mesh = Mesh(shifted.vertices - origin, shifted.faces)
        points, normals = _triangles(mesh)
        is_measured = ~each.inferred.contains(points)
        if not len(points):
            continue
        chosen = is_measured if is_measured.any() else ~is_measured
        radius = float(row["curvature_radius_angstrom"])
        yield Membrane(
            mask=each.mask,
            score=each.score,
            points=points[chosen],
            normals=normals[chosen],
            mesh=mesh,
            is_closed=row["closed"] == "yes",
            thickness_angstrom=float(row["thickness_angstrom"]),
            area_angstrom2=float(row["area_angstrom2"]),
            enclosed_angstrom3=float(row["enclosed_angstrom3"]),
            curvature_radius_angstrom=np.inf if np.isnan(radius) else radius,  # a flat one is written without
            inferred=each.inferred,
        )


def _triangles(mesh: Mesh) -> tuple[Points, Points]:
    """The middle of each triangle, and its unit normal on the side from which its corners run counterclockwise."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return (a + b + c) / 3, unit(np.cross(c - a, b - a))  # z, y, x is a left-handed order of the axes


def _filaments(rows: pd.DataFrame, volumes: Sequence[_Volumes]) -> Iterator[Filament]:
    for each in volumes:
        own = rows[rows["filament"] == each.number]
        yield Filament(
            mask=each.mask,
            score=each.score,
            points=own[["z", "y", "x"]].to_numpy(dtype=float),
            tangents=unit(own[["tangent_z", "tangent_y", "tangent_x"]].to_numpy(dtype=float)),
            length_angstrom=float(own["length_angstrom"].iloc[0]),
            radius_angstrom=float(own["radius_angstrom"].iloc[0]),
            inferred=each.inferred,
        )


def _compartments(rows: pd.DataFrame, volumes: Sequence[_Volumes]) -> Iterator[Compartment]:
    for each in volumes:
        row = rows.iloc[each.number - 1]
        if each.mask.n_voxels:
            yield Compartment(each.mask, each.score, float(row["volume_angstrom3"]), bool(row["is_cut"]))
