"""What a search for membranes, filaments or compartments returns: the instances of one kind, with their geometry."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cryosam.arrays import Labels, Points, Scores, Volume
from cryosam.masks import InstanceMask
from cryosam.run_report import RunReport

__all__ = [
    "Compartment",
    "Filament",
    "Membrane",
    "Mesh",
    "Repeat",
    "Straightened",
    "StructureInstance",
    "StructureKind",
    "StructureResult",
]

StructureKind = Literal["particle", "membrane", "filament", "compartment"]
"""What a click can be on."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles.

    Parameters
    ----------
    vertices
        ``(n, 3)`` z, y, x in voxels of the tomogram.
    faces
        ``(m, 3)`` indices of vertices. Seen from the side to which the normal points, they run counterclockwise.
    """

    vertices: Points
    faces: Int[np.ndarray, "m 3"]

    def within(self, shape: tuple[int, int, int]) -> "Mesh":
        """The triangles that lie in a volume of this shape.

        Examples
        --------
        >>> corners = np.array([[0.0, 0, 0], [0, 2, 0], [0, 0, 2], [0, 0, -3]])
        >>> mesh = Mesh(corners, np.array([[0, 1, 2], [0, 3, 1]])).within((4, 4, 4))
        >>> mesh.faces.tolist(), len(mesh.vertices)
        ([[0, 1, 2]], 3)
        """
        is_in = np.all((self.vertices >= -0.5) & (self.vertices <= np.array(shape) - 0.5), axis=1)
        faces = self.faces[is_in[self.faces].all(axis=1)]
        used, numbers = np.unique(faces, return_inverse=True)
        return Mesh(self.vertices[used], numbers.reshape(-1, 3))


@dataclass(frozen=True, eq=False)
class Membrane:
    """One membrane: a connected sheet, open or closed.

    Parameters
    ----------
    mask
        Voxels of the membrane that were measured.
    score
        In [0, 1].
    points, normals
        ``(n, 3)`` points on the sheet's middle, z, y, x in voxels, and unit normals there. The normals of a closed
        membrane point outwards, those of an open one to the same side everywhere.
    mesh
        The sheet's middle surface.
    is_closed
        Whether the sheet encloses a volume.
    thickness_angstrom
        Distance of the two leaflets, or the width of the sheet where they are not resolved; NaN if it was not measured.
    area_angstrom2, enclosed_angstrom3, curvature_radius_angstrom
        Area of the middle surface, volume inside it (NaN if it is open), median radius of curvature.
    inferred
        Voxels that were filled in where the tomogram shows nothing, for instance in the missing wedge.
    """

    mask: InstanceMask
    score: float
    points: Points
    normals: Points
    mesh: Mesh
    is_closed: bool
    thickness_angstrom: float
    area_angstrom2: float
    enclosed_angstrom3: float
    curvature_radius_angstrom: float
    inferred: InstanceMask = field(default_factory=InstanceMask.empty)


@dataclass(frozen=True, eq=False)
class Filament:
    """One filament: a line with a radius.

    Parameters
    ----------
    mask
        Voxels of the filament.
    score
        In [0, 1].
    points, tangents
        ``(n, 3)`` along the centre line, from one end to the other, z, y, x in voxels, and unit tangents there.
    length_angstrom, radius_angstrom
        Length of the centre line, and outer radius.
    inferred
        Voxels where a gap was bridged.
    """

    mask: InstanceMask
    score: float
    points: Points
    tangents: Points
    length_angstrom: float
    radius_angstrom: float
    inferred: InstanceMask = field(default_factory=InstanceMask.empty)


@dataclass(frozen=True, eq=False)
class Compartment:
    """One enclosed volume, without the membrane around it.

    Parameters
    ----------
    mask
        Voxels of the lumen.
    score
        In [0, 1]: fraction of its boundary where a membrane was measured.
    volume_angstrom3
        Volume of the lumen.
    is_cut
        Whether the border of the tomogram cuts it, so that its volume is a part of the whole.
    """

    mask: InstanceMask
    score: float
    volume_angstrom3: float
    is_cut: bool

    @property
    def inferred(self) -> InstanceMask:
        """No voxel of a lumen is inferred apart from the rest."""
        return InstanceMask.empty()


StructureInstance = Membrane | Filament | Compartment


@dataclass(frozen=True)
class Repeat:
    """The strongest layer line along a filament, and what chance gives.

    Parameters
    ----------
    angstrom
        Distance after which density repeats; NaN if the filament is too short to tell. The true repeat may be a
        multiple of it.
    excess
        Power of the line, as a multiple of that of the frequencies around it.
    chance_excess
        The largest such multiple among ``n_chance`` densities without a repeat.
    n_chance
        Their number: the same density with its cross-sections shuffled, and lines beside the filament.
    """

    angstrom: float
    excess: float
    chance_excess: float
    n_chance: int

    @property
    def is_seen(self) -> bool:
        """Whether the line is stronger than anything that chance gave."""
        return self.excess > self.chance_excess


@dataclass(frozen=True, eq=False)
class Straightened:
    """A filament as if it were straight; protein bright, voxels as large as those of the tomogram.

    Parameters
    ----------
    number
        Of the filament in its result, from 1.
    box
        ``(n, h, w)`` cross-sections one voxel apart, from the first point of the filament to the last, its axis in the
        middle. The other two axes are carried along the filament without twist.
    average
        ``(m, h, w)`` mean of stretches of the box that are one repeat apart; without a repeat, of all stretches, so
        that it is the same everywhere along the filament.
    radius_angstrom, densest_radius_angstrom
        Outer radius, and the radius at which the average is densest: the middle of a hollow filament's wall, 0 for a
        solid filament.
    repeat
        What was found out about the repeat along the axis.
    """

    number: int
    box: Float[np.ndarray, "n h w"]
    average: Volume
    radius_angstrom: float
    densest_radius_angstrom: float
    repeat: Repeat


@dataclass(frozen=True, eq=False)
class StructureResult:
    """All instances of one kind of structure in one tomogram, best first.

    Parameters
    ----------
    shape
        Shape of the tomogram, voxels z, y, x.
    structure
        What the instances are.
    instances
        Best first.
    prompts
        ``(k, 3)`` the clicks, z, y, x in voxels.
    voxel_size_angstrom, name, kind
        Voxel size and name of the tomogram, and name of the kind.
    report
        Measurements and warnings of the run.
    straightened
        The first clicked filament made straight, if that was asked for (`cryosam.structure_scene.with_straightened`); a
        search leaves it None, as it is for other structures, and if it is not among the instances.
    """

    shape: tuple[int, int, int]
    structure: StructureKind
    instances: tuple[StructureInstance, ...]
    prompts: Points
    voxel_size_angstrom: float
    name: str = "tomogram"
    kind: str = "structure"
    report: RunReport = field(default_factory=RunReport)
    straightened: Straightened | None = None

    @property
    def scores(self) -> Scores:
        """``(n,)`` in [0, 1], descending."""
        return np.array([each.score for each in self.instances], dtype=float)

    def labels(self) -> Labels:
        """Instance labels ``(z, y, x)``: instance i (0-based) has label i + 1; the better one gets shared voxels."""
        return self._paint([each.mask for each in self.instances])

    def inferred(self) -> Labels:
        """Labels as in `labels`, of the voxels that were filled in without evidence."""
        return self._paint([each.inferred for each in self.instances])

    def _paint(self, masks: list[InstanceMask]) -> Labels:
        volume = np.zeros(self.shape, dtype=np.uint8 if len(masks) < 2**8 else np.uint16)
        for label, mask in reversed(list(enumerate(masks, start=1))):
            volume[mask.box][mask.data] = label
        return volume
