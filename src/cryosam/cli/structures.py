"""What ``segment``, ``mask`` and ``query`` do for kinds that are no particles."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cryosam.config import Config
from cryosam.full_map import FullMap
from cryosam.io.structure_points import check_structure_exports
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.saved_query import SavedQuery
from cryosam.scene import RunOptions
from cryosam.steps import SEARCH, Step, Steps
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import StructureKind, StructureResult
from cryosam.structure_search import TakenFor, find_map, find_structures, make_structure_query, take_for
from cryosam.tomogram import Tomogram

__all__ = [
    "find_chosen",
    "report_map",
    "report_queries",
    "save_structures",
    "spacings_of",
    "structure_steps",
    "suggest_structure",
    "take_structures",
]

Kind = PointPrompts | SavedQuery | StructureQuery

_NO_NAME = "particle"
_DEFAULT = "particle"  # a guess takes time, and some particles for filaments
_OF_PARTICLES = ("diameter", "edge_margin", "max_false_discovery")  # settings
_WEIGHT = 0.5  # typical time of a search for a structure, in searches for a kind of particles


def take_structures(
    options: Mapping[str, Any], tomogram: Tomogram, kinds: Sequence[Kind], config: Config
) -> tuple[list[Kind], dict[str, StructureKind]]:
    """Settle what each kind is; a guess is printed.

    Returns
    -------
    kinds
        The kinds; one without a name that is no particle has the name of its structure.
    structures
        By the name of the kind, for those that are no particles.
    """
    given: Mapping[str | None, Any] | None = options.get("structures")
    named, structures = list(kinds), _of_queries(given or {}, kinds)
    for row, kind in enumerate(named):
        if given is None or not isinstance(kind, PointPrompts):
            continue
        structure = given.get(kind.name, given.get(None, _DEFAULT))
        if structure == "auto":
            taken = take_for(tomogram, kind, config)
            _say_guess(kind.name, taken)
            structure = taken.structure
        if structure != "particle":
            if kind.name == _NO_NAME and not options.get("kinds"):
                named[row] = kind = replace(kind, name=structure)
            structures[kind.name] = structure
    if structures and options.get("trials"):
        raise click.UsageError("--trials repeats a search for particles; leave it out for other structures")
    if structures and len(structures) == len(kinds):
        _say_unused(options)
    _check_spacings(options.get("spacings") or {}, structures)
    _check_exports(options, named, structures)
    return named, structures


def _of_queries(given: Mapping[str | None, Any], kinds: Sequence[Kind]) -> dict[str, StructureKind]:
    """What queries find, by the name of the kind; another structure is refused.

    What stands before all kinds is meant for clicks, if there are any.
    """
    has_clicks = any(isinstance(kind, PointPrompts) for kind in kinds)
    structures: dict[str, StructureKind] = {}
    for kind in kinds:
        if isinstance(kind, PointPrompts):
            continue
        own: StructureKind = "particle"
        if isinstance(kind, StructureQuery):
            structures[kind.name] = own = kind.structure
        chosen = given.get(kind.name, None if has_clicks else given.get(None))
        if chosen not in (None, own):
            raise click.UsageError(
                f"--structure {chosen} is not what query {kind.name!r} finds, which is {own}s; leave it out"
            )
    return structures


def save_structures(
    tomogram: Tomogram,
    kinds: Sequence[Kind],
    structures: Mapping[str, StructureKind],
    config: Config,
    options: RunOptions,
) -> list[tuple[StructureQuery, StructureResult]]:
    """Make a query for each kind that is no particle; also what it finds in this tomogram."""
    return [
        make_structure_query(tomogram, kind, structures[kind.name], config, options)
        for kind in kinds
        if kind.name in structures and isinstance(kind, PointPrompts)
    ]


def report_queries(saved: Sequence[tuple[StructureQuery, StructureResult]]) -> None:
    """Print what queries find in their own tomogram, and warnings."""
    for query, found in saved:
        for warning in found.report.warnings:
            click.secho(f"cryosam: warning: {query.name}: {warning}", fg="yellow", err=True)
        n = query.n_instances
        click.echo(f"{query.name}: the query finds {n} {query.structure}{'' if n == 1 else 's'} here")


def suggest_structure(
    options: Mapping[str, Any], tomogram: Tomogram, kinds: Sequence[Kind], config: Config, found: Segmentation
) -> None:
    """Print what else a click may be on, where a search for particles that nobody asked for found little.

    That is: no structure was given, and nothing was found, or more of it is expected to be false than true.
    """
    if options.get("structures") != {} or tomogram.voxel_size_angstrom is None:
        return
    for kind, part in zip(kinds, found.kinds or (found,), strict=True):
        is_doubtful = 2 * (part.report.expected_false or 0) >= len(part.points)
        if not isinstance(kind, PointPrompts) or not is_doubtful:
            continue
        taken = take_for(tomogram, kind, config)
        if taken.structure != "particle":
            click.echo(
                f"cryosam: {'the click' if kind.name == _NO_NAME else kind.name} looks like a {taken.structure}; "
                f"to find those instead: --structure {taken.structure}",
                err=True,
            )


def _check_spacings(spacings: Mapping[str | None, float], structures: Mapping[str, StructureKind]) -> None:
    """Refuse the spacing of a kind that has no points, and one for all kinds if none has."""
    if spacings and not {"membrane", "filament"} & set(structures.values()):
        raise click.UsageError("--spacing is for points on membranes and along filaments, and no kind is one of these")
    for name in spacings:
        structure = "membrane" if name is None else structures.get(name, "particle")
        if structure not in ("membrane", "filament"):
            raise click.UsageError(
                f"--spacing is for points on membranes and along filaments, and has no effect on kind {name}, which is "
                f"a {structure}; leave it out"
            )


def _check_exports(options: Mapping[str, Any], kinds: Sequence[Kind], structures: Mapping[str, StructureKind]) -> None:
    """Refuse formats of other programs for which there would be nothing to write."""
    if not structures or not options.get("exports") or len(structures) < len(kinds):
        return
    spacings = options.get("spacings") or {}
    spaced = {each for name, each in structures.items() if name in spacings or None in spacings}
    check_structure_exports(options["exports"], spaced - {"compartment"})


def _say_unused(options: Mapping[str, Any]) -> None:
    """Warn of settings that only a search for particles has."""
    unused = [f"--{name.replace('_', '-')}" for name in _OF_PARTICLES if options.get(name) is not None]
    if unused:
        click.secho(
            f"cryosam: warning: {', '.join(unused)} has no effect on a search without particles", fg="yellow", err=True
        )


def _say_guess(name: str, taken: TakenFor) -> None:
    """Print what the clicks on a kind are taken for, and how to say otherwise."""
    click.echo(f"cryosam: {'the click' if name == _NO_NAME else name}: {taken.text}", err=True)


def structure_steps(kinds: Sequence[Kind], structures: Mapping[str, StructureKind]) -> Steps:
    """The steps of a run with structures: first the structures, then the particles, as `find_map` goes."""
    plan = [Step(f"finding {name}", name, _WEIGHT) for name in structures]
    plan += [step for kind in kinds if kind.name not in structures for step in SEARCH]
    total = sum(step.weight for step in plan)
    return Steps([replace(step, weight=step.weight / total) for step in plan])


def find_chosen(
    steps: str,
    tomogram: Tomogram,
    kinds: Sequence[Kind],
    structures: Mapping[str, StructureKind],
    config: Config,
    options: RunOptions,
) -> FullMap:
    """Find everything, or with the steps "segment_prompts" only what was clicked."""
    if steps != "segment_prompts":
        return find_map(tomogram, kinds, structures, config, options)
    (kind,) = kinds
    if not isinstance(kind, PointPrompts):
        raise click.UsageError("a saved query has no click in this tomogram; add --point Z,Y,X")
    found = find_structures(tomogram, kind, structures[kind.name], config, options, is_search=False)
    return FullMap((kind.name,), (found,))


def spacings_of(options: Mapping[str, Any], found: FullMap) -> dict[str, float]:
    """Spacing of the points of each kind in angstrom, for the kinds that have one."""
    given: Mapping[str | None, float] = options.get("spacings") or {}
    spacings = {part.kind: given.get(part.kind, given.get(None)) for part in found.structures}
    return {name: spacing for name, spacing in spacings.items() if spacing is not None}


def report_map(found: FullMap, folder: Path, seconds: float) -> None:
    """Print what was found and the report's path on stdout, and warnings on stderr."""
    for warning in found.warnings:
        click.secho(f"cryosam: warning: {warning}", fg="yellow", err=True)
    for label in found.legend():
        name = "" if label.kind == label.structure else f"{label.kind}: "
        click.echo(f"{name}{label.n_instances} {label.structure}{'' if label.n_instances == 1 else 's'}")
    click.echo(f"done in {seconds:.0f} s")
    click.echo(f"open {folder / 'report.html'}")
