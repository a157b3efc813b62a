"""A promptable 2D segmenter without weights: thresholds, and a watershed that separates touching neighbours.

A particle is a region denser than its surroundings. Its level is measured at the prompt, that of the surroundings is
the median of the window, and the edge of the mask is at a fixed fraction between the two. A watershed separates
neighbours that touch: it starts from cores, which are connected regions above a higher level. The three candidates
differ in the level of their cores, so they are nested.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.segmentation import watershed

from cryosam.arrays import Image, Images
from cryosam.backends.protocols import MaskCandidates, SlicePrompts

__all__ = ["ClassicalSegmenter"]

_EDGE_LEVEL = 0.55  # level of the edge: 0 is the level of the surroundings, 1 that of the object
_CORE_LEVELS = (0.55, 0.7, 0.85)  # levels of the cores, likewise
_LEAST_CONTRAST = 1.5  # lowest level of the edge above the surroundings, in standard deviations of the window's noise
_REACH = 3  # a prompt may miss the object by this many pixels
_MEMORY = 1.0  # weight of the mask prompt: where it is certain, it shifts the density by this many standard deviations


@dataclass(frozen=True, eq=False)
class _Embedding:
    """Windows, each with the level and the noise of its surroundings."""

    images: Images
    background: Float[np.ndarray, " n"]
    noise: Float[np.ndarray, " n"]


class ClassicalSegmenter:
    """Promptable segmenter for denoised slices (a `PromptSegmenter`).

    Examples
    --------
    >>> rows, cols = np.mgrid[:21, :25]
    >>> disc = (np.hypot(rows - 10, cols - 12) < 6).astype(np.float32)
    >>> prompts = SlicePrompts(np.array([0]), np.array([[[10.0, 12.0]]]), np.array([[True]]))
    >>> segmenter = ClassicalSegmenter()
    >>> candidates = segmenter.segment(segmenter.embed(disc[None]), prompts)
    >>> bool(((candidates.logits[0, 0] > 0) == (disc > 0)).all())
    True
    """

    @property
    def digest(self) -> str:
        """Digest of the settings."""
        settings = (_EDGE_LEVEL, _CORE_LEVELS, _LEAST_CONTRAST, _REACH, _MEMORY)
        return hashlib.sha256(f"classical-2 {settings}".encode()).hexdigest()

    def beside(self, height: int, width: int) -> tuple[int, ...]:  # noqa: ARG002
        """No neighbouring slices are needed."""
        return ()

    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> _Embedding:  # noqa: ARG002
        """Measure the level and the noise of each window's surroundings; see `PromptSegmenter.embed`."""
        background = np.median(images, axis=(1, 2))
        below = np.minimum(
            images - background[:, None, None], 0
        )  # noise is measured below the median, because objects lie above it
        noise = np.sqrt((below**2).sum(axis=(1, 2)) / np.maximum((below < 0).sum(axis=(1, 2)), 1))
        return _Embedding(images, background, np.maximum(noise, 1e-6))

    def segment(self, embedding: _Embedding, prompts: SlicePrompts) -> MaskCandidates:
        """Three nested candidates for each object; see `PromptSegmenter.segment`."""
        n, (_, height, width) = len(prompts.image_index), embedding.images.shape
        logits = np.empty((n, len(_CORE_LEVELS), height, width), dtype=np.float32)
        scores = np.zeros((n, len(_CORE_LEVELS)), dtype=np.float32)
        for i, index in enumerate(prompts.image_index):
            level = (float(embedding.background[index]), float(embedding.noise[index]))
            allowed = _allowed(prompts, i, (height, width))
            logits[i], scores[i] = _segment_object(
                embedding.images[index],
                *level,
                prompts.points[i][prompts.is_positive[i]],
                prompts.points[i][~prompts.is_positive[i]],
                None if prompts.logits is None else prompts.logits[i],
                allowed,
            )
        return MaskCandidates(logits, scores)


def _allowed(prompts: SlicePrompts, i: int, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
    """Pixels within the object's box, or None without a box."""
    if prompts.boxes is None:
        return None
    top, left, bottom, right = prompts.boxes[i]
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows >= top) & (rows <= bottom) & (cols >= left) & (cols <= right))


def _segment_object(
    image: Image,
    background: float,
    noise: float,
    positive: Float[np.ndarray, "p 2"],
    negative: Float[np.ndarray, "q 2"],
    prior: Float[np.ndarray, "h w"] | None,
    allowed: Bool[np.ndarray, "h w"] | None,
) -> tuple[Float[np.ndarray, "k h w"], Float[np.ndarray, " k"]]:
    """Logits and scores of one object's candidates, largest first."""
    excess = image - background
    if allowed is not None:
        excess = np.where(allowed, excess, -np.inf)
    if len(positive) == 0:
        positive = _densest_in(excess)
    anchors = [_densest_near(excess, p) for p in positive]
    reference = _object_level(excess, anchors, prior)
    edge = max(_EDGE_LEVEL * reference, _LEAST_CONTRAST * noise)
    soft = (excess - edge) / noise
    if prior is not None:
        soft += _MEMORY * np.tanh(prior)
    foreground = soft > 0
    outside = np.minimum(soft, -1.0)
    logits = np.empty((len(_CORE_LEVELS), *image.shape), dtype=np.float32)
    scores = np.zeros(len(_CORE_LEVELS), dtype=np.float32)
    for k, core in enumerate(_CORE_LEVELS):
        mask = _flood(excess, foreground, max(core * reference, edge), anchors, negative)
        filled = ndimage.binary_fill_holes(mask)
        logits[k] = np.where(mask, soft, np.where(filled, 1.0, outside))
        scores[k] = _score(excess, np.asarray(filled), foreground, noise, prior)
    return np.maximum(logits, -20.0), scores


def _densest_near(excess: Image, point: Float[np.ndarray, " 2"]) -> tuple[int, int]:
    """The densest pixel in a small square around a prompt."""
    row, col = (int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(point, excess.shape, strict=True))
    top, left = max(0, row - _REACH), max(0, col - _REACH)
    patch = excess[top : row + _REACH + 1, left : col + _REACH + 1]
    best = np.unravel_index(int(np.argmax(patch)), patch.shape)
    return top + int(best[0]), left + int(best[1])


def _densest_in(excess: Image) -> Float[np.ndarray, "1 2"]:
    """The densest pixel, used as the point if a box was given without one."""
    return np.array([np.unravel_index(int(np.argmax(excess)), excess.shape)], dtype=float)


def _object_level(excess: Image, anchors: list[tuple[int, int]], prior: Float[np.ndarray, "h w"] | None) -> float:
    """Level of the object above its surroundings: the median of the pixels around a prompt above half of a peak value.

    The peak value is that at the prompts, or a high percentile under the mask prompt if that is larger. The peak value
    itself is too noisy a measure of the level.
    """
    peak = float(np.median([excess[anchor] for anchor in anchors]))
    if prior is not None and (prior > 0).any():
        peak = max(peak, float(np.percentile(excess[prior > 0], 75)))
    if peak <= 0:
        return 0.0
    parts, _ = ndimage.label(excess > 0.5 * peak)
    levels = [float(np.median(excess[parts == parts[anchor]])) for anchor in anchors if parts[anchor]]
    return float(np.mean(levels)) if levels else peak


def _flood(
    excess: Image,
    foreground: Bool[np.ndarray, "h w"],
    core_level: float,
    anchors: list[tuple[int, int]],
    negative: Float[np.ndarray, "q 2"],
) -> Bool[np.ndarray, "h w"]:
    """Part of the foreground that a watershed from all cores assigns to the cores under the anchors."""
    cores, n_cores = ndimage.label(excess > core_level)
    mine = {int(cores[a]) for a in anchors} - {0}
    for point in negative:
        row, col = (int(np.clip(round(float(c)), 0, n - 1)) for c, n in zip(point, excess.shape, strict=True))
        mine.discard(int(cores[row, col]))
    if not mine:
        return np.zeros_like(foreground)
    if n_cores == 1:
        markers, _ = ndimage.label(foreground)
        return np.asarray(markers == markers[np.nonzero(cores)][0])
    regions = watershed(-excess, cores, mask=foreground)
    return np.isin(regions, list(mine))


def _score(
    excess: Image,
    mask: Bool[np.ndarray, "h w"],
    foreground: Bool[np.ndarray, "h w"],
    noise: float,
    prior: Float[np.ndarray, "h w"] | None,
) -> float:
    """Predicted IoU: grows with the contrast, and is lowered if the rim touches neighbours or the window's border.

    With a mask prompt it is the mean of this value and the IoU with that mask.
    """
    n = int(np.count_nonzero(mask))
    if n == 0:
        return 0.0
    rim = ndimage.binary_dilation(mask) & ~mask
    contrast = float(excess[mask].mean()) / noise
    sharp = 1 - float(np.count_nonzero(rim & foreground)) / max(int(np.count_nonzero(rim)), 1)
    border = sum(int(np.count_nonzero(side)) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    closed = 1 - border / max(border + int(np.count_nonzero(rim)), 1)
    score = contrast / (contrast + 1) * (0.5 + 0.5 * sharp) * closed
    if prior is not None:
        shared = int(np.count_nonzero(mask & (prior > 0)))
        union = n + int(np.count_nonzero(prior > 0)) - shared
        score = 0.5 * (score + shared / union)
    return float(np.clip(score, 0, 1))
