"""The rules that choose the threshold from the scores of all candidates."""

import numpy as np
from skimage.filters import threshold_otsu

from cryosam.arrays import Scores

__all__ = ["choose_threshold", "limit_false_discovery"]

_PLAUSIBLE = 0.4  # candidates below this are certainly not of the kind
_THRESHOLD_RANGE = (0.6, 0.8)


def limit_false_discovery(probabilities: Scores, share: float) -> float:
    """Lowest threshold at which the expected share of false detections stays within a limit.

    Parameters
    ----------
    probabilities
        ``(n,)`` descending, probability that each candidate is of the kind.
    share
        Largest expected share of false detections, between 0 and 1.

    Returns
    -------
    threshold
        Lowest probability that is accepted; 1 if not even the best candidate is probable enough.

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
    """Lowest score at which a candidate is accepted, from the scores of all candidates.

    This is Otsu's threshold between the two groups of the plausible scores, clipped to the range from 0.6 to 0.8.

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
