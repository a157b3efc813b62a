"""The segmenter that ships with the package: a small convolutional network, trained only on simulated tomograms."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryosam.arrays import Images
from cryosam.backends.digests import digest_model
from cryosam.backends.framing import into_frame, out_of_frame
from cryosam.backends.precision import autocast
from cryosam.backends.prompt_unet import N_BESIDE, N_CANDIDATES, STRIDE, PromptUNet, fold_statistics
from cryosam.backends.protocols import MaskCandidates, SlicePrompts
from cryosam.backends.shipped import load_shipped
from cryosam.geometry import ModelFrame

__all__ = ["INPUT_PX", "EmbeddedSegmenter", "load_network", "offsets_beside", "standardise"]

INPUT_PX = 64  # edge of the input with which the network was trained
_MOST_PX = 512  # larger images are reduced to this edge
_MULTIPLE = 16  # the encoder's coarsest stride
_BRIGHT, _HIGHEST = 0.995, 4.0  # quantile of the brightest pixels, and their largest value after standardisation
_STEP_PX = 2.0  # distance between the slices that are seen together, in pixels of the input
_WEIGHTS = "embedded.safetensors"


@dataclass(frozen=True, eq=False)
class _Embedding:
    """Features at three strides, with the images on the first axis, and the frame that maps images to the input."""

    maps: tuple[Tensor, Tensor, Tensor]
    frame: ModelFrame


class EmbeddedSegmenter:
    """Promptable segmenter with weights in the package (a `PromptSegmenter`).

    Images smaller than 64 pixels are enlarged to 64, and images larger than 512 pixels are reduced to 512. Images in
    between are not scaled, apart from rounding their size up to a multiple of 16.

    Parameters
    ----------
    network
        With weights; None loads those of the package.
    device
        Device to compute on.
    images_per_batch, objects_per_batch
        How many go through the network at once: limits the memory, and does not change the results.

    Examples
    --------
    >>> rows, cols = np.mgrid[:60, :60]
    >>> disc = (np.hypot(rows - 28, cols - 31) < 10).astype(np.float32)
    >>> prompts = SlicePrompts(np.array([0]), np.array([[[28.0, 31.0]]]), np.array([[True]]))
    >>> segmenter = EmbeddedSegmenter()
    >>> candidates = segmenter.segment(segmenter.embed(disc[None]), prompts)
    >>> candidates.logits.shape
    (1, 3, 60, 60)
    """

    def __init__(
        self,
        network: PromptUNet | None = None,
        device: str = "cpu",
        *,
        images_per_batch: int = 32,
        objects_per_batch: int = 32,
    ) -> None:
        self.device = torch.device(device)
        self.network = (load_network() if network is None else network).eval()
        self._network = fold_statistics(self.network).to(self.device)
        self.images_per_batch = images_per_batch
        self.objects_per_batch = objects_per_batch

    @cached_property
    def digest(self) -> str:
        """Digest of the weights."""
        return digest_model(self.network)

    def beside(self, height: int, width: int) -> tuple[int, ...]:
        """Offsets of two slices before and two after, about two pixels of the input apart."""
        return offsets_beside(_frame_of(height, width))

    @torch.inference_mode()
    def embed(self, images: Images, beside: Float[np.ndarray, "n s h w"] | None = None) -> _Embedding:
        """Feature maps of images ``(n, h, w)`` in [0, 1]; see `PromptSegmenter.embed`."""
        frame = _frame_of(*images.shape[1:])
        shown = images[:, None] if beside is None else np.concatenate([images[:, None], beside], axis=1)
        batches = []
        for start in range(0, len(images), self.images_per_batch):
            chosen = self._tensor(shown[start : start + self.images_per_batch])
            with self._precision():
                batches.append(self._network.encode(_standardised(chosen, frame)))
        fine, middle, coarse = (torch.cat(maps) for maps in zip(*batches, strict=True))
        return _Embedding((fine, middle, coarse), frame)

    @torch.inference_mode()
    def segment(self, embedding: _Embedding, prompts: SlicePrompts) -> MaskCandidates:
        """Three candidates for each object; see `PromptSegmenter.segment`."""
        frame, n = embedding.frame, len(prompts.image_index)
        logits = np.empty((n, N_CANDIDATES, frame.height, frame.width), dtype=np.float32)
        scores = np.empty((n, N_CANDIDATES), dtype=np.float32)
        memory = np.empty((n, N_CANDIDATES, self._network.n_remembered), dtype=np.float32)
        for start in range(0, n, self.objects_per_batch):
            chosen = slice(start, start + self.objects_per_batch)
            index = torch.from_numpy(prompts.image_index[chosen]).to(self.device)
            fine, middle, coarse = (maps[index] for maps in embedding.maps)
            with self._precision():
                low, quality, seen = self._network.decode((fine, middle, coarse), *self._framed(prompts, chosen, frame))
            logits[chosen] = out_of_frame(low.float().clamp(-20, 20), frame).cpu().numpy()
            scores[chosen] = torch.sigmoid(quality.float()).cpu().numpy()
            memory[chosen] = seen.float().cpu().numpy()
        return MaskCandidates(logits, scores, memory)

    def _precision(self) -> AbstractContextManager[Any]:
        """Context for bfloat16, in which the network was trained, if the device supports it in hardware."""
        return autocast(self.device)

    def _framed(
        self, prompts: SlicePrompts, chosen: slice, frame: ModelFrame
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Points, signs, boxes, mask prompts and memory of some objects, in the coordinates of the network's input."""
        boxes = priors = memory = None
        if prompts.boxes is not None:
            corners = frame.to_model(prompts.boxes[chosen].reshape(-1, 2))
            boxes = self._tensor(corners.reshape(-1, 4))
        if prompts.logits is not None:
            priors = into_frame(self._tensor(prompts.logits[chosen]), frame, frame.size_px // STRIDE)
        if prompts.memory is not None:
            memory = self._tensor(prompts.memory[chosen])
        points = prompts.points[chosen]
        points = frame.to_model(points.reshape(-1, 2)).reshape(points.shape)
        is_positive = torch.from_numpy(prompts.is_positive[chosen]).to(self.device)
        return self._tensor(points), is_positive, boxes, priors, memory

    def _tensor(self, values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)


def offsets_beside(frame: ModelFrame) -> tuple[int, ...]:
    """Offsets of the slices that are shown with an image: two before, two after, about two pixels of the input apart.

    Examples
    --------
    >>> offsets_beside(ModelFrame(30, 30, 64)), offsets_beside(ModelFrame(128, 128, 64))
    ((-2, -1, 1, 2), (-8, -4, 4, 8))
    """
    step = max(1, round(_STEP_PX * max(frame.height, frame.width) / frame.size_px))
    return tuple(step * i for i in range(-N_BESIDE // 2, N_BESIDE // 2 + 1) if i != 0)


def standardise(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images minus their median, in units of twice their robust standard deviation, outliers clipped.

    Median and unit are measured in the first channel.

    If there is hardly any noise, as after denoising, the unit is a quarter of the height of the brightest pixels above
    the median. Otherwise a whole object, and the blur around it, would be clipped to one value.

    Examples
    --------
    >>> standardise(torch.tensor([[[[0.0, 1.0, 2.0]]]]))[0, 0, 0, 1].item()
    0.0
    """
    low, median, high, bright = _quantiles(images[:, 0].flatten(1), (0.16, 0.5, 0.84, _BRIGHT))[..., None, None, None]
    unit = torch.maximum(high - low, (bright - median) / _HIGHEST)
    return ((images - median) / unit.clamp(min=1e-4)).clamp(-3, 6)


def _quantiles(values: Float[Tensor, "n p"], shares: tuple[float, ...]) -> Float[Tensor, "q n"]:
    """Quantiles of each row, equal to `torch.quantile`; much faster on a CPU, because NumPy sorts faster."""
    ordered = torch.from_numpy(np.sort(values.cpu().numpy(), axis=1)).to(values.device)
    places = [share * (values.shape[1] - 1) for share in shares]
    return torch.stack([torch.lerp(ordered[:, int(p)], ordered[:, -int(-p // 1)], p % 1) for p in places])


def load_network(weights: bytes | None = None) -> PromptUNet:
    """The network with its weights.

    Parameters
    ----------
    weights
        Content of a safetensors file; None takes the file of the package.

    Raises
    ------
    WeightsError
        If the weights are damaged, or not those of this network.
    """
    network = PromptUNet()
    load_shipped(network, _WEIGHTS, "embedded segmenter", weights)
    return network


def _frame_of(height: int, width: int) -> ModelFrame:
    """Frame that maps images of this size to the input."""
    longest = min(max(height, width, INPUT_PX), _MOST_PX)
    return ModelFrame(height, width, -(-longest // _MULTIPLE) * _MULTIPLE)


def _standardised(images: Float[Tensor, "n c h w"], frame: ModelFrame) -> Float[Tensor, "n c2 s s"]:
    """Images in the input's frame, standardised; the padding and neighbouring slices that are not known are 0."""
    n, n_shown = images.shape[:2]
    rows, cols = frame.content_px
    framed = into_frame(images.flatten(0, 1), frame, frame.size_px)[:, :rows, :cols]
    pixels = images.new_zeros(n, 1 + N_BESIDE, frame.size_px, frame.size_px)
    pixels[:, :n_shown, :rows, :cols] = standardise(framed.reshape(n, n_shown, rows, cols))
    return pixels.contiguous(memory_format=torch.channels_last)
