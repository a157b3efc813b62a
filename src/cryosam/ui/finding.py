"""Every particle of the kinds that were clicked, and what becomes of the user's judgements of an earlier search."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Progress
from cryosam.config import Config
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram
from cryosam.ui.masking import size_of
from cryosam.ui.state import Candidate, Click, Quaternion, View, best_first

__all__ = ["find", "with_found"]

_UNKNOWN = 16.0  # voxels, of a kind of which no mask was made
_SAME = 0.5  # of the diameter: an earlier candidate this near is the same particle


def find(
    tomogram: Tomogram,
    views: Mapping[int, View],
    config: Config,
    progress: Progress,
    so_far: Callable[[int, Points], None],
    cache: FeatureCache | None = None,
) -> dict[int, Segmentation]:
    """Search a tomogram for one kind, or for several that compete for each particle.

    Parameters
    ----------
    tomogram
        To search.
    views
        By kind; each has a positive click.
    config
        Settings.
    progress
        Called as ``progress(stage, done, total)``; what it raises ends the search.
    so_far
        Called with a kind and the places that look like it, before the search has ended.
    cache
        Keeps the tomogram's features for the next search.

    Returns
    -------
    found
        By kind.
    """
    from cryosam import segmentation  # torch takes seconds to import
    from cryosam.scene import RunOptions

    prompts = [_prompts(view.clicks, f"kind-{kind}") for kind, view in views.items()]
    numbers = {each.name: kind for each, kind in zip(prompts, views, strict=True)}

    def tell(name: str, points: Points) -> None:
        so_far(numbers[name], points)

    options = RunOptions(cache=cache, progress=progress, so_far=tell)
    if len(prompts) == 1:
        return dict.fromkeys(views, segmentation.segment(tomogram, prompts[0], config, options))
    found = segmentation.segment_kinds(tomogram, prompts, config, options)
    return dict(zip(views, found.kinds, strict=True))


def with_found(view: View, used: View, found: Segmentation, next_id: Callable[[], int]) -> View:
    """A kind's view after a search.

    What was judged keeps its verdict where it was found again; what was accepted is kept even where it was not.

    Parameters
    ----------
    view
        As it is now.
    used
        As it was when the search began: the clicks that it used.
    found
        By the search.
    next_id
        Gives a number that no candidate has.
    """
    new = _candidates(found, next_id)
    judged = [candidate for candidate in view.candidates if candidate.verdict is not None]
    size = size_of(found)
    for old in judged:
        _take_over(new, old, _SAME * (_UNKNOWN if size is None else size.diameter))
    masks = dict(zip((click.id for click in used.clicks if click.is_positive), found.prompt_masks, strict=True))
    threshold = 0.5 if found.threshold is None else float(np.clip(found.threshold, 0, 1))
    return replace(
        view,
        clicks=tuple(replace(click, mask=masks.get(click.id, click.mask)) for click in view.clicks),
        candidates=best_first(new),
        threshold=threshold,
        default_threshold=threshold,
        average=found.average,
        score_map=found.score_map,
        searched=tuple(click.id for click in used.clicks),
        warnings=found.warnings,
        size=size,
    )


def _prompts(clicks: tuple[Click, ...], name: str) -> PointPrompts:
    points = np.array([click.point for click in clicks], dtype=float)
    return PointPrompts(points, np.array([click.is_positive for click in clicks]), name)


def _candidates(found: Segmentation, next_id: Callable[[], int]) -> list[Candidate]:
    """Everything that was looked at; the centres of what was accepted are the refined ones."""
    points = np.concatenate([found.points, found.candidate_points[len(found.points) :]])
    rotations: list[Quaternion | None] = (
        [] if found.rotations is None else [_quaternion(each) for each in found.rotations]
    )
    rotations += [None] * (len(points) - len(rotations))
    rows = zip(points.tolist(), found.candidate_scores.tolist(), found.candidate_masks, rotations, strict=True)
    return [
        Candidate(next_id(), (z, y, x), score, mask, rotation=rotation) for (z, y, x), score, mask, rotation in rows
    ]


def _quaternion(rotation: Rotation) -> Quaternion:
    a, b, c, d = rotation.as_quat().tolist()
    return a, b, c, d


def _take_over(new: list[Candidate], old: Candidate, distance: float) -> None:
    """Give the verdict of an earlier candidate to the new one at its place, or keep it if it was accepted."""
    free = [i for i, candidate in enumerate(new) if candidate.verdict is None]
    if free:
        apart, nearest = cKDTree([new[i].point for i in free]).query(old.point)
        if apart <= distance:
            i = free[int(nearest)]
            if old.is_moved:
                new[i] = replace(new[i], point=old.point, mask=old.mask, is_moved=True)  # it lies as the new one does
            new[i] = replace(new[i], verdict=old.verdict)
            return
    if old.verdict == "accepted":
        new.append(replace(old, score=None, rotation=None))  # that was to another average
