"""Surfaces as PLY and OBJ, for ChimeraX, Blender, MeshLab and others.

Coordinates are x, y, z in angstrom; the centre of the tomogram's first voxel is at 0, where these programs place an MRC
file whose header has no origin. Seen from the side to which the normal points, faces run counterclockwise.
"""

from pathlib import Path

import numpy as np

from cryosam.errors import InputError
from cryosam.io.atomic import atomic_path
from cryosam.structure_results import Mesh

__all__ = ["read_ply", "write_obj", "write_ply"]

_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", (3,))])


def write_ply(path: Path, mesh: Mesh, voxel_size_angstrom: float) -> None:
    r"""Write a mesh as binary PLY.

    Parameters
    ----------
    path
        The file to create.
    mesh
        In voxels of the tomogram; it may be empty.
    voxel_size_angstrom
        Edge of a voxel.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> mesh = Mesh(np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ply(Path(folder, "m.ply"), mesh, 10.0)
    ...     Path(folder, "m.ply").read_bytes()[:36]
    b'ply\nformat binary_little_endian 1.0\n'
    """
    faces = np.empty(len(mesh.faces), dtype=_FACE)
    faces["count"], faces["vertices"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment x y z in angstrom",
        f"element vertex {len(mesh.vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(np.ascontiguousarray(mesh.vertices[:, ::-1] * voxel_size_angstrom, dtype="<f4").tobytes())
        file.write(faces.tobytes())


def read_ply(path: Path, voxel_size_angstrom: float) -> Mesh:
    """Read a mesh that `write_ply` wrote; other PLY files are refused.

    Parameters
    ----------
    path
        The file.
    voxel_size_angstrom
        Edge of a voxel, as it was for writing.

    Raises
    ------
    InputError
        If the file cannot be read, or is no such file.

    Examples
    --------
    >>> import tempfile
    >>> mesh = Mesh(np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_ply(Path(folder, "m.ply"), mesh, 10.0)
    ...     read_ply(Path(folder, "m.ply"), 10.0).vertices.tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 2.0, 0.0]]
    """
    try:
        head, _, body = path.read_bytes().partition(b"end_header\n")
        counts = {
            words[1]: int(words[2])
            for line in head.splitlines()
            if len(words := line.split()) == 3 and words[0] == b"element"
        }
        n_vertices, n_faces = counts[b"vertex"], counts[b"face"]
        vertices = np.frombuffer(body, "<f4", 3 * n_vertices).reshape(-1, 3)
        faces = np.frombuffer(body, _FACE, n_faces, 12 * n_vertices)["vertices"]
        if faces.size and not 0 <= faces.min() <= faces.max() < n_vertices:
            raise ValueError("its faces have corners that it does not list")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a surface that cryosam wrote, or is damaged: {error}") from error
    return Mesh(vertices[:, ::-1].astype(float) / voxel_size_angstrom, faces.astype(int))


def write_obj(path: Path, mesh: Mesh, voxel_size_angstrom: float) -> None:
    r"""Write a mesh as OBJ, a text file; parameters and errors as in `write_ply`.

    Examples
    --------
    >>> import tempfile
    >>> mesh = Mesh(np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_obj(Path(folder, "m.obj"), mesh, 10.0)
    ...     print(Path(folder, "m.obj").read_text())
    # x y z in angstrom
    v 0.000 0.000 0.000
    v 20.000 0.000 0.000
    v 0.000 20.000 0.000
    f 1 2 3
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write("# x y z in angstrom\n")
        for x, y, z in mesh.vertices[:, ::-1] * voxel_size_angstrom:
            file.write(f"v {x:z.3f} {y:z.3f} {z:z.3f}\n")
        for a, b, c in mesh.faces + 1:  # counted from 1
            file.write(f"f {a} {b} {c}\n")
