"""3D masks of instances, stored as small boxes; a full volume is made only when it is written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Mask, Points

__all__ = ["InstanceMask", "merge_duplicates"]


@dataclass(frozen=True, eq=False)
class InstanceMask:
    """A mask cropped to a box.

    Parameters
    ----------
    origin
        First voxel of the box in the volume, z, y, x.
    data
        ``(z, y, x)`` bool, the box's voxels. An empty box is an empty mask.
    """

    origin: tuple[int, int, int]
    data: Mask

    @classmethod
    def empty(cls) -> "InstanceMask":
        """The mask without voxels."""
        return cls((0, 0, 0), np.zeros((0, 0, 0), dtype=bool))

    @classmethod
    def crop(cls, mask: Mask, origin: tuple[int, int, int] = (0, 0, 0)) -> "InstanceMask":
        """Smallest box around the True voxels of ``mask``; ``origin`` is the position of its first voxel in the volume.

        Examples
        --------
        >>> mask = np.zeros((3, 4, 5), dtype=bool)
        >>> mask[1, 2, 3:5] = True
        >>> InstanceMask.crop(mask).origin
        (1, 2, 3)
        """
        if not mask.any():
            return cls.empty()
        box = []
        for axis in range(3):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            box.append(slice(int(hit[0]), int(hit[-1]) + 1))
        z, y, x = (o + s.start for o, s in zip(origin, box, strict=True))
        return cls((z, y, x), mask[tuple(box)].copy())

    @property
    def n_voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(np.count_nonzero(self.data))

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Index of the box in the volume."""
        z, y, x = (slice(o, o + n) for o, n in zip(self.origin, self.data.shape, strict=True))
        return z, y, x

    @property
    def centroid(self) -> Float[np.ndarray, " 3"]:
        """Mean position z, y, x of the voxels; NaN for an empty mask."""
        if self.n_voxels == 0:
            return np.full(3, np.nan)
        return np.asarray(np.argwhere(self.data).mean(axis=0) + self.origin, dtype=float)

    def moved_by(self, offset: Float[np.ndarray, " 3"]) -> "InstanceMask":
        """The mask shifted by an offset z, y, x, rounded to whole voxels; an empty mask is returned as it is.

        Examples
        --------
        >>> InstanceMask((1, 2, 3), np.ones((1, 1, 1), dtype=bool)).moved_by(np.array([10.0, 0.0, -1.0])).origin
        (11, 2, 2)
        """
        if self.n_voxels == 0:
            return self
        z, y, x = (int(c) for c in np.add(self.origin, np.round(offset).astype(int)))
        return InstanceMask((z, y, x), self.data)

    def holds(self, point: Float[np.ndarray, " 3"]) -> bool:
        """Whether the voxel at a point z, y, x is in the mask."""
        z, y, x = (int(c) for c in np.round(point) - self.origin)
        inside = all(0 <= c < n for c, n in zip((z, y, x), self.data.shape, strict=True))
        return inside and bool(self.data[z, y, x])

    def contains(self, points: Points) -> Bool[np.ndarray, " n"]:
        """Which of some points ``(n, 3)`` z, y, x lie in voxels of the mask.

        Examples
        --------
        >>> mask = InstanceMask((1, 2, 3), np.ones((1, 1, 2), dtype=bool))
        >>> mask.contains(np.array([[1.0, 2.0, 3.0], [1.2, 1.8, 4.4], [0.0, 2.0, 3.0]])).tolist()
        [True, True, False]
        """
        places = np.round(points).astype(int) - self.origin
        inside = ((places >= 0) & (places < self.data.shape)).all(axis=1)
        found = np.zeros(len(points), dtype=bool)
        found[inside] = self.data[tuple(places[inside].T)]
        return found

    def overlap(self, other: "InstanceMask") -> int:
        """Number of voxels in both masks."""
        low = np.maximum(self.origin, other.origin)
        high = np.minimum(np.add(self.origin, self.data.shape), np.add(other.origin, other.data.shape))
        if (high <= low).any():
            return 0
        mine = self.data[tuple(slice(*r) for r in zip(low - self.origin, high - self.origin, strict=True))]
        theirs = other.data[tuple(slice(*r) for r in zip(low - other.origin, high - other.origin, strict=True))]
        return int(np.count_nonzero(mine & theirs))

    def iou(self, other: "InstanceMask") -> float:
        """Intersection over union; 0 if both are empty."""
        shared = self.overlap(other)
        union = self.n_voxels + other.n_voxels - shared
        return shared / union if union else 0.0


def merge_duplicates(masks: Sequence[InstanceMask], max_overlap: float = 0.5) -> Int[np.ndarray, " k"]:
    """Indices of the masks to keep; a mask that overlaps a better one too much is dropped.

    Parameters
    ----------
    masks
        Masks, best first. Empty masks are kept, because they overlap nothing.
    max_overlap
        Largest fraction of the smaller mask's voxels that two kept masks may have in common.

    Returns
    -------
    kept
        Ascending indices.

    Examples
    --------
    >>> a = InstanceMask((0, 0, 0), np.ones((2, 2, 2), dtype=bool))
    >>> b = InstanceMask((0, 0, 1), np.ones((2, 2, 2), dtype=bool))
    >>> merge_duplicates([a, a, b])
    array([0, 2])
    """
    low = np.array([mask.origin for mask in masks]).reshape(-1, 3)
    high = low + np.array([mask.data.shape for mask in masks]).reshape(-1, 3)
    sizes = [mask.n_voxels for mask in masks]
    is_kept = np.zeros(len(masks), dtype=bool)
    for index, mask in enumerate(masks):
        near = np.flatnonzero(is_kept & ((low < high[index]) & (low[index] < high)).all(axis=1))  # their boxes overlap
        is_kept[index] = all(mask.overlap(masks[k]) <= max_overlap * min(sizes[index], sizes[k]) for k in near.tolist())
    return np.flatnonzero(is_kept)
