"""The instances of one tomogram, each segmented when it is first asked for."""

import numpy as np
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.instances.propagation import propagate
from cryosam.masks import InstanceMask
from cryosam.tomogram import Voxels

__all__ = ["InstanceSegmenter"]

_SAME_PLACE = 0.5  # voxels between two points that ask for the same instance


class InstanceSegmenter:
    """The instances of one tomogram, each segmented when it is first asked for.

    A point that lies within half a voxel of one before, with the same bound, has the mask of that one.

    Parameters
    ----------
    voxels
        Normalised, and as the segmenter is to see them: smoothed.
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
        """The instance under each point, within a diameter; see `propagate`."""
        known, masks = self._points.get(diameter, np.zeros((0, 3))), self._masks.setdefault(diameter, [])
        distance, nearest = cKDTree(known).query(points)
        is_new = distance > _SAME_PLACE
        which = np.where(is_new, len(known) + np.cumsum(is_new) - 1, nearest)
        masks += propagate(self.voxels, points[is_new], self.segmenter, self.config, diameter, progress)
        self._points[diameter] = np.concatenate([known, points[is_new]])
        return tuple(masks[i] for i in which)
