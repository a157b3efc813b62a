"""What learned vectors say about a set that was accepted without them: whether it holds together, and one kind only.

Vectors are a second view of the candidates. Correlations with an average can be high for anything large or bright, once
such objects are in the average; the vectors of these objects then differ from each other, or resemble those of what was
refused.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.vq import kmeans2
from scipy.stats import norm, rankdata

from cryosam.matching.descriptors import Vectors

__all__ = ["agreement", "disagrees", "of_known_kind", "share_above"]

_FEWEST = 8  # vectors that may be divided: of fewer, chance decides
_LEAST_IN_GROUP = 2
_N_DIRECTIONS = 3  # in which the vectors differ most, and along which a division is begun
_N_STEPS = 30  # of a division; it hardly changes after ten
_N_SIMULATED = 50  # divisions of simulated vectors: the expected one is then known to a seventh of a deviation


def agreement(vectors: Vectors, is_accepted: Bool[np.ndarray, " n"]) -> float | None:
    """How often an accepted candidate resembles the other accepted ones more than a refused candidate does.

    Parameters
    ----------
    vectors
        Of all candidates.
    is_accepted
        ``(n,)`` which of them were accepted.

    Returns
    -------
    agreement
        In [0, 1]: the area under the receiver operating characteristic of the similarity to the mean of the accepted
        ones, which leaves out the candidate itself. None if fewer than two are accepted, or none is refused.

    Examples
    --------
    >>> kind, other = np.eye(2, dtype=np.float32)
    >>> vectors = np.stack([kind, kind, kind, other, other])
    >>> agreement(vectors, np.arange(5) < 3), agreement(vectors, np.arange(5) % 2 == 0)
    (1.0, 0.3333333333333333)
    """
    if np.count_nonzero(is_accepted) < 2:
        return None
    total = vectors[is_accepted].sum(axis=0)
    others = total - np.where(is_accepted[:, None], vectors, 0)
    similarity = (vectors * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return share_above(similarity, is_accepted)


def disagrees(vectors: Vectors, is_accepted: Bool[np.ndarray, " n"], least: float, significance: float) -> bool:
    """Whether the agreement of the vectors with what was accepted is significantly below the least one.

    Parameters
    ----------
    vectors, is_accepted
        As in `agreement`.
    least
        Least agreement.
    significance
        Probability of an answer that is wrong by chance. The agreement of few candidates is uncertain; its standard
        error is that of Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic
        (ROC) curve", Radiology 1982.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> kind, other = np.eye(6)[0], np.eye(6)[1]
    >>> vectors = random.normal(size=(400, 6)) + np.where(np.arange(400)[:, None] % 2, kind, other)
    >>> is_odd = np.arange(400) % 2 == 1
    >>> disagrees(vectors[:8], is_odd[:8], 0.9, 0.05), disagrees(vectors, is_odd, 0.9, 0.05)
    (False, True)
    """
    found = agreement(vectors, is_accepted)
    if found is None:
        return False
    n = int(np.count_nonzero(is_accepted))
    m = len(vectors) - n
    of_one = (n - 1) * (found / (2 - found) - found**2)
    of_other = (m - 1) * (2 * found**2 / (1 + found) - found**2)
    error = np.sqrt((found * (1 - found) + of_one + of_other) / (n * m))
    return bool(found + norm.isf(significance) * error < least)


def share_above(values: Float[np.ndarray, " n"], is_accepted: Bool[np.ndarray, " n"]) -> float | None:
    """How often a value of an accepted candidate is above that of a refused one; None if there are not both.

    Examples
    --------
    >>> share_above(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]))
    0.75
    """
    n = int(np.count_nonzero(is_accepted))
    if n == 0 or n == len(values):
        return None
    ranks = rankdata(values)[is_accepted].sum()
    return float((ranks - n * (n + 1) / 2) / (n * (len(values) - n)))


def of_known_kind(vectors: Vectors, is_known: Bool[np.ndarray, " n"], significance: float) -> Bool[np.ndarray, " n"]:
    """Which vectors remain with the known ones when other kinds are divided off.

    The vectors are divided into two groups, and the group with fewer known ones is left out, for as long as the two
    groups are further apart than those of vectors of a single kind, whose vectors are normally distributed with the
    same covariance (SigClust: Liu et al., "Statistical significance of clustering for high-dimension, low-sample size
    data", Journal of the American Statistical Association 2008).

    Parameters
    ----------
    vectors
        Of the accepted candidates.
    is_known
        ``(n,)`` which of them are known to be of the kind, at least one.
    significance
        Probability that vectors of a single kind are divided.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> vectors = random.normal(0, 0.1, (40, 6)) + np.where(np.arange(40)[:, None] < 25, 0.5, -0.5)
    >>> int(of_known_kind(vectors, np.arange(40) == 3, 0.05).sum())
    25
    >>> int(of_known_kind(vectors[:25], np.arange(25) == 3, 0.05).sum())
    25
    """
    kept, random = np.arange(len(vectors)), np.random.default_rng(0)
    while len(kept) >= _FEWEST:
        division = _Division.of(vectors[kept])
        if division is None or division.by_chance(random) > significance:
            break
        n_known = [np.count_nonzero(is_known[kept[division.group == k]]) for k in range(2)]
        kept = kept[division.group == int(np.argmax(n_known))]
    is_kept: Bool[np.ndarray, " n"] = np.isin(np.arange(len(vectors)), kept)
    return is_kept


@dataclass(frozen=True, eq=False)
class _Division:
    """The division of vectors into the two groups that differ most.

    Parameters
    ----------
    group
        ``(n,)`` 0 or 1.
    within
        Share of the variance that is within the groups.
    deviations
        ``(k,)`` standard deviations of the vectors along their principal directions.
    """

    group: Int[np.ndarray, " n"]
    within: float
    deviations: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "n v"]) -> "_Division | None":
        """None if no division has two members in each group."""
        centred = np.asarray(vectors, dtype=float) - vectors.mean(axis=0)
        scores, deviations, _ = np.linalg.svd(centred, full_matrices=False)
        places = scores * deviations  # the vectors themselves, in fewer numbers
        divisions = []
        for side in (scores[:, :_N_DIRECTIONS] > 0).T:
            if min(np.bincount(side, minlength=2)) < _LEAST_IN_GROUP:
                continue
            start = np.stack([places[side == k].mean(axis=0) for k in (False, True)])
            _, group = kmeans2(places, start, iter=_N_STEPS, minit="matrix")
            if min(np.bincount(group, minlength=2)) < _LEAST_IN_GROUP:
                continue
            within = sum(((places[group == k] - places[group == k].mean(axis=0)) ** 2).sum() for k in range(2))
            share = float(within / max(float((deviations**2).sum()), 1e-12))
            divisions.append(cls(group, share, deviations / np.sqrt(len(vectors) - 1)))
        return min(divisions, key=lambda each: each.within, default=None)

    def by_chance(self, random: np.random.Generator) -> float:
        """Probability that normally distributed vectors of the same covariance are divided at least as well."""
        shape = (len(self.group), len(self.deviations))
        simulated = [_Division.of(random.normal(size=shape) * self.deviations) for _ in range(_N_SIMULATED)]
        shares = np.array([each.within for each in simulated if each is not None])
        if len(shares) < 2:
            return 1.0
        return float(norm.cdf(self.within, shares.mean(), max(float(shares.std(ddof=1)), 1e-9)))
