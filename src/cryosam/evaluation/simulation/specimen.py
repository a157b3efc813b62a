"""Specimens: particles placed without overlap, membranes, filaments, gold and debris."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cryosam.arrays import Mask, Points, Volume
from cryosam.errors import ConfigError
from cryosam.evaluation.simulation.complexes import random_complex, random_protein, render_blobs
from cryosam.evaluation.simulation.structures import (
    BUNDLE,
    MICROTUBULE_RADIUS,
    MONOMER,
    Line,
    Path,
    Sheet,
    actin_domains,
    beside,
    longest_inside,
    microtubule_monomers,
    part_inside,
    random_path,
)

__all__ = ["FILAMENT_LABEL", "GOLD_LABEL", "MEMBRANE_LABEL", "MICROTUBULE_LABEL", "Specimen", "turn_density"]

MICROTUBULE_LABEL, FILAMENT_LABEL, GOLD_LABEL, MEMBRANE_LABEL = 96, 97, 98, 99
_INSIDE = 0.3  # voxels above this share of the protein's density belong to the particle
_GOLD_DENSITY = 4.0
_MEMBRANE_DENSITY = 0.75
_ROOM = 1.3  # of a microtubule, in radii of its wall's middle
_LEAST_ANGSTROM = 800.0  # length of a microtubule
_DOUBLE_ANGSTROM = 250.0  # between the middles of the two membranes of an envelope
_MEMBRANE_REACH = 130.0  # angstrom from a membrane's middle beyond which its density is below 1e-15
_TURNS, _PLACES = 12, 60
_N_CROWDERS = 40  # different kinds in a crowd, of which every fourth is a complex with symmetry
_CROWDER_DOMAINS = 6  # at most, in the others
_CROWDER_ANGSTROM = (70.0, 110.0)  # diameter of the complexes


@dataclass(frozen=True)
class _Placed:
    """One particle as it was placed."""

    name: str
    position: Float[np.ndarray, " 3"]
    rotation: Float[np.ndarray, "3 3"]


class Specimen:
    """A volume of density that is filled object by object; later objects do not overlap earlier ones.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    voxel_size_angstrom
        Edge of a voxel.
    rng
        Source of all random numbers.

    Attributes
    ----------
    density
        ``(z, y, x)`` float32; protein is about 1.
    instances
        ``(z, y, x)`` int16; particle i of `particles` has label i + 1.
    labels
        ``(z, y, x)`` uint8; the number of the kind, or `MICROTUBULE_LABEL`, `FILAMENT_LABEL` (actin), `GOLD_LABEL`,
        `MEMBRANE_LABEL`.
    structures
        ``(z, y, x)`` int16; each membrane and each filament has its own number, from 1.
    particles
        Sorted by their labels in ``instances``.
    lines
        Centre lines of the filaments, from end to end within the volume.
    """

    def __init__(self, shape: tuple[int, int, int], voxel_size_angstrom: float, rng: np.random.Generator) -> None:
        self.density = np.zeros(shape, dtype=np.float32)
        self.instances = np.zeros(shape, dtype=np.int16)
        self.labels = np.zeros(shape, dtype=np.uint8)
        self.structures = np.zeros(shape, dtype=np.int16)
        self.particles: list[_Placed] = []
        self.lines: list[Line] = []
        self._n_structures = 0
        self._taken = np.zeros(shape, dtype=bool)
        self._voxel = voxel_size_angstrom
        self._rng = rng

    @property
    def points(self) -> Points:
        """``(n, 3)`` centres of mass z, y, x in voxels."""
        return np.array([p.position for p in self.particles]).reshape(-1, 3)

    @property
    def rotations(self) -> Float[np.ndarray, "n 3 3"]:
        """``(n, 3, 3)`` matrices R: the map's voxel at offset d from its centre of mass is at position + R d."""
        return np.array([p.rotation for p in self.particles]).reshape(-1, 3, 3)

    def add_particles(self, density: Volume, name: str, label: int, n: int) -> None:
        """Place ``n`` copies of a density map at random, each completely inside the volume and without contact.

        Raises
        ------
        ConfigError
            If the volume is too full or too small for them.
        """
        for _ in range(n):
            position, rotation, box, mask = self._place(density, name)
            self.particles.append(_Placed(name, position, rotation))
            self.instances[box][mask] = len(self.particles)
            self.labels[box][mask] = label

    def add_debris(self, n: int) -> None:
        """Add amorphous lumps of protein, 40 to 90 angstrom across, that are not particles."""
        for _ in range(n):
            diameter = float(self._rng.uniform(40, 90))
            self._place(random_complex(int(self._rng.integers(2**31)), diameter, self._voxel), "debris")

    def add_crowd(self, share: float) -> None:
        """Fill the room between the other objects with small proteins of 1 to 6 domains and small complexes.

        Parameters
        ----------
        share
            Share of the volume, from 0 to 1, that they fill. In a cell it is 0.2 to 0.3 (R. J. Ellis,
            "Macromolecular crowding: obvious but underappreciated", Trends Biochem. Sci. 26, 597-604, 2001). As
            objects do not touch here, there may be no room for more than 0.05.

        Raises
        ------
        ConfigError
            If the volume is too full for them.
        """
        if share == 0:
            return
        kinds = []
        for i in range(_N_CROWDERS):
            seed = int(self._rng.integers(2**31))
            if i % 4 == 0:
                kinds.append(random_complex(seed, float(self._rng.uniform(*_CROWDER_ANGSTROM)), self._voxel))
            else:
                n_domains = int(self._rng.integers(1, _CROWDER_DOMAINS + 1))
                kinds.append(random_protein(seed, n_domains, self._voxel))
        missing = share * self.density.size
        while missing > 0:
            kind = kinds[int(self._rng.integers(_N_CROWDERS))]
            try:
                _, _, _, mask = self._place(kind, "the crowd", float(self._rng.uniform(0.7, 1.1)))
            except ConfigError:
                raise ConfigError(
                    f"no room for a crowd that fills {share:g} of the volume; give a smaller share or fewer objects"
                ) from None
            missing -= max(1, int(mask.sum()))

    def add_gold(self, n: int, diameter_angstrom: float = 100.0) -> None:
        """Add gold beads."""
        radius = diameter_angstrom / 2 / self._voxel
        half = int(np.ceil(radius)) + 2
        z, y, x = np.ogrid[-half : half + 1, -half : half + 1, -half : half + 1]
        ball = np.clip(radius + 0.5 - np.sqrt(z * z + y * y + x * x), 0, 1).astype(np.float32)
        for _ in range(n):
            _, _, box, mask = self._place(ball, "gold", _GOLD_DENSITY)
            self.labels[box][mask] = GOLD_LABEL

    def add_vesicles(self, n: int) -> None:
        """Add ellipsoidal bilayers, 500 to 1100 angstrom across, leaflets 40 angstrom apart, not necessarily inside."""
        for _ in range(n):
            for _ in range(_PLACES):
                radius = float(self._rng.uniform(250, 550)) / self._voxel
                centre = self._rng.random(3) * (np.array(self.density.shape) - 1)
                axes = radius * self._rng.uniform(0.85, 1.15, size=3)
                box = self._box_around(centre, axes + _MEMBRANE_REACH / self._voxel)
                grid = [places.astype(np.float32) for places in np.ogrid[box]]
                depth = np.abs(_depth_in_ellipsoid(grid, centre, axes) * self._voxel)
                shell = depth < 40
                if shell.any() and not (shell & self._taken[box]).any():
                    break
            else:
                raise ConfigError(
                    f"no room for {n} vesicles in {self.density.shape} voxels; give fewer or a larger shape"
                )
            self._add_membrane(box, depth)

    def add_membranes(self, n: int, *, are_double: bool = False) -> None:
        """Add gently curved bilayers that cross the whole volume; double ones are two, 250 angstrom apart.

        Raises
        ------
        ConfigError
            If the volume is too full for them.
        """
        box = (slice(0, None),) * 3
        grid = [places.astype(np.float32) for places in np.ogrid[tuple(slice(0, m) for m in self.density.shape)]]
        for _ in range(n):
            for _ in range(_PLACES):
                height = Sheet.random(self.density.shape, self._voxel, self._rng).height(grid) * self._voxel
                middles = (-_DOUBLE_ANGSTROM / 2, _DOUBLE_ANGSTROM / 2) if are_double else (0.0,)
                depths = [np.abs(height - middle) for middle in middles]
                if not any((self._taken & (depth < 40)).any() for depth in depths):
                    break
            else:
                raise ConfigError(
                    f"no room for {n} membranes in {self.density.shape} voxels; give fewer or a larger shape"
                )
            for depth in depths:
                self._add_membrane(box, depth)

    def _add_membrane(self, box: tuple[slice, slice, slice], depth: Volume) -> None:
        """Add a bilayer; ``depth`` is the distance from its middle in angstrom, in a box."""
        self._n_structures += 1
        self.density[box] += _MEMBRANE_DENSITY * np.exp(-0.5 * ((depth - 20) / 9) ** 2)
        self.labels[box][depth < 30] = MEMBRANE_LABEL
        self.structures[box][depth < 30] = self._n_structures
        self._taken[box] |= depth < 40

    def add_filaments(self, n: int, n_bundles: int = 0) -> None:
        """Add curved two-stranded filaments like actin, through the whole volume, interrupted at other objects.

        A bundle is seven parallel ones, 120 angstrom apart.
        """
        for number in range(n + n_bundles):
            path = random_path(self.density.shape, 27.5 / self._voxel, self._rng)
            for offset in BUNDLE if number >= n else BUNDLE[:1]:
                middle = beside(path, offset / self._voxel)
                drawn = render_blobs(self.density.shape, actin_domains(middle, 22.0 / self._voxel), 16 / self._voxel)
                self._add_filament("actin", FILAMENT_LABEL, middle, 1 - np.exp(-1.5 * drawn))

    def add_microtubules(self, n: int) -> None:
        """Add nearly straight microtubules of 13 protofilaments, as long as there is room.

        Raises
        ------
        ConfigError
            If the volume is too full for them.
        """
        radius = MICROTUBULE_RADIUS / self._voxel
        for _ in range(n):
            free = (
                ndimage.distance_transform_edt(~self._taken) if self._taken.any() else np.full(self._taken.shape, 1e9)
            )
            for _ in range(_PLACES):
                path = random_path(self.density.shape, MONOMER / self._voxel, self._rng, bend=0.002)
                path = longest_inside(path, free > _ROOM * radius)
                if len(path) * MONOMER >= _LEAST_ANGSTROM:
                    break
            else:
                raise ConfigError(
                    f"no room for {n} microtubules in {self.density.shape} voxels; give fewer or a larger shape"
                )
            monomers = microtubule_monomers(path, self._voxel)
            drawn = 1 - np.exp(-1.5 * render_blobs(self.density.shape, monomers, 14 / self._voxel))
            self._add_filament("microtubule", MICROTUBULE_LABEL, path, drawn, radius)
            lumen = np.zeros(self._taken.shape, dtype=bool)
            lumen[tuple(np.rint(path).astype(int).T)] = True
            self._taken |= ndimage.distance_transform_edt(~lumen) < _ROOM * radius

    def _add_filament(self, name: str, label: int, path: Path, drawn: Volume, radius: float = 0.0) -> None:
        """Add a filament where nothing else is; ``radius`` is that of its wall, in voxels."""
        drawn[self._taken] = 0
        self.density += drawn
        is_filament = drawn > _INSIDE
        self._n_structures += 1
        self.labels[is_filament] = label
        self.structures[is_filament] = self._n_structures
        self.lines.append(Line(name, self._n_structures, part_inside(path, is_filament, radius + 3.0)))
        self._taken |= _grown(drawn > 0.5 * _INSIDE)

    def _box_around(
        self, centre: Float[np.ndarray, " 3"], reach: Float[np.ndarray, " 3"]
    ) -> tuple[slice, slice, slice]:
        low, high = np.maximum(np.floor(centre - reach), 0), np.ceil(centre + reach) + 1
        z, y, x = (slice(int(a), min(int(b), n)) for a, b, n in zip(low, high, self.density.shape, strict=True))
        return z, y, x

    def _place(
        self, density: Volume, name: str, scale: float = 1.0
    ) -> tuple[
        Float[np.ndarray, " 3"], Float[np.ndarray, "3 3"], tuple[slice, slice, slice], Bool[np.ndarray, "mz my mx"]
    ]:
        """Add a map at a free place in a random orientation; returns centre of mass, rotation, box and mask in it."""
        for _ in range(_TURNS):
            rotation = Rotation.random(None, self._rng).as_matrix()
            drawn, centre = turn_density(density, rotation, self._rng.random(3) - 0.5)
            mask = drawn > _INSIDE
            claim = _grown(mask)
            room = np.array(self.density.shape) - drawn.shape
            if (room < 0).any():
                continue
            for corner in self._rng.integers(0, room + 1, size=(_PLACES, 3)):
                box = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, drawn.shape, strict=True))
                if not (self._taken[box] & claim).any():
                    self.density[box] += scale * drawn
                    self._taken[box] |= claim
                    z, y, x = box
                    return centre + corner, rotation, (z, y, x), mask
        raise ConfigError(
            f"no room for all particles of {name} in {self.density.shape} voxels; give fewer or a larger shape"
        )


def _depth_in_ellipsoid(
    grid: Sequence[Float[np.ndarray, "..."]], centre: Float[np.ndarray, " 3"], axes: Float[np.ndarray, " 3"]
) -> Volume:
    """Distance in voxels from the surface of an ellipsoid, to first order; negative inside."""
    spans = [(g - np.float32(c)) / np.float32(a) for g, c, a in zip(grid, centre, axes, strict=True)]
    level = np.sqrt(sum(s**2 for s in spans))
    slope = np.sqrt(sum((s / np.float32(a)) ** 2 for s, a in zip(spans, axes, strict=True)))
    # the gradient of the level has the length slope / level; both are 0 at the centre
    return (level - 1) * np.maximum(level, 1e-6) / np.maximum(slope, 1e-6 / np.float32(axes.max()))


def _grown(mask: Mask) -> Mask:
    """The mask and the two voxels around it, so that neighbours do not touch."""
    return ndimage.binary_dilation(mask, iterations=2)


def turn_density(
    density: Volume, rotation: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "tz ty tx"], Float[np.ndarray, " 3"]]:
    """Rotate a map about its centre of mass and shift it by a fraction of a voxel.

    Parameters
    ----------
    density
        ``(z, y, x)``, 0 outside the protein.
    rotation
        ``(3, 3)`` matrix R that acts on z, y, x column vectors: the density at offset d from the centre of mass moves
        to R d.
    shift
        z, y, x in voxels.

    Returns
    -------
    turned
        The rotated map, in the smallest box that contains it and a margin of two voxels.
    centre
        Centre of mass in that box, z, y, x in voxels.

    Examples
    --------
    >>> rod = np.zeros((7, 3, 3), dtype=np.float32)
    >>> rod[1:6, 1, 1] = 1
    >>> z_to_x = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    >>> turned, _ = turn_density(rod, z_to_x, np.zeros(3))
    >>> [int(n) for n in np.ptp(np.argwhere(turned > 0.5), axis=0)]
    [0, 0, 4]
    """
    inside = np.argwhere(density > 0)
    mass = density[tuple(inside.T)]
    middle = (inside * mass[:, None]).sum(axis=0) / mass.sum()
    half = int(np.ceil(np.linalg.norm(inside - middle, axis=1).max())) + 2
    centre = half + shift
    turned = ndimage.affine_transform(
        density, rotation.T, middle - rotation.T @ centre, (2 * half + 1,) * 3, order=1, mode="constant"
    )
    occupied = turned > 1e-3
    box, first = [], []
    for axis in range(3):
        hit = np.flatnonzero(occupied.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, int(hit[0]) - 2), int(hit[-1]) + 3))
        first.append(box[-1].start)
    return turned[tuple(box)], centre - np.array(first)
