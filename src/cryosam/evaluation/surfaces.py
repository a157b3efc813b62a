"""Scores of membranes against a known answer: voxels near the middle of the sheets, and sheets one to one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy import ndimage
from scipy.spatial import KDTree

from cryosam.arrays import Labels, Points
from cryosam.errors import InputError

__all__ = ["SurfaceScores", "middle_of", "score_surfaces"]

_SLAB = 64  # sections that are looked at together
_MARGIN = 24  # voxels around a slab; a sheet is thinner than twice this
_RIDGE = 0.6  # voxels by which the distance to the outside may be less than that of a neighbour, in the middle


@dataclass(frozen=True)
class SurfaceScores:
    """How well membranes agree with the true ones.

    Parameters
    ----------
    tolerance_angstrom
        Largest distance of a hit.
    precision
        Fraction of the predicted voxels that are near the middle of a true sheet.
    recall
        Fraction of the voxels in the middle of true sheets that are near a predicted voxel.
    f1
        Harmonic mean of the two.
    dice
        Overlap of all voxels, not of the middle only.
    n_predicted, n_truth
        Number of sheets.
    n_paired
        Sheets one to one: most of each is near the other, and near no other sheet.
    """

    tolerance_angstrom: float
    precision: float
    recall: float
    f1: float
    dice: float
    n_predicted: int
    n_truth: int
    n_paired: int


def score_surfaces(
    predicted: Labels,
    truth: Integer[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    *,
    tolerance_angstrom: float = 40.0,
) -> SurfaceScores:
    """Compare two volumes of sheets.

    Parameters
    ----------
    predicted, truth
        ``(z, y, x)`` labels, 0 is background; each label is one sheet, of any thickness.
    voxel_size_angstrom
        Edge of a voxel.
    tolerance_angstrom
        Largest distance of a hit.

    Raises
    ------
    InputError
        If the volumes differ in shape.

    Examples
    --------
    >>> truth, predicted = np.zeros((2, 12, 12, 12), dtype=np.uint8)
    >>> truth[5:8], predicted[6, :6] = 1, 1
    >>> scores = score_surfaces(predicted, truth, 10.0, tolerance_angstrom=10.0)
    >>> scores.precision, round(scores.recall, 2), scores.n_paired
    (1.0, 0.58, 1)
    """
    if predicted.shape != truth.shape:
        raise InputError(f"the predicted labels have shape {predicted.shape}, but the true ones have {truth.shape}")
    reach = tolerance_angstrom / voxel_size_angstrom
    found, found_labels = _voxels(predicted, predicted > 0)
    middle, true_labels = _voxels(truth, middle_of(truth > 0))
    seen = _nearest_labels(found, middle, true_labels, reach)
    covered = _nearest_labels(middle, found, found_labels, reach)
    precision = _share(seen > 0, len(middle))
    recall = _share(covered > 0, len(found))
    both = int(np.count_nonzero((predicted > 0) & (truth > 0)))
    n_voxels = len(found) + int(np.count_nonzero(truth))
    return SurfaceScores(
        tolerance_angstrom=tolerance_angstrom,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        dice=2 * both / n_voxels if n_voxels else 1.0,
        n_predicted=len(np.unique(found_labels)),
        n_truth=len(np.unique(true_labels)),
        n_paired=len(_majority(found_labels, seen) & {(i, j) for j, i in _majority(true_labels, covered)}),
    )


def middle_of(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Voxels in the middle of the sheets: those that are about as far from the outside as any of their neighbours.

    Examples
    --------
    >>> sheet = np.zeros((7, 5, 5), dtype=bool)
    >>> sheet[2:5] = True
    >>> middle_of(sheet)[:, 2, 2].astype(int)
    array([0, 0, 0, 1, 0, 0, 0])
    """
    middle = np.zeros(mask.shape, dtype=bool)
    for start in range(0, len(mask), _SLAB):
        low, high = max(start - _MARGIN, 0), min(start + _SLAB + _MARGIN, len(mask))
        slab = mask[low:high]
        if not slab.any():
            continue
        inside = np.pad(slab, 1, mode="edge")  # a sheet goes on beyond the border of the volume
        depth = np.asarray(ndimage.distance_transform_edt(inside), dtype=np.float32)
        ridge = inside & (depth >= ndimage.maximum_filter(depth, 3) - _RIDGE)
        part = ridge[1:-1, 1:-1, 1:-1][start - low :][:_SLAB]
        middle[start : start + len(part)] = part
    return middle


def _voxels(
    labels: Integer[np.ndarray, "z y x"], mask: Bool[np.ndarray, "z y x"]
) -> tuple[Points, Integer[np.ndarray, " n"]]:
    """Positions and labels of the voxels of a mask."""
    at = np.nonzero(mask)
    return np.stack(at, axis=1).astype(float), labels[at]


def _nearest_labels(
    points: Points, others: Float[np.ndarray, "m 3"], labels: Integer[np.ndarray, " m"], reach: float
) -> Int[np.ndarray, " n"]:
    """Label of the nearest other point within reach; 0 where there is none."""
    if not len(others) or not len(points):
        return np.zeros(len(points), dtype=int)
    distance, at = KDTree(others).query(points, distance_upper_bound=reach * (1 + 1e-9) + 1e-9)
    is_near = np.isfinite(distance)
    return np.where(is_near, labels[np.where(is_near, at, 0)].astype(int), 0)


def _share(is_hit: Bool[np.ndarray, " n"], n_others: int) -> float:
    """Fraction of hits; of nothing it is 1 if there is nothing on the other side either."""
    return float(is_hit.mean()) if len(is_hit) else float(not n_others)


def _majority(own: Integer[np.ndarray, " n"], near: Int[np.ndarray, " n"]) -> set[tuple[int, int]]:
    """Pairs of a label and the label of the other side that more than half of its voxels are near to."""
    pairs = set()
    for label in np.unique(own).tolist():
        of_label = near[own == label]
        values, counts = np.unique(of_label, return_counts=True)
        best = int(counts.argmax())
        if values[best] and 2 * counts[best] > len(of_label):
            pairs.add((int(label), int(values[best])))
    return pairs
