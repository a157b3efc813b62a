"""The interface through which the pipeline learns about a kind, independent of where the kind is known from."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from cryosam.arrays import Points
from cryosam.classification.kind_average import Known
from cryosam.config import Config
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import KindQuery
from cryosam.scene import Scene
from cryosam.tomogram import Contrast, Tomogram

__all__ = ["KindSource", "Seed"]


@dataclass(frozen=True, eq=False)
class Seed:
    """The starting point of a search.

    Parameters
    ----------
    prompted
        The objects under all clicks. Without clicks there are no objects, only the size of the kind.
    all_clicks
        ``(n, 3)`` z, y, x in voxels.
    is_used
        ``(n,)`` True for clicks at which something is visible; True for all clicks if that is none.
    is_there
        Whether something is visible at a click, or a saved query defines the kind.
    """

    prompted: Prompted
    all_clicks: Points
    is_used: Bool[np.ndarray, " n"]
    is_there: bool

    @property
    def diameter(self) -> float:
        """Diameter of the kind, in voxels."""
        return self.prompted.diameter

    @property
    def clicks(self) -> Points:
        """``(k, 3)`` clicks that are used."""
        return self.all_clicks[self.is_used]

    @property
    def used(self) -> Prompted:
        """The objects under the clicks that are used."""
        used = np.flatnonzero(self.is_used)
        masks = tuple(self.prompted.masks[k] for k in used)
        return replace(self.prompted, masks=masks, is_trusted=tuple(self.prompted.is_trusted[k] for k in used))


@runtime_checkable
class KindSource(Protocol):
    """A kind of particle, and where it is known from."""

    @property
    def name(self) -> str:
        """Name of the kind."""

    @property
    def clicks(self) -> Points:
        """``(n, 3)`` clicks on the kind in this tomogram, z, y, x in voxels; none for a saved query."""

    @property
    def negatives(self) -> Points:
        """``(m, 3)`` clicks on objects that are not of the kind."""

    @property
    def contrast(self) -> Contrast | None:
        """Whether protein is dark or bright; None if that is to be detected, with the help of the clicks."""

    @property
    def least_to_average(self) -> int:
        """Smallest number of candidates from which an average is made."""

    @property
    def advice(self) -> str:
        """What a user can do if the kind is poorly separated from everything else; the end of a warning."""

    def validate(self, tomogram: Tomogram) -> None:
        """Check that the kind can be searched for in a tomogram."""

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings, adapted to the kind."""

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """The objects under the clicks, and a segmenter that treats other instances in the same way."""

    def query(self, scene: Scene, seed: Seed) -> KindQuery:
        """The feature and the volumes with which candidates are compared."""

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """Indices of the clicked candidates, or of the best one; none if a reference defines the kind."""

    def reference(self, scene: Scene) -> Known | None:
        """What is known of the kind from another tomogram, if anything."""
