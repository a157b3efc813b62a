"""Compare SAM as converted by this package with the original ``segment-anything`` package, with random weights.

The original package is not a dependency. Create a separate environment for this check::

    python3 -m venv check
    check/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    check/bin/pip install . && check/bin/pip install --no-deps segment-anything==1.0
    check/bin/python benchmarks/sam_conversion.py             # ViT-B at 2 layers
    check/bin/python benchmarks/sam_conversion.py --depth 12  # the whole of ViT-B

Random weights test a conversion as well as trained ones: a layer that is swapped, transposed or left out changes the
output. The original imports torchvision for parts that are not used here; a stub replaces it.
"""

import argparse
import importlib
import sys
import tempfile
import types
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cryosam.backends.conversion import convert_sam_state, read_sam_checkpoint

TOLERANCE = 1e-4


def import_original() -> Any:
    """Import the original's modules, with stubs in place of torchvision during the import."""
    stand_ins: dict[str, Any] = {
        name: types.ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.ops",
            "torchvision.ops.boxes",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
    }
    for name in ("batched_nms", "box_area"):
        setattr(stand_ins["torchvision.ops.boxes"], name, None)
    for name in ("resize", "to_pil_image"):
        setattr(stand_ins["torchvision.transforms.functional"], name, None)
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("segment_anything.modeling")
    finally:
        for name in stand_ins:
            del sys.modules[name]


def build_original(modeling: Any, depth: int, image_px: int) -> Any:
    """Original SAM with a ViT-B encoder of ``depth`` layers, every weight random."""
    model = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=depth,
            embed_dim=768,
            img_size=image_px,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=12,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=[2, 5, 8, 11] if depth == 12 else [depth - 1],
            window_size=14,
            out_chans=256,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=256,
            image_embedding_size=(image_px // 16, image_px // 16),
            input_image_size=(image_px, image_px),
            mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in model.named_parameters():
            # the original initialises position embeddings and biases with zeros, which would hide mistakes
            noise = torch.randn(values.shape, generator=generator)
            values += noise * (0.02 if name.startswith("image_encoder") else 0.05)
    return model


def compare(original: Any, converted: Any, image_px: int) -> Mapping[str, float]:
    """Largest absolute differences between the two, for one image and each type of prompt."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(1, 3, image_px, image_px, generator=generator)
    points = torch.rand(1, 2, 2, generator=generator) * image_px
    labels = torch.tensor([[1, 0]])
    box = torch.tensor([[0.2, 0.3, 0.7, 0.6]]) * image_px
    mask = torch.randn(1, 1, image_px // 4, image_px // 4, generator=generator)
    differences: dict[str, float] = {}
    all_masks = []
    with torch.inference_mode():
        expected, found = original.image_encoder(pixels), converted.get_image_embeddings(pixels)
        differences["image embedding"] = _largest(expected, found)
        kinds: dict[str, dict[str, Any]] = {
            "points": {"points": (points, labels), "boxes": None, "masks": None},
            "box": {"points": None, "boxes": box, "masks": None},
            "points, box and mask": {"points": (points, labels), "boxes": box, "masks": mask},
        }
        for name, given in kinds.items():
            sparse, dense = original.prompt_encoder(**given)
            masks, scores = original.mask_decoder(
                image_embeddings=expected,
                image_pe=original.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            answer = converted(
                image_embeddings=found,
                input_points=None if given["points"] is None else points[:, None],
                input_labels=None if given["points"] is None else labels[:, None],
                input_boxes=None if given["boxes"] is None else box[:, None],
                input_masks=given["masks"],
                multimask_output=True,
            )
            differences[f"masks from {name}"] = _largest(masks, answer.pred_masks[:, 0])
            differences[f"scores from {name}"] = _largest(scores, answer.iou_scores[:, 0])
            all_masks.append(masks)
    # if all masks were the same, the comparison would prove nothing about the prompts
    spread = min(_largest(all_masks[0], all_masks[1]), _largest(all_masks[0], all_masks[2]))
    print(
        f"masks: standard deviation {all_masks[0].std().item():.2g}; masks of different prompts differ by {spread:.2g}"
    )
    return differences


def _largest(expected: Tensor, found: Tensor) -> float:
    return (expected - found).abs().max().item()


def main() -> None:
    """Convert, compare and print; the exit code is 1 if a difference exceeds the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=2, help="layers of the image encoder (ViT-B: 12)")
    parser.add_argument("--image-px", type=int, default=1024, help="edge of the image")
    arguments = parser.parse_args()

    original = build_original(import_original(), arguments.depth, arguments.image_px)
    state = original.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth"
        torch.save(state, path)
        converted = read_sam_checkpoint(path)
    names = set(convert_sam_state(state)) - {"prompt_encoder.shared_embedding.positional_embedding"}
    print(f"weights: {len(state)} in the original, {len(names)} converted, {len(converted.state_dict())} in SamModel")
    differences = compare(original, converted, arguments.image_px)
    for name, difference in differences.items():
        print(f"{name}: largest difference {difference:.2g}")
    if len(names) != len(state) or max(differences.values()) > TOLERANCE:
        raise SystemExit(f"the conversion differs by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
