"""Scores of compartments against a known answer: overlap, error of the volume, and leaks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from cryosam.arrays import Labels
from cryosam.errors import InputError

__all__ = ["CompartmentScores", "score_compartments"]

_LEAK = 2.0  # volume in units of the true one, from which a compartment has leaked


@dataclass(frozen=True)
class CompartmentScores:
    """How well compartments agree with the true ones.

    Parameters
    ----------
    n_predicted, n_truth
        Number of compartments.
    n_paired
        Pairs, one to one, whose voxels overlap.
    dice
        Mean overlap over the true compartments; one without a pair counts as 0. None without true ones.
    volume_error
        Median over the pairs of the relative difference of the volumes; None without pairs.
    n_leaks
        Predicted compartments with over twice the volume of the true one that they overlap most, or that overlap none.
    """

    n_predicted: int
    n_truth: int
    n_paired: int
    dice: float | None
    volume_error: float | None
    n_leaks: int


def score_compartments(predicted: Labels, truth: Integer[np.ndarray, "z y x"]) -> CompartmentScores:
    """Compare two volumes of labels, each label one compartment, 0 outside.

    Pairs are formed from the largest overlap (Dice) down.

    Raises
    ------
    InputError
        If the volumes differ in shape.

    Examples
    --------
    >>> truth, predicted = np.zeros((2, 1, 1, 8), dtype=np.uint8)
    >>> truth[..., :4], predicted[..., :5] = 1, 1
    >>> scores = score_compartments(predicted, truth)
    >>> round(scores.dice, 2), scores.volume_error, scores.n_leaks
    (0.89, 0.25, 0)
    """
    if predicted.shape != truth.shape:
        raise InputError(f"the predicted labels have shape {predicted.shape}, but the true ones have {truth.shape}")
    ours, theirs = _sizes(predicted), _sizes(truth)
    both = (predicted > 0) & (truth > 0)
    pairs, counts = np.unique(np.stack([predicted[both], truth[both]]), axis=1, return_counts=True)
    overlaps = [(int(i), int(j), int(n)) for i, j, n in zip(*pairs, counts, strict=True)]
    by_dice = sorted(overlaps, key=lambda each: -2 * each[2] / (ours[each[0]] + theirs[each[1]]))
    partners: dict[int, int] = {}
    dices, errors = [], []
    for i, j, n in by_dice:
        if i not in partners and j not in partners.values():
            partners[i] = j
            dices.append(2 * n / (ours[i] + theirs[j]))
            errors.append(abs(ours[i] / theirs[j] - 1))
    n_leaks = 0
    for i, size in ours.items():
        hit = max((each for each in overlaps if each[0] == i), key=lambda each: each[2], default=None)
        n_leaks += hit is None or size > _LEAK * theirs[hit[1]]
    return CompartmentScores(
        n_predicted=len(ours),
        n_truth=len(theirs),
        n_paired=len(partners),
        dice=sum(dices) / len(theirs) if theirs else None,
        volume_error=float(np.median(errors)) if errors else None,
        n_leaks=n_leaks,
    )


def _sizes(labels: Integer[np.ndarray, "z y x"]) -> dict[int, int]:
    """Number of voxels of each label."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
