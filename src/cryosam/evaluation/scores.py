"""Scores against a known answer: detections as points, instances as label volumes.

A ratio whose denominator is 0 is set to 1 if there was nothing to find and nothing was found, otherwise to 0.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from cryosam.arrays import Labels, Points, Scores
from cryosam.errors import InputError

__all__ = ["DetectionScores", "InstanceScores", "Matching", "match_points", "score_detections", "score_instances"]

Indices = Int[np.ndarray, " k"]
TruePoints = Float[np.ndarray, "m 3"]
TrueLabels = Integer[np.ndarray, "tz ty tx"]


@dataclass(frozen=True, eq=False)
class Matching:
    """One-to-one pairs of picks and true particles.

    Parameters
    ----------
    predicted, truth
        ``(k,)`` row of the pick and of the true particle, sorted by the row of the pick.
    distances
        ``(k,)`` distance between the two, in voxels.
    """

    predicted: Indices
    truth: Indices
    distances: Float[np.ndarray, " k"]


@dataclass(frozen=True)
class DetectionScores:
    """How well picks agree with the true particles.

    Parameters
    ----------
    distance
        Largest distance of a hit, in voxels.
    n_predicted, n_truth, n_matched
        Picks, true particles, and pairs of the one-to-one matching.
    precision, recall, f1, f_beta
        In [0, 1]; ``f_beta`` gives recall ``beta`` times the weight of precision.
    beta
        Parameter of ``f_beta``.
    mean_distance
        Mean over the pairs, in voxels; None without pairs.
    average_precision
        Area under the curve of precision over recall, with one step per score; None if picks have no scores.
    best_f1, best_threshold
        Largest F1 over all thresholds on the score, and that threshold; None if picks have no scores.
    """

    distance: float
    n_predicted: int
    n_truth: int
    n_matched: int
    precision: float
    recall: float
    f1: float
    f_beta: float
    beta: float
    mean_distance: float | None
    average_precision: float | None
    best_f1: float | None
    best_threshold: float | None


@dataclass(frozen=True)
class InstanceScores:
    """How well labelled instances agree with the true ones.

    Parameters
    ----------
    n_predicted, n_truth
        Instances in each volume.
    n_paired
        Overlapping pairs of the one-to-one assignment with the largest sum of IoU.
    mean_iou, mean_dice
        Means over those pairs; 0 without pairs.
    n_matched
        Pairs with IoU above 0.5; an instance can be in only one such pair.
    panoptic_quality, segmentation_quality, recognition_quality
        PQ = SQ * RQ; SQ is the mean IoU of the matched pairs, RQ their F1 (Kirillov et al., CVPR 2019).
    semantic_dice
        Dice of all predicted voxels against all true voxels, without regard to instances.
    """

    n_predicted: int
    n_truth: int
    n_paired: int
    mean_iou: float
    mean_dice: float
    n_matched: int
    panoptic_quality: float
    segmentation_quality: float
    recognition_quality: float
    semantic_dice: float


def match_points(predicted: Points, truth: TruePoints, distance: float) -> Matching:
    """Pair picks with true particles one to one: as many pairs as possible, then the smallest total distance.

    Parameters
    ----------
    predicted, truth
        ``(n, 3)`` and ``(m, 3)`` z, y, x in voxels.
    distance
        Largest allowed distance of a pair, in voxels.

    Examples
    --------
    The particle nearest to the first pick is the only one near the second, so the first pick is paired with the other:

    >>> truth = np.array([[0.0, 0, 0], [0, 0, 4]])
    >>> match_points(np.array([[0.0, 0, 1], [0, 0, -3]]), truth, distance=3.0).truth
    array([1, 0])
    """
    candidates = _candidates(predicted, truth, distance)
    pairs = _assign(candidates, distance)
    order = np.argsort(candidates["i"][pairs])
    chosen = candidates[pairs[order]]
    return Matching(chosen["i"].astype(np.int64), chosen["j"].astype(np.int64), chosen["v"].astype(float))


def score_detections(
    predicted: Points, truth: TruePoints, distance: float, *, scores: Scores | None = None, beta: float = 4.0
) -> DetectionScores:
    """Precision, recall, F1, F-beta and, if picks have scores, average precision and the best threshold.

    The CZII challenge scores each kind with beta 4 and a distance of half the particle's radius.

    For the curve, picks are taken from the best to the worst. A pick is a hit if it and all earlier hits can be paired
    one to one with true particles within ``distance``. So the number of hits above any threshold is the largest
    possible, and the last point of the curve is that of all picks.

    Parameters
    ----------
    predicted
        ``(n, 3)`` picks z, y, x in voxels.
    truth
        ``(m, 3)`` true particles.
    distance
        Largest distance of a hit, in voxels.
    scores
        ``(n,)`` scores of the picks, larger is better.
    beta
        Weight of recall in F-beta.

    Examples
    --------
    >>> truth = np.array([[1.0, 2, 3], [7, 8, 9]])
    >>> picks = np.array([[1.0, 2, 4], [20, 20, 20]])
    >>> result = score_detections(picks, truth, distance=2.0, scores=np.array([0.9, 0.4]))
    >>> result.f1, result.average_precision, result.best_threshold
    (0.5, 0.5, 0.9)
    """
    matching = match_points(predicted, truth, distance)
    n_predicted, n_truth, n_matched = len(predicted), len(truth), len(matching.predicted)
    average_precision = best_f1 = best_threshold = None
    if scores is not None:
        average_precision, best_f1, best_threshold = _score_curve(predicted, truth, distance, scores)
    return DetectionScores(
        distance=float(distance),
        n_predicted=n_predicted,
        n_truth=n_truth,
        n_matched=n_matched,
        precision=_ratio(n_matched, n_predicted, n_predicted + n_truth),
        recall=_ratio(n_matched, n_truth, n_predicted + n_truth),
        f1=_f_beta(n_matched, n_predicted, n_truth, 1.0),
        f_beta=_f_beta(n_matched, n_predicted, n_truth, beta),
        beta=float(beta),
        mean_distance=float(matching.distances.mean()) if n_matched else None,
        average_precision=average_precision,
        best_f1=best_f1,
        best_threshold=best_threshold,
    )


def score_instances(
    predicted: Labels, truth: TrueLabels, *, truth_labels: Collection[int] | None = None
) -> InstanceScores:
    """Score labelled instances against the true ones; the memory needed does not grow with their number.

    Parameters
    ----------
    predicted, truth
        ``(z, y, x)`` instance labels, 0 is background.
    truth_labels
        Labels of the true instances to count, such as those of one kind; the others become background. None counts all.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> truth = np.zeros((3, 4, 5), dtype=int)
    >>> truth[0, 0, :4] = 7
    >>> predicted = np.zeros_like(truth)
    >>> predicted[0, 0, 1:4] = 1
    >>> score_instances(predicted, truth).mean_iou
    0.75
    """
    if predicted.shape != truth.shape:
        raise InputError(f"label volumes differ in shape: predicted {predicted.shape}, truth {truth.shape}")
    first, second, voxels = _contingency(predicted, truth)
    if truth_labels is not None:
        second = np.where(np.isin(second, np.asarray(list(truth_labels), dtype=np.int64)), second, 0)
    names_p, row = np.unique(first[first > 0], return_inverse=True)
    names_t, column = np.unique(second[second > 0], return_inverse=True)
    size_p = np.bincount(row, voxels[first > 0], minlength=len(names_p))
    size_t = np.bincount(column, voxels[second > 0], minlength=len(names_t))

    both = (first > 0) & (second > 0)
    i, j = np.searchsorted(names_p, first[both]), np.searchsorted(names_t, second[both])
    iou = voxels[both] / (size_p[i] + size_t[j] - voxels[both])
    pairs = _pair_by_iou(i, j, iou)
    matched = iou[iou > 0.5]
    n_p, n_t, n_matched = len(names_p), len(names_t), len(matched)
    n_things = n_p + n_t
    recognition = _f_beta(n_matched, n_p, n_t, 1.0)
    quality = float(matched.mean()) if n_matched else float(not n_things)
    return InstanceScores(
        n_predicted=n_p,
        n_truth=n_t,
        n_paired=len(pairs),
        mean_iou=float(iou[pairs].mean()) if len(pairs) else float(not n_things),
        mean_dice=float((2 * iou[pairs] / (1 + iou[pairs])).mean()) if len(pairs) else float(not n_things),
        n_matched=n_matched,
        panoptic_quality=quality * recognition,
        segmentation_quality=quality,
        recognition_quality=recognition,
        semantic_dice=_ratio(2 * int(voxels[both].sum()), int(size_p.sum() + size_t.sum()), n_things),
    )


def _ratio(numerator: int, denominator: int, n_things: int) -> float:
    """The ratio; without a denominator, 1 if there are no things at all, otherwise 0."""
    return numerator / denominator if denominator else float(n_things == 0)


def _f_beta(n_matched: int, n_predicted: int, n_truth: int, beta: float) -> float:
    """F-beta = (1 + b^2) TP / (b^2 (TP + FN) + TP + FP)."""
    denominator = beta**2 * n_truth + n_predicted
    return (1 + beta**2) * n_matched / denominator if denominator else float(n_predicted + n_truth == 0)


def _candidates(predicted: Points, truth: TruePoints, distance: float) -> np.ndarray:
    """Records (i, j, v): pick, true particle and their distance, for all pairs within ``distance``."""
    if not len(predicted) or not len(truth):
        return np.empty(0, dtype=[("i", np.intp), ("j", np.intp), ("v", float)])
    return np.asarray(KDTree(predicted).sparse_distance_matrix(KDTree(truth), float(distance), output_type="ndarray"))


def _assign(candidates: np.ndarray, distance: float) -> Indices:
    """Which candidate pairs form the matching: most pairs first, then the smallest total distance.

    Picks and particles that no chain of candidate pairs connects cannot influence each other, so each connected
    component is a separate, small assignment problem. A pair that is no candidate costs more than all candidates
    together.
    """
    if not len(candidates):
        return np.empty(0, dtype=np.int64)
    chosen: list[int] = []
    n = int(candidates["i"].max()) + 1
    columns = candidates["j"] + n
    size = int(columns.max()) + 1
    graph = coo_array((np.ones(len(candidates)), (candidates["i"], columns)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][candidates["i"]]
    order = np.argsort(component, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
        part = candidates[members]
        rows, i = np.unique(part["i"], return_inverse=True)
        cols, j = np.unique(part["j"], return_inverse=True)
        cost = np.full((len(rows), len(cols)), (min(len(rows), len(cols)) + 1) * max(float(distance), 1.0))
        index = np.full(cost.shape, -1)
        cost[i, j], index[i, j] = part["v"], members
        pairs = index[linear_sum_assignment(cost)]
        chosen.extend(pairs[pairs >= 0].tolist())
    return np.asarray(chosen, dtype=np.int64)


def _score_curve(
    predicted: Points, truth: TruePoints, distance: float, scores: Scores
) -> tuple[float, float, float | None]:
    """Average precision, best F1 and its threshold."""
    n_truth = len(truth)
    if not len(predicted):
        return float(n_truth == 0), float(n_truth == 0), None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(_hits(predicted[order], truth, distance))
    # a threshold cannot separate picks of equal score
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    n_hits, n_picks = hits[last], last + 1
    average_precision = float(np.sum(np.diff(n_hits, prepend=0) / max(n_truth, 1) * n_hits / n_picks))
    f1 = 2 * n_hits / (n_picks + n_truth)
    best = int(np.argmax(f1))
    return average_precision, float(f1[best]), float(scores[order][last[best]])


def _hits(predicted: Points, truth: TruePoints, distance: float) -> Bool[np.ndarray, " n"]:
    """Which picks, best first, can be paired together with all earlier hits (augmenting paths, Kuhn 1955)."""
    near: list[list[int]] = [[] for _ in predicted]
    for i, j, _ in np.sort(_candidates(predicted, truth, distance), order="v").tolist():
        near[i].append(j)
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    return np.array([_augment(pick, near, owner, held) for pick in range(len(predicted))], dtype=bool)


def _augment(pick: int, near: list[list[int]], owner: dict[int, int], held: dict[int, int]) -> bool:
    """Pair ``pick`` with a particle, moving earlier picks to other particles if needed; False if impossible."""
    reached_from: dict[int, int] = {}
    queue = [pick]
    for current in queue:
        for particle in near[current]:
            if particle in reached_from:
                continue
            reached_from[particle] = current
            if particle in owner:
                queue.append(owner[particle])
                continue
            free: int | None = particle
            while free is not None:  # go back: each pick takes the particle it reached and frees its own
                taker = reached_from[free]
                owner[free] = taker
                held[taker], free = free, held.get(taker)
            return True
    return False


def _contingency(
    predicted: Labels, truth: Labels
) -> tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
    """Number of voxels for each pair of labels except (0, 0); counted section by section to limit the memory."""
    counts: dict[int, int] = {}
    for section_p, section_t in zip(predicted, truth, strict=True):
        inside = (section_p > 0) | (section_t > 0)
        first, second = (np.maximum(s[inside].astype(np.int64), 0) for s in (section_p, section_t))
        keys, voxels = np.unique((first << 32) | second, return_counts=True)
        for key, n in zip(keys.tolist(), voxels.tolist(), strict=True):
            counts[key] = counts.get(key, 0) + n
    keys = np.fromiter(counts, dtype=np.int64, count=len(counts))
    return keys >> 32, keys & 0xFFFFFFFF, np.fromiter(counts.values(), dtype=np.int64, count=len(counts))


def _pair_by_iou(i: Indices, j: Indices, iou: Float[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
    """Which overlapping pairs form the one-to-one assignment with the largest sum of IoU."""
    if not len(iou):
        return np.empty(0, dtype=np.int64)
    gain = np.zeros((int(i.max()) + 1, int(j.max()) + 1))
    index = np.full(gain.shape, -1)
    gain[i, j], index[i, j] = iou, np.arange(len(iou))
    pairs = index[linear_sum_assignment(gain, maximize=True)]
    return np.asarray(pairs[pairs >= 0], dtype=np.int64)
