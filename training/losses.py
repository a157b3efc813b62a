"""The prompts with which the segmenter is trained, and the loss."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from cryosam.backends.embedded import standardise
from cryosam.backends.prompt_unet import STRIDE
from walks import CELLS, Batch

FOCAL, OTHERS, NEIGHBOURS = 20.0, 0.08, 4.0  # weights of the focal loss, all candidates, and neighbours' pixels
FORGOTTEN = 0.1  # share of the slices of a walk in which no memory is given
ALONE = 0.1  # share of the walks without neighbouring slices


@dataclass(eq=False)
class Round:
    """Results for one prompt per object: the loss, and the best-scored mask, its memory, true and predicted IoU."""

    cost: Tensor
    logits: Tensor
    memory: Tensor
    iou: Tensor
    score: Tensor


Prompts = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]
"""Points, whether they are positive, boxes, mask prompts and memory: the arguments of `PromptUNet.decode`."""


class Network(Protocol):
    """A network that can be trained: `cryosam.backends.prompt_unet.PromptUNet`, or one that is compared with it."""

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of images (n, c, h, w), in any form that `decode` accepts."""

    def decode(self, features: tuple[Tensor, ...], *prompts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, k, cells, cells) of k candidates, the logits (n, k) of their scores, and memory (n, k, m)."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Weights of the scores' loss: of their absolute error, and of all scores in slices without the object."""

    error: float = 4.0
    ends: float = 1.5


def play(network: Network, batch: Batch, generator: torch.Generator, scores: Scores = Scores()) -> list[Round]:
    """A click, a correction, then a walk, in which the prompt in each slice is the result in the previous one."""
    n, n_slices = batch.images.shape[:2]
    pixels = standardise(batch.images.flatten(0, 1))
    is_alone = torch.rand(n, generator=generator).to(pixels.device) < ALONE
    pixels[:, 1:] *= ~is_alone.repeat_interleave(n_slices)[:, None, None, None]
    features = network.encode(pixels.contiguous(memory_format=torch.channels_last))
    slices = [tuple(f.unflatten(0, (n, n_slices))[:, i] for f in features) for i in range(n_slices)]
    positive = torch.ones(n, 1, dtype=torch.bool, device=pixels.device)
    points = batch.clicks[:, None]
    boxes = _boxes(batch.masks[:, 0], generator)
    click = _ask(network, slices[0], (points, positive, boxes, None, None), batch, 0, scores)

    where, is_positive = _correction(click.logits, batch.masks[:, 0], generator)
    points, signs = (torch.cat(pair, dim=1) for pair in ((points, where[:, None]), (positive, is_positive[:, None])))
    without = torch.rand(n, generator=generator).to(pixels.device) < 0.25
    priors = torch.where(without[:, None, None], torch.nan, click.logits)
    correction = _ask(network, slices[0], (points, signs, boxes, priors, None), batch, 0, scores)

    rounds = [click, correction]
    is_corrected = torch.rand(n, generator=generator).to(pixels.device) < 0.3
    before = torch.where(is_corrected[:, None, None], correction.logits, click.logits)
    memory = torch.where(is_corrected[:, None], correction.memory, click.memory)
    for i in range(1, n_slices):
        best = before.flatten(1).argmax(dim=1)
        points = STRIDE * torch.stack([best // CELLS, best % CELLS], dim=1).float()[:, None] + (STRIDE - 1) / 2
        is_forgotten = torch.rand(n, generator=generator).to(pixels.device) < FORGOTTEN
        memory = torch.where(is_forgotten[:, None], torch.nan, memory)
        rounds.append(_ask(network, slices[i], (points, positive, None, before, memory), batch, i, scores))
        before, memory = rounds[-1].logits, rounds[-1].memory
    return rounds


def _ask(
    network: Network, features: tuple[Tensor, ...], prompts: Prompts, batch: Batch, which: int, scores: Scores
) -> Round:
    logits, judged, memory = (values.float() for values in network.decode(features, *prompts))
    target = batch.masks[:, which]
    costs = mask_cost(logits, target, batch.others[:, which])
    iou = true_iou(logits, target)
    cost = costs.amin(dim=1) + OTHERS * costs.sum(dim=1)
    score_cost = functional.binary_cross_entropy_with_logits(judged, iou, reduction="none").mean(dim=1)
    score_cost = score_cost + scores.error * (torch.sigmoid(judged) - iou).abs().mean(dim=1)
    is_end = target.amax(dim=(1, 2)) <= 0.5
    cost = cost + score_cost * torch.where(is_end, scores.ends, 1.0)
    chosen = judged.argmax(dim=1)
    rows = torch.arange(len(chosen), device=chosen.device)
    return Round(
        cost.mean(),
        logits.detach()[rows, chosen],
        memory.detach()[rows, chosen],
        iou[rows, chosen],
        torch.sigmoid(judged.detach())[rows, chosen],
    )


def mask_cost(logits: Tensor, target: Tensor, others: Tensor) -> Tensor:
    """Focal and Dice loss of each candidate, (n, k); pixels of neighbours close to the object have more weight."""
    wanted = target[:, None].expand_as(logits)
    near = functional.max_pool2d(target[:, None], 9, stride=1, padding=4)
    weight = 1 + NEIGHBOURS * near * others[:, None]
    share = torch.sigmoid(logits)
    focal = (share - wanted) ** 2 * functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    shared, total = (share * wanted * weight).sum(dim=(2, 3)), ((share + wanted) * weight).sum(dim=(2, 3))
    return FOCAL * (focal * weight).mean(dim=(2, 3)) + 1 - (2 * shared + 1) / (total + 1)


def true_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of each candidate's mask, (n, k); 0 if the object is not in the slice."""
    mask, wanted = logits.detach() > 0, (target > 0.5)[:, None]
    shared, union = (mask & wanted).sum(dim=(2, 3)), (mask | wanted).sum(dim=(2, 3))
    return shared / union.clamp(min=1)


def _boxes(target: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes with random errors for one object in eight; NaN for the others."""
    n = len(target)
    boxes = torch.full((n, 4), torch.nan)
    for i in torch.nonzero(torch.rand(n, generator=generator) < 0.125)[:, 0].tolist():
        rows, cols = torch.nonzero(target[i] > 0.5, as_tuple=True)
        if len(rows):
            corners = torch.stack([rows.min(), cols.min(), rows.max(), cols.max()]).cpu() * STRIDE + (STRIDE - 1) / 2
            boxes[i] = corners + torch.randn(4, generator=generator)
    return boxes.to(target.device)


def _correction(logits: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random cell where the mask is wrong, or, if none is, one in the object; and whether it is in the object."""
    wanted = target > 0.5
    wrong = (logits > 0) != wanted
    odds = torch.where(wrong, 1.0, 1e-4 * wanted) + 1e-9
    cells = torch.multinomial(odds.flatten(1).cpu(), 1, generator=generator)[:, 0].to(target.device)
    rows = torch.arange(len(cells), device=target.device)
    where = torch.stack([cells // CELLS, cells % CELLS], dim=1)
    return STRIDE * where.float() + (STRIDE - 1) / 2, wanted.flatten(1)[rows, cells]
