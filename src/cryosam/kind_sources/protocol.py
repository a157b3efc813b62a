"""What the pipeline asks about a kind, wherever it is known from."""

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
    """What a search starts from.

    Parameters
    ----------
    prompted
        What lies under all clicks; nothing, but a size, where there are none.
    all_clicks
        ``(n, 3)`` z, y, x in voxels.
    is_used
        ``(n,)`` which clicks lie on something; all, where none does.
    is_there
        Whether anything lies under a click, or a saved query tells what is searched for.
    """

    prompted: Prompted
    all_clicks: Points
    is_used: Bool[np.ndarray, " n"]
    is_there: bool

    @property
    def diameter(self) -> float:
        """Of the kind, in voxels."""
        return self.prompted.diameter

    @property
    def clicks(self) -> Points:
        """``(k, 3)`` the clicks that are used."""
        return self.all_clicks[self.is_used]

    @property
    def used(self) -> Prompted:
        """What lies under the clicks that are used."""
        used = np.flatnonzero(self.is_used)
        masks = tuple(self.prompted.masks[k] for k in used)
        return replace(self.prompted, masks=masks, is_trusted=tuple(self.prompted.is_trusted[k] for k in used))


@runtime_checkable
class KindSource(Protocol):
    """A kind of particle, and where it is known from."""

    @property
    def name(self) -> str:
        """Of the kind."""

    @property
    def clicks(self) -> Points:
        """``(n, 3)`` clicks on the kind in this tomogram, z, y, x in voxels; none for a saved query."""

    @property
    def negatives(self) -> Points:
        """``(m, 3)`` clicks on what is not of the kind."""

    @property
    def contrast(self) -> Contrast | None:
        """Whether protein is dark or bright, where that is known; else the clicks help to tell."""

    @property
    def least_to_average(self) -> int:
        """So many candidates are needed for an average."""

    @property
    def advice(self) -> str:
        """What a user can do where the kind hardly stands apart."""

    def validate(self, tomogram: Tomogram) -> None:
        """Check that the kind can be searched for in a tomogram."""

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings, as far as the kind changes them."""

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """What lies under the clicks, and what segments other instances as these were seen."""

    def query(self, scene: Scene, seed: Seed) -> KindQuery:
        """What candidates are compared with."""

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """Indices of the clicked candidates, or of the best one; none where a reference tells the kind."""

    def reference(self, scene: Scene) -> Known | None:
        """What another tomogram tells of the kind."""
