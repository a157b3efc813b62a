"""Files of membranes: a table of their measures, and points with outward normals for subtomogram averaging."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points
from cryosam.errors import OutputError
from cryosam.io.atomic import atomic_path
from cryosam.io.points import PointTable
from cryosam.io.relion import rotations_to_angles
from cryosam.io.star_output import StarProgram, write_star
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.structure_results import Membrane, StructureResult

__all__ = ["membrane_points", "normals_to_rotations", "write_membrane_star", "write_membranes"]

_COLUMNS = (
    "membrane",
    "score",
    "closed",
    "area_angstrom2",
    "thickness_angstrom",
    "curvature_radius_angstrom",
    "enclosed_angstrom3",
    "n_voxels",
    "n_inferred_voxels",
)


def write_membranes(path: Path, membranes: Sequence[Membrane]) -> None:
    """Write one line for each membrane, numbered from 1 as in ``instances.mrc``; what was not measured is left empty.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for number, each in enumerate(membranes, 1):
            measures = (
                each.area_angstrom2,
                each.thickness_angstrom,
                each.curvature_radius_angstrom,
                each.enclosed_angstrom3,
            )
            writer.writerow(
                [
                    number,
                    f"{each.score:.5f}",
                    "yes" if each.is_closed else "no",
                    *(f"{value:.1f}" if np.isfinite(value) else "" for value in measures),
                    each.mask.n_voxels,
                    each.inferred.n_voxels,
                ]
            )


def membrane_points(membrane: Membrane, spacing: float) -> Int[np.ndarray, " k"]:
    """Indices of points of a membrane that are at least ``spacing`` voxels apart, and leave no gap twice as wide.

    Only measured points are taken, none on inferred parts. The distance is straight, not along the membrane.
    """
    points = membrane.points
    tree, is_free = cKDTree(points), np.ones(len(points), dtype=bool)
    chosen = []
    # along the first axis of the membrane, so that neighbours are taken one after the other
    for index in np.lexsort(points.T[::-1]).tolist():
        if is_free[index]:
            chosen.append(index)
            is_free[tree.query_ball_point(points[index], spacing * (1 - 1e-9))] = False
    return np.array(chosen, dtype=np.int64)


def normals_to_rotations(normals: Points) -> Rotation:
    """Rotations, which act on z, y, x, that turn the reference's +z to each normal by the smallest angle.

    The angle about the normal is arbitrary: nothing in a membrane tells it.

    Examples
    --------
    >>> normals_to_rotations(np.array([[0.0, 0.0, 1.0]])).apply([1.0, 0.0, 0.0]).round(6).tolist()
    [[0.0, 0.0, 1.0]]
    """
    z = np.array([1.0, 0.0, 0.0])
    axis: Float[np.ndarray, "n 3"] = np.cross(np.broadcast_to(z, normals.shape), normals)
    sine, cosine = np.linalg.norm(axis, axis=1), normals @ z
    angle = np.arctan2(sine, cosine)
    is_along = sine < 1e-9  # at 180 degrees any axis across will do
    axis = np.where(is_along[:, None], [0.0, 0.0, 1.0], axis / np.where(is_along, 1, sine)[:, None])
    return Rotation.from_rotvec(axis * angle[:, None])


def write_membrane_star(
    path: Path,
    result: StructureResult,
    spacing_angstrom: float,
    *,
    program: StarProgram = "relion5",
    tilt_series_pixel_size_angstrom: float | None = None,
) -> int:
    """Write points on membranes with their outward normals, for subtomogram averaging, and return their number.

    ``rlnClassNumber`` is the number of the membrane, from 1, and so is ``rlnTomoManifoldIndex``;
    ``rlnAutopickFigureOfMerit`` is its score. The angles are those of the rotation whose +z is the normal. Tilt and psi
    are priors too, because only the turn about the normal is unknown.

    Parameters
    ----------
    path
        The file to create.
    result
        Membranes of one tomogram.
    spacing_angstrom
        Least distance of points of one membrane.
    program, tilt_series_pixel_size_angstrom
        As in `cryosam.io.star_output.write_star`.

    Raises
    ------
    OutputError
        If the spacing is not positive, or there is no space or no permission.
    """
    if not spacing_angstrom > 0:
        raise OutputError(f"{path}: the spacing of points must be positive, not {spacing_angstrom:g} angstrom")
    points, normals, numbers, scores = [np.zeros((0, 3))], [np.zeros((0, 3))], [], []
    for number, each in enumerate(result.instances, 1):
        if not isinstance(each, Membrane):
            continue
        chosen = membrane_points(each, spacing_angstrom / result.voxel_size_angstrom)
        points.append(each.points[chosen])
        normals.append(each.normals[chosen])
        numbers += [str(number)] * len(chosen)
        scores += [each.score] * len(chosen)
    rotations = normals_to_rotations(np.concatenate(normals)) if numbers else None
    table = PointTable(np.concatenate(points), np.array(scores, dtype=float), tuple(numbers), rotations=rotations)
    columns = pd.DataFrame({"rlnTomoManifoldIndex": np.array(numbers, dtype=int)})
    if rotations is not None and program != "warp":
        columns[["rlnAngleTiltPrior", "rlnAnglePsiPrior"]] = rotations_to_angles(rotations)[:, 1:]
    part = TomogramPoints(
        table=table, name=result.name, shape=result.shape, voxel_size_angstrom=result.voxel_size_angstrom
    )
    write_star(
        path,
        [part],
        program=program,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
        columns={result.name: columns} if numbers else None,
    )
    return len(table)
