"""Mixtures of normal distributions, which separate classes of candidates by their correlations with all averages."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from cryosam.arrays import Scores

__all__ = ["Mixture", "bimodality", "two_groups"]

_SHRINKAGE = 0.3  # fraction of the variances added to them, as covariances from few candidates are uncertain
_PRIOR = 5.0  # number of candidates that the least variance counts for
_LEAST_SHARE = 0.02  # of a class
_FIRST_MODES = (0.2, 0.35, 0.5, 0.65, 0.8)  # first guesses of the share of values in the lower of two modes
_LEAST_VALUES = 4  # smallest number of values that can show two modes
_N_STEPS = 50  # of expectation maximisation of two groups

Shares = Float[np.ndarray, "n k"]
"""Probability of each of n candidates for each of k classes; the values of a candidate sum to 1."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Classes of candidates, each normally distributed.

    Parameters
    ----------
    means
        ``(k, f)`` mean evidence of each class.
    precision
        ``(f, f)`` inverse of the covariance of the evidence within the classes, which is the same for all classes.
    log_prior, spread
        ``(k,)`` mean and variance of the logarithm of the prior score in each class.
    shares
        ``(k,)`` fraction of the candidates in each class.
    """

    means: Float[np.ndarray, "k f"]
    precision: Float[np.ndarray, "f f"]
    log_prior: Float[np.ndarray, " k"]
    spread: Float[np.ndarray, " k"]
    shares: Float[np.ndarray, " k"]

    @classmethod
    def fit(
        cls, evidence: Float[np.ndarray, "n f"], log_prior: Float[np.ndarray, " n"], start: Shares, n_steps: int
    ) -> "Mixture":
        """Fit the mixture by expectation maximisation, from a first guess of the classes.

        Parameters
        ----------
        evidence
            ``(n, f)`` evidence of the candidates.
        log_prior
            ``(n,)`` logarithm of their prior scores, modelled as independent of the evidence.
        start
            ``(n, k)`` first guess of the class of each candidate.
        n_steps
            Number of steps, at least 1.

        Examples
        --------
        >>> evidence = np.array([[0.0, 1], [0.1, 1.1], [1, 0.1], [1.1, 0.0]])
        >>> guess = np.array([[0.6, 0.4], [0.5, 0.5], [0.5, 0.5], [0.4, 0.6]])
        >>> Mixture.fit(evidence, np.zeros(4), guess, 10).assign(evidence, np.zeros(4)).round()[:, 0]
        array([1., 1., 0., 0.])
        """
        found = cls._of(evidence, log_prior, start)
        for _ in range(n_steps - 1):
            found = cls._of(evidence, log_prior, found.assign(evidence, log_prior))
        return found

    @classmethod
    def _of(cls, evidence: Float[np.ndarray, "n f"], log_prior: Float[np.ndarray, " n"], weights: Shares) -> "Mixture":
        """The mixture of candidates whose classes are given."""
        n_each = weights.sum(axis=0) + 1e-9
        means = (weights.T @ evidence) / n_each[:, None]
        within = sum((w[:, None] * (evidence - m)).T @ (evidence - m) for w, m in zip(weights.T, means, strict=True))
        covariance = within / len(evidence)
        covariance += np.diag(_SHRINKAGE * np.diag(covariance) + 1e-6)
        middle = (weights.T @ log_prior) / n_each
        squares = (weights * (log_prior[:, None] - middle) ** 2).sum(axis=0)
        spread = (squares + 2 * _PRIOR * (0.1 * log_prior.var() + 1e-3)) / (n_each + 2 * _PRIOR)
        shares = np.clip(n_each / len(evidence), _LEAST_SHARE, 1)
        return cls(means, np.linalg.inv(covariance), middle, spread, shares)

    def log_densities(self, evidence: Float[np.ndarray, "n f"], log_prior: Float[np.ndarray, " n"]) -> Shares:
        """``(n, k)`` logarithm of the density of each class at each candidate, up to a constant."""
        offsets = evidence[:, None] - self.means
        distances = np.einsum("nkf,fg,nkg->nk", offsets, self.precision, offsets)
        distances += (log_prior[:, None] - self.log_prior) ** 2 / self.spread + np.log(self.spread)
        densities: Shares = -distances / 2
        return densities

    def assign(self, evidence: Float[np.ndarray, "n f"], log_prior: Float[np.ndarray, " n"]) -> Shares:
        """``(n, k)`` probability that each candidate is of each class."""
        odds = self.log_densities(evidence, log_prior) + np.log(self.shares)
        odds = np.exp(odds - odds.max(axis=1, keepdims=True))
        shares: Shares = odds / odds.sum(axis=1, keepdims=True)
        return shares

    def distances(self) -> Float[np.ndarray, "k k"]:
        """Distances between the means of the classes, in standard deviations within a class."""
        offsets = self.means[:, None] - self.means
        squares = np.einsum("klf,fg,klg->kl", offsets, self.precision, offsets)
        squares += (self.log_prior[:, None] - self.log_prior) ** 2 / ((self.spread[:, None] + self.spread) / 2)
        distances: Float[np.ndarray, "k k"] = np.sqrt(squares)
        return distances


def bimodality(values: Float[np.ndarray, " n"]) -> float:
    """How much better two normal distributions of the same variance fit some values than a single one does.

    Parameters
    ----------
    values
        ``(n,)``, at least one; the gain is 0 for fewer than four.

    Returns
    -------
    gain
        Twice the logarithm of the likelihood ratio; about 0 if the values have one mode.

    Examples
    --------
    >>> values = np.array([0.0, 0.1, 0.2, 0.3])
    >>> bimodality(values) < bimodality(np.append(values, values + 2))
    True
    """
    n, spread = len(values), float(values.std())
    if n < _LEAST_VALUES or spread == 0:
        return 0.0
    scaled, gain = (np.sort(values) - values.mean()) / spread, 0.0
    for first in _FIRST_MODES:
        weights = np.eye(2)[(np.arange(n) >= max(1, int(first * n))).astype(int)]
        for _ in range(_N_STEPS):
            n_each = weights.sum(axis=0) + 1e-9
            squares = (scaled[:, None] - scaled @ weights / n_each) ** 2
            variance = (weights * squares).sum() / n + 1e-6
            terms = np.log(n_each / n) - squares / (2 * variance)
            total = logsumexp(terms, axis=1, keepdims=True)
            weights = np.exp(terms - total)
        gain = max(gain, float(2 * total.sum() - n * np.log(variance) + n))
    return gain


def two_groups(z: Float[np.ndarray, " n"], start: Scores, n_candidates: int) -> tuple[Scores, float]:
    """Divide values into two normally distributed groups by expectation maximisation.

    Parameters
    ----------
    z
        ``(n,)`` the values.
    start
        ``(n,)`` first guess of the probability that each value is in the upper group.
    n_candidates
        Number of values, from the first, whose group is to be found. For the rest, ``start`` is kept as known.

    Returns
    -------
    probabilities
        ``(n,)`` probability of the upper group; it never decreases where the values increase.
    separation
        Distance between the means of the groups, in standard deviations within a group.

    Examples
    --------
    >>> two_groups(np.array([0.0, 0.1, 0.2, 1.0, 1.1]), np.array([0.3, 0.3, 0.3, 0.6, 0.6]), 5)[0].round()
    array([0., 0., 0., 1., 1.])
    """
    share, n = start, n_candidates
    least = 0.1 * float(np.var(z)) + 1e-4
    for _ in range(_N_STEPS):
        groups = np.stack([1 - share, share])
        low, high = (groups @ z + 1e-9 * z.mean()) / (groups.sum(axis=1) + 1e-9)
        squares = (z - np.array([[low], [high]])) ** 2
        variances = ((groups * squares).sum(axis=1) + 2 * _PRIOR * least) / (groups.sum(axis=1) + 2 * _PRIOR)
        odds = np.clip(share[:n].mean(), 0.02, 0.98)

        # the logarithm of the odds is a parabola in z: hold it constant beyond the vertex, so that it stays monotonic
        vertex = np.divide(low / variances[0] - high / variances[1], 1 / variances[0] - 1 / variances[1] + 1e-12)
        limited = np.minimum(z, vertex) if variances[1] < variances[0] else np.maximum(z, vertex)
        distances = (limited - np.array([[low], [high]])) ** 2 / variances[:, None]
        evidence = (distances[0] - distances[1] + np.log(variances[0] / variances[1])) / 2 + np.log(odds / (1 - odds))
        share = 1 / (1 + np.exp(-np.clip(evidence, -500, 30)))
        share[n:] = start[n:]
    within = (np.stack([1 - share, share]) * squares).sum() / len(z)
    return share, float((high - low) / np.sqrt(within + 1e-12))
