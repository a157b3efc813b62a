"""Searching for the clicked kinds, and keeping the verdicts of the user on the results of an earlier search."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points, Progress
from cryosam.config import Config
from cryosam.errors import PromptError
from cryosam.masks import InstanceMask
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.structure_results import StructureKind, StructureResult
from cryosam.tomogram import Tomogram
from cryosam.ui.masking import size_of
from cryosam.ui.state import Candidate, Click, Quaternion, State, View, best_first
from cryosam.ui.structures import find_structure, with_structures
from cryosam.ui.wording import on_page

__all__ = ["Found", "clicks_of", "find", "with_all_found", "with_found"]

Found = Segmentation | StructureResult

_UNKNOWN = 16.0  # voxels, diameter of a kind without a mask
_SAME = 0.5  # diameters: an earlier candidate within this distance is the same particle


def find(
    tomogram: Tomogram,
    views: Mapping[int, View],
    config: Config,
    progress: Progress,
    so_far: Callable[[int, Points], None],
    cache: FeatureCache | None = None,
    structures: Mapping[int, StructureKind] | None = None,
) -> tuple[dict[int, Found], dict[int, PromptError]]:
    """Search a tomogram for one kind, or for several; those of particles compete for each particle.

    Parameters
    ----------
    tomogram
        The tomogram to search.
    views
        View of each kind, which has a positive click.
    config
        Settings of the search.
    progress
        Called as ``progress(stage, done, total)``; an exception that it raises ends the search.
    so_far
        Called with a kind and points that resemble it, before the search has ended.
    cache
        Stores the features of the tomogram for the next search.
    structures
        What each kind is; without an entry, a particle.

    Returns
    -------
    found
        Result of each kind.
    failed
        Why there is none of a kind that is no particle.
    """
    others = {kind: what for kind, what in (structures or {}).items() if what != "particle" and kind in views}
    particles = {kind: view for kind, view in views.items() if kind not in others}
    found: dict[int, Found] = {}
    failed: dict[int, PromptError] = {}
    if particles:
        found.update(_find_particles(tomogram, particles, config, progress, so_far, cache))
    for number, (kind, what) in enumerate(others.items()):
        try:
            found[kind] = find_structure(tomogram, views[kind], what, number, config, progress)
        except PromptError as error:
            failed[kind] = error
    return found, failed


def with_all_found(
    state: State, tomogram: int, used: Mapping[int, View], found: Mapping[int, Found], next_id: Callable[[], int]
) -> State:
    """Return the state after a search that used these views; a kind may have been removed meanwhile."""
    for kind, each in found.items():
        if any(known.id == kind for known in state.kinds):
            settled = with_found(state.view(tomogram, kind), used[kind], each, next_id)
            state = state.with_view(tomogram, kind, settled)
    return state


def _find_particles(
    tomogram: Tomogram,
    views: Mapping[int, View],
    config: Config,
    progress: Progress,
    so_far: Callable[[int, Points], None],
    cache: FeatureCache | None,
) -> dict[int, Segmentation]:
    from cryosam import segmentation  # torch is slow to import
    from cryosam.scene import RunOptions

    prompts = [_prompts(view.clicks, f"kind-{kind}") for kind, view in views.items()]
    numbers = {each.name: kind for each, kind in zip(prompts, views, strict=True)}

    def report(name: str, points: Points) -> None:
        so_far(numbers[name], points)

    options = RunOptions(cache=cache, progress=progress, so_far=report)
    if len(prompts) == 1:
        return dict.fromkeys(views, segmentation.segment(tomogram, prompts[0], config, options))
    found = segmentation.segment_kinds(tomogram, prompts, config, options)
    return dict(zip(views, found.kinds, strict=True))


def with_found(view: View, used: View, found: Found, next_id: Callable[[], int]) -> View:
    """Return the view of a kind after a search.

    Candidates that are found again keep their verdicts. Accepted candidates are kept even if they are not found again.

    Parameters
    ----------
    view
        The current view.
    used
        The view at the start of the search, with the clicks that it used.
    found
        Result of the search.
    next_id
        Returns an unused number for a candidate.
    """
    if isinstance(found, StructureResult):
        return with_structures(view, used, found, next_id)
    new = _candidates(found, next_id)
    judged = [each for each in view.candidates if each.verdict is not None and each.instance is None]
    size = size_of(found)
    for old in judged:
        _keep_verdict(new, old, _SAME * (_UNKNOWN if size is None else size.diameter))
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
        warnings=tuple(on_page(warning) for warning in found.report.warnings),
        size=size,
        searched_as="particle",
    )


def clicks_of(prompts: PointPrompts, found: Found, next_id: Callable[[], int]) -> tuple[Click, ...]:
    """Return clicks at the points of prompts, the positive ones with the masks of the clicked particles."""
    of_positive = found.prompt_masks if isinstance(found, Segmentation) else ()
    masks = iter(of_positive or (InstanceMask.empty(),) * len(prompts.positive))
    return tuple(
        Click(next_id(), (z, y, x), bool(positive), next(masks) if positive else InstanceMask.empty())
        for (z, y, x), positive in zip(prompts.points.tolist(), np.asarray(prompts.is_positive), strict=True)
    )


def _prompts(clicks: tuple[Click, ...], name: str) -> PointPrompts:
    points = np.array([click.point for click in clicks], dtype=float)
    return PointPrompts(points, np.array([click.is_positive for click in clicks]), name)


def _candidates(found: Segmentation, next_id: Callable[[], int]) -> list[Candidate]:
    """Return all candidates; those that were accepted have their refined centres."""
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


def _keep_verdict(new: list[Candidate], old: Candidate, distance: float) -> None:
    """Copy the verdict of an earlier candidate to the new one at its position; without one, keep it if accepted."""
    free = [i for i, candidate in enumerate(new) if candidate.verdict is None]
    if free:
        gap, nearest = cKDTree([new[i].point for i in free]).query(old.point)
        if gap <= distance:
            i = free[int(nearest)]
            if old.is_moved:
                new[i] = replace(new[i], point=old.point, mask=old.mask, is_moved=True)  # keeps the new orientation
            new[i] = replace(new[i], verdict=old.verdict)
            return
    if old.verdict == "accepted":
        new.append(replace(old, score=None, rotation=None))  # its score and rotation refer to another average
