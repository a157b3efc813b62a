"""How a promptable segmenter sees an object best, where nothing is known of the object's size and of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import PLANES, Plane, Points, Volume
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.instances.slices import SliceMask, SliceWindow, depth_of, segment_windows
from cryosam.tomogram import Tomogram

__all__ = ["WindowChoice", "choose_windows"]

_WINDOWS = (16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256)  # voxels that are tried
_LEAST_TRIED = 64  # voxels: the inside of a large object alone may look like an object
_BEYOND = 3  # larger sizes are tried beyond that with the best expected mask
_SURE = 0.6  # expected score below which all sizes are tried
_SMOOTHINGS = (0.8, 1.7, 3.4, 6.8)  # standard deviations in voxels that are tried
_COST = 0.05  # of the last one, in expected score: it blurs, and is for what is hardly seen else
_LAST = np.s_[len(_SMOOTHINGS) - 1 :: len(_SMOOTHINGS)]  # of what is seen: the views that are smoothed most
_PREFERENCE = 25.0  # a score that is lower by one in this many counts e times less
_HELD_BACK = 0.75  # of the smoothing that is expected to be best: masks are best a little sharper
_ACROSS = (25, 40, 64)  # windows in which filaments are followed
_NEARLY = 0.7  # of the best expected score: windows that show an object well enough
_LEAST_DIAMETER = 6.0  # voxels, of what is seen in a window


@dataclass(frozen=True)
class WindowChoice:
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


def choose_windows(
    normalised: Tomogram, points: Points, segmenter: PromptSegmenter, config: PropagationConfig
) -> list[WindowChoice]:
    """How to show each point to the segmenter.

    The slices through a point are shown in windows of growing size, smoothed more and less. How good the segmenter
    expects its masks to be, on average over the planes, tells the size of the object and how much noise there is.
    Large windows cost most: where the best expected mask lies behind, they are not tried.

    Parameters
    ----------
    normalised
        Voxels in [0, 1], protein bright.
    points, segmenter, config
        As in `cryosam.instances.propagation.propagate`.
    """
    return [_choose_window(normalised, point, segmenter, replace(config, min_score=0.0)) for point in points]


def _choose_window(
    normalised: Tomogram, point: Float[np.ndarray, " 3"], segmenter: PromptSegmenter, config: PropagationConfig
) -> WindowChoice:
    n_beside = max(abs(offset) for size in _WINDOWS for offset in (0, *segmenter.beside(size, size)))
    stacks = [_SmoothedSlices.around(normalised, point, plane, n_beside) for plane in PLANES]
    seen: list[list[SliceMask]] = []  # in the planes, of each window and smoothing
    for n_tried, size in enumerate(_WINDOWS, start=1):
        seen += _show(stacks, size, segmenter, config)
        scores = np.array([sum(answer.score for answer in answers) for answers in seen]) / len(PLANES)
        scores[_LAST] -= _COST
        is_passed = int(np.argmax(scores)) < (n_tried - _BEYOND) * len(_SMOOTHINGS)
        if size >= _LEAST_TRIED and is_passed and scores.max() >= _SURE:
            break
    if scores[_LAST].max() < scores.max():
        scores[_LAST] = -np.inf
    weights = np.exp(_PREFERENCE * (scores - scores.max()))
    sizes, smoothings = np.repeat(_WINDOWS[:n_tried], len(_SMOOTHINGS)), np.tile(_SMOOTHINGS, n_tried)
    diameters = np.maximum([_diameter(answers) for answers in seen], _LEAST_DIAMETER)
    best = int(np.argmax(scores))
    has_diameter = bool(seen[best]) and not any(_leaves(answer) for answer in seen[best])
    good = dict.fromkeys(int(sizes[i]) for i in np.argsort(-scores) if scores[i] >= _NEARLY * scores[best])
    return WindowChoice(
        window=int(sizes[best]),
        smoothing=_HELD_BACK * float(np.exp(np.average(np.log(smoothings), weights=weights))),
        diameter=float(np.exp(np.average(np.log(diameters), weights=weights))) if has_diameter else None,
        across=tuple(size for size in good if size in _ACROSS),
    )


def _diameter(answers: Sequence[SliceMask]) -> float:
    """In voxels, of the disc as large as the median mask."""
    areas = [np.count_nonzero(answer.mask) for answer in answers]
    return float(np.sqrt(4 * np.median(areas) / np.pi)) if areas else 0.0


def _leaves(answer: SliceMask) -> bool:
    """Whether a mask reaches its window's border."""
    mask = answer.mask
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


@dataclass(frozen=True, eq=False)
class _SmoothedSlices:
    """What lies around a point in a plane, smoothed more and less, one stack of slices upon the other.

    Parameters
    ----------
    plane
        Its axis is that of the stacks.
    tomogram
        The stacks.
    depths
        Index of the slice through the point, of each smoothing.
    prompt
        Row and column of the point.
    """

    plane: Plane
    tomogram: Tomogram
    depths: tuple[int, ...]
    prompt: Float[np.ndarray, " 2"]

    @classmethod
    def around(
        cls, tomogram: Tomogram, point: Float[np.ndarray, " 3"], plane: Plane, n_beside: int
    ) -> "_SmoothedSlices":
        """The slice through a point, and some beside it, as Gaussians in three dimensions would leave them."""
        axis, depth = AXIS[plane], depth_of(tomogram, point, plane)
        wanted = np.clip(depth + np.arange(-n_beside, n_beside + 1), 0, tomogram.shape[axis] - 1)
        stacks = []
        for sigma in _SMOOTHINGS:
            reach = n_beside + int(np.ceil(4 * sigma))
            near = np.arange(max(0, depth - reach), min(tomogram.shape[axis], depth + reach + 1))
            weights = np.exp(-0.5 * ((wanted[:, None] - near) / sigma) ** 2)
            weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
            images = np.tensordot(weights, np.moveaxis(np.take(tomogram.data, near, axis=axis), axis, 0), axes=1)
            stacks.append([ndimage.gaussian_filter(image, sigma) for image in images])
        data: Volume = np.moveaxis(np.concatenate(stacks), 0, axis)
        depths = tuple(range(n_beside, len(_SMOOTHINGS) * len(wanted), len(wanted)))
        prompt = np.array([float(point[a]) for a in in_plane_axes(plane)])
        return cls(plane, replace(tomogram, data=data), depths, prompt)


def _show(
    stacks: Sequence[_SmoothedSlices], size: int, segmenter: PromptSegmenter, config: PropagationConfig
) -> list[list[SliceMask]]:
    """What is seen in windows of one size: for each smoothing the answers of those planes that have one."""
    sources, places, prompts = [], [], []
    for stack in stacks:
        window = Window.around(float(stack.prompt[0]), float(stack.prompt[1]), size)
        places += [SliceWindow(stack.plane, depth, window) for depth in stack.depths]
        sources += [stack.tomogram] * len(stack.depths)
        prompts += [stack.prompt] * len(stack.depths)
    found = segment_windows(sources, segmenter, places, prompts, None, np.inf, config)
    of_each = [found[i :: len(_SMOOTHINGS)] for i in range(len(_SMOOTHINGS))]
    return [[answer for answer in answers if answer is not None] for answers in of_each]
