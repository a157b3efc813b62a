"""Surfaces through points with normals: meshes, areas, and the volumes that they enclose.

Inside and outside are told by the field whose gradient is best that of the normals (Poisson reconstruction, Kazhdan et
al. 2006). It continues a surface smoothly where nothing was measured, so that a sheet with gaps still encloses a
volume; how much of the surface was measured is then counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft, ndimage
from skimage.measure import marching_cubes

from cryosam.arrays import Mask, Points, Volume
from cryosam.geometry import unit
from cryosam.missing_wedge import MissingWedge
from cryosam.structure_results import Mesh

__all__ = ["Enclosed", "Field", "area", "enclosed_volume", "vertex_normals"]

_LARGEST_FIELD = 1_000_000
"""Cells of a field; larger boxes get larger cells."""

_NO_MESH = Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))

_SMOOTH = 1.2
"""Cells, standard deviation of the Gaussian that makes a field of points."""


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A volume that a surface encloses, measured and inferred parts together.

    Parameters
    ----------
    inside
        ``(z, y, x)`` cells of the field.
    sign
        Of the field inside: 1 if the normals point outwards.
    visible_share
        Measured part of the surface, of that whose normals the missing wedge lets one see.
    share
        Measured part of the whole surface.
    is_cut
        Whether the volume reaches out of the tomogram.
    """

    inside: Mask
    sign: int
    visible_share: float
    share: float
    is_cut: bool


@dataclass(frozen=True, eq=False)
class Field:
    """A field on cells around a surface: 0 on it, negative on the side to which the normals point.

    Parameters
    ----------
    values
        ``(z, y, x)`` of the cells.
    origin
        Position of the first cell, z, y, x in voxels.
    cell
        Edge of a cell in voxels.
    distance
        ``(z, y, x)`` of each cell from the nearest cell with a point, in cells.
    reach
        Cells from a point that count as measured.
    """

    values: Volume
    origin: Float[np.ndarray, " 3"]
    cell: int
    distance: Volume
    reach: float

    @classmethod
    def of(cls, points: Points, normals: Points, reach: float) -> "Field":
        """The field of points with normals.

        Parameters
        ----------
        points, normals
            ``(n, 3)`` z, y, x in voxels; normals to the same side everywhere.
        reach
            Voxels around a point that count as measured.
        """
        low, high = points.min(axis=0), points.max(axis=0)
        extent = high - low + 1
        margin = np.maximum(0.25 * extent.max(), 2 * reach + 4)
        cell = 1
        while np.prod((extent + 2 * margin) / cell) > _LARGEST_FIELD:
            cell += 1
        origin = np.floor(low - margin)
        shape = tuple(fft.next_fast_len(int(n), real=True) for n in np.ceil((extent + 2 * margin) / cell))
        at = (points - origin) / cell
        density = ndimage.gaussian_filter(_splat(at, np.ones(len(at)), shape), _SMOOTH)
        weight = 1 / np.maximum(ndimage.map_coordinates(density, at.T, order=1), 1e-6)
        chi = _integrated(at, -normals * weight[:, None], shape)
        # the level through the points varies where they are sparse
        values = ndimage.map_coordinates(chi, at.T, order=1)
        smoothed = ndimage.gaussian_filter(_splat(at, values * weight, shape), 4)
        number = ndimage.gaussian_filter(_splat(at, weight, shape), 4)
        mean, least = float(np.average(values, weights=weight)), 0.05 * float(number.max())
        level = (smoothed + least * mean) / (number + least)
        occupied = _splat(at, np.ones(len(at)), shape) > 0
        distance = np.asarray(ndimage.distance_transform_edt(~occupied), dtype=np.float32)
        return cls((chi - level).astype(np.float32), origin, cell, distance, max(reach / cell, 1.0))

    def mesh(self, enclosed: Enclosed | None = None) -> Mesh:
        """The surface where it was measured, or the whole surface around what it encloses."""
        values, mask = self.values, self.distance <= _RIM
        if enclosed is not None:
            values = np.where(ndimage.binary_dilation(enclosed.inside), enclosed.sign * values, -np.abs(values))
            mask = ndimage.binary_dilation(enclosed.inside, iterations=2)
        if not (values[mask] > 0).any() or not (values[mask] < 0).any():
            return _NO_MESH
        try:
            vertices, faces, _, _ = marching_cubes(values, 0.0, mask=mask, gradient_direction="descent")
        except (ValueError, RuntimeError):  # no face within the mask
            return _NO_MESH
        return Mesh(np.asarray(vertices * self.cell + self.origin, dtype=float), faces.astype(np.int64))

    def bounds(self, enclosed: Enclosed, points: Points) -> Bool[np.ndarray, " n"]:
        """Which points lie on the surface around what it encloses: within two cells of it."""
        outside = ndimage.distance_transform_edt(~enclosed.inside)
        within = ndimage.distance_transform_edt(enclosed.inside)
        at = ((points - self.origin) / self.cell).T
        distance = ndimage.map_coordinates(np.asarray(outside + within, dtype=float), at, order=1)
        return np.asarray(distance <= _ON_SURFACE)

    def enclosed(self, wedge: MissingWedge, shape: tuple[int, int, int], least_cells: int = 27) -> Iterator[Enclosed]:
        """Volumes on either side of the surface that it encloses, the largest first.

        Parameters
        ----------
        wedge
            Tells which normals are visible.
        shape
            Of the binned tomogram, voxels.
        least_cells
            Smaller volumes are left out.
        """
        gradient = None
        for sign in (1, -1):
            side = sign * self.values > 0
            # opened, so that a pinhole in a reconstruction does not empty what it encloses
            labels, n = ndimage.label(ndimage.binary_opening(side, iterations=_OPENING))
            outer = np.concatenate([np.unique(face) for face in _faces(labels)])
            sizes = np.bincount(labels.ravel(), minlength=n + 1)
            for label in sorted(set(range(1, n + 1)) - set(outer.tolist()), key=lambda k: -sizes[k]):
                if sizes[label] < least_cells:
                    break
                inside = ndimage.binary_dilation(labels == label) & side
                edge = inside & ~ndimage.binary_erosion(inside)
                if gradient is None:
                    gradient = np.gradient(self.values)
                at = np.argwhere(edge)
                normals = unit(np.stack([g[edge] for g in gradient], axis=1).astype(float))
                is_visible = wedge.is_sampled(*normals.T)
                is_measured = self.distance[edge] <= self.reach
                place = at * self.cell + self.origin
                is_out = ((place < -0.5) | (place > np.array(shape) - 0.5)).any(axis=1)
                yield Enclosed(
                    inside,
                    sign,
                    float(is_measured[is_visible].mean()) if is_visible.any() else 0.0,
                    float(is_measured.mean()),
                    bool(is_out.mean() > _CUT),
                )


_RIM = 1.5
"""Cells by which the mesh of an open sheet reaches beyond its points: the least without holes between points."""

_OPENING = 2
"""Cells: narrower necks do not join what a surface encloses to what is outside."""

_ON_SURFACE = 2.5
"""Cells from the nearest cell on the other side of a surface, for a point on it."""

_CUT = 0.01
"""Share of a closed surface outside the tomogram above which the volume counts as cut; below, it touches the border."""


def _faces(labels: Int[np.ndarray, "z y x"]) -> list[Int[np.ndarray, "h w"]]:
    return [labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]


def _splat(at: Points, values: Float[np.ndarray, " n"], shape: tuple[int, ...]) -> Volume:
    """Values shared among the eight cells around each point."""
    low = np.floor(at).astype(int)
    part = at - low
    out = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, part, 1 - part), axis=1)
        index = np.ravel_multi_index(tuple(np.clip(low + corner, 0, np.array(shape) - 1).T), shape)
        out += np.bincount(index, share * values, len(out))
    return out.reshape(shape).astype(np.float32)


def _integrated(at: Points, vectors: Points, shape: tuple[int, ...]) -> Volume:
    """The field whose gradient is nearest to the vectors at the points."""
    z, y, x = fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])
    frequencies = (z[:, None, None], y[None, :, None], x[None, None, :])
    divergence = np.zeros((len(z), len(y), len(x)), dtype=np.complex64)
    for axis, each in enumerate(frequencies):
        part = ndimage.gaussian_filter(_splat(at, vectors[:, axis], shape), _SMOOTH)
        divergence += np.asarray(fft.rfftn(part)) * each.astype(np.float32)
    square = frequencies[0] ** 2 + frequencies[1] ** 2 + frequencies[2] ** 2
    square[0, 0, 0] = 1.0
    return np.asarray(fft.irfftn(-1j * divergence / (2 * np.pi * square), s=shape), dtype=float)


def area(mesh: Mesh) -> float:
    """Area of a mesh, squares of voxels.

    Examples
    --------
    >>> area(Mesh(np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]])))
    2.0
    """
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def enclosed_volume(mesh: Mesh) -> float:
    """Volume inside a closed mesh, cubes of voxels; negative if its faces are turned inwards.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])  # z, y, x
    >>> faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])  # counterclockwise from outside
    >>> round(enclosed_volume(Mesh(corners, faces)), 4)
    0.1667
    """
    a, b, c = (mesh.vertices[mesh.faces[:, k]][:, ::-1] for k in range(3))  # x, y, z: a right-handed frame
    return float(np.einsum("ni,ni->n", a, np.cross(b, c)).sum() / 6)


def vertex_normals(mesh: Mesh) -> Points:
    """Unit normals at the vertices, on the side from which the faces run counterclockwise: means over faces by area.

    Examples
    --------
    >>> flat = Mesh(np.array([[0.0, 0, 0], [0, 0, 2], [0, 2, 0]]), np.array([[0, 1, 2]]))  # z, y, x
    >>> vertex_normals(flat)[0].tolist()  # from x to y, seen from above
    [1.0, 0.0, 0.0]
    """
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    turned = np.cross(c - a, b - a)  # z, y, x is a left-handed order of the axes
    total = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], turned)
    return unit(total)
