"""Everything that one run found in a tomogram: particles and structures of several kinds, and how they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from cryosam.arrays import Labels, Points
from cryosam.masks import InstanceMask
from cryosam.results import Segmentation
from cryosam.structure_results import Compartment, Membrane, StructureKind, StructureResult

__all__ = ["FullMap", "MapLabel", "Relations"]

_FIRST: tuple[StructureKind, ...] = ("particle", "filament", "membrane", "compartment")
"""Who gets a voxel that several instances with the same score share; a lumen never gets it."""


@dataclass(frozen=True)
class MapLabel:
    """What a number in the exclusive map stands for.

    Parameters
    ----------
    label
        The number, from 1.
    kind, structure
        Name of the kind, and what it is.
    n_instances
        Number of its instances.
    """

    label: int
    kind: str
    structure: StructureKind
    n_instances: int


@dataclass(frozen=True, eq=False)
class Relations:
    """How particles lie to membranes and compartments; one row per particle.

    Parameters
    ----------
    distance_angstrom
        ``(n,)`` distance of the centre to the middle of the nearest membrane; NaN without membranes.
    membrane, compartment
        ``(n,)`` the nearest membrane, and the compartment that holds the centre: row in `FullMap.of_structure`,
        or -1.
    """

    distance_angstrom: Float[np.ndarray, " n"]
    membrane: Int[np.ndarray, " n"]
    compartment: Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class FullMap:
    """The result of a run that looked for more than particles.

    Parameters
    ----------
    kinds
        Names of the kinds in the order in which they were given: kind k has label k + 1.
    structures
        The results of the kinds that are no particles.
    particles
        The particles of all other kinds; None if there is no such kind.
    """

    kinds: tuple[str, ...]
    structures: tuple[StructureResult, ...]
    particles: Segmentation | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the tomogram, voxels z, y, x."""
        return self._any.shape

    @property
    def name(self) -> str:
        """Name of the tomogram."""
        return self._any.name

    @property
    def voxel_size_angstrom(self) -> float:
        """Edge of a voxel."""
        return self.structures[0].voxel_size_angstrom

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, one sentence each; those of structures start with the name of the kind."""
        own = [str(each.of_kind(part.kind)) for part in self.structures for each in part.report.warnings]
        return (*(() if self.particles is None else self.particles.warnings), *own)

    def legend(self) -> tuple[MapLabel, ...]:
        """The labels of the exclusive map, in order."""
        found = {part.kind: (part.structure, len(part.instances)) for part in self.structures}
        if self.particles is not None:
            for part in self.particles.kinds or (self.particles,):
                found[part.kind] = ("particle", len(part.points))
        return tuple(MapLabel(label, kind, *found[kind]) for label, kind in enumerate(self.kinds, start=1))

    def painted(self) -> list[tuple[int, InstanceMask]]:
        """Label and mask of every instance in painting order: who gets the shared voxels comes last.

        The better score gets a voxel, with equal scores the particle before the filament before the membrane. The
        lumen of a compartment only gets what nothing else claims.
        """
        entries: list[tuple[bool, float, int, int, InstanceMask]] = []
        for label in self.legend():
            rank = -_FIRST.index(label.structure)
            is_wall = label.structure != "compartment"
            for score, mask in self._instances(label):
                entries.append((is_wall, round(score, 6), rank, label.label, mask))
        order = sorted(range(len(entries)), key=lambda i: (*entries[i][:3], -i))
        return [entries[i][3:] for i in order]

    def semantic(self) -> Labels:
        """The exclusive map ``(z, y, x)``: the label of the kind at each voxel, 0 where there is none.

        Examples
        --------
        >>> lumen = Compartment(InstanceMask((0, 0, 0), np.ones((1, 1, 3), dtype=bool)), 0.9, 3000.0, False)
        >>> cell = StructureResult((1, 1, 4), "compartment", (lumen,), np.zeros((1, 3)), 10.0, kind="cell")
        >>> FullMap(("cell",), (cell,)).semantic().tolist()
        [[[1, 1, 1, 0]]]
        """
        volume = np.zeros(self.shape, dtype=np.uint8 if len(self.kinds) < 2**8 else np.uint16)
        for label, mask in self.painted():
            volume[mask.box][mask.data] = label
        return volume

    def of_structure(self, structure: StructureKind) -> list[tuple[str, int, object]]:
        """Kind, number from 1 and instance of everything that is of a structure, in the order of the kinds."""
        return [
            (part.kind, number, instance)
            for part in self.structures
            if part.structure == structure
            for number, instance in enumerate(part.instances, start=1)
        ]

    def relations(self) -> Relations:
        """How each particle lies to the membranes and compartments of the map."""
        points = np.zeros((0, 3)) if self.particles is None else self.particles.points
        membranes = [each for _, _, each in self.of_structure("membrane") if isinstance(each, Membrane)]
        lumens = [each for _, _, each in self.of_structure("compartment") if isinstance(each, Compartment)]
        distance, nearest = _nearest(points, [_surface(membrane) for membrane in membranes])
        inside = np.full(len(points), -1)
        for row, point in enumerate(points):
            inside[row] = next((i for i, lumen in enumerate(lumens) if lumen.mask.holds(point)), -1)
        return Relations(distance * self.voxel_size_angstrom, nearest, inside)

    @property
    def _any(self) -> StructureResult | Segmentation:
        return self.structures[0] if self.structures or self.particles is None else self.particles

    def _instances(self, label: MapLabel) -> list[tuple[float, InstanceMask]]:
        """Score and mask of the instances of a kind, best first."""
        if label.structure != "particle":
            part = next(part for part in self.structures if part.kind == label.kind)
            return [(each.score, each.mask) for each in part.instances]
        if self.particles is None:
            return []
        names = self.particles.names or (self.particles.kind,) * len(self.particles.masks)
        scores = self.particles.scores.tolist()
        return [
            (score, mask)
            for name, score, mask in zip(names, scores, self.particles.masks, strict=True)
            if name == label.kind
        ]


def _surface(membrane: Membrane) -> Points:
    """Points that cover a membrane: its own, and the corners, edges and middles of its triangles."""
    corners = membrane.mesh.vertices[membrane.mesh.faces]
    edges = (corners + np.roll(corners, 1, axis=1)) / 2
    return np.concatenate([membrane.points, membrane.mesh.vertices, edges.reshape(-1, 3), corners.mean(axis=1)])


def _nearest(
    points: Points, surfaces: Sequence[Float[np.ndarray, "_ 3"]]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Distance in voxels of each point to the nearest surface, and the row of that surface; NaN and -1 without any."""
    if not sum(map(len, surfaces)):
        return np.full(len(points), np.nan), np.full(len(points), -1)
    rows = np.repeat(np.arange(len(surfaces)), [len(surface) for surface in surfaces])
    distance, at = KDTree(np.concatenate(surfaces)).query(points)
    return np.asarray(distance, dtype=float).reshape(len(points)), rows[np.asarray(at).reshape(len(points))]
