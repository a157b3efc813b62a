"""Reading text files, whatever byte-order mark spreadsheets and consoles put at their start."""

import codecs
from pathlib import Path
from typing import Literal

__all__ = ["read_text"]

_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path, errors: Literal["strict", "replace"] = "strict") -> str:
    r"""Read a file in UTF-8, or in UTF-16 if a byte-order mark says so; line ends are kept as they are.

    Parameters
    ----------
    path
        The file.
    errors
        "replace" puts a question mark in place of what is not text.

    Raises
    ------
    UnicodeDecodeError
        If this is not text, and errors are not replaced.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "p.csv").write_text("z,y,x\n", encoding="utf-16")
    ...     read_text(Path(folder, "p.csv"))
    'z,y,x\n'
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors)
