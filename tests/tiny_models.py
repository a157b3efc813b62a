"""Models of every family, small, with random weights that make them answer strongly."""

from typing import Any

import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Sam2Config,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamModel,
)

__all__ = [
    "tiny_dinov2",
    "tiny_dinov2_registers",
    "tiny_dinov3",
    "tiny_sam",
    "tiny_sam2",
    "tiny_sam2_video",
    "tiny_sam_hq",
]

SIZE_PX = 64

_VISION = {
    "image_size": SIZE_PX,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "output_channels": 32,
    "num_pos_feats": 16,
    "window_size": 3,
    "global_attn_indexes": [1],
}
_PROMPT = {"image_size": SIZE_PX, "hidden_size": 32, "mask_input_channels": 8}
_DECODER = {"hidden_size": 32, "mlp_dim": 48, "iou_head_hidden_dim": 32}
_SAM2_VISION = {
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIZE_PX, SIZE_PX],
        "hidden_size": 8,
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "blocks_per_stage": [1, 1, 2, 1],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3],
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": 32,
}
_DINO = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def _randomised(model: Any, seed: int) -> Any:
    """Every weight random: fresh models are nearly constant, and many of their biases are zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in model.state_dict().items():
        fan_in = values[0].numel() if values.ndim > 1 else 10
        around = 1.0 if values.ndim == 1 and name.endswith("weight") else 0.0
        values.copy_(around + torch.randn(values.shape, generator=generator) / fan_in**0.5)
    for module in model.modules():
        if hasattr(module, "shared_image_embedding"):
            # one matrix places the image's pixels and the points, or a point would not lie on its pixel
            image, points = module.shared_image_embedding, module.prompt_encoder.shared_embedding
            points.positional_embedding.data.copy_(image.positional_embedding.data)
    return model.eval()


def tiny_sam(seed: int = 0) -> Any:
    return _randomised(
        SamModel(SamConfig(vision_config=_VISION, prompt_encoder_config=_PROMPT, mask_decoder_config=_DECODER)), seed
    )


def tiny_sam_hq(seed: int = 0) -> Any:
    decoder = _DECODER | {"vit_dim": _VISION["hidden_size"]}
    return _randomised(
        SamHQModel(SamHQConfig(vision_config=_VISION, prompt_encoder_config=_PROMPT, mask_decoder_config=decoder)), seed
    )


def tiny_sam2(seed: int = 0) -> Any:
    config = Sam2Config(vision_config=_SAM2_VISION, prompt_encoder_config=_PROMPT, mask_decoder_config=_DECODER)
    return _randomised(Sam2Model(config), seed)


def tiny_sam2_video(seed: int = 0) -> Any:
    """The form in which SAM 2 is published."""
    config = Sam2VideoConfig(
        vision_config=_SAM2_VISION,
        prompt_encoder_config=_PROMPT,
        mask_decoder_config=_DECODER,
        image_size=SIZE_PX,
        memory_attention_hidden_size=32,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=32,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32,
    )
    return _randomised(Sam2VideoModel(config), seed)


def tiny_dinov2(seed: int = 0) -> Any:
    return _randomised(Dinov2Model(Dinov2Config(image_size=42, patch_size=14, **_DINO)), seed)


def tiny_dinov2_registers(seed: int = 0) -> Any:
    config = Dinov2WithRegistersConfig(image_size=42, patch_size=14, num_register_tokens=3, **_DINO)
    return _randomised(Dinov2WithRegistersModel(config), seed)


def tiny_dinov3(seed: int = 0) -> Any:
    config = DINOv3ViTConfig(image_size=48, patch_size=16, num_register_tokens=2, intermediate_size=32, **_DINO)
    return _randomised(DINOv3ViTModel(config), seed)
