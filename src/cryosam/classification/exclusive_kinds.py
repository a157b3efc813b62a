"""Several kinds in one tomogram: assign each particle that several kinds have found to one of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from cryosam.matching.candidates import Candidates

__all__ = ["compete"]

_SURE = 1e-13  # smallest distance of a probability from 0 or 1
_EVEN_ODDS = 0.5
_OVERLAP = 0.5  # fraction of the smaller mask that two candidates for the same particle share


def compete(found: Sequence[Candidates]) -> list[Candidates]:
    """Decide of which kind each particle is.

    Two candidates of different kinds are the same particle if their masks share more than half of the smaller one, or
    if the centre of one lies in the mask of the other. A particle is of one kind or of none: if its odds for kind k are
    o_k, its probability for that kind is o_k / (1 + sum of all o). If one of the kinds accepts the particle, or is more
    probable than not, the less probable kinds are ruled out for it. The remaining kind still accepts the particle if it
    did so without the others. If one of two kinds has no average, the scores are not probabilities and stay unchanged;
    the kind with the larger ratio of its score's odds to its threshold's odds remains.

    Parameters
    ----------
    found
        The candidates of each kind.

    Returns
    -------
    found
        The same candidates in the order of their new scores.
    """
    odds = [_odds(each.scores) for each in found]
    needed = _odds(np.array([each.threshold for each in found]))
    ties = [_correlations(each) for each in found]
    settled = []
    for k, each in enumerate(found):
        against, is_lost = np.zeros(len(each.scores)), np.zeros(len(each.scores), dtype=bool)
        for other, claimed in enumerate(found):
            if other == k:
                continue
            is_probable = each.average is not None and claimed.average is not None
            own, rival = (odds[c] if is_probable else odds[c] / needed[c] for c in (k, other))
            enough = min(needed[other], 1) if is_probable else 1
            highest = np.zeros(len(each.scores))
            for i, j in _shared(each, claimed):
                is_less = (own[i], ties[k][i], -k) < (rival[j], ties[other][j], -other)
                is_lost[i] |= is_less and rival[j] >= enough
                highest[i] = max(highest[i], rival[j])
            against += highest * is_probable
        scores = np.where(against > 0, odds[k] / (1 + odds[k] + against), each.scores)
        least = np.where(each.scores >= each.threshold, min(each.threshold, _EVEN_ODDS), 0)
        if each.probability is not None:
            each = replace(each, probability=np.where(each.scores > 0, np.maximum(scores, least), 0))
        settled.append(each.without(is_lost))
    return settled


def _correlations(found: Candidates) -> Float[np.ndarray, " n"]:
    """Correlations with the kind's average, which rank candidates of equal probability; 0 without an average."""
    return np.zeros(len(found.scores)) if found.correlation is None else found.correlation


def _odds(probability: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Odds ``p / (1 - p)`` of a probability."""
    sure = np.clip(probability, _SURE, 1 - _SURE)
    odds: Float[np.ndarray, "..."] = sure / (1 - sure)
    return odds


def _shared(first: Candidates, second: Candidates) -> list[tuple[int, int]]:
    """Pairs of candidates of two kinds that are the same particle."""
    if len(first.points) == 0 or len(second.points) == 0:
        return []
    reach = max(first.diameter, second.diameter)
    near = cKDTree(first.points).query_ball_tree(cKDTree(second.points), 2 * reach)
    return [(i, j) for i, others in enumerate(near) for j in others if _is_one(first, i, second, j)]


def _is_one(first: Candidates, i: int, second: Candidates, j: int) -> bool:
    a, b = first.masks[i], second.masks[j]
    if a.n_voxels == 0 or b.n_voxels == 0:
        distance = float(np.linalg.norm(first.points[i] - second.points[j]))
        return distance < min(first.diameter, second.diameter) / 2
    is_inside = a.holds(second.points[j]) or b.holds(first.points[i])
    return is_inside or a.overlap(b) > _OVERLAP * min(a.n_voxels, b.n_voxels)
