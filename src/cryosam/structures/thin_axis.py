"""The axis of a thin filament at a click, in noise: the strongest line near it, against what noise gives."""

import numpy as np

from cryosam.arrays import Points, Scores, Volume
from cryosam.geometry import half_sphere
from cryosam.structures.lines import mean_along
from cryosam.structures.matched_filter import matched
from cryosam.structures.radial_profile import Axis, RadialProfile, Vector
from cryosam.structures.ridges import without_phases
from cryosam.structures.whitening import Whitened

__all__ = ["ThinLines", "thin_profile"]

_WIDTH_ANGSTROM = 25.0  # standard deviation of a Gaussian: actin is some 70 angstrom wide
_RADII = 4.0  # standard deviations after which the profile ends
_OFFSET_ANGSTROM = 40.0  # largest distance from the click to the axis: the radius of actin
_HALF_LINES = 2  # times the half length of a line: what is as long as a filament stands out more
_SAMPLE = 200  # places at which the deviation of a direction is measured
_BRIGHT_SHARE = 1e-3  # of all voxels: gold counts no more than the axes of filaments do
_CHANCES = 40  # places of noise that are searched as a click is: the strongest is what one click of so many gives


def thin_profile(voxel_size_angstrom: float) -> RadialProfile:
    """A radial profile like that of actin at low resolution.

    Parameters
    ----------
    voxel_size_angstrom
        Distance of the values of the profile.

    Examples
    --------
    >>> thin_profile(25.0).density.round(2).tolist()
    [1.0, 0.61, 0.14, 0.01]
    """
    radius = np.arange(0, _RADII * _WIDTH_ANGSTROM, voxel_size_angstrom)
    return RadialProfile(np.exp(-(radius**2) / (2 * _WIDTH_ANGSTROM**2)))


class ThinLines:
    """Lines through the places near a click, in a volume in which thin filaments are bright.

    At a click, a profile of few rings that is measured over one line's length is mostly noise where a filament is
    barely visible, and rings of fringes around it explain more than it does. Here the profile is given, and only the
    direction and the place are searched for.

    Parameters
    ----------
    white
        Whitened volume.
    voxel_size_angstrom
        Edge of its voxels.
    half_length
        Half of the length of a line, voxels; twice that is looked at.
    n_directions
        Of the lines.
    """

    def __init__(self, white: Whitened, voxel_size_angstrom: float, half_length: int, n_directions: int) -> None:
        self.profile = thin_profile(voxel_size_angstrom)
        filtered = matched(white, self.profile)
        bright = float(np.quantile(filtered[::2, ::2, ::2], 1 - _BRIGHT_SHARE))
        self._steps = np.arange(-_HALF_LINES * half_length, _HALF_LINES * half_length + 1.0)
        self._volume = np.clip(filtered, -bright, bright)
        self._pad = _HALF_LINES * half_length + 2  # a line near a border goes on in zeros: a short one is mostly noise
        self._tangents = half_sphere(n_directions)
        reach = max(_OFFSET_ANGSTROM / voxel_size_angstrom, 1.0)
        cube = np.argwhere(np.ones((2 * int(reach) + 1,) * 3)) - int(reach)
        self._offsets = cube[np.linalg.norm(cube, axis=1) <= reach].astype(float)
        self._rng = np.random.default_rng(0)
        self._padded = np.pad(self._volume, self._pad)
        self._deviations = self._spread(self._padded)

    def at(self, click: Vector) -> Axis | None:
        """The strongest line near a click; None if noise with the same spectrum gives one as strong.

        Parameters
        ----------
        click
            z, y, x in voxels.
        """
        strength, place, tangent = self._best(self._padded, click, self._deviations)
        noise = np.pad(without_phases(self._volume), self._pad)
        spread = self._spread(noise)
        chance = max(self._best(noise, each, spread)[0] for each in self._random(_CHANCES))
        if strength <= chance:
            return None
        return Axis(place, tangent, self.profile, strength**2, 1.0)

    def _best(self, volume: Volume, click: Vector, deviations: Scores) -> tuple[float, Vector, Vector]:
        """Strength in deviations, place and direction of the strongest line near a place."""
        n = len(self._tangents)
        places, tangents = np.repeat(click + self._offsets, n, axis=0), np.tile(self._tangents, (len(self._offsets), 1))
        strength = mean_along(volume, places + self._pad, tangents, self._steps) / np.tile(
            deviations, len(self._offsets)
        )
        best = int(np.argmax(strength))
        return float(strength[best]), places[best], tangents[best]

    def _spread(self, volume: Volume) -> Scores:
        """Standard deviation of lines in each direction."""
        places = self._random(_SAMPLE)
        lines = (
            mean_along(volume, places + self._pad, np.tile(t, (len(places), 1)), self._steps) for t in self._tangents
        )
        return np.array([max(float(each.std()), 1e-9) for each in lines])

    def _random(self, n: int) -> Points:
        return self._rng.uniform(size=(n, 3)) * (np.array(self._volume.shape) - 1)
