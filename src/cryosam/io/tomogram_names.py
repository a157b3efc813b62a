"""Which points of a file that holds several tomograms are those of one of them."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path

__all__ = ["choose_tomogram", "file_name", "rows_of_tomogram", "star_name", "tomogram_stem", "write_tomogram_numbers"]

_log = logging.getLogger(__name__)

_SHOWN = 8  # names listed in a message
_ENDINGS = re.compile(r"(\.(mrcs?|rec|map|st|tomostar|star|tiff?|zarr|ome|gz|h5|hdf5?))+$", re.IGNORECASE)


def star_name(name: str) -> str:
    """A tomogram's name as STAR can hold it: a space, a quotation mark and ``#`` become ``_``.

    Examples
    --------
    >>> star_name("my tomo")
    'my_tomo'
    """
    return re.sub(r"[\s\"'#]", "_", name) or "tomogram"


def file_name(name: str) -> str:
    """A tomogram's name as part of a file's: what would be a folder becomes ``_``.

    Examples
    --------
    >>> file_name("day 2/TS_01")
    'day 2_TS_01'
    """
    return re.sub(r"[/\\\x00-\x1f]", "_", name).strip(". ") or "tomogram"


def tomogram_stem(name: str) -> str:
    """A tomogram's name without folder and endings, as it stands in a STAR file.

    Examples
    --------
    >>> tomogram_stem("tomograms/TS_01_10.00Apx.mrc"), tomogram_stem("TS_01.tomostar")
    ('TS_01_10.00Apx', 'TS_01')
    """
    return _ENDINGS.sub("", star_name(PurePosixPath(name).name))


def choose_tomogram(path: Path, names: Sequence[str], tomogram_name: str | None, advice: str = "") -> str:
    """The one of the file's tomograms that is meant.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Its tomograms, at least one.
    tomogram_name
        What is looked for: as in ``names``, or that name without folder and ending. The only tomogram of a file is
        taken under any name, which is logged.
    advice
        What else the user could do, said at the end of the message.

    Raises
    ------
    PointsFileError
        If there are several, and not exactly one of them is meant.

    Examples
    --------
    >>> choose_tomogram(Path("a.star"), ["TS_01.tomostar", "TS_02.tomostar"], "tomograms/TS_02.mrc")
    'TS_02.tomostar'
    """
    if tomogram_name is None:
        found = list(names)
    else:
        exact = [n for n in names if n == tomogram_name]
        found = exact or [n for n in names if tomogram_stem(n) == tomogram_stem(tomogram_name)]
        if not found and len(names) == 1:
            _log.warning("%s: all points are of tomogram %s; they are used for %s", path, names[0], tomogram_name)
            return names[0]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    asked = "it is not said which to take" if tomogram_name is None else f"{len(found)} of them match {tomogram_name!r}"
    raise PointsFileError(f"{path}: points of {len(names)} tomograms ({listed}), and {asked}; name one of them{advice}")


def rows_of_tomogram(path: Path, numbers: Int[np.ndarray, " n"], tomogram_name: str | None) -> Bool[np.ndarray, " n"]:
    """Which rows of a table that numbers its tomograms are of one of them.

    Parameters
    ----------
    path
        The table. A file beside it with the ending ``.doc``, as Dynamo has it, may say what the numbers mean: a line is
        a number and a name or path.
    numbers
        ``(n,)`` tomogram of each row.
    tomogram_name
        What is looked for, see `choose_tomogram`; without the ``.doc``, its number.

    Raises
    ------
    PointsFileError
        If it cannot be told, or the ``.doc`` is damaged.

    Examples
    --------
    >>> rows_of_tomogram(Path("picks.tbl"), np.array([1, 2, 1]), "2")
    array([False,  True, False])
    """
    present = np.unique(numbers)
    if not len(present):
        return np.zeros(0, dtype=bool)
    named = _read_tomogram_numbers(path.with_suffix(".doc"))
    if len(present) == 1 and int(present[0]) not in named:  # the only one, and nobody says which
        return np.ones(len(numbers), dtype=bool)
    names = {int(number): str(number) for number in present} | named
    here = {names[int(number)]: int(number) for number in present}
    advice = f", or name them in {path.with_suffix('.doc').name}: a line is a number and a name"
    return numbers == here[choose_tomogram(path, list(here), tomogram_name, advice)]


def write_tomogram_numbers(path: Path, names: Sequence[str]) -> None:
    """Write ``path`` with the ending ``.doc``: tomogram 1, 2, ... and its name, a line each.

    Raises
    ------
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tomogram_numbers(Path(folder, "picks.tbl"), ["TS_01", "TS_02"])
    ...     Path(folder, "picks.doc").read_text().splitlines()
    ['1 TS_01', '2 TS_02']
    """
    with atomic_path(path.with_suffix(".doc")) as temporary:
        lines = (f"{number} {star_name(name)}\n" for number, name in enumerate(names, 1))
        temporary.write_text("".join(lines), encoding="utf-8")


def _read_tomogram_numbers(path: Path) -> dict[int, str]:
    """What the numbers of tomograms mean; empty where there is no such file."""
    if not path.is_file():
        return {}
    names = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                number, name = line.split(maxsplit=1)
                names[int(number)] = name.strip()
    except ValueError as error:  # not text, or no number
        raise PointsFileError(f"{path}: a line is a number and a tomogram's name ({error})") from error
    return names
