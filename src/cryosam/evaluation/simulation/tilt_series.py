"""Tilt series as a microscope records them, and weighted back-projection in real space.

Each projection has its own contrast transfer, radiation damage, shot noise and error of alignment; then the steps of a
reconstruction program follow. So the tomogram has the noise and the artefacts of a real one, which the simulation in
Fourier space (`record`) leaves out: there every projection is alike. Not simulated: the change of defocus across a
tilted specimen, multiple scattering, bending and charging of the specimen, and structure of the ice.

The geometry is a sparse matrix between the pixels of the camera and the columns of voxels along y, which is the tilt
axis. Its transpose projects, itself it back-projects.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float
from scipy import fft, ndimage, sparse

from cryosam.arrays import Mask, Volume
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation.deconvolution import Deconvolution, deconvolve
from cryosam.evaluation.simulation.imaging import MARGIN, Imaging, Tilts, add_noise, transfer_function

__all__ = ["TiltSeries", "exposure_filter", "list_exposures", "ray_matrix", "record_tilt_series"]

Spectra = Complex[np.ndarray, "tilt ku ky"]
"""Fourier transforms of projections: ku, across the tilt axis, as in `fftfreq`, ky as in `rfftfreq`."""

_MEAN_FREE_PATH_ANGSTROM = 3950.0  # of inelastic scattering in ice at 300 kV; Rice et al. 2018


@dataclass(frozen=True, kw_only=True)
class TiltSeries:
    """What a recorded tilt series has and a simulation in Fourier space has not.

    Parameters
    ----------
    defocus_jitter_um
        Standard deviation of the defocus from tilt to tilt: the error of focusing, since the microscope focuses anew
        for every tilt. The phases of each projection are flipped for its own defocus.
    electrons_per_angstrom2
        Exposure of each tilt. 3 in 41 tilts are 123 in all, which is usual. It fades the specimen (`exposure_filter`),
        and the exposure filter of the reconstruction weights each projection, with its noise, once more by the same
        curve.
    thickness_angstrom
        Thickness of the ice. Electrons that are scattered inelastically are lost. Their path grows with 1 / cos tilt,
        and with it the variance of the shot noise relative to the mean of the projection:
        exp(thickness / (mean free path * cos tilt)), with 3950 angstrom as the mean free path [1]_. Only the ratio
        between the tilts counts, because ``snr`` sets the noise of the tomogram.
    misalignment
        Standard deviation in voxels of the shift of each projection along y and across it. 0.3 is the residual error
        of a good alignment by gold beads.
    deconvolution
        Applied last, as programs show tomograms; None means not at all.

    References
    ----------
    .. [1] W. J. Rice et al., "Routine determination of ice thickness for cryo-EM grids", J. Struct. Biol. 204, 38-44,
       2018.

    Examples
    --------
    >>> from cryosam.evaluation.simulation import SimulationConfig, simulate
    >>> objects = dict(counts={"ring": 2}, n_vesicles=0, n_debris=0, crowding=0.01)
    >>> config = SimulationConfig(shape=(40, 62, 64), **objects, tilt_series=TiltSeries(misalignment=0.5))
    >>> simulate(config).tomogram.shape
    (40, 62, 64)
    """

    defocus_jitter_um: float = 0.1
    electrons_per_angstrom2: float = 3.0
    thickness_angstrom: float = 2000.0
    misalignment: float = 0.3
    deconvolution: Deconvolution | None = None

    def __post_init__(self) -> None:
        for name in ("defocus_jitter_um", "electrons_per_angstrom2", "thickness_angstrom", "misalignment"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name} must be a number from 0, got {getattr(self, name)}")


def list_exposures(tilts: Tilts, electrons_per_angstrom2: float) -> Tilts:
    """Electrons per square angstrom that the specimen has received by the middle of each tilt.

    The order is dose-symmetric [1]_: the tilt nearest to 0 first, then alternately to both sides, the highest last.

    Parameters
    ----------
    tilts
        ``(t,)`` in degrees.
    electrons_per_angstrom2
        Exposure of each tilt.

    References
    ----------
    .. [1] W. J. H. Hagen, W. Wan, J. A. G. Briggs, "Implementation of a cryo-electron tomography tilt-scheme optimized
       for high resolution subtomogram averaging", J. Struct. Biol. 197, 191-198, 2017.

    Examples
    --------
    >>> list_exposures(np.array([-3.0, 0.0, 3.0]), 2.0)
    array([5., 1., 3.])
    """
    order = np.lexsort((-tilts, np.abs(tilts)))
    exposures = np.empty(len(tilts))
    exposures[order] = electrons_per_angstrom2 * (np.arange(len(tilts)) + 0.5)
    return exposures


def exposure_filter(frequency: Float[np.ndarray, "..."], exposure: float) -> Float[np.ndarray, "..."]:
    r"""Share of the amplitude that is left after an exposure at 300 kV [1]_.

    Parameters
    ----------
    frequency
        Cycles per angstrom.
    exposure
        Electrons per square angstrom that the specimen has received.

    Returns
    -------
    left
        :math:`\exp(-N / 2 N_c)` in [0, 1], with the critical exposure :math:`N_c = 0.245 k^{-1.665} + 2.81`.

    References
    ----------
    .. [1] T. Grant, N. Grigorieff, "Measuring the optimal exposure for single particle cryo-EM using a 2.6 A
       reconstruction of rotavirus VP6", eLife 4, e06980, 2015.

    Examples
    --------
    >>> exposure_filter(np.array([0.0, 0.02, 0.1]), 100.0).round(2)
    array([1.  , 0.74, 0.03])
    """
    with np.errstate(divide="ignore"):
        critical = 0.245 * frequency**-1.665 + 2.81
    return np.exp(-exposure / (2 * critical))


def ray_matrix(n_z: int, n_x: int, tilts: Tilts, width: int) -> sparse.csr_array:
    """The place of each column of voxels on the camera at each tilt, with linear interpolation between two pixels.

    The camera has the pixels of the voxels at no tilt. At tilt t a column at offset z, x from the centre of the volume
    falls on offset ``x cos t - z sin t``.

    Parameters
    ----------
    n_z, n_x
        Columns of voxels, which extend along y.
    tilts
        ``(t,)`` about y, in degrees.
    width
        Pixels of the camera across the tilt axis; enough for every column at every tilt.

    Returns
    -------
    matrix
        ``(n_z * n_x, t * width)`` float32. Times the pixels it back-projects; its transpose, times the columns,
        projects.

    Examples
    --------
    >>> matrix = ray_matrix(3, 1, np.array([30.0]), 5)
    >>> matrix.toarray()
    array([[0. , 0. , 0.5, 0.5, 0. ],
           [0. , 0. , 1. , 0. , 0. ],
           [0. , 0.5, 0.5, 0. , 0. ]], dtype=float32)
    """
    angles = np.radians(tilts)
    z = (np.arange(n_z) - (n_z - 1) / 2)[:, None, None]
    x = (np.arange(n_x) - (n_x - 1) / 2)[:, None]
    # whole pixels beside the volume: without tilt nothing is interpolated
    place = (width - n_x) // 2 + (n_x - 1) / 2 + x * np.cos(angles) - z * np.sin(angles)
    place = place.round(6)  # a column in the middle of a pixel is not moved by rounding
    left = np.floor(place)
    share = (place - left).astype(np.float32)
    first = (left + width * np.arange(len(tilts))).astype(np.int32)
    pixels = np.stack([first, np.minimum(first + 1, width * len(tilts) - 1)], axis=-1).ravel()
    weights = np.stack([1 - share, share], axis=-1).ravel()
    ends = np.arange(0, len(weights) + 1, 2 * len(tilts))
    return sparse.csr_array((weights, pixels, ends), shape=(n_z * n_x, width * len(tilts)))


def record_tilt_series(
    density: Volume, particles: Mask, rng: np.random.Generator, imaging: Imaging, series: TiltSeries
) -> Volume:
    """Simulate the tomogram of a density by way of the projections that a camera records.

    Parameters
    ----------
    density
        ``(z, y, x)``; around it is ice of its mean density.
    particles
        ``(z, y, x)`` the voxels in which the signal is measured.
    rng
        Source of all random numbers.
    imaging
        As for `record`, but the noise of the tilts differs. The ratio of signal to noise is that of the tomogram before
        smoothing and deconvolution.
    series
        What distinguishes the projections from each other.

    Returns
    -------
    tomogram
        ``(z, y, x)`` float32, protein bright, background about 0, noise of variance 1 before smoothing.

    Examples
    --------
    >>> from cryosam.evaluation.simulation.imaging import list_tilts
    >>> density = np.zeros((9, 10, 11), dtype=np.float32)
    >>> density[4, 5, 6] = 1
    >>> imaging = Imaging(
    ...     voxel_size_angstrom=10.0, tilts=list_tilts((-60, 60), 3), defocus_um=0.0, snr=np.inf, smoothing=0.0
    ... )
    >>> seen = record_tilt_series(
    ...     density, density > 0, np.random.default_rng(0), imaging, TiltSeries(misalignment=0.0)
    ... )
    >>> [int(i) for i in np.unravel_index(seen.argmax(), seen.shape)]
    [4, 5, 6]
    """
    margin = int(np.ceil(4 * imaging.smoothing))  # the reach of the Gaussian filter, which would mirror the noise
    padded = np.pad(density, margin, constant_values=density.mean())
    camera = _Camera(padded.shape, imaging, series)
    tomogram = camera.reconstruct(camera.expose(padded, rng))
    noise = camera.reconstruct(camera.shot_noise(rng)) if np.isfinite(imaging.snr) else None
    tomogram = add_noise(tomogram, noise, np.pad(particles, margin), imaging.snr)
    tomogram = ndimage.gaussian_filter(tomogram, imaging.smoothing)
    if series.deconvolution is not None:
        tomogram = deconvolve(tomogram, imaging.voxel_size_angstrom, imaging.defocus_um, series.deconvolution)
    z, y, x = (slice(margin, margin + n) for n in density.shape)
    return np.ascontiguousarray(tomogram[z, y, x])


class _Camera:
    """Projections of one specimen and the reconstruction from them."""

    def __init__(self, shape: tuple[int, int, int], imaging: Imaging, series: TiltSeries) -> None:
        n_z, n_y, n_x = shape
        self._shape, self._imaging, self._series = shape, imaging, series
        width = fft.next_fast_len(int(np.ceil(np.hypot(n_z, n_x))) + MARGIN)
        self._size = (width, fft.next_fast_len(n_y + MARGIN, real=True))
        self._rays = ray_matrix(n_z, n_x, imaging.tilts, width)
        self._grid = [fft.fftfreq(self._size[0])[:, None], fft.rfftfreq(self._size[1])[None, :]]
        self._frequency = np.hypot(*self._grid) / imaging.voxel_size_angstrom
        self._exposures = list_exposures(imaging.tilts, series.electrons_per_angstrom2)

    def expose(self, density: Volume, rng: np.random.Generator) -> Spectra:
        """Projections with contrast transfer, phases flipped, faded by the exposure, and shifted by misalignment."""
        n_z, n_y, n_x = self._shape
        columns = (density - density.mean()).transpose(0, 2, 1).reshape(n_z * n_x, n_y).astype(np.float32)
        images = (self._rays.T @ columns).reshape(-1, self._size[0], n_y)
        spectra: Spectra = fft.rfft2(images, self._size, workers=-1)
        defocus = np.full(len(spectra), float(self._imaging.defocus_um))
        jitter = self._series.defocus_jitter_um * rng.standard_normal(len(spectra))
        if self._imaging.defocus_um > 0:  # 0 means perfect transfer, which has no error
            defocus += jitter
        shifts = self._series.misalignment * rng.standard_normal((len(spectra), 2))
        for spectrum, exposure, focus, shift in zip(spectra, self._exposures, defocus, shifts, strict=True):
            spectrum *= exposure_filter(self._frequency, exposure) * transfer_function(self._frequency, float(focus))
            for axis, distance in zip(self._grid, shift, strict=True):
                spectrum *= np.exp(-2j * np.pi * distance * axis)
        return spectra

    def shot_noise(self, rng: np.random.Generator) -> Spectra:
        """White noise; at a few hundred electrons in a pixel it is as good as normally distributed."""
        path = self._series.thickness_angstrom / np.cos(np.radians(self._imaging.tilts))
        deviation = np.exp((path - path.min()) / (2 * _MEAN_FREE_PATH_ANGSTROM)).astype(np.float32)
        noise = rng.standard_normal((len(path), *self._size), dtype=np.float32) * deviation[:, None, None]
        return fft.rfft2(noise, workers=-1)

    def reconstruct(self, spectra: Spectra) -> Volume:
        """Weighted back-projection with an exposure filter.

        The weight is the ramp of evenly spaced tilts about one axis (M. Radermacher, "Weighted back-projection
        methods", in J. Frank, ed., Electron Tomography, 2006): the distance between neighbouring planes in Fourier
        space, and near the axis the resolution of the volume's depth divided by the number of tilts.
        """
        n_z, n_y, n_x = self._shape
        tilts = self._imaging.tilts
        step = np.radians(tilts[1] - tilts[0]) if len(tilts) > 1 else 0.0
        ramp = np.maximum(np.abs(self._grid[0]) * step, 1 / (n_z * len(tilts)))
        images = np.empty((len(tilts), self._size[0], n_y), dtype=np.float32)
        for image, spectrum, exposure in zip(images, spectra, self._exposures, strict=True):
            weighted = spectrum * (ramp * exposure_filter(self._frequency, exposure)).astype(np.float32)
            image[:] = fft.irfft2(weighted, self._size, workers=-1)[:, :n_y]
        columns = self._rays @ images.reshape(-1, n_y)
        return np.ascontiguousarray(columns.reshape(n_z, n_x, n_y).transpose(0, 2, 1))
