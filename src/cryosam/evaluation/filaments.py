"""Scores of filaments against a known answer: length that was found, merges and splits, directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from cryosam.arrays import Points

__all__ = ["FilamentScores", "score_filaments"]

Line = Float[np.ndarray, "_ 3"]  # any number of points

_STEP = 1.0  # voxel, between the points at which lines are compared
_SHARED = 0.1  # of the shorter of two filaments, from which one counts as following the other


@dataclass(frozen=True)
class FilamentScores:
    """How well filaments agree with the true ones; lengths are compared, not numbers of points.

    Parameters
    ----------
    tolerance_angstrom
        Largest distance of a hit; half a diameter is strict.
    n_predicted, n_truth
        Number of filaments.
    precision
        Fraction of the predicted length that is near a true filament.
    recall
        Fraction of the true length that is near a predicted filament.
    f1
        Harmonic mean of the two.
    mean_distance_angstrom
        Mean distance from what was predicted rightly to the true line; None without hits.
    n_merges
        True filaments more than one that predicted filaments follow: a predicted one that follows three counts two.
    n_splits
        Predicted filaments more than one that follow a true one.
    tangent_error_degrees
        Median angle between the directions of hits and of the true line, 0 to 90; None without hits.
    """

    tolerance_angstrom: float
    n_predicted: int
    n_truth: int
    precision: float
    recall: float
    f1: float
    mean_distance_angstrom: float | None
    n_merges: int
    n_splits: int
    tangent_error_degrees: float | None


@dataclass(frozen=True, eq=False)
class _Lines:
    """Points at equal distances along lines, their directions, and the row of the line."""

    points: Points
    tangents: Points
    rows: Int[np.ndarray, " n"]
    n_lines: int

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "_Lines":
        """Sample lines."""
        parts = [_sampled(line) for line in lines]
        return cls(
            np.concatenate([np.zeros((0, 3)), *(points for points, _ in parts)]),
            np.concatenate([np.zeros((0, 3)), *(tangents for _, tangents in parts)]),
            np.repeat(np.arange(len(parts)), [len(points) for points, _ in parts]),
            len(parts),
        )

    def counts(self) -> Int[np.ndarray, " lines"]:
        """Number of points of each line."""
        return np.bincount(self.rows, minlength=self.n_lines)


def score_filaments(
    predicted: Sequence[Line],
    truth: Sequence[Line],
    voxel_size_angstrom: float,
    *,
    tolerance_angstrom: float = 40.0,
) -> FilamentScores:
    """Compare two sets of lines.

    Parameters
    ----------
    predicted, truth
        One ``(n, 3)`` array for each filament: points along it in order, z, y, x in voxels.
    voxel_size_angstrom
        Edge of a voxel.
    tolerance_angstrom
        Largest distance of a hit.

    Examples
    --------
    >>> line = np.stack([np.zeros(21), np.zeros(21), np.arange(21.0)], axis=1)
    >>> scores = score_filaments([line[:8], line[12:]], [line], 10.0, tolerance_angstrom=20.0)
    >>> scores.precision, scores.n_splits, scores.n_merges, scores.tangent_error_degrees
    (1.0, 1, 0, 0.0)
    """
    ours, theirs = _Lines.of(predicted), _Lines.of(truth)
    reach = tolerance_angstrom / voxel_size_angstrom
    at_theirs, distance = _nearest(ours.points, theirs.points, reach)
    at_ours, _ = _nearest(theirs.points, ours.points, reach)
    hit, found = at_theirs >= 0, at_ours >= 0
    precision = float(hit.mean()) if len(hit) else float(not len(found))
    recall = float(found.mean()) if len(found) else float(not len(hit))
    cosine = np.abs(np.sum(ours.tangents[hit] * theirs.tangents[at_theirs[hit]], axis=1))
    follows = _follows(ours, theirs, at_theirs, at_ours)
    return FilamentScores(
        tolerance_angstrom=tolerance_angstrom,
        n_predicted=len(predicted),
        n_truth=len(truth),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        mean_distance_angstrom=float(distance[hit].mean()) * voxel_size_angstrom if hit.any() else None,
        n_merges=int(np.maximum(follows.sum(axis=1) - 1, 0).sum()),
        n_splits=int(np.maximum(follows.sum(axis=0) - 1, 0).sum()),
        tangent_error_degrees=float(np.degrees(np.median(np.arccos(np.clip(cosine, 0, 1))))) if hit.any() else None,
    )


def _sampled(line: Line) -> tuple[Points, Points]:
    """Points at equal distances along a line, and the unit directions there; empty for a line without length."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    kept = line[np.concatenate([[True], steps > 0])] if len(line) else line
    along = np.concatenate([[0.0], np.cumsum(steps[steps > 0])])
    if len(kept) < 2:
        return np.zeros((0, 3)), np.zeros((0, 3))
    n = max(round(along[-1] / _STEP), 1)
    at = (np.arange(n) + 0.5) * along[-1] / n  # the middles of equal parts, so that lengths add up
    points = np.stack([np.interp(at, along, kept[:, axis]) for axis in range(3)], axis=1)
    segment = np.clip(np.searchsorted(along, at) - 1, 0, len(kept) - 2)
    directions = np.diff(kept, axis=0)[segment]
    return points, np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=float)


def _nearest(
    points: Points, others: Float[np.ndarray, "m 3"], reach: float
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Row of the nearest other point and its distance; -1 where none is within reach."""
    if not len(points) or not len(others):
        return np.full(len(points), -1), np.full(len(points), np.inf)
    distance, at = KDTree(others).query(points, distance_upper_bound=reach * (1 + 1e-9))
    distance, at = np.asarray(distance), np.asarray(at)
    return np.where(np.isfinite(distance), at, -1), distance


def _follows(
    ours: _Lines, theirs: _Lines, at_theirs: Int[np.ndarray, " n"], at_ours: Int[np.ndarray, " m"]
) -> Int[np.ndarray, "lines others"]:
    """1 where a predicted line and a true one run together: along a share of the shorter of the two, seen from both."""
    shape = ours.n_lines, theirs.n_lines
    mine, others = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    hit, found = at_theirs >= 0, at_ours >= 0
    np.add.at(mine, (ours.rows[hit], theirs.rows[at_theirs[hit]]), 1)
    np.add.at(others, (ours.rows[at_ours[found]], theirs.rows[found]), 1)
    shorter = np.minimum(ours.counts()[:, None], theirs.counts()[None, :])
    return ((np.minimum(mine, others) >= _SHARED * shorter) & (shorter > 0)).astype(int)
