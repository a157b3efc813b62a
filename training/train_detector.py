"""Train the detector on tomograms from `simulate_detector.py`, and write its weights.

::

    python training/train_detector.py --pool POOL --validation VALIDATION --out detector.safetensors --minutes 40

Each cell is told whether a particle is centred in it (a focal loss), and cells at a centre where it is.
"""

import argparse
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from cryosam.backends.detector_network import OUTPUT_STRIDE, PX_PER_DIAMETER, DetectorNetwork, load_detector_network
from cryosam.matching.detector import DetectorView

CROP = (32, 64, 64)  # pixels
_TOGETHER = 4  # crops per step
_SIZES = (0.55, 1.8)  # diameters: particles of other sizes are neither right nor wrong
_SPREAD = 0.6  # cells, standard deviation of the target around a centre
_NEAR = 1.5  # cells around a centre in which its offset is learned
_UNCLEAR = 0.35  # of the diameter of a particle of another size: cells nearer to its centre do not count
_OFFSET_WEIGHT = 0.5
_WARM_UP = 100  # steps
_REPORT = 1000  # steps
_REACH = 0.3  # diameters within which a detection is right
_APART, _MOST = 0.6, 1500  # diameters between detections, and how many are looked at

View = tuple[Float[np.ndarray, "2 z y x"], Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]
"""A tomogram as the network sees it, centres in pixels, and diameters relative to the one that was asked for."""


@lru_cache(maxsize=1000)
def read_view(path: Path) -> View:
    """Read one view of a pool."""
    with np.load(path) as arrays:
        return arrays["volume"], arrays["points"], arrays["sizes"]


def crop_of(view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A random crop, mirrored or transposed, with more noise and another contrast; centres in it, and their sizes."""
    volume, points, sizes = view
    shape, edges = np.array(volume.shape[1:]), np.array(CROP)
    first = rng.integers(0, np.maximum(1, shape - edges + 1))
    if rng.random() < 0.6:  # around a particle
        first = np.clip(
            (points[rng.integers(len(points))] - edges * rng.random(3)).astype(int), 0, np.maximum(0, shape - edges)
        )
    z, y, x = (slice(a, a + edge) for a, edge in zip(first, CROP, strict=True))
    part = torch.from_numpy(volume[:, z, y, x]).float()
    short = [edge - n for n, edge in zip(part.shape[1:], CROP, strict=True)]
    part = functional.pad(part, (0, short[2], 0, short[1], 0, short[0]))
    points = torch.from_numpy(points - first.astype(np.float32))
    for axis in range(3):
        if rng.random() < 0.5:
            part = part.flip(axis + 1)
            points[:, axis] = CROP[axis] - 1 - points[:, axis]
    if rng.random() < 0.5:
        part, points = part.transpose(2, 3), points[:, [0, 2, 1]]
    if rng.random() < 0.3:
        most = torch.tensor([rng.uniform(0, 0.7), rng.uniform(0, 0.3)], dtype=torch.float32)
        part = part + torch.randn_like(part) * most.view(2, 1, 1, 1)
    if rng.random() < 0.5:
        part = part * (1 + 0.15 * torch.randn(1))
    return part, points, torch.from_numpy(sizes)


def targets_of(points: Tensor, sizes: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heat, whether a cell holds a centre, whether it counts, and the offset to the nearest centre, in cells."""
    grid = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))
    heat, counts = torch.zeros(shape), torch.ones(shape, dtype=torch.bool)
    is_centre, offset = torch.zeros(shape, dtype=torch.bool), torch.zeros((3, *shape))
    nearest = torch.full(shape, torch.inf)
    cells, margin = (points + 0.5) / OUTPUT_STRIDE - 0.5, sizes[:, None] * PX_PER_DIAMETER / OUTPUT_STRIDE / 2
    is_near = ((cells > -margin) & (cells < torch.tensor(shape) + margin)).all(dim=1)
    for cell, size in zip(cells[is_near], sizes[is_near].tolist(), strict=True):
        low = [max(0, int(c) - 4) for c in cell]
        part = tuple(slice(a, max(a, int(c) + 6)) for a, c in zip(low, cell, strict=True))
        away = cell.view(3, 1, 1, 1) - grid[(slice(None), *part)]
        if away.numel() == 0:
            continue
        square = away.square().sum(dim=0)
        if not _SIZES[0] < size < _SIZES[1]:
            counts[part] &= square > (_UNCLEAR * size * PX_PER_DIAMETER / OUTPUT_STRIDE) ** 2
            continue
        heat[part] = torch.maximum(heat[part], torch.exp(-square / (2 * _SPREAD**2)))
        closer = square < nearest[part]
        nearest[part] = torch.where(closer, square, nearest[part])
        offset[(slice(None), *part)] = torch.where(closer, away, offset[(slice(None), *part)])
        at = tuple(cell.round().long().tolist())
        if all(0 <= a < n for a, n in zip(at, shape, strict=True)):
            is_centre[at] = True
    return heat, is_centre, counts | is_centre, torch.where(nearest < _NEAR**2, offset, torch.nan)


def loss_of(found: Tensor, heat: Tensor, is_centre: Tensor, counts: Tensor, offset: Tensor) -> Tensor:
    """Focal loss of the heat (Zhou et al., "Objects as points", 2019), and absolute error of the offsets."""
    logits = found[:, 0]
    p = logits.sigmoid()
    hits = -functional.logsigmoid(logits) * (1 - p).square() * is_centre
    others = -functional.logsigmoid(-logits) * p.square() * (1 - heat) ** 4 * (~is_centre & counts)
    near = ~offset[:, 0].isnan()
    error = (found[:, 1:] - offset.nan_to_num()).abs().sum(dim=1) * near
    n = is_centre.sum().clamp(min=1)
    return (hits.sum() + others.sum()) / n + _OFFSET_WEIGHT * error.sum() / near.sum().clamp(min=1)


def validate(network: DetectorNetwork, paths: list[Path]) -> tuple[float, float]:
    """Average precision of the detections, and median error of those that are right, in diameters."""
    network.eval()
    precisions, errors = [], []
    for path in paths:
        volume, points, sizes = read_view(path)
        view = DetectorView(torch.from_numpy(volume).float(), np.ones(3))
        places = view.detect(network, _APART * PX_PER_DIAMETER).points[:_MOST]
        distance, nearest = cKDTree(points).query(places)
        is_right = (sizes > _SIZES[0]) & (sizes < _SIZES[1])
        is_near = distance < _REACH * PX_PER_DIAMETER * np.maximum(1, sizes[nearest])
        counts = is_right[nearest] | ~is_near  # those at particles of other sizes do not
        distance, nearest = distance[counts], nearest[counts]
        _, first = np.unique(nearest, return_index=True)  # the best detection of each particle
        is_hit = np.isin(np.arange(len(nearest)), first) & (distance < _REACH * PX_PER_DIAMETER)
        precision = is_hit.cumsum() / np.arange(1, len(is_hit) + 1)
        precisions.append(precision[is_hit].sum() / max(np.count_nonzero(is_right), 1))
        errors.append(distance[is_hit] / PX_PER_DIAMETER)
    network.train()
    return float(np.mean(precisions)), float(np.median(np.concatenate(errors)))


def train(arguments: argparse.Namespace) -> DetectorNetwork:
    """Train for the given time, and return the network."""
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    begin = arguments.begin_with
    network = load_detector_network(begin.read_bytes()) if begin else DetectorNetwork()
    network = network.requires_grad_(True).train().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    held_out = sorted(arguments.validation.glob("*.npz"))
    start, step, total = time.monotonic(), 0, 0.0
    every = sorted(arguments.pool.glob("*.npz"))
    while (done := (time.monotonic() - start) / (60 * arguments.minutes)) < 1:
        rate = arguments.learning_rate * min(1, step / _WARM_UP) * (0.5 + 0.5 * np.cos(np.pi * done) + 0.01)
        for group in optimiser.param_groups:
            group["lr"] = rate
        crops, targets = [], []
        for path in rng.choice(np.array(every), _TOGETHER, replace=False):
            part, points, sizes = crop_of(read_view(path), rng)
            crops.append(part)
            targets.append(targets_of(points, sizes, tuple(n // OUTPUT_STRIDE for n in CROP)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(torch.stack(crops).contiguous(memory_format=torch.channels_last_3d))
        loss = loss_of(found.float(), *(torch.stack(each) for each in zip(*targets, strict=True)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, total = step + 1, total + float(loss.detach())
        if step % _REPORT == 0:
            precision, error = validate(network, held_out)
            print(
                f"step {step}, {100 * done:.0f} %, {len(every)} views: loss {total / _REPORT:.3f}, average precision "
                f"{precision:.3f}, error {error:.3f} diameters",
                flush=True,
            )
            total = 0.0
            every = sorted(arguments.pool.glob("*.npz"))
        elif step % 100 == 0:
            print(step, f"{total / (step % _REPORT):.3f}", flush=True)
    return network.eval()


def main() -> None:
    """Train, measure, and write the weights in float16."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--begin-with", type=Path)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    network = train(arguments)
    weights = {name: values.detach().half().contiguous() for name, values in network.state_dict().items()}
    save_file(weights, arguments.out)
    written = load_detector_network(arguments.out.read_bytes())
    precision, error = validate(written, sorted(arguments.validation.glob("*.npz")))
    print(f"average precision {precision:.3f}, error {error:.3f} diameters")


if __name__ == "__main__":
    main()
