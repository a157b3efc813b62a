"""Measure segmenters on the validation tomograms of the pool, which are not used for training.

::

    python training/validate.py --pool POOL --segmenters classical embedded --volumes

For slices: the Dice of the best-scored candidate after one click and along the walk, the mean absolute error of the
scores, and the share of slices beyond a particle's end in which the best score is below 0.3. For volumes: the Dice of
whole instances, segmented from points 1.5 voxels from the true centres, grouped by size.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from cryosam.backends import PromptSegmenter, SlicePrompts, load_segmenter
from cryosam.backends.prompt_unet import STRIDE
from cryosam.config import PropagationConfig
from cryosam.instances.propagation import propagate
from cryosam.tomogram import Tomogram
from simulate import FIRST_GOLD, FIRST_LONG
from walks import N_SLICES, SIZE_PX, draw, load


def measure_slices(segmenter: PromptSegmenter, path: Path, n: int) -> dict[str, list[float]]:
    """Figures for n walks in one tomogram, drawn as in training but without augmentation."""
    rng = np.random.default_rng(7)
    source = load(path, rng)
    found: dict[str, list[float]] = defaultdict(list)
    has_long = any(FIRST_LONG <= label < FIRST_GOLD for label in source.boxes)
    for is_long in (None, True) if has_long else (None,):
        drawn = 0
        while drawn < n:
            sample = draw(source, rng, is_long=is_long)
            if sample is not None:
                drawn += 1
                _measure_walk(segmenter, sample, found, "of filaments and membranes" if is_long else "")
    return found


def _measure_walk(
    segmenter: PromptSegmenter,
    sample: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    found: dict[str, list[float]],
    note: str,
) -> None:
    """Add the figures of one click and the slices that follow; ``note`` is added to the names of some figures."""
    images, masks, others, click = sample
    masks, others = (np.repeat(np.repeat(v > 0.5, STRIDE, axis=1), STRIDE, axis=2) for v in (masks, others))
    logits = memory = None
    for which in range(N_SLICES):
        point = click
        if logits is not None:
            point = np.array(np.unravel_index(int(logits.argmax()), (SIZE_PX, SIZE_PX)), dtype=float)
        prompts = SlicePrompts(np.array([0]), point[None, None], np.array([[True]]), logits, memory=memory)
        shown = images[which][None]
        beside = shown[:, 1:] if segmenter.beside(SIZE_PX, SIZE_PX) else None
        answer = segmenter.segment(segmenter.embed(shown[:, 0], beside), prompts)
        overlaps = [_iou(mask > 0, masks[which]) for mask in answer.logits[0]]
        best = int(answer.scores[0].argmax())
        logits = answer.logits[:, best]
        memory = None if answer.memory is None else answer.memory[:, best]
        if masks[which].any():
            found[" ".join(["Dice walk" if which else "Dice click", note])].append(
                2 * overlaps[best] / (1 + overlaps[best])
            )
        if note:
            continue
        found["score error"] += [abs(i - s) for i, s in zip(overlaps, answer.scores[0], strict=True)]
        if which and not masks[which].any():
            is_taken = (others[which] & masks[:which].any(axis=0)).any()
            for name in ("ends below 0.3", "ends where a neighbour begins" if is_taken else "ends without a neighbour"):
                found[name].append(float(answer.scores[0, best] < 0.3))


def measure_volumes(
    segmenter: PromptSegmenter, path: Path, config: PropagationConfig, sigma: float | None
) -> list[tuple[float, float]]:
    """Diameter and Dice of each particle of one tomogram."""
    rng = np.random.default_rng(8)
    source = load(path, rng, 0.0)
    found = []
    for low, high in ((9, 16), (16, 24), (24, 34), (34, 60)):
        chosen = {}
        for label, box in source.boxes.items():
            mask = source.instances[box] == label
            diameter = (6 * np.count_nonzero(mask) / np.pi) ** (1 / 3)
            if label < FIRST_LONG and low <= diameter < high:
                chosen[label] = (mask, diameter)
        if not chosen:
            continue
        typical = float(np.median([d for _, d in chosen.values()]))
        blur = float(np.clip(0.1 * typical, 1.2, 2.2)) if sigma is None else sigma
        with np.load(path) as stored:
            volume = ndimage.gaussian_filter(stored["tomogram"].astype(np.float32), blur)
        floor, top = np.percentile(volume, (0.05, 99.95))
        tomogram = Tomogram(np.clip((volume - floor) / (top - floor), 0, 1))
        points = []
        for label, (mask, _) in chosen.items():
            corner = [s.start for s in source.boxes[label]]
            direction = rng.normal(size=3)
            points.append(np.argwhere(mask).mean(axis=0) + corner + 1.5 * direction / np.linalg.norm(direction))
        clipped = np.clip(np.array(points), 0, np.array(volume.shape) - 1.0)
        masks = propagate(tomogram, clipped, segmenter, config, typical)
        for (label, (mask, diameter)), answer in zip(chosen.items(), masks, strict=True):
            truth = np.zeros(volume.shape, dtype=bool)
            truth[source.boxes[label]] = mask
            shared = int(np.count_nonzero(truth[answer.box] & answer.data))
            found.append((float(diameter), 2 * shared / (answer.n_voxels + int(np.count_nonzero(mask)))))
    return found


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return int(np.count_nonzero(a & b)) / max(int(np.count_nonzero(a | b)), 1)


def main() -> None:
    """Print the figures of each segmenter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--segmenters", nargs="+", default=["classical", "embedded"])
    parser.add_argument("--objects", type=int, default=60, help="walks per tomogram")
    parser.add_argument("--volumes", action="store_true")
    parser.add_argument("--least-snr", type=float, default=0.03)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = [
        path
        for path in sorted(arguments.pool.glob("validation-*.npz"))
        if float(np.load(path)["snr"]) >= arguments.least_snr
    ]
    print(f"{len(paths)} tomograms of SNR {arguments.least_snr} or more")
    for name in arguments.segmenters:
        segmenter = load_segmenter(name, device="cpu")
        parts = [measure_slices(segmenter, path, arguments.objects) for path in paths]
        for figure in sorted(set().union(*parts)):
            values = [value for part in parts for value in part[figure]]
            print(f"{name} {figure}: {np.mean(values):.3f} over {len(values)}", flush=True)
        if arguments.volumes:
            _print_volumes(name, segmenter, paths)


def _print_volumes(name: str, segmenter: PromptSegmenter, paths: list[Path]) -> None:
    found = np.array([pair for path in paths for pair in measure_volumes(segmenter, path, PropagationConfig(), None)])
    for low, high in ((9, 16), (16, 24), (24, 34), (34, 60), (9, 60)):
        chosen = found[(found[:, 0] >= low) & (found[:, 0] < high), 1]
        print(f"{name} volumes of {low} to {high} voxels: Dice {chosen.mean():.3f} over {len(chosen)}", flush=True)


if __name__ == "__main__":
    main()
