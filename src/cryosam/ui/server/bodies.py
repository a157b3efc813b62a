"""Bodies of requests from the page; fields that are not listed here are refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cryosam.structure_results import StructureKind
from cryosam.ui.state import Verdict

__all__ = [
    "CandidateChange",
    "KindChange",
    "NewCandidate",
    "NewClick",
    "NewKind",
    "Search",
    "ThresholdChange",
]

Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Position = tuple[Coordinate, Coordinate, Coordinate]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Change(_Body):
    expected_revision: int | None = None


class NewKind(_Body):
    """A new kind."""

    name: str
    colour: str


class KindChange(_Change):
    """A new name or colour of a kind, or what it is."""

    name: str | None = None
    colour: str | None = None
    structure: StructureKind | None = None


class NewClick(_Body):
    """A click on a particle of the kind, or on something else."""

    kind: int
    point: Position
    positive: bool = True


class Search(_Body):
    """Kinds to search for; None means all kinds with a click."""

    kinds: list[int] | None = None
    diameter_angstrom: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ThresholdChange(_Change):
    """Lowest score of shown candidates."""

    threshold: Annotated[float, Field(ge=0, le=1)]


class NewCandidate(_Body):
    """A particle added by hand."""

    point: Position


class CandidateChange(_Change):
    """A new verdict, a new position, or both; omitted fields stay unchanged."""

    verdict: Verdict | None = None
    point: Position | None = None
