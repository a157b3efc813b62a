"""Resampling of images, mask prompts and masks between an image's own pixels and the square input of a model.

Both directions use the same operation: linear interpolation, with averaging where the result is coarser, at positions
from `cryosam.geometry`. It is a product with one matrix along each axis. So it is exact for the fractional sizes that
occur (an image of 5 x 8 fills 2.5 x 4 cells of a map of 4 x 4), and the same on every device.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryosam.geometry import ModelFrame, patch_to_pixel, pixel_to_patch

__all__ = ["imagenet_rgb", "into_frame", "model_input", "out_of_frame"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def imagenet_rgb(images: Float[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """Grey images in [0, 1] as RGB images, normalised with the mean and standard deviation of ImageNet.

    Examples
    --------
    >>> imagenet_rgb(torch.full((1, 1, 1), 0.485))[0, 0].item()
    0.0
    """
    mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (images[:, None] - mean).div_(std)


def model_input(images: Float[Tensor, "n h w"], frame: ModelFrame) -> Float[Tensor, "n 3 s s"]:
    """Images in a model's frame, normalised; the padding is 0 after normalisation, as in the models' training.

    Parameters
    ----------
    images
        ``(n, h, w)`` in [0, 1].
    frame
        The frame of the images; ``s`` is its ``size_px``.

    Examples
    --------
    >>> model_input(torch.ones(1, 2, 4), ModelFrame(2, 4, 8))[0, 0, :, 0] > 0
    tensor([ True,  True,  True,  True, False, False, False, False])
    """
    rows, cols = frame.content_px
    pixels = images.new_zeros(len(images), 3, frame.size_px, frame.size_px)
    pixels[:, :, :rows, :cols] = imagenet_rgb(into_frame(images, frame, frame.size_px)[:, :rows, :cols])
    return pixels


def into_frame(
    images: Float[Tensor, "n h w"], frame: ModelFrame, n_cells: int
) -> Float[Tensor, "n {n_cells} {n_cells}"]:
    """Images on a grid of ``n_cells`` x ``n_cells`` over a model's input; each image is padded with its minimum.

    Parameters
    ----------
    images
        ``(n, h, w)`` of the frame's size.
    frame
        Where the images lie in the model's input.
    n_cells
        ``frame.size_px`` for pixels; fewer for the coarser grid of a mask prompt.

    Examples
    --------
    >>> into_frame(torch.tensor([[[1.0, 2.0]]]), ModelFrame(1, 2, 4), 2)
    tensor([[[1., 2.],
             [1., 1.]]])
    """
    rows, cols = (weights.to(images) for weights in _weights_into(frame, n_cells))
    lowest = images.amin(dim=(1, 2), keepdim=True)
    # all weights of cells beyond the image are 0, so these cells have the minimum
    return rows @ (images - lowest) @ cols.T + lowest


def out_of_frame(maps: Float[Tensor, "... cells cells"], frame: ModelFrame) -> Float[Tensor, "... h w"]:
    """Maps over a model's input, resampled to the pixels of the image; the reverse of `into_frame`.

    Parameters
    ----------
    maps
        ``(..., cells, cells)``, for example a model's logits at a quarter of its input's size.
    frame
        Where the image lies in the model's input.

    Examples
    --------
    >>> out_of_frame(torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), ModelFrame(1, 2, 4))
    tensor([[[1., 2.]]])
    """
    rows, cols = (weights.to(maps) for weights in _weights_out_of(frame, maps.shape[-1]))
    return rows @ maps @ cols.T


@lru_cache(maxsize=64)
def _weights_into(frame: ModelFrame, n_cells: int) -> tuple[Float[Tensor, "cells h"], Float[Tensor, "cells w"]]:
    """Weights for resampling an image's rows and columns to those of a grid over a model's input."""
    pixels = patch_to_pixel(np.arange(n_cells, dtype=float), frame.size_px / n_cells)
    positions = frame.to_image(np.stack([pixels, pixels], axis=1))
    return _linear_weights(positions[:, 0], frame.height), _linear_weights(positions[:, 1], frame.width)


@lru_cache(maxsize=64)
def _weights_out_of(frame: ModelFrame, n_cells: int) -> tuple[Float[Tensor, "h cells"], Float[Tensor, "w cells"]]:
    """Weights for resampling the rows and columns of a grid over a model's input to those of an image."""
    index = np.arange(max(frame.height, frame.width), dtype=float)
    pixels = frame.to_model(np.stack([index, index], axis=1))
    positions = pixel_to_patch(pixels, frame.size_px / n_cells)
    return _linear_weights(positions[: frame.height, 0], n_cells), _linear_weights(positions[: frame.width, 1], n_cells)


def _linear_weights(positions: Float[np.ndarray, " m"], n_samples: int) -> Float[Tensor, "m n"]:
    """Weights of samples 0 ... n - 1 at equally spaced positions; zero if a position lies beyond the samples."""
    step = positions[1] - positions[0] if len(positions) > 1 else 1.0
    # a triangular kernel as wide as the step averages if the result is coarser than the samples
    weights = np.clip(1 - np.abs(positions[:, None] - np.arange(n_samples)) / max(step, 1.0), 0, None)
    weights[(positions < -0.5) | (positions > n_samples - 0.5)] = 0
    total = weights.sum(axis=1, keepdims=True)
    return torch.from_numpy((weights / np.where(total > 0, total, 1)).astype(np.float32))
