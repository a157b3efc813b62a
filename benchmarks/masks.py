"""Accuracy of the segmenters' masks, in single slices and in 3D, on tomograms with a known answer.

::

    python benchmarks/masks.py FOLDER               # tomo.mrc, particles.csv and instances.mrc[.gz] in FOLDER
    python benchmarks/masks.py FOLDER --volumes     # also whole instances, from walks in the three planes
    python benchmarks/masks.py --simulated          # tomograms of the project's own simulator

For every particle, one slice of each plane is segmented. In the mode "centre" the slice goes through the true centre,
and the click is within 3 voxels of it. In the mode "anywhere" it is a random slice of the particle, and the click is on
a random pixel of the particle. The figures are the mean Dice of the candidate with the best score, in a window of three
diameters. A whole instance is segmented from a point 1.5 voxels from the true centre.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import Config, Tomogram, read_points, read_tomogram
from cryosam.arrays import PLANES
from cryosam.backends import PromptSegmenter, SlicePrompts, load_segmenter
from cryosam.geometry import AXIS, Window, ball_diameter, in_plane_axes
from cryosam.instances.propagation import propagate
from cryosam.instances.slices import SliceWindow, cut
from cryosam.intensities import detect_contrast, normalise
from cryosam.io import read_volume
from speed import machine
from tomograms import gather

MODES = ("centre", "anywhere")


@dataclass(frozen=True, eq=False)
class Particle:
    """A true instance: its centre, its box in the tomogram and its mask in the box."""

    centre: np.ndarray
    box: tuple[slice, ...]
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Kind:
    """The particles of one kind, and the tomogram prepared for the segmenter as in the pipeline."""

    name: str
    tomogram: Tomogram
    diameter: float
    particles: list[Particle]


def kinds(folder: Path) -> Iterator[Kind]:
    """Each kind of a folder, with the tomogram normalised, and smoothed according to the kind's diameter."""
    tomogram, table = read_tomogram(folder / "tomo.mrc"), read_points(folder / "particles.csv")
    instances = np.asarray(read_volume(next(folder.glob("instances.mrc*")))).astype(np.int32)
    boxes = ndimage.find_objects(instances)
    settings = Config().tomogram
    normalised = normalise(tomogram, detect_contrast(tomogram, table.points).contrast, settings.percentiles)
    for name in dict.fromkeys(table.names or ()):
        chosen = table.select(name)
        if chosen.instances is None:
            raise SystemExit(f"{folder / 'particles.csv'} has no column 'instance'")
        particles = [
            Particle(point, boxes[label - 1], instances[boxes[label - 1]] == label)
            for point, label in zip(chosen.points, chosen.instances, strict=True)
        ]
        volume = np.median([np.count_nonzero(p.mask) for p in particles])
        diameter = ball_diameter(float(volume))
        sigma = float(np.clip(0.1 * diameter, 1.2, 2.2))
        smooth = Tomogram(ndimage.gaussian_filter(normalised.crop(np.s_[:, :, :]), sigma))
        yield Kind(name, smooth, diameter, particles)


def slice_dices(segmenter: PromptSegmenter, kind: Kind, mode: str, rng: np.random.Generator) -> list[float]:
    """Dice of the mask with the best score, in three slices of each particle."""
    dices = []
    for particle in kind.particles:
        for plane in PLANES:
            axis, in_plane = AXIS[plane], list(in_plane_axes(plane))
            stack = np.moveaxis(particle.mask, axis, 0)
            origin = np.array([particle.box[a].start for a in in_plane])
            if mode == "centre":
                layer = int(np.clip(round(particle.centre[axis]) - particle.box[axis].start, 0, len(stack) - 1))
                angle, reach = rng.uniform(0, 2 * np.pi), 3 * np.sqrt(rng.random())
                click = particle.centre[in_plane] + reach * np.array([np.cos(angle), np.sin(angle)])
            else:
                layer = int(rng.choice(np.flatnonzero(stack.any(axis=(1, 2)))))
                click = origin + rng.permutation(np.argwhere(stack[layer]))[0]
            window = Window.around(float(click[0]), float(click[1]), max(16, round(3 * kind.diameter)))
            place = SliceWindow(plane, layer + particle.box[axis].start, window)
            truth = np.zeros([kind.tomogram.shape[a] for a in in_plane], dtype=bool)
            truth[particle.box[in_plane[0]], particle.box[in_plane[1]]] = stack[layer]
            dices.append(_ask(segmenter, kind.tomogram, place, truth, click))
    return dices


def _ask(
    segmenter: PromptSegmenter, tomogram: Tomogram, place: SliceWindow, truth: np.ndarray, click: np.ndarray
) -> float:
    window = place.window
    offsets = segmenter.beside(window.height, window.width)
    shown = cut(tomogram, place, offsets)[None]
    point = window.to_window(click[None].astype(float))[None]
    prompts = SlicePrompts(np.array([0]), point, np.array([[True]]))
    answer = segmenter.segment(segmenter.embed(shown[:, 0], shown[:, 1:] if offsets else None), prompts)
    mask = answer.logits[0, int(np.argmax(answer.scores[0]))] > 0
    inside, at = window.overlap(*truth.shape)
    shared = int(np.count_nonzero(mask[at] & truth[inside]))
    return 2 * shared / max(int(np.count_nonzero(mask) + np.count_nonzero(truth)), 1)


def volume_dices(segmenter: PromptSegmenter, kind: Kind, rng: np.random.Generator) -> list[float]:
    """Dice of each whole instance."""
    points = np.array([p.centre for p in kind.particles])
    direction = rng.normal(size=points.shape)
    points = points + 1.5 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    points = np.clip(points, 0, np.array(kind.tomogram.shape) - 1.0)
    dices = []
    masks = propagate(kind.tomogram, points, segmenter, Config().propagation, kind.diameter)
    for particle, mask in zip(kind.particles, masks, strict=True):
        truth = np.zeros(kind.tomogram.shape, dtype=bool)
        truth[particle.box] = particle.mask
        shared = int(np.count_nonzero(truth[mask.box] & mask.data))
        dices.append(2 * shared / (mask.n_voxels + int(np.count_nonzero(particle.mask))))
    return dices


def speed(segmenter: PromptSegmenter) -> tuple[float, float]:
    """Windows of 72 voxels embedded per second, and milliseconds to decode a prompt, both in batches of 32."""
    rng, offsets = np.random.default_rng(0), segmenter.beside(72, 72)
    images = rng.random((32, 72, 72), dtype=np.float32)
    beside = rng.random((32, len(offsets), 72, 72), dtype=np.float32) if offsets else None
    prompts = SlicePrompts(np.arange(32), np.full((32, 1, 2), 36.0), np.ones((32, 1), dtype=bool))
    embed, decode = [], []
    for _ in range(5):
        start = time.perf_counter()
        embedding = segmenter.embed(images, beside)
        middle = time.perf_counter()
        segmenter.segment(embedding, prompts)
        embed.append(middle - start)
        decode.append(time.perf_counter() - middle)
    return 32 / float(np.median(embed)), 1000 * float(np.median(decode)) / 32


def main() -> None:
    """Print the speed, and one table per folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="tomo.mrc, particles.csv and instances.mrc[.gz]")
    parser.add_argument("--simulated", action="store_true", help="also on tomograms that are simulated now")
    parser.add_argument("--segmenters", nargs="+", default=["classical", "embedded"])
    parser.add_argument("--volumes", action="store_true", help="also whole instances")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    segmenters = {name: load_segmenter(name, device="cpu") for name in arguments.segmenters}
    print("\n".join(f"{key}: {value}" for key, value in machine().items()))
    for name, segmenter in segmenters.items():
        per_second, milliseconds = speed(segmenter)
        print(f"{name}: {per_second:.0f} windows embedded per second, {milliseconds:.1f} ms to decode a prompt")
    with tempfile.TemporaryDirectory() as temporary:
        folders = gather(arguments.folder, Path(temporary) if arguments.simulated else None)
        if not folders:
            parser.error("give a folder, or --simulated")
        for name, folder in folders.items():
            print(f"\n{name}\n")
            print("\n".join(_table(folder, segmenters, arguments)))


def _table(folder: Path, segmenters: dict[str, PromptSegmenter], arguments: argparse.Namespace) -> Iterator[str]:
    """Rows of a Markdown table: one per kind, then the means over the particles of all kinds."""
    tasks = [*MODES, "volume"] if arguments.volumes else [*MODES]
    columns = [(task, name) for task in tasks for name in segmenters]
    yield "| kind | diameter | particles | " + " | ".join(f"{task}, {name}" for task, name in columns) + " |"
    yield "|" + " --- |" * (3 + len(columns))
    everything: dict[tuple[str, str], list[float]] = {column: [] for column in columns}
    for kind in kinds(folder):
        cells = []
        for task, name in columns:
            rng = np.random.default_rng([arguments.seed, tasks.index(task)])
            segmenter = segmenters[name]
            is_slice = task in MODES
            found = slice_dices(segmenter, kind, task, rng) if is_slice else volume_dices(segmenter, kind, rng)
            everything[task, name] += found
            cells.append(f"{np.mean(found):.3f}")
        yield f"| {kind.name} | {kind.diameter:.1f} | {len(kind.particles)} | " + " | ".join(cells) + " |"
    yield "| **all** | | | " + " | ".join(f"{np.mean(everything[column]):.3f}" for column in columns) + " |"


if __name__ == "__main__":
    main()
