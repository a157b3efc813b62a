"""A kind that was clicked in this tomogram."""

from dataclasses import dataclass, field, replace

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
_INVISIBLE = 2.2  # standard deviations of contrast, which 5 to 10 % of background places reach by chance


@dataclass(frozen=True, eq=False)
class ClickedKind:
    """A kind that was clicked in this tomogram (a `KindSource`)."""

    prompts: PointPrompts
    contrast: Contrast | None = field(default=None, init=False)
    least_to_average: int = field(default=_ENOUGH_TO_AVERAGE, init=False)
    advice: str = field(default="click several particles, or give the diameter", init=False)

    @property
    def name(self) -> str:
        """Name of the kind."""
        return self.prompts.name

    @property
    def clicks(self) -> Points:
        """``(n, 3)`` clicks on the kind."""
        return self.prompts.positive

    @property
    def negatives(self) -> Points:
        """``(m, 3)`` clicks on objects that are not of the kind."""
        return self.prompts.negative

    def validate(self, tomogram: Tomogram) -> None:
        """Check that every point lies in the tomogram; see `PointPrompts.validate`."""
        self.prompts.validate(tomogram.shape)

    def fitted(self, scene: Scene) -> Config:
        """The scene's settings, unchanged."""
        return scene.config

    def seed(self, scene: Scene) -> tuple[Seed, InstanceSegmenter]:
        """The objects under the clicks, and a segmenter that treats other instances in the same way.

        Particle size and smoothing are estimated from all clicks together. If nothing is visible at some clicks, the
        estimate is repeated without them. If nothing is visible at any click, all clicks are kept.
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
        """The feature of the objects under the clicks, and the volumes of their masks."""
        features, masks = scene.features(seed.diameter), seed.used.trusted_masks
        with scene.record.timed("matching"):
            feature = build_query(features, seed.clicks, masks, scene.config.matching.query)
        volumes = tuple(float(mask.n_voxels) for mask in masks if mask.n_voxels)
        return KindQuery(self.name, feature, volumes)

    def seeds(self, candidates: Candidates, seed: Seed) -> Int[np.ndarray, " k"]:
        """Indices of the clicked candidates; the best candidate if none was clicked."""
        clicked = candidates.clicked(seed.clicks)
        return np.unique(clicked[clicked >= 0]) if (clicked >= 0).any() else np.zeros(1, dtype=int)

    def reference(self, scene: Scene) -> Known | None:
        """None, because everything known about the kind comes from this tomogram."""
        return None


def look(scene: Scene, clicks: Points, *, is_search: bool) -> tuple[Prompted, InstanceSegmenter]:
    """Segment the objects under clicks; in a search, similar places help to decide how far the masks reach."""
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
    if scene.given_diameter is not None or settings.window_diameters == 0:  # whole slices need no diameter
        return first, instances
    support = None
    if is_search:
        support = support_from(scene.features(first.diameter), instances, scene.config.matching)
    with scene.record.timed("prompts"):
        return second_look(first, instances, clicks, support), instances


def are_visible(scene: Scene, clicks: Points, prompted: Prompted) -> Bool[np.ndarray, " k"]:
    """Whether something is visible at each click; each click at which nothing is gets a warning."""
    is_seen = np.zeros(len(clicks), dtype=bool)
    for k, (click, mask) in enumerate(zip(clicks, prompted.masks, strict=True)):
        is_seen[k] = mask.n_voxels > 0 and visibility(scene.voxels, click, prompted.diameter) >= _INVISIBLE
        if not is_seen[k]:
            scene.record.warn("nothing_there", "nothing stands out from the background at point {point}", click)
    return is_seen
