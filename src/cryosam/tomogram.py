"""A tomogram: voxels, their size, and intensities made comparable."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage

from cryosam.arrays import AnyVolume, Image, Plane, Points
from cryosam.errors import TomogramError, VoxelSizeError
from cryosam.geometry import AXIS

__all__ = ["Contrast", "Tomogram", "detect_contrast", "normalise"]

Contrast = Literal["dark", "bright"]
"""Whether protein is darker (as recorded) or brighter (inverted) than the ice."""

_SAMPLE_VOXELS = 4_000_000


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
        Used in outputs.

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

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""
        return np.take(self.data, index, axis=AXIS[plane]).astype(np.float32)

    def digest(self) -> str:
        """SHA-256 of the voxels, their type and shape; the name and the voxel size do not enter."""
        state = hashlib.sha256(f"{self.data.dtype.str}{self.data.shape}".encode())
        for section in self.data:
            state.update(np.ascontiguousarray(section).data)
        return state.hexdigest()

    def voxels(self, length_angstrom: float) -> float:
        """A length in voxels.

        Raises
        ------
        VoxelSizeError
            If the voxel size is not known.
        """
        if self.voxel_size_angstrom is None:
            raise VoxelSizeError(
                f"{self.name}: the voxel size is not in the file's header, so a length in angstrom has no meaning; "
                "give it with --voxel-size"
            )
        return length_angstrom / self.voxel_size_angstrom


def _sample(data: AnyVolume) -> Float[np.ndarray, "sz sy sx"]:
    """Regular subsample of at most about four million voxels."""
    step = max(1, int(np.ceil((data.size / _SAMPLE_VOXELS) ** (1 / 3))))
    return data[::step, ::step, ::step].astype(np.float32)


def detect_contrast(tomogram: Tomogram, points: Points) -> Contrast:
    """Tell whether protein is dark or bright.

    Protein is compact and denser than ice, so the smoothed intensities have their long tail on its side; and what lies
    under a click is protein, so the density there, against that of its surroundings, points the same way.

    Parameters
    ----------
    tomogram
        Any intensities.
    points
        ``(n, 3)`` clicks on particles, z, y, x in voxels; may be empty.

    Returns
    -------
    contrast
        "dark" if protein has the lower values.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)
    >>> volume[8:13, 9:14, 10:15] -= 8
    >>> detect_contrast(Tomogram(volume), np.array([[10.0, 11.0, 12.0]]))
    'dark'
    """
    crops = [(tomogram.data, None)] if not len(points) else [_crop(tomogram.data, p, 48) for p in points]
    evidence = 0.0
    for crop, centre in crops:
        smooth = ndimage.gaussian_filter(_sample(crop), 1.5)
        spread = smooth.std() + np.finfo(np.float32).tiny
        evidence += float(np.mean(((smooth - smooth.mean()) / spread) ** 3))
        if centre is not None:
            local = ndimage.gaussian_filter(crop.astype(np.float32), 2.5)
            evidence += 2 * float((local[centre] - np.median(local)) / (local.std() + np.finfo(np.float32).tiny))
    return "dark" if evidence < 0 else "bright"


def _crop(
    data: AnyVolume, point: Float[np.ndarray, " 3"], half: int
) -> tuple[Num[np.ndarray, "cz cy cx"], tuple[int, int, int]]:
    """Part of a volume within ``half`` voxels of a point, and where the point lies in it."""
    start = [max(0, round(float(p)) - half) for p in point]
    crop = data[tuple(slice(s, round(float(p)) + half + 1) for s, p in zip(start, point, strict=True))]
    z, y, x = (round(float(p)) - s for s, p in zip(start, point, strict=True))
    return crop, (z, y, x)


def normalise(tomogram: Tomogram, contrast: Contrast, percentiles: tuple[float, float]) -> Tomogram:
    """Map intensities to [0, 1] between two robust percentiles, clipped, protein bright.

    Parameters
    ----------
    tomogram
        Any intensities.
    contrast
        Of the input; "dark" is inverted.
    percentiles
        Of the input's intensities that become 0 and 1.

    Returns
    -------
    normalised
        float32 voxels in [0, 1].

    Raises
    ------
    TomogramError
        If voxels are not finite, or all have the same value.
    """
    sample = _sample(tomogram.data)
    if not np.isfinite(sample).all():
        raise TomogramError(f"{tomogram.name}: the volume holds NaN or infinite voxels")
    low, high = (float(v) for v in np.percentile(sample, percentiles))
    if high <= low:
        low, high = float(tomogram.data.min()), float(tomogram.data.max())
    if high <= low:
        raise TomogramError(f"{tomogram.name}: all voxels have the same value, {low:g}")
    out = np.empty(tomogram.shape, dtype=np.float32)
    for z, section in enumerate(tomogram.data):  # slice by slice: a memory-mapped file is never whole in memory
        np.subtract(section, low, out=out[z], dtype=np.float32, casting="unsafe")
        out[z] /= high - low
    if not np.isfinite(out.sum(dtype=np.float64)):
        raise TomogramError(f"{tomogram.name}: the volume holds NaN or infinite voxels")
    np.clip(out, 0, 1, out=out)
    if contrast == "dark":
        np.subtract(1, out, out=out)
    return Tomogram(out, tomogram.voxel_size_angstrom, tomogram.name)
