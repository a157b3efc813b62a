"""The network of the embedded segmenter: a convolutional encoder that runs once per image, and a small decoder.

The encoder also sees neighbouring slices. They help to decide whether an object ends or continues, and whether a
structure is real or noise.

The decoder is a small U-Net on maps of the prompts; the encoder's features are added to its levels. Everything is
convolutional, so the edges of the input may be any multiple of 16. Each candidate's score is computed from the features
under its own mask and under the mask prompt, and from a memory of the object in the previous slice, similar to the
memory of SAM 2. A single slice does not show whether an object continues or is only smeared by the missing wedge.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["N_BESIDE", "N_CANDIDATES", "STRIDE", "PromptUNet", "draw_prompts", "fold_statistics"]

N_CANDIDATES = 3
N_BESIDE = 4  # neighbouring slices that are seen with an image
STRIDE = 2  # pixels per cell of the logits and of the prompts' maps
_N_MAPS = 7
_NEAR, _FAR = 1.0, 4.0  # standard deviations of the Gaussian spots drawn for a point, in cells
_N_FACTS = 2  # numbers that describe a mask besides its features: its size and its certainty
_PRIOR_RANGE = 3.0  # scale of the logits of a mask prompt: they are drawn as tanh(logit / scale)


class PromptUNet(nn.Module):
    """Computes features of images, then masks and scores from prompts.

    It is trained and saved with batch normalisation; `fold_statistics` makes a faster copy for inference.

    Parameters
    ----------
    encoder_channels
        Numbers of channels at strides 2, 4, 8 and 16.
    decoder_channels
        Numbers of channels at strides 2, 4 and 8.
    """

    def __init__(
        self, encoder_channels: Sequence[int] = (24, 56, 88, 112), decoder_channels: Sequence[int] = (24, 48, 72)
    ) -> None:
        super().__init__()
        a, b, c, d = encoder_channels
        p, q, r = decoder_channels
        self.stem = nn.Sequential(_unit(1 + N_BESIDE, a), _unit(a, a, step=2), _Residual(a))
        self.down = nn.ModuleList(
            nn.Sequential(_unit(low, high, step=2), _Residual(high), _Residual(high))
            for low, high in ((a, b), (b, c), (c, d))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(high, low, 1) for low, high in ((a, b), (b, c), (c, d)))
        self.merge = nn.ModuleList((_unit(a, a), _unit(b, b), _Residual(c)))
        self.out = nn.ModuleList(nn.Conv2d(n, m, 1) for n, m in ((a, p), (b, q), (c, r)))

        self.prompts = nn.Conv2d(_N_MAPS, p, 3, padding=1)
        self.fine = _unit(p, p)
        self.middle_in, self.middle = nn.Conv2d(p, q, 3, stride=2, padding=1), _unit(q, q)
        self.coarse_in, self.coarse = nn.Conv2d(q, r, 3, stride=2, padding=1), nn.Sequential(_Residual(r), _Residual(r))
        self.up_middle, self.merge_middle = nn.Conv2d(r, q, 1), _unit(q, q)
        self.up_fine, self.merge_fine = nn.Conv2d(q, p, 1), _unit(p, p)
        self.logits = nn.Conv2d(p, N_CANDIDATES, 3, padding=1)
        self.n_remembered = p + r + _N_FACTS
        self.recall = nn.Linear(self.n_remembered, r)
        self.score = nn.Sequential(
            nn.Linear(3 * self.n_remembered + 3, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def encode(self, images: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 2, 4 and 8, which the decoder adds to its levels.

        The channels of ``images`` are the image and its neighbouring slices, normalised; 0 if these are not known.
        """
        levels = [self.stem(images)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = levels[-1]
        merged = []
        for i in (2, 1, 0):
            x = self.merge[i](levels[i] + _enlarge(self.lateral[i](x)))
            merged.append(self.out[i](x))
        coarse, middle, fine = merged
        return fine, middle, coarse

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "n p 2"],
        is_positive: Bool[Tensor, "n p"],
        boxes: Float[Tensor, "n 4"] | None = None,
        priors: Float[Tensor, "n rows cols"] | None = None,
        memory: Float[Tensor, "n m"] | None = None,
    ) -> tuple[Float[Tensor, "n k rows cols"], Float[Tensor, "n k"], Float[Tensor, "n k m"]]:
        """Logits at stride 2, the logits of the scores, and the memory of each candidate.

        The prompts are those of `draw_prompts`. ``memory`` is that of each object's mask in the previous slice; None,
        or a row of NaN, means none. ``features`` have one row per object.
        """
        rows, cols = features[0].shape[2:]
        maps = draw_prompts((rows, cols), points, is_positive, boxes, priors)
        maps = maps.contiguous(memory_format=torch.channels_last)
        fine = self.fine(functional.relu(self.prompts(maps) + features[0]))
        middle = self.middle(functional.relu(self.middle_in(fine) + features[1]))
        if memory is None:
            memory = points.new_full((len(points), self.n_remembered), torch.nan)
        is_known = ~memory.isnan().any(dim=1, keepdim=True)
        memory = torch.nan_to_num(memory) * is_known
        recalled = self.recall(memory) * is_known
        coarse = self.coarse(functional.relu(self.coarse_in(middle) + features[2] + recalled[..., None, None]))
        middle = self.merge_middle(middle + _enlarge(self.up_middle(coarse)))
        fine = self.merge_fine(fine + _enlarge(self.up_fine(middle)))
        logits = self.logits(fine)
        share = torch.sigmoid(logits.detach())
        prior = ((maps[:, 5] + 1) / 2 * maps[:, 6])[:, None].to(share.dtype)
        seen = _look_under(share, fine, coarse)
        agreement = torch.minimum(share, prior).sum(dim=(2, 3)) / (torch.maximum(share, prior).sum(dim=(2, 3)) + 1e-3)
        facts = torch.stack([agreement, *(v.expand_as(agreement) for v in (maps[:, 6, :1, 0], is_known))], dim=-1)
        earlier = torch.cat([memory[:, None].to(seen.dtype), _look_under(prior, fine, coarse)], dim=-1)
        judged: Tensor = self.score(torch.cat([seen, facts, earlier.expand(-1, N_CANDIDATES, -1)], dim=-1))
        return logits, judged[..., 0], seen


def _look_under(
    share: Float[Tensor, "n k rows cols"],
    fine: Float[Tensor, "n p rows cols"],
    coarse: Float[Tensor, "n r coarse_rows coarse_cols"],
) -> Float[Tensor, "n k s"]:
    """Mean features under each mask, its size and its certainty."""
    area = share.sum(dim=(2, 3))
    total = area[..., None] + 1e-3
    near = torch.einsum("nkhw,nphw->nkp", share, fine) / total
    thick = functional.avg_pool2d(share, 4)
    wide = torch.einsum("nkhw,nrhw->nkr", thick, coarse) / (thick.sum(dim=(2, 3))[..., None] + 1e-3)
    certainty = (share * (2 * share - 1).abs()).sum(dim=(2, 3)) / total[..., 0]
    return torch.cat([near, wide, torch.stack([torch.log1p(area) / 4, certainty], dim=-1)], dim=-1)


def draw_prompts(
    size: tuple[int, int],
    points: Float[Tensor, "n p 2"],
    is_positive: Bool[Tensor, "n p"],
    boxes: Float[Tensor, "n 4"] | None = None,
    priors: Float[Tensor, "n rows cols"] | None = None,
    is_given: Bool[Tensor, "n p"] | None = None,
) -> Float[Tensor, "n m rows cols"]:
    """Maps of the prompts at the network's stride.

    Parameters
    ----------
    size
        Rows and columns of the maps.
    points
        ``(n, p, 2)`` row, col in the network's pixels; an integer is the centre of a pixel.
    is_positive
        ``(n, p)`` True for "the object is here".
    boxes
        ``(n, 4)`` top, left, bottom, right in pixels, or None; a row of NaN means no box for that object.
    priors
        ``(n, rows, cols)`` logits, or None; a map with NaN means no mask prompt for that object.
    is_given
        ``(n, p)`` False for a point that is only padding; None means that there is no padding.

    Examples
    --------
    >>> maps = draw_prompts((8, 8), torch.tensor([[[4.5, 8.5]]]), torch.tensor([[True]]))
    >>> maps.shape, maps[0, 0].argmax().item()
    (torch.Size([1, 7, 8, 8]), 20)
    """
    rows, cols = (torch.arange(n, device=points.device, dtype=torch.float32) for n in size)
    cells = (points - (STRIDE - 1) / 2) / STRIDE
    square = (rows - cells[..., :1])[..., :, None] ** 2 + (cols - cells[..., 1:])[..., None, :] ** 2
    given = torch.ones_like(is_positive) if is_given is None else is_given
    maps = points.new_zeros(len(points), _N_MAPS, *size)
    for i, (sign, sigma) in enumerate(((True, _NEAR), (True, _FAR), (False, _NEAR), (False, _FAR))):
        spots = torch.exp(-0.5 * square / sigma**2) * ((is_positive == sign) & given)[..., None, None]
        if points.shape[1]:
            maps[:, i] = spots.amax(dim=1)
    if boxes is not None:
        top, left, bottom, right = ((boxes - (STRIDE - 1) / 2) / STRIDE).T[..., None]
        inside = ((rows >= top - 0.5) & (rows <= bottom + 0.5))[:, :, None]
        inside = inside & ((cols >= left - 0.5) & (cols <= right + 0.5))[:, None, :]
        maps[:, 4] = (2.0 * inside - 1) * ~boxes.isnan().any(dim=1)[:, None, None]
    if priors is not None:
        known = ~priors.isnan().any(dim=(1, 2))[:, None, None]
        maps[:, 5] = torch.tanh(torch.nan_to_num(priors) / _PRIOR_RANGE) * known
        maps[:, 6] = known.expand_as(priors)
    return maps


def fold_statistics(network: PromptUNet) -> PromptUNet:
    """Copy for inference with the batch normalisation folded into the convolutions; a quarter faster on a CPU."""
    folded = copy.deepcopy(network).eval()
    for part in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for i in range(len(part) - 1):
            convolution, norm = part[i], part[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[i], part[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from its stubs
    return folded


class _Residual(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first = _unit(n, n)
        self.second = nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return functional.relu(x + self.second(self.first(x)))


def _unit(n_in: int, n_out: int, step: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=step, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()
    )


def _enlarge(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
