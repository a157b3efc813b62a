"""Every coordinate map of the package, each next to its inverse.

Five frames are in use:

=========  ==========================================================================================
volume     voxels ``(z, y, x)``; an integer is a voxel centre
slice      ``(row, col)`` of the image normal to one axis, in voxels; the same unit and origin
window     ``(row, col)`` of a rectangle cut from a slice, in voxels from its first pixel
model      ``(row, col)`` pixels after scaling a window to a model's input and padding bottom and right
level      cubic cells with an edge of ``stride`` voxels; an integer is a cell centre
=========  ==========================================================================================

All resizing is cell-centred: pixel i covers [i - 1/2, i + 1/2], hence the halves in the maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Integer

from cryosam.arrays import Mask, Plane, Points

__all__ = [
    "AXIS",
    "ModelFrame",
    "Window",
    "ball_diameter",
    "child_mask",
    "half_sphere",
    "in_plane_axes",
    "level_shape",
    "level_to_voxel",
    "normals_of",
    "patch_to_pixel",
    "pixel_to_patch",
    "slice_to_volume",
    "unit",
    "volume_to_slice",
    "voxel_to_level",
]

AXIS: dict[Plane, int] = {"z": 0, "y": 1, "x": 2}

RowsCols = Float[np.ndarray, "n 2"]


def in_plane_axes(plane: Plane) -> tuple[int, int]:
    """Volume axes of a slice's rows and columns: z -> (y, x), y -> (z, x), x -> (z, y)."""
    first, second = (axis for axis in range(3) if axis != AXIS[plane])
    return first, second


def volume_to_slice(points: Points, plane: Plane) -> tuple[Float[np.ndarray, " n"], RowsCols]:
    """Split points into the position along the plane's normal and the ``(row, col)`` within the slice.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    plane
        The slice's normal.

    Returns
    -------
    depths, rows_cols
        ``(n,)`` position along the normal and ``(n, 2)`` position in the slice, in voxels.

    Examples
    --------
    >>> volume_to_slice(np.array([[1.0, 2.0, 3.0]]), "y")
    (array([2.]), array([[1., 3.]]))
    """
    return points[:, AXIS[plane]], points[:, list(in_plane_axes(plane))]


def slice_to_volume(depths: Float[np.ndarray, " n"], rows_cols: RowsCols, plane: Plane) -> Points:
    """Inverse of `volume_to_slice`.

    Examples
    --------
    >>> slice_to_volume(np.array([2.0]), np.array([[1.0, 3.0]]), "y")
    array([[1., 2., 3.]])
    """
    points = np.empty((len(depths), 3), dtype=np.result_type(depths, rows_cols))
    points[:, AXIS[plane]] = depths
    points[:, list(in_plane_axes(plane))] = rows_cols
    return points


@dataclass(frozen=True)
class Window:
    """A rectangle of a slice, in voxels: ``top`` and ``left`` may be negative, the part outside is padding."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def around(cls, row: float, col: float, size: int) -> "Window":
        """Square window of ``size`` voxels whose centre lies within half a voxel of ``(row, col)``."""
        return cls(round(row - (size - 1) / 2), round(col - (size - 1) / 2), size, size)

    def moved(self, rows: int, cols: int) -> "Window":
        """The window shifted by whole voxels."""
        return Window(self.top + rows, self.left + cols, self.height, self.width)

    def contains(self, rows: Integer[np.ndarray, " n"], cols: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Which voxels of the slice, by their rows and columns, lie in the window."""
        return np.asarray(
            (rows >= self.top) & (rows < self.top + self.height) & (cols >= self.left) & (cols < self.left + self.width)
        )

    def to_window(self, rows_cols: RowsCols) -> RowsCols:
        """Slice to window coordinates, ``(n, 2)``."""
        return rows_cols - np.array([self.top, self.left], dtype=float)

    def to_slice(self, rows_cols: RowsCols) -> RowsCols:
        """Window to slice coordinates, ``(n, 2)``; inverse of `to_window`."""
        return rows_cols + np.array([self.top, self.left], dtype=float)

    def overlap(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Matching index ranges ``(in_slice, in_window)`` of the part inside a slice of ``height`` x ``width``."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = max(top, min(self.top + self.height, height)), max(left, min(self.left + self.width, width))
        return (
            (slice(top, bottom), slice(left, right)),
            (slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)),
        )


@dataclass(frozen=True)
class ModelFrame:
    """Placement of an image of ``height`` x ``width`` voxels in a square model input of ``size_px`` pixels.

    The image is scaled so that its longer side fills the input; the aspect ratio is kept. The rest of the input, at the
    bottom or at the right, is padding.
    """

    height: int
    width: int
    size_px: int

    @property
    def scale(self) -> float:
        """Model pixels per voxel."""
        return self.size_px / max(self.height, self.width)

    @property
    def content_px(self) -> tuple[int, int]:
        """Height and width of the scaled image within the input, in pixels."""
        return max(1, round(self.height * self.scale)), max(1, round(self.width * self.scale))

    def _scales(self) -> Float[np.ndarray, " 2"]:
        """Exact scale along rows and columns, after the size of the content was rounded to whole pixels."""
        height_px, width_px = self.content_px
        return np.array([height_px / self.height, width_px / self.width])

    def to_model(self, rows_cols: RowsCols) -> RowsCols:
        """Image coordinates (voxels) to model pixels, ``(n, 2)``.

        Examples
        --------
        >>> ModelFrame(height=2, width=4, size_px=8).to_model(np.array([[0.0, 0.0]]))
        array([[0.5, 0.5]])
        """
        return (rows_cols + 0.5) * self._scales() - 0.5

    def to_image(self, rows_cols: RowsCols) -> RowsCols:
        """Model pixels to image coordinates (voxels); inverse of `to_model`."""
        return (rows_cols + 0.5) / self._scales() - 0.5


def patch_to_pixel(indices: Float[np.ndarray, "..."], patch_px: float) -> Float[np.ndarray, "..."]:
    """Centre, in pixels, of the patch with a (possibly fractional) index; an integer is a patch centre.

    Examples
    --------
    >>> patch_to_pixel(np.array([0.0, 1.0]), 14)
    array([ 6.5, 20.5])
    """
    return (indices + 0.5) * patch_px - 0.5


def pixel_to_patch(pixels: Float[np.ndarray, "..."], patch_px: float) -> Float[np.ndarray, "..."]:
    """Fractional patch index of a pixel position; inverse of `patch_to_pixel`."""
    return (pixels + 0.5) / patch_px - 0.5


def level_shape(shape: Sequence[int], stride: int) -> tuple[int, int, int]:
    """Number of cells along z, y, x that cover a volume of ``shape`` voxels, at ``stride`` voxels per cell."""
    depth, height, width = (ceil(n / stride) for n in shape)
    return depth, height, width


def level_to_voxel(
    cells: Integer[np.ndarray, "n 3"] | Points, stride: float, shape: Sequence[int] | None = None
) -> Points:
    """Centre, in voxels, of cells with ``stride`` voxels per cell along each axis.

    Parameters
    ----------
    cells
        ``(n, 3)`` cell indices z, y, x; fractions are allowed.
    stride
        Voxels per cell.
    shape
        Shape of the volume. If it is given, the centres of cells that extend beyond the volume are clipped to it.

    Examples
    --------
    >>> level_to_voxel(np.array([[0, 1, 2]]), 4)
    array([[1.5, 5.5, 9.5]])
    """
    points = (np.asarray(cells, dtype=float) + 0.5) * stride - 0.5
    return points if shape is None else np.clip(points, 0, np.asarray(shape, dtype=float) - 1)


def voxel_to_level(points: Points, stride: float) -> Points:
    """Fractional cell index of voxel positions; inverse of `level_to_voxel`."""
    return (points + 0.5) / stride - 0.5


def child_mask(is_kept: Mask, ratio: int, child_shape: Sequence[int]) -> Bool[np.ndarray, "cz cy cx"]:
    """Mask of the cells of the next finer level that lie within the kept cells of a coarser one.

    Parameters
    ----------
    is_kept
        Cells of the coarser level.
    ratio
        Coarse stride over fine stride.
    child_shape
        Number of cells of the finer level; the last cells may have fewer children.

    Examples
    --------
    >>> child_mask(np.array([[[False, True]]]), 2, (1, 1, 3))
    array([[[False, False,  True]]])
    """
    for axis in range(3):
        is_kept = np.repeat(is_kept, ratio, axis=axis)
    return is_kept[tuple(slice(n) for n in child_shape)]


def ball_diameter(volume: float) -> float:
    """Diameter, in voxels, of a ball with a given volume in voxels.

    Examples
    --------
    >>> round(ball_diameter(4189), 2)
    20.0
    """
    return float((6 * volume / np.pi) ** (1 / 3))


def unit(vectors: Float[np.ndarray, "n 3"]) -> Points:
    """The vectors with length 1; zero stays zero.

    Examples
    --------
    >>> unit(np.array([[0.0, 3.0, 4.0]])).tolist()
    [[0.0, 0.6, 0.8]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype=float)


def half_sphere(n: int) -> Points:
    """Unit vectors ``(n, 3)`` spread evenly over half a sphere (a Fibonacci spiral).

    Examples
    --------
    >>> bool((half_sphere(50)[:, 0] > 0).all())
    True
    """
    index = np.arange(n) + 0.5
    z, turn = index / n, np.pi * (1 + np.sqrt(5)) * index
    radius = np.sqrt(1 - z**2)
    return np.stack([z, radius * np.sin(turn), radius * np.cos(turn)], axis=1)


def normals_of(tangents: Points) -> tuple[Points, Points]:
    """Two unit vectors ``(n, 3)`` normal to each unit tangent and to each other; u, v and the tangent are right-handed.

    Examples
    --------
    >>> u, v = normals_of(np.array([[0.0, 0.0, 1.0]]))
    >>> (np.cross(u, v) + 0.0).tolist()
    [[0.0, 0.0, 1.0]]
    """
    helper = np.eye(3)[np.argmin(np.abs(tangents), axis=1)]
    u = np.cross(tangents, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return u, np.cross(tangents, u)
