"""Options shared by several commands."""

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from cryosam.cli.structure_options import SPACING, STRUCTURE
from cryosam.config import PRESETS
from cryosam.matching.feature_cache import FeatureCache
from cryosam.memory import parse_bytes

__all__ = [
    "AXES",
    "CACHE",
    "MEMORY",
    "NO_CACHE",
    "OUT",
    "OVERWRITE",
    "POINTS_TOMOGRAM",
    "POINTS_VOXEL_SIZE",
    "TILT_SERIES_PIXEL_SIZE",
    "GroupedCommand",
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
    """Parse three numbers separated by commas."""
    try:
        z, y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"a point is three numbers z,y,x separated by commas, without spaces, got {text!r}"
        ) from None
    return z, y, x


def parse_memory(text: str) -> float:
    """Parse a size with a unit; return gigabytes."""
    return parse_bytes(text) / 1e9


def parse_formats(text: str) -> tuple[str, ...]:
    """Parse names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_tilt_range(text: str) -> tuple[float, float]:
    """Parse two numbers separated by a comma."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"a tilt range is the lowest and the highest tilt, as in -60,60, without spaces, got {text!r}"
        ) from None
    return low, high


def parse_tilt_axis(text: str) -> str | float:
    """Parse the name of an axis, or an angle."""
    try:
        return text if text in ("auto", "x", "y") else float(text)
    except ValueError:
        raise click.BadParameter(f"a tilt axis is x, y or an angle in degrees, got {text!r}") from None


PathType = click.Path(path_type=Path)

OUT = click.option(
    "--out", required=True, type=PathType, metavar="DIR", help="Folder for the results; created if missing."
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in the folder.")

CACHE = click.option(
    "--cache",
    type=PathType,
    metavar="DIR",
    help="Folder of cached features, which later runs on the same tomogram reuse.  "
    "[default: $CRYOSAM_CACHE, or ~/.cache/cryosam/features]",
)
NO_CACHE = click.option("--no-cache", is_flag=True, help="Neither read nor write cached features.")
MEMORY = click.option(
    "--memory",
    "memory_gb",
    type=parse_memory,
    metavar="SIZE",
    help="Memory that a run may use, such as 8GB; larger data are kept in temporary files.  "
    "[default: most of the free memory]",
)
TILT_SERIES_PIXEL_SIZE = click.option(
    "--tilt-series-pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    metavar="ANGSTROM",
    help="Pixel size of the unbinned tilt series; RELION 4 stores coordinates in these pixels.",
)
POINTS_TOMOGRAM = click.option(
    "--tomogram",
    type=PathType,
    metavar="FILE",
    help="Tomogram that the points belong to; its shape, voxel size and name are used.",
)
POINTS_VOXEL_SIZE = click.option(
    "--voxel-size",
    type=float,
    metavar="ANGSTROM",
    help="Edge length of a voxel; replaces the value stored with the points or the tomogram.",
)

AXES = click.option(
    "--axes",
    type=click.Choice(["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]),
    help="Order of the numbers in a .txt or .csv list of points without column names, in voxels counted from 0.",
)

_PROMPTS = (
    click.argument("tomogram", type=PathType),
    click.option(
        "--point",
        "points",
        type=parse_point,
        metavar="Z,Y,X",
        multiple=True,
        help="Position of a particle of the kind, in voxels (a click); repeatable.",
    ),
    click.option(
        "--points",
        "points_file",
        type=PathType,
        metavar="FILE",
        help="Clicks from a file: .csv .txt .star .ndjson .json .mod .tbl .em, or a copick project.",
    ),
    AXES,
)
_SETTINGS = (
    click.option("--preset", metavar="NAME", help=f"Base settings: {', '.join(PRESETS)}.  [default: embedded]"),
    click.option("--segmenter", metavar="NAME", help="Model that predicts masks; see cryosam models list."),
    click.option(
        "--diameter",
        type=float,
        metavar="ANGSTROM",
        help="Of a particle; without it, of a ball with the volume of the clicked particle's mask.",
    ),
    click.option(
        "--voxel-size", type=float, metavar="ANGSTROM", help="Edge length of a voxel; replaces the value in the header."
    ),
    click.option(
        "--name",
        metavar="NAME",
        help="Name of the tomogram in files of points, as other programs know it.  [default: from the file name]",
    ),
    click.option(
        "--contrast",
        type=click.Choice(["auto", "dark", "bright"]),
        help="Whether protein is dark or bright in the file.  [default: auto]",
    ),
    click.option("--device", metavar="NAME", help="Device to compute on: auto, cpu, cuda or mps.  [default: auto]"),
    MEMORY,
    click.option(
        "--config",
        "config_file",
        type=PathType,
        metavar="FILE.toml",
        help="File with any settings; command-line options take precedence.",
    ),
    OVERWRITE,
)
_KINDS = (
    click.option(
        "--kind",
        "kinds",
        metavar="NAME",
        multiple=True,
        help="Name of the kind that the --point and --negative options after it belong to; repeat for several kinds, "
        "which then compete for each particle.",
    ),
    click.option(
        "--negative",
        "negatives",
        type=parse_point,
        metavar="Z,Y,X",
        multiple=True,
        help="Position of an object that is not of the kind, in voxels; repeatable.",
    ),
    click.option(
        "--features",
        metavar="NAME",
        help="Model that computes the features used to find similar places; see cryosam models list.",
    ),
    click.option(
        "--search-mask",
        type=PathType,
        metavar="FILE",
        help="Volume of the same shape as TOMOGRAM; particles are searched only where it is not 0.",
    ),
    click.option(
        "--edge-margin",
        type=int,
        metavar="VOXELS",
        help="Nothing is detected within this distance of a face of the tomogram.",
    ),
    click.option(
        "--threshold",
        type=float,
        metavar="X",
        help="Lowest score of a detection, 0 to 1.  [default: chosen from the data]",
    ),
    click.option(
        "--max-false-discovery",
        type=float,
        metavar="FRACTION",
        help="Choose the threshold so that at most this fraction of the detections, such as 0.1, is expected to be "
        "false.",
    ),
    click.option(
        "--tilt-range",
        type=parse_tilt_range,
        metavar="MIN,MAX",
        help="Lowest and highest tilt, in degrees.  [default: measured, else -60,60]",
    ),
    click.option(
        "--tilt-axis",
        type=parse_tilt_axis,
        metavar="ANGLE|x|y",
        help="Direction of the tilt axis: x, y, or degrees from x towards y.  [default: measured, else y]",
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
        help="Query saved by cryosam query in another tomogram; its kinds are found without a click here; repeatable.",
    ),
    *_KINDS,
    click.option(
        "--trials",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Repeat the search from N other clicks and report how much the result depends on the click; "
        "takes N + 1 times as long.",
    ),
    click.option(
        "--max-particles",
        type=int,
        metavar="N",
        help="Keep only the N particles with the highest scores.  [default: all above the threshold]",
    ),
    click.option(
        "--export",
        "exports",
        type=parse_formats,
        default="",
        metavar="FORMAT[,FORMAT]",
        help="Also write the particles for other programs: relion4, warp, dynamo, em, imod, ndjson, copick.",
    ),
    TILT_SERIES_PIXEL_SIZE,
)
_GROUPS = (
    (
        "What to find",
        ("points", "points_file", "axes", "queries", "kinds", "negatives", "structures", "search_mask", "edge_margin"),
    ),
    ("Size and tomogram", ("diameter", "voxel_size", "name", "contrast", "tilt_range", "tilt_axis")),
    ("How many to accept", ("threshold", "max_false_discovery", "max_particles", "trials")),
    ("Results", ("out", "overwrite", "spacings", "exports", "tilt_series_pixel_size")),
    ("Models and settings", ("preset", "config_file", "segmenter", "features")),
    ("Processor and memory", ("device", "memory_gb", "cache", "no_cache")),
)
"""Titles of the groups of options, and the names of their parameters."""

_QUERY_OUT = click.option("--out", required=True, type=PathType, metavar="FILE.npz", help="File for the query.")


def open_cache(folder: Path | None, no_cache: bool) -> FeatureCache | None:
    """Open the cache that --cache and --no-cache select."""
    if no_cache and folder is not None:
        raise click.UsageError("--cache DIR and --no-cache exclude each other; leave one out")
    return None if no_cache else FeatureCache(folder)


def example(*lines: str) -> str:
    """Return the end of a ``--help`` text: command lines to copy."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


class GroupedCommand(click.Command):
    """Lists its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups that have options, then the options of no group."""
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        left = {each.name: record for each in options if (record := each.get_help_record(ctx))}
        for title, names in (*_GROUPS, ("Other options", tuple(left))):
            records = [left.pop(name) for name in names if name in left]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class SearchCommand(GroupedCommand):
    """Assigns each ``--point``, ``--negative``, ``--structure`` and ``--spacing`` to the ``--kind`` that precedes it.

    The parameter ``kinds`` becomes ``{name: (points, negatives)}``; it is empty if no kind is named. The parameters
    ``structures`` and ``spacings`` become ``{name: value}``; what precedes the first kind has the name None, and stands
    for all kinds without an own value.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        current: str | None = None
        owners: dict[str, list[str | None]] = {"--point": [], "--negative": [], "--structure": [], "--spacing": []}
        for word, following in zip(args, [*args[1:], ""], strict=False):
            name, is_joined, value = word.partition("=")
            if name == "--kind":
                current = value if is_joined else following
            elif name in owners:
                owners[name].append(current)
        rest = super().parse_args(ctx, args)
        for option, key in (("--structure", "structures"), ("--spacing", "spacings")):
            if key in ctx.params:
                _refuse_repeated(option, owners[option])
                ctx.params[key] = dict(zip(owners[option], ctx.params[key], strict=True))
        kinds: dict[str, tuple[list[Point], list[Point]]] = {name: ([], []) for name in ctx.params.get("kinds", ())}
        if kinds:
            for column, (option, key) in enumerate((("--point", "points"), ("--negative", "negatives"))):
                for owner, point in zip(owners[option], ctx.params.get(key, ()), strict=True):
                    if owner is None:
                        raise click.UsageError(
                            f"{option} comes before the first --kind; put the --kind that it belongs to before it", ctx
                        )
                    kinds[owner][column].append(point)
        ctx.params["kinds"] = kinds
        return rest


def _refuse_repeated(option: str, owners: Sequence[str | None]) -> None:
    """Raise UsageError if an option was given twice for one kind."""
    if repeated := [name for name in owners if owners.count(name) > 1]:
        whose = "all kinds" if repeated[0] is None else f"kind {repeated[0]}"
        raise click.UsageError(f"{option} was given more than once for {whose}")


def _apply(command: Command, decorators: tuple[Callable[[Command], Command], ...]) -> Command:
    """Add options so that ``--help`` lists them in this order."""
    return reduce(lambda made, decorator: decorator(made), reversed(decorators), command)


def mask_options(command: Command) -> Command:
    """Add the options of a command that segments the clicked particles."""
    return _apply(command, (*_PROMPTS, STRUCTURE, SPACING, OUT, *_SETTINGS))


def search_options(command: Command) -> Command:
    """Add the options of a command that searches the tomogram."""
    return _apply(command, (*_PROMPTS, OUT, *_SEARCH, *_SETTINGS))


def query_options(command: Command) -> Command:
    """Add the options of a command that saves a query."""
    return _apply(command, (*_PROMPTS, STRUCTURE, _QUERY_OUT, *_KINDS, *_SETTINGS))
