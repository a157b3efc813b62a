"""Intensities made comparable: whether protein is dark or bright, and a scale from 0 to 1."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage

from cryosam.arrays import AnyVolume, Image, Plane, Points, Volume
from cryosam.errors import TomogramError
from cryosam.memory import release
from cryosam.tomogram import Box, Contrast, Tomogram, slice_of

__all__ = ["Normalised", "detect_contrast", "normalise"]

_SAMPLE_VOXELS = 4_000_000
_BLOCK = 64  # voxels, edge of the parts of a tomogram that tell its contrast
_SMOOTHING = 2.5  # standard deviation in voxels, at which intensities are skewed by what is compact
_FARTHEST = 3.0  # standard deviations that a voxel can stand out: gold counts no more than protein
_SURE = 6.0  # standard errors: what all of a tomogram tells counts no more
_SCALES = (2.5, 4.0, 6.0)  # standard deviations in voxels, at which a click lies on something


def _sample(data: AnyVolume) -> Float[np.ndarray, "sz sy sx"]:
    """Regular subsample of at most about four million voxels."""
    step = max(1, int(np.ceil((data.size / _SAMPLE_VOXELS) ** (1 / 3))))
    return data[::step, ::step, ::step].astype(np.float32)


def detect_contrast(tomogram: Tomogram, points: Points) -> Contrast:
    """Tell whether protein is dark or bright.

    Protein is compact and denser than ice, so the smoothed intensities have their long tail on its side, as far as that
    is more than chance; and what lies under a click is protein, so the density there, against that of its surroundings,
    points the same way. In noise a single click may not tell, where all of the tomogram does; where hardly any ice is
    left between the proteins, the click does.

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
    evidence = float(np.clip(_skewness([tomogram.data[block] for block in _blocks(tomogram.shape)]), -_SURE, _SURE))
    for point in points:
        crop, centre = _crop(tomogram.data, point, 32)
        for sigma in _SCALES:
            smooth = ndimage.gaussian_filter(crop.astype(np.float32), sigma)
            stands_out = float((smooth[centre] - np.median(smooth)) / (smooth.std() + np.finfo(np.float32).tiny))
            evidence += 2 * stands_out / len(_SCALES)
    return "dark" if evidence < 0 else "bright"


def _blocks(shape: tuple[int, int, int]) -> list[Box]:
    """Parts of a volume that stand for all of it; all of it where it is small."""
    along = [
        [slice(0, n)] if n <= 2 * _BLOCK else [slice(m - _BLOCK // 2, m + _BLOCK // 2) for m in (n // 4, 3 * n // 4)]
        for n in shape
    ]
    return list(product(*along))


def _skewness(volumes: Sequence[AnyVolume]) -> float:
    """Of smoothed intensities together, in units of its standard error in noise; what stands out most counts no more.

    After smoothing, so many voxels as a Gaussian's square fills tell one thing.
    """
    smooth = [ndimage.gaussian_filter(volume.astype(np.float32), _SMOOTHING).ravel() for volume in volumes]
    values = np.concatenate([part - np.median(part) for part in smooth])
    values = np.clip(values / (values.std() + np.finfo(np.float32).tiny), -_FARTHEST, _FARTHEST)
    values -= values.mean()
    skewness = np.mean(values**3) / max(float(values.std()), 1e-6) ** 3  # 0 where all are equal
    n_independent = len(values) / (2 * np.sqrt(np.pi) * _SMOOTHING) ** 3
    return float(skewness / np.sqrt(6 / n_independent))


def _crop(
    data: AnyVolume, point: Float[np.ndarray, " 3"], half: int
) -> tuple[Num[np.ndarray, "cz cy cx"], tuple[int, int, int]]:
    """Part of a volume within ``half`` voxels of a point, and where the point lies in it."""
    start = [max(0, round(float(p)) - half) for p in point]
    crop = data[tuple(slice(s, round(float(p)) + half + 1) for s, p in zip(start, point, strict=True))]
    z, y, x = (round(float(p)) - s for s, p in zip(start, point, strict=True))
    return crop, (z, y, x)


@dataclass(frozen=True, eq=False)
class Normalised:
    """A tomogram with intensities in [0, 1], protein bright; they are computed where they are looked at.

    Parameters
    ----------
    source
        Any intensities.
    low, high
        The source's intensities that become 0 and 1; what is beyond is clipped.
    is_inverted
        Whether the source's protein is dark.
    """

    source: Tomogram
    low: float
    high: float
    is_inverted: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.source.shape

    def crop(self, box: Box) -> Volume:
        """The voxels in a box, float32."""
        out: Volume = np.subtract(self.source.data[box], self.low, dtype=np.float32, casting="unsafe")
        out /= self.high - self.low
        np.clip(out, 0, 1, out=out)
        return np.subtract(1, out, out=out) if self.is_inverted else out

    def slice(self, plane: Plane, index: int) -> Image:
        """Image normal to ``plane`` at ``index``, float32, ``(h, w)`` in the order of the volume's axes."""
        return slice_of(self, plane, index)

    def digest(self) -> str:
        """SHA-256 of the source's voxels and of what is made of them."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        settings = f"{self.source.digest()} {self.low!r} {self.high!r} {self.is_inverted}"
        return hashlib.sha256(settings.encode()).hexdigest()


def normalise(tomogram: Tomogram, contrast: Contrast, percentiles: tuple[float, float]) -> Normalised:
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
        float32 voxels in [0, 1], a part of it at a time.

    Raises
    ------
    TomogramError
        If voxels are not finite, or all have the same value.

    Examples
    --------
    >>> volume = np.arange(24.0).reshape(2, 3, 4)
    >>> normalise(Tomogram(volume), "dark", (0, 100)).crop(np.s_[:1, :1, :]).round(2)
    array([[[1.  , 0.96, 0.91, 0.87]]], dtype=float32)
    """
    sample = _sample(tomogram.data)
    if not (np.isfinite(sample).all() and _is_finite(tomogram.data)):
        raise TomogramError(f"{tomogram.name}: the volume holds NaN or infinite voxels")
    low, high = (float(v) for v in np.percentile(sample, percentiles))
    if high <= low:
        low, high = float(tomogram.data.min()), float(tomogram.data.max())
    if high <= low:
        raise TomogramError(f"{tomogram.name}: all voxels have the same value, {low:g}")
    return Normalised(tomogram, low, high, contrast == "dark")


def _is_finite(data: AnyVolume) -> bool:
    """Whether all voxels are numbers; a memory-mapped file is never whole in memory."""
    if data.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        for section in data:
            # a sum is not finite if a term is not; that of finite terms may overflow, which only a closer look can tell
            if not np.isfinite(section.sum(dtype=np.float64)) and not np.isfinite(section).all():
                return False
    release(data)
    return True
