"""Draw the pictures of ``docs/real-data.md``: particles of real tomograms, found from one click.

::

    python docs/make_real_pictures.py $CRYOSAM_DATA [NAME ...]

The folder holds ``real/apoferritin.mrc`` and ``real/lamella.mrc``, each with its annotated positions.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.spatial import cKDTree
from skimage.segmentation import find_boundaries

from cryosam import PointPrompts, read_points, read_tomogram, segment
from cryosam.arrays import Points
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram

_OUT = Path(__file__).parent / "images"
_POINTS = {"apoferritin": "apoferritin.csv", "lamella": "lamella_ribosomes.csv"}
_DISTANCE = {"apoferritin": 6.0, "lamella": 4.0}  # voxels within which a pick is on an annotated position
_CLICK_OF = {"apoferritin": 0, "lamella": 1}  # which of the clicks of benchmarks/real.py, from 0
_ZOOM = 2  # pixels per voxel
_GAP = 6  # pixels between pictures
_N_SHOWN, _PER_ROW, _HALF = 30, 10, 9  # picks in the montage, in a row, and voxels from the middle to the edge of one
_OUTLINE, _CLICK = (255, 150, 0), (0, 220, 255)

_Picture = UInt8[np.ndarray, "h w 3"]


def grey(image: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Few grey levels, for a small file."""
    dark, bright = np.percentile(image, (1, 99))
    return (31 * np.clip((image - dark) / (bright - dark + 1e-9), 0, 1)).astype(np.uint8) * 8


def larger(image: np.ndarray, zoom: int = _ZOOM) -> np.ndarray:
    """Each voxel as a square of pixels."""
    return np.repeat(np.repeat(image, zoom, axis=0), zoom, axis=1)


def section(tomogram: Tomogram, found: Segmentation, click: Float[np.ndarray, " 3"]) -> _Picture:
    """The section through the click: plain, and below it with the outlines of the masks and a cross at the click."""
    z, y, x = np.round(click).astype(int)
    image = tomogram.data[max(z - 1, 0) : z + 2].astype(float).mean(axis=0)
    labels = found.labels()[z]
    if image.shape[0] > image.shape[1]:
        image, labels, y, x = image.T, labels.T, x, y
    plain = larger(grey(image))[..., None].repeat(3, axis=2)
    coloured = plain.copy()
    coloured[find_boundaries(larger(labels), mode="inner")] = _OUTLINE
    row, col = _ZOOM * y + 1, _ZOOM * x + 1
    coloured[row - 1 : row + 2, max(col - 9, 0) : col + 10] = _CLICK
    coloured[max(row - 9, 0) : row + 10, col - 1 : col + 2] = _CLICK
    gap = np.full((_GAP, plain.shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([plain, gap, coloured])


def average(found: Segmentation) -> _Picture:
    """The middle sections of the average in three planes; protein is bright."""
    if found.average is None:
        raise SystemExit(f"{found.name}: there is no average")
    middle = len(found.average.data) // 2
    planes = [larger(grey(np.take(found.average.data, middle, axis=axis)), 4) for axis in range(3)]
    gap = np.full((len(planes[0]), _GAP), 255, dtype=np.uint8)
    return np.concatenate([planes[0], gap, planes[1], gap, planes[2]], axis=1)[..., None].repeat(3, axis=2)


def montage(tomogram: Tomogram, points: Points) -> _Picture:
    """Sections through some points, ten in a row."""
    padded = np.pad(tomogram.data.astype(float), _HALF, mode="edge")
    tiles = []
    for z, y, x in np.round(points).astype(int) + _HALF:
        box = padded[z - 1 : z + 2, y - _HALF : y + _HALF + 1, x - _HALF : x + _HALF + 1]
        tile = larger(grey(box.mean(axis=0)), 4)
        tiles.append(np.pad(tile, 2, constant_values=255))
    rows = [np.concatenate(tiles[i : i + _PER_ROW], axis=1) for i in range(0, len(tiles), _PER_ROW)]
    return np.concatenate([row for row in rows if row.shape == rows[0].shape])[..., None].repeat(3, axis=2)


def main() -> None:
    """Find, draw, and say how many were found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", default=list(_POINTS))
    arguments = parser.parse_args()
    for name in arguments.names:
        tomogram = read_tomogram(arguments.data / "real" / f"{name}.mrc")
        annotated = read_points(arguments.data / "real" / _POINTS[name]).points
        random = np.random.default_rng(0)
        click = annotated[random.permutation(len(annotated))[_CLICK_OF[name]]]
        start = time.perf_counter()
        found = segment(tomogram, PointPrompts(click[None]))
        far = cKDTree(annotated).query(found.points)[0] > _DISTANCE[name]
        sys.stdout.write(
            f"{name}: {len(found.points)} picks from a click at {click.tolist()}, {np.count_nonzero(far)} of them away "
            f"from annotated positions, {time.perf_counter() - start:.0f} s\n"
        )
        Image.fromarray(section(tomogram, found, click)).save(_OUT / f"real-{name}.png", optimize=True)
        Image.fromarray(average(found)).save(_OUT / f"real-{name}-average.png", optimize=True)
        others = found.points[far]
        if len(others) >= _N_SHOWN:
            chosen = others[random.permutation(len(others))[:_N_SHOWN]]
            Image.fromarray(montage(tomogram, chosen)).save(_OUT / f"real-{name}-others.png", optimize=True)
            known = annotated[random.permutation(len(annotated))[:_N_SHOWN]]
            Image.fromarray(montage(tomogram, known)).save(_OUT / f"real-{name}-annotated.png", optimize=True)


if __name__ == "__main__":
    main()
