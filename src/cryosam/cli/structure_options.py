"""What a click is on, and how far apart points on structures are: options of several commands."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["SPACING", "STRUCTURE", "structure_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

STRUCTURE = click.option(
    "--structure",
    "structures",
    type=click.Choice(["auto", "particle", "membrane", "filament", "compartment"]),
    multiple=True,
    help="What the clicks are on; auto guesses it and says so. After --kind, for this kind.  [default: particle]",
)
SPACING = click.option(
    "--spacing",
    "spacings",
    type=click.FloatRange(min=0, min_open=True),
    metavar="ANGSTROM",
    multiple=True,
    help="Distance of points on filaments and membranes, to average. After --kind, for this kind.  [default: none]",
)


def structure_options(command: Command) -> Command:
    """Add the options of a command that finds structures other than particles."""
    return STRUCTURE(SPACING(command))
