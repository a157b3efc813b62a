"""Train the descriptor on boxes from `simulate_descriptor.py`, and write its weights.

::

    python training/train_descriptor.py --pool POOL --validation VALIDATION --out descriptor.safetensors --minutes 60

Of three clicks at a time, boxes of the clicked kind are told from all others in the same tomogram, in two ways: each
box from each other (a contrastive loss), and all others from the mean vector of a few, as a search does it.
"""

import argparse
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from cryosam.backends.descriptor_network import BOX_PX, DescriptorNetwork, load_descriptor_network

CLICKED = 0
_CLICKS, _MOST, _MOST_OTHERS = 3, 20, 32  # clicks per step, and boxes of the clicked kind and of others for each
_SHARPNESS = 12.0  # factor of similarities in the contrastive loss
_OTHERS_WEIGHT = 0.3  # of boxes of kinds that were not clicked, whose size is not that of the boxes
_SUPPORT = (1, 1, 2, 4, 8)  # boxes whose mean vector the others are compared with
_WARM_UP = 100  # steps

Group = tuple[Float[Tensor, "n 2 e e e"], Int[Tensor, " n"]]
"""Boxes of one click, and their labels."""


@lru_cache(maxsize=1500)
def read_group(path: Path) -> Group:
    """Read the boxes of one click."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["boxes"]), torch.from_numpy(arrays["labels"].astype(int))


def shift_and_turn(boxes: Float[Tensor, "n 2 e e e"], rng: np.random.Generator) -> Float[Tensor, "n 2 b b b"]:
    """Boxes shifted by up to two pixels, all mirrored or transposed alike, with more noise and other contrast."""
    low, high = (0, boxes.shape[-1] - BOX_PX + 1) if rng.random() < 0.5 else (1, boxes.shape[-1] - BOX_PX)
    shifted = []
    for box, (z, y, x) in zip(boxes, rng.integers(low, high, (len(boxes), 3)), strict=True):
        shifted.append(box[:, z : z + BOX_PX, y : y + BOX_PX, x : x + BOX_PX])
    shown = torch.stack(shifted).float()
    axes = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
    shown = shown.flip(axes) if axes else shown
    if rng.random() < 0.5:
        shown = shown.transpose(3, 4)
    if rng.random() < 0.3:
        most = torch.tensor([rng.uniform(0, 0.7), rng.uniform(0, 0.3)], dtype=torch.float32)
        shown = shown + torch.randn_like(shown) * most.view(1, 2, 1, 1, 1)
    if rng.random() < 0.5:
        shown = shown * (1 + 0.15 * torch.randn(1))
    return shown


def loss_of(
    vectors: Float[Tensor, "n k"], labels: Int[Tensor, " n"], odds: Float[Tensor, " 2"], rng: np.random.Generator
) -> Tensor:
    """Contrastive loss of the boxes of one click, and cross-entropy of the comparison with a mean vector."""
    is_self = torch.eye(len(labels), dtype=torch.bool)
    is_same = (labels[:, None] == labels) & (labels[:, None] >= CLICKED) & ~is_self
    logits = (_SHARPNESS * vectors @ vectors.T).masked_fill(is_self, -1e4)
    logs = logits - logits.logsumexp(dim=1, keepdim=True)
    anchors = torch.nonzero(is_same.any(dim=1))[:, 0]
    each = -(logs * is_same).sum(dim=1)[anchors] / is_same.sum(dim=1)[anchors]
    weights = torch.where(labels[anchors] == CLICKED, 1.0, _OTHERS_WEIGHT)
    contrastive = (each * weights).sum() / weights.sum()
    mine = torch.nonzero(labels == CLICKED)[:, 0]
    mine = mine[torch.randperm(len(mine))][: min(int(rng.choice(_SUPPORT)), len(mine) - 1)]
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[mine] = False
    mean = functional.normalize(vectors[mine].mean(dim=0), dim=0)
    scores = vectors[rest] @ mean * odds[0].exp() + odds[1]
    return contrastive + functional.binary_cross_entropy_with_logits(scores, (labels[rest] == CLICKED).float())


def mean_precision(is_mine: Tensor, scores: Tensor) -> float:
    """Average precision of a ranking."""
    ranked = is_mine[scores.argsort(descending=True)].float()
    at = ranked.cumsum(dim=0) / torch.arange(1, len(ranked) + 1)
    return float(at[ranked > 0].mean())


@torch.no_grad()
def validate(network: DescriptorNetwork, paths: list[Path]) -> tuple[float, float]:
    """Average precision of the ranking by one clicked box (the mean of ten), and share of the clicked kind."""
    network.eval()
    found, shares = [], []
    for path in paths:
        boxes, labels = read_group(path)
        first = (boxes.shape[-1] - BOX_PX) // 2
        part = slice(first, first + BOX_PX)
        vectors = network(boxes[:, :, part, part, part].float())
        for click in torch.nonzero(labels == CLICKED)[:10, 0]:
            rest = torch.arange(len(labels)) != click
            found.append(mean_precision(labels[rest] == CLICKED, vectors[rest] @ vectors[click]))
        shares.append(float((labels == CLICKED).float().mean()))
    network.train()
    return float(np.mean(found)), float(np.mean(shares))


def train(arguments: argparse.Namespace) -> DescriptorNetwork:
    """Train for the given time, and return the network."""
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    begin = arguments.begin_with
    network = load_descriptor_network(begin.read_bytes()) if begin else DescriptorNetwork()
    network = network.requires_grad_(True).train().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    decayed = [values for name, values in network.named_parameters() if name != "odds"]
    groups = [{"params": decayed, "weight_decay": 1e-3}, {"params": [network.odds], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups)
    every = sorted(arguments.pool.glob("*.npz"))
    clear = [path for path in every if float(np.load(path)["snr"]) >= arguments.least_snr]
    held_out = sorted(arguments.validation.glob("*.npz"))
    start, step, total = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * arguments.minutes)) < 1:
        rate = arguments.learning_rate * min(1, step / _WARM_UP) * (0.5 + 0.5 * np.cos(np.pi * done) + 0.01)
        for group in optimiser.param_groups:
            group["lr"] = rate
        shown, labels = [], []
        for path in rng.choice(np.array(clear if done < 0.5 else every), _CLICKS, replace=False):
            boxes, kinds = read_group(path)
            chosen = torch.cat([_draw(kinds == CLICKED, _MOST), _draw(kinds != CLICKED, _MOST_OTHERS)])
            shown.append(shift_and_turn(boxes[chosen], rng))
            labels.append(kinds[chosen])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors = network(torch.cat(shown).contiguous(memory_format=torch.channels_last_3d))
        parts = vectors.float().split([len(each) for each in labels])
        loss = sum(loss_of(v, k, network.odds, rng) for v, k in zip(parts, labels, strict=True)) / _CLICKS
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, total = step + 1, total + float(loss.detach())  # type: ignore[union-attr]
        if step % 500 == 0:
            precision, share = validate(network, held_out)
            print(
                f"step {step}, {100 * done:.0f} %: loss {total / 500:.3f}, average precision {precision:.3f} "
                f"(by chance {share:.3f})",
                flush=True,
            )
            total = 0.0
    return network.eval()


def _draw(which: Tensor, most: int) -> Int[Tensor, " n"]:
    """At most some indices at which a mask is true, in random order."""
    indices = torch.nonzero(which)[:, 0]
    return indices[torch.randperm(len(indices))[:most]]


def main() -> None:
    """Train, measure, and write the weights in float16."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--begin-with", type=Path)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--least-snr", type=float, default=0.13, help="of the tomograms in the first half of the time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    network = train(arguments)
    weights = {name: values.detach().half().contiguous() for name, values in network.state_dict().items()}
    save_file(weights | {"odds": network.odds.detach().float()}, arguments.out)
    written = load_descriptor_network(arguments.out.read_bytes())
    precision, share = validate(written, sorted(arguments.validation.glob("*.npz")))
    print(f"average precision {precision:.3f} (by chance {share:.3f})")


if __name__ == "__main__":
    main()
