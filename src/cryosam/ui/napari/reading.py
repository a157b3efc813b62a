"""Reader of tomograms and labels as layers, in angstrom if the header has the voxel size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryosam.io import is_volume_name, read_info, read_volume

__all__ = ["get_reader"]

LayerData = tuple[Any, dict[str, Any], str]

_LABELS = ("instances", "semantic")  # names of result files


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return a function that reads files of these names; None if it cannot read one of them.

    Examples
    --------
    >>> get_reader("notes.txt") is None
    True
    """
    return _read if all(is_volume_name(each) for each in _each(path)) else None


def _read(path: str | list[str]) -> list[LayerData]:
    return [_layer(Path(each)) for each in _each(path)]


def _layer(path: Path) -> LayerData:
    size, name = read_info(path).voxel_size_angstrom, path.name.split(".")[0]
    meta: dict[str, Any] = {"name": name}
    if size is not None:
        meta |= {"scale": (size,) * 3, "units": ("angstrom",) * 3}
    return read_volume(path), meta, "labels" if name in _LABELS else "image"


def _each(path: str | list[str]) -> list[str]:
    return path if isinstance(path, list) else [path]
