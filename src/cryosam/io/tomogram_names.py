"""Selecting the points of one tomogram from a file that has several."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.text_files import read_text

__all__ = [
    "choose_tomogram",
    "file_name",
    "rows_of_tomogram",
    "star_name",
    "tomogram_stem",
    "whole_numbers",
    "write_tomogram_numbers",
]

_log = logging.getLogger(__name__)

_SHOWN = 8  # names listed in a message
_LARGEST = 2**53  # of a number of a tomogram: from here on real numbers are all whole
_ENDINGS = re.compile(r"(\.(mrcs?|rec|map|st|tomostar|star|tiff?|zarr|ome|gz|h5|hdf5?))+$", re.IGNORECASE)


def star_name(name: str) -> str:
    """Make the name of a tomogram valid in STAR: spaces, quotation marks and ``#`` become ``_``.

    Examples
    --------
    >>> star_name("my tomo")
    'my_tomo'
    """
    return re.sub(r"[\s\"'#]", "_", name) or "tomogram"


def file_name(name: str) -> str:
    """Make the name of a tomogram valid in a file name: folder separators become ``_``.

    Examples
    --------
    >>> file_name("day 2/TS_01")
    'day 2_TS_01'
    """
    return re.sub(r"[/\\\x00-\x1f]", "_", name).strip(". ") or "tomogram"


def tomogram_stem(name: str) -> str:
    """Return the name of a tomogram without folder and extensions, as in a STAR file.

    Examples
    --------
    >>> tomogram_stem("tomograms/TS_01_10.00Apx.mrc"), tomogram_stem("TS_01.tomostar")
    ('TS_01_10.00Apx', 'TS_01')
    """
    return _ENDINGS.sub("", star_name(PurePosixPath(name).name))


def choose_tomogram(path: Path, names: Sequence[str], tomogram_name: str | None, advice: str = "") -> str:
    """Choose the requested tomogram from those in the file.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Tomograms in the file, at least one.
    tomogram_name
        The requested name: as in ``names``, or without folder and extension. If the file has only one tomogram, it is
        chosen under any name, and a different name is logged.
    advice
        Another solution for the user, added to the end of the error message.

    Raises
    ------
    PointsFileError
        If there are several tomograms, and not exactly one of them matches.

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
            _log.warning(
                "%s: all points are of tomogram %s; they are used for tomogram %s", path, names[0], tomogram_name
            )
            return names[0]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    problem = "none is chosen" if tomogram_name is None else f"{len(found)} of them match {tomogram_name!r}"
    raise PointsFileError(f"{path}: points of {len(names)} tomograms ({listed}), and {problem}; name one{advice}")


def rows_of_tomogram(path: Path, numbers: Int[np.ndarray, " n"], tomogram_name: str | None) -> Bool[np.ndarray, " n"]:
    """Select the rows of one tomogram from a table in which tomograms are numbered.

    Parameters
    ----------
    path
        The table. A file of the same name with the extension ``.doc``, as in Dynamo, may give the names: each line has
        a number and a name or path.
    numbers
        ``(n,)`` number of the tomogram of each row.
    tomogram_name
        The requested name, see `choose_tomogram`; without a ``.doc`` file, the number.

    Raises
    ------
    PointsFileError
        If the tomogram is ambiguous, or the ``.doc`` file is damaged.

    Examples
    --------
    >>> rows_of_tomogram(Path("picks.tbl"), np.array([1, 2, 1]), "2")
    array([False,  True, False])
    """
    present = np.unique(numbers)
    if not len(present):
        return np.zeros(0, dtype=bool)
    named = _read_tomogram_numbers(path.with_suffix(".doc"))
    if len(present) == 1 and int(present[0]) not in named:  # the only one, and it has no name
        return np.ones(len(numbers), dtype=bool)
    names = {int(number): str(number) for number in present} | named
    here = {names[int(number)]: int(number) for number in present}
    advice = f", or list names in {path.with_suffix('.doc').name}, one number and name per line"
    return numbers == here[choose_tomogram(path, list(here), tomogram_name, advice)]


def whole_numbers(path: Path, values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Convert the numbers of tomograms, which a table stores as real numbers.

    Raises
    ------
    PointsFileError
        If one is not whole: the columns are not where they should be, or the bytes are in another order.

    Examples
    --------
    >>> whole_numbers(Path("picks.tbl"), np.array([1.0, 2.0]))
    array([1, 2])
    """
    bad = np.flatnonzero((values % 1 != 0) | (np.abs(values) > _LARGEST))
    if len(bad):
        raise PointsFileError(
            f"{path}, particle {bad[0] + 1}: the number of its tomogram is {values[bad[0]]:g}; the columns have moved, "
            "or the file is damaged"
        )
    return values.astype(np.int64)


def write_tomogram_numbers(path: Path, names: Sequence[str]) -> None:
    """Write the names of tomograms 1, 2, ... to ``path`` with the extension ``.doc``, one per line.

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
    """Read the names of numbered tomograms; empty if there is no such file."""
    if not path.is_file():
        return {}
    names = {}
    try:
        for line in read_text(path).splitlines():
            if line.strip():
                number, name = line.split(maxsplit=1)
                names[int(number)] = name.strip()
    except ValueError as error:  # not text, or not a number
        raise PointsFileError(f"{path}: every line must have a number and the name of a tomogram ({error})") from error
    return names
