"""What the user said and what was found: values that never change, so that undo is to take the one before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from cryosam.errors import InputError, UnknownItemError
from cryosam.masks import InstanceMask
from cryosam.results import Average, ScoreMap

__all__ = ["Candidate", "Click", "Kind", "Point", "Quaternion", "Size", "State", "Verdict", "View", "best_first"]

Point = tuple[float, float, float]
"""z, y, x in voxels; an integer is a voxel centre."""

Quaternion = tuple[float, float, float, float]
"""A rotation: the axis times the sine of half the angle along z, y, x, then the cosine of half the angle."""

Verdict = Literal["accepted", "rejected"]

_LONGEST_NAME = 60


@dataclass(frozen=True)
class Kind:
    """A kind of particle.

    Parameters
    ----------
    id
        Number in the session.
    name
        Differs from that of every other kind.
    colour
        ``#rrggbb``.

    Raises
    ------
    InputError
        If the name is empty, too long or cannot be printed, or the colour is written otherwise.
    """

    id: int
    name: str
    colour: str

    def __post_init__(self) -> None:
        name = " ".join(self.name.split())
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise InputError(f"a kind's name has 1 to {_LONGEST_NAME} letters")
        if not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise InputError(f"a colour is written #rrggbb, got {self.colour!r}")
        object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class Size:
    """What a first look at a particle tells, and a second one need not find out.

    Parameters
    ----------
    diameter
        Of the kind, in voxels.
    smoothing
        Standard deviation in voxels of the Gaussian that suits the noise; None if it, or the shape, is such that every
        particle must be looked at anew.
    """

    diameter: float
    smoothing: float | None = None


@dataclass(frozen=True, eq=False)
class Click:
    """A point that the user put on a particle of a kind, or on what is not of the kind.

    Parameters
    ----------
    id
        Number in the session.
    point, is_positive
        Where, and whether it is of the kind.
    mask
        What lies under it; empty if nothing was segmented.
    message
        What the user should know of the mask, or None.
    """

    id: int
    point: Point
    is_positive: bool
    mask: InstanceMask
    message: str | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """What may be a particle of a kind.

    Parameters
    ----------
    id
        Number in the session.
    point
        Its centre.
    score
        In [0, 1]; None if it was not found but added by hand or from a file.
    mask
        Its voxels; empty if there are none.
    verdict
        What the user said of it, or None.
    is_moved
        Whether its place was set by hand.
    rotation
        That turns the kind's average, about its centre, to lie as the particle does; None where that is not known.
    """

    id: int
    point: Point
    score: float | None
    mask: InstanceMask
    verdict: Verdict | None = None
    is_moved: bool = False
    rotation: Quaternion | None = None

    def is_shown(self, threshold: float) -> bool:
        """Whether it counts as found: accepted by hand, or not judged and with enough score."""
        return self.verdict == "accepted" or (self.verdict is None and (self.score is None or self.score >= threshold))


@dataclass(frozen=True, eq=False)
class View:
    """One kind in one tomogram.

    Parameters
    ----------
    clicks
        In the order in which they were made.
    candidates
        Best first; those added by hand come before all.
    threshold
        Least score of what is shown.
    default_threshold
        That the search proposed.
    average
        Of the particles found, or None; with it, scores are probabilities.
    score_map
        How like the kind each cell of the tomogram is, from the last search; None if there was none.
    searched
        Identifiers of the clicks that the last search used; None if there was none.
    warnings
        What the search had to say.
    size
        Of the kind; None if it is not known yet.
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

    @property
    def is_stale(self) -> bool:
        """Whether the clicks changed since the last search."""
        return self.searched is not None and set(self.searched) != {click.id for click in self.clicks}

    @property
    def shown(self) -> tuple[Candidate, ...]:
        """What counts as found, best first."""
        return tuple(candidate for candidate in self.candidates if candidate.is_shown(self.threshold))

    def candidate(self, candidate_id: int) -> Candidate:
        """One candidate.

        Raises
        ------
        UnknownItemError
            If it is not there.
        """
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        raise UnknownItemError(f"there is no candidate {candidate_id} of this kind any more")

    def with_candidate(self, changed: Candidate) -> "View":
        """The same with one candidate changed, which keeps its rank, or added, which gets the first."""
        if any(candidate.id == changed.id for candidate in self.candidates):
            candidates = (changed if candidate.id == changed.id else candidate for candidate in self.candidates)
            return replace(self, candidates=tuple(candidates))
        return replace(self, candidates=(changed, *self.candidates))


@dataclass(frozen=True, eq=False)
class State:
    """All that undo can bring back.

    Parameters
    ----------
    kinds
        Shared by all tomograms.
    views
        By number of tomogram and identifier of kind; what is missing is empty.
    """

    kinds: tuple[Kind, ...] = ()
    views: Mapping[tuple[int, int], View] = field(default_factory=lambda: MappingProxyType({}))

    def kind(self, kind_id: int) -> Kind:
        """One kind.

        Raises
        ------
        UnknownItemError
            If it is not there.
        """
        for kind in self.kinds:
            if kind.id == kind_id:
                return kind
        raise UnknownItemError(f"there is no kind {kind_id} any more")

    def view(self, tomogram: int, kind_id: int) -> View:
        """One kind in one tomogram; UnknownItemError as `kind`."""
        self.kind(kind_id)
        return self.views.get((tomogram, kind_id), View())

    def with_view(self, tomogram: int, kind_id: int, view: View) -> "State":
        """The same with another view; UnknownItemError as `kind`."""
        self.kind(kind_id)
        return replace(self, views=MappingProxyType({**self.views, (tomogram, kind_id): view}))

    def with_kinds(self, kinds: tuple[Kind, ...]) -> "State":
        """The same with other kinds; the views of those that are gone go too. InputError if two have one name."""
        if len({kind.name for kind in kinds}) < len(kinds):
            raise InputError("two kinds would have the same name")
        kept = {kind.id for kind in kinds}
        return State(kinds, MappingProxyType({key: view for key, view in self.views.items() if key[1] in kept}))


def best_first(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """In the order of `View.candidates`.

    Examples
    --------
    >>> nothing = InstanceMask.empty()
    >>> found = [Candidate(i, (0.0, 0.0, 0.0), score, nothing) for i, score in enumerate((0.2, 0.9, None))]
    >>> [candidate.id for candidate in best_first(found)]
    [2, 1, 0]
    """
    return tuple(sorted(candidates, key=lambda candidate: -2.0 if candidate.score is None else -candidate.score))
