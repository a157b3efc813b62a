"""Files of meshes, PLY and OBJ, in the frame of the tomogram: x, y, z in angstrom."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryosam.arrays import Points
from cryosam.io.atomic import atomic_path
from cryosam.structure_results import Mesh

__all__ = ["write_obj", "write_ply"]


def write_ply(
    path: Path,
    mesh: Mesh,
    voxel_size_angstrom: float,
    *,
    normals: Points | None = None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    r"""Write a mesh as binary PLY.

    Parameters
    ----------
    path
        The file to create.
    mesh
        Vertices z, y, x in voxels.
    voxel_size_angstrom
        Edge of a voxel.
    normals
        One unit vector z, y, x per vertex; the triangles are turned so that they run counterclockwise seen from the
        side to which it points. Left out, triangles keep their order.
    origin_angstrom
        Position of voxel (0, 0, 0) along z, y, x, as in the header of the tomogram.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> triangle = Mesh(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0, 1, 2]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ply(Path(folder, "m.ply"), triangle, 10.0)
    ...     Path(folder, "m.ply").read_bytes()[:36]
    b'ply\nformat binary_little_endian 1.0\n'
    """
    vertices, faces = _in_angstrom(mesh, voxel_size_angstrom, normals, origin_angstrom)
    names = ["x", "y", "z"] if normals is None else ["x", "y", "z", "nx", "ny", "nz"]
    columns = vertices if normals is None else np.concatenate([vertices, normals[:, ::-1]], axis=1)
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment x, y, z in angstrom in the frame of the tomogram",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in names),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    rows = np.empty(len(faces), dtype=[("n", "u1"), ("at", "<i4", 3)])
    rows["n"], rows["at"] = 3, faces
    with atomic_path(path) as temporary:
        content = "\n".join(header).encode("ascii") + b"\n" + columns.astype("<f4").tobytes() + rows.tobytes()
        temporary.write_bytes(content)


def write_obj(
    path: Path,
    mesh: Mesh,
    voxel_size_angstrom: float,
    *,
    normals: Points | None = None,
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a mesh as Wavefront OBJ, as `write_ply` does.

    Examples
    --------
    >>> import tempfile
    >>> triangle = Mesh(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), np.array([[0, 1, 2]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_obj(Path(folder, "m.obj"), triangle, 10.0)
    ...     print(*Path(folder, "m.obj").read_text().splitlines()[2:], sep="; ")
    v 0.000 20.000 0.000; v 10.000 0.000 0.000; f 1 2 3
    """
    vertices, faces = _in_angstrom(mesh, voxel_size_angstrom, normals, origin_angstrom)
    lines = ["# x, y, z in angstrom in the frame of the tomogram"]
    lines += [f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in vertices.tolist()]
    if normals is not None:
        lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for z, y, x in normals.tolist()]
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (faces + 1).tolist()]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def _in_angstrom(
    mesh: Mesh, voxel_size: float, normals: Points | None, origin: tuple[float, float, float]
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"]]:
    """Vertices x, y, z in angstrom, and faces that run counterclockwise seen from where the normals point."""
    vertices = (mesh.vertices * voxel_size + np.array(origin))[:, ::-1]
    faces = mesh.faces
    if normals is not None and len(faces):
        a, b, c = (vertices[faces[:, corner]] for corner in range(3))
        outwards = normals[faces].mean(axis=1)[:, ::-1]
        is_turned = np.sum(np.cross(b - a, c - a) * outwards, axis=1) < 0
        faces = np.where(is_turned[:, None], faces[:, ::-1], faces)
    return vertices, faces
