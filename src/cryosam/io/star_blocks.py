"""The tables of a STAR file, read strictly: a damaged table is refused, and no value moves to another column.

A block begins with a line ``data_NAME``. It has either single values, one ``_label value`` per line, or one loop:
``loop_``, one ``_label`` per line, then one row per line. Values are separated by white space, and may be quoted. A
``#`` at the beginning of a value begins a comment; after a label it is usually the number of the column. Blank lines, a
byte-order mark and the line ends of any system are accepted. All values stay text, because a name such as 0012 is not
the number 12.

Source: the STAR format as RELION and Warp write it; Hall, J. Chem. Inf. Comput. Sci. 31, 326 (1991).
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cryosam.errors import PointsFileError
from cryosam.io.text_files import read_text

__all__ = ["read_star_blocks"]

_log = logging.getLogger(__name__)

_LINE_END = re.compile(r"\r\n|\r|\n")
_VALUE = re.compile(r"""\s*(?:"(.*?)"(?=\s|$)|'(.*?)'(?=\s|$)|(\#.*)|(\S+))""")
_MARK = re.compile(r"""['"#]""")
_LABEL = re.compile(r"_(rln|wrp)[A-Z]")  # of RELION, Warp and M
_COLUMN = re.compile(r"_\S+\s+#?\s*([0-9]+)\b")  # a label with the number of its column
_BLOCK, _LOOP = "data_", "loop_"


class _Line(NamedTuple):
    number: int  # from 1
    text: str
    values: list[str]


def read_star_blocks(path: Path) -> dict[str, pd.DataFrame]:
    r"""Read the tables of a STAR file by name, with all values as text; single values become a table with one row.

    Parameters
    ----------
    path
        The file. A label that is twice in a table is accepted, and logged, if both have the same values.

    Raises
    ------
    PointsFileError
        If this is not a STAR file, a row has more or fewer values than its table has labels, two labels or two blocks
        have the same name, or the last row is cut off. The message names the block, the row and the label.

    Examples
    --------
    >>> import tempfile
    >>> text = "data_particles\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n0012 7.5\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "p.star").write_text(text)
    ...     read_star_blocks(Path(folder, "p.star"))["particles"].to_dict("records")
    [{'rlnTomoName': '0012', 'rlnCoordinateX': '7.5'}]
    """
    text = read_text(path, errors="replace")
    lines = [_Line(n, line.strip(), _split(line)) for n, line in enumerate(_LINE_END.split(text), 1)]
    lines = [line for line in lines if line.values]
    if not any(_is_block(line) for line in lines):
        raise PointsFileError(f"{path}: not a STAR file: no line starts with data_; give a particles file of RELION")
    if not _is_block(lines[0]):
        raise PointsFileError(f"{path}, line {lines[0].number}: {lines[0].text!r} stands before the first data_ line")
    blocks: dict[str, pd.DataFrame] = {}
    for name, content in _split_blocks(lines):
        if name in blocks:
            raise PointsFileError(f"{path}: two blocks are named data_{name}; rename or delete one")
        blocks[name] = _read_block(f"{path}, block data_{name}", content)
    if not text.endswith(("\n", "\r")):
        _check_end(f"{path}, block data_{name}", blocks[name])
    return blocks


def _split(line: str) -> list[str]:
    """Return the values of a line, without quotes and comments."""
    if not _MARK.search(line):
        return line.split()
    values = []
    for double, single, comment, plain in _VALUE.findall(line):
        if comment:
            break
        values.append(double or single or plain)
    return values


def _is_block(line: _Line) -> bool:
    """Whether a block begins here; a row may begin with a name such as data_1."""
    return line.text.startswith(_BLOCK) and len(line.values) == 1


def _split_blocks(lines: Sequence[_Line]) -> Iterator[tuple[str, list[_Line]]]:
    """Yield the name and the lines of each block."""
    starts = [i for i, line in enumerate(lines) if _is_block(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start].values[0].removeprefix(_BLOCK), list(lines[start + 1 : end])


def _read_block(where: str, lines: Sequence[_Line]) -> pd.DataFrame:
    """Read a loop, or single values."""
    if not lines:
        return pd.DataFrame()
    if lines[0].text != _LOOP:
        labels, rows = _read_single_values(where, lines)
    else:
        n_labels = next((i for i, line in enumerate(lines[1:]) if not _is_label(line)), len(lines) - 1)
        _check_column_numbers(where, lines[1 : n_labels + 1])
        labels = [line.values[0][1:] for line in lines[1 : n_labels + 1]]
        rows = _read_rows(where, labels, lines[n_labels + 1 :])
    columns = list(zip(*rows, strict=True)) or [()] * len(labels)
    return pd.DataFrame(_without_doubles(where, labels, columns), dtype=object)


def _is_label(line: _Line) -> bool:
    """Whether this line of a loop is a label; its number need not be a comment."""
    return line.text.startswith("_") and (len(line.values) == 1 or (len(line.values) == 2 and line.values[1].isdigit()))


def _check_column_numbers(where: str, lines: Sequence[_Line]) -> None:
    """Refuse labels that were moved: their numbers are those of the columns, in another order.

    Numbers that are missing or double are from columns that were deleted or added, so the order of the labels counts.
    """
    found = [_COLUMN.match(line.text) for line in lines]
    numbers = [int(match[1]) for match in found if match]
    wrong = next((i for i, number in enumerate(numbers, 1) if number != i), None)
    if wrong is None or len(numbers) != len(lines):
        return
    line = lines[wrong - 1]
    if sorted(numbers) == list(range(1, len(lines) + 1)):
        raise PointsFileError(
            f"{where}, line {line.number}: {line.values[0]} has the number {numbers[wrong - 1]}, but is label {wrong}; "
            "labels were moved, so the columns are not known: put them in order, or remove the numbers"
        )
    _log.warning("%s: the numbers of the labels are not those of the columns; their order is used", where)


def _read_single_values(where: str, lines: Sequence[_Line]) -> tuple[list[str], list[list[str]]]:
    for line in lines:
        if not line.text.startswith("_") or len(line.values) != 2:
            raise PointsFileError(
                f"{where}, line {line.number}: {line.text!r} is not a label and its value; a table begins with loop_"
            )
    return [line.values[0][1:] for line in lines], [[line.values[1] for line in lines]]


def _read_rows(where: str, labels: Sequence[str], lines: Sequence[_Line]) -> list[list[str]]:
    if not labels:
        raise PointsFileError(f"{where}: its loop_ has no labels; they begin with _, one per line")
    for row, line in enumerate(lines, 1):
        n = len(line.values)
        if line.text == _LOOP:
            raise PointsFileError(
                f"{where}, line {line.number}: a second loop_; give each table a data_ line of its own"
            )
        if _LABEL.match(line.text):
            raise PointsFileError(
                f"{where}, row {row} (line {line.number}): {line.values[0]} is a label; put it before the rows, alone "
                "on its line, or in quotes if it is a value"
            )
        if n != len(labels):
            odd = f"none is left for {labels[n]}" if n < len(labels) else f"the last label is {labels[-1]}"
            cut = "; the file ends there, so it may be cut off" if line is lines[-1] and n < len(labels) else ""
            raise PointsFileError(
                f"{where}, row {row} (line {line.number}): {n} values for {len(labels)} labels, {odd}{cut}"
            )
    return [line.values for line in lines]


def _without_doubles(where: str, labels: Sequence[str], columns: Sequence[Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the columns by label; a label that is twice is refused unless its values are the same."""
    table: dict[str, Sequence[str]] = {}
    for label, column in zip(labels, columns, strict=True):
        first = table.setdefault(label, column)
        if first is column:
            continue
        row = next((i for i, (a, b) in enumerate(zip(first, column, strict=True)) if a != b), None)
        if row is not None:
            values = f"{first[row]} and {column[row]}"
            raise PointsFileError(
                f"{where}, row {row + 1}: label {label} is there twice, with the values {values}; delete one"
            )
        _log.warning("%s: label %s is there twice, with the same values; one is used", where, label)
    return table


def _check_end(where: str, table: pd.DataFrame) -> None:
    """Refuse a file without a last line break that ends in a label, or whose last value is shorter than those above."""
    if table.empty:
        raise PointsFileError(f"{where}: the file ends within its labels, so it is cut off; copy it again")
    *above, last = table.iloc[:, -1]
    is_short = bool(above) and _n_after_point(last) < min(map(_n_after_point, above))
    if is_short or last.count("[") > last.count("]"):
        raise PointsFileError(
            f"{where}, row {len(table)}: {table.columns[-1]} is {last!r} and the file ends there without a line break, "
            "so it seems to be cut off; copy it again, or end the line if it is whole"
        )
    _log.warning("%s: no line break after the last row, which may be cut off", where)


def _n_after_point(value: str) -> int:
    """Return how many characters follow the last point: decimals of a number, or the extension of a name."""
    return len(value) - value.rfind(".") if "." in value else 0
