"""A tomogram: its voxels, their size and a name, and access to parts of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from cryosam.arrays import AnyVolume, Image, Plane, Volume
from cryosam.errors import TomogramError, VoxelSizeError
from cryosam.geometry import AXIS
from cryosam.memory import release

__all__ = ["Box", "Contrast", "Tomogram", "Voxels", "box_around", "slice_of"]

Contrast = Literal["dark", "bright"]
"""Whether protein is darker (as recorded) or brighter (inverted) than the ice."""
Box = tuple[slice, slice, slice]
"""Part of a volume: slices along z, y and x, with step 1 and within the volume."""


@runtime_checkable
class Voxels(Protocol):
    """A volume that is read part by part, whether it is in memory, in a file, or computed on demand.

    A tomogram may be larger than memory, so code that works on one requests only the parts that it needs.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""

    def crop(self, box: Box) -> Volume:
        """The voxels in a box, float32; not to be written to."""

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""

    def digest(self) -> str:
        """Identity of the voxels."""


@dataclass(frozen=True, eq=False)
class Tomogram:
    """Voxels with their size and a name.

    Parameters
    ----------
    data
        ``(z, y, x)`` real numbers of any type; may be memory-mapped.
    voxel_size_angstrom
        Edge of a voxel, or None if it is not known. It is never guessed.
    name
        Name that is used in outputs.

    Raises
    ------
    TomogramError
        If ``data`` is not three-dimensional, is empty or is not made of real numbers.
    VoxelSizeError
        If the voxel size is not a positive finite number.
    """

    data: AnyVolume
    voxel_size_angstrom: float | None = None
    name: str = "tomogram"

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise TomogramError(
                f"{self.name}: a tomogram has three dimensions (z, y, x), this has {self.data.ndim} {self.data.shape}"
            )
        if min(self.data.shape) == 0:
            raise TomogramError(f"{self.name}: the volume is empty, shape {self.data.shape}")
        if self.data.dtype.kind not in "uif":
            raise TomogramError(f"{self.name}: voxels must be real numbers, these are {self.data.dtype}")
        size = self.voxel_size_angstrom
        if size is not None and not (np.isfinite(size) and size > 0):
            raise VoxelSizeError(f"{self.name}: the voxel size must be positive, this is {size}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        depth, height, width = self.data.shape
        return depth, height, width

    def crop(self, box: Box) -> Volume:
        """The voxels in a box, float32; not to be written to.

        Examples
        --------
        >>> Tomogram(np.arange(24).reshape(2, 3, 4)).crop(np.s_[1:, 1:2, :2])
        array([[[16., 17.]]], dtype=float32)
        """
        return np.asarray(self.data[box], dtype=np.float32)

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""
        return slice_of(self, plane, index)

    def digest(self) -> str:
        """SHA-256 of the voxels, their type and shape; the name and the voxel size are not included."""
        state = hashlib.sha256(f"{self.data.dtype.str}{self.data.shape}".encode())
        for section in self.data:
            state.update(np.ascontiguousarray(section).data)
        release(self.data)
        return state.hexdigest()

    def voxels(self, length_angstrom: float) -> float:
        """Convert a length in angstrom to voxels.

        Raises
        ------
        VoxelSizeError
            If the voxel size is not known.
        """
        if self.voxel_size_angstrom is None:
            raise VoxelSizeError(
                f"{self.name}: the voxel size is not in the file's header, so a length in angstrom cannot be converted "
                "to voxels; give it with --voxel-size"
            )
        return length_angstrom / self.voxel_size_angstrom


def slice_of(voxels: Voxels, plane: Plane, index: int) -> Image:
    """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes.

    Examples
    --------
    >>> slice_of(Tomogram(np.arange(8).reshape(2, 2, 2)), "y", 1)
    array([[2., 3.],
           [6., 7.]], dtype=float32)
    """
    box = [slice(0, n) for n in voxels.shape]
    box[AXIS[plane]] = slice(index, index + 1)
    return voxels.crop((box[0], box[1], box[2])).squeeze(AXIS[plane])


def box_around(point: Float[np.ndarray, " 3"], half: int, shape: Sequence[int]) -> tuple[Box, Float[np.ndarray, " 3"]]:
    """Box that reaches ``half`` voxels from a point in each direction, and the position of the point in it.

    The box starts at even voxels. Window positions are rounded to whole voxels, halves to even, so an even offset makes
    sure that the point gets the same windows in the box as in the whole volume.

    Examples
    --------
    >>> box_around(np.array([5.0, 6.0, 7.0]), 4, (20, 20, 9))
    ((slice(0, 10, None), slice(2, 11, None), slice(2, 9, None)), array([5., 4., 5.]))
    """
    at = [int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(point, shape, strict=True)]
    z, y, x = (slice(max(0, (c - half) // 2 * 2), min(c + half + 1, n)) for c, n in zip(at, shape, strict=True))
    return (z, y, x), point - np.array([z.start, y.start, x.start])
