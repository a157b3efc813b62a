"""Cross-plane self-prompting: one point becomes one instance in 3D.

Three slices pass through the point, one per plane. From each of them a promptable 2D segmenter walks in both
directions; in each slice it is prompted with its own mask of the previous slice. The six walks give three stacks of
masks, which are fused.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from cryosam.arrays import PLANES, Image, Plane, Points, Progress
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.instances.fusion import fuse
from cryosam.instances.slices import (
    BATCH,
    UNSEEN,
    CachingSegmenter,
    MemorylessSegmenter,
    PreviousSlice,
    SliceMask,
    SliceWindow,
    depth_of,
    disc_diameter,
    segment_windows,
    window_of,
)
from cryosam.masks import InstanceMask
from cryosam.tomogram import Voxels

__all__ = ["follow", "propagate"]

_LONG = 4.0  # least ratio of length to width of a filament
_LARGEST_WINDOW = 256  # voxels, if neither the diameter nor the window's size is given
_HELD_VOXELS = 64_000_000  # limit on the logits of whole slices in memory: more points are done in several sweeps


@dataclass(eq=False)
class _Walk:
    """One of the six walks from a point: its masks so far, and its current slice."""

    owner: int
    plane: Plane
    step: int
    last: SliceMask
    depth: int
    answers: list[SliceMask]
    has_stopped: bool = False

    @classmethod
    def both_ways(cls, owner: int, plane: Plane, answer: SliceMask) -> "list[_Walk]":
        """The two walks, up and down, that start from the mask in the first slice."""
        return [cls(owner, plane, step, answer, answer.depth, [_to_keep(answer)]) for step in (1, -1)]

    def go_on(self, answer: SliceMask | None) -> None:
        """Add the mask in the next slice, or stop if there is none."""
        if answer is None:
            self.stop()
        else:
            self.last = answer
            self.answers.append(_to_keep(answer))

    def stop(self) -> None:
        """End the walk; the full window of the last mask is then no longer needed."""
        self.has_stopped = True
        self.last = self.answers[-1]


def _to_keep(answer: SliceMask) -> SliceMask:
    """Crop the logits of a whole slice to the object, because thousands of whole slices would fill the memory."""
    return answer if max(answer.logits.shape) <= _LARGEST_WINDOW else answer.cropped()


def propagate(
    tomogram: Voxels,
    points: Points,
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    diameter: float | None = None,
    progress: Progress | None = None,
) -> tuple[InstanceMask, ...]:
    """Segment the instance under each point.

    Parameters
    ----------
    tomogram
        Normalised: voxels in [0, 1], protein bright.
    points
        ``(n, 3)`` z, y, x in voxels, one per particle.
    segmenter
        A promptable 2D segmenter.
    config
        Limits and fusion.
    diameter
        Diameter of the particle in voxels; None if unknown.
    progress
        Called with the number of points done.

    Returns
    -------
    instances
        One mask per point, in order; empty if the segmenter found nothing.

    Notes
    -----
    Masks of neighbouring points may overlap: see `cryosam.masks.merge_duplicates`. If the segmenter is shown whole
    slices, the walks from all points are made together, plane by plane, so that each slice is embedded at most twice.

    Examples
    --------
    >>> from cryosam.backends.classical import ClassicalSegmenter
    >>> from cryosam.tomogram import Tomogram
    >>> z, y, x = np.mgrid[:20, :22, :24]
    >>> ball = np.exp(-((z - 9) ** 2 + (y - 10) ** 2 + (x - 11) ** 2) / 20).astype(np.float32)
    >>> (mask,) = propagate(Tomogram(ball), np.array([[9.0, 10.0, 11.0]]), ClassicalSegmenter(), PropagationConfig())
    >>> mask.centroid
    array([ 9., 10., 11.])
    """
    masks: list[InstanceMask] = []
    n_together, walk = max(1, BATCH // len(PLANES)), _walk_all
    if config.window_diameters == 0:
        depth, height, width = tomogram.shape
        n_together, walk = max(1, _HELD_VOXELS // max(height * width, depth * height, depth * width)), _sweep
        segmenter = CachingSegmenter(segmenter)
    for start in range(0, len(points), n_together):
        walks = walk(tomogram, points[start : start + n_together], segmenter, config, diameter)
        mine: dict[int, list[_Walk]] = defaultdict(list)
        for each in walks:
            mine[each.owner].append(each)
        masks += [
            fuse(_by_plane(mine[owner]), point, config.fusion, config.z_weight)
            for owner, point in enumerate(points[start : start + n_together])
        ]
        if progress is not None:
            progress("segmenting", len(masks), len(points))
    return tuple(masks)


def follow(
    tomogram: Voxels,
    point: Float[np.ndarray, " 3"],
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    windows: Sequence[int],
) -> InstanceMask:
    """Segment the object under a point, possibly a filament, with the slices of one plane only.

    A slice across a filament shows its whole cross-section. A slice along it shows only a piece, whose length the
    segmenter chooses arbitrarily, and in the fusion such slices would outvote those across the filament. So only one
    plane is used: the one whose two walks have the largest sum of scores. The segmenter is not given its memory of the
    previous slice. That memory helps to detect the end of an object, and a filament has none; with it, a walk along the
    wall of a microtubule wanders around the tube.

    Parameters
    ----------
    tomogram, segmenter, config
        As in `propagate`.
    point
        z, y, x in voxels.
    windows
        Edges in voxels that are tried in turn; the result is from the window in which the sum of the scores is largest.
        The trials end as soon as the best result so far is not much longer than wide.

    Returns
    -------
    instance
        Empty if the segmenter found nothing.
    """
    best: list[_Walk] = []
    for window in windows:
        walks = _walk_all(
            tomogram, point[None], MemorylessSegmenter(segmenter), replace(config, window_voxels=window), None
        )
        pairs = [[walk for walk in walks if walk.plane == plane] for plane in PLANES]
        best = max([best, *pairs], key=_total_score)
        if _length(best) < _LONG * disc_diameter([answer for walk in best for answer in walk.answers]):
            break
    return fuse(_by_plane(best), point, "union")


def _by_plane(walks: Sequence[_Walk]) -> dict[Plane, list[SliceMask]]:
    """The masks of some walks, by plane."""
    answers: dict[Plane, list[SliceMask]] = defaultdict(list)
    for walk in walks:
        answers[walk.plane] += walk.answers
    return answers


def _total_score(walks: Sequence[_Walk]) -> float:
    return sum(answer.score for walk in walks for answer in walk.answers)


def _length(walks: Sequence[_Walk]) -> int:
    """Number of slices in which two walks from the same slice found the object."""
    return len({answer.depth for walk in walks for answer in walk.answers})


def _walk_all(
    tomogram: Voxels,
    points: Points,
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    diameter: float | None,
) -> list[_Walk]:
    """Make all six walks of every point, one slice per round; the windows of a round are embedded together."""
    limit, reach = _limits(config, diameter)
    pairs = [(plane, owner) for plane in PLANES for owner in range(len(points))]
    starts = [_first_window(tomogram, points[owner], plane, config, diameter) for plane, owner in pairs]
    prompts = [np.asarray(points[owner][list(in_plane_axes(plane))], dtype=float) for plane, owner in pairs]
    walks = []
    answers = segment_windows([tomogram] * len(starts), segmenter, starts, prompts, None, limit, config)
    for (plane, owner), answer in zip(pairs, answers, strict=True):
        if answer is not None:
            walks += _Walk.both_ways(owner, plane, answer)
    while active := [walk for walk in walks if not walk.has_stopped]:
        _advance(tomogram, active, segmenter, limit, reach, config)
    return walks


def _sweep(
    tomogram: Voxels, points: Points, segmenter: PromptSegmenter, config: PropagationConfig, diameter: float | None
) -> list[_Walk]:
    """Make all six walks of every point in whole slices, in two sweeps per plane; each slice is done for all walks."""
    limit, reach = _limits(config, diameter)
    walks: list[_Walk] = []
    for plane in PLANES:
        height, width = (tomogram.shape[axis] for axis in in_plane_axes(plane))
        begins: dict[int, list[int]] = defaultdict(list)
        for owner, point in enumerate(points):
            begins[depth_of(tomogram, point, plane)].append(owner)
        walking: dict[int, list[_Walk]] = {1: [], -1: []}
        for depth in range(min(begins, default=0), tomogram.shape[AXIS[plane]]):
            _advance(tomogram, walking[1], segmenter, limit, reach, config)
            walking[1] = [walk for walk in walking[1] if not walk.has_stopped]
            owners = begins[depth]
            places = [SliceWindow(plane, depth, Window(0, 0, height, width))] * len(owners)
            prompts = [np.asarray(points[owner][list(in_plane_axes(plane))], dtype=float) for owner in owners]
            answers = segment_windows([tomogram] * len(places), segmenter, places, prompts, None, limit, config)
            for owner, answer in zip(owners, answers, strict=True):
                if answer is not None:
                    up, down = _Walk.both_ways(owner, plane, answer)
                    walks += [up, down]
                    walking[1].append(up)
                    walking[-1].append(down)
        for depth in range(max(begins, default=0), -1, -1):
            passing = [walk for walk in walking[-1] if walk.depth > depth and not walk.has_stopped]
            _advance(tomogram, passing, segmenter, limit, reach, config)
    return walks


def _limits(config: PropagationConfig, diameter: float | None) -> tuple[float, float]:
    """Largest area of a mask in square voxels, and largest number of slices of a walk."""
    if diameter is None:
        return config.max_area, np.inf
    return (config.max_area_diameters * diameter) ** 2, config.max_walk_diameters * diameter


def _advance(
    tomogram: Voxels,
    walks: Sequence[_Walk],
    segmenter: PromptSegmenter,
    limit: float,
    reach: float,
    config: PropagationConfig,
) -> None:
    """Continue each walk by one slice, or stop it."""
    moving, places, prompts, priors = [], [], [], []
    for walk in walks:
        walk.depth += walk.step
        is_far = abs(walk.depth - walk.answers[0].depth) > reach
        if is_far or not 0 <= walk.depth < tomogram.shape[AXIS[walk.plane]]:
            walk.stop()
            continue
        window = walk.last.window if config.window_diameters == 0 else _follow(walk.last)
        logits = _rewindow(walk.last.logits, walk.last.window, window)
        row, col = np.unravel_index(int(np.argmax(logits)), logits.shape)
        moving.append(walk)
        places.append(SliceWindow(walk.plane, walk.depth, window))
        prompts.append(np.array([row + window.top, col + window.left], dtype=float))
        priors.append(PreviousSlice(logits, walk.last.memory))
    if not moving:
        return
    answers = segment_windows([tomogram] * len(places), segmenter, places, prompts, priors, limit, config)
    for walk, answer in zip(moving, answers, strict=True):
        walk.go_on(answer)


def _first_window(
    tomogram: Voxels, point: Float[np.ndarray, " 3"], plane: Plane, config: PropagationConfig, diameter: float | None
) -> SliceWindow:
    """Window in which a walk starts: the whole slice, or a square around the point."""
    if config.window_diameters == 0:
        height, width = (tomogram.shape[axis] for axis in in_plane_axes(plane))
        return SliceWindow(plane, depth_of(tomogram, point, plane), Window(0, 0, height, width))
    size = config.window_voxels or _LARGEST_WINDOW
    if diameter is not None:
        size = max(16, round(config.window_diameters * diameter))
    return window_of(tomogram, point, plane, size)


def _follow(answer: SliceMask) -> Window:
    """The mask's window; it is centred on the mask again once this is more than an eighth of the window off centre."""
    rows, cols = np.nonzero(answer.mask)
    row, col = rows.mean() + answer.window.top, cols.mean() + answer.window.left
    centred = Window.around(row, col, answer.window.height)
    drift = max(abs(centred.top - answer.window.top), abs(centred.left - answer.window.left))
    return centred if drift > answer.window.height / 8 else answer.window


def _rewindow(logits: Image, source: Window, target: Window) -> Image:
    """Logits of one window, shifted into another window of the same size."""
    if source == target:
        return logits
    moved = np.full((target.height, target.width), UNSEEN, dtype=np.float32)
    shifted = target.moved(-source.top, -source.left)
    in_source, in_target = shifted.overlap(source.height, source.width)
    moved[in_target] = logits[in_source]
    return moved
