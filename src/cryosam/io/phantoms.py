"""Files of simulated tomograms and their ground truth."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryosam.arrays import Volume
from cryosam.errors import InputError, InputNotFoundError, VoxelSizeError
from cryosam.evaluation.simulation import Line, Simulated, resample_density
from cryosam.io.folders import output_folder
from cryosam.io.volumes import read_tomogram, write_volume

__all__ = ["SIMULATED_FILES", "read_densities", "write_simulated"]

SIMULATED_FILES: Mapping[str, str] = {
    "tomo.mrc": "the tomogram",
    "labels.mrc": "number of the kind at each voxel",
    "instances.mrc": "number of the particle at each voxel",
    "particles.csv": "name,class,instance,z,y,x of each particle; voxels, counted from 0",
    "structures.mrc": "number of the membrane or filament at each voxel",
    "filaments.csv": "name,instance,z,y,x along the centre line of each filament; the instance as in structures.mrc",
}
"""Every file that `write_simulated` writes, and its content; the last two only if there are such objects."""


def write_simulated(folder: str | os.PathLike[str], simulated: Simulated, *, overwrite: bool = False) -> Path:
    """Write a tomogram and its ground truth; each file appears only when it is complete.

    Raises
    ------
    OutputExistsError
        If the folder is not empty, and ``overwrite`` is False.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> from cryosam.evaluation.simulation import SimulationConfig, simulate
    >>> config = SimulationConfig(shape=(40, 42, 44), counts={"ring": 1}, n_vesicles=0, n_gold=0, n_debris=0)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     sorted(path.name for path in write_simulated(f"{parent}/new", simulate(config)).iterdir())
    ['instances.mrc', 'labels.mrc', 'particles.csv', 'tomo.mrc']
    """
    size = simulated.tomogram.voxel_size_angstrom
    target = Path(folder).absolute()
    with output_folder(target, list(SIMULATED_FILES), overwrite=overwrite) as temporary:
        write_volume(temporary / "tomo.mrc", simulated.tomogram.data, size)
        write_volume(temporary / "labels.mrc", simulated.labels, size)
        write_volume(temporary / "instances.mrc", simulated.instances, size)
        with (temporary / "particles.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["name", "class", "instance", "z", "y", "x"])
            for name, instance, point in zip(
                simulated.names, simulated.instances_of_points.tolist(), simulated.points.tolist(), strict=True
            ):
                number = simulated.kinds.index(name) + 1
                writer.writerow([name, number, instance, *(f"{c:.2f}" for c in point)])
        if simulated.structures.any():
            write_volume(temporary / "structures.mrc", simulated.structures, size)
        if simulated.lines:
            _write_lines(temporary / "filaments.csv", simulated.lines)
    return target


def _write_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write the points of centre lines, one row per point."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "instance", "z", "y", "x"])
        for line in lines:
            writer.writerows([line.name, line.instance, *(f"{c:.2f}" for c in point)] for point in line.points.tolist())


def read_densities(folder: str | os.PathLike[str], voxel_size_angstrom: float) -> dict[str, Volume]:
    """Read density maps by file name, resampled to another voxel size.

    Parameters
    ----------
    folder
        Folder of maps of the MRC family, protein positive, with a voxel size in the header.
    voxel_size_angstrom
        Voxel size of the tomogram to simulate.

    Raises
    ------
    InputNotFoundError, InputError
        If there is no such folder, or it has no map.
    VoxelSizeError
        If a map's header has no voxel size.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/1abc.mrc", np.ones((5, 7, 9), dtype=np.float32), 10.0)
    ...     {name: density.shape for name, density in read_densities(folder, 20.0).items()}
    {'1abc': (3, 5, 5)}
    """
    source = Path(folder)
    if not source.is_dir():
        raise InputNotFoundError(f"{source}: no such folder of density maps; check the path")
    files = sorted(path for path in source.iterdir() if path.suffix in (".mrc", ".map"))
    if not files:
        raise InputError(f"{source}: no density maps (.mrc, .map) in this folder")
    densities = {}
    for file in files:
        density = read_tomogram(file)
        if density.voxel_size_angstrom is None:
            raise VoxelSizeError(
                f"{file}: the header has no voxel size, so the map cannot be scaled; set it in the file"
            )
        densities[file.stem] = resample_density(
            density.data.astype("float32"), density.voxel_size_angstrom, voxel_size_angstrom
        )
    return densities
