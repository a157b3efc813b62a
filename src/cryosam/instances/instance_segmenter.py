"""The instances of one tomogram, each segmented at its first request."""

import numpy as np
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.instances.propagation import propagate
from cryosam.masks import InstanceMask
from cryosam.tomogram import Voxels

__all__ = ["InstanceSegmenter"]

_SAME_PLACE = 0.5  # voxels; two points that are closer than this get the same instance


class InstanceSegmenter:
    """The instances of one tomogram, each segmented at its first request.

    A point within half a voxel of an earlier one that was segmented with the same diameter gets the earlier mask.

    Parameters
    ----------
    voxels
        Normalised and smoothed, as they are shown to the segmenter.
    segmenter, config
        As in `propagate`.
    """

    def __init__(self, voxels: Voxels, segmenter: PromptSegmenter, config: PropagationConfig) -> None:
        self.voxels = voxels
        self.segmenter = segmenter
        self.config = config
        self._points: dict[float | None, Points] = {}
        self._masks: dict[float | None, list[InstanceMask]] = {}

    def under(
        self, points: Points, diameter: float | None, progress: Progress | None = None
    ) -> tuple[InstanceMask, ...]:
        """The instance under each point, limited by the diameter; see `propagate`."""
        known, masks = self._points.get(diameter, np.zeros((0, 3))), self._masks.setdefault(diameter, [])
        distance, nearest = cKDTree(known).query(points)
        is_new = distance > _SAME_PLACE
        which = np.where(is_new, len(known) + np.cumsum(is_new) - 1, nearest)
        masks += propagate(self.voxels, points[is_new], self.segmenter, self.config, diameter, progress)
        self._points[diameter] = np.concatenate([known, points[is_new]])
        return tuple(masks[i] for i in which)
