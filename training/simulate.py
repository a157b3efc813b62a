"""Make a pool of procedural tomograms with labelled instances, for training the embedded segmenter.

::

    python training/simulate.py --out POOL --train 250 --validation 12

Particles are random complexes, with and without symmetry, and chains of blobs. Some of them are placed in contact,
preferably along the beam, where the missing wedge blurs the gap. Nothing here is from a measured structure.
"""

import argparse
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.arrays import Mask, Points, Volume
from cryosam.evaluation.simulation import COMPLEXES, make_complex, random_complex
from cryosam.evaluation.simulation.complexes import render_blobs
from cryosam.evaluation.simulation.imaging import Imaging, list_tilts, record
from cryosam.evaluation.simulation.specimen import turn_density

SHAPE = (96, 160, 160)
INSIDE = 0.3  # voxels above this share of the protein's density belong to the object
FIRST_LONG = 10_000  # first label of membranes, and of filaments
FIRST_FILAMENT = 10_100  # first label of filaments
FIRST_GOLD = 20_000  # first label of gold beads
_FILAMENTS = ((13, 112.0, 15.0), (2, 22.0, 16.0), (5, 40.0, 18.0))  # strands, radius and size of blobs in angstrom


@dataclass(eq=False)
class Field:
    """A volume that is filled object by object; masks never overlap, but may touch."""

    voxel_size_angstrom: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        """Start with an empty volume."""
        self.density = np.zeros(SHAPE, dtype=np.float32)
        self.instances = np.zeros(SHAPE, dtype=np.int16)
        self.centres: list[np.ndarray] = []

    def add_vesicle(self, label: int) -> None:
        """Add an ellipsoidal bilayer, not necessarily all inside the volume."""
        radius = self.rng.uniform(200, 900) / self.voxel_size_angstrom
        centre = self.rng.uniform(-0.2, 1.2, 3) * SHAPE
        axes = radius * self.rng.uniform(0.8, 1.2, 3)
        z, y, x = ((g - c) / a for g, c, a in zip(np.ogrid[tuple(slice(n) for n in SHAPE)], centre, axes, strict=True))
        depth = np.abs(np.sqrt(z * z + y * y + x * x) - 1) * radius * self.voxel_size_angstrom
        drawn = 0.75 * np.exp(-0.5 * ((depth - 20) / 9) ** 2)
        self.fill(drawn.astype(np.float32), depth < 30, label)

    def add_filament(self, label: int) -> None:
        """Add a tube of protofilaments, a two-stranded filament or a thick rod, slightly bent."""
        rise = 40.0 / self.voxel_size_angstrom
        length = int(2 * np.linalg.norm(SHAPE) / rise)
        lift, angle = self.rng.normal(scale=0.3), self.rng.uniform(0, np.pi)
        bend = np.cumsum(self.rng.normal(scale=0.01, size=length)) + angle
        steps = rise * np.column_stack([np.full(length, lift), np.sin(bend), np.cos(bend)])
        path = np.cumsum(steps, axis=0)
        path += self.rng.uniform(0.15, 0.85, 3) * SHAPE - path[length // 2]
        side = np.column_stack([np.zeros(length), np.cos(bend), -np.sin(bend)])
        n_strands, radius, sigma = _FILAMENTS[int(self.rng.choice(3, p=(0.5, 0.25, 0.25)))]
        along = np.arange(length)[:, None]
        turn = self.rng.uniform(0, 0.5) * along if n_strands < 13 else 0.02 * along
        blobs = []
        for strand in range(n_strands):
            phase = turn + 2 * np.pi * strand / n_strands
            offset = np.cos(phase) * side + np.sin(phase) * np.array([1.0, 0, 0])
            blobs.append(path + radius / self.voxel_size_angstrom * offset)
        drawn = 1 - np.exp(-1.5 * render_blobs(SHAPE, np.concatenate(blobs), sigma / self.voxel_size_angstrom))
        self.fill(drawn, drawn > INSIDE, label)

    def add_gold(self, label: int) -> None:
        """Add a bead that is four times as dense as protein."""
        radius = self.rng.uniform(40, 80) / self.voxel_size_angstrom
        centre = self.rng.random(3) * SHAPE
        z, y, x = (g - c for g, c in zip(np.ogrid[tuple(slice(n) for n in SHAPE)], centre, strict=True))
        ball = np.clip(radius + 0.5 - np.sqrt(z * z + y * y + x * x), 0, 1).astype(np.float32)
        self.fill(4 * ball, ball > 0.5, label)

    def fill(self, drawn: Volume, mask: Mask, label: int) -> None:
        """Add an object given over the whole volume, except in voxels that are already occupied."""
        free = self.instances == 0
        self.density += np.where(free, drawn, 0)
        self.instances[free & mask] = label

    def add_particle(self, density: Volume, weight: float, closeness: float) -> bool:
        """Place a map in a random orientation: close to a particle with probability ``closeness``, else anywhere."""
        rotation = Rotation.random(None, self.rng).as_matrix()
        drawn, _ = turn_density(density, rotation, self.rng.random(3) - 0.5)
        mask = drawn > INSIDE
        room = np.array(SHAPE) - drawn.shape
        if (room < 0).any() or not mask.any():
            return False
        touching = bool(self.centres) and self.rng.random() < closeness
        corners = self._corners_beside(drawn.shape) if touching else self.rng.integers(0, room + 1, (40, 3))
        n_free = 0
        gap = int(self.rng.integers(0, 3)) if touching else 0
        for corner in corners:
            if (corner < 0).any() or (corner > room).any():
                continue
            box = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, drawn.shape, strict=True))
            if (self.instances[box][mask] > 0).any():
                continue
            n_free += 1
            if n_free > gap:
                self.centres.append(corner + np.array(drawn.shape) / 2)
                self.density[box] += weight * drawn
                self.instances[box][mask] = len(self.centres)
                return True
        return False

    def _corners_beside(self, shape: tuple[int, ...]) -> Points:
        """Positions at increasing distance from a particle, in a random direction, in half of the cases close to z."""
        centre = self.centres[int(self.rng.integers(len(self.centres)))]
        spread = [1.0, 0.25, 0.25] if self.rng.random() < 0.5 else [1.0, 1.0, 1.0]
        direction = self.rng.normal(size=3) * spread
        direction /= np.linalg.norm(direction)
        return np.rint(centre + np.arange(4, 70)[:, None] * direction - np.array(shape) / 2).astype(int)


def draw_complex(rng: np.random.Generator, voxel_size_angstrom: float) -> tuple[Volume, float]:
    """Density of a random kind of particle, and its diameter in voxels."""
    diameter = float(np.exp(rng.uniform(np.log(9), np.log(42))))
    choice = rng.random()
    if choice < 0.6:
        return random_complex(int(rng.integers(2**31)), diameter * voxel_size_angstrom, voxel_size_angstrom), diameter
    if choice < 0.85:
        name = str(rng.choice(sorted(COMPLEXES)))
        return make_complex(name, voxel_size_angstrom * rng.uniform(0.7, 1.3)), 200 / voxel_size_angstrom
    steps = rng.normal(size=(int(rng.integers(4, 12)), 3)) + 1.2 * rng.normal(size=3)
    chain = np.cumsum(steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0) * 26 / voxel_size_angstrom
    chain -= chain.mean(axis=0)
    sigma = 15 / voxel_size_angstrom
    half = int(np.ceil(np.abs(chain).max() + 4 * sigma))
    drawn = 1 - np.exp(-1.5 * render_blobs((2 * half + 1,) * 3, chain + half, sigma))
    return drawn, 2 * float(np.linalg.norm(chain, axis=1).max() + sigma)


def fill_field(rng: np.random.Generator, voxel_size_angstrom: float) -> Field:
    """A random scene, crowded or sparse."""
    scene = Field(voxel_size_angstrom, rng)
    for i in range(int(rng.integers(0, 3))):
        scene.add_vesicle(FIRST_LONG + i)
    for i in range(int(rng.integers(0, 4))):
        scene.add_filament(FIRST_FILAMENT + i)
    for i in range(int(rng.integers(0, 3))):
        scene.add_gold(FIRST_GOLD + i)
    fraction, closeness = rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.9)
    n_kinds = int(rng.integers(3, 8))
    for _ in range(n_kinds):
        density, diameter = draw_complex(rng, voxel_size_angstrom)
        weight = float(rng.uniform(0.75, 1.2))
        n = int(np.clip(fraction * np.prod(SHAPE) / n_kinds / (0.5 * diameter**3), 2, 40))
        for _ in range(n):
            scene.add_particle(density, weight, closeness)
    return scene


def make_tomogram(job: tuple[Path, int]) -> None:
    """Make one tomogram of the pool, protein bright and not smoothed, with its instances."""
    path, seed = job
    if path.exists():
        return
    rng = np.random.default_rng(seed)
    voxel = float(rng.uniform(6, 16))
    scene = fill_field(rng, voxel)
    low, high = -rng.uniform(40, 70), rng.uniform(40, 70)
    snr = float(np.exp(rng.uniform(np.log(0.01), 0)))
    tomogram = record(
        ndimage.gaussian_filter(scene.density, 0.3),
        (scene.instances > 0) & (scene.instances < FIRST_LONG),
        rng,
        Imaging(
            voxel_size_angstrom=voxel,
            tilts=list_tilts((low, high), float(rng.choice([2.0, 3.0, 4.0]))),
            defocus_um=float(rng.choice([0.0, rng.uniform(1.5, 6)], p=[0.15, 0.85])),
            snr=snr,
            smoothing=0.0,
        ),
    )
    tomogram /= tomogram.std()
    instances = scene.instances
    if rng.random() < 0.5:
        tomogram, instances = tomogram.swapaxes(1, 2), instances.swapaxes(1, 2)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, tomogram=tomogram.astype(np.float16), instances=instances, snr=snr, voxel=voxel)
    temporary.rename(path)
    print(f"{path.name}: {len(scene.centres)} particles, {voxel:.1f} A, SNR {snr:.3f}", flush=True)


def main() -> None:
    """Make the tomograms of the pool that do not exist yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=250)
    parser.add_argument("--first", type=int, default=0, help="number and seed of the first training tomogram")
    parser.add_argument("--validation", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    jobs = [(arguments.out / f"validation-{i:03d}.npz", 900_000 + i) for i in range(arguments.validation)]
    jobs += [
        (arguments.out / f"train-{i:03d}.npz", i) for i in range(arguments.first, arguments.first + arguments.train)
    ]
    with Pool(arguments.processes) as pool:
        for _ in pool.imap(make_tomogram, jobs):
            pass


if __name__ == "__main__":
    main()
