"""A kind that was clicked in this tomogram."""

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Points
from cryosam.classification.kind_average import Known
from cryosam.config import Config
from cryosam.errors import PromptError
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import Prompted, diameter_of, first_look, is_filament, second_look
from cryosam.instances.visibility import visibility
from cryosam.kind_sources.protocol import Seed
from cryosam.masks import InstanceMask
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import KindQuery, build_query
from cryosam.matching.support import support_from
from cryosam.prompts import PointPrompts
from cryosam.scene import Scene
from cryosam.tomogram import Contrast, Tomogram

__all__ = ["ClickedKind", "are_visible", "look", "of_diameter"]

_ENOUGH_TO_AVERAGE = 10  # candidates
_FAR_OFF = 3.0  # ratio of a given diameter to what is seen, or the inverse, from which the given one is doubted
_NANOMETRES = 5.0  # ratio from which the unit is doubted
_INVISIBLE = 2.2  # standard deviations of contrast, which 5 to 10 % of background places reach by chance


@dataclass(frozen=True, eq=False)
class ClickedKind:
    """A kind that was clicked in this tomogram (a `KindSource`).

    Parameters
    ----------
    prompts
        The clicks.
    is_trial
        Whether the clicks are not the user's, so that a given diameter is not compared with what is under them.
    """

    prompts: PointPrompts
    is_trial: bool = False
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

        Raises
        ------
        PromptError
            If a given diameter is so much smaller than what is under the clicks that nothing of that size is visible.
        """
        clicks = self.prompts.positive
        prompted, instances = look(scene, clicks, is_search=True)
        is_seen = are_visible(scene, clicks, prompted)
        if not self.is_trial:
            _compare_diameter(scene, clicks, is_there=bool(is_seen.any()))
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


def of_diameter(scene: Scene, seed: Seed, diameter: float) -> tuple[Seed, InstanceSegmenter]:
    """The same clicks on particles of another diameter in voxels; the clicks are their centres."""
    with scene.record.timed("prompts"):
        prompted, instances = first_look(
            scene.voxels,
            seed.all_clicks,
            scene.segmenter,
            scene.config.propagation,
            diameter,
            scene.workspace,
            scene.options.progress,
        )
    prompted = replace(prompted, is_trusted=(False,) * len(prompted.masks), is_size_sure=False)
    return replace(seed, prompted=prompted), instances


def are_visible(scene: Scene, clicks: Points, prompted: Prompted) -> Bool[np.ndarray, " k"]:
    """Whether something is visible at each click; each click at which nothing is gets a warning."""
    is_seen = np.zeros(len(clicks), dtype=bool)
    for k, (click, mask) in enumerate(zip(clicks, prompted.masks, strict=True)):
        is_seen[k] = _is_visible(scene, click, mask, prompted.diameter)
        if not is_seen[k]:
            scene.record.warn("nothing_there", "nothing stands out from the background at point {point}", click)
    return is_seen


def _is_visible(scene: Scene, click: Float[np.ndarray, " 3"], mask: InstanceMask, diameter: float) -> bool:
    return mask.n_voxels > 0 and visibility(scene.voxels, click, diameter) >= _INVISIBLE


def _compare_diameter(scene: Scene, clicks: Points, *, is_there: bool) -> None:
    """Compare a given diameter with the size of what is under the clicks; long objects have no diameter to compare."""
    given = scene.given_diameter
    if given is None:
        return
    unlimited = replace(scene.config, diameter_angstrom=None, diameter_voxels=None)
    seen, _ = look(replace(scene, config=unlimited), clicks, is_search=False)
    masks = [
        mask
        for click, mask in zip(clicks, seen.masks, strict=True)
        if _is_visible(scene, click, mask, seen.diameter) and not is_filament(mask)
    ]
    measured = diameter_of(masks)
    if not masks or 1 / _FAR_OFF < given / measured < _FAR_OFF:
        return
    text = _say_diameters(given, measured, scene.tomogram.voxel_size_angstrom)
    if not is_there and given < measured:  # a larger one may be right: in the middle of a shell, little is visible
        raise PromptError(text)
    scene.record.warn("diameter_far_off", text)


def _say_diameters(given: float, measured: float, voxel_size_angstrom: float | None) -> str:
    """Say that two diameters in voxels differ.

    Examples
    --------
    >>> _say_diameters(1.8, 18.0, 10.0)
    'the diameter of 18 A is 1.8 voxels, but what was clicked is about 180 A: is it in nanometres?'
    """
    advice = "is it in nanometres?" if measured / given >= _NANOMETRES else "check the number"
    if voxel_size_angstrom is None:
        return f"the diameter is {given:.3g} voxels, but what was clicked is about {measured:.0f} voxels: {advice}"
    angstrom, size = given * voxel_size_angstrom, measured * voxel_size_angstrom
    return (
        f"the diameter of {angstrom:.4g} A is {given:.3g} voxels, but what was clicked is about {size:.0f} A: {advice}"
    )
