"""Base of the SAM family's segmenters: frames, prompts and batches. Subclasses encode images and decode prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cryosam.arrays import Images
from cryosam.backends.digests import digest_model
from cryosam.backends.framing import into_frame, model_input, out_of_frame
from cryosam.backends.precision import Precision, autocast, is_half
from cryosam.backends.protocols import MaskCandidates, SlicePrompts
from cryosam.geometry import ModelFrame

__all__ = ["Embedding", "ModelPrompts", "PromptableModel"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Encoded images.

    Parameters
    ----------
    maps
        Feature maps, with the images on the first axis of each.
    frame
        Maps the images, which all have the same size, to the model's input.
    """

    maps: tuple[Tensor, ...]
    frame: ModelFrame


@dataclass(frozen=True, eq=False)
class ModelPrompts:
    """Prompts in the model's frame, one row per object; None for a type of prompt that was not given.

    Parameters
    ----------
    points
        ``(n, p, 2)`` x, y in model pixels; an integer is the centre of a pixel.
    labels
        ``(n, p)`` 1 for "the object is here", 0 for "it is not here".
    boxes
        ``(n, 4)`` x, y of the first and of the last pixel.
    masks
        ``(n, 1, q, q)`` logits, where q is a quarter of the input's size.
    """

    points: Float[Tensor, "n p 2"] | None
    labels: Int[Tensor, "n p"] | None
    boxes: Float[Tensor, "n 4"] | None
    masks: Float[Tensor, "n 1 q q"] | None


class PromptableModel(ABC):
    """A promptable segmenter over a model of the SAM family (a `PromptSegmenter`).

    Parameters
    ----------
    model
        With weights; moved to the device and set to evaluation mode.
    device
        Device to compute on.
    images_per_batch, objects_per_batch
        How many go through the model at once: limits the memory, and does not change the results.
    precision
        Precision of the image encoder. "auto" uses bfloat16 if the device supports it in hardware; the logits then
        differ in the second or third digit. Prompts are always decoded in float32, which takes little time.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str = "cpu",
        *,
        images_per_batch: int = 1,
        objects_per_batch: int = 16,
        precision: Precision = "auto",
    ) -> None:
        self.device = torch.device(device)
        self.model: Any = model.to(self.device).eval()
        self.images_per_batch = images_per_batch
        self.objects_per_batch = objects_per_batch
        self.precision: Precision = precision

    @property
    @abstractmethod
    def size_px(self) -> int:
        """Edge of the model's square input in pixels."""

    @property
    def n_candidates(self) -> int:
        """Number of candidate masks per object."""
        return int(self.model.config.mask_decoder_config.num_multimask_outputs)

    @abstractmethod
    def _encode(self, pixels: Float[Tensor, "n 3 s s"]) -> tuple[Tensor, ...]:
        """Feature maps of normalised images."""

    @abstractmethod
    def _decode(
        self, maps: tuple[Tensor, ...], prompts: ModelPrompts
    ) -> tuple[Float[Tensor, "n k q q"], Float[Tensor, "n k"]]:
        """Logits and scores of objects; ``maps`` has one row per object."""

    @cached_property
    def digest(self) -> str:
        """Digest of the weights and settings."""
        return digest_model(self.model, is_half=is_half(self.device, self.precision))

    def beside(self, height: int, width: int) -> tuple[int, ...]:  # noqa: ARG002
        """No neighbouring slices are needed."""
        return ()

    @torch.inference_mode()
    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> Embedding:  # noqa: ARG002
        """Feature maps of images ``(n, h, w)`` in [0, 1]; see `PromptSegmenter.embed`."""
        frame = ModelFrame(images.shape[1], images.shape[2], self.size_px)
        batches = []
        for start in range(0, len(images), self.images_per_batch):
            pixels = model_input(self._tensor(images[start : start + self.images_per_batch]), frame)
            with autocast(self.device, self.precision):
                batches.append(tuple(values.float() for values in self._encode(pixels)))
        return Embedding(tuple(torch.cat(maps) for maps in zip(*batches, strict=True)), frame)

    @torch.inference_mode()
    def segment(self, embedding: Embedding, prompts: SlicePrompts) -> MaskCandidates:
        """Candidate masks for every object; see `PromptSegmenter.segment`."""
        frame, n = embedding.frame, len(prompts.image_index)
        logits = np.empty((n, self.n_candidates, frame.height, frame.width), dtype=np.float32)
        scores = np.empty((n, self.n_candidates), dtype=np.float32)
        for start in range(0, n, self.objects_per_batch):
            chosen = slice(start, start + self.objects_per_batch)
            index = torch.from_numpy(prompts.image_index[chosen]).to(self.device)
            # a mask prompt belongs to an image of the batch, not to a point, so the image is repeated for each object
            maps = tuple(values[index] for values in embedding.maps)
            low, quality = self._decode(maps, self._to_model(prompts, chosen, frame))
            logits[chosen] = out_of_frame(low, frame).cpu().numpy()
            scores[chosen] = quality.clamp(0, 1).cpu().numpy()
        return MaskCandidates(logits, scores)

    def _to_model(self, prompts: SlicePrompts, chosen: slice, frame: ModelFrame) -> ModelPrompts:
        """Some of the prompts, in the model's frame and order of axes (x first)."""
        points = labels = boxes = masks = None
        if prompts.points.shape[1] > 0:
            # SAM itself adds 1/2 to every coordinate, so an integer must be a pixel's centre, as in ModelFrame. The
            # published predictor instead multiplies coordinates by the scale, which is off by (scale - 1) / 2 pixels.
            points = self._tensor(_x_first(prompts.points[chosen], frame))
            labels = torch.from_numpy(prompts.is_positive[chosen].astype(np.int64)).to(self.device)
        if prompts.boxes is not None:
            corners = _x_first(prompts.boxes[chosen].reshape(-1, 2, 2), frame)
            boxes = self._tensor(corners.reshape(-1, 4))
        if prompts.logits is not None:
            masks = into_frame(self._tensor(prompts.logits[chosen]), frame, self.size_px // 4)[:, None]
        return ModelPrompts(points, labels, boxes, masks)

    def _tensor(self, values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)


def _x_first(rows_cols: Float[np.ndarray, "n p 2"], frame: ModelFrame) -> Float[np.ndarray, "n p 2"]:
    """Convert (row, col) in the image to (x, y) in the model's input."""
    return frame.to_model(rows_cols.reshape(-1, 2))[:, ::-1].reshape(rows_cols.shape)
