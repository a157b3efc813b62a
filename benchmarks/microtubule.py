"""One click on the wall of a real microtubule: how much of it the mask covers, and a picture in three planes.

::

    python benchmarks/microtubule.py microtubule_13pf.tif --out docs/images/microtubule.png

The tomogram is the test image of the cylindra project (hanjinliu/cylindra, BSD-3-Clause): a microtubule of 13
protofilaments, protein bright, 10.52 A per voxel. No true mask exists. The figures show how much of the length the mask
covers and how thick it is; the picture shows whether it is on the wall. Each panel is a slice through the click, once
without and once with the mask's outline: y-x on the left, y-z on the right (y downwards in both), z-x below.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from cryosam import PointPrompts, read_tomogram, segment_prompts

POINT = (18.0, 83.0, 69.0)
ZOOM = 3


def shade(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """A slice in grey, and next to it the same slice with the outline of a mask in orange."""
    low, high = np.percentile(image, [1, 99.7])
    grey = (255 * np.clip((image - low) / (high - low), 0, 1)).astype(np.uint8)
    plain = np.repeat(np.repeat(np.stack([grey] * 3, axis=-1), ZOOM, axis=0), ZOOM, axis=1)
    large = np.repeat(np.repeat(mask, ZOOM, axis=0), ZOOM, axis=1)
    drawn = plain.copy()
    drawn[large & ~ndimage.binary_erosion(large)] = (255, 140, 0)
    gap = np.full((plain.shape[0], 2 * ZOOM, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.hstack([plain, gap, drawn]))


def main() -> None:
    """Segment, print the figures, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tomogram", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/microtubule.png"))
    arguments = parser.parse_args()

    tomogram = read_tomogram(arguments.tomogram)
    found = segment_prompts(tomogram, PointPrompts(np.array([POINT])))
    mask = found.labels() > 0
    covered = mask.any(axis=(0, 2))
    per_slice = mask.sum(axis=(0, 2))[covered]
    print(f"contrast: {found.provenance['contrast']}")
    print(f"length covered: {covered.sum()} of {tomogram.shape[1]} voxels along y")
    print(f"voxels per cross-section: median {np.median(per_slice):.0f}, 5 to 95 % {np.percentile(per_slice, [5, 95])}")

    smooth = ndimage.gaussian_filter(tomogram.data.astype(np.float32), 1)
    z, y, x = (int(c) for c in POINT)
    gap = 12
    top = [shade(smooth[z], mask[z]), shade(smooth[:, :, x].T, mask[:, :, x].T)]
    bottom = shade(smooth[:, y], mask[:, y])
    width = sum(panel.width for panel in top) + gap
    canvas = Image.new("RGB", (width, top[0].height + gap + bottom.height), "white")
    canvas.paste(top[0], (0, 0))
    canvas.paste(top[1], (top[0].width + gap, 0))
    canvas.paste(bottom, (0, top[0].height + gap))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
