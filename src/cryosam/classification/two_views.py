"""From two views of the candidates to probabilities, with nothing learned: their vectors, and their correlations.

The members of an average are chosen by their vectors alone, and each is compared with an average that leaves it out. So
their correlations are a sample of what particles of the kind reach. What other candidates reach is not known; it is
found together with how probable the kind is at each similarity of vectors, by expectation maximisation. What chance
reaches is known too, from decoys: places in a surrogate of the tomogram, which went through the same search.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from cryosam.arrays import Scores
from cryosam.averaging.correlation import standardised
from cryosam.classification.chance import Chance
from cryosam.config import VectorSearchConfig
from cryosam.intensities import MAD_TO_DEVIATION

__all__ = ["TwoViews"]

_N_STEPS = 60  # of expectation maximisation; it has converged to two digits after 30
_FIRST_SLOPE, _FIRST_MIDDLE = 2.0, 0.75  # of the logistic prior; the result is the same from all starts that were tried
_NEAREST, _FARTHEST = -6.0, 8.0  # robust deviations at which similarities are clipped
_RIDGE = 0.01  # keeps the slope finite where the two groups are fully apart


@dataclass(frozen=True, eq=False)
class TwoViews:
    """What is known of each candidate, and of places by chance.

    Parameters
    ----------
    similarity
        ``(n,)`` in [-1, 1], of the vector of each candidate and the mean of the members' (see `matching.descriptors`).
    z
        ``(n,)`` Fisher's z of the correlation of each candidate with the average of the members.
    members
        Indices of the members, at least one. Each was compared with the others only.
    chance_similarity, chance_z
        ``(m,)`` the same of decoys: places that the search proposes where there is nothing.
    """

    similarity: Float[np.ndarray, " n"]
    z: Float[np.ndarray, " n"]
    members: Int[np.ndarray, " k"]
    chance_similarity: Float[np.ndarray, " m"]
    chance_z: Float[np.ndarray, " m"]

    def ranking(self, settings: VectorSearchConfig) -> Float[np.ndarray, " n"]:
        """``(n,)`` a sum of both, each as a deviation from the candidates that are not members; members come first.

        Examples
        --------
        >>> similarity, z = np.array([0.9, 0.7, 0.5, 0.4, 0.3]), np.array([0.4, 0.5, 0.1, 0.0, 0.2])
        >>> views = TwoViews(similarity, z, np.array([1]), np.zeros(0), np.zeros(0))
        >>> int(views.ranking(VectorSearchConfig()).argmax())
        1
        """
        rest = np.ones(len(self.z), dtype=bool)
        rest[self.members] = False
        total = standardised(self.similarity, rest) + settings.correlation_weight * standardised(self.z, rest)
        total[self.members] += total.max() - total.min() + 1
        return total

    def n_unlike_decoys(self) -> int:
        """Number of candidates that resemble the members more, and match their average better, than a typical decoy."""
        nearness = _beyond(-_angles(self.similarity), -_angles(self.chance_similarity))
        return int(np.count_nonzero(_beyond(self.z, self.chance_z) + nearness > 0))

    def probabilities(self, settings: VectorSearchConfig) -> Scores:
        """Probability that each candidate is of the kind, ``(n,)`` in [0, 1].

        It must be something, and not chance, and it must be of the kind, and not another object.

        Examples
        --------
        >>> random = np.random.default_rng(0)
        >>> is_kind = np.arange(100) < 20
        >>> similarity = np.clip(np.where(is_kind, 0.9, 0.5) + random.normal(0, 0.1, 100), -1, 1)
        >>> z = np.where(is_kind, 0.6, 0.2) + random.normal(0, 0.1, 100)
        >>> views = TwoViews(similarity, z, np.arange(5), np.full(50, 0.2), random.normal(0, 0.1, 50))
        >>> found = views.probabilities(VectorSearchConfig()) > 0.5
        >>> int(found[:20].sum()), int(found[20:].sum())
        (20, 0)
        """
        return self._of_kind(settings) * self.beyond_chance()

    def beyond_chance(self) -> Scores:
        """Probability that each candidate is something, and not chance, ``(n,)`` in [0, 1]; 1 without decoys."""
        if not len(self.chance_z):
            return np.ones(len(self.z))
        return Chance(self.chance_z, len(self.z) / len(self.chance_z)).probabilities(self.z)

    def _of_kind(self, settings: VectorSearchConfig) -> Scores:
        """Probability that each candidate is of the kind and not another object.

        The odds are those at the similarity of its vector (a logistic curve), times the ratio of the densities of its
        correlation among the kind and among all others. Both views see the same voxels, so that the ratio counts less
        than fully (``settings.correlation_weight``).
        """
        z, members, angles = self.z, self.members, _angles(self.similarity)
        nearness = np.clip((np.median(angles) - angles) / _spread(angles), _NEAREST, _FARTHEST)
        rest = np.delete(z, members) if len(members) < len(z) else z
        kind = _of_members(z[members], _spread(rest), settings.spread_prior)
        others = _Normal(float(np.median(rest)), _spread(rest))
        slope = _FIRST_SLOPE
        offset = -slope * _FIRST_MIDDLE * float(np.median(nearness[members]))
        odds = np.zeros(len(z))
        for _ in range(_N_STEPS):
            ratio = kind.log_density(z, is_upper=True) - others.log_density(z, is_upper=False)
            odds = offset + slope * nearness + settings.correlation_weight * ratio
            share = expit(odds)
            share[members] = np.maximum(share[members], settings.least_of_members)
            offset, slope = _logistic(nearness, share, offset, slope)
            weight = 1 - share
            mean = float(weight @ z / weight.sum())
            others = _Normal(mean, float(np.sqrt(weight @ (z - mean) ** 2 / weight.sum())) + 1e-4)
        found: Scores = expit(odds)
        return found


@dataclass(frozen=True)
class _Normal:
    """A normal distribution whose density does not fall beyond its mean, on the side of the group that it describes."""

    mean: float
    deviation: float

    def log_density(self, values: Float[np.ndarray, " n"], *, is_upper: bool) -> Float[np.ndarray, " n"]:
        beyond = values > self.mean if is_upper else values < self.mean
        distance = np.where(beyond, 0, (values - self.mean) / self.deviation)
        density: Float[np.ndarray, " n"] = -(distance**2) / 2 - np.log(self.deviation)
        return density


def _of_members(z: Float[np.ndarray, " k"], spread: float, prior: float) -> _Normal:
    """What the kind reaches: the median of the members, and their spread, shrunk towards that of all others."""
    k = len(z)
    squares = float(((z - z.mean()) ** 2).sum()) * k / max(k - 1, 1)
    return _Normal(float(np.median(z)), float(np.sqrt((squares + prior * spread**2) / (k + prior))))


def _angles(similarity: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Angles between vectors of some similarity."""
    found: Float[np.ndarray, " n"] = np.arccos(np.clip(similarity, -1, 1))
    return found


def _spread(values: Float[np.ndarray, " n"]) -> float:
    """Robust standard deviation."""
    return MAD_TO_DEVIATION * float(np.median(np.abs(values - np.median(values)))) + 1e-6


def _beyond(values: Float[np.ndarray, " n"], decoys: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Robust deviation of values from those of decoys; 0 if there are none."""
    together = np.concatenate([values, decoys])
    deviation: Float[np.ndarray, " n"] = standardised(together, np.arange(len(together)) >= len(values))[: len(values)]
    return deviation


def _logistic(x: Float[np.ndarray, " n"], share: Scores, offset: float, slope: float) -> tuple[float, float]:
    """Logistic curve through shares, by Newton's method; its slope is not negative."""
    for _ in range(8):
        fitted = expit(offset + slope * x)
        weight = fitted * (1 - fitted) + 1e-9
        gradient = np.array([(share - fitted).sum(), ((share - fitted) * x).sum() - _RIDGE * slope])
        curvature = np.array([[weight.sum(), weight @ x], [weight @ x, weight @ x**2 + _RIDGE]])
        step = np.clip(np.linalg.solve(curvature, gradient), -2, 2)
        offset, slope = offset + float(step[0]), max(slope + float(step[1]), 0.0)
    return offset, slope
