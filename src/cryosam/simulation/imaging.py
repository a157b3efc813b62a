"""What a tilt series and its reconstruction do to a density, as one operation on its Fourier transform.

The slice theorem: the projection at tilt angle t holds the Fourier coefficients of the plane normal to the beam. With
tilts about y and the beam along z, the planes of all tilts fill the wedge-shaped region in which the angle of
``(kz, kx)`` lies within the tilt range; outside it nothing is measured. Each projection is multiplied by the
microscope's transfer function, a function of the spatial frequency alone, so the reconstruction is too. White noise
of the projections, of which 1/r pass through a Fourier cell at distance r from the tilt axis, has in the weighted
back-projection the power r.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import fft, ndimage

from cryosam.arrays import Mask, Volume

__all__ = ["is_measured", "record", "transfer_function"]

_WAVELENGTH_ANGSTROM = 0.0197  # of electrons of 300 kV
_CS_ANGSTROM = 2.7e7
_AMPLITUDE_CONTRAST = 0.07
_DAMPING_ANGSTROM = 6.0  # standard deviation of the blur by motion, dose and detector


def _frequencies(shape: tuple[int, int, int]) -> list[Float[np.ndarray, "..."]]:
    """Open grid of the spatial frequencies of `rfftn`, cycles a voxel, z, y, x."""
    axes = [fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])]
    return [a.astype(np.float32) for a in np.ix_(*axes)]


def is_measured(shape: tuple[int, int, int], tilt_range_degrees: tuple[float, float]) -> Bool[np.ndarray, "kz 1 kx"]:
    """Fourier coefficients that some tilt records.

    Parameters
    ----------
    shape
        Of the volume, voxels z, y, x.
    tilt_range_degrees
        Lowest and highest tilt about y. The plane of tilt t is ``kz = kx tan t``.

    Returns
    -------
    measured
        ``(nz, 1, nx // 2 + 1)``, the same for all ky, in the order of `scipy.fft.rfftn`.

    Examples
    --------
    >>> is_measured((4, 4, 4), (-45, 45))[:, 0].astype(int)
    array([[1, 1, 1],
           [0, 1, 1],
           [0, 0, 1],
           [0, 1, 1]])
    """
    kz, _, kx = _frequencies(shape)
    low, high = np.tan(np.radians(tilt_range_degrees))
    edge = np.float32(1e-6)
    return np.asarray((kz >= low * kx - edge) & (kz <= high * kx + edge))


def transfer_function(frequency: Float[np.ndarray, "..."], defocus_um: float) -> Float[np.ndarray, "..."]:
    r"""Contrast transfer at 300 kV, phases flipped, protein positive.

    Parameters
    ----------
    frequency
        Cycles per angstrom.
    defocus_um
        Underfocus; 0 is perfect transfer.

    Returns
    -------
    transfer
        :math:`|\sin(\pi \lambda \Delta k^2 - \tfrac{\pi}{2} C_s \lambda^3 k^4 + \arcsin w)|`, in [0, 1].

    Examples
    --------
    >>> bool(transfer_function(np.array([0.0]), 4.0)[0] < 0.1)
    True
    """
    if defocus_um == 0:
        return np.ones_like(frequency)
    k2 = frequency**2
    phase = np.pi * _WAVELENGTH_ANGSTROM * defocus_um * 1e4 * k2
    phase = phase - np.pi / 2 * _CS_ANGSTROM * _WAVELENGTH_ANGSTROM**3 * k2**2
    return np.abs(np.sin(phase + np.arcsin(_AMPLITUDE_CONTRAST)))


def record(
    density: Volume,
    particles: Mask,
    rng: np.random.Generator,
    *,
    voxel_size_angstrom: float,
    tilt_range_degrees: tuple[float, float],
    defocus_um: float,
    snr: float,
    smoothing: float,
) -> Volume:
    """Tomogram of a density, protein bright, background about 0 with noise of standard deviation 1 before smoothing.

    Parameters
    ----------
    density
        ``(z, y, x)``.
    particles
        ``(z, y, x)`` where the signal is measured.
    rng
        Every random number comes from here.
    voxel_size_angstrom
        Edge of a voxel.
    tilt_range_degrees
        As in `is_measured`.
    defocus_um
        As in `transfer_function`.
    snr
        Mean square of the noiseless tomogram over the ``particles``, divided by the variance of the noise, both
        before smoothing. Infinite means no noise.
    smoothing
        Standard deviation in voxels of the Gaussian that is applied last.

    Returns
    -------
    tomogram
        ``(z, y, x)`` float32.

    Examples
    --------
    >>> density = np.zeros((9, 10, 11), dtype=np.float32)
    >>> density[4, 5, 6] = 1
    >>> seen = record(density, density > 0, np.random.default_rng(0), voxel_size_angstrom=10.0,
    ...               tilt_range_degrees=(-60, 60), defocus_um=0, snr=np.inf, smoothing=0)
    >>> [int(i) for i in np.unravel_index(seen.argmax(), seen.shape)]
    [4, 5, 6]
    """
    inner = tuple(slice(0, n) for n in density.shape)
    depth, height, width = (fft.next_fast_len(n + 32, real=True) for n in density.shape)
    shape = (depth, height, width)
    measured = is_measured(shape, tilt_range_degrees)
    kz, ky, kx = _frequencies(shape)

    transformed = fft.rfftn(density, shape)
    frequency = np.sqrt(kz**2 + ky**2 + kx**2) / voxel_size_angstrom
    transformed *= transfer_function(frequency, defocus_um) * measured
    transformed *= np.exp(-2 * (np.pi * _DAMPING_ANGSTROM * frequency) ** 2)
    signal = fft.irfftn(transformed, shape)[inner]
    if np.isinf(snr):
        return ndimage.gaussian_filter(signal, smoothing)

    noise = rng.standard_normal(shape, dtype=np.float32)
    transformed = fft.rfftn(noise)
    transformed *= np.sqrt(np.sqrt(kz**2 + kx**2)) * measured
    noise = fft.irfftn(transformed, shape)[inner]
    power = float(np.mean(signal[particles] ** 2)) if particles.any() else 1.0
    tomogram = signal * np.sqrt(snr / power) + noise / noise.std()
    return ndimage.gaussian_filter(tomogram, smoothing)
