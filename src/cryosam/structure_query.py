"""A saved query for a structure: what tells a kind of membrane, filament or compartment, to find it elsewhere."""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from cryosam.errors import QueryError
from cryosam.prompts import require_kind_names
from cryosam.structure_results import StructureKind
from cryosam.tomogram import Contrast

__all__ = ["CompartmentKind", "FilamentKind", "KindDescription", "MembraneKind", "StructureQuery"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MembraneKind:
    """What tells a kind of membrane; a row per click.

    Parameters
    ----------
    profiles
        ``(k, n)`` density across the membrane at each click, in units of the noise; NaN outside of the tomogram.
    step_angstrom
        Distance of the values of a profile; the membrane's middle is the middle value.
    least_likeness
        ``(k,)`` correlation with the profile that a patch of the clicked membrane itself has nearly everywhere.
    gold_share
        Share of the clicked membrane that is as strong as the strongest voxels, which are gold. It holds in the clicked
        tomogram only, because it depends on the noise; a search of another one measures it there.
    is_tube
        Whether a click is on the wall of a narrow tube.
    """

    structure: ClassVar[StructureKind] = "membrane"
    profiles: Float[np.ndarray, "k n"]
    step_angstrom: float
    least_likeness: Float[np.ndarray, " k"]
    gold_share: float
    is_tube: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class FilamentKind:
    """What tells a kind of filament.

    Parameters
    ----------
    density
        ``(n,)`` density at distances of 0, 1, 2, ... steps from the axis, in units of the noise.
    step_angstrom
        Distance of the values.
    similarity
        Correlation of the cross-section at the clicks with what the density is imaged to, in 0 to 1.
    """

    structure: ClassVar[StructureKind] = "filament"
    density: Float[np.ndarray, " n"]
    step_angstrom: float
    similarity: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CompartmentKind:
    """What tells a kind of compartment.

    Parameters
    ----------
    least_radius_angstrom, most_radius_angstrom
        Radii of the smallest and of the largest one that was clicked.
    seen
        Share of the surface of the worst one, of what the missing wedge lets be seen, where membrane was measured.
    """

    structure: ClassVar[StructureKind] = "compartment"
    least_radius_angstrom: float
    most_radius_angstrom: float
    seen: float


KindDescription = MembraneKind | FilamentKind | CompartmentKind
"""What a finder measures at the clicks, and needs to find the kind in any tomogram."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StructureQuery:
    """A kind of structure that was clicked in one tomogram, to find it in others of any voxel size.

    Parameters
    ----------
    name
        Name of the kind.
    kind
        What tells it, in angstrom.
    contrast
        Whether protein was dark or bright.
    voxel_size_angstrom
        Voxel size of the tomogram that the query was made in.
    n_instances
        How many instances the query finds there.
    source, source_digest
        Name of that tomogram, and SHA-256 of its voxels.

    Raises
    ------
    QueryError
        If a length is not positive, or a number that must be finite is not.
    PromptError
        If the name cannot be used in file names.

    Examples
    --------
    >>> vesicle = CompartmentKind(least_radius_angstrom=400.0, most_radius_angstrom=400.0, seen=0.8)
    >>> query = StructureQuery(
    ...     name="vesicle",
    ...     kind=vesicle,
    ...     contrast="dark",
    ...     voxel_size_angstrom=10.0,
    ...     n_instances=3,
    ...     source="TS_01",
    ...     source_digest="",
    ... )
    >>> query.structure
    'compartment'
    """

    name: str
    kind: KindDescription
    contrast: Contrast
    voxel_size_angstrom: float
    n_instances: int
    source: str
    source_digest: str

    def __post_init__(self) -> None:
        require_kind_names([self.name])
        values = {each.name: np.asarray(getattr(self.kind, each.name), dtype=float) for each in fields(self.kind)}
        lengths = [float(value) for name, value in values.items() if name.endswith("_angstrom")]
        if not all(0 < length < np.inf for length in [*lengths, self.voxel_size_angstrom]):
            raise QueryError(f"query {self.name!r} has a length that is not positive")
        known = [value[np.isfinite(value)] if name == "profiles" else value for name, value in values.items()]
        if not all(value.size and np.isfinite(value).all() for value in known):
            raise QueryError(f"query {self.name!r} has a number that is not finite, or lacks some")
        if isinstance(self.kind, FilamentKind) and (self.kind.density.ndim != 1 or len(self.kind.density) < 2):
            raise QueryError(f"query {self.name!r}: the density of a filament needs two values or more")
        if isinstance(self.kind, MembraneKind) and (
            self.kind.profiles.ndim != 2 or self.kind.profiles.shape[:1] != self.kind.least_likeness.shape
        ):
            raise QueryError(f"query {self.name!r}: profiles and least_likeness must have a row per click")
        if self.contrast not in ("dark", "bright"):
            raise QueryError(f"query {self.name!r}: contrast is dark or bright, got {self.contrast!r}")

    @property
    def structure(self) -> StructureKind:
        """What the query finds."""
        return self.kind.structure

    def digest(self) -> str:
        """SHA-256 of everything in the query that affects a search."""
        state = hashlib.sha256(json.dumps([self.name, self.structure, self.contrast]).encode())
        for each in fields(self.kind):
            state.update(np.ascontiguousarray(getattr(self.kind, each.name), dtype="<f8").tobytes())
        return state.hexdigest()
