"""Fusion of the 2D masks in the slices of three planes into one 3D mask.

Only the voxels of the masks are processed, not the box around them. Where noise makes the planes segment different
things, that box may be most of the tomogram.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph

from cryosam.arrays import Plane
from cryosam.config import Fusion
from cryosam.geometry import AXIS, in_plane_axes
from cryosam.instances.slices import UNSEEN, SliceMask
from cryosam.masks import InstanceMask

__all__ = ["fuse"]

Voxels = Int[np.ndarray, "n 3"]


def fuse(
    answers: Mapping[Plane, Sequence[SliceMask]], point: Float[np.ndarray, " 3"], fusion: Fusion, z_weight: float = 1.0
) -> InstanceMask:
    """Fuse the masks of the planes, and keep the connected part that is nearest to a point.

    Parameters
    ----------
    answers
        The masks of each plane. Several masks of the same slice are identical, so that only one of them counts.
    point
        z, y, x in voxels.
    fusion
        How masks that disagree are combined. A plane has no vote on a voxel that none of its windows contains, so a
        walk that noise stopped early does not vote against the slices beyond.
    z_weight
        Weight of plane z in the "soft" fusion; the other planes have weight 1.

    Returns
    -------
    instance
        Empty if no plane has a mask, or if the planes do not agree on any voxel.

    Examples
    --------
    >>> from cryosam.geometry import Window
    >>> logits = np.full((3, 3), -1.0, dtype=np.float32)
    >>> logits[1] = 1
    >>> across = [SliceMask(depth, Window(4, 4, 3, 3), logits, 0.9) for depth in (5, 6)]
    >>> fuse({"z": across}, np.array([5.0, 5.0, 5.0]), "majority").n_voxels
    6
    """
    voxels = _voxels_of(answers)
    known, total = np.zeros(len(voxels)), np.zeros(len(voxels))
    for plane, slices in answers.items():
        weight = z_weight if fusion == "soft" and plane == "z" else 1.0
        logits = _read(plane, slices, voxels)
        is_seen = ~np.isnan(logits)
        known[is_seen] += weight
        total[is_seen] += weight * (_probability(logits[is_seen]) if fusion == "soft" else logits[is_seen] > 0)
    if fusion == "union":
        fused = voxels[total > 0]
    else:
        fused = voxels[total == known if fusion == "intersection" else total > known / 2]
    if len(fused) == 0:
        return InstanceMask.empty()
    nearest = int(np.argmin(((fused - point) ** 2).sum(axis=1)))
    part = fused[_is_connected_to(fused, nearest)]
    low = part.min(axis=0)
    data = np.zeros(part.max(axis=0) + 1 - low, dtype=bool)
    data[tuple((part - low).T)] = True
    z, y, x = (int(c) for c in low)
    return InstanceMask((z, y, x), data)


def _probability(logits: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def _voxels_of(answers: Mapping[Plane, Sequence[SliceMask]]) -> Voxels:
    """All voxels that are in any mask, each once, in C order."""
    parts = [np.zeros((0, 3), dtype=np.int64)]
    for plane, slices in answers.items():
        row_axis, col_axis = in_plane_axes(plane)
        for answer in slices:
            rows, cols = np.nonzero(answer.mask)
            voxels = np.empty((len(rows), 3), dtype=np.int64)
            voxels[:, AXIS[plane]] = answer.depth
            voxels[:, row_axis], voxels[:, col_axis] = rows + answer.window.top, cols + answer.window.left
            parts.append(voxels)
    together = np.concatenate(parts)
    if len(together) == 0:
        return together
    low = together.min(axis=0)
    shape = together.max(axis=0) + 1 - low
    flat = np.unique(np.ravel_multi_index(tuple((together - low).T), shape))
    return np.stack(np.unravel_index(flat, shape), axis=1) + low


def _read(plane: Plane, slices: Sequence[SliceMask], voxels: Voxels) -> Float[np.ndarray, " n"]:
    """Logits of one plane at voxels; NaN where none of its windows contains the voxel."""
    row_axis, col_axis = in_plane_axes(plane)
    depths = voxels[:, AXIS[plane]]
    order = np.argsort(depths, kind="stable")
    logits = np.full(len(voxels), np.nan, dtype=np.float32)
    for answer in {answer.depth: answer for answer in slices}.values():
        first, last = np.searchsorted(depths, [answer.depth, answer.depth + 1], sorter=order)
        here = order[first:last]
        rows, cols = voxels[here, row_axis], voxels[here, col_axis]
        if answer.seen is not None:
            logits[here[answer.seen.contains(rows, cols)]] = UNSEEN
        inside = answer.window.contains(rows, cols)
        logits[here[inside]] = answer.logits[rows[inside] - answer.window.top, cols[inside] - answer.window.left]
    return logits


def _is_connected_to(voxels: Voxels, start: int) -> Bool[np.ndarray, " n"]:
    """Which voxels, given in C order, are connected to voxel ``start`` through shared faces."""
    low = voxels.min(axis=0)
    shape = (
        voxels.max(axis=0) + 2 - low
    )  # padded by one, so that the end of a row does not touch the start of the next row
    flat = np.ravel_multi_index(tuple((voxels - low).T), shape)
    pairs = []
    for step in (shape[1] * shape[2], shape[2], 1):
        place = np.searchsorted(flat, flat + step).clip(max=len(flat) - 1)
        has_next = np.flatnonzero(flat[place] == flat + step)
        pairs.append(np.stack([has_next, place[has_next]]))
    first, second = np.concatenate(pairs, axis=1)
    graph = sparse.coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(flat), len(flat)))
    _, labels = csgraph.connected_components(graph, directed=False)
    return np.asarray(labels == labels[start])
