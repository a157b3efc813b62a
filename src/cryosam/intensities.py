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
from cryosam.hot_voxels import sample_without_hot_voxels, without_hot_voxels
from cryosam.memory import release
from cryosam.tomogram import Box, Contrast, Tomogram, slice_of

__all__ = ["MAD_TO_DEVIATION", "Normalised", "SeenContrast", "detect_contrast", "normalise", "with_clicks"]

MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution whose median absolute deviation is 1."""

_SAMPLE_VOXELS = 4_000_000
_BLOCK = 64  # voxels, edge of the blocks of a tomogram from which its contrast is detected
_MOST_BLOCKS = (2, 3, 3)  # along z, y, x
_BAND_SCALES = (1.0, 1.6, 2.56, 4.1, 6.55)  # voxels, standard deviations of Gaussians; a band lies between two of them
_LARGEST_DEVIATION = 4.0  # standard deviations at which voxels are clipped: gold markers count no more than protein
_LARGEST_SKEWNESS = 6.0  # standard errors at which the evidence from the whole tomogram is clipped
_CERTAIN = 2.0  # standard errors; noise gives more in one of twenty cases
_SCALES = (2.5, 4.0, 6.0)  # voxels, standard deviations of the Gaussians through which a click is looked at


def _sample(data: AnyVolume) -> Num[np.ndarray, "sz sy sx"]:
    """Regular subsample of at most about four million voxels, without hot ones."""
    step = max(1, int(np.ceil((data.size / _SAMPLE_VOXELS) ** (1 / 3))))
    return sample_without_hot_voxels(data, (step, step, step))


@dataclass(frozen=True, kw_only=True)
class SeenContrast:
    """Whether protein looks dark or bright, and how sure that is.

    Parameters
    ----------
    contrast
        "dark" if protein has the lower values.
    evidence
        In standard errors of what noise would give; negative for dark.
    """

    contrast: Contrast
    evidence: float

    @property
    def is_certain(self) -> bool:
        """Whether the evidence is more than what noise gives."""
        return abs(self.evidence) >= _CERTAIN


def detect_contrast(tomogram: Tomogram, points: Points) -> SeenContrast:
    """Tell whether protein is dark or bright.

    Two observations are added up. First, a specimen is made of compact parts denser than ice. The third cumulant of
    such density, whether the parts form a ball, a shell or a membrane, is positive in any fine band of frequencies, so
    the distribution of intensities there has its longer tail on the side of protein. At coarse scales this does not
    hold: ice within shells and vesicles or between crowded particles is then what stands out. Each of several bands
    counts in units of the skewness expected by chance. Second, a click lies on protein, so the density there is
    compared with that of the surroundings. In a noisy tomogram a single click may be inconclusive while the tomogram as
    a whole is not. In a crowded tomogram, with hardly any ice between the proteins, the clicks decide.

    Parameters
    ----------
    tomogram
        Any intensities.
    points
        ``(n, 3)`` clicks on particles, z, y, x in voxels; may be empty.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)
    >>> volume[8:13, 9:14, 10:15] -= 8
    >>> detect_contrast(Tomogram(volume), np.array([[10.0, 11.0, 12.0]])).contrast
    'dark'
    """
    skewness = _skewness([without_hot_voxels(tomogram.data[block]) for block in _blocks(tomogram.shape)])
    evidence = float(np.clip(skewness, -_LARGEST_SKEWNESS, _LARGEST_SKEWNESS))
    return with_clicks(_seen(evidence), tomogram, points)


def with_clicks(seen: SeenContrast, tomogram: Tomogram, points: Points) -> SeenContrast:
    """Add what is seen at clicks to what is known about the contrast of the whole tomogram.

    Parameters
    ----------
    seen
        Answer of `detect_contrast` without points.
    tomogram, points
        As in `detect_contrast`; only voxels around the points are read.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(size=(20, 24, 28)).astype(np.float32)
    >>> volume[8:13, 9:14, 10:15] += 8
    >>> click = np.array([[10.0, 11.0, 12.0]])
    >>> with_clicks(SeenContrast(contrast="dark", evidence=-1.0), Tomogram(volume), click).contrast
    'bright'
    """
    evidence = seen.evidence
    for point in points:
        crop, centre = _crop(tomogram.data, point, 32)
        crop = without_hot_voxels(crop).astype(np.float32)
        for sigma in _SCALES:
            smooth = ndimage.gaussian_filter(crop, sigma)
            stands_out = float((smooth[centre] - np.median(smooth)) / (smooth.std() + np.finfo(np.float32).tiny))
            evidence += 2 * stands_out / len(_SCALES)
    return _seen(evidence)


def _seen(evidence: float) -> SeenContrast:
    return SeenContrast(contrast="dark" if evidence < 0 else "bright", evidence=evidence)


def _blocks(shape: tuple[int, int, int]) -> list[Box]:
    """Blocks that sample a volume evenly, or one over the whole length of an axis that is short."""
    along = []
    for n, most in zip(shape, _MOST_BLOCKS, strict=True):
        parts = int(np.clip(n // _BLOCK, 1, most))
        middles = [round((i + 0.5) * n / parts) for i in range(parts)]
        is_short = n < 2 * _BLOCK
        along.append([slice(0, n)] if is_short else [slice(m - _BLOCK // 2, m + _BLOCK // 2) for m in middles])
    return list(product(*along))


def _skewness(volumes: Sequence[AnyVolume]) -> float:
    """Skewness of the intensities in several bands, each in units of its standard error in noise, as one such number.

    Outliers are clipped in each band. Its voxels depend on their neighbours: there is one independent value for each
    ``(2 sqrt(pi) sigma)^3`` voxels.
    """
    bands = list(zip(*(_bands(volume) for volume in volumes), strict=True))
    standard = []
    for sigma, parts in zip(_BAND_SCALES, bands, strict=False):
        n_voxels = sum(part.size for part in parts)
        skewness = sum(part.size * _clipped_skewness(part) for part in parts) / n_voxels
        n_independent = n_voxels / (2 * np.sqrt(np.pi) * sigma) ** 3
        standard.append(skewness / np.sqrt(6 / n_independent))
    return float(sum(standard) / np.sqrt(len(standard)))


def _bands(volume: AnyVolume) -> list[Volume]:
    """Differences between a volume smoothed by each Gaussian and by the next wider one."""
    smooth, sigma, bands = volume.astype(np.float32), 0.0, []
    for wider in _BAND_SCALES:
        following = ndimage.gaussian_filter(smooth, np.sqrt(wider**2 - sigma**2), truncate=3)
        bands.append(smooth - following)
        smooth, sigma = following, wider
    return bands[1:]


def _clipped_skewness(values: Volume) -> float:
    """Skewness of intensities, clipped at some robust standard deviations from their median."""
    sample = values[::2, ::2, ::2]
    median = np.median(sample)
    deviation = MAD_TO_DEVIATION * np.median(np.abs(sample - median))
    if deviation == 0:
        deviation = values.std() + np.finfo(np.float32).tiny
    clipped = np.clip((values - median) / deviation, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    clipped -= clipped.mean()
    square = float(np.mean(clipped * clipped))
    return float(np.mean(clipped * clipped * clipped)) / max(square, 1e-12) ** 1.5  # 0 where all are equal


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
        with np.errstate(over="ignore"):  # what is infinite in single precision is clipped too
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
    low, high = (float(v) for v in np.percentile(sample.astype(np.float32), percentiles))
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
