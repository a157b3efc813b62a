"""Files of membranes: a table, a mesh for each, and points with normals for subtomogram averaging.

A pose turns the reference, whose membrane is normal to z, so that z is the normal; the turn about the normal is free.
In a STAR file tilt and psi are therefore priors too, and ``rlnTomoManifoldIndex`` is the number of the membrane.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points
from cryosam.errors import PointsFileError
from cryosam.io.folders import make_folder
from cryosam.io.meshes import write_obj, write_ply
from cryosam.io.points import PointTable
from cryosam.io.relion import rotations_to_angles
from cryosam.io.star_output import StarProgram, write_star
from cryosam.io.structure_tables import write_rows
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.io.x_first import x_first
from cryosam.structure_results import Membrane, StructureResult

__all__ = ["sample_membrane", "write_membrane_meshes", "write_membranes_csv", "write_membranes_star"]

_COLUMNS = (
    "membrane",
    *"zyx",
    "is_closed",
    "area_angstrom2",
    "thickness_angstrom",
    "curvature_radius_angstrom",
    "enclosed_angstrom3",
    "score",
    "voxels",
    "inferred_voxels",
)


def write_membranes_csv(path: Path, part: StructureResult) -> None:
    """Write one row per membrane; ``z``, ``y``, ``x`` are its centre of mass in voxels, unknown values are empty."""
    rows = [
        (
            number,
            *(f"{c:.3f}" for c in each.mask.centroid),
            int(each.is_closed),
            *(_or_empty(value) for value in (each.area_angstrom2, each.thickness_angstrom)),
            *(_or_empty(value) for value in (each.curvature_radius_angstrom, each.enclosed_angstrom3)),
            f"{each.score:.5f}",
            each.mask.n_voxels,
            each.inferred.n_voxels,
        )
        for number, each in _membranes(part)
    ]
    write_rows(path, _COLUMNS, rows)


def write_membrane_meshes(
    folder: Path, part: StructureResult, origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> None:
    """Write a mesh of each membrane as PLY and OBJ, named by the kind and the number of the membrane."""
    make_folder(folder)
    for number, each in _membranes(part):
        if not len(each.mesh.faces):
            continue
        normals = each.normals[KDTree(each.points).query(each.mesh.vertices)[1]]
        for ending, write in (("ply", write_ply), ("obj", write_obj)):
            path = folder / f"{part.kind}-{number:03d}.{ending}"
            write(path, each.mesh, part.voxel_size_angstrom, normals=normals, origin_angstrom=origin_angstrom)


def sample_membrane(membrane: Membrane, spacing: float) -> Int[np.ndarray, " n"]:
    """Rows of points of a membrane that are at least a spacing in voxels apart, and cover it.

    Examples
    --------
    >>> from cryosam.masks import InstanceMask
    >>> from cryosam.structure_results import Mesh
    >>> line = np.array([[0.0, 0.0, float(x)] for x in range(7)])
    >>> nothing = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))
    >>> nan = float("nan")
    >>> wall = Membrane(InstanceMask.empty(), 0.9, line, line * 0, nothing, False, nan, nan, nan, nan)
    >>> sample_membrane(wall, 3.0)
    array([0, 3, 6])
    """
    tree = KDTree(membrane.points)
    is_left = np.ones(len(membrane.points), dtype=bool)
    kept = []
    for row in range(len(membrane.points)):
        if is_left[row]:
            kept.append(row)
            is_left[tree.query_ball_point(membrane.points[row], spacing * (1 - 1e-9))] = False
    return np.array(kept, dtype=int)


def write_membranes_star(
    path: Path,
    part: StructureResult,
    spacing_angstrom: float,
    *,
    program: StarProgram = "relion5",
    tilt_series_pixel_size_angstrom: float | None = None,
) -> None:
    """Write points on membranes as particles whose z axis is the outward normal.

    Parameters
    ----------
    path
        The file to create.
    part
        Of membranes. Points are measured ones of each membrane; what was inferred has none.
    spacing_angstrom
        Least distance of points; points of a membrane are about 20 A apart, and are not made denser.
    program, tilt_series_pixel_size_angstrom
        As in `cryosam.io.star_output.write_star`.

    Raises
    ------
    PointsFileError, VoxelSizeError, OutputError
        As in `cryosam.io.star_output.write_star`, and if the spacing is not positive.
    """
    if not spacing_angstrom > 0:
        raise PointsFileError(f"points on membranes need a spacing in angstrom, got {spacing_angstrom:g}")
    chosen = [
        (number, each, sample_membrane(each, spacing_angstrom / part.voxel_size_angstrom))
        for number, each in _membranes(part)
    ]
    points = np.concatenate([np.zeros((0, 3)), *(each.points[rows] for _, each, rows in chosen)])
    normals = np.concatenate([np.zeros((0, 3)), *(each.normals[rows] for _, each, rows in chosen)])
    numbers = np.concatenate([np.zeros(0, dtype=int), *(np.full(len(rows), n) for n, _, rows in chosen)])
    scores = np.concatenate([np.zeros(0), *(np.full(len(rows), each.score) for _, each, rows in chosen)])
    rotations = _from_z(normals) if len(normals) else None
    columns = pd.DataFrame({"rlnTomoManifoldIndex": numbers})
    if rotations is not None and program != "warp":
        columns[["rlnAngleTiltPrior", "rlnAnglePsiPrior"]] = rotations_to_angles(rotations)[:, 1:]
    table = PointTable(points, scores, (part.kind,) * len(points), instances=numbers, rotations=rotations)
    write_star(
        path,
        [
            TomogramPoints(
                table=table,
                name=part.name,
                shape=part.shape,
                voxel_size_angstrom=part.voxel_size_angstrom,
                kinds=(part.kind,),
            )
        ],
        program=program,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
        columns={part.name: columns} if len(points) else None,
    )


def _from_z(normals: Points) -> Rotation:
    """Rotations from z to each normal, which act on z, y, x."""
    z = normals[:, ::-1]
    helper = np.eye(3)[np.abs(z).argmin(axis=1)]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x_first(Rotation.from_matrix(np.stack([x, np.cross(z, x), z], axis=2)))


def _membranes(part: StructureResult) -> list[tuple[int, Membrane]]:
    """The membranes of a result with their numbers, from 1."""
    return [(n, each) for n, each in enumerate(part.instances, start=1) if isinstance(each, Membrane)]


def _or_empty(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""
