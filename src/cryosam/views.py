"""How a promptable segmenter sees an object best, where nothing is known of the object's size and of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import PLANES, Image, Plane, Points
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.slices import Answer, ask, depth_of
from cryosam.tomogram import Tomogram

__all__ = ["View", "find_views"]

_WINDOWS = (16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256)  # voxels that are tried
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
        Edges of windows that would show it well enough if it were a filament, cut across.
    """

    window: int
    smoothing: float
    diameter: float | None
    across: tuple[int, ...]


def find_views(
    normalised: Tomogram, points: Points, segmenter: PromptSegmenter, config: PropagationConfig
) -> list[View]:
    """How to show each point to the segmenter.

    The slices through a point are shown in windows of many sizes, smoothed more and less. How good the segmenter
    expects its masks to be, on average over the planes, tells the size of the object and how much noise there is.

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
    answers: list[list[Answer | None]] = []
    for plane in PLANES:
        row, col = (float(point[axis]) for axis in in_plane_axes(plane))
        places = [(0, Window.around(row, col, size)) for size in _WINDOWS]
        prompts = [np.array([row, col])] * len(_WINDOWS)
        answers.append([])
        for sigma in _SMOOTHINGS:
            image = _smooth_slice(normalised, plane, depth_of(normalised, point, plane), sigma)
            thin = replace(normalised, data=np.expand_dims(image, AXIS[plane]))
            answers[-1] += ask(thin, plane, segmenter, places, prompts, None, np.inf, config)
    seen = [[answer for answer in column if answer is not None] for column in zip(*answers, strict=True)]
    scores = np.array([sum(answer.score for answer in column) for column in seen]) / len(PLANES)
    weights = np.exp(_PREFERENCE * (scores - scores.max()))
    smoothings, sizes = np.repeat(_SMOOTHINGS, len(_WINDOWS)), np.tile(_WINDOWS, len(_SMOOTHINGS))
    diameters = np.maximum([_diameter(column) for column in seen], _LEAST_DIAMETER)
    best = int(np.argmax(scores))
    has_diameter = bool(seen[best]) and not any(_leaves(answer) for answer in seen[best])
    good = {int(size) for size in sizes[scores >= _NEARLY * scores[best]]}
    return View(
        window=int(sizes[best]),
        smoothing=_HELD_BACK * float(np.exp(np.average(np.log(smoothings), weights=weights))),
        diameter=float(np.exp(np.average(np.log(diameters), weights=weights))) if has_diameter else None,
        across=tuple(size for size in _ACROSS if size in good),
    )


def _diameter(answers: Sequence[Answer]) -> float:
    """In voxels, of the disc as large as the median mask."""
    areas = [np.count_nonzero(answer.mask) for answer in answers]
    return float(np.sqrt(4 * np.median(areas) / np.pi)) if areas else 0.0


def _leaves(answer: Answer) -> bool:
    """Whether a mask reaches its window's border."""
    mask = answer.mask
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _smooth_slice(tomogram: Tomogram, plane: Plane, depth: int, sigma: float) -> Image:
    """A slice of the tomogram as a Gaussian in three dimensions would leave it."""
    axis, reach = AXIS[plane], int(np.ceil(4 * sigma))
    near = np.arange(max(0, depth - reach), min(tomogram.shape[axis], depth + reach + 1))
    weights = np.exp(-0.5 * ((near - depth) / sigma) ** 2)
    across = np.average(np.take(tomogram.data, near, axis=axis), axis=axis, weights=weights)
    smooth: Image = ndimage.gaussian_filter(across.astype(np.float32), sigma)
    return smooth
