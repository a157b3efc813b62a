"""What a model must offer. Backends hold no state between calls: embed once, prompt many times."""

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
    """A 2D model that gives one token a patch."""

    @property
    def digest(self) -> str:
        """Identity of the weights and settings, for caches and provenance."""

    @property
    def n_channels(self) -> int:
        """Numbers a token."""

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
    """Some of a descriptor's channels, which are described on one grid."""

    @property
    def stride(self) -> int:
        """Voxels a cell."""

    @property
    def n_channels(self) -> int:
        """Numbers a cell."""

    @property
    def halo(self) -> int:
        """Cells around a block that its descriptors depend on."""

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
    """A 3D descriptor of every cell that needs no planes."""

    @property
    def digest(self) -> str:
        """Identity of the weights and settings, for caches and provenance."""

    @property
    def n_channels(self) -> int:
        """Numbers a cell, of all parts."""

    def parts(self, stride: int) -> Sequence[DescriptorPart]:
        """What is described on which grid, for cells of ``stride`` voxels.

        What varies slowly is described on coarser grids: a part's stride is ``stride`` times a power of two. The first
        part's is ``stride``.
        """


@dataclass(frozen=True, eq=False)
class SlicePrompts:
    """Prompts for n objects, each in one of the embedded images.

    Parameters
    ----------
    image_index
        ``(n,)`` which embedded image each object lies in.
    points
        ``(n, p, 2)`` row, col in the image's own pixels.
    is_positive
        ``(n, p)`` True for "the object is here".
    logits
        ``(n, h, w)`` mask prompt, at the image's own size, or None.
    boxes
        ``(n, 4)`` first and last row and col (top, left, bottom, right), or None.
    memory
        ``(n, m)`` what the segmenter wanted to be reminded of in the next slice (`MaskCandidates.memory`), or None; NaN
        where there is nothing to remember.
    """

    image_index: Int[np.ndarray, " n"]
    points: Float[np.ndarray, "n p 2"]
    is_positive: Bool[np.ndarray, "n p"]
    logits: Float[np.ndarray, "n h w"] | None = None
    boxes: Float[np.ndarray, "n 4"] | None = None
    memory: Float[np.ndarray, "n m"] | None = None


@dataclass(frozen=True, eq=False)
class MaskCandidates:
    """Answers for n objects.

    Parameters
    ----------
    logits
        ``(n, k, h, w)`` at the image's own size; a mask is ``logits > 0``.
    scores
        ``(n, k)`` predicted IoU, in [0, 1].
    memory
        ``(n, k, m)`` what the segmenter wants to be reminded of when it is asked for the same object in the next slice;
        None if it remembers nothing.
    """

    logits: Float[np.ndarray, "n k h w"]
    scores: Float[np.ndarray, "n k"]
    memory: Float[np.ndarray, "n k m"] | None = None


@runtime_checkable
class PromptSegmenter(Protocol):
    """A 2D segmenter that answers points, boxes and masks with K candidates."""

    @property
    def digest(self) -> str:
        """Identity of the weights and settings, for caches and provenance."""

    def beside(self, height: int, width: int) -> tuple[int, ...]:
        """Which slices beside an image of that size it wants to see too, counted from it; () for none."""

    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> Any:
        """Whatever `segment` needs of some images; opaque to callers.

        Parameters
        ----------
        images
            ``(n, h, w)`` in [0, 1], protein bright.
        beside
            ``(n, s, h, w)`` the same window of the slices beside each, as `beside` lists them; None if not known.
        """

    def segment(self, embedding: Any, prompts: SlicePrompts) -> MaskCandidates:
        """MaskCandidates for every object of ``prompts``; an object's answer does not depend on the others'."""
