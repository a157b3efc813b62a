"""Division of the candidates into two kinds: one is known from positive clicks, the other from negative ones."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Points, Scores
from cryosam.averaging.class_average import ClassAverage, noise_free_correlation
from cryosam.averaging.orientations import OrientationSearch
from cryosam.classification.mixtures import two_groups
from cryosam.results import Average

__all__ = ["Division", "divide"]

_FIRST_MEMBERS = (2, 4, 8)  # numbers of members of the first two averages, which are all tried
_LEAST_MEMBERS = 3  # smallest number of members of a kind: fewer may be only the clicked particles
_ROUNDS = 4
_EVEN_ODDS = 0.5
_SURE = 0.9  # probabilities are limited to this, and to 1 minus this, at the start of a round
_AVERAGED = 0.7  # least probability of a member of an average
_ONE_KIND = 0.9  # noise-free correlation of two averages from which they may be of one kind


@dataclass(frozen=True, eq=False)
class Division:
    """Division of particles into two kinds.

    Parameters
    ----------
    probabilities
        ``(n,)`` in [0, 1], probability that each particle is of the first kind.
    separation
        Distance between the means of the two kinds, in standard deviations within a kind.
    correlation
        Correlation of the averages of the two kinds, corrected for the noise in each: about 1 if a single kind was
        split in two.
    average
        The mean of the first kind, corrected for the missing wedge.
    """

    probabilities: Scores
    separation: float
    correlation: float
    average: Average


def divide(
    search: OrientationSearch,
    points: Points,
    positive: Int[np.ndarray, " p"],
    negative: Int[np.ndarray, " q"],
) -> Division | None:
    """Divide particles into two kinds, given some known particles of each.

    Both kinds are averaged, and each particle is compared with both averages in all orientations. The difference of the
    correlations, as Fisher's z, decides of which kind it is. The first averages are made from the particles that
    resemble the known ones most. Too few or too many of them can give a wrong division, so several numbers are tried,
    and the division with the largest separation is used.

    Parameters
    ----------
    search
        Compares particles of the kinds' diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    positive, negative
        Indices of particles that are known to be of the first and the second kind, at least one of each.

    Returns
    -------
    division
        None if the two kinds cannot be distinguished, or if one of them has fewer than three members.

    Examples
    --------
    >>> from cryosam.config import AveragingConfig
    >>> from cryosam.tomogram import Tomogram
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 80, 100)).astype(np.float32)
    >>> centres = np.array([[20.0, y, x] for y in (15, 45) for x in (15, 40, 65)])
    >>> for i, (z, y, x) in enumerate(centres.astype(int)):
    ...     reach = (2, 2, 5) if i < 3 else (3, 3, 3)
    ...     volume[tuple(slice(c - r, c + r + 1) for c, r in zip((z, y, x), reach))] += 1
    >>> search = OrientationSearch.of(Tomogram(volume), 8.0, AveragingConfig())
    >>> found = divide(search, centres, np.array([0]), np.array([3]))
    >>> None if found is None else found.probabilities.round()
    array([1., 1., 1., 0., 0., 0.])
    """
    spectra = search.cut.spectra(points)
    known = [
        [ClassAverage(search, points, spectra, box) for box in search.cut.cut(points[i])] for i in (positive, negative)
    ]
    first, second = (groups[0] for groups in known)
    is_known = np.isin(np.arange(len(points)), np.concatenate([positive, negative]))
    difference_alone = np.subtract(*(np.mean([group.fisher_z for group in groups], axis=0) for groups in known))
    divisions = []
    for n_first in _FIRST_MEMBERS:
        share, separation = _extremes(difference_alone, is_known, n_first), 0.0
        for _ in range(_ROUNDS):
            share[positive], share[negative] = 1, 0
            difference = first.gather(np.flatnonzero(share > _AVERAGED))
            difference = difference - second.gather(np.flatnonzero(share < 1 - _AVERAGED))
            share, separation = two_groups(difference, np.clip(share, 1 - _SURE, _SURE), len(points))
        share[positive], share[negative] = 1, 0
        if min(len(first.members), len(second.members)) >= _LEAST_MEMBERS:
            average = Average(first.average.cpu().numpy(), search.cut.step)
            divisions.append(Division(share, separation, noise_free_correlation(first, second), average))
    different = [division for division in divisions if division.correlation < _ONE_KIND]
    return max(different, key=lambda division: division.separation, default=None)


def _extremes(values: Float[np.ndarray, " n"], is_known: Bool[np.ndarray, " n"], n_first: int) -> Scores:
    """First guess: 1 for the highest values among the unknown particles, 0 for the lowest, and 0.5 for all others."""
    share = np.full(len(values), _EVEN_ODDS)
    order = np.flatnonzero(~is_known)[np.argsort(values[~is_known], kind="stable")]
    n_first = min(n_first - 1, len(order) // 3)
    share[order[len(order) - n_first :]], share[order[:n_first]] = 1, 0
    return share
