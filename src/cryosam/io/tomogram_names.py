"""Names of tomograms: which of those in a file is a given tomogram, and how each program writes it."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.errors import PointsFileError
from cryosam.io.atomic import atomic_path
from cryosam.io.text_files import read_text

__all__ = [
    "choose_tomogram",
    "file_name",
    "rows_of_tomogram",
    "same_tilt_series",
    "star_name",
    "tomogram_stem",
    "warp_name",
    "whole_numbers",
    "write_tomogram_numbers",
]

_log = logging.getLogger(__name__)

_SHOWN = 8  # names listed in a message
_LARGEST = 2**53  # of a number of a tomogram: from here on real numbers are all whole
_ENDINGS = re.compile(r"(\.(mrcs?|rec|ali|map|st|mdoc|tomostar|star|tiff?|zarr|ome|gz|h5|hdf5?))+$", re.IGNORECASE)
_WARP = re.compile(r"_[0-9]+(\.[0-9]+)?Apx$", re.IGNORECASE)  # the pixel size of a reconstruction
_BEFORE = re.compile(r"^rec_(?=.)")  # RELION 5
_AFTER = re.compile(r"(?<=.)(_[0-9]+(\.[0-9]+)?Apx|_Vol|_full_rec|_full|_rec)$", re.IGNORECASE)  # Warp, AreTomo, IMOD
_DYNAMO_INDEX = "indices_column20.doc"


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
    return _ENDINGS.sub("", star_name(re.split(r"[/\\]", name)[-1]))


def warp_name(name: str) -> str:
    """Return the name of a tomogram as Warp knows it: without folder, extensions and the pixel size that Warp adds.

    Examples
    --------
    >>> warp_name("reconstruction/TS_01_10.00Apx.mrc")
    'TS_01'
    """
    return _WARP.sub("", tomogram_stem(name))


def _series_name(name: str) -> str:
    """Return the name of the tilt series: without what programs add to the names of reconstructions."""
    series = _BEFORE.sub("", tomogram_stem(name))
    while (shorter := _AFTER.sub("", series)) != series:
        series = shorter
    return series


def same_tilt_series(known: Mapping[str, Iterable[str]], tomogram_name: str) -> list[str]:
    """Return the tomograms in a file that are of the same tilt series as a given tomogram.

    Names are compared as they stand; if none is the same, without folders and extensions; and if none is the same then,
    without what programs add to the names of reconstructions: ``rec_`` of RELION, ``_10.00Apx`` of Warp, ``_Vol`` of
    AreTomo, ``_rec``, ``_full`` and ``_full_rec`` of IMOD. Names are text: 0012 and 12 differ.

    Parameters
    ----------
    known
        All known names of each tomogram in the file, such as that of its reconstruction, by its name in the file.
    tomogram_name
        The name of the given tomogram, or its file.

    Examples
    --------
    >>> known = {name: [name] for name in ("TS_01.tomostar", "TS_02.tomostar")}
    >>> same_tilt_series(known, "tomograms/TS_02_10.00Apx.mrc"), same_tilt_series(known, "TS_2")
    (['TS_02.tomostar'], [])
    """
    for key in (str, tomogram_stem, _series_name):
        wanted = key(tomogram_name)
        found = [name for name, others in known.items() if wanted in map(key, others)]
        if found:
            return found
    return []


def choose_tomogram(
    path: Path,
    names: Sequence[str],
    tomogram_name: str | None,
    advice: str = "",
    files: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Choose the requested tomogram from those in the file.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Tomograms in the file, at least one.
    tomogram_name
        The requested name, compared as in `same_tilt_series`. If the file has only one tomogram, it is chosen under any
        name, and a different name is logged.
    advice
        Another solution for the user, added to the end of the error message.
    files
        Reconstructions of the tomograms, by name, if they are known.

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
        found = same_tilt_series({name: (name, *(files or {}).get(name, ())) for name in names}, tomogram_name)
        if not found and len(names) == 1:
            _log.warning(
                "%s: all points are of tomogram %s; they are used for tomogram %s", path, names[0], tomogram_name
            )
            return names[0]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    problem = "none is chosen" if tomogram_name is None else f"{len(found)} of them match {tomogram_name!r}"
    raise PointsFileError(
        f"{path}: points of {len(names)} tomograms ({listed}), and {problem}; name one with --name{advice}"
    )


def rows_of_tomogram(
    path: Path, numbers: Int[np.ndarray, " n"], tomogram_name: str | None
) -> tuple[Bool[np.ndarray, " n"], str | None]:
    """Select the rows of one tomogram from a table in which tomograms are numbered.

    Parameters
    ----------
    path
        The table. A file of the same name with the extension ``.doc``, or else Dynamo's ``indices_column20.doc`` in the
        same folder, may give the names: each line has a number and a name or path.
    numbers
        ``(n,)`` number of the tomogram of each row.
    tomogram_name
        The requested name, see `choose_tomogram`; without a ``.doc`` file, the number.

    Returns
    -------
    is_of_tomogram
        ``(n,)``, which rows are of the tomogram.
    name
        The name of the tomogram according to the file; None if it has no name.

    Raises
    ------
    PointsFileError
        If the tomogram is ambiguous, or the ``.doc`` file is damaged.

    Examples
    --------
    >>> rows_of_tomogram(Path("picks.tbl"), np.array([1, 2, 1]), "2")
    (array([False,  True, False]), '2')
    """
    present = np.unique(numbers)
    if not len(present):
        return np.zeros(0, dtype=bool), None
    named = _read_names(path)
    if len(present) == 1 and int(present[0]) not in named:  # the only one, and it has no name
        if present[0] and tomogram_name not in (None, str(present[0])):
            _log.warning(
                "%s: all points are of tomogram number %d, which has no name; they are used for tomogram %s",
                path,
                present[0],
                tomogram_name,
            )
        return np.ones(len(numbers), dtype=bool), None
    names = {int(number): str(number) for number in present} | named
    here = list(dict.fromkeys(names[int(number)] for number in present))
    advice = f", or list names in {path.with_suffix('.doc').name}, one number and name per line"
    chosen = choose_tomogram(path, here, tomogram_name, advice)
    return np.isin(numbers, [number for number, name in names.items() if name == chosen]), chosen


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


def _read_names(path: Path) -> dict[int, str]:
    """Read the names of the tomograms in a table from the file beside it, by number; empty if there is none."""
    own, index = path.with_suffix(".doc"), path.with_name(_DYNAMO_INDEX)
    if own.is_file() or not index.is_file():
        return _read_tomogram_numbers(own)
    _log.info("%s: the names of its tomograms are those in %s", path, index.name)
    return _read_tomogram_numbers(index)


def _read_tomogram_numbers(path: Path) -> dict[int, str]:
    """Read the names of numbered tomograms; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
        pairs = [(int(number), name.strip()) for number, name in lines]
    except ValueError as error:  # not text, or not a number
        raise PointsFileError(f"{path}: every line must have a number and the name of a tomogram ({error})") from error
    names: dict[int, str] = {}
    for number, name in pairs:
        if names.setdefault(number, name) != name:
            raise PointsFileError(f"{path}: tomogram {number} has two names, {names[number]} and {name}; delete one")
    return names
