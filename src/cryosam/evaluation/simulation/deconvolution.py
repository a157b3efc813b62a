"""Deconvolution of a tomogram by a Wiener filter, as programs apply it so that a user sees more."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from cryosam.arrays import Volume
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation.imaging import transfer_function

__all__ = ["Deconvolution", "deconvolve"]

_MARGIN = 16  # mirrored voxels on each side, so that the opposite faces do not meet


@dataclass(frozen=True, kw_only=True)
class Deconvolution:
    """The assumed signal-to-noise ratio of a Wiener filter, a curve that falls with the frequency.

    The form of the curve is that of Warp [1]_ and IsoNet [2]_, whose usual values the defaults are.

    Parameters
    ----------
    strength
        The assumed ratio of powers at low frequencies is 10 to the power of 3 times this.
    falloff_angstrom
        The assumed ratio falls by a factor of e for each 1 / falloff of frequency, so a larger value leaves less of
        the high frequencies.
    high_pass_angstrom
        Periods longer than this are suppressed, the more the longer, so that gradients across the tomogram go.

    References
    ----------
    .. [1] D. Tegunov, P. Cramer, "Real-time cryo-electron microscopy data preprocessing with Warp", Nat. Methods 16,
       1146-1152, 2019.
    .. [2] Y.-T. Liu et al., "Isotropic reconstruction for electron tomography with deep learning", Nat. Commun. 13,
       6482, 2022.
    """

    strength: float = 1.0
    falloff_angstrom: float = 200.0
    high_pass_angstrom: float = 1000.0

    def __post_init__(self) -> None:
        for name in ("strength", "falloff_angstrom", "high_pass_angstrom"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"{name} must be a positive number, got {getattr(self, name)}")


def deconvolve(tomogram: Volume, voxel_size_angstrom: float, defocus_um: float, deconvolution: Deconvolution) -> Volume:
    r"""Divide a tomogram by its transfer function where the signal is assumed to be above the noise.

    Parameters
    ----------
    tomogram
        ``(z, y, x)``, with phases flipped.
    voxel_size_angstrom
        Edge of a voxel.
    defocus_um
        As in `transfer_function`.
    deconvolution
        The assumed signal-to-noise ratio s.

    Returns
    -------
    deconvolved
        ``(z, y, x)`` float32, filtered by :math:`c / (c^2 + 1 / s)`, where c is the transfer function.

    Examples
    --------
    >>> tomogram = np.random.default_rng(0).normal(size=(16, 18, 20)).astype(np.float32)
    >>> filtered = deconvolve(tomogram, 10.0, 4.0, Deconvolution())
    >>> neighbours = [float((v[1:] * v[:-1]).mean() / (v * v).mean()) for v in (tomogram, filtered)]
    >>> neighbours[1] > 0.5 > neighbours[0]
    True
    """
    padded = np.pad(tomogram, _MARGIN, mode="symmetric")
    n_z, n_y, n_x = padded.shape
    kz, ky, kx = fft.fftfreq(n_z)[:, None, None], fft.fftfreq(n_y)[:, None], fft.rfftfreq(n_x)
    frequency = np.sqrt(kz**2 + ky**2 + kx**2).astype(np.float32) / voxel_size_angstrom
    passed = (1 - np.cos(np.pi * np.minimum(1, frequency * deconvolution.high_pass_angstrom))) / 2
    ratio = 10 ** (3 * deconvolution.strength) * np.exp(-deconvolution.falloff_angstrom * frequency) * passed
    transfer = transfer_function(frequency, defocus_um)
    wiener = transfer * ratio / (transfer**2 * ratio + 1)
    spectrum = fft.rfftn(padded.astype(np.float32, copy=False), workers=-1) * wiener.astype(np.float32)
    inner = (slice(_MARGIN, -_MARGIN),) * 3
    return np.ascontiguousarray(fft.irfftn(spectrum, padded.shape, workers=-1)[inner])
