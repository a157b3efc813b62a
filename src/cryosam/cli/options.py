"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cryosam.config import PRESETS
from cryosam.matching.feature_cache import FeatureCache
from cryosam.memory import parse_bytes

__all__ = [
    "CACHE",
    "MEMORY",
    "NO_CACHE",
    "OUT",
    "OVERWRITE",
    "TILT_SERIES_PIXEL_SIZE",
    "PathType",
    "SearchCommand",
    "example",
    "mask_options",
    "open_cache",
    "parse_point",
    "query_options",
    "search_options",
]

Point = tuple[float, float, float]
Command = TypeVar("Command", bound=Callable[..., Any])


def parse_point(text: str) -> Point:
    """Three numbers with commas between them."""
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"a point is three numbers z,y,x with commas and no spaces, got {text!r}") from None
    return z, y, x


def parse_memory(text: str) -> float:
    """A size with a unit, in gigabytes."""
    return parse_bytes(text) / 1e9


def parse_formats(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


PathType = click.Path(path_type=Path)

OUT = click.option("--out", required=True, type=PathType, metavar="DIR", help="Folder for the results; made if needed.")
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in the folder.")

CACHE = click.option(
    "--cache",
    type=PathType,
    metavar="DIR",
    help="Where features are kept for the next run on the same tomogram.  [default: $CRYOSAM_CACHE, or your own]",
)
NO_CACHE = click.option("--no-cache", is_flag=True, help="Compute features anew, and do not keep them.")
MEMORY = click.option(
    "--memory",
    "memory_gb",
    type=parse_memory,
    metavar="SIZE",
    help="That a run may take, such as 8GB; what does not fit is kept in files.  [default: most of what is free]",
)
TILT_SERIES_PIXEL_SIZE = click.option(
    "--tilt-series-pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    metavar="ANGSTROM",
    help="Of the unbinned tilt series: RELION 4 counts in its pixels.",
)

_PROMPTS = (
    click.argument("tomogram", type=PathType),
    click.option(
        "--point",
        "points",
        type=parse_point,
        metavar="Z,Y,X",
        multiple=True,
        help="A click on a particle, in voxels; repeatable.",
    ),
    click.option(
        "--points",
        "points_file",
        type=PathType,
        metavar="FILE",
        help="Clicks from a file: .csv .star .ndjson .json .mod .tbl .em, or a copick project.",
    ),
)
_SETTINGS = (
    click.option(
        "--preset", metavar="NAME", help=f"Settings to start from: {', '.join(PRESETS)}.  [default: embedded]"
    ),
    click.option("--segmenter", metavar="NAME", help="Model that draws masks; see cryosam models list."),
    click.option(
        "--diameter", type=float, metavar="ANGSTROM", help="Of the particle; otherwise measured on the clicked one."
    ),
    click.option(
        "--voxel-size", type=float, metavar="ANGSTROM", help="Edge of a voxel, in the place of what the header says."
    ),
    click.option(
        "--contrast",
        type=click.Choice(["auto", "dark", "bright"]),
        help="Whether protein is dark or bright in the file.  [default: auto]",
    ),
    click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps.  [default: auto]"),
    MEMORY,
    click.option(
        "--config", "config_file", type=PathType, metavar="FILE.toml", help="Any setting; options win over it."
    ),
    OVERWRITE,
)
_KINDS = (
    click.option(
        "--kind",
        "kinds",
        metavar="NAME",
        multiple=True,
        help="Kind that the points after it belong to; repeatable: several kinds compete for each particle.",
    ),
    click.option(
        "--negative",
        "negatives",
        type=parse_point,
        metavar="Z,Y,X",
        multiple=True,
        help="A point on what is not wanted; repeatable.",
    ),
    click.option("--features", metavar="NAME", help="Model that compares places; see cryosam models list."),
    click.option(
        "--search-mask",
        type=PathType,
        metavar="FILE",
        help="Volume of the same shape; particles are where it is not 0.",
    ),
    click.option("--edge-margin", type=int, metavar="VOXELS", help="Nothing is detected this near to a face."),
    click.option("--threshold", type=float, metavar="X", help="Least score, 0 to 1; otherwise chosen from the data."),
    click.option(
        "--max-false-discovery",
        type=float,
        metavar="SHARE",
        help="Share of the detections that may be false, such as 0.1, instead of a threshold.",
    ),
    CACHE,
    NO_CACHE,
)
_SEARCH = (
    click.option(
        "--query",
        "queries",
        type=PathType,
        metavar="FILE.npz",
        multiple=True,
        help="Made by cryosam query in another tomogram: its kinds, without a click here; repeatable.",
    ),
    *_KINDS,
    click.option(
        "--trials",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Click N other places too, and report how much the answer depends on the click: N + 1 times as long.",
    ),
    click.option("--max-particles", type=int, metavar="N", help="Keep the best N.  [default: all above the threshold]"),
    click.option(
        "--export",
        "exports",
        type=parse_formats,
        default="",
        metavar="FORMAT[,FORMAT]",
        help="Write the particles for other programs too: relion4, warp, dynamo, em, imod, ndjson, copick.",
    ),
    TILT_SERIES_PIXEL_SIZE,
)
_QUERY_OUT = click.option("--out", required=True, type=PathType, metavar="FILE.npz", help="File for the query.")


def open_cache(folder: Path | None, no_cache: bool) -> FeatureCache | None:
    """What the two options ask for."""
    if no_cache and folder is not None:
        raise click.UsageError("--cache DIR keeps features and --no-cache does not: give one of them")
    return None if no_cache else FeatureCache(folder)


def example(*lines: str) -> str:
    """End of a ``--help``: command lines to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


class SearchCommand(click.Command):
    """Gives each ``--point`` and ``--negative`` to the ``--kind`` that it comes after.

    The parameter ``kinds`` becomes ``{name: (points, negatives)}``; it is empty where no kind is named.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        current: str | None = None
        owners: dict[str, list[str | None]] = {"--point": [], "--negative": []}
        for word, following in zip(args, [*args[1:], ""], strict=False):
            name, is_joined, value = word.partition("=")
            if name == "--kind":
                current = value if is_joined else following
            elif name in owners:
                owners[name].append(current)
        rest = super().parse_args(ctx, args)
        kinds: dict[str, tuple[list[Point], list[Point]]] = {name: ([], []) for name in ctx.params["kinds"]}
        if kinds:
            for place, (option, key) in enumerate((("--point", "points"), ("--negative", "negatives"))):
                for owner, point in zip(owners[option], ctx.params[key], strict=True):
                    if owner is None:
                        raise click.UsageError(f"{option} stands before the first --kind: name its kind first", ctx)
                    kinds[owner][place].append(point)
        ctx.params["kinds"] = kinds
        return rest


def _apply(command: Command, decorators: tuple[Callable[[Command], Command], ...]) -> Command:
    """Add options so that ``--help`` lists them in this order."""
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def mask_options(command: Command) -> Command:
    """Options of a command that segments what was clicked."""
    return _apply(command, (*_PROMPTS, OUT, *_SETTINGS))


def search_options(command: Command) -> Command:
    """Options of a command that searches the tomogram."""
    return _apply(command, (*_PROMPTS, OUT, *_SEARCH, *_SETTINGS))


def query_options(command: Command) -> Command:
    """Options of a command that keeps what was clicked."""
    return _apply(command, (*_PROMPTS, _QUERY_OUT, *_KINDS, *_SETTINGS))
