"""Simulated tomograms (phantoms) with a known answer: points, kinds, orientations, instances and labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer

from cryosam.arrays import Labels, Points, Progress, Volume
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation.complexes import (
    COMPLEXES,
    make_complex,
    normalise_density,
    random_complex,
    resample_density,
)
from cryosam.evaluation.simulation.deconvolution import Deconvolution
from cryosam.evaluation.simulation.imaging import Imaging, list_tilts, record
from cryosam.evaluation.simulation.specimen import (
    FILAMENT_LABEL,
    GOLD_LABEL,
    MEMBRANE_LABEL,
    MICROTUBULE_LABEL,
    Specimen,
)
from cryosam.evaluation.simulation.structures import Line
from cryosam.evaluation.simulation.tilt_series import TiltSeries, record_tilt_series
from cryosam.tomogram import Contrast, Tomogram

__all__ = [
    "COMPLEXES",
    "DEMO_KIND",
    "FILAMENT_LABEL",
    "GOLD_LABEL",
    "MEMBRANE_LABEL",
    "MICROTUBULE_LABEL",
    "STRUCTURE_COUNTS",
    "Deconvolution",
    "Line",
    "Simulated",
    "SimulationConfig",
    "TiltSeries",
    "demo_config",
    "make_complex",
    "normalise_density",
    "random_complex",
    "resample_density",
    "simulate",
]

DEMO_KIND = "bilobe"
"""The kind of `demo_config` that the demonstration searches for."""


STRUCTURE_COUNTS: Mapping[str, str] = {
    "membrane": "n_membranes",
    "double-membrane": "n_double_membranes",
    "vesicle": "n_vesicles",
    "microtubule": "n_microtubules",
    "actin": "n_filaments",
    "actin-bundle": "n_bundles",
}
"""Structures that are no particles, and the fields of `SimulationConfig` that hold their numbers."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """Content of a phantom, and the imaging conditions.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    voxel_size_angstrom
        Edge of a voxel.
    counts
        Number of particles of each kind; the kinds are numbered from 1 in this order.
    n_vesicles, n_filaments, n_gold, n_debris
        Numbers of other objects; the filaments are like actin.
    n_membranes, n_double_membranes, n_microtubules, n_bundles
        Numbers of bilayers and of pairs of them that cross the volume, of microtubules, and of bundles of seven
        filaments like actin.
    crowding
        Share of the volume, from 0 to 1, that small proteins and complexes fill between all other objects; they are not
        in the answer. 0.01 is about 35 of them in a cube of 100 nm; above 0.05 there may be no room.
    tilt_range_degrees
        Lowest and highest tilt about y, with the beam along z; the other directions are the missing wedge.
    tilt_step_degrees
        Angle between two successive tilts.
    defocus_um
        Underfocus at 300 kV, with phases flipped; 0 means perfect transfer.
    snr
        Mean square of the noiseless tomogram over the particles' voxels, divided by the variance of the noise, both
        before smoothing; infinite means no noise. At 1, particles are clearly visible; at 0.1, small ones are lost in
        the noise.
    smoothing
        Standard deviation in voxels of the Gaussian filter that is applied last, but for a deconvolution.
    tilt_series
        How the projections differ from each other, when each is recorded on its own and the tomogram is reconstructed
        from them by weighted back-projection. None simulates the tomogram in Fourier space, where all projections are
        alike.
    contrast
        "dark": protein has the lower values, as recorded.
    dtype
        "int8" fills the range -127 to 127 and clips one voxel in a thousand at either end, like files on disk;
        "float32" has noise of standard deviation 1 before smoothing.
    seed
        The same configuration and seed give the same phantom.
    """

    shape: tuple[int, int, int] = (96, 256, 256)
    voxel_size_angstrom: float = 10.0
    counts: Mapping[str, int] = field(default_factory=lambda: {"bilobe": 15, "barrel": 20, "tetramer": 20})
    n_vesicles: int = 1
    n_filaments: int = 0
    n_gold: int = 1
    n_debris: int = 20
    n_membranes: int = 0
    n_double_membranes: int = 0
    n_microtubules: int = 0
    n_bundles: int = 0
    crowding: float = 0.0
    tilt_range_degrees: tuple[float, float] = (-60.0, 60.0)
    tilt_step_degrees: float = 3.0
    defocus_um: float = 4.0
    snr: float = 0.1
    smoothing: float = 1.0
    tilt_series: TiltSeries | None = None
    contrast: Contrast = "dark"
    dtype: Literal["int8", "float32"] = "int8"
    seed: int = 0

    def __post_init__(self) -> None:
        _require(min(self.shape) > 0, f"shape must be three positive numbers, got {self.shape}")
        _require(self.voxel_size_angstrom > 0, f"the voxel size must be positive, got {self.voxel_size_angstrom}")
        _require(all(n >= 0 for n in self.counts.values()), f"counts must not be negative, got {dict(self.counts)}")
        _require(
            len(self.counts) < MICROTUBULE_LABEL,
            f"there may be at most {MICROTUBULE_LABEL - 1} kinds, got {len(self.counts)}",
        )
        for name in (*STRUCTURE_COUNTS.values(), "n_gold", "n_debris", "defocus_um", "smoothing", "seed"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}")
        _require(0 <= self.crowding < 1, f"crowding must be a share from 0 to 1, got {self.crowding}")
        low, high = self.tilt_range_degrees
        _require(-90 < low < high < 90, f"tilts must ascend between -90 and 90 degrees, got {low}, {high}")
        _require(
            0 < self.tilt_step_degrees <= high - low,
            f"the step between tilts must be positive and at most their range, got {self.tilt_step_degrees}",
        )
        _require(self.snr > 0, f"snr must be positive, got {self.snr}")
        _require(self.contrast in ("dark", "bright"), f"contrast must be dark or bright, got {self.contrast}")
        _require(self.dtype in ("int8", "float32"), f"dtype must be int8 or float32, got {self.dtype}")


@dataclass(frozen=True, eq=False)
class Simulated:
    """A phantom and its answer, with one row per particle.

    Parameters
    ----------
    tomogram
        The simulated tomogram.
    points
        ``(n, 3)`` centres of mass z, y, x in voxels.
    names
        The kind of each particle.
    instances_of_points
        ``(n,)`` the label of each particle in ``instances``, from 1.
    rotations
        ``(n, 3, 3)`` matrices R that act on z, y, x column vectors: the density at offset d from the centre of mass of
        the kind's map is at ``point + R d`` in the tomogram.
    instances
        ``(z, y, x)`` label of the particle in each voxel; 0 where there is none.
    labels
        ``(z, y, x)`` the number of the kind, from 1 in the order of the configuration's counts, or
        `MICROTUBULE_LABEL`, `FILAMENT_LABEL`, `GOLD_LABEL`, `MEMBRANE_LABEL`.
    kinds
        Names of the kinds in the order of their numbers.
    structures
        ``(z, y, x)`` number of the membrane or filament in each voxel, from 1; 0 where there is none.
    lines
        Centre lines of the filaments, from end to end within the volume.
    """

    tomogram: Tomogram
    points: Points
    names: tuple[str, ...]
    instances_of_points: Integer[np.ndarray, " n"]
    rotations: Float[np.ndarray, "n 3 3"]
    instances: Labels
    labels: Labels
    kinds: tuple[str, ...]
    structures: Labels
    lines: tuple[Line, ...] = ()


def demo_config(seed: int = 0) -> SimulationConfig:
    """The phantom of ``cryosam demo``: five kinds, two vesicles, debris, two gold beads.

    Examples
    --------
    >>> DEMO_KIND in demo_config().counts
    True
    """
    return SimulationConfig(
        shape=(88, 256, 256),
        counts={"bilobe": 14, "barrel": 16, "tetramer": 16, "ring": 18, "clamp": 18},
        n_vesicles=2,
        n_gold=2,
        snr=1.0,
        seed=seed,
    )


def simulate(
    config: SimulationConfig, densities: Mapping[str, Volume] | None = None, progress: Progress | None = None
) -> Simulated:
    """Simulate a tomogram with a known answer.

    Parameters
    ----------
    config
        The content and the imaging conditions.
    densities
        ``(z, y, x)`` maps by name, at the configuration's voxel size (see `resample_density`), protein positive; they
        take precedence over built-in complexes of the same name.
    progress
        Called with the stage, the number of steps done and their total.

    Returns
    -------
    simulated
        The tomogram, its points, instances and labels.

    Raises
    ------
    ConfigError
        If a kind is unknown, or there is no room for all particles.

    Examples
    --------
    >>> config = SimulationConfig(shape=(40, 42, 44), counts={"ring": 2}, n_vesicles=0, n_gold=0, n_debris=1)
    >>> simulate(config).names
    ('ring', 'ring')
    """
    tell = progress if progress is not None else lambda *_: None
    maps = {name: normalise_density(given, name) for name, given in (densities or {}).items()}
    for name in config.counts:
        if name not in maps:
            maps[name] = make_complex(name, config.voxel_size_angstrom)
    scene_rng, noise_rng = np.random.default_rng(config.seed).spawn(2)

    scene = Specimen(config.shape, config.voxel_size_angstrom, scene_rng)
    scene.add_membranes(config.n_membranes)
    scene.add_membranes(config.n_double_membranes, are_double=True)
    scene.add_microtubules(config.n_microtubules)
    scene.add_vesicles(config.n_vesicles)
    scene.add_gold(config.n_gold)
    kinds = tuple(config.counts)
    by_size = sorted(kinds, key=lambda name: -float(maps[name].sum()))  # the largest first, while there is room
    for done, name in enumerate(by_size):
        tell("placing particles", done, len(kinds))
        scene.add_particles(maps[name], name, kinds.index(name) + 1, config.counts[name])
    tell("placing particles", len(kinds), len(kinds))
    scene.add_filaments(config.n_filaments, config.n_bundles)
    scene.add_debris(config.n_debris)
    scene.add_crowd(config.crowding)

    tell("recording", 0, 1)
    imaging = Imaging(
        voxel_size_angstrom=config.voxel_size_angstrom,
        tilts=list_tilts(config.tilt_range_degrees, config.tilt_step_degrees),
        defocus_um=config.defocus_um,
        snr=config.snr,
        smoothing=config.smoothing,
    )
    particles = scene.instances > 0
    if config.tilt_series is None:
        intensities = record(scene.density, particles, noise_rng, imaging)
    else:
        intensities = record_tilt_series(scene.density, particles, noise_rng, imaging, config.tilt_series)
    if config.contrast == "dark":
        np.negative(intensities, out=intensities)
    if config.dtype == "int8":
        intensities = _to_int8(intensities)
    tell("recording", 1, 1)
    return Simulated(
        tomogram=Tomogram(intensities, config.voxel_size_angstrom, "simulated"),
        points=scene.points,
        names=tuple(p.name for p in scene.particles),
        instances_of_points=np.arange(1, len(scene.particles) + 1),
        rotations=scene.rotations,
        instances=scene.instances,
        labels=scene.labels,
        kinds=kinds,
        structures=scene.structures,
        lines=tuple(scene.lines),
    )


def _to_int8(intensities: Volume) -> Integer[np.ndarray, "z y x"]:
    """Scale intensities linearly to int8; one voxel in a thousand at either end is clipped."""
    top = max(abs(float(p)) for p in np.percentile(intensities, (0.1, 99.9)))
    scale = 127 / (top or 1.0)
    return np.clip(np.rint(intensities * scale), -127, 127).astype(np.int8)
