"""Correlation of a tomogram with the radial profile of a particle.

The spherical average of a particle is the part of it that no rotation changes. Its correlation with the whole tomogram
is a single product in Fourier space, where a search of all orientations needs hundreds. It says too little to decide of
which kind a place is, but a particle of the kind is hardly ever missing among its best peaks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from cryosam.arrays import Points, Scores, Volume
from cryosam.averaging.fourier import sample_at
from cryosam.geometry import voxel_to_level
from cryosam.matching.coarse import block_means
from cryosam.matching.peaks import find_peaks
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Voxels

__all__ = ["Profile", "RadialCorrelation"]

Profile = Float[np.ndarray, " r"]
"""Mean density at 0, 1, 2, ... cells from the centre of a particle."""

_CELLS = 6  # least number of cells per diameter: the finest detail is then a third of the diameter
_RADIUS = 0.6  # of the region that is compared, in diameters: the particle and the rim that sets it off
_SOFT = 1.5  # cells over which the edge of that region falls to 0
_LONGEST = 5.0  # diameters, longest period that is compared: longer ones are gradients
_EDGE = 0.03  # cycles per cell over which the band of frequencies ends
_LEAST_POWER = 1e-4  # of the strongest shell: weaker ones hold nothing but rounding
_LEAST_VARIANCE = 0.05  # of the median local variance: regions with less, such as blank margins, are not scaled up


@dataclass(frozen=True, eq=False)
class RadialCorrelation:
    """A tomogram in coarse cells, prepared for correlation with radial profiles.

    The spectrum is whitened, so that no frequency counts more than others because it is strong everywhere. The missing
    wedge is left out in the tomogram and in the profile alike. Correlations are normalised by the local variance, so
    that a place counts for its form and not for its contrast.

    Parameters
    ----------
    stride
        Voxels per cell.
    cells
        ``(z, y, x)`` mean density of each cell.
    spectrum
        Whitened half spectrum of the padded cells.
    deviation
        ``(z, y, x)`` local standard deviation of the whitened cells.
    ball
        ``(edge, edge, edge)`` region that is compared, with a soft edge.
    filter
        Whitening filter on the frequencies of a box of twice that edge.
    padded
        Shape of the padded cells.
    """

    stride: int
    cells: Float[Tensor, "z y x"]
    spectrum: Tensor
    deviation: Float[Tensor, "z y x"]
    ball: Float[Tensor, "e e e"]
    filter: Tensor
    padded: tuple[int, int, int]

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, wedge: MissingWedge, device: str = "cpu") -> "RadialCorrelation":
        """Prepare a tomogram for particles of a diameter in voxels.

        Parameters
        ----------
        tomogram
            Normalised tomogram, protein bright.
        diameter
            Diameter of the particles, in voxels.
        wedge
            Missing wedge of the tomogram.
        device
            Device for the computation.
        """
        stride = max(1, int(diameter / _CELLS))
        cells = torch.from_numpy(block_means(tomogram, stride)).to(device)
        cells = (cells - cells.mean()) / cells.std().clamp(min=1e-12)
        radius = _RADIUS * diameter / stride
        edge = 2 * int(np.ceil(radius + _SOFT)) + 1
        distance = _offsets(edge, device).norm(dim=-1)
        ball = ((radius + _SOFT - distance) / _SOFT).clamp(0, 1)
        z, y, x = (int(next_fast_len(n + edge, real=True)) for n in cells.shape)
        padded = (z, y, x)
        spectrum = torch.fft.rfftn(cells, s=padded)
        band, length = _band(padded, diameter / stride, wedge, device)
        amplitude = _radial_amplitude(spectrum, band > 0, length)
        spectrum = spectrum * band / amplitude[_shell(length, len(amplitude))]
        white = torch.fft.irfftn(spectrum, s=padded)
        spread = white.std().clamp(min=1e-12)
        spectrum, white = spectrum / spread, white / spread
        around = torch.fft.rfftn(_embed(ball / ball.sum(), padded)).conj()
        mean = torch.fft.irfftn(spectrum * around, s=padded)
        variance = torch.fft.irfftn(torch.fft.rfftn(white.square()) * around, s=padded) - mean.square()
        variance = _inner(variance, cells)
        deviation = variance.clamp(min=_LEAST_VARIANCE * float(variance.median())).clamp(min=1e-12).sqrt()
        box_band, box_length = _band((2 * edge,) * 3, diameter / stride, wedge, device)
        box_filter = box_band / amplitude[_shell(box_length, len(amplitude))]
        return cls(stride, cells, spectrum, deviation, ball, box_filter, padded)

    def profile(self, points: Points) -> Profile:
        """Mean radial profile around points ``(n, 3)`` in voxels; rotating the particles would not change it."""
        offsets = _offsets(len(self.ball), str(self.cells.device))
        distance = offsets.norm(dim=-1).flatten().round().long()
        centres = torch.from_numpy(voxel_to_level(points, self.stride).astype(np.float32)).to(self.cells.device)
        total = self.cells.new_zeros(int(distance.max()) + 1)
        for centre in centres:
            box = sample_at(self.cells[None, None], (offsets + centre)[None])
            total.index_add_(0, distance, box.flatten())
        found: Profile = (total / (torch.bincount(distance) * max(len(points), 1))).cpu().numpy()
        return found

    def profile_of(self, box: Float[np.ndarray, "e e e"], step: float) -> Profile:
        """Radial profile of an average with ``step`` voxels per pixel, centred at pixel edge // 2."""
        half = len(box) // 2
        distance = np.linalg.norm(np.indices(box.shape).T - half, axis=-1).T * step / self.stride
        places = np.arange(int(np.ceil(np.sqrt(3) * (len(self.ball) // 2))) + 1)
        ring = distance.round().astype(int)
        n_each = np.bincount(ring.ravel(), minlength=len(places))
        mean = np.bincount(ring.ravel(), box.ravel(), minlength=len(places)) / np.maximum(n_each, 1)
        known = np.flatnonzero(n_each[: len(places)])
        found: Profile = np.interp(places, known, mean[known])
        return found

    def correlate(self, profile: Profile) -> Volume:
        """Normalised correlation of every cell with a profile, ``(z, y, x)`` in [-1, 1]."""
        distance = _offsets(len(self.ball), "cpu").norm(dim=-1).numpy()
        box = torch.from_numpy(np.interp(distance, np.arange(len(profile)), profile).astype(np.float32))
        box = box.to(self.cells.device)
        template = self._white((box - (box * self.ball).sum() / self.ball.sum()) * self.ball)
        scaled = _embed(template / (template.norm() * self.ball.sum().sqrt()).clamp(min=1e-12), self.padded)
        found = torch.fft.irfftn(self.spectrum * torch.fft.rfftn(scaled).conj(), s=self.padded)
        return (_inner(found, self.cells) / self.deviation).cpu().numpy()

    def peaks(self, profile: Profile, min_distance: float) -> tuple[Points, Scores]:
        """Places that correlate with a profile, best first; none closer than ``min_distance`` voxels to a better one.

        Examples
        --------
        >>> from cryosam.tomogram import Tomogram
        >>> volume = np.random.default_rng(0).normal(0, 0.1, (40, 60, 60)).astype(np.float32)
        >>> for z, y, x in ((20, 15, 15), (20, 40, 41)):
        ...     volume[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] += 1
        >>> correlation = RadialCorrelation.of(Tomogram(volume), 7.0, MissingWedge(tilt_range=(-90.0, 90.0)))
        >>> points, _ = correlation.peaks(correlation.profile(np.array([[20.0, 15, 15]])), 7.0)
        >>> points[:2][points[:2, 2].argsort()].round()
        array([[20., 15., 15.],
               [20., 40., 41.]])
        """
        points, values = find_peaks(self.correlate(profile), self.stride, min_distance, 0.0)
        return points, values.astype(float)

    def _white(self, box: Float[Tensor, "e e e"]) -> Float[Tensor, "e e e"]:
        """A box after the whitening filter, with mean 0 in the ball."""
        edge = len(box)
        first = edge // 2
        padded = functional.pad(box, (first, edge - first) * 3)
        white = torch.fft.irfftn(torch.fft.rfftn(padded) * self.filter, s=padded.shape)
        inner = white[first : first + edge, first : first + edge, first : first + edge] * self.ball
        return inner - (inner.sum() / self.ball.sum()) * self.ball


def _offsets(edge: int, device: str) -> Float[Tensor, "e e e 3"]:
    """Offsets z, y, x of the cells of a box from its middle."""
    along = torch.arange(edge, dtype=torch.float32, device=device) - edge // 2
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"), dim=-1)


def _embed(box: Float[Tensor, "e e e"], shape: tuple[int, int, int]) -> Float[Tensor, "z y x"]:
    """A box in an empty volume, its middle at voxel 0; it wraps around."""
    whole = box.new_zeros(shape)
    edge = len(box)
    whole[:edge, :edge, :edge] = box
    return torch.roll(whole, (-(edge // 2),) * 3, (0, 1, 2))


def _inner(padded: Float[Tensor, "pz py px"], cells: Float[Tensor, "z y x"]) -> Float[Tensor, "z y x"]:
    z, y, x = cells.shape
    return padded[:z, :y, :x]


def _band(
    shape: tuple[int, ...], diameter: float, wedge: MissingWedge, device: str
) -> tuple[Float[Tensor, "z y h"], Float[Tensor, "z y h"]]:
    """Weights of the compared frequencies of a half spectrum, and their lengths in cycles per cell."""
    z, y = (torch.fft.fftfreq(n, device=device) for n in shape[:2])
    x = torch.fft.rfftfreq(shape[2], device=device)
    fz, fy, fx = torch.meshgrid(z, y, x, indexing="ij")
    length = torch.sqrt(fz.square() + fy.square() + fx.square())
    thickness = 0.25 / diameter  # of the central slice of one projection of a particle
    sampled = wedge.is_sampled(fz.cpu().numpy(), fy.cpu().numpy(), fx.cpu().numpy(), margin=thickness)
    is_sampled = torch.from_numpy(sampled).to(device)
    ends = ((0.5 - length) / _EDGE + 0.5).clamp(0, 1)
    return ends * is_sampled * (length > 1 / (_LONGEST * diameter)), length


def _shell(length: Float[Tensor, "z y h"], n: int) -> Tensor:
    """Shell of each frequency, of n shells between 0 and 1 cycle per cell."""
    return (length * n).long().clamp(max=n - 1)


def _radial_amplitude(spectrum: Tensor, is_in: Tensor, length: Float[Tensor, "z y h"]) -> Float[Tensor, " n"]:
    """Root mean power of the frequencies in each shell; the nearest filled shell's where a shell is empty."""
    n = max(spectrum.shape)
    shell = _shell(length, n)[is_in]
    power = spectrum[is_in].abs().square()
    total = power.new_zeros(n).index_add_(0, shell, power)
    n_each = torch.bincount(shell, minlength=n)
    known = torch.nonzero(n_each)[:, 0].cpu().numpy()
    mean = (total / n_each.clamp(min=1)).cpu().numpy()
    filled = np.interp(np.arange(n), known, mean[known]) if len(known) else np.ones(n)
    filled = np.maximum(filled, _LEAST_POWER * filled.max() + 1e-30)
    return torch.from_numpy(np.sqrt(filled).astype(np.float32)).to(spectrum.device)
