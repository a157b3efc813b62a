"""From ridges to sheets: which ridges belong to one surface, to which side it points, and how it bends."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Scores
from cryosam.structures.ridges import Ridges

__all__ = ["Sheet", "are_tubes", "bends", "link", "oriented", "thinned"]

Pairs = Int[np.ndarray, "m 2"]


@dataclass(frozen=True, eq=False)
class Sheet:
    """Points on one surface.

    Parameters
    ----------
    points, normals
        ``(n, 3)`` z, y, x in voxels of the binned volume, and unit normals, to the same side everywhere.
    saliency
        ``(n,)`` support of each point by other ridges.
    """

    points: Points
    normals: Points
    saliency: Scores


def link(ridges: Ridges, voxel_size: float, *, distance_angstrom: float, angle: float) -> Int[np.ndarray, " n"]:
    """Number, from 0, of the sheet of each ridge.

    Two ridges are linked if they are at most ``distance_angstrom`` apart, their normals differ by less than ``angle``
    degrees, and the way from one to the other runs along the sheet rather than through it.

    Examples
    --------
    >>> at = np.array([[0.0, y, x] for y in range(9) for x in range(9)])
    >>> both, up = np.concatenate([at, at + [5, 0, 0]]), np.tile([1.0, 0.0, 0.0], (162, 1))
    >>> ridges = Ridges(both, up, np.ones(162), 0.0, 0.0, (6, 9, 9))
    >>> np.bincount(link(ridges, 20.0, distance_angstrom=35.0, angle=30.0))
    array([81, 81])
    """
    pairs = _linked(ridges.points, ridges.normals, distance_angstrom / voxel_size, angle)
    n = len(ridges.points)
    graph = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(csgraph.connected_components(graph, directed=False)[1], dtype=np.int64)


def _linked(points: Points, normals: Points, distance: float, angle: float) -> Pairs:
    """Pairs of points that one sheet joins."""
    if not len(points):
        return np.zeros((0, 2), dtype=np.int64)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray").reshape(-1, 2)
    first, second = pairs.T
    apart = points[second] - points[first]
    along = np.maximum(
        np.abs(np.einsum("ni,ni->n", apart, normals[first])), np.abs(np.einsum("ni,ni->n", apart, normals[second]))
    )
    parallel = np.abs(np.einsum("ni,ni->n", normals[first], normals[second]))
    length = np.linalg.norm(apart, axis=1)
    return pairs[(parallel > np.cos(np.radians(angle))) & (along <= np.maximum(0.5 * length, 1.0))]


def oriented(points: Points, normals: Points, distance: float, angle: float) -> Points:
    """Normals of one sheet, turned so that neighbours point to the same side.

    The signs are carried along the spanning tree whose steps turn the normal least.

    Parameters
    ----------
    points, normals
        ``(n, 3)`` of one connected sheet; normals of either sign.
    distance, angle
        Within which points are neighbours, voxels and degrees.
    """
    pairs = _linked(points, normals, distance, angle)
    n = len(points)
    if not len(pairs):
        return normals
    dots = np.einsum("ni,ni->n", normals[pairs[:, 0]], normals[pairs[:, 1]])
    turn = 1 - np.abs(dots) + 1e-6
    tree = csgraph.minimum_spanning_tree(sparse.coo_matrix((turn, (pairs[:, 0], pairs[:, 1])), shape=(n, n)))
    signs = np.zeros(n)
    for start in range(n):
        if signs[start]:
            continue
        order, before = csgraph.breadth_first_order(tree, start, directed=False)
        signs[start] = 1
        steps = np.sign(np.einsum("ni,ni->n", normals[order[1:]], normals[before[order[1:]]]))
        for point, parent, step in zip(order[1:].tolist(), before[order[1:]].tolist(), steps.tolist(), strict=True):
            signs[point] = signs[parent] * (step or 1)
    return normals * signs[:, None]


def bends(points: Points, normals: Points, reach: float) -> tuple[Float[np.ndarray, "n 2"], Scores]:
    """Principal curvatures of the surface at each point, and its signed mean curvature.

    A paraboloid is fitted to the points within reach whose normals agree, in the frame of the point's normal.

    Parameters
    ----------
    points, normals
        ``(n, 3)``; signs of normals do not matter for the size of the curvatures.
    reach
        Voxels.

    Returns
    -------
    sizes
        ``(n, 2)`` sizes of the principal curvatures per voxel, the larger first; 0 where there are too few points.
    mean
        ``(n,)`` mean curvature per voxel, positive where the surface bends away from its normal, as a ball's does.
    """
    if not len(points):
        return np.zeros((0, 2)), np.zeros(0)
    pairs = _linked(points, normals, reach, _ONE_SURFACE)
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    across = np.cross(normals, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(normals, across)
    n = len(points)
    left, right = np.zeros((n, 6, 6)), np.zeros((n, 6))
    for first, second in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
        for part in np.array_split(np.arange(len(first)), max(len(first) // 500_000, 1)):
            i, apart = first[part], points[second[part]] - points[first[part]]
            u = np.einsum("ni,ni->n", apart, across[i])
            v = np.einsum("ni,ni->n", apart, other[i])
            height = np.einsum("ni,ni->n", apart, normals[i])
            terms = np.stack([np.ones_like(u), u, v, u * u / 2, u * v, v * v / 2])
            for a in range(6):
                right[:, a] += np.bincount(i, terms[a] * height, n)
                for b in range(a, 6):
                    left[:, a, b] += np.bincount(i, terms[a] * terms[b], n)
    left = left + np.transpose(np.triu(left, 1), (0, 2, 1))
    number = left[:, 0, 0].copy()
    left += 1e-3 * np.eye(6) * np.maximum(number, 1)[:, None, None]
    fit = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    half, difference = (fit[:, 3] + fit[:, 5]) / 2, np.hypot((fit[:, 3] - fit[:, 5]) / 2, fit[:, 4])
    sizes = np.sort(np.abs(np.stack([half + difference, half - difference], axis=1)), axis=1)[:, ::-1]
    enough = number >= _LEAST_NEIGHBOURS
    return np.where(enough[:, None], sizes, 0.0), np.where(enough, -half, 0.0)


def are_tubes(points: Points, normals: Points, reach: float, radius: float) -> Bool[np.ndarray, " n"]:
    """Which points lie on the wall of a narrow tube, as most points around them do.

    On such a wall one principal radius is less than ``radius`` and the other at least twice as large.

    Parameters
    ----------
    points, normals
        ``(n, 3)``; signs of normals do not matter.
    reach
        Voxels, within which curvature is measured and points are asked.
    radius
        Voxels.
    """
    if not len(points):
        return np.zeros(0, dtype=bool)
    few = thinned(points)
    some, directions = points[few], normals[few]
    sizes, _ = bends(some, directions, reach)
    is_tube = (sizes[:, 0] > 1 / radius) & (sizes[:, 1] < sizes[:, 0] / 2)
    first, second = _linked(some, directions, reach, _ONE_SURFACE).T
    n = len(some)
    votes = is_tube + np.bincount(first, is_tube[second], n) + np.bincount(second, is_tube[first], n)
    number = 1 + np.bincount(first, minlength=n) + np.bincount(second, minlength=n)
    return np.asarray(votes > number / 2)[cKDTree(some).query(points)[1]]


def thinned(points: Points, edge: float = 2.0) -> Int[np.ndarray, " k"]:
    """Indices of one point in each cube of an edge in voxels: what changes slowly along a sheet is measured there.

    Examples
    --------
    >>> thinned(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])).tolist()
    [0, 2]
    """
    return np.sort(np.unique(np.floor(points / edge).astype(int), axis=0, return_index=True)[1])


_ONE_SURFACE = 75.0
"""Degrees by which normals of one surface may differ within the reach; two that cross differ more."""

_LEAST_NEIGHBOURS = 12
"""Twice the number of unknowns of a paraboloid."""
