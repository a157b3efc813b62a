"""Interfaces of the models. Backends keep no state between calls: embed images once, prompt them many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryosam.arrays import Images, Volume

__all__ = [
    "DescriptorPart",
    "FeatureExtractor",
    "MaskCandidates",
    "PromptSegmenter",
    "SlicePrompts",
    "VolumeDescriptor",
]


@runtime_checkable
class FeatureExtractor(Protocol):
    """A 2D model that computes one token per patch."""

    @property
    def digest(self) -> str:
        """Digest of the weights and settings, for caches and provenance."""

    @property
    def n_channels(self) -> int:
        """Numbers per token."""

    @property
    def patch_px(self) -> int:
        """Edge of a patch in pixels."""

    def extract(self, images: Images) -> Float[Tensor, "n c rows cols"]:
        """Tokens of images.

        Parameters
        ----------
        images
            ``(n, h, w)`` in [0, 1], protein bright; h and w are multiples of `patch_px`.

        Returns
        -------
        tokens
            ``(n, c, h / patch_px, w / patch_px)`` on the model's device; token i is centred at
            `cryosam.geometry.patch_to_pixel`.
        """


@runtime_checkable
class DescriptorPart(Protocol):
    """The channels of a descriptor that are computed on one grid."""

    @property
    def stride(self) -> int:
        """Voxels per cell."""

    @property
    def n_channels(self) -> int:
        """Numbers per cell."""

    @property
    def halo(self) -> int:
        """Width, in cells, of the margin around a block that its descriptors depend on."""

    def describe(self, means: Volume) -> Float[Tensor, "c cz cy cx"]:
        """Descriptors at the centres of cells.

        Parameters
        ----------
        means
            ``(cz, cy, cx)`` mean density of each cell, protein bright.

        Returns
        -------
        descriptors
            ``(c, cz, cy, cx)`` on the descriptor's device.
        """


@runtime_checkable
class VolumeDescriptor(Protocol):
    """Computes descriptors of cells in 3D, without slices."""

    @property
    def digest(self) -> str:
        """Digest of the weights and settings, for caches and provenance."""

    @property
    def n_channels(self) -> int:
        """Numbers per cell, over all parts."""

    def parts(self, stride: int) -> Sequence[DescriptorPart]:
        """The parts of the descriptor, each computed on one grid, for cells of ``stride`` voxels.

        Channels that vary slowly are computed on coarser grids: the stride of a part is ``stride`` times a power of
        two. The first part has ``stride`` itself.
        """


@dataclass(frozen=True, eq=False)
class SlicePrompts:
    """Prompts for n objects, each in one of the embedded images.

    Parameters
    ----------
    image_index
        ``(n,)`` index of the embedded image that contains each object.
    points
        ``(n, p, 2)`` row, col in the image's own pixels.
    is_positive
        ``(n, p)`` True for "the object is here".
    logits
        ``(n, h, w)`` mask prompt, at the image's own size, or None.
    boxes
        ``(n, 4)`` first and last row and col (top, left, bottom, right), or None.
    memory
        ``(n, m)`` the segmenter's memory of each object in the previous slice (`MaskCandidates.memory`), or None; NaN
        for objects without memory.
    """

    image_index: Int[np.ndarray, " n"]
    points: Float[np.ndarray, "n p 2"]
    is_positive: Bool[np.ndarray, "n p"]
    logits: Float[np.ndarray, "n h w"] | None = None
    boxes: Float[np.ndarray, "n 4"] | None = None
    memory: Float[np.ndarray, "n m"] | None = None


@dataclass(frozen=True, eq=False)
class MaskCandidates:
    """Candidate masks for n objects.

    Parameters
    ----------
    logits
        ``(n, k, h, w)`` at the image's own size; a mask is ``logits > 0``.
    scores
        ``(n, k)`` predicted IoU, in [0, 1].
    memory
        ``(n, k, m)`` the segmenter's memory of each candidate, to be passed on if the same object is segmented in the
        next slice; None if it has no memory.
    """

    logits: Float[np.ndarray, "n k h w"]
    scores: Float[np.ndarray, "n k"]
    memory: Float[np.ndarray, "n k m"] | None = None


@runtime_checkable
class PromptSegmenter(Protocol):
    """A 2D segmenter that returns k candidate masks for each prompt (points, a box, a mask)."""

    @property
    def digest(self) -> str:
        """Digest of the weights and settings, for caches and provenance."""

    def beside(self, height: int, width: int) -> tuple[int, ...]:
        """Offsets of the neighbouring slices that it needs with an image of this size; () for none."""

    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> Any:
        """Everything that `segment` needs of some images; opaque to callers.

        Parameters
        ----------
        images
            ``(n, h, w)`` in [0, 1], protein bright.
        beside
            ``(n, s, h, w)`` the same window of the neighbouring slices, in the order of `beside`; None if not known.
        """

    def segment(self, embedding: Any, prompts: SlicePrompts) -> MaskCandidates:
        """Candidate masks for every object of ``prompts``; the result for an object does not depend on the others."""
