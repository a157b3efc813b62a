"""Opening the tomograms that are given on the command line."""

from collections.abc import Sequence
from pathlib import Path

from cryosam.errors import InputError, InputNotFoundError
from cryosam.io import is_volume_name
from cryosam.io.earlier_results import find_results, read_run
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["open_searched", "open_tomograms"]

_NAMED = 10  # files that are named in a message


def open_tomograms(
    paths: Sequence[Path], voxel_size_angstrom: float | None = None
) -> tuple[list[ViewedTomogram], list[str]]:
    """Open files, and all volumes in folders; what else is in folders is left out.

    Parameters
    ----------
    paths
        Files and folders.
    voxel_size_angstrom
        Edge length of a voxel; replaces the values in the headers.

    Returns
    -------
    tomograms, left_out
        Tomograms in the given order, those of a folder by name; and messages that name everything that was left out.

    Raises
    ------
    InputError
        If a given file is not a tomogram, or a folder has no tomogram.
    """
    found: list[ViewedTomogram] = []
    left_out: list[str] = []
    for path in paths:
        if not path.exists():
            raise InputNotFoundError(f"{path}: no such file or folder; check the path")
        if is_volume_name(path):
            found.append(ViewedTomogram(path, voxel_size_angstrom=voxel_size_angstrom))
            continue
        if not path.is_dir():
            raise InputError(f"{path}: not a tomogram; give an MRC, TIFF, HDF5 or OME-Zarr file, or a folder of them")
        opened, messages = _open_folder(path, voxel_size_angstrom)
        found += opened
        left_out += messages
    return _unique(found), left_out


def open_searched(
    folders: Sequence[Path], voxel_size_angstrom: float | None = None
) -> tuple[list[ViewedTomogram], list[str]]:
    """Open the tomograms that were searched in earlier runs, from where they were then; parameters and result as above.

    Parameters
    ----------
    folders
        Result folders, or folders of a batch.
    voxel_size_angstrom
        Edge length of a voxel; replaces the values that the runs used.

    Raises
    ------
    InputError
        If a folder is not a result, or none of the tomograms can be opened.
    """
    found: list[ViewedTomogram] = []
    left_out: list[str] = []
    for folder in (each for given in folders for each in find_results(given)):
        searched = read_run(folder)["input"]
        try:
            path, size = Path(searched["path"]), voxel_size_angstrom or searched["voxel_size_angstrom"]
            found.append(ViewedTomogram(path, voxel_size_angstrom=size))
        except (InputError, InputNotFoundError) as error:
            left_out.append(str(error))
    if not found:
        raise InputError(f"{left_out[0]}; if the searched tomograms were moved, give them too")
    return _unique(found), left_out


def _open_folder(folder: Path, voxel_size_angstrom: float | None) -> tuple[list[ViewedTomogram], list[str]]:
    found: list[ViewedTomogram] = []
    left_out: list[str] = []
    others: list[str] = []
    for each in sorted(folder.iterdir()):
        if each.name.startswith("."):
            continue
        if not is_volume_name(each):
            others.append(f"{each.name}/" if each.is_dir() else each.name)
            continue
        try:
            found.append(ViewedTomogram(each, voxel_size_angstrom=voxel_size_angstrom))
        except InputError as error:
            left_out.append(str(error))
    if not found:
        raise InputError(f"{folder}: no tomogram in this folder; give MRC, TIFF, HDF5 or OME-Zarr files")
    if others:
        more = len(others) - _NAMED
        names = ", ".join(others[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        left_out.append(f"{folder}: not tomograms by their names: {names}")
    return found, left_out


def _unique(found: Sequence[ViewedTomogram]) -> list[ViewedTomogram]:
    """Each file once, with a name that no other has."""
    unique = list({viewed.path: viewed for viewed in found}.values())
    _make_names_unique(unique)
    return unique


def _make_names_unique(tomograms: Sequence[ViewedTomogram]) -> None:
    """Add folders to names that several tomograms have."""
    names = [viewed.name for viewed in tomograms]
    for viewed in tomograms:
        depth = 1
        while names.count(viewed.name) > 1 and depth < len(viewed.path.parts):
            depth += 1
            viewed.name = "/".join(viewed.path.parts[-depth:])
