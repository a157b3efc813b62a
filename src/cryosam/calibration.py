"""From scores to probabilities, and from these to what is accepted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from skimage.filters import threshold_otsu

from cryosam.arrays import Scores

__all__ = ["KindEvidence", "choose_threshold", "kind_evidence", "limit_false_discovery"]

_PLAUSIBLE = 0.4  # candidates below this are certainly not of the kind
_THRESHOLD_RANGE = (0.6, 0.8)
_LEAST_OTHERS = 20  # correlations that tell how unlike the kind everything else is
_EM_STEPS, _PRIOR = 50, 5.0  # and the number of candidates that the least variance counts for


@dataclass(frozen=True, eq=False)
class KindEvidence:
    """How the candidates divide into those of the kind and everything else.

    Parameters
    ----------
    probabilities
        ``(n,)`` in [0, 1], that each candidate is of the kind.
    separation
        Distance between the two groups' means, in standard deviations within them. Below about 4 the groups may be one
        that was cut in two.
    """

    probabilities: Scores
    separation: float


def kind_evidence(
    correlations: Scores, averaged: Int[np.ndarray, " k"], background: Float[np.ndarray, " m"]
) -> KindEvidence:
    """Tell the candidates of the kind from everything else by their correlations with the kind's average.

    The correlations (Fisher's z) of either group are taken for normally distributed; means, variances and the share of
    the kind are found by expectation maximisation. It starts from the candidates that were averaged. Where hardly
    anything else is among the candidates, places of the background stand for it. Probabilities never fall where the
    correlation rises.

    Parameters
    ----------
    correlations
        ``(n,)`` in [-1, 1], of the candidates with an average that they are no part of.
    averaged
        Indices of the candidates in the average.
    background
        ``(m,)`` correlations of places without regard to what is there.

    Examples
    --------
    >>> z = np.array([0.8, 0.7, 0.75, 0.3, 0.35, 0.4])
    >>> kind_evidence(z, np.arange(3), np.full(200, 0.1)).probabilities.round()
    array([1., 1., 1., 0., 0., 0.])
    """
    n = len(correlations)
    n_others = max(0, _LEAST_OTHERS - (n - len(averaged)))
    others = np.quantile(background, np.linspace(0.5, 0.95, n_others)) if n_others else np.zeros(0)
    z = np.arctanh(np.clip(np.concatenate([correlations, others]), -0.99, 0.99))
    share = np.full(len(z), 0.02)
    share[averaged], share[n:] = 0.95, 0
    least = 0.1 * float(np.var(z)) + 1e-4
    for _ in range(_EM_STEPS):
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
        share[n:] = 0
    within = (np.stack([1 - share, share]) * squares).sum() / len(z)
    return KindEvidence(share[:n], float((high - low) / np.sqrt(within + 1e-12)))


def limit_false_discovery(probabilities: Scores, share: float) -> float:
    """Least probability of a detection at which no more than a share of the detections is expected to be false.

    Parameters
    ----------
    probabilities
        ``(n,)`` descending, that each candidate is of the kind.
    share
        Between 0 and 1.

    Returns
    -------
    threshold
        1 if not even the best candidate is sure enough.

    Examples
    --------
    >>> limit_false_discovery(np.array([1.0, 0.9, 0.8, 0.3]), 0.1)
    0.8
    """
    expected = np.cumsum(1 - probabilities) / np.arange(1, len(probabilities) + 1)
    is_last = np.append(np.diff(probabilities) < 0, True)[: len(probabilities)]  # equals are accepted together
    enough = np.flatnonzero((expected <= share + 1e-9) & is_last)
    return float(probabilities[enough[-1]]) if len(enough) else 1.0


def choose_threshold(scores: Scores) -> float:
    """Least score of a detection, from the scores of all candidates.

    Otsu's threshold between the two groups that the plausible scores fall into, kept within a range.

    Parameters
    ----------
    scores
        ``(n,)`` in [0, 1].

    Examples
    --------
    >>> 0.6 <= choose_threshold(np.array([0.95, 0.93, 0.9, 0.5, 0.45, 0.43])) <= 0.8
    True
    """
    low, high = _THRESHOLD_RANGE
    plausible = scores[scores > _PLAUSIBLE]
    if len(np.unique(plausible)) < 2:
        return high
    return float(np.clip(threshold_otsu(plausible), low, high))
