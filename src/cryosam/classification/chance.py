"""Probabilities from what the same search finds by chance, in a surrogate of the tomogram."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from cryosam.arrays import Scores

__all__ = ["Chance"]


@dataclass(frozen=True, eq=False)
class Chance:
    """What a search finds by chance.

    Parameters
    ----------
    values
        ``(m,)`` correlations, or their Fisher's z, of the best places in the surrogate.
    weight
        Number of places in the tomogram for which each of them stands: the ratio of the searched volumes.

    Examples
    --------
    >>> chance = Chance(np.array([0.1, 0.2, 0.3, 0.4]), 1.0)
    >>> chance.probabilities(np.array([0.15, 0.25, 0.35, 0.8, 0.9, 0.95])).round(2)
    array([0., 0., 0., 1., 1., 1.])
    """

    values: Float[np.ndarray, " m"]
    weight: float

    def probabilities(self, found: Float[np.ndarray, " n"]) -> Scores:
        """Probability that each candidate is something, and not chance; it never decreases with its value.

        It is one minus the local false discovery rate, the ratio of the density of chance to that of the candidates.
        The ratio is found by isotonic regression, which has no setting (Barlow et al. 1972).

        Parameters
        ----------
        found
            ``(n,)`` the same of the candidates.
        """
        values = np.concatenate([found, self.values])
        is_candidate = np.arange(len(values)) < len(found)
        weights = np.where(is_candidate, 1.0, self.weight)
        order = np.argsort(values, kind="stable")
        share = np.empty(len(values))
        share[order] = isotonic_regression(is_candidate[order].astype(float), weights=weights[order]).x
        probabilities: Scores = np.clip(2 - 1 / np.maximum(share[: len(found)], 1e-9), 0, 1)
        return probabilities
