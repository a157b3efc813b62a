"""Draw the pictures of ``docs/structures.md``: membranes of real tomograms, found from one click.

::

    python docs/make_structure_pictures.py $CRYOSAM_DATA

The folder holds ``real/exosomes.mrc``, ``real/lamella.mrc`` and ``microtubule_13pf.tif``.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from skimage.segmentation import find_boundaries

from cryosam import PointPrompts, find_structures, read_tomogram
from cryosam.full_map import FullMap
from cryosam.structure_results import Membrane, StructureResult
from cryosam.structure_scene import with_straightened
from cryosam.tomogram import Tomogram

_OUT = Path(__file__).parent / "images"
_CLICKS = {"exosomes": (48.0, 97.0, 85.0), "lamella": (36.0, 62.0, 68.0)}  # z, y, x on a clear wall, by eye
_COLOURS = ((255, 150, 0), (0, 190, 255), (120, 230, 80), (255, 90, 200), (250, 230, 60), (160, 130, 255))
_GAP = 6  # pixels between pictures
_MICROTUBULE = (18.0, 83.0, 69.0)  # z, y, x on it

_Picture = UInt8[np.ndarray, "h w 3"]


def section(tomogram: Tomogram, found: StructureResult, axis: int, index: int) -> _Picture:
    """A section, plain and beside it with the outlines; what was inferred is paler."""
    image = np.take(tomogram.data, range(max(index - 1, 0), index + 2), axis=axis).mean(axis=axis)
    dark, bright = np.percentile(image, (1, 99))
    grey = (31 * np.clip((image - dark) / (bright - dark), 0, 1)).astype(np.uint8) * 8  # few colours: a small file
    plain = np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1)[..., None].repeat(3, axis=2)
    coloured = plain.copy()
    for labels, strength in ((found.inferred(), 0.5), (found.labels(), 1.0)):
        cut = np.take(labels, index, axis=axis)
        large = np.repeat(np.repeat(cut, 2, axis=0), 2, axis=1)
        edge = find_boundaries(large, mode="inner")
        colours = np.array(_COLOURS)[(large[edge].astype(int) - 1) % len(_COLOURS)]
        coloured[edge] = (strength * colours + (1 - strength) * coloured[edge]).astype(np.uint8)
    return np.concatenate([plain, np.full((len(plain), _GAP, 3), 255, dtype=np.uint8), coloured], axis=1)


def draw_straightened(data: Path) -> None:
    """The average of the real microtubule: across, along its axis, and along its wall."""
    tomogram = read_tomogram(data / "microtubule_13pf.tif")
    found = find_structures(tomogram, PointPrompts(np.array([_MICROTUBULE])), "filament")
    (found,) = with_straightened(FullMap((found.kind,), (found,)), tomogram).structures
    made = found.straightened
    if made is None:
        sys.exit("the microtubule was not found")
    sys.stdout.write(f"microtubule: {made.repeat}, densest at {made.densest_radius_angstrom:.0f} angstrom\n")
    average, middle = made.average, made.average.shape[1] // 2
    wall = middle + round(made.densest_radius_angstrom / (tomogram.voxel_size_angstrom or 1))
    low, high = np.percentile(average, (1, 99.7))
    grey = (255 * np.clip((average - low) / (high - low), 0, 1)).astype(np.uint8)
    gap = np.full((average.shape[0], 1), 255, dtype=np.uint8)
    sections = [grey.mean(axis=0).astype(np.uint8), gap, grey[:, middle], gap, grey[:, wall]]
    large = np.repeat(np.repeat(np.concatenate(sections, axis=1), 5, axis=0), 5, axis=1)
    Image.fromarray(large).save(_OUT / "straightened-microtubule.png", optimize=True)


def main() -> None:
    """Find, draw, and say how many were found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    draw_straightened(arguments.data)
    for name, click in _CLICKS.items():
        tomogram = read_tomogram(arguments.data / "real" / f"{name}.mrc")
        start = time.perf_counter()
        found = find_structures(tomogram, PointPrompts(np.array([click])), "membrane")
        n_closed = sum(each.is_closed for each in found.instances if isinstance(each, Membrane))
        seconds = time.perf_counter() - start
        sys.stdout.write(f"{name}: {len(found.instances)} membranes, {n_closed} closed, {seconds:.0f} s\n")
        parts = [section(tomogram, found, axis, round(click[axis])) for axis in range(3)]
        picture = np.full((sum(map(len, parts)) + 2 * _GAP, max(p.shape[1] for p in parts), 3), 255, dtype=np.uint8)
        top = 0
        for part in parts:
            picture[top : top + len(part), : part.shape[1]] = part
            top += len(part) + _GAP
        Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE).save(
            _OUT / f"membranes-{name}.png", optimize=True
        )


if __name__ == "__main__":
    main()
