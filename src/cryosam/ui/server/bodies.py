"""What the page may send: nothing that is not named here."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
Place = tuple[Coordinate, Coordinate, Coordinate]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Change(_Body):
    expected_revision: int | None = None


class NewKind(_Body):
    """A kind to begin."""

    name: str
    colour: str


class KindChange(_Change):
    """Another name or colour."""

    name: str | None = None
    colour: str | None = None


class NewClick(_Body):
    """A click on a particle, or on what is none."""

    kind: int
    point: Place
    positive: bool = True


class Search(_Body):
    """Kinds to search for; None is all that have a click."""

    kinds: list[int] | None = None
    diameter_angstrom: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ThresholdChange(_Change):
    """Least score that is shown."""

    threshold: Annotated[float, Field(ge=0, le=1)]


class NewCandidate(_Body):
    """A particle added by hand."""

    point: Place


class CandidateChange(_Change):
    """A verdict, or another place, or both; what is not given stays."""

    verdict: Verdict | None = None
    point: Place | None = None
