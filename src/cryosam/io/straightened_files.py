"""The straightened filament in a result folder: two volumes, and what is said of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryosam.arrays import PLANES
from cryosam.io.mrc import write_mrc
from cryosam.io.pictures import SliceView, gray_range
from cryosam.structure_results import Straightened, StructureResult

__all__ = [
    "StraightenedFigure",
    "describe_straightened",
    "draw_straightened",
    "straightened_names",
    "write_straightened",
]


@dataclass(frozen=True)
class StraightenedFigure:
    """What the template of a page draws.

    Parameters
    ----------
    kind, number
        Name of the kind, and number of the filament.
    along
        Picture of a slice along the whole filament, and its width and height.
    pictures
        Slices of the average: across the filament, and two along it.
    text
        Radius and repeat, as sentences.
    """

    kind: str
    number: int
    along: tuple[str, int, int]
    pictures: tuple[str, ...]
    text: str


def straightened_names(ending: str = "") -> dict[str, str]:
    """Return the names of the files and what they hold; ``ending`` is that of all files of the kind."""
    return {
        f"straightened{ending}.mrc": "the clicked filament made straight: z is along it, protein bright",
        f"straightened-average{ending}.mrc": "mean of its stretches that are one repeat apart, or of all without one",
    }


def write_straightened(folder: Path, part: StructureResult, ending: str = "") -> None:
    """Write the straightened filament and its average, with the voxel size of the tomogram.

    Section z of both is a cross-section; z runs from the first point of the filament in its table to the last. y and x
    are carried along the filament without twist, and its axis is in their middle.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    if part.straightened is not None:
        volumes = (part.straightened.box.astype(np.float32), part.straightened.average)
        for name, volume in zip(straightened_names(ending), volumes, strict=True):
            write_mrc(folder / name, volume, part.voxel_size_angstrom)


def describe_straightened(straightened: Straightened) -> dict[str, Any]:
    """Return what ``run.json`` says: null where nothing was seen or could be measured.

    Examples
    --------
    >>> from cryosam.structure_results import Repeat
    >>> flat = np.zeros((9, 5, 5), dtype=np.float32)
    >>> made = Straightened(1, flat, flat, 125.0, 105.0, Repeat(40.9, 10.4, 1.7, 111))
    >>> describe_straightened(made)["repeat_angstrom"]
    40.9
    """
    repeat = straightened.repeat
    return {
        "filament": straightened.number,
        "radius_angstrom": round(straightened.radius_angstrom, 1),
        "densest_radius_angstrom": round(straightened.densest_radius_angstrom, 1),
        "repeat_angstrom": round(repeat.angstrom, 2) if repeat.is_seen else None,
        "strongest_line_angstrom": round(repeat.angstrom, 2) if np.isfinite(repeat.angstrom) else None,
        "strongest_line_excess": round(repeat.excess, 2) if np.isfinite(repeat.excess) else None,
        "largest_excess_by_chance": round(repeat.chance_excess, 2) if np.isfinite(repeat.chance_excess) else None,
        "n_chance": repeat.n_chance,
    }


def draw_straightened(part: StructureResult) -> StraightenedFigure | None:
    """Draw the straightened filament of one kind; None if it has none."""
    made = part.straightened
    if made is None:
        return None
    grey = gray_range(made.box)
    n, height, width = made.box.shape
    view = SliceView.through((n // 2, height // 2, width // 2), "y", made.box.shape, is_transposed=True)
    shape = made.average.shape
    middle = tuple(edge // 2 for edge in shape)
    views = [SliceView.through(middle, plane, shape) for plane in PLANES]
    own = gray_range(made.average)
    pictures = tuple(each.png(made.average, own) for each in views)
    return StraightenedFigure(part.kind, made.number, (view.png(made.box, grey), *view.size), pictures, _say(made))


def _say(made: Straightened) -> str:
    repeat = made.repeat
    text = f"Outer radius {made.radius_angstrom:.0f} Å; "
    text += (
        f"densest at {made.densest_radius_angstrom:.0f} Å from the axis. "
        if made.densest_radius_angstrom
        else ("densest on the axis. ")
    )
    if not repeat.n_chance:
        return text + "It is too short to look for a repeat."
    line = f"{repeat.excess:.1f} times as strong as what is around it"
    chance = f"{repeat.chance_excess:.1f} times, the most of {repeat.n_chance} densities without a repeat"
    period = f"{repeat.angstrom:.1f} Å"
    if repeat.is_seen:
        return text + f"Repeat {period}, or a multiple of it: its layer line is {line}; chance gives {chance}."
    return text + f"No repeat is seen: the strongest layer line, of {period}, is {line}; chance gives {chance}."
