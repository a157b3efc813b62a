"""Compare the network with SAM's architecture at a similar size, trained for the same time on the same data.

::

    python training/compare_sam.py --pool POOL --minutes 6

Each is trained from random weights by one process with one thread, then measured on walks in the validation tomograms:
IoU after a click and along the walk, error of the scores, and the share of ends that are recognised.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from cryosam.backends.prompt_unet import N_BESIDE, PromptUNet
from losses import Network, play
from train import set_rate, summarise
from walks import CELLS, SIZE_PX, batches

ENLARGED = 2  # images are enlarged by this factor before they are cut into SAM's patches of 8 pixels


class SmallSam(nn.Module):
    """`transformers.SamModel` with the interface of a `PromptUNet`, without box prompts."""

    def __init__(self) -> None:
        super().__init__()
        size, patch, hidden = SIZE_PX * ENLARGED, 8, 96
        vision = SamVisionConfig(
            image_size=size,
            patch_size=patch,
            num_channels=1 + N_BESIDE,
            hidden_size=144,
            num_hidden_layers=6,
            num_attention_heads=4,
            mlp_dim=432,
            output_channels=hidden,
            num_pos_feats=hidden // 2,
            window_size=8,
            global_attn_indexes=[2, 5],
        )
        prompts = SamPromptEncoderConfig(
            image_size=size, patch_size=patch, image_embedding_size=size // patch, hidden_size=hidden
        )
        decoder = SamMaskDecoderConfig(
            hidden_size=hidden, mlp_dim=256, num_attention_heads=4, iou_head_hidden_dim=96, num_multimask_outputs=3
        )
        self.sam = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embeddings of images, one per patch."""
        enlarged = functional.interpolate(images, scale_factor=ENLARGED, mode="bilinear")
        return (self.sam.vision_encoder(enlarged).last_hidden_state,)

    def decode(self, features: tuple[Tensor, ...], *prompts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at stride 2, the logits of the scores, and an empty memory."""
        points, is_positive, _, priors, _ = prompts
        assert points is not None
        assert is_positive is not None
        encoder, n = self.sam.prompt_encoder, len(points)
        places = ENLARGED * (points.flip(-1) + 0.5) - 0.5
        sparse, dense = encoder(places[:, None], is_positive[:, None].int(), None, None)
        dense = dense.expand(n, -1, -1, -1)
        if priors is not None:
            known = ~priors.isnan().any(dim=(1, 2))
            edge = 4 * encoder.image_embedding_size[0]
            enlarged = functional.interpolate(torch.nan_to_num(priors)[:, None], size=(edge, edge), mode="bilinear")
            dense = torch.where(known[:, None, None, None], encoder.mask_embed(enlarged), dense)
        where = self.sam.get_image_wide_positional_embeddings().expand(n, -1, -1, -1)
        logits, scores = self.sam.mask_decoder(features[0], where, sparse, dense, multimask_output=True)[:2]
        cells = functional.interpolate(logits[:, 0].float(), size=(CELLS, CELLS), mode="bilinear", antialias=True)
        return cells, torch.logit(scores[:, 0].float().clamp(1e-4, 1 - 1e-4)), points.new_zeros(*cells.shape[:2], 0)


def train(network: nn.Module, pool: Path, minutes: float) -> int:
    """Train for some minutes of processor time; returns the number of steps."""
    source = batches(sorted(pool.glob("train-*.npz")), 16, np.random.default_rng(0))
    generator, optimiser = torch.Generator().manual_seed(0), torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    started, step = time.process_time(), 0
    while (progress := (time.process_time() - started) / (60 * minutes)) < 1:
        set_rate(optimiser, 1e-3, step, progress)
        with torch.autocast("cpu", torch.bfloat16):
            rounds = play(network, next(source), generator)
        optimiser.zero_grad()
        torch.stack([r.cost for r in rounds]).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        step += 1
    return step


@torch.no_grad()
def measure(network: Network, pool: Path, n_batches: int = 20) -> dict[str, float]:
    """Mean figures over batches of 32 validation walks."""
    source = batches(sorted(pool.glob("validation-*.npz")), 32, np.random.default_rng(1))
    generator = torch.Generator().manual_seed(1)
    figures = []
    for _ in range(n_batches):
        batch = next(source)
        figures.append(summarise(play(network, batch, generator), batch))
    return {name: float(np.nanmean([f[name] for f in figures])) for name in figures[0]}


def main() -> None:
    """Train and measure both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for make in (PromptUNet, SmallSam):
        torch.manual_seed(0)
        network = make()
        n = sum(p.numel() for p in network.parameters())
        steps = train(network, arguments.pool, arguments.minutes)
        network.eval()
        found = ", ".join(f"{name} {value:.3f}" for name, value in measure(network, arguments.pool).items())
        print(f"{make.__name__}: {n / 1e6:.1f} million parameters, {steps} steps; {found}", flush=True)


if __name__ == "__main__":
    main()
