"""Filters that are the same in all directions: whitening by the tomogram's own spectrum, and others after it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import fft

from cryosam.arrays import Scores, Volume
from cryosam.missing_wedge import MissingWedge

__all__ = ["Whitened", "filter_radially", "whiten"]

_N_SHELLS = 64  # shells of the spectrum between frequency 0 and 0.5
_LEAST_POWER = 1e-3  # of the strongest shell: what a filter removed is not amplified further


@dataclass(frozen=True, eq=False)
class Whitened:
    """A volume whose sampled frequencies all have the same mean power.

    Parameters
    ----------
    data
        ``(z, y, x)`` float32, standard deviation 1.
    frequencies, power
        ``(n,)`` cycles per voxel, and mean power of the volume before whitening at them, in the frequencies that the
        tilt series sampled.
    """

    data: Volume
    frequencies: Scores
    power: Scores


def whiten(volume: Volume, wedge: MissingWedge) -> Whitened:
    """Divide each shell of the spectrum by its mean amplitude.

    Parameters
    ----------
    volume
        ``(z, y, x)``.
    wedge
        Frequencies in it do not count for the mean.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(12, 14, 16)).astype(np.float32)
    >>> whiten(noise, MissingWedge()).data.shape
    (12, 14, 16)
    """
    spectrum = fft.rfftn(volume.astype(np.float32, copy=False))
    fy, fx = np.meshgrid(np.fft.fftfreq(volume.shape[1]), np.fft.rfftfreq(volume.shape[2]), indexing="ij")
    total, count = np.zeros(_N_SHELLS + 1), np.zeros(_N_SHELLS + 1)
    for plane, z in zip(spectrum, np.fft.fftfreq(volume.shape[0]), strict=True):
        radius = np.sqrt(z**2 + fy**2 + fx**2)
        is_used = wedge.is_sampled(np.full_like(fy, z), fy, fx) & (radius <= 0.5) & (radius > 0)
        shell = np.rint(2 * _N_SHELLS * radius[is_used]).astype(int)
        total += np.bincount(shell, np.abs(plane[is_used]) ** 2, _N_SHELLS + 1)
        count += np.bincount(shell, minlength=_N_SHELLS + 1)
    frequencies = np.arange(_N_SHELLS + 1) / (2 * _N_SHELLS)
    is_known = count > 0
    power = np.interp(frequencies, frequencies[is_known], total[is_known] / count[is_known] / volume.size)
    power = np.maximum(power, max(_LEAST_POWER * float(power.max()), 1e-12))
    white = _filtered(spectrum, volume.shape, frequencies, 1 / np.sqrt(power))
    white /= max(float(white.std()), 1e-12)
    return Whitened(white, frequencies, power)


def filter_radially(volume: Volume, frequencies: Scores, gains: Scores) -> Volume:
    """Multiply each frequency by a gain that depends on its length only; there is no gain beyond 0.5.

    Parameters
    ----------
    volume
        ``(z, y, x)``; what lies outside counts as its opposite side.
    frequencies, gains
        ``(n,)`` cycles per voxel, ascending, and the factors at them.

    Examples
    --------
    >>> filter_radially(np.ones((3, 4, 5), dtype=np.float32), np.array([0.0, 0.5]), np.array([2.0, 0.0]))[0, 0, 0]
    np.float32(2.0)
    """
    return _filtered(fft.rfftn(volume.astype(np.float32, copy=False)), volume.shape, frequencies, gains)


def _filtered(
    spectrum: Float[np.ndarray, "..."] | np.ndarray,
    shape: tuple[int, ...],
    frequencies: Scores,
    gains: Scores,
) -> Volume:
    """The volume of a half spectrum, which is overwritten, after the gains."""
    fy, fx = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None, :]
    for plane, z in zip(spectrum, np.fft.fftfreq(shape[0]), strict=True):
        plane *= np.interp(np.sqrt(z**2 + fy**2 + fx**2), frequencies, gains, right=0.0).astype(np.float32)
    return np.asarray(fft.irfftn(spectrum, s=shape), dtype=np.float32)
