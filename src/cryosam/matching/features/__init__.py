"""Feature fields: descriptions of voxels by feature vectors. The search uses them only through `FeatureField`."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Mask, Points, Scores, Volume

__all__ = ["FeatureField"]


@runtime_checkable
class FeatureField(Protocol):
    """A feature vector at every position of a tomogram."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""

    @property
    def n_channels(self) -> int:
        """Numbers per feature."""

    def sample(self, points: Points) -> Float[np.ndarray, "n c"]:
        """Features at points ``(n, 3)``, z, y, x in voxels; float32, ``(n, n_channels)``."""

    def similarity_at(self, query: Float[np.ndarray, " c"], points: Points) -> Scores:
        """Cosine in [-1, 1] between the query and the feature at each point, ``(n,)``; 0 if either is zero."""

    def similarity_map(self, query: Float[np.ndarray, " c"], stride: int, where: Mask | None = None) -> Volume:
        """Cosine between the query and the feature at the centre of every cell of a level.

        Parameters
        ----------
        query
            ``(n_channels,)``, need not be normalised.
        stride
            Voxels per cell.
        where
            True in the cells that are needed, of the level's shape; None means all.

        Returns
        -------
        similarity
            float32, ``cryosam.geometry.level_shape(shape, stride)`` cells, in [-1, 1], at the centres that
            `cryosam.geometry.level_to_voxel` gives with ``shape``; NaN in the cells that are not needed.
        """
