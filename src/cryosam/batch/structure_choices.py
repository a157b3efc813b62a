"""What the kinds of a batch are, and how far apart points on them are written: by kind, from file and command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cryosam.errors import ConfigError, InputError
from cryosam.saved_query import SavedQuery
from cryosam.structure_query import StructureQuery

__all__ = ["ALL", "StructureChoice", "StructureChoices", "read_choices"]

StructureChoice = Literal["auto", "particle", "membrane", "filament", "compartment"]

ALL = ""
"""In place of a kind's name: what is said for all kinds without an own value."""

_CHOICES: tuple[StructureChoice, ...] = get_args(StructureChoice)
_WITH_POINTS = ("auto", "membrane", "filament")
_SECTIONS = ("membrane", "filament", "compartment")  # settings that only a search for this structure has
_APPLY = {"matching": {"threshold", "max_particles"}}  # settings that a kind of structures can have of its own


@dataclass(frozen=True, kw_only=True)
class StructureChoices:
    """What clicks are on, and the spacing of points on structures, by name of the kind or `ALL`.

    Parameters
    ----------
    structures
        A particle where nothing is said.
    spacings
        In angstrom, of points on membranes and along filaments; where nothing is said no such points are written.
    """

    structures: Mapping[str, StructureChoice] = field(default_factory=dict)
    spacings: Mapping[str, float] = field(default_factory=dict)

    def structure_of(self, kind: str) -> StructureChoice:
        """What clicks on a kind are on.

        Examples
        --------
        >>> StructureChoices(structures={"er": "membrane", ALL: "auto"}).structure_of("other")
        'auto'
        """
        return self.structures.get(kind, self.structures.get(ALL, "particle"))

    def spacing_of(self, kind: str) -> float | None:
        """Spacing of points on a kind in angstrom, or None."""
        return self.spacings.get(kind, self.spacings.get(ALL))

    def check_settings(
        self, where: str, kinds: Mapping[str, Mapping[str, Any]], queries: Sequence[SavedQuery | StructureQuery]
    ) -> None:
        """Refuse settings of a kind that have no effect on what it is; one that is guessed may have any.

        Parameters
        ----------
        where
            Start of the message.
        kinds
            The sections of single kinds in a project file.
        queries
            The queries of the batch, which say themselves what their kinds are.

        Raises
        ------
        ConfigError
            If a setting has no effect.

        Examples
        --------
        >>> StructureChoices().check_settings("p.toml", {"mt": {"spacing": 82.0}}, [])
        Traceback (most recent call last):
            ...
        cryosam.errors.ConfigError: p.toml, kinds.mt: spacing has no effect on particles
        """
        known = {each.name: each.structure if isinstance(each, StructureQuery) else "particle" for each in queries}
        for name, section in kinds.items():
            structure = known.get(name, self.structure_of(name))
            if structure != "auto":
                _require_effect(f"{where}, kinds.{name}", structure, section)

    def after(self, first: "StructureChoices") -> "StructureChoices":
        """These choices where something is said, and the first ones elsewhere."""
        return StructureChoices(
            structures={**first.structures, **self.structures}, spacings={**first.spacings, **self.spacings}
        )

    def check(
        self,
        where: str,
        queries: Sequence[SavedQuery | StructureQuery],
        formats: Sequence[str] = (),
        *,
        has_clicks: bool,
    ) -> None:
        """Refuse what contradicts a query or would have no effect.

        Parameters
        ----------
        where
            Start of the message.
        queries
            The queries of the batch.
        formats
            Those of other programs that are asked for.
        has_clicks
            Whether there are clicks too: then what is said for all kinds is meant for these.

        Raises
        ------
        ConfigError
            If a query finds another structure, or no kind can have points.
        """
        known: set[str] = set()
        spaced: set[str] = set()
        for query in queries:
            own = query.structure if isinstance(query, StructureQuery) else "particle"
            said = self.structures.get(query.name, None if has_clicks else self.structures.get(ALL))
            if said not in (None, own):
                raise ConfigError(
                    f"{where}: structure {said} is not what query {query.name!r} finds, which is {own}s; leave it out"
                )
            known.add(own)
            spaced |= {own} if self.spacing_of(query.name) is not None else set()
        if has_clicks:
            known |= {*self.structures.values(), self.structure_of(ALL)}
            spaced |= {self.structure_of(kind) for kind in self.spacings}
            spaced |= set(self.structures.values()) if ALL in self.spacings else set()
        if self.spacings and not known & set(_WITH_POINTS):
            raise ConfigError(
                f"{where}: spacing is for points on membranes and along filaments, and no kind is one of these; "
                "leave it out, or add structure"
            )
        if formats and not known & {"auto", "particle"}:
            from cryosam.io.structure_points import check_structure_exports  # slow to import

            try:
                check_structure_exports(formats, spaced - {"compartment"})
            except InputError as error:
                raise ConfigError(f"{where}, export: {error}") from error


def read_choices(where: str, content: Mapping[str, Any], kinds: Mapping[str, Any]) -> StructureChoices:
    """The choices in a project file, checked; ``kinds`` are its sections of single kinds.

    Raises
    ------
    ConfigError
        If a structure is unknown, or a spacing is not positive.
    """
    structures: dict[str, StructureChoice] = {}
    spacings: dict[str, float] = {}
    for name, section in ((ALL, content), *kinds.items()):
        own = section if isinstance(section, Mapping) else {}
        place = where if name == ALL else f"{where}, kinds.{name}"
        if "structure" in own:
            structures[name] = _structure(place, own["structure"])
        if "spacing" in own:
            spacings[name] = _spacing(place, own["spacing"])
    return StructureChoices(structures=structures, spacings=spacings)


def _structure(where: str, value: object) -> StructureChoice:
    for choice in _CHOICES:
        if value == choice:
            return choice
    raise ConfigError(f"{where}: structure is one of {', '.join(_CHOICES)}, got {value!r}")


def _spacing(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"{where}: spacing is a positive number in angstrom, got {value!r}")
    return float(value)


def _require_effect(where: str, structure: str, section: Mapping[str, Any]) -> None:
    """Refuse settings that a search for this structure does not have."""
    if structure not in _WITH_POINTS and "spacing" in section:
        raise ConfigError(f"{where}: spacing has no effect on {structure}s")
    for name, value in section.items():
        if name in ("structure", "spacing", structure):
            continue
        if structure == "particle":
            if name in _SECTIONS:
                raise ConfigError(
                    f"{where}: {name} has no effect on particles; add structure = {name!r}, or leave it out"
                )
            continue
        odd = sorted(set(value) - _APPLY[name]) if name in _APPLY and isinstance(value, Mapping) else [""]
        if odd:
            setting = f"{name}.{odd[0]}" if odd[0] else name
            raise ConfigError(
                f"{where}: {setting} has no effect on {structure}s; matching.threshold and matching.max_particles have"
            )
