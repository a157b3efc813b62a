"""Tilt series of a density and weighted back-projection, both by the Fourier slice theorem.

The Fourier transform of the projection at tilt t about y, with the beam along z, is that of the density on the plane
``kz = kx tan t``. A tilt is stored as these coefficients at every integer kx and ky. The transform along y and x is a
fast Fourier transform. Along z, where the plane passes between the points of the grid, it is computed as a sum over z.
So nothing is interpolated, neither in the projection nor in the back-projection, and a point stays at its voxel. There
are two differences from a camera: the pixels of tilt t are ``cos t`` voxels wide along x, for which noise and transfer
are corrected, and the specimen is periodic along y and x, with a margin in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from scipy import fft, ndimage

from cryosam.arrays import Mask, Volume

__all__ = [
    "MARGIN",
    "Imaging",
    "Slices",
    "Tilts",
    "add_noise",
    "back_project",
    "list_tilts",
    "project",
    "record",
    "transfer_function",
]

Slices = Complex[np.ndarray, "kx tilt ky"]
"""Fourier coefficients of a tilt series: kx as in `rfftfreq`, ky as in `fftfreq`, 0 beyond Nyquist of the camera."""

Tilts = Float[np.ndarray, " tilt"]
"""One number for each tilt; unless said otherwise, its angle in degrees."""

_WAVELENGTH_ANGSTROM = 0.0197  # of electrons at 300 kV
_CS_ANGSTROM = 2.7e7
_AMPLITUDE_CONTRAST = 0.07
_DAMPING_ANGSTROM = 6.0  # standard deviation of the blur by motion, dose and detector
MARGIN = 32
"""Empty voxels beside the specimen before it repeats; wider than the CTF fringes around a particle."""


def list_tilts(tilt_range_degrees: tuple[float, float], tilt_step_degrees: float) -> Tilts:
    """Tilts in degrees, from the lowest in equal steps, none above the highest.

    Examples
    --------
    >>> list_tilts((-60, 60), 30)
    array([-60., -30.,   0.,  30.,  60.])
    """
    low, high = tilt_range_degrees
    return float(low) + tilt_step_degrees * np.arange(int((high - low) / tilt_step_degrees + 1e-6) + 1)


def _frequencies(n_y: int, n_x: int, tilts: Tilts) -> list[Float[np.ndarray, "..."]]:
    """Open grid of frequencies for `Slices`: cycles per voxel along the camera's x, and along y."""
    kx = fft.rfftfreq(n_x)[:, None, None] / np.cos(np.radians(tilts))[None, :, None]
    return [kx, fft.fftfreq(n_y)[None, None, :]]


def _waves(n_z: int, n_x: int, tilts: Tilts) -> Complex[np.ndarray, "kx tilt z"]:
    """Plane waves exp(-2 pi i kz z) along z at ``kz = kx tan t``, with z counted from the centre."""
    kz = fft.rfftfreq(n_x)[:, None] * np.tan(np.radians(tilts))
    z = np.arange(n_z) - (n_z - 1) / 2
    return np.exp(-2j * np.pi * kz[..., None] * z).astype(np.complex64)


def project(density: Volume, tilts: Tilts) -> Slices:
    """Tilt series of a density, without noise or contrast transfer.

    Parameters
    ----------
    density
        ``(z, y, x)``.
    tilts
        ``(t,)`` about y, in degrees.

    Returns
    -------
    slices
        ``(x // 2 + 1, t, y)`` complex64.

    Examples
    --------
    >>> slices = project(np.ones((3, 4, 5), dtype=np.float32), np.array([0.0]))
    >>> slices.shape, float(slices[0, 0, 0].real)
    ((3, 1, 4), 60.0)
    """
    n_z, n_y, n_x = density.shape
    planes = fft.rfft2(density.astype(np.float32, copy=False), workers=-1)
    slices = _waves(n_z, n_x, tilts) @ np.ascontiguousarray(planes.transpose(2, 0, 1))
    kx, _ = _frequencies(n_y, n_x, tilts)
    return np.asarray(slices * (kx < 0.5))


def back_project(slices: Slices, tilts: Tilts, shape: tuple[int, int, int]) -> Volume:
    """Weighted back-projection: the adjoint of `project`, with each coefficient weighted by the size of its cell.

    The size of the cell is the distance between the planes of neighbouring tilts. Near the tilt axis the planes are
    closer than a volume of this depth can resolve; there it is the resolution divided by the number of tilts.

    Parameters
    ----------
    slices
        From `project`.
    tilts
        ``(t,)`` evenly spaced, in degrees.
    shape
        Shape of the volume, voxels along z, y, x.

    Returns
    -------
    volume
        ``(z, y, x)`` float32; the measured Fourier components have the same scale as in the density.

    Examples
    --------
    >>> tilts = list_tilts((-60, 60), 3)
    >>> density = np.zeros((9, 10, 11), dtype=np.float32)
    >>> density[2, 3, 4] = 1
    >>> seen = back_project(project(density, tilts), tilts, density.shape)
    >>> [int(i) for i in np.unravel_index(seen.argmax(), seen.shape)]
    [2, 3, 4]
    """
    n_z, n_y, n_x = shape
    step = np.radians(tilts[1] - tilts[0]) if len(tilts) > 1 else 0.0
    spacing = fft.rfftfreq(n_x)[:, None] * step / np.cos(np.radians(tilts)) ** 2
    weights = np.maximum(spacing, 1 / (n_z * len(tilts))).astype(np.float32)
    waves = np.conj(_waves(n_z, n_x, tilts)).transpose(0, 2, 1)
    planes = waves @ (slices * weights[..., None]).astype(np.complex64)
    return fft.irfft2(np.ascontiguousarray(planes.transpose(1, 2, 0)), (n_y, n_x), workers=-1)


def transfer_function(frequency: Float[np.ndarray, "..."], defocus_um: float) -> Float[np.ndarray, "..."]:
    r"""Contrast transfer function at 300 kV, with phases flipped and protein positive.

    Parameters
    ----------
    frequency
        Cycles per angstrom.
    defocus_um
        Underfocus; 0 means perfect transfer.

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


def _shot_noise(n_y: int, n_x: int, tilts: Tilts, rng: np.random.Generator) -> Slices:
    """White noise, the same in every tilt, of variance 1 in a pixel of one square voxel."""
    # a pixel of tilt t is cos t voxels wide, so the variance of the sum over it is cos t
    noise = rng.standard_normal((len(tilts), n_y, n_x), dtype=np.float32)
    noise *= np.sqrt(np.cos(np.radians(tilts)), dtype=np.float32)[:, None, None]
    kx, _ = _frequencies(n_y, n_x, tilts)
    return np.asarray(fft.rfft2(noise, workers=-1).transpose(2, 0, 1) * (kx < 0.5), dtype=np.complex64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Imaging:
    """How a density is recorded.

    Parameters
    ----------
    voxel_size_angstrom
        Edge of a voxel.
    tilts
        ``(t,)`` about y, evenly spaced, in degrees; the beam is along z.
    defocus_um
        As in `transfer_function`; constant within a tilt.
    snr
        Mean square of the noiseless tomogram over the ``particles``, divided by the variance of the noise, both
        before smoothing. The noise is white and equally strong in every tilt. Infinite means no noise.
    smoothing
        Standard deviation in voxels of the Gaussian filter that is applied last.
    """

    voxel_size_angstrom: float
    tilts: Tilts
    defocus_um: float
    snr: float
    smoothing: float


def record(
    density: Volume,
    particles: Mask,
    rng: np.random.Generator,
    imaging: Imaging,
) -> Volume:
    """Simulate the tomogram of a density: protein bright, background about 0, noise of variance 1 before smoothing.

    Parameters
    ----------
    density
        ``(z, y, x)``.
    particles
        ``(z, y, x)`` the voxels in which the signal is measured.
    rng
        Source of all random numbers.
    imaging
        Tilts, defocus and noise.

    Returns
    -------
    tomogram
        ``(z, y, x)`` float32.

    Examples
    --------
    >>> density = np.zeros((9, 10, 11), dtype=np.float32)
    >>> density[4, 5, 6] = 1
    >>> imaging = Imaging(
    ...     voxel_size_angstrom=10.0, tilts=list_tilts((-60, 60), 3), defocus_um=0.0, snr=np.inf, smoothing=0.0
    ... )
    >>> seen = record(density, density > 0, np.random.default_rng(0), imaging)
    >>> [int(i) for i in np.unravel_index(seen.argmax(), seen.shape)]
    [4, 5, 6]
    """
    tilts, snr = imaging.tilts, imaging.snr
    n_z, n_y, n_x = density.shape
    height, width = (fft.next_fast_len(n + MARGIN, real=True) for n in (n_y, n_x))
    padded = (n_z, height, width)

    slices = project(np.pad(density, [(0, 0), (0, height - n_y), (0, width - n_x)]), tilts)
    frequency = np.hypot(*_frequencies(height, width, tilts)) / imaging.voxel_size_angstrom
    damping = np.exp(-2 * (np.pi * _DAMPING_ANGSTROM * frequency) ** 2)
    slices *= (transfer_function(frequency, imaging.defocus_um) * damping).astype(np.float32)
    tomogram = _reconstruct(slices, tilts, padded, density.shape)
    noise = None
    if not np.isinf(snr):
        noise = _reconstruct(_shot_noise(height, width, tilts, rng), tilts, padded, density.shape)
    return ndimage.gaussian_filter(add_noise(tomogram, noise, particles, snr), imaging.smoothing)


def add_noise(signal: Volume, noise: Volume | None, particles: Mask, snr: float) -> Volume:
    """Scale a noiseless tomogram and add noise of variance 1 at a signal-to-noise ratio, as `Imaging` defines it.

    Parameters
    ----------
    signal
        ``(z, y, x)`` the noiseless tomogram; it is changed.
    noise
        ``(z, y, x)`` of any variance; None leaves the signal as it is.
    particles
        ``(z, y, x)`` the voxels in which the signal is measured; if there are none, its power is taken as 1.
    snr
        Mean square of the signal there, divided by the variance of the noise.

    Examples
    --------
    >>> signal, noise = np.full((2, 1, 2), 3.0), np.array([[[1.0, -1.0]], [[1.0, -1.0]]])
    >>> add_noise(signal, 7 * noise, signal > 0, snr=0.25)[0]
    array([[ 1.5, -0.5]])
    """
    if noise is None:
        return signal
    power = float(np.mean(signal[particles] ** 2)) if particles.any() else 1.0
    signal *= np.sqrt(snr / power)
    signal += noise / noise.std()
    return signal


def _reconstruct(slices: Slices, tilts: Tilts, padded: tuple[int, int, int], shape: Sequence[int]) -> Volume:
    """Back-project, then remove the margin."""
    _, n_y, n_x = shape
    return np.array(back_project(slices, tilts, padded)[:, :n_y, :n_x])
