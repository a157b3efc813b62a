"""Choice of window and smoothing for a segmenter, if neither the object's size nor the noise is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import PLANES, Plane, Points, Volume
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.instances.slices import SliceMask, SliceWindow, depth_of, disc_diameter, segment_windows
from cryosam.tomogram import Tomogram

__all__ = ["WindowChoice", "choose_windows"]

_WINDOWS = (16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256)  # edges in voxels that are tried
_LEAST_TRIED = 64  # all windows up to this size are tried: in smaller ones a part of a large object may look whole
_BEYOND = 3  # number of larger windows that are tried beyond the best one
_SURE = 0.6  # if the best expected score is below this, all windows are tried
_SMOOTHINGS = (0.8, 1.7, 3.4, 6.8)  # standard deviations in voxels that are tried
_COST = 0.05  # subtracted from the scores of the strongest smoothing, which is for what is hardly visible otherwise
_LAST = np.s_[len(_SMOOTHINGS) - 1 :: len(_SMOOTHINGS)]  # the trials with the strongest smoothing
_PREFERENCE = 25.0  # weights are exp(_PREFERENCE * score)
_HELD_BACK = 0.75  # factor on the smoothing with the best expected score: masks are best with a little less
_ACROSS = (25, 40, 64)  # windows in which filaments are followed
_NEARLY = 0.7  # windows with at least this share of the best expected score show an object well enough
_LEAST_DIAMETER = 6.0  # smallest diameter of an object in a window, in voxels


@dataclass(frozen=True)
class WindowChoice:
    """The window and the smoothing with which a segmenter is expected to give the best masks of an object.

    Parameters
    ----------
    window
        Edge in voxels of the window with the best expected score.
    smoothing
        Standard deviation in voxels of the Gaussian filter that suits the object and the noise.
    diameter
        Diameter, in voxels, of a disc with the area of the object's cross-section: a geometric mean over all trials,
        weighted by their expected scores. None if the masks of the best trial reach the border of the window, or if
        there are none.
    across
        Edges of windows that would show the cross-section of a filament well enough; the best one first.
    """

    window: int
    smoothing: float
    diameter: float | None
    across: tuple[int, ...]


def choose_windows(
    normalised: Tomogram, points: Points, segmenter: PromptSegmenter, config: PropagationConfig
) -> list[WindowChoice]:
    """Choose window and smoothing for each point.

    The slices through a point are segmented in windows of increasing size and with different smoothing. The scores that
    the segmenter expects for its masks, averaged over the planes, show which window and smoothing suit the object and
    the noise. Large windows are the most expensive: they are not tried if the best score is that of a much smaller one.

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
    seen: list[list[SliceMask]] = []  # masks in the planes, for each window and smoothing
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
    diameters = np.maximum([disc_diameter(answers) for answers in seen], _LEAST_DIAMETER)
    best = int(np.argmax(scores))
    has_diameter = bool(seen[best]) and not any(_leaves(answer) for answer in seen[best])
    good = dict.fromkeys(int(sizes[i]) for i in np.argsort(-scores) if scores[i] >= _NEARLY * scores[best])
    return WindowChoice(
        window=int(sizes[best]),
        smoothing=_HELD_BACK * float(np.exp(np.average(np.log(smoothings), weights=weights))),
        diameter=float(np.exp(np.average(np.log(diameters), weights=weights))) if has_diameter else None,
        across=tuple(size for size in good if size in _ACROSS),
    )


def _leaves(answer: SliceMask) -> bool:
    """Whether a mask reaches the border of its window."""
    mask = answer.mask
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


@dataclass(frozen=True, eq=False)
class _SmoothedSlices:
    """The slices around a point in one plane, with each smoothing: one stack of slices per smoothing, concatenated.

    Parameters
    ----------
    plane
        The plane of the slices; the stacks are concatenated along its axis.
    tomogram
        The concatenated stacks.
    depths
        For each smoothing, the index of the slice through the point.
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
        """The slice through a point and its neighbours, smoothed with 3D Gaussian filters."""
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
    """Segment windows of one size; for each smoothing, the masks of the planes in which there is one."""
    sources, places, prompts = [], [], []
    for stack in stacks:
        window = Window.around(float(stack.prompt[0]), float(stack.prompt[1]), size)
        places += [SliceWindow(stack.plane, depth, window) for depth in stack.depths]
        sources += [stack.tomogram] * len(stack.depths)
        prompts += [stack.prompt] * len(stack.depths)
    found = segment_windows(sources, segmenter, places, prompts, None, np.inf, config)
    of_each = [found[i :: len(_SMOOTHINGS)] for i in range(len(_SMOOTHINGS))]
    return [[answer for answer in answers if answer is not None] for answers in of_each]
