"""Local maxima of a similarity map, with a minimal distance between them."""

from itertools import product

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Scores, Volume
from cryosam.geometry import level_to_voxel

__all__ = ["find_peaks", "thin"]

_CHUNK = 1 << 20  # cells compared with their neighbours at a time


def find_peaks(similarity: Volume, stride: int, min_distance: float, floor: float) -> tuple[Points, Scores]:
    """Local maxima, one per plateau, best first; none is closer than ``min_distance`` to a better one.

    Parameters
    ----------
    similarity
        ``(z, y, x)`` cells; NaN is never a maximum.
    stride
        Voxels per cell.
    min_distance
        In voxels.
    floor
        Maxima below this are left out.

    Returns
    -------
    points, values
        ``(n, 3)`` in voxels, refined to a fraction of a cell by a parabola along each axis, and ``(n,)`` descending.

    Examples
    --------
    >>> similarity = np.zeros((5, 6, 7), dtype=np.float32)
    >>> similarity[2, 3, 4] = 1
    >>> find_peaks(similarity, stride=1, min_distance=3, floor=0.5)[0]
    array([[2., 3., 4.]])
    """
    cells = _maxima(similarity, floor)
    values = similarity[tuple(cells.T)]
    order = np.argsort(-values, kind="stable")
    cells, values = cells[order], values[order]
    points = level_to_voxel(_refine(similarity, cells), stride)
    kept = thin(points, min_distance)
    return points[kept], values[kept]


def _maxima(similarity: Volume, floor: float) -> Int[np.ndarray, "n 3"]:
    """Cells that no neighbour exceeds, one per plateau; only the few cells at or above the floor are examined."""
    high = np.flatnonzero(similarity >= floor)  # false for NaN
    last = np.array(similarity.shape) - 1
    found = []
    for part in np.array_split(high, max(1, len(high) // _CHUNK)):
        cells = np.stack(np.unravel_index(part, similarity.shape), axis=1)
        values, is_peak = similarity.ravel()[part], np.ones(len(part), dtype=bool)
        for offset in product((-1, 0, 1), repeat=3):
            beside = tuple(np.clip(cells + offset, 0, last).T)
            is_peak &= ~(similarity[beside] > values)
        found.append(cells[is_peak])
    cells = np.concatenate(found)
    pairs = cKDTree(cells).query_pairs(1.8, output_type="ndarray") if len(cells) else np.zeros((0, 2), dtype=int)
    # two neighbouring maxima have the same value; the first cell of each plateau represents it
    links = coo_array((np.ones(len(pairs)), pairs.T), (len(cells), len(cells)))
    _, plateaus = connected_components(links, directed=False)
    _, first = np.unique(plateaus, return_index=True)
    return cells[np.sort(first)]


def _refine(values: Volume, cells: Int[np.ndarray, "n 3"]) -> Points:
    """Vertex of the parabola through each peak and its two neighbours along each axis, in cells."""
    refined = cells.astype(float)
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        inside = (cells[:, axis] > 0) & (cells[:, axis] < values.shape[axis] - 1)
        here = values[tuple(cells[inside].T)].astype(float)
        before = values[tuple((cells[inside] - step).T)].astype(float)
        after = values[tuple((cells[inside] + step).T)].astype(float)
        curvature = 2 * here - before - after
        usable = curvature > 0  # not where a neighbour is NaN
        offset = np.zeros(len(here))
        offset[usable] = (after[usable] - before[usable]) / (2 * curvature[usable])
        refined[inside, axis] += np.clip(offset, -0.5, 0.5)
    return refined


def thin(points: Points, min_distance: float) -> Int[np.ndarray, " k"]:
    """Indices of the points that are kept, of points sorted best first: those not too close to a better kept one."""
    if min_distance <= 0 or len(points) == 0:
        return np.arange(len(points))
    tree = cKDTree(points)
    is_free = np.ones(len(points), dtype=bool)
    for index, point in enumerate(points):
        if is_free[index]:
            near = np.asarray(tree.query_ball_point(point, min_distance * (1 - 1e-9)), dtype=int)
            is_free[near[near > index]] = False
    return np.flatnonzero(is_free)
