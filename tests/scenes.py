"""Small tomograms with a known answer: balls and shells, and particles of two kinds that lie in any way."""

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from cryosam.averaging.orientations import OrientationSearch
from cryosam.config import AveragingConfig
from cryosam.prompts import PointPrompts
from cryosam.tomogram import Tomogram

SHAPE = (36, 60, 72)
BALLS = np.array([[10.0, 12, 14], [24, 14, 50], [12, 44, 20], [25, 46, 52], [18, 30, 34]])
SHELLS = np.array([[24.0, 28, 12], [10, 30, 60]])


def phantom(offset=(0, 0, 0), sign=1.0, noise=0.06):
    """Solid balls of radius 4 and hollow shells of radius 6, blurred and in noise."""
    z, y, x = np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij")
    volume = np.random.default_rng(7).normal(0, noise, SHAPE)
    for centre in BALLS + offset:
        r = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        volume += 1 / (1 + np.exp(2 * (r - 4)))
    for centre in SHELLS + offset:
        r = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        volume += np.exp(-((r - 6) ** 2) / 2)
    return Tomogram((sign * volume).astype(np.float32), 10.0, "phantom")


def click(point):
    return PointPrompts(np.array([point], dtype=float))


BLOBS = np.array(
    [[-6.0, 0, 0], [-3, 0, 0], [0, 0, 0], [3, 0, 0], [6, 0, 0], [6, 4, 0], [6, 7, 0], [-6, 0, 5]]
)  # like no turn of it
OTHER = np.array([[0.0, 0, -6], [0, 0, -2], [0, 0, 2], [0, 0, 6], [0, 0, 0]])
ONE_ARM_ELSEWHERE = np.vstack([BLOBS[:-1], [[6.0, 0, -5]]])
SPACING = 32


def scene(
    n_kind: int = 12, n_other: int = 6, noise: float = 0.2, other: np.ndarray = OTHER, seed: int = 1
) -> tuple[Tomogram, np.ndarray, Rotation]:
    """Particles of two kinds on a lattice, each turned at random; the first ``n_kind`` are of one kind."""
    random = np.random.default_rng(seed)
    turns = Rotation.random(n_kind + n_other, random_state=seed + 1)
    lattice = np.array([(20.0, 20 + SPACING * row, 20 + SPACING * col) for row in range(4) for col in range(5)])
    centres = lattice[: n_kind + n_other]
    shape = (40, 40 + SPACING * 3, 40 + SPACING * 4)
    volume = noise * random.standard_normal(shape)
    grid = np.stack(np.indices(shape), axis=-1)
    for i, (centre, turn) in enumerate(zip(centres, turns, strict=True)):
        for blob in turn.apply(BLOBS if i < n_kind else other) + centre:
            low = np.maximum(np.round(blob).astype(int) - 8, 0)
            box = tuple(slice(a, a + 17) for a in low)
            volume[box] += np.exp(-((grid[box] - blob) ** 2).sum(axis=-1) / (2 * 2.0**2))
    return Tomogram(volume.astype(np.float32)), centres, turns


def search_for(tomogram: Tomogram, diameter: float = 14.0) -> OrientationSearch:
    return OrientationSearch.of(tomogram, diameter, AveragingConfig())


SHELL_DIAMETER = 12.0


def touching_shells() -> tuple[Tomogram, np.ndarray]:
    """A purified sample: hollow shells on a jittered lattice, dark, in noise, and nothing else; and their centres."""
    random, shape, spacing = np.random.default_rng(0), (44, 110, 110), 13
    along = [np.arange(9, n - 8, spacing) for n in shape]
    centres = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3) + random.uniform(-0.8, 0.8, 3)
    volume = random.normal(0, 2.0, shape)
    grid = np.indices(shape).transpose(1, 2, 3, 0)
    for centre in centres:
        distance = np.linalg.norm(grid - centre, axis=-1)
        volume[(distance <= SHELL_DIAMETER / 2) & (distance >= 3.5)] -= 2.5
    return Tomogram(gaussian_filter(volume, 0.8).astype(np.float32)), centres
