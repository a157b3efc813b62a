"""The power spectrum of a tomogram, averaged over a few boxes: where in Fourier space it has anything."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from cryosam.hot_voxels import without_hot_voxels
from cryosam.tomogram import Voxels

__all__ = ["PowerSpectrum"]

_EDGE = 64  # voxels, largest edge of a box: frequencies are told apart to 1/32 cycle a voxel by the Hann window
_LEAST_EDGE = 16  # voxels; the window blurs an edge in a smaller box over a quarter of all frequencies
_MOST_BOXES = (2, 3, 3)  # along z, y, x: 18 boxes of 64 voxels are 5 million voxels to read, however large the volume
_SHELL = 0.02  # cycles per voxel, thickness of the shells in which the spectrum is described
_MIDDLE = (0.1, 0.2)  # cycles per voxel: where particles have most of their detail at the usual binning
_DOMINANT = 15.0  # decibels above the middle; measured: 3 to 14 in back-projected tomograms, more after Wiener filters
_EMPTY = 20.0  # decibels below the middle: one part in a hundred of the power
_TINY = 1e-30  # power of what is exactly 0


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """Power of a tomogram at the frequencies of a box; the half with x at least 0, the other half is its mirror image.

    Parameters
    ----------
    frequencies
        ``(k, 3)`` along z, y, x in cycles per voxel, without frequency 0.
    decibels
        ``(k,)`` ``10 log10`` of the power, whose mean in each box is 1.
    shape
        Shape of the tomogram.
    """

    frequencies: Float[np.ndarray, "k 3"]
    decibels: Float[np.ndarray, " k"]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, voxels: Voxels) -> "PowerSpectrum":
        """Measure the spectrum: the median over boxes, which are evenly spread, of the power under a Hann window.

        The median, unlike the mean, is not that of a box with a gold bead or with the empty margin of a rotated volume.
        Hot voxels, which are in all boxes, are left out.
        It is empty, with no frequencies, if an axis is too short for a box or all boxes are constant or not finite.

        Parameters
        ----------
        voxels
            Any intensities; only the boxes are read.

        Examples
        --------
        >>> from cryosam.tomogram import Tomogram
        >>> waves = np.cos(2 * np.pi * np.arange(48) / 6) + np.zeros((17, 20, 48))
        >>> spectrum = PowerSpectrum.of(Tomogram(waves))
        >>> (spectrum.frequencies[spectrum.decibels.argmax()] * 48).round(2)
        array([0., 0., 8.])
        """
        size = [min(_EDGE, n) for n in voxels.shape]
        nothing = cls(np.zeros((0, 3)), np.zeros(0), voxels.shape)
        if min(size) < _LEAST_EDGE:
            return nothing
        z, y, x = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in size)
        window = (z[:, None, None] * y[:, None] * x).astype(np.float32)
        powers = []
        for start in product(
            *(_starts(n, s, most) for n, s, most in zip(voxels.shape, size, _MOST_BOXES, strict=True))
        ):
            one, two, three = (slice(first, first + n) for first, n in zip(start, size, strict=True))
            box = without_hot_voxels(voxels.crop((one, two, three)))
            power = np.abs(np.fft.rfftn((box - np.average(box, weights=window)) * window)) ** 2
            mean = float(power.mean())
            if np.isfinite(mean) and mean > _TINY * box.size:
                powers.append((power / mean).astype(np.float32).ravel())
        if not powers:
            return nothing
        grid = np.meshgrid(*map(np.fft.fftfreq, size[:2]), np.fft.rfftfreq(size[2]), indexing="ij")
        frequencies = np.stack(grid, axis=-1).reshape(-1, 3)
        decibels = 10 * np.log10(np.median(powers, axis=0).astype(float) + _TINY)
        return cls(frequencies[1:], decibels[1:], voxels.shape)

    def describe(self, voxel_size_angstrom: float | None) -> str:
        """Say in a few words how the power is distributed over frequencies; empty if the spectrum is.

        Parameters
        ----------
        voxel_size_angstrom
            Edge of a voxel; None gives lengths in voxels.

        Examples
        --------
        >>> from cryosam.tomogram import Tomogram
        >>> PowerSpectrum.of(Tomogram(np.random.default_rng(0).normal(size=(32, 40, 48)))).describe(10.0)
        'noise at all frequencies'
        """
        if not len(self.decibels):
            return ""
        shell = (np.linalg.norm(self.frequencies, axis=1) / _SHELL).astype(int)
        last = int(0.5 / _SHELL)
        levels = np.array([np.quantile(self.decibels[shell == each], 0.75) for each in range(1, last)])
        centres = (np.arange(1, last) + 0.5) * _SHELL
        middle = float(np.median(levels[(centres > _MIDDLE[0]) & (centres < _MIDDLE[1])]))
        words = []
        lows = float(levels[centres < _MIDDLE[0] / 2].max()) - middle
        if lows > _DOMINANT:
            words.append(f"low frequencies dominate (smoothed, denoised or deconvolved), by {lows:.0f} dB")
        is_empty = levels < middle - _EMPTY
        if is_empty[-1]:
            limit = float(centres[np.flatnonzero(~is_empty)[-1]])
            length, unit = (1, "voxels") if voxel_size_angstrom is None else (voxel_size_angstrom, "angstrom")
            words.append(f"band-limited: hardly anything beyond {length / limit:.3g} {unit}")
        return "; ".join(words) or "noise at all frequencies"


def _starts(n: int, size: int, most: int) -> list[int]:
    """First voxels of boxes along an axis, in the middle of equal parts of it."""
    parts = int(np.clip(n // size, 1, most))
    middles = (np.arange(parts) + 0.5) * n / parts
    return [int(np.clip(round(m - size / 2), 0, n - size)) for m in middles]
