"""Normalisation of intensities: detect whether protein is dark or bright, and scale voxels to [0, 1]."""

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
_BLOCK = 64  # voxels, edge of the blocks of a tomogram from which its contrast is detected
_SMOOTHING = 2.5  # voxels, standard deviation of the Gaussian that is applied before the skewness is measured
_LARGEST_DEVIATION = 3.0  # standard deviations at which voxels are clipped: gold markers count no more than protein
_LARGEST_SKEWNESS = 6.0  # standard errors at which the evidence from the whole tomogram is clipped
_SCALES = (2.5, 4.0, 6.0)  # voxels, standard deviations of the Gaussians through which a click is looked at


def _sample(data: AnyVolume) -> Float[np.ndarray, "sz sy sx"]:
    """Regular subsample of at most about four million voxels."""
    step = max(1, int(np.ceil((data.size / _SAMPLE_VOXELS) ** (1 / 3))))
    return data[::step, ::step, ::step].astype(np.float32)


def detect_contrast(tomogram: Tomogram, points: Points) -> Contrast:
    """Tell whether protein is dark or bright.

    Two observations are added up. First, protein is compact and denser than ice, so the distribution of the smoothed
    intensities has its longer tail on the side of protein. This counts in units of the skewness that is expected by
    chance. Second, a click lies on protein, so the density there is compared with that of the surroundings. In a noisy
    tomogram a single click may be inconclusive while the tomogram as a whole is not. In a crowded tomogram, with hardly
    any ice between the proteins, the clicks decide.

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
    skewness = _skewness([tomogram.data[block] for block in _blocks(tomogram.shape)])
    evidence = float(np.clip(skewness, -_LARGEST_SKEWNESS, _LARGEST_SKEWNESS))
    for point in points:
        crop, centre = _crop(tomogram.data, point, 32)
        for sigma in _SCALES:
            smooth = ndimage.gaussian_filter(crop.astype(np.float32), sigma)
            stands_out = float((smooth[centre] - np.median(smooth)) / (smooth.std() + np.finfo(np.float32).tiny))
            evidence += 2 * stands_out / len(_SCALES)
    return "dark" if evidence < 0 else "bright"


def _blocks(shape: tuple[int, int, int]) -> list[Box]:
    """Blocks that sample a volume: two along each axis, or one over its whole length if that is short."""
    along = [
        [slice(0, n)] if n <= 2 * _BLOCK else [slice(m - _BLOCK // 2, m + _BLOCK // 2) for m in (n // 4, 3 * n // 4)]
        for n in shape
    ]
    return list(product(*along))


def _skewness(volumes: Sequence[AnyVolume]) -> float:
    """Skewness of the smoothed intensities of all volumes together, in units of its standard error in noise.

    Outliers are clipped. Smoothing makes neighbouring voxels dependent: there is one independent value for each
    ``(2 sqrt(pi) sigma)^3`` voxels.
    """
    smooth = [ndimage.gaussian_filter(volume.astype(np.float32), _SMOOTHING).ravel() for volume in volumes]
    values = np.concatenate([part - np.median(part) for part in smooth])
    values = values / (values.std() + np.finfo(np.float32).tiny)
    values = np.clip(values, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    values -= values.mean()
    skewness = np.mean(values**3) / max(float(values.std()), 1e-6) ** 3  # 0 where all are equal
    n_independent = len(values) / (2 * np.sqrt(np.pi) * _SMOOTHING) ** 3
    return float(skewness / np.sqrt(6 / n_independent))


def _crop(
    data: AnyVolume, point: Float[np.ndarray, " 3"], half: int
) -> tuple[Num[np.ndarray, "cz cy cx"], tuple[int, int, int]]:
    """Part of a volume within ``half`` voxels of a point, and the position of the point in it."""
    start = [max(0, round(float(p)) - half) for p in point]
    crop = data[tuple(slice(s, round(float(p)) + half + 1) for s, p in zip(start, point, strict=True))]
    z, y, x = (round(float(p)) - s for s, p in zip(start, point, strict=True))
    return crop, (z, y, x)


@dataclass(frozen=True, eq=False)
class Normalised:
    """A tomogram with intensities in [0, 1], protein bright; only the parts that are read are computed.

    Parameters
    ----------
    source
        Tomogram with any intensities.
    low, high
        Intensities of the source that become 0 and 1; values beyond them are clipped.
    is_inverted
        Whether protein is dark in the source.
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
        """SHA-256 of the source's voxels and of the parameters of the normalisation."""
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
        Tomogram with any intensities.
    contrast
        Contrast of the input; if it is "dark", intensities are inverted.
    percentiles
        Percentiles of the input's intensities that become 0 and 1.

    Returns
    -------
    normalised
        float32 voxels in [0, 1], computed for each part when it is read.

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
    """Whether all voxels are finite; read slice by slice, so that a memory-mapped file need not fit into memory."""
    if data.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        for section in data:
            # a non-finite voxel makes the sum non-finite, but so does an overflow: only then check voxel by voxel
            if not np.isfinite(section.sum(dtype=np.float64)) and not np.isfinite(section).all():
                return False
    release(data)
    return True
