"""How a promptable segmenter sees an object best, where nothing is known of the object's size and of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import PLANES, Plane, Points
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.slices import Answer, Place, ask, depth_of
from cryosam.tomogram import Tomogram

__all__ = ["View", "find_views"]

_WINDOWS = (16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256)  # voxels that are tried
_LEAST_TRIED = 64  # voxels: the inside of a large object alone may look like an object
_BEYOND = 3  # larger sizes are tried beyond that with the best expected mask
_SURE = 0.6  # expected score below which all sizes are tried
_SMOOTHINGS = (0.8, 1.7, 3.4)  # standard deviations in voxels that are tried
_PREFERENCE = 25.0  # a score that is lower by one in this many counts e times less
_HELD_BACK = 0.75  # of the smoothing that is expected to be best: masks are best a little sharper
_ACROSS = (25, 40, 64)  # windows in which filaments are followed
_NEARLY = 0.7  # of the best expected score: windows that show an object well enough
_LEAST_DIAMETER = 6.0  # voxels, of what is seen in a window


@dataclass(frozen=True)
class View:
    """How a segmenter sees an object best.

    Parameters
    ----------
    window
        Edge in voxels of the window in which the segmenter expects the best masks.
    smoothing
        Standard deviation in voxels of the Gaussian that suits the object and the noise.
    diameter
        In voxels, of the disc as large as the object's median cross-section, the mean over the views by how good their
        masks are expected to be; None if the best view's mask reaches beyond the window, or nothing is seen.
    across
        Edges of windows that would show it well enough if it were a filament, cut across; the best first.
    """

    window: int
    smoothing: float
    diameter: float | None
    across: tuple[int, ...]


def find_views(
    normalised: Tomogram, points: Points, segmenter: PromptSegmenter, config: PropagationConfig
) -> list[View]:
    """How to show each point to the segmenter.

    The slices through a point are shown in windows of growing size, smoothed more and less. How good the segmenter
    expects its masks to be, on average over the planes, tells the size of the object and how much noise there is.
    Large windows cost most: where the best expected mask lies behind, they are not tried.

    Parameters
    ----------
    normalised
        Voxels in [0, 1], protein bright.
    points, segmenter, config
        As in `cryosam.propagation.propagate`.
    """
    return [_find_view(normalised, point, segmenter, replace(config, min_score=0.0)) for point in points]


def _find_view(
    normalised: Tomogram, point: Float[np.ndarray, " 3"], segmenter: PromptSegmenter, config: PropagationConfig
) -> View:
    stacks = [_smoothed(normalised, plane, depth_of(normalised, point, plane)) for plane in PLANES]
    seen: list[list[Answer]] = []  # in the planes, of each window and smoothing
    for n_tried, size in enumerate(_WINDOWS, start=1):
        seen += _show(stacks, point, size, segmenter, config)
        scores = np.array([sum(answer.score for answer in answers) for answers in seen]) / len(PLANES)
        is_passed = int(np.argmax(scores)) < (n_tried - _BEYOND) * len(_SMOOTHINGS)
        if size >= _LEAST_TRIED and is_passed and scores.max() >= _SURE:
            break
    weights = np.exp(_PREFERENCE * (scores - scores.max()))
    sizes, smoothings = np.repeat(_WINDOWS[:n_tried], len(_SMOOTHINGS)), np.tile(_SMOOTHINGS, n_tried)
    diameters = np.maximum([_diameter(answers) for answers in seen], _LEAST_DIAMETER)
    best = int(np.argmax(scores))
    has_diameter = bool(seen[best]) and not any(_leaves(answer) for answer in seen[best])
    good = dict.fromkeys(int(sizes[i]) for i in np.argsort(-scores) if scores[i] >= _NEARLY * scores[best])
    return View(
        window=int(sizes[best]),
        smoothing=_HELD_BACK * float(np.exp(np.average(np.log(smoothings), weights=weights))),
        diameter=float(np.exp(np.average(np.log(diameters), weights=weights))) if has_diameter else None,
        across=tuple(size for size in good if size in _ACROSS),
    )


def _diameter(answers: Sequence[Answer]) -> float:
    """In voxels, of the disc as large as the median mask."""
    areas = [np.count_nonzero(answer.mask) for answer in answers]
    return float(np.sqrt(4 * np.median(areas) / np.pi)) if areas else 0.0


def _leaves(answer: Answer) -> bool:
    """Whether a mask reaches its window's border."""
    mask = answer.mask
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _smoothed(tomogram: Tomogram, plane: Plane, depth: int) -> Tomogram:
    """A slice of the tomogram as Gaussians in three dimensions would leave it, one slice for each of them."""
    axis = AXIS[plane]
    slices = []
    for sigma in _SMOOTHINGS:
        reach = int(np.ceil(4 * sigma))
        near = np.arange(max(0, depth - reach), min(tomogram.shape[axis], depth + reach + 1))
        weights = np.exp(-0.5 * ((near - depth) / sigma) ** 2)
        across = np.average(np.take(tomogram.data, near, axis=axis), axis=axis, weights=weights)
        slices.append(ndimage.gaussian_filter(across.astype(np.float32), sigma))
    return replace(tomogram, data=np.stack(slices, axis=axis))


def _show(
    stacks: Sequence[Tomogram],
    point: Float[np.ndarray, " 3"],
    size: int,
    segmenter: PromptSegmenter,
    config: PropagationConfig,
) -> list[list[Answer]]:
    """What is seen in windows of one size: for each smoothing the answers of those planes that have one."""
    seen: list[list[Answer]] = [[] for _ in _SMOOTHINGS]
    for plane, stack in zip(PLANES, stacks, strict=True):
        row, col = (float(point[axis]) for axis in in_plane_axes(plane))
        places = [Place(plane, i, Window.around(row, col, size)) for i in range(len(_SMOOTHINGS))]
        prompts = [np.array([row, col])] * len(places)
        for answers, answer in zip(seen, ask(stack, segmenter, places, prompts, None, np.inf, config), strict=True):
            if answer is not None:
                answers.append(answer)
    return seen
