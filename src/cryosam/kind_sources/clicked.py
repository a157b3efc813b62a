"""A kind that was clicked in this tomogram."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from cryosam.arrays import Points
from cryosam.classification.kind_average import Known
from cryosam.config import Config
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted, first_look, second_look
from cryosam.instances.visibility import visibility
from cryosam.kind_sources.protocol import Seed
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import KindQuery, build_query
from cryosam.matching.support import support_from
from cryosam.prompts import PointPrompts
from cryosam.scene import Scene
from cryosam.tomogram import Contrast, Tomogram

__all__ = ["ClickedKind", "are_visible", "look"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_INVISIBLE = 2.2  # contrast that one place of background in ten or twenty reaches by chance, in standard deviations


@dataclass(frozen=True, eq=False)
class ClickedKind:
    """A kind that was clicked in this tomogram (a `KindSource`)."""

    prompts: PointPrompts
    contrast: Contrast | None = None
    least_to_average: int = _ENOUGH_TO_AVERAGE
    advice: str = "click several particles, or give the diameter"

    @property
    def name(self) -> str:
        """Of the kind."""
        return self.prompts.name

    @property
    def clicks(self) -> Points:
        """``(n, 3)`` on the kind."""
        return self.prompts.positive

    @property
    def negatives(self) -> Points:
        """``(m, 3)`` on what is not of the kind."""
        return self.prompts.negative

    def validate(self, tomogram: Tomogram) -> None:
        """Check that every point lies in the tomogram; see `PointPrompts.validate`."""
        self.prompts.validate(tomogram.shape)

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings as they are."""
        return scene.config

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """What lies under the clicks, and what segments other instances as these were seen.

        Size and noise follow from all clicks that are looked at. So where some are on nothing, the others are looked at
        again. Where all are, all are kept.
        """
        clicks = self.prompts.positive
        prompted, instances = look(scene, clicks, is_search=True)
        is_seen = are_visible(scene, clicks, prompted)
        if is_seen.all() or not is_seen.any():
            return Seed(prompted, clicks, np.ones(len(clicks), dtype=bool), bool(is_seen.all())), instances
        used, instances = look(scene, clicks[is_seen], is_search=True)
        masks, trusted = list(prompted.masks), list(prompted.is_trusted)
        for k, mask, is_trusted in zip(np.flatnonzero(is_seen), used.masks, used.is_trusted, strict=True):
            masks[k], trusted[k] = mask, is_trusted
        prompted = replace(used, masks=tuple(masks), is_trusted=tuple(trusted))
        return Seed(prompted, clicks, is_seen, is_there=True), instances

    def query(self, scene: Scene, seed: Seed) -> KindQuery:
        """The feature of what lies under the clicks, and its volumes."""
        field, masks = scene.features(seed.diameter), seed.used.trusted_masks
        with scene.record.timed("matching"):
            feature = build_query(field, seed.clicks, masks, scene.config.matching.query)
        volumes = tuple(float(mask.n_voxels) for mask in masks if mask.n_voxels)
        return KindQuery(self.name, feature, volumes)

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """Indices of the clicked candidates; the best one where none was clicked."""
        clicked = candidates.clicked(seed.clicks)
        return np.unique(clicked[clicked >= 0]) if (clicked >= 0).any() else np.zeros(1, dtype=int)

    def reference(self, scene: Scene) -> Known | None:
        """None: all that is known comes from this tomogram."""
        return None


def look(scene: Scene, clicks: Points, *, is_search: bool) -> tuple[Prompted, InstanceSegmenter]:
    """Segment what lies under clicks; in a search the rest of the tomogram has its say in how far the masks reach."""
    settings = scene.config.propagation
    with scene.record.timed("prompts"):
        first, instances = first_look(
            scene.voxels,
            clicks,
            scene.segmenter,
            settings,
            scene.given_diameter,
            scene.workspace,
            scene.options.progress,
        )
    if scene.given_diameter is not None or settings.window_diameters == 0:  # whole slices know no size
        return first, instances
    support = None
    if is_search:
        support = support_from(scene.features(first.diameter), instances, scene.config.matching)
    with scene.record.timed("prompts"):
        return second_look(first, instances, clicks, support), instances


def are_visible(scene: Scene, clicks: Points, prompted: Prompted) -> Bool[np.ndarray, " k"]:
    """Whether something lies under each click; a warning for each that holds nothing."""
    is_seen = np.zeros(len(clicks), dtype=bool)
    for k, (click, mask) in enumerate(zip(clicks, prompted.masks, strict=True)):
        is_seen[k] = mask.n_voxels > 0 and visibility(scene.voxels, click, prompted.diameter) >= _INVISIBLE
        if not is_seen[k]:
            scene.record.warn("nothing_there", "nothing stands out of the background at point {point}", click)
    return is_seen
