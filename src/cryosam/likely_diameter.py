"""The size of a particle whose mask cannot tell it, from what resembles it around a click.

In the middle of a hollow shell hardly anything is visible, and a mask of one of several touching particles may hold its
neighbours. But a tomogram that is full of such particles shows their size: radial profiles of that size explain more of
it than others do.
"""

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Points
from cryosam.averaging.surrogate import phase_randomised
from cryosam.classification.chance import Chance
from cryosam.matching.radial_correlation import Profile, RadialCorrelation
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Tomogram, Voxels, box_around

__all__ = ["SIZE_STEP", "likely_diameter"]

SIZE_STEP = 1.19
"""Ratio of one tried diameter to the next: four of them per factor of two."""

_SMALLEST, _N_SIZES = 6.7, 13  # voxels, and number of diameters: up to 54 voxels
_AROUND = 80  # voxels around a click that are searched: enough for hundreds of touching particles
_ROUNDS = 2  # with the profile at the click, then with the mean profile of what resembles it
_FEWEST, _MOST = 4, 64  # places of that mean
_EVEN_ODDS = 0.5


def likely_diameter(voxels: Voxels, clicks: Points, wedge: MissingWedge, device: str = "cpu") -> float | None:
    """The diameter of balls whose radial profile at a click explains most of what is around it.

    For each diameter, all places around the click are compared with the mean density at each distance from the click.
    Those that correlate by more than chance (in a phase-randomised surrogate) count with the square of their
    correlation in standard deviations of the surrogate: twice the logarithm of the likelihood that they add.

    Parameters
    ----------
    voxels
        Normalised tomogram, protein bright.
    clicks
        ``(n, 3)`` z, y, x in voxels; what they explain is added up.
    wedge
        Missing wedge of the tomogram.
    device
        Device for the computation.

    Returns
    -------
    diameter
        In voxels, one of a series with a ratio of `SIZE_STEP`; None if nothing resembles any click at any of them.

    Examples
    --------
    >>> volume = np.random.default_rng(0).normal(0, 0.5, (30, 60, 60)).astype(np.float32)
    >>> z, y, x = np.indices((9, 9, 9)) - 4
    >>> shell = np.abs(np.sqrt(z**2 + y**2 + x**2) - 4) < 1
    >>> for top in range(3, 50, 11):
    ...     for left in range(3, 50, 11):
    ...         volume[10:19, top : top + 9, left : left + 9] += shell
    >>> found = likely_diameter(Tomogram(volume), np.array([[14.0, 29, 29]]), MissingWedge(tilt_range=(-90.0, 90.0)))
    >>> 9 < found < 12
    True
    """
    sizes = _SMALLEST * SIZE_STEP ** np.arange(_N_SIZES)
    explained = np.zeros(_N_SIZES)
    for click in clicks:
        box, inside = box_around(click, _AROUND, voxels.shape)
        around = Tomogram(np.ascontiguousarray(voxels.crop(box), dtype=np.float32))
        surrogate = phase_randomised(around)
        explained += [_explained(around, surrogate, inside, size, wedge, device) for size in sizes]
    return float(sizes[explained.argmax()]) if explained.any() else None


def _explained(
    around: Tomogram,
    surrogate: Tomogram,
    click: Float[np.ndarray, " 3"],
    diameter: float,
    wedge: MissingWedge,
    device: str,
) -> float:
    """Sum of the squared correlations of what resembles a click, in standard deviations of the surrogate."""
    radial, chance = (RadialCorrelation.of(volume, diameter, wedge, device) for volume in (around, surrogate))
    profile: Profile = radial.profile(click[None])
    for _ in range(_ROUNDS):
        points, values = radial.peaks(profile, diameter)
        _, by_chance = chance.peaks(profile, diameter)
        n = int(np.count_nonzero(Chance(by_chance, 1.0).probabilities(values) >= _EVEN_ODDS))
        last, profile = profile, radial.profile(points[: int(np.clip(n, _FEWEST, _MOST))])
    return float(np.square(values[:n] / chance.correlate(last).std()).sum())
