"""Conversion of original Segment Anything checkpoints (``.pth``) to models of `transformers`.

The values of the weights are kept; only their names change. The configuration is derived from the shapes of the
weights. Settings that shapes do not show are those of every published SAM: 8 heads in the decoder, and layer
normalisation with the constants of the original code. Checkpoints exported by micro-sam use the same names.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cryosam.errors import WeightsError, WeightsNotFoundError

__all__ = ["PUBLISHED_FILES", "convert_sam_state", "infer_sam_config", "read_sam_checkpoint"]

PUBLISHED_FILES: Mapping[str, str] = {
    "sam_vit_b_01ec64.pth": "sam-vit-b",
    "sam_vit_l_0b3195.pth": "sam-vit-l",
    "sam_vit_h_4b8939.pth": "sam-vit-h",
}
"""Published files, whose names end in the first digits of their SHA-256, and the model that each one contains."""

# original name -> name in transformers; the first pattern that matches the start of a name is used
_RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"image_encoder\.pos_embed", r"vision_encoder.pos_embed"),
        (r"image_encoder\.patch_embed\.proj\.", r"vision_encoder.patch_embed.projection."),
        (r"image_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_encoder.layers.\1.layer_norm\2."),
        (r"image_encoder\.blocks\.(\d+)\.", r"vision_encoder.layers.\1."),
        (r"image_encoder\.neck\.0\.", r"vision_encoder.neck.conv1."),
        (r"image_encoder\.neck\.1\.", r"vision_encoder.neck.layer_norm1."),
        (r"image_encoder\.neck\.2\.", r"vision_encoder.neck.conv2."),
        (r"image_encoder\.neck\.3\.", r"vision_encoder.neck.layer_norm2."),
        (
            r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
            r"shared_image_embedding.positional_embedding",
        ),
        (r"prompt_encoder\.point_embeddings\.", r"prompt_encoder.point_embed."),
        (r"prompt_encoder\.mask_downscaling\.0\.", r"prompt_encoder.mask_embed.conv1."),
        (r"prompt_encoder\.mask_downscaling\.1\.", r"prompt_encoder.mask_embed.layer_norm1."),
        (r"prompt_encoder\.mask_downscaling\.3\.", r"prompt_encoder.mask_embed.conv2."),
        (r"prompt_encoder\.mask_downscaling\.4\.", r"prompt_encoder.mask_embed.layer_norm2."),
        (r"prompt_encoder\.mask_downscaling\.6\.", r"prompt_encoder.mask_embed.conv3."),
        (r"mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.", r"mask_decoder.transformer.layers.\1.layer_norm\2."),
        (r"mask_decoder\.transformer\.norm_final_attn\.", r"mask_decoder.transformer.layer_norm_final_attn."),
        (r"mask_decoder\.output_upscaling\.0\.", r"mask_decoder.upscale_conv1."),
        (r"mask_decoder\.output_upscaling\.1\.", r"mask_decoder.upscale_layer_norm."),
        (r"mask_decoder\.output_upscaling\.3\.", r"mask_decoder.upscale_conv2."),
    )
)
_MLP_LAYER = re.compile(r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.(.+)")
_KEPT = ("prompt_encoder.no_mask_embed.", "prompt_encoder.not_a_point_embed.", "mask_decoder.")
# keys under which training code stores the weights of the whole model, and prefixes that it adds to their names
_NESTED = ("model_state", "sam_state", "sam", "state_dict", "model")
_PREFIXES = ("module.", "sam.")
_HEADS_OF_DECODER = 8


def read_sam_checkpoint(path: Path) -> Any:
    """Read an original SAM checkpoint.

    Parameters
    ----------
    path
        A ``.pth`` or ``.pt`` file, from which only tensors are unpickled, or ``.safetensors`` with the same names.

    Returns
    -------
    model
        A ``transformers.SamModel``.

    Raises
    ------
    WeightsNotFoundError
        If the file does not exist.
    WeightsError
        If the file is damaged, contains anything other than tensors, or is not a SAM ViT.
    """
    from transformers import SamModel

    state = _read_state(path)
    config = infer_sam_config(state)
    with torch.device("meta"):
        model = SamModel(config)
    converted = convert_sam_state(state)
    expected = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    _require_same_shapes(path, expected, {name: tuple(values.shape) for name, values in converted.items()})
    model.load_state_dict({name: values.float() for name, values in converted.items()}, assign=True)
    model.tie_weights()
    return model.eval()


def convert_sam_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an original SAM with their names in ``transformers.SamModel``.

    Raises
    ------
    WeightsError
        If a name is not one of SAM's weights.

    Examples
    --------
    >>> list(convert_sam_state({"image_encoder.blocks.3.norm1.bias": torch.zeros(1)}))
    ['vision_encoder.layers.3.layer_norm1.bias']
    """
    n_layers: dict[str, int] = {}
    for name in state:
        if layer := _MLP_LAYER.fullmatch(name):
            n_layers[layer[1]] = max(n_layers.get(layer[1], 0), int(layer[2]) + 1)
    converted = {}
    for name, values in state.items():
        if layer := _MLP_LAYER.fullmatch(name):
            converted[_mlp_name(layer[1], int(layer[2]), n_layers[layer[1]], layer[3])] = values
        else:
            converted[_renamed(name)] = values
    if "shared_image_embedding.positional_embedding" in converted:
        # one tensor, which SamModel has under two names
        shared = converted["shared_image_embedding.positional_embedding"]
        converted["prompt_encoder.shared_embedding.positional_embedding"] = shared
    return converted


def infer_sam_config(state: Mapping[str, Tensor]) -> Any:
    """Configuration (``transformers.SamConfig``) of an original SAM, derived from the shapes of its weights.

    Raises
    ------
    WeightsError
        If a weight whose shape is needed is missing.
    """
    from transformers import SamConfig

    try:
        return SamConfig(**_sizes(state))
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"these are not the weights of a SAM with a ViT-B, -L or -H encoder ({error}); "
            "give such a checkpoint (MobileSAM, vit_t, is not supported)"
        ) from error


def _sizes(state: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Sections of the configuration."""
    shape = {name: tuple(values.shape) for name, values in state.items()}
    hidden, n_colours, patch_px, _ = shape["image_encoder.patch_embed.proj.weight"]
    grid = shape["image_encoder.pos_embed"][1]
    depth = _count(state, r"image_encoder\.blocks\.(\d+)\.")
    spans = [(shape[f"image_encoder.blocks.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(depth)]
    head_channels = shape["image_encoder.blocks.0.attn.rel_pos_h"][1]
    channels = shape["prompt_encoder.no_mask_embed.weight"][1]
    attention_channels = shape["mask_decoder.transformer.final_attn_token_to_image.q_proj.weight"][0]
    head = "mask_decoder.iou_prediction_head.layers"
    return {
        "vision_config": {
            "hidden_size": hidden,
            "num_channels": n_colours,
            "patch_size": patch_px,
            "image_size": grid * patch_px,
            "num_hidden_layers": depth,
            "num_attention_heads": hidden // head_channels,
            "mlp_dim": shape["image_encoder.blocks.0.mlp.lin1.weight"][0],
            "qkv_bias": "image_encoder.blocks.0.attn.qkv.bias" in shape,
            "output_channels": shape["image_encoder.neck.0.weight"][0],
            # a window as large as the whole map is the same as global attention
            "window_size": min(spans) if min(spans) < grid else 0,
            "global_attn_indexes": [i for i, span in enumerate(spans) if span == grid],
            "num_pos_feats": shape["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"][1],
        },
        "prompt_encoder_config": {
            "hidden_size": channels,
            "image_size": grid * patch_px,
            "patch_size": patch_px,
            "mask_input_channels": shape["prompt_encoder.mask_downscaling.3.weight"][0],
            "num_point_embeddings": _count(state, r"prompt_encoder\.point_embeddings\.(\d+)\."),
        },
        "mask_decoder_config": {
            "hidden_size": channels,
            "mlp_dim": shape["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
            "num_hidden_layers": _count(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
            "num_attention_heads": _HEADS_OF_DECODER,
            "attention_downsample_rate": channels // attention_channels,
            "num_multimask_outputs": shape["mask_decoder.mask_tokens.weight"][0] - 1,
            "iou_head_depth": _count(state, head.replace(".", r"\.") + r"\.(\d+)\."),
            "iou_head_hidden_dim": shape[f"{head}.0.weight"][0],
            # the original code uses torch's default in the decoder; the default of transformers is the encoder's 1e-6
            "layer_norm_eps": 1e-5,
        },
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Number of layers, or other numbered parts, in the names that match a pattern."""
    numbers = [int(found[1]) for name in state if (found := re.match(pattern, name))]
    if not numbers:
        raise KeyError(pattern)
    return max(numbers) + 1


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    if name.startswith(_KEPT):
        return name
    raise WeightsError(f"{name!r} is not a weight of SAM; export the SAM model alone")


def _mlp_name(head: str, layer: int, n_layers: int, rest: str) -> str:
    if layer == 0:
        return f"{head}.proj_in.{rest}"
    return f"{head}.proj_out.{rest}" if layer == n_layers - 1 else f"{head}.layers.{layer - 1}.{rest}"


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a file, wherever they are nested, and remove common prefixes of their names."""
    if not path.is_file():
        raise WeightsNotFoundError(f"no checkpoint at {path}; give an existing .pth or .safetensors file")
    _require_published_digest(path)
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} is damaged or contains more than weights ({reason}); download or export it again"
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not (isinstance(content, Mapping) and content and all(isinstance(v, Tensor) for v in content.values())):
        raise WeightsError(f"{path} does not contain named weights; give an original SAM checkpoint")
    state = {str(name): values for name, values in content.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): values for name, values in state.items()}
    return state


def _require_published_digest(path: Path) -> None:
    """Check a published file, whose name contains the first digits of its SHA-256."""
    if path.name not in PUBLISHED_FILES:
        return
    expected = path.stem.rsplit("_", 1)[1]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 begins with {found[:6]}, not {expected}; download the file again"
        )


def _require_same_shapes(path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise WeightsError(
                f"{path} is not a SAM checkpoint: {name} has shape {found.get(name)}, expected {expected.get(name)}; "
                "give another file"
            )
