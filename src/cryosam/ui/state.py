"""Clicks, verdicts and results as immutable values, so that undo only needs to restore the previous value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from cryosam.errors import InputError, UnknownItemError
from cryosam.masks import InstanceMask
from cryosam.results import Average, ScoreMap
from cryosam.structure_results import StructureInstance, StructureKind

__all__ = ["Candidate", "Click", "Kind", "Point", "Quaternion", "Size", "State", "Verdict", "View", "best_first"]

Point = tuple[float, float, float]
"""z, y, x in voxels; an integer is a voxel centre."""

Quaternion = tuple[float, float, float, float]
"""A rotation: the axis times the sine of half the angle along z, y, x, then the cosine of half the angle."""

Verdict = Literal["accepted", "rejected"]

_LONGEST_NAME = 60


@dataclass(frozen=True)
class Kind:
    """A kind of particle, membrane, filament or compartment.

    Parameters
    ----------
    id
        Number in the session.
    name
        Unique name of the kind.
    colour
        ``#rrggbb``.
    structure
        What it is.

    Raises
    ------
    InputError
        If the name is empty, too long or not printable, or the colour has another format.
    """

    id: int
    name: str
    colour: str
    structure: StructureKind = "particle"

    def __post_init__(self) -> None:
        name = " ".join(self.name.split())
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise InputError(f"the name of a kind must have 1 to {_LONGEST_NAME} printable characters")
        if not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise InputError(f"a colour must be written as #rrggbb, got {self.colour!r}")
        object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class Size:
    """Measurements on the first particle that are reused for other particles of the kind.

    Parameters
    ----------
    diameter
        Diameter of the kind, in voxels.
    smoothing
        Standard deviation in voxels of the Gaussian that suits the noise; None if it is unknown or the particle is not
        round, so that other particles are segmented without these measurements.
    """

    diameter: float
    smoothing: float | None = None


@dataclass(frozen=True, eq=False)
class Click:
    """A point on a particle of a kind, or on something that is not of the kind.

    Parameters
    ----------
    id
        Number in the session.
    point, is_positive
        Position, and whether it is on a particle of the kind.
    mask
        Mask of the clicked object; empty if nothing was segmented.
    message
        Message for the user about the mask, or None.
    """

    id: int
    point: Point
    is_positive: bool
    mask: InstanceMask
    message: str | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A place that may be a particle of a kind, or another structure that was found.

    Parameters
    ----------
    id
        Number in the session.
    point
        Centre.
    score
        In [0, 1]; None if it was added by hand or from a file.
    mask
        Mask; empty if there is none.
    verdict
        Verdict of the user, or None.
    is_moved
        Whether the user changed its position.
    rotation
        Rotation of the average of the kind about its centre into the orientation of the particle; None if unknown.
    instance
        The membrane, filament or compartment with its geometry, whose mask is ``mask``; None for a particle.
    """

    id: int
    point: Point
    score: float | None
    mask: InstanceMask
    verdict: Verdict | None = None
    is_moved: bool = False
    rotation: Quaternion | None = None
    instance: StructureInstance | None = None

    def is_shown(self, threshold: float) -> bool:
        """Whether it counts as found: accepted by the user, or without a verdict and with a sufficient score."""
        return self.verdict == "accepted" or (self.verdict is None and (self.score is None or self.score >= threshold))


@dataclass(frozen=True, eq=False)
class View:
    """One kind in one tomogram.

    Parameters
    ----------
    clicks
        Clicks in the order in which they were made.
    candidates
        Candidates, best first; those added by hand come before all others.
    threshold
        Lowest score of shown candidates.
    default_threshold
        Threshold chosen by the search.
    average
        Average of the particles found, or None; if there is one, scores are probabilities.
    score_map
        Similarity of each cell of the tomogram to the kind, from the last search; None if there was none.
    searched
        Identifiers of the clicks that the last search used; None if there was none.
    warnings
        Warnings of the last search.
    size
        Size of the kind; None if not known yet.
    searched_as
        What the last search took the kind for.
    """

    clicks: tuple[Click, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    threshold: float = 0.5
    default_threshold: float = 0.5
    average: Average | None = None
    score_map: ScoreMap | None = None
    searched: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()
    size: Size | None = None
    searched_as: StructureKind = "particle"

    @property
    def is_stale(self) -> bool:
        """Whether the clicks changed since the last search."""
        return self.searched is not None and set(self.searched) != {click.id for click in self.clicks}

    def is_outdated(self, kind: Kind) -> bool:
        """Whether the clicks, or what the kind is, changed since the last search."""
        return self.is_stale or (self.searched is not None and self.searched_as != kind.structure)

    @property
    def current_warnings(self) -> tuple[str, ...]:
        """The warnings of the last search, as long as all clicks that it used are there."""
        is_current = self.searched is not None and set(self.searched) <= {click.id for click in self.clicks}
        return self.warnings if is_current else ()

    def without_click(self, click_id: int) -> "View":
        """Return a view without a click, and without the size of the kind if that was measured on the click."""
        left = replace(self, clicks=tuple(click for click in self.clicks if click.id != click_id))
        measured = next((click.id for click in self.clicks if click.is_positive), None)
        return replace(left, size=None) if click_id == measured else left

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """The candidates that count as found, best first."""
        return tuple(candidate for candidate in self.candidates if candidate.is_shown(self.threshold))

    def candidate(self, candidate_id: int) -> Candidate:
        """Return one candidate.

        Raises
        ------
        UnknownItemError
            If there is none of this number.
        """
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        raise UnknownItemError(f"this kind has no candidate {candidate_id} any more")

    def with_candidate(self, changed: Candidate) -> "View":
        """Return a view with one candidate replaced at its rank, or added as the first."""
        if any(candidate.id == changed.id for candidate in self.candidates):
            candidates = (changed if candidate.id == changed.id else candidate for candidate in self.candidates)
            return replace(self, candidates=tuple(candidates))
        return replace(self, candidates=(changed, *self.candidates))


@dataclass(frozen=True, eq=False)
class State:
    """Everything that undo can restore.

    Parameters
    ----------
    kinds
        Kinds, shared by all tomograms.
    views
        Views by number of the tomogram and of the kind; a missing view is empty.
    """

    kinds: tuple[Kind, ...] = ()
    views: Mapping[tuple[int, int], View] = field(default_factory=lambda: MappingProxyType({}))

    def kind(self, kind_id: int) -> Kind:
        """Return one kind.

        Raises
        ------
        UnknownItemError
            If there is none of this number.
        """
        for kind in self.kinds:
            if kind.id == kind_id:
                return kind
        raise UnknownItemError(f"there is no kind {kind_id} any more")

    def view(self, tomogram: int, kind_id: int) -> View:
        """Return one kind in one tomogram; UnknownItemError as in `kind`."""
        self.kind(kind_id)
        return self.views.get((tomogram, kind_id), View())

    def with_view(self, tomogram: int, kind_id: int, view: View) -> "State":
        """Return a state with another view; UnknownItemError as in `kind`."""
        self.kind(kind_id)
        return replace(self, views=MappingProxyType({**self.views, (tomogram, kind_id): view}))

    def with_kinds(self, kinds: tuple[Kind, ...]) -> "State":
        """Return a state with other kinds, without the views of removed kinds. InputError if two names are equal."""
        if len({kind.name for kind in kinds}) < len(kinds):
            raise InputError("two kinds would have the same name")
        kept = {kind.id for kind in kinds}
        return State(kinds, MappingProxyType({key: view for key, view in self.views.items() if key[1] in kept}))


def best_first(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Sort candidates in the order of `View.candidates`.

    Examples
    --------
    >>> nothing = InstanceMask.empty()
    >>> found = [Candidate(i, (0.0, 0.0, 0.0), score, nothing) for i, score in enumerate((0.2, 0.9, None))]
    >>> [candidate.id for candidate in best_first(found)]
    [2, 1, 0]
    """
    return tuple(sorted(candidates, key=lambda candidate: -2.0 if candidate.score is None else -candidate.score))
