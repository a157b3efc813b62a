"""Segment Anything (Kirillov et al., ICCV 2023) and its high-quality variant (Ke et al., NeurIPS 2023)."""

from jaxtyping import Float
from torch import Tensor

from cryosam.backends.promptable import ModelPrompts, PromptableModel

__all__ = ["SamHQSegmenter", "SamSegmenter", "call_arguments"]


class SamSegmenter(PromptableModel):
    """SAM, based on ``transformers.SamModel``: three candidates for each object.

    Parameters
    ----------
    model
        A ``SamModel`` with weights; the size of its input is in its configuration (published models: 1024 px).
    device
        Device to compute on.
    images_per_batch
        Images encoded at once; ViT-B needs about 2 GB for each image of 1024 px.
    objects_per_batch
        Objects decoded at once.
    precision
        Precision of the image encoder; see `PromptableModel`.

    Examples
    --------
    >>> import numpy as np
    >>> from transformers import SamConfig, SamModel
    >>> from cryosam.backends import SlicePrompts
    >>> vision = {"image_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> segmenter = SamSegmenter(SamModel(SamConfig(vision_config=vision, prompt_encoder_config={"image_size": 64})))
    >>> embedding = segmenter.embed(np.zeros((1, 30, 40), dtype=np.float32))
    >>> prompts = SlicePrompts(np.array([0]), np.array([[[12.0, 20.0]]]), np.array([[True]]))
    >>> segmenter.segment(embedding, prompts).logits.shape
    (1, 3, 30, 40)
    """

    @property
    def size_px(self) -> int:
        """Edge of the model's square input in pixels."""
        return int(self.model.config.vision_config.image_size)

    def _encode(self, pixels: Float[Tensor, "n 3 s s"]) -> tuple[Tensor, ...]:
        return (self.model.get_image_embeddings(pixels),)

    def _decode(
        self, maps: tuple[Tensor, ...], prompts: ModelPrompts
    ) -> tuple[Float[Tensor, "n k q q"], Float[Tensor, "n k"]]:
        answer = self.model(image_embeddings=maps[0], **call_arguments(prompts))
        return answer.pred_masks[:, 0], answer.iou_scores[:, 0]


class SamHQSegmenter(PromptableModel):
    """SAM-HQ, based on ``transformers.SamHQModel``: SAM's candidates, best first, with finer edges.

    Parameters
    ----------
    model
        A ``SamHQModel`` with weights.
    device
        Device to compute on.
    images_per_batch, objects_per_batch, precision
        As for `SamSegmenter`.
    """

    @property
    def size_px(self) -> int:
        """Edge of the model's square input in pixels."""
        return int(self.model.config.vision_config.image_size)

    def _encode(self, pixels: Float[Tensor, "n 3 s s"]) -> tuple[Tensor, ...]:
        features, early = self.model.get_image_embeddings(pixels)
        # SAM-HQ uses the output of only the first of the encoder's global attention layers
        return features, early[0]

    def _decode(
        self, maps: tuple[Tensor, ...], prompts: ModelPrompts
    ) -> tuple[Float[Tensor, "n k q q"], Float[Tensor, "n k"]]:
        answer = self.model(image_embeddings=maps[0], intermediate_embeddings=[maps[1]], **call_arguments(prompts))
        return answer.pred_masks[:, 0], answer.iou_scores[:, 0]


def call_arguments(prompts: ModelPrompts) -> dict[str, Tensor | bool | None]:
    """Prompts as arguments of the models in `transformers`: images on the first axis, then objects (always one here).

    Examples
    --------
    >>> import torch
    >>> prompts = ModelPrompts(torch.zeros(2, 1, 2), torch.ones(2, 1, dtype=torch.int64), None, None)
    >>> call_arguments(prompts)["input_points"].shape
    torch.Size([2, 1, 1, 2])
    """
    return {
        "input_points": None if prompts.points is None else prompts.points[:, None],
        "input_labels": None if prompts.labels is None else prompts.labels[:, None],
        "input_boxes": None if prompts.boxes is None else prompts.boxes[:, None],
        "input_masks": prompts.masks,
        "multimask_output": True,
    }
