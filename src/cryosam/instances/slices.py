"""Segmentation of windows of slices with a promptable 2D segmenter: the step that every walk repeats."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import Image, Images, Plane
from cryosam.backends import MaskCandidates, PromptSegmenter, SlicePrompts
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.tomogram import Voxels

__all__ = [
    "BATCH",
    "UNSEEN",
    "CachingSegmenter",
    "MemorylessSegmenter",
    "PreviousSlice",
    "SliceMask",
    "SliceWindow",
    "cut",
    "depth_of",
    "disc_diameter",
    "segment_windows",
    "window_of",
]

BATCH = 32  # windows that are embedded together
UNSEEN = -20.0  # logit outside a window, which means certainly not the object
_BATCH_PX = 8_000_000  # most pixels in a batch: batches of large windows are smaller
_MARGIN = 8  # voxels around a mask in which its logits are kept


class SliceWindow(NamedTuple):
    """A window of the slice with index ``depth`` of a plane."""

    plane: Plane
    depth: int
    window: Window


class PreviousSlice(NamedTuple):
    """The result for an object in the previous slice: its logits in the present window, and the segmenter's memory."""

    logits: Image
    memory: Float[np.ndarray, " m"] | None


@dataclass(frozen=True, eq=False)
class SliceMask:
    """The segmenter's mask of one object in one slice.

    Parameters
    ----------
    depth
        Index of the slice.
    window
        The part of the slice that ``logits`` cover.
    logits
        ``(h, w)`` for the window's voxels, positive in the object.
    score
        The IoU with the true cross-section that the segmenter expects, in [0, 1].
    seen
        The window that the segmenter saw, if ``window`` was cropped to the object; otherwise None.
    memory
        ``(m,)`` what the segmenter remembers of the object for the next slice, or None.
    """

    depth: int
    window: Window
    logits: Image
    score: float
    seen: Window | None = None
    memory: Float[np.ndarray, " m"] | None = None

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """True in the object; ``(h, w)`` as the window."""
        return np.asarray(self.logits > 0)

    def cropped(self) -> "SliceMask":
        """The same, with only the logits in and near the mask; all others count as certainly not the object."""
        rows, cols = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        top, left = (max(0, int(hit[0]) - _MARGIN) for hit in (rows, cols))
        logits = self.logits[top : int(rows[-1]) + _MARGIN + 1, left : int(cols[-1]) + _MARGIN + 1].copy()
        window = Window(self.window.top + top, self.window.left + left, *logits.shape)
        return replace(self, window=window, logits=logits, seen=self.seen or self.window)


class CachingSegmenter:
    """A segmenter that reuses the embedding if it is shown the same images twice in a row (a `PromptSegmenter`)."""

    def __init__(self, segmenter: PromptSegmenter) -> None:
        self._segmenter = segmenter
        self.beside = segmenter.beside
        self._last: tuple[Images, Float[np.ndarray, "n s h w"] | None, Any] | None = None

    @property
    def digest(self) -> str:
        """The digest of the wrapped segmenter."""
        return self._segmenter.digest

    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> Any:
        """The embedding of the images; see `PromptSegmenter.embed`."""
        last = self._last
        is_new = last is None or not np.array_equal(images, last[0]) or not _are_equal(beside, last[1])
        if last is None or is_new:
            last = self._last = images, beside, self._segmenter.embed(images, beside)
        return last[2]

    def segment(self, embedding: Any, prompts: SlicePrompts) -> MaskCandidates:
        """The segmenter's candidates."""
        return self._segmenter.segment(embedding, prompts)


class MemorylessSegmenter:
    """A segmenter without memory of the previous slice (a `PromptSegmenter`)."""

    def __init__(self, segmenter: PromptSegmenter) -> None:
        self._segmenter = segmenter
        self.beside, self.embed = segmenter.beside, segmenter.embed

    @property
    def digest(self) -> str:
        """The digest of the wrapped segmenter."""
        return self._segmenter.digest

    def segment(self, embedding: Any, prompts: SlicePrompts) -> MaskCandidates:
        """The segmenter's candidates, without their memory."""
        return replace(self._segmenter.segment(embedding, prompts), memory=None)


def _are_equal(some: Float[np.ndarray, "..."] | None, others: Float[np.ndarray, "..."] | None) -> bool:
    return some is others or (some is not None and others is not None and np.array_equal(some, others))


def window_of(tomogram: Voxels, point: Float[np.ndarray, " 3"], plane: Plane, size: int) -> SliceWindow:
    """A square window around a point, in the nearest slice of a plane."""
    row_axis, col_axis = in_plane_axes(plane)
    return SliceWindow(plane, depth_of(tomogram, point, plane), Window.around(point[row_axis], point[col_axis], size))


def disc_diameter(masks: Sequence[SliceMask]) -> float:
    """Diameter, in voxels, of a disc with the median area of some masks; 0 if there are none.

    Examples
    --------
    >>> square = SliceMask(0, Window(0, 0, 10, 10), np.ones((10, 10), dtype=np.float32), 0.9)
    >>> round(disc_diameter([square]), 1)
    11.3
    """
    areas = [np.count_nonzero(each.mask) for each in masks]
    return float(np.sqrt(4 * np.median(areas) / np.pi)) if areas else 0.0


def depth_of(tomogram: Voxels, point: Float[np.ndarray, " 3"], plane: Plane) -> int:
    """Index of the slice of a plane that is nearest to a point."""
    return int(np.clip(round(float(point[AXIS[plane]])), 0, tomogram.shape[AXIS[plane]] - 1))


def cut(voxels: Voxels, place: SliceWindow, offsets: Sequence[int]) -> Float[np.ndarray, "s height width"]:
    """Cut a window out of a slice and of its neighbouring slices; ``(1 + s, h, w)``, the slice itself first.

    Parameters
    ----------
    voxels
        Normalised.
    place
        The window; outside the slice it is filled with the median of the pixels inside.
    offsets
        Offsets of the s neighbouring slices from the slice; beyond the volume its last slice is repeated.
    """
    plane, depth, window = place
    rows, cols = in_plane_axes(plane)
    inside, at = window.overlap(voxels.shape[rows], voxels.shape[cols])
    depths = np.clip(depth + np.array([0, *offsets]), 0, voxels.shape[AXIS[plane]] - 1)
    box = [slice(depths.min(), depths.max() + 1)] * 3
    box[rows], box[cols] = inside
    images = np.moveaxis(voxels.crop((box[0], box[1], box[2])), AXIS[plane], 0)[depths - depths.min()]
    if images.shape[1:] == (window.height, window.width):
        return images
    cut = np.full((len(images), window.height, window.width), np.median(images[0]), dtype=np.float32)
    cut[:, *at] = images
    return cut


def segment_windows(
    sources: Sequence[Voxels],
    segmenter: PromptSegmenter,
    places: Sequence[SliceWindow],
    prompts: Sequence[Float[np.ndarray, " 2"]],
    priors: Sequence[PreviousSlice] | None,
    limit: float,
    config: PropagationConfig,
) -> list[SliceMask | None]:
    """Segment one object in each of several windows of slices.

    Parameters
    ----------
    sources
        The normalised voxels from which each window is cut.
    segmenter
        A promptable 2D segmenter.
    places
        The window for each object.
    prompts
        Row and column of the point prompt for each object, in voxels of the slice.
    priors
        The result for each object in the previous slice, or None.
    limit
        Largest area of a mask, in square voxels.
    config
        Least score, and least IoU with the mask of the previous slice.

    Returns
    -------
    answers
        For each object the candidate with the best score among those within the limits, or None.
    """
    answers: list[SliceMask | None] = [None] * len(places)
    for (height, width), members in _same_size(places).items():
        offsets, size = segmenter.beside(height, width), max(1, min(BATCH, _BATCH_PX // (height * width)))
        for start in range(0, len(members), size):
            batch = members[start : start + size]
            windows = [(id(sources[i]), places[i]) for i in batch]
            unique = dict(zip(windows, batch, strict=True))
            shown = np.stack([cut(sources[i], places[i], offsets) for i in unique.values()])
            origins = np.array([[places[i].window.top, places[i].window.left] for i in batch], dtype=float)
            slice_prompts = SlicePrompts(
                image_index=np.array([list(unique).index(window) for window in windows]),
                points=(np.stack([prompts[i] for i in batch]) - origins)[:, None, :],
                is_positive=np.ones((len(batch), 1), dtype=bool),
                logits=None if priors is None else np.stack([priors[i].logits for i in batch]),
                memory=None if priors is None else _memory_of([priors[i] for i in batch]),
            )
            embedding = segmenter.embed(shown[:, 0], shown[:, 1:] if offsets else None)
            candidates = segmenter.segment(embedding, slice_prompts)
            for row, i in enumerate(batch):
                _forget_outside(candidates.logits[row], places[i], sources[i])
                prior = None if priors is None else priors[i].logits
                best = _best_candidate(candidates, row, prior, limit, config)
                if best is not None:
                    _, depth, window = places[i]
                    logits = candidates.logits[row, best].copy()  # a view would keep the whole batch in memory
                    memory = None if candidates.memory is None else candidates.memory[row, best].copy()
                    answers[i] = SliceMask(depth, window, logits, float(candidates.scores[row, best]), memory=memory)
    return answers


def _memory_of(priors: Sequence[PreviousSlice]) -> Float[np.ndarray, "n m"] | None:
    """The segmenter's memory of each object; None unless there is one for every object."""
    known = [prior.memory for prior in priors if prior.memory is not None]
    return np.stack(known) if len(known) == len(priors) else None


def _forget_outside(logits: Float[np.ndarray, "k h w"], place: SliceWindow, tomogram: Voxels) -> None:
    """Mark the part of a window that lies outside its slice as certainly not the object."""
    row_axis, col_axis = in_plane_axes(place.plane)
    _, inside = place.window.overlap(tomogram.shape[row_axis], tomogram.shape[col_axis])
    if logits[0][inside].shape == logits[0].shape:
        return
    known = logits[(slice(None), *inside)].copy()
    logits[:] = UNSEEN
    logits[(slice(None), *inside)] = known


def _same_size(places: Sequence[SliceWindow]) -> dict[tuple[int, int], list[int]]:
    """Indices of the windows, grouped by window size."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        groups[place.window.height, place.window.width].append(index)
    return groups


def _best_candidate(
    candidates: MaskCandidates, row: int, prior: Image | None, limit: float, config: PropagationConfig
) -> int | None:
    """Index of the best-scored candidate within the limits on area, score and IoU with the previous slice."""
    masks = candidates.logits[row] > 0
    areas = np.count_nonzero(masks, axis=(1, 2))
    is_fit = (areas > 0) & (areas <= limit) & (candidates.scores[row] >= config.min_score)
    if prior is not None and is_fit.any():
        before = prior > 0
        shared = np.count_nonzero(masks & before, axis=(1, 2))
        is_fit &= shared > config.min_iou * (areas + np.count_nonzero(before) - shared)
    return int(np.argmax(np.where(is_fit, candidates.scores[row], -1))) if is_fit.any() else None
