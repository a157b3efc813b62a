"""Tomograms with known answers for the benchmarks."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from cryosam import read_tomogram
from cryosam.evaluation.simulation import SimulationConfig, random_complex, simulate
from cryosam.io import read_volume, write_volume
from cryosam.io.phantoms import write_simulated

__all__ = ["gather", "gather_noisier", "gather_random"]

_SIMULATED = {
    "10 A, SNR 0.1": SimulationConfig(
        shape=(88, 256, 256),
        counts={"bilobe": 14, "barrel": 16, "tetramer": 16, "ring": 18, "clamp": 18},
        n_vesicles=2,
        n_gold=2,
        seed=11,
    ),
    "10 A, SNR 0.03": SimulationConfig(
        shape=(80, 256, 256), counts={"bilobe": 14, "tripod": 16, "rod": 16, "ring": 16}, snr=0.03, seed=12
    ),
    "14 A, SNR 0.2": SimulationConfig(
        shape=(64, 224, 256),
        voxel_size_angstrom=14,
        counts={"bilobe": 20, "tetramer": 25, "barrel": 25},
        snr=0.2,
        seed=13,
    ),
    "6 A, SNR 0.1": SimulationConfig(
        shape=(112, 320, 320), voxel_size_angstrom=6, counts={"ring": 16, "barrel": 16, "clamp": 18}, seed=14
    ),
    "12 A, SNR 0.05": SimulationConfig(
        shape=(80, 256, 256),
        voxel_size_angstrom=12,
        counts={"bilobe": 20, "tetramer": 25, "tripod": 25, "shell": 12},
        snr=0.05,
        seed=16,
    ),
    "15 A, SNR 0.02": SimulationConfig(
        shape=(56, 224, 256),
        voxel_size_angstrom=15,
        counts={"bilobe": 30, "tetramer": 40, "barrel": 40},
        snr=0.02,
        seed=15,
    ),
}


def gather(folder: Path | None, scratch: Path | None) -> dict[str, Path]:
    """Folders of tomograms by name: the given one, and those simulated into ``scratch`` unless that is None."""
    folders = {} if folder is None else {folder.name: folder}
    if scratch is not None:
        for name, config in _SIMULATED.items():
            folders[name] = write_simulated(scratch / str(config.seed), simulate(config))
    return folders


_RANDOM = (  # signal-to-noise ratio, and voxel size in angstrom
    (0.02, 12),
    (0.025, 8),
    (0.03, 10),
    (0.04, 14),
    (0.05, 7),
    (0.06, 11),
    (0.08, 9),
    (0.1, 13),
    (0.03, 15),
    (0.05, 6),
    (0.02, 10),
    (0.15, 12),
)


def gather_random(scratch: Path) -> dict[str, Path]:
    """Folders of tomograms by name, each with four random complexes, 130 to 270 angstrom long, and their densities."""
    rng, folders = np.random.default_rng(777), {}
    for i, (snr, voxel_size) in enumerate(_RANDOM):
        maps = {
            f"c{k}": random_complex(int(rng.integers(1_000_000)), float(rng.uniform(130, 270)), voxel_size)
            for k in range(4)
        }
        is_fine = voxel_size <= 7
        config = SimulationConfig(
            shape=(100, 300, 300) if is_fine else (72, 224, 224),
            voxel_size_angstrom=voxel_size,
            counts=dict.fromkeys(maps, 14 if is_fine else 20),
            snr=snr,
            seed=900 + i,
        )
        name = f"random, {voxel_size} A, SNR {snr}"
        folders[name] = write_simulated(scratch / f"random-{i}", simulate(config, maps))
        for kind, density in maps.items():
            write_volume(folders[name] / f"{kind}.mrc", density, voxel_size)
    return folders


def gather_noisier(folder: Path, scratch: Path, times: Sequence[float]) -> dict[str, Path]:
    """Folders, by name, of one tomogram with multiples of its noise variance and an unchanged noise spectrum."""
    tomogram = read_tomogram(folder / "tomo.mrc")
    data = np.asarray(tomogram.data, dtype=np.float32)
    is_empty = np.asarray(read_volume(next(folder.glob("labels.mrc*")))) == 0
    random, folders = np.random.default_rng(0), {}
    background = np.where(is_empty, data - np.median(data[is_empty]), 0)
    power = ndimage.gaussian_filter(np.abs(np.fft.rfftn(background)) ** 2, 2)
    for factor in times:
        white = np.fft.rfftn(random.standard_normal(data.shape))
        noise = np.fft.irfftn(white * np.sqrt(power), s=data.shape, axes=(0, 1, 2))
        noise *= np.sqrt(factor - 1) * data[is_empty].std() / noise.std()
        name = f"{folder.name}, {factor:g} times the noise"
        target = scratch / f"{folder.name}-{factor:g}"
        target.mkdir()
        write_volume(target / "tomo.mrc", (data + noise).astype(np.float32), tomogram.voxel_size_angstrom)
        for path in (folder / "particles.csv", next(folder.glob("instances.mrc*"))):
            shutil.copy(path, target / path.name)
        folders[name] = target
    return folders
