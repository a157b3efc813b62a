"""Membranes that cross each other: one connected sheet of ridges, but several round surfaces."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from cryosam.arrays import Points
from cryosam.geometry import unit
from cryosam.structures.closing import ball
from cryosam.structures.sheets import Sheet, oriented, thinned

__all__ = ["parted"]

_MOST_BALLS = 4
_SHARE, _LEAST_SHARE = 0.8, 0.12
"""Of the points of a sheet: those that lie on all balls together, and on each, for the sheet to be parted."""
_NEAR, _RADIAL = 0.12, 0.85
"""Distance from a ball as a fraction of its radius, and cosine of the angle between a normal and the ball's radius."""
_BESIDE = 4.0
"""Voxels, within which normals are compared: points are thinned to two voxels from each other."""
_CROSSING = 0.64
"""Cosine of 50 degrees: normals this near to each other that differ more belong to sheets that cross."""
_LEAST_CROSSING = 0.03
"""Part of the points of a sheet beside which another crosses; without it, a sheet that is no ball is only bent."""
_ROUNDS = 4
_SEEDS = 40

Vector = Float[np.ndarray, " 3"]
Chosen = Bool[np.ndarray, " n"]


def parted(sheet: Sheet, reach: float, link: float, angle: float) -> list[Sheet]:
    """A sheet as it is, or the balls that cross in it.

    A ball is fitted to patches of the sheet, and to what lies on it, and again to what is left. The sheet is parted
    only if normals cross in it, no ball alone holds nearly all of it, and a few balls do.

    Parameters
    ----------
    sheet
        Connected points.
    reach
        Voxels, radius of the patches from which balls are guessed.
    link, angle
        Voxels and degrees within which points of one sheet are neighbours.

    Examples
    --------
    >>> half = unit(np.random.default_rng(0).normal(size=(3000, 3)))
    >>> points = np.concatenate([20 * half, 20 * half + [24.0, 0, 0]])
    >>> both = Sheet(points, np.concatenate([half, half]), np.ones(6000))
    >>> [round(float(np.linalg.norm(each.points.mean(axis=0)))) for each in parted(both, 8.0, 2.0, 30.0)]
    [0, 24]
    """
    few = thinned(sheet.points)
    points, normals = sheet.points[few], sheet.normals[few]
    left = np.ones(len(points), dtype=bool)
    if _crossing(points, normals, _BESIDE) < _LEAST_CROSSING:
        return [sheet]
    balls: list[tuple[Vector, float]] = []
    for _ in range(_MOST_BALLS):
        found = _best_ball(points, normals, left, reach)
        if found is None:
            break
        on = _on(points, normals, *found) & left
        if on.mean() < _LEAST_SHARE:
            break
        balls.append(found)
        left &= ~on
    if len(balls) < 2 or left.mean() > 1 - _SHARE:
        return [sheet]
    # a point belongs to the ball along which it lies; what lies on none goes with the points around it
    off = np.stack([_off(sheet.points, sheet.normals, *each) for each in balls])
    mine = off.argmin(axis=0)
    is_off = off.min(axis=0) > np.sqrt(2)
    mine[is_off] = mine[~is_off][cKDTree(sheet.points[~is_off]).query(sheet.points[is_off])[1]]
    parts = []
    for number in range(len(balls)):
        points, normals = sheet.points[mine == number], sheet.normals[mine == number]
        parts.append(Sheet(points, oriented(points, normals, link, angle), sheet.saliency[mine == number]))
    return sorted(parts, key=lambda part: -len(part.points))


def _crossing(points: Points, normals: Points, reach: float) -> float:
    """Part of the points with a neighbour within reach whose normal crosses theirs."""
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray").reshape(-1, 2)
    cosines = np.abs(np.einsum("ni,ni->n", normals[pairs[:, 0]], normals[pairs[:, 1]]))
    crosses = np.bincount(pairs[cosines < _CROSSING].ravel(), minlength=len(points))
    return float((crosses > 0.1 * np.bincount(pairs.ravel(), minlength=len(points))).mean())


def _best_ball(points: Points, normals: Points, left: Chosen, reach: float) -> tuple[Vector, float] | None:
    """The ball that holds most of the points that are left; guessed from patches, spread evenly in their order."""
    index = np.flatnonzero(left)
    tree = cKDTree(points[index])
    best, most = None, 0
    for seed in index[:: max(len(index) // _SEEDS, 1)]:
        patch = index[tree.query_ball_point(points[seed], reach)]
        along = normals[patch] @ normals[seed]
        patch, along = patch[np.abs(along) > _CROSSING], along[np.abs(along) > _CROSSING]
        centre, radius = ball(points[patch], normals[patch] * np.sign(along)[:, None])
        for _ in range(_ROUNDS):
            on = _on(points, normals, centre, abs(radius)) & left
            if on.sum() < len(patch):
                break
            outwards = np.sign(np.einsum("ni,ni->n", points[on] - centre, normals[on]))
            centre, radius = ball(points[on], normals[on] * outwards[:, None])
        n = int((_on(points, normals, centre, abs(radius)) & left).sum())
        if n > most:
            best, most = (centre, abs(radius)), n
    return best


def _on(points: Points, normals: Points, centre: Vector, radius: float) -> Chosen:
    """Which points lie on a ball, with a normal along its radius."""
    apart = points - centre
    distance = np.linalg.norm(apart, axis=1)
    radial = np.abs(np.einsum("ni,ni->n", unit(apart), normals))
    return np.asarray((np.abs(distance - radius) <= _NEAR * radius) & (radial >= _RADIAL))


def _off(points: Points, normals: Points, centre: Vector, radius: float) -> Float[np.ndarray, " n"]:
    """How far each point is from lying on a ball, in units of what is allowed."""
    apart = points - centre
    distance = np.abs(np.linalg.norm(apart, axis=1) - radius) / (_NEAR * max(radius, 1e-9))
    radial = np.abs(np.einsum("ni,ni->n", unit(apart), normals))
    return np.asarray(np.hypot(distance, (1 - radial) / (1 - _RADIAL)), dtype=float)
