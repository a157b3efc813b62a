"""Walks of a few slices through one instance and beyond its end, from a pool of tomograms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cryosam.arrays import Labels, Volume
from cryosam.backends.embedded import INPUT_PX, offsets_beside
from cryosam.backends.framing import into_frame
from cryosam.backends.prompt_unet import STRIDE
from cryosam.geometry import ModelFrame, Window
from simulate import FIRST_FILAMENT, FIRST_GOLD, FIRST_LONG

SIZE_PX = INPUT_PX
CELLS = SIZE_PX // STRIDE
N_SLICES = 4


@dataclass(frozen=True, eq=False)
class Batch:
    """Training samples of n objects: a slice through each, and the next slices of a walk, possibly beyond its end.

    ``images`` (n, s, c, h, w) in [0, 1] are the slices, each with its neighbouring slices as channels; ``masks`` and
    ``others`` (n, s, cells, cells) the shares of each cell that are covered by the object and by other objects;
    ``clicks`` (n, 2) row, col in the first slice, in pixels.
    """

    images: Tensor
    masks: Tensor
    others: Tensor
    clicks: Tensor


@dataclass(frozen=True, eq=False)
class Loaded:
    """A tomogram, smoothed and normalised, with the boxes of its instances."""

    volume: Volume
    instances: Labels
    boxes: dict[int, tuple[slice, ...]]


def load(path: Path, rng: np.random.Generator, sigma: float | None = None) -> Loaded:
    """Load a tomogram of the pool, with random smoothing, and normalise it; noisy ones are always smoothed."""
    with np.load(path) as stored:
        volume, instances, snr = stored["tomogram"].astype(np.float32), stored["instances"], float(stored["snr"])
    if sigma is None:
        sigma = float(rng.choice([0.0, rng.uniform(0.5, 1.2), rng.uniform(1.2, 2.2)], p=[0.1, 0.25, 0.65]))
        sigma = max(sigma, 0.8) if snr < 0.1 else sigma
    volume = ndimage.gaussian_filter(volume, sigma)
    low, high = np.percentile(volume[::2, ::2, ::2], (0.05, 99.95))
    volume = np.clip((volume - low) / (high - low), 0, 1)
    found = ndimage.find_objects(instances.astype(np.int32))
    boxes = {i + 1: box for i, box in enumerate(found) if box is not None and _is_worth_it(instances[box] == i + 1)}
    return Loaded(volume, instances, boxes)


def _is_worth_it(mask: np.ndarray) -> bool:
    return bool(np.count_nonzero(mask) >= 60)


def batches(paths: Sequence[Path], n: int, rng: np.random.Generator, n_open: int = 4) -> Iterator[Batch]:
    """Infinite sequence of batches, from a few loaded tomograms, one of which is replaced after every third batch.

    Tomograms with an SNR below 0.03 are loaded a quarter as often as the others.
    """
    odds = np.array([0.25 if float(np.load(path)["snr"]) < 0.03 else 1.0 for path in paths])
    odds /= odds.sum()
    opened = [load(paths[int(rng.choice(len(paths), p=odds))], rng) for _ in range(n_open)]
    count = 0
    while True:
        samples: list[tuple[np.ndarray, ...]] = []
        while len(samples) < n:
            drawn = draw(opened[int(rng.integers(n_open))], rng)
            if drawn is not None:
                samples.append(_augmented(drawn, rng))
        images, masks, others, clicks = (np.stack(values) for values in zip(*samples, strict=True))
        yield Batch(
            *(torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for v in (images, masks, others, clicks))
        )
        count += 1
        if count % 3 == 0:
            opened[(count // 3) % n_open] = load(paths[int(rng.choice(len(paths), p=odds))], rng)


def draw(
    source: Loaded, rng: np.random.Generator, *, past_end: float = 0.4, is_long: bool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Draw one object: images, masks, other objects and the click; None if the random choice is not usable.

    ``is_long`` selects filaments and membranes if True, all other objects if False, and any object if None.
    """
    ids = np.fromiter(source.boxes, dtype=int)
    if is_long is not None:
        ids = ids[((ids >= FIRST_LONG) & (ids < FIRST_GOLD)) == is_long]
        if len(ids) == 0:
            return None
    odds = np.where(ids >= FIRST_LONG, 0.1 * len(ids), 1.0)
    odds = np.where(ids >= FIRST_FILAMENT, 0.25 * len(ids), odds)
    odds = np.where(ids >= FIRST_GOLD, 1.0, odds)
    label = int(rng.choice(ids, p=odds / odds.sum()))
    box, is_long = source.boxes[label], FIRST_LONG <= label < FIRST_GOLD
    axis = int(rng.integers(3))
    volume, instances = (np.moveaxis(v, axis, 0) for v in (source.volume, source.instances))
    first, last = box[axis].start, box[axis].stop - 1
    step = int(rng.choice([-1, 1]))
    if is_long or rng.random() >= past_end:
        depth = int(rng.integers(first, last + 1))
    else:
        depth = (last if step > 0 else first) - step * int(rng.integers(0, N_SLICES - 1))
    stride = 2 if rng.random() < 0.15 else 1
    depths = [depth + i * step * stride for i in range(N_SLICES)]
    if min(depths) < 0 or max(depths) >= len(volume):
        return None
    mask = instances[depth] == label
    if np.count_nonzero(mask) < 5:
        return None
    spans = [box[a] for a in range(3) if a != axis]
    extent = float(np.mean([s.stop - s.start for s in box]))
    size = _window_size(extent, is_long, rng)
    around = np.argwhere(mask)[int(rng.integers(np.count_nonzero(mask)))] if is_long else None
    middle = np.array([(s.start + s.stop - 1) / 2 for s in spans]) if around is None else around.astype(float)
    middle = middle + rng.normal(scale=rng.choice([0.03, 0.12]) * size, size=2)
    window = Window.around(float(middle[0]), float(middle[1]), size)
    masks = [_cut(instances[d] == label, window, False) for d in depths]
    if is_long:
        masks = _part(masks, rng)
    if np.count_nonzero(masks[0]) < 5:
        return None
    click = _click(masks[0], is_long, rng)
    frame = ModelFrame(size, size, SIZE_PX)
    others = [_cut((instances[d] > 0) & (instances[d] != label), window, False) for d in depths]
    images = [_cut_with_beside(volume, d, window, offsets_beside(frame)) for d in depths]
    return (
        _framed(np.concatenate(images), frame, SIZE_PX).reshape(N_SLICES, -1, SIZE_PX, SIZE_PX),
        _framed(np.stack(masks), frame, CELLS),
        _framed(np.stack(others), frame, CELLS),
        frame.to_model(click[None])[0],
    )


def _window_size(extent: float, is_long: bool, rng: np.random.Generator) -> int:
    """Edge in voxels: mostly about three times the extent, as for walks, but also smaller and larger."""
    if is_long:
        return int(rng.integers(24, 100))
    diameters = rng.normal(3.0, 0.4) if rng.random() < 0.75 else np.exp(rng.uniform(np.log(1.5), np.log(7)))
    return int(np.clip(round(extent * diameters), 18, 140))


def _cut(image: np.ndarray, window: Window, fill: float) -> np.ndarray:
    cut = np.full((window.height, window.width), fill, dtype=np.float32)
    inside, place = window.overlap(*image.shape)
    cut[place] = image[inside]
    return cut


def _cut_with_beside(volume: Volume, depth: int, window: Window, offsets: Sequence[int]) -> np.ndarray:
    """Window of a slice and of its neighbouring slices; beyond the volume its last slice is repeated."""
    fill = float(np.median(volume[depth]))
    depths = [depth, *(int(np.clip(depth + i, 0, len(volume) - 1)) for i in offsets)]
    return np.stack([_cut(volume[d], window, fill) for d in depths])


def _part(masks: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """One connected piece of a filament or membrane, and the connected pieces in the next slices."""
    parts, n_parts = ndimage.label(masks[0], np.ones((3, 3)))
    if n_parts == 0:
        return masks
    pieces = [parts == parts[tuple(rng.choice(np.argwhere(masks[0] > 0)))]]
    for mask in masks[1:]:
        parts, _ = ndimage.label(mask, np.ones((3, 3)))
        touched = np.setdiff1d(np.unique(parts[ndimage.binary_dilation(pieces[-1])]), [0])
        pieces.append(np.isin(parts, touched))
    return [piece.astype(np.float32) for piece in pieces]


def _click(target: np.ndarray, is_long: bool, rng: np.random.Generator) -> np.ndarray:
    """A click near the middle of the mask, even if it is hollow there, or anywhere in the mask."""
    inside = np.argwhere(target > 0)
    if not is_long and rng.random() < 0.5:
        near = inside.mean(axis=0) + rng.normal(scale=1.2, size=2)
        if np.hypot(*(inside - near).T).min() < 4:
            return np.asarray(near)
    return inside[int(rng.integers(len(inside)))] + rng.uniform(-0.5, 0.5, 2)


def _framed(stack: np.ndarray, frame: ModelFrame, n_cells: int) -> np.ndarray:
    return into_frame(torch.from_numpy(stack.astype(np.float32)), frame, n_cells).numpy()


def _augmented(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Augment a sample: rotations by 90 degrees, mirroring, changed intensities."""
    images, masks, others, click = sample
    for _ in range(int(rng.integers(4))):
        images, masks, others = (np.rot90(v, axes=(-2, -1)) for v in (images, masks, others))
        click = np.array([SIZE_PX - 1 - click[1], click[0]])
    if rng.random() < 0.5:
        images, masks, others = (v[..., ::-1] for v in (images, masks, others))
        click = np.array([click[0], SIZE_PX - 1 - click[1]])
    if rng.random() < 0.3:
        images = np.clip(images, 0, 1) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.3:
        rows, cols = np.mgrid[-1 : 1 : SIZE_PX * 1j, -1 : 1 : SIZE_PX * 1j]
        images = images + 0.5 * images.std() * (rng.normal() * rows + rng.normal() * cols)
    if rng.random() < 0.2:
        images = images + rng.uniform(0, 0.5) * images.std() * rng.standard_normal(images.shape)
    return images, masks, others, click
