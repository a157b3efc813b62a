"""Several classes of candidates, told apart by how each compares with the average of every class."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from cryosam.arrays import Scores

__all__ = ["Mixture", "bimodality", "two_groups"]

_SHRINKAGE = 0.3  # of the variances, added to them: few candidates tell how the kinds of evidence vary together
_PRIOR = 5.0  # number of candidates that the least variance counts for
_LEAST_SHARE = 0.02  # of a class
_FIRST_MODES = (0.2, 0.35, 0.5, 0.65, 0.8)  # shares of the values in the lower of two heaps, that are tried first
_LEAST_VALUES = 4  # values
_N_STEPS = 50  # of expectation maximisation of two groups

Shares = Float[np.ndarray, "n k"]
"""Of each of n candidates in each of k classes; each candidate's sum to 1."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Classes of candidates, each normally distributed.

    Parameters
    ----------
    means
        ``(k, f)`` of the classes' evidence.
    precision
        ``(f, f)`` inverse of the covariance of the evidence within the classes, which is the same in all.
    log_prior, spread
        ``(k,)`` means and variances of the logarithm of the likeness.
    shares
        ``(k,)`` of the candidates, in the classes.
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
        """By expectation maximisation, from a first guess of the classes.

        Parameters
        ----------
        evidence
            ``(n, f)`` of the candidates.
        log_prior
            ``(n,)`` logarithm of their likeness, which varies on its own.
        start
            ``(n, k)`` first guess.
        n_steps
            At least 1.

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
        """Of candidates that are known."""
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
        """``(n, k)`` logarithms of the classes' densities, but for a constant."""
        offsets = evidence[:, None] - self.means
        distances = np.einsum("nkf,fg,nkg->nk", offsets, self.precision, offsets)
        distances += (log_prior[:, None] - self.log_prior) ** 2 / self.spread + np.log(self.spread)
        densities: Shares = -distances / 2
        return densities

    def assign(self, evidence: Float[np.ndarray, "n f"], log_prior: Float[np.ndarray, " n"]) -> Shares:
        """``(n, k)`` probabilities that each candidate is of each class."""
        odds = self.log_densities(evidence, log_prior) + np.log(self.shares)
        odds = np.exp(odds - odds.max(axis=1, keepdims=True))
        shares: Shares = odds / odds.sum(axis=1, keepdims=True)
        return shares

    def distances(self) -> Float[np.ndarray, "k k"]:
        """Between the means of the classes, in standard deviations within them."""
        offsets = self.means[:, None] - self.means
        squares = np.einsum("klf,fg,klg->kl", offsets, self.precision, offsets)
        squares += (self.log_prior[:, None] - self.log_prior) ** 2 / ((self.spread[:, None] + self.spread) / 2)
        distances: Float[np.ndarray, "k k"] = np.sqrt(squares)
        return distances


def bimodality(values: Float[np.ndarray, " n"]) -> float:
    """How much better two normal distributions of the same variance describe some values than one does.

    Parameters
    ----------
    values
        ``(n,)``, at least one; fewer than four tell nothing.

    Returns
    -------
    gain
        Twice the logarithm of the ratio of the likelihoods; about 0 where the values lie in one heap.

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
    """Divide values between two groups, each taken for normally distributed, by expectation maximisation.

    Parameters
    ----------
    z
        ``(n,)`` the values.
    start
        ``(n,)`` first guess of each value's probability of the upper group.
    n_candidates
        So many of the values are to be told; of those after them ``start`` is known and stays.

    Returns
    -------
    probabilities
        ``(n,)`` of the upper group; they never fall where the values rise.
    separation
        Distance between the groups' means, in standard deviations within them.

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

        # the odds are a parabola: beyond its vertex they would turn back
        vertex = np.divide(low / variances[0] - high / variances[1], 1 / variances[0] - 1 / variances[1] + 1e-12)
        seen = np.minimum(z, vertex) if variances[1] < variances[0] else np.maximum(z, vertex)
        distances = (seen - np.array([[low], [high]])) ** 2 / variances[:, None]
        evidence = (distances[0] - distances[1] + np.log(variances[0] / variances[1])) / 2 + np.log(odds / (1 - odds))
        share = 1 / (1 + np.exp(-np.clip(evidence, -500, 30)))
        share[n:] = start[n:]
    within = (np.stack([1 - share, share]) * squares).sum() / len(z)
    return share, float((high - low) / np.sqrt(within + 1e-12))
