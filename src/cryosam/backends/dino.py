"""Patch tokens of self-supervised vision transformers.

DINOv2 (Oquab et al., TMLR 2024), without or with registers (Darcet et al., ICLR 2024), and DINOv3 (Siméoni et al.,
2025).
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryosam.arrays import Images
from cryosam.backends.attention import use_fast_attention
from cryosam.backends.digests import digest_model
from cryosam.backends.framing import imagenet_rgb
from cryosam.backends.precision import Precision, autocast, is_half

__all__ = ["DinoFeatures"]


class DinoFeatures:
    """Patch tokens of DINOv2 or DINOv3 (a `FeatureExtractor`).

    Parameters
    ----------
    model
        A ``Dinov2Model``, ``Dinov2WithRegistersModel`` or ``DINOv3ViTModel`` with weights. These models adapt their
        position embeddings to the size of the images.
    device
        Device to compute on.
    images_per_batch
        Images that go through the model at once: limits the memory, and does not change the tokens.
    precision
        "auto" uses bfloat16 if the device supports it in hardware. Tokens in bfloat16 differ from those in float32 by
        about a hundredth of their length.

    Examples
    --------
    >>> from transformers import Dinov2Config, Dinov2Model
    >>> config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=14)
    >>> features = DinoFeatures(Dinov2Model(config))
    >>> features.extract(np.zeros((1, 28, 42), dtype=np.float32)).shape
    torch.Size([1, 16, 2, 3])
    """

    def __init__(
        self, model: Any, device: str = "cpu", *, images_per_batch: int = 4, precision: Precision = "auto"
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.images_per_batch = images_per_batch
        self.precision: Precision = precision
        use_fast_attention(self.model, self.device)

    @cached_property
    def digest(self) -> str:
        """Digest of the weights and settings."""
        return digest_model(self.model, is_half=is_half(self.device, self.precision))

    @property
    def n_channels(self) -> int:
        """Numbers per token."""
        return int(self.model.config.hidden_size)

    @property
    def patch_px(self) -> int:
        """Edge of a patch in pixels."""
        return int(self.model.config.patch_size)

    @torch.inference_mode()
    def extract(self, images: Images) -> Float[Tensor, "n c rows cols"]:
        """Tokens after the last normalisation, without the class token and the registers; see `FeatureExtractor`."""
        rows, cols = images.shape[1] // self.patch_px, images.shape[2] // self.patch_px
        if (rows * self.patch_px, cols * self.patch_px) != images.shape[1:]:
            raise ValueError(
                f"height and width of images must be multiples of {self.patch_px} pixels, got {images.shape[1:]}"
            )
        # one class token, then the registers, then the patches row by row
        n_before = 1 + getattr(self.model.config, "num_register_tokens", 0)
        tokens = []
        for start in range(0, len(images), self.images_per_batch):
            batch = np.ascontiguousarray(images[start : start + self.images_per_batch], dtype=np.float32)
            pixels = imagenet_rgb(torch.from_numpy(batch).to(self.device))
            with autocast(self.device, self.precision):
                answer = self.model(pixel_values=pixels).last_hidden_state[:, n_before:].float()
            tokens.append(answer.transpose(1, 2).reshape(len(batch), -1, rows, cols))
        return torch.cat(tokens)
