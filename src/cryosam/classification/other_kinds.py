"""Whether there are other kinds besides one, asked of the vectors of what is more than chance.

The vector of a particle in noise lies between that of its kind and that of nothing. That of another object does not.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.cluster.vq import kmeans2

from cryosam.matching.descriptors import Vector, Vectors

__all__ = ["share_of_others"]

_FEWEST = 5  # places whose mean vector is looked at: with fewer, chance decides
_N_STEPS = 20  # of the division in two groups, which hardly changes after ten


def share_of_others(vectors: Vectors, is_kind: Bool[np.ndarray, " n"], nothing: Vector) -> float | None:
    """How far the places that are something, but not of the kind, are from what the kind and nothing explain.

    The mean vector of the other places is compared with the plane of the mean vectors of the kind and of nothing. What
    was taken for the kind may be wrong, so the places are also divided into their two most different groups, and the
    mean of each is compared with the plane of the other's and of nothing: the smallest share counts.

    Parameters
    ----------
    vectors
        Of the places that are more than chance.
    is_kind
        ``(n,)`` True for those of the kind.
    nothing
        Mean vector of places by chance.

    Returns
    -------
    share
        In [0, 1], of the length of the mean vector; None if there are hardly any other places.

    Examples
    --------
    >>> kind, nothing, other = np.eye(3, dtype=np.float32)
    >>> is_kind = np.arange(20) < 10
    >>> faint = np.where(is_kind[:, None], kind, 0.5 * kind + 0.5 * nothing)
    >>> round(share_of_others(faint, is_kind, nothing), 3)
    0.0
    >>> round(share_of_others(np.where(is_kind[:, None], kind, other), is_kind, nothing), 3)
    1.0
    """
    if np.count_nonzero(~is_kind) < _FEWEST:
        return None
    shares = []
    if is_kind.any():
        shares.append(_unexplained(vectors[~is_kind].mean(axis=0), vectors[is_kind].mean(axis=0), nothing))
    first = _halves(vectors)
    starts = np.stack([vectors[first].mean(axis=0), vectors[~first].mean(axis=0)])
    _, group = kmeans2(vectors, starts, iter=_N_STEPS, minit="matrix")
    if min(np.bincount(group, minlength=2)) >= _FEWEST:
        one, two = (vectors[group == k].mean(axis=0) for k in range(2))
        shares += [_unexplained(one, two, nothing), _unexplained(two, one, nothing)]
    return min(shares, default=None)


def _halves(vectors: Vectors) -> Bool[np.ndarray, " n"]:
    """True on one side of the mean, along the direction in which the vectors differ most."""
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    side: Bool[np.ndarray, " n"] = centred @ directions[0] > 0
    return side


def _unexplained(
    mean: Float[np.ndarray, " v"], kind: Float[np.ndarray, " v"], nothing: Float[np.ndarray, " v"]
) -> float:
    """Share of a mean vector that is not in the plane of the kind's mean vector and that of nothing, in [0, 1].

    Examples
    --------
    >>> kind, nothing, other = np.eye(3)
    >>> _unexplained(kind + nothing, kind, nothing), _unexplained(other, kind, nothing)
    (0.0, 1.0)
    """
    plane, _ = np.linalg.qr(np.stack([kind, nothing], axis=1))
    rest = mean - plane @ (plane.T @ mean)
    return float(np.linalg.norm(rest) / max(float(np.linalg.norm(mean)), 1e-9))
