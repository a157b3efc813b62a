"""Several kinds in one tomogram: which of them a particle is, where more than one claims it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from cryosam.search import Candidates

__all__ = ["compete"]

_SURE = 1e-13  # probabilities this near to 0 or 1 count as no nearer
_OVERLAP = 0.5  # of the smaller mask that two candidates of one particle share


def compete(found: Sequence[Candidates]) -> list[Candidates]:
    """Settle which kind each particle is.

    Two candidates of different kinds are one particle if their masks share half of the smaller one, or the centre of
    one lies in the other's mask. A particle is of one kind or of none: with odds o_k of kind k its probability is
    o_k / (1 + sum of all o). Where a kind accepts it, or is more probable than not, the less probable ones are ruled
    out.

    Parameters
    ----------
    found
        Of each kind, with scores that are probabilities.

    Returns
    -------
    found
        The same candidates in the order of their new scores.
    """
    odds = [_odds(each.scores) for each in found]
    enough = np.minimum(_odds(np.array([each.threshold for each in found])), 1)
    settled = []
    for k, each in enumerate(found):
        rivals = np.zeros((len(found), len(each.scores)))
        for other, claimed in enumerate(found):
            if other != k:
                for i, j in _shared(each, claimed):
                    rivals[other, i] = max(rivals[other, i], odds[other][j])
        scores = odds[k] / (1 + odds[k] + rivals.sum(axis=0))
        is_lost = ((rivals > odds[k]) & (rivals >= enough[:, None])).any(axis=0)
        settled.append(each.ranked(np.where((each.scores > 0) & ~is_lost, scores, 0)))
    return settled


def _odds(probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """How many times more probable than not."""
    sure = np.clip(probability, _SURE, 1 - _SURE)
    odds: Float[np.ndarray, "..."] = sure / (1 - sure)
    return odds


def _shared(first: Candidates, second: Candidates) -> list[tuple[int, int]]:
    """Pairs of candidates of two kinds that are one particle."""
    if len(first.points) == 0 or len(second.points) == 0:
        return []
    reach = max(first.diameter, second.diameter)
    near = cKDTree(first.points).query_ball_tree(cKDTree(second.points), 2 * reach)
    return [(i, j) for i, others in enumerate(near) for j in others if _is_one(first, i, second, j)]


def _is_one(first: Candidates, i: int, second: Candidates, j: int) -> bool:
    a, b = first.masks[i], second.masks[j]
    if a.n_voxels == 0 or b.n_voxels == 0:
        apart = float(np.linalg.norm(first.points[i] - second.points[j]))
        return apart < min(first.diameter, second.diameter) / 2
    is_inside = a.holds(second.points[j]) or b.holds(first.points[i])
    return is_inside or a.overlap(b) > _OVERLAP * min(a.n_voxels, b.n_voxels)
