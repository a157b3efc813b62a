"""Cross-plane self-prompting: one point becomes one instance in 3D (DESIGN 1.1).

Through the point run three slices, one a plane. From each of them a promptable 2D segmenter walks in both directions;
on every next slice the prompts are its own last answer. Six walks give three stacks of masks, which are fused.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from cryosam.arrays import PLANES, Image, Images, Mask, Plane, Points, Progress
from cryosam.backends import Candidates, PromptSegmenter, SlicePrompts
from cryosam.config import Fusion, PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.masks import InstanceMask
from cryosam.tomogram import Tomogram

__all__ = ["View", "find_views", "follow", "propagate"]

_BATCH = 32  # windows that are embedded together
_WINDOWS = (16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256)  # voxels that are tried where nothing is known
_ACROSS = (25, 40, 64)  # those of them in which filaments are followed
_LARGEST_WINDOW = 256  # voxels, where neither the diameter nor the window's size is given
_NEARLY = 0.7  # of the best expected score: windows that show an object well enough
_LEAST_DIAMETER = 6.0  # voxels, of what is seen in a window
_UNSEEN = -20.0  # logit outside a window: certainly not the object


@dataclass(frozen=True)
class View:
    """How a segmenter sees an object best.

    Parameters
    ----------
    window
        Edge in voxels of the window in which the segmenter expects the best masks.
    diameter
        In voxels, of the disc as large as the object's median cross-section in the best window; None if it reaches
        beyond the window, or nothing is seen.
    across
        Edges of windows that would show it well enough if it were a filament, cut across.
    """

    window: int
    diameter: float | None
    across: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the segmenter said of one object in one slice."""

    depth: int
    window: Window
    logits: Image
    score: float

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        return np.asarray(self.logits > 0)


@dataclass(eq=False)
class _Walk:
    """One of the six walks from a point: its answers and where it has come to."""

    owner: int
    plane: Plane
    step: int
    last: _Answer
    depth: int
    answers: list[_Answer]
    has_stopped: bool = False


def propagate(
    tomogram: Tomogram,
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
        ``(n, 3)`` z, y, x in voxels, one a particle.
    segmenter
        Answers prompts in 2D.
    config
        Limits and fusion.
    diameter
        Of the particle in voxels, None if not known.
    progress
        Called with the number of points done.

    Returns
    -------
    instances
        One mask a point, in order; empty where the segmenter saw nothing.

    Notes
    -----
    Masks of neighbouring points may overlap: see `cryosam.masks.merge_duplicates`.

    Examples
    --------
    >>> from cryosam.backends.classical import ClassicalSegmenter
    >>> z, y, x = np.mgrid[:20, :22, :24]
    >>> ball = np.exp(-((z - 9) ** 2 + (y - 10) ** 2 + (x - 11) ** 2) / 20).astype(np.float32)
    >>> (mask,) = propagate(Tomogram(ball), np.array([[9.0, 10.0, 11.0]]), ClassicalSegmenter(), PropagationConfig())
    >>> mask.centroid
    array([ 9., 10., 11.])
    """
    masks: list[InstanceMask] = []
    n_together = max(1, _BATCH // len(PLANES))
    for start in range(0, len(points), n_together):
        walks = _walk_all(tomogram, points[start : start + n_together], segmenter, config, diameter)
        for owner in range(min(n_together, len(points) - start)):
            mine = [walk for walk in walks if walk.owner == owner]
            masks.append(_fuse(mine, points[start + owner], config.fusion, config.z_weight))
        if progress is not None:
            progress("segmenting", len(masks), len(points))
    return tuple(masks)


def find_views(tomogram: Tomogram, points: Points, segmenter: PromptSegmenter, config: PropagationConfig) -> list[View]:
    """How much of the surroundings of each point to show, where nothing is known of the object's size.

    The slices through a point are shown in windows of many sizes, and that size is taken at which the segmenter expects
    its masks to be best, on average over the planes.

    Parameters
    ----------
    tomogram, points, segmenter, config
        As in `propagate`.
    """
    choice = replace(config, min_score=0.0)
    views = []
    for point in points:
        answers: list[list[_Answer | None]] = []
        for plane in PLANES:
            places = [_window_of(tomogram, point, plane, size) for size in _WINDOWS]
            prompts = [np.asarray(point[list(in_plane_axes(plane))], dtype=float)] * len(_WINDOWS)
            answers.append(_ask(tomogram, plane, segmenter, places, prompts, None, np.inf, choice))
        seen = [[answer for answer in column if answer is not None] for column in zip(*answers, strict=True)]
        expected = np.array([sum(answer.score for answer in column) for column in seen])
        order = np.argsort(-expected, kind="stable")
        masks = [answer.mask for answer in seen[order[0]]]
        leaves = any(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any() for mask in masks)
        area = np.median([np.count_nonzero(mask) for mask in masks]) if masks else 0
        diameter = None if leaves or area == 0 else max(float(np.sqrt(4 * area / np.pi)), _LEAST_DIAMETER)
        good = [_WINDOWS[i] for i in order if expected[i] >= _NEARLY * expected[order[0]] and _WINDOWS[i] in _ACROSS]
        views.append(View(_WINDOWS[order[0]], diameter, tuple(good)))
    return views


def follow(
    tomogram: Tomogram,
    point: Float[np.ndarray, " 3"],
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    windows: Sequence[int],
) -> InstanceMask:
    """Segment what lies under a point in the slices of one plane alone, that in which the walks go farthest.

    Across a filament every slice shows all there is of it. Slices along it show a piece, as long as the segmenter takes
    it for, and these outvote the slices across it in the fusion.

    Parameters
    ----------
    tomogram, segmenter, config
        As in `propagate`.
    point
        z, y, x in voxels.
    windows
        Edges in voxels that are tried; that is taken in which the walk's scores have the largest sum.

    Returns
    -------
    instance
        Empty where the segmenter saw nothing.
    """
    best: list[_Walk] = []
    for window in windows:
        walks = _walk_all(tomogram, point[None], segmenter, replace(config, window_voxels=window), None)
        pairs = [[walk for walk in walks if walk.plane == plane] for plane in PLANES]
        best = max([best, *pairs], key=_total_score)
    return _fuse(best, point, "union", config.z_weight)


def _total_score(walks: Sequence[_Walk]) -> float:
    return sum(answer.score for walk in walks for answer in walk.answers)


def _walk_all(
    tomogram: Tomogram,
    points: Points,
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    diameter: float | None,
) -> list[_Walk]:
    """All six walks of every point, one slice a round; the slices of a round are embedded together."""
    limit = config.max_area if diameter is None else (config.max_area_diameters * diameter) ** 2
    reach = np.inf if diameter is None else config.max_walk_diameters * diameter
    walks = []
    for plane in PLANES:
        starts = [_first_window(tomogram, point, plane, config, diameter) for point in points]
        prompts = [np.asarray(point[list(in_plane_axes(plane))], dtype=float) for point in points]
        answers = _ask(tomogram, plane, segmenter, starts, prompts, None, limit, config)
        for owner, answer in enumerate(answers):
            if answer is not None:
                walks += [_Walk(owner, plane, step, answer, answer.depth, [answer]) for step in (1, -1)]
    while active := [walk for walk in walks if not walk.has_stopped]:
        for plane in PLANES:
            _advance(tomogram, [walk for walk in active if walk.plane == plane], segmenter, limit, reach, config)
    return walks


def _advance(
    tomogram: Tomogram,
    walks: Sequence[_Walk],
    segmenter: PromptSegmenter,
    limit: float,
    reach: float,
    config: PropagationConfig,
) -> None:
    """Take each walk of one plane one slice further, or stop it."""
    moving, places, prompts, priors = [], [], [], []
    for walk in walks:
        walk.depth += walk.step
        is_far = abs(walk.depth - walk.answers[0].depth) > reach
        if is_far or not 0 <= walk.depth < tomogram.shape[AXIS[walk.plane]]:
            walk.has_stopped = True
            continue
        window = walk.last.window if config.window_diameters == 0 else _follow(walk.last)
        prior = _rewindow(walk.last.logits, walk.last.window, window)
        row, col = np.unravel_index(int(np.argmax(prior)), prior.shape)
        moving.append(walk)
        places.append((walk.depth, window))
        prompts.append(np.array([row + window.top, col + window.left], dtype=float))
        priors.append(prior)
    if not moving:
        return
    answers = _ask(tomogram, moving[0].plane, segmenter, places, prompts, priors, limit, config)
    for walk, answer in zip(moving, answers, strict=True):
        if answer is None:
            walk.has_stopped = True
        else:
            walk.last = answer
            walk.answers.append(answer)


def _first_window(
    tomogram: Tomogram, point: Float[np.ndarray, " 3"], plane: Plane, config: PropagationConfig, diameter: float | None
) -> tuple[int, Window]:
    """Slice index and window through a point: whole slices, or a square around the point."""
    if config.window_diameters == 0:
        height, width = (tomogram.shape[axis] for axis in in_plane_axes(plane))
        return _depth_of(tomogram, point, plane), Window(0, 0, height, width)
    size = config.window_voxels or _LARGEST_WINDOW
    if diameter is not None:
        size = max(16, round(config.window_diameters * diameter))
    return _window_of(tomogram, point, plane, size)


def _window_of(tomogram: Tomogram, point: Float[np.ndarray, " 3"], plane: Plane, size: int) -> tuple[int, Window]:
    """Slice index and square window around a point."""
    row_axis, col_axis = in_plane_axes(plane)
    return _depth_of(tomogram, point, plane), Window.around(point[row_axis], point[col_axis], size)


def _depth_of(tomogram: Tomogram, point: Float[np.ndarray, " 3"], plane: Plane) -> int:
    return int(np.clip(round(float(point[AXIS[plane]])), 0, tomogram.shape[AXIS[plane]] - 1))


def _follow(answer: _Answer) -> Window:
    """The answer's window moved with its mask once that has drifted by more than an eighth of the window."""
    rows, cols = np.nonzero(answer.mask)
    row, col = rows.mean() + answer.window.top, cols.mean() + answer.window.left
    centred = Window.around(row, col, answer.window.height)
    drift = max(abs(centred.top - answer.window.top), abs(centred.left - answer.window.left))
    return centred if drift > answer.window.height / 8 else answer.window


def _rewindow(logits: Image, source: Window, target: Window) -> Image:
    """Logits of one window as another window of the same size sees them."""
    if source == target:
        return logits
    moved = np.full((target.height, target.width), _UNSEEN, dtype=np.float32)
    shifted = Window(target.top - source.top, target.left - source.left, target.height, target.width)
    in_source, in_target = shifted.overlap(source.height, source.width)
    moved[in_target] = logits[in_source]
    return moved


def _cut(image: Image, window: Window) -> Float[np.ndarray, "height width"]:
    """Window of a slice; outside the slice the median of what is inside."""
    inside, place = window.overlap(*image.shape)
    if image[inside].shape == (window.height, window.width):
        return image[inside]
    cut = np.full((window.height, window.width), np.median(image[inside]), dtype=np.float32)
    cut[place] = image[inside]
    return cut


def _ask(
    tomogram: Tomogram,
    plane: Plane,
    segmenter: PromptSegmenter,
    places: Sequence[tuple[int, Window]],
    prompts: Sequence[Float[np.ndarray, " 2"]],
    priors: Sequence[Image] | None,
    limit: float,
    config: PropagationConfig,
) -> list[_Answer | None]:
    """One prompt in each of some windows of one plane: the best admissible candidate, or None."""
    answers: list[_Answer | None] = [None] * len(places)
    for members in _same_size(places).values():
        for start in range(0, len(members), _BATCH):
            batch = members[start : start + _BATCH]
            unique = sorted({places[i] for i in batch}, key=lambda place: (place[0], place[1].top, place[1].left))
            images: Images = np.stack([_cut(tomogram.slice(plane, depth), window) for depth, window in unique])
            origins = np.array([[places[i][1].top, places[i][1].left] for i in batch], dtype=float)
            slice_prompts = SlicePrompts(
                image_index=np.array([unique.index(places[i]) for i in batch]),
                points=(np.stack([prompts[i] for i in batch]) - origins)[:, None, :],
                is_positive=np.ones((len(batch), 1), dtype=bool),
                logits=None if priors is None else np.stack([priors[i] for i in batch]),
            )
            candidates = segmenter.segment(segmenter.embed(images), slice_prompts)
            for row, i in enumerate(batch):
                _forget_outside(candidates.logits[row], places[i][1], tomogram, plane)
                prior = None if priors is None else priors[i]
                best = _best_candidate(candidates, row, prior, limit, config)
                if best is not None:
                    answers[i] = _Answer(*places[i], candidates.logits[row, best], float(candidates.scores[row, best]))
    return answers


def _forget_outside(logits: Float[np.ndarray, "k h w"], window: Window, tomogram: Tomogram, plane: Plane) -> None:
    """No object lies where a window reaches beyond its slice, whatever a segmenter makes of the filling there."""
    row_axis, col_axis = in_plane_axes(plane)
    _, place = window.overlap(tomogram.shape[row_axis], tomogram.shape[col_axis])
    known = logits[(slice(None), *place)].copy()
    logits[:] = _UNSEEN
    logits[(slice(None), *place)] = known


def _same_size(places: Sequence[tuple[int, Window]]) -> dict[tuple[int, int], list[int]]:
    """Indices of the places by their window's size."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (_, window) in enumerate(places):
        groups[window.height, window.width].append(index)
    return groups


def _best_candidate(
    candidates: Candidates, row: int, prior: Image | None, limit: float, config: PropagationConfig
) -> int | None:
    """Index of the best-scored candidate within the limits on area, score and IoU with the slice before."""
    best: int | None = None
    for k, score in enumerate(candidates.scores[row]):
        mask = candidates.logits[row, k] > 0
        area = int(np.count_nonzero(mask))
        if not 0 < area <= limit or score < config.min_score:
            continue
        if prior is not None:
            shared = int(np.count_nonzero(mask & (prior > 0)))
            if shared <= config.min_iou * (area + int(np.count_nonzero(prior > 0)) - shared):
                continue
        if best is None or score > candidates.scores[row, best]:
            best = k
    return best


def _fuse(walks: Sequence[_Walk], point: Float[np.ndarray, " 3"], fusion: Fusion, z_weight: float) -> InstanceMask:
    """One mask from the three planes' stacks: the connected part that is nearest to the point."""
    boxes = [_box(walk.plane, answer) for walk in walks for answer in walk.answers if answer.mask.any()]
    if not boxes:
        return InstanceMask.empty()
    low = np.min([b[0] for b in boxes], axis=0)
    high = np.max([b[1] for b in boxes], axis=0)
    stacks = {plane: np.full(high - low, np.nan, dtype=np.float32) for plane in PLANES}
    for walk in walks:
        for answer in walk.answers:
            _paint(stacks[walk.plane], low, walk.plane, answer)
    fused = _combine(stacks, fusion, z_weight)
    parts, n_parts = ndimage.label(fused)
    if n_parts == 0:
        return InstanceMask.empty()
    voxels = np.argwhere(fused)
    nearest = voxels[int(np.argmin(((voxels + low - point) ** 2).sum(axis=1)))]
    z, y, x = (int(c) for c in low)
    return InstanceMask.crop(np.asarray(parts == parts[tuple(nearest)]), (z, y, x))


def _box(plane: Plane, answer: _Answer) -> tuple[list[int], list[int]]:
    """First and one-past-last voxel of an answer's mask in the volume."""
    rows, cols = np.nonzero(answer.mask)
    low, high = [answer.depth] * 3, [answer.depth + 1] * 3
    for axis, values, origin in zip(
        in_plane_axes(plane), (rows, cols), (answer.window.top, answer.window.left), strict=True
    ):
        low[axis], high[axis] = int(values.min()) + origin, int(values.max()) + 1 + origin
    return low, high


def _paint(stack: Float[np.ndarray, "z y x"], low: Int[np.ndarray, " 3"], plane: Plane, answer: _Answer) -> None:
    """Write an answer's logits into its plane's stack, whose first voxel is ``low``."""
    row_axis, col_axis = in_plane_axes(plane)
    layer = np.moveaxis(stack, AXIS[plane], 0)[answer.depth - int(low[AXIS[plane]])]
    window = Window(
        answer.window.top - int(low[row_axis]),
        answer.window.left - int(low[col_axis]),
        answer.window.height,
        answer.window.width,
    )
    inside, place = window.overlap(*layer.shape)
    layer[inside] = answer.logits[place]


def _combine(stacks: dict[Plane, Float[np.ndarray, "z y x"]], fusion: Fusion, z_weight: float) -> Mask:
    """Fuse the planes' logits by vote, or by the weighted mean of their probabilities.

    A plane has no say (NaN) where its walk or its window did not come: a walk that noise stopped is no vote against.
    """
    weights = {"z": z_weight, "y": 1.0, "x": 1.0} if fusion == "soft" else dict.fromkeys(PLANES, 1.0)
    known = np.zeros(stacks["z"].shape, dtype=np.float32)
    total = np.zeros_like(known)
    for plane, logits in stacks.items():
        saw = ~np.isnan(logits)
        value = 1 / (1 + np.exp(-np.clip(logits[saw], -30, 30))) if fusion == "soft" else logits[saw] > 0
        known[saw] += weights[plane]
        total[saw] += weights[plane] * value
    if fusion == "union":
        return np.asarray(total > 0)
    if fusion == "intersection":
        return np.asarray((known > 0) & (total == known))
    return np.asarray(total > known / 2)
