"""From what was named on the command line to tomograms that can be looked at."""

from collections.abc import Sequence
from pathlib import Path

from cryosam.errors import InputError, InputNotFoundError
from cryosam.io import is_volume_name
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["open_tomograms"]


def open_tomograms(
    paths: Sequence[Path], voxel_size_angstrom: float | None = None
) -> tuple[list[ViewedTomogram], list[str]]:
    """Open files, and all volumes in folders; what is in a folder and is no tomogram is left out.

    Parameters
    ----------
    paths
        Files and folders.
    voxel_size_angstrom
        Edge of a voxel; it takes the place of what the headers say.

    Returns
    -------
    tomograms, left_out
        In the order given, a folder's by name; and a sentence for each file that could not be used.

    Raises
    ------
    InputError
        If a file that was named is not a tomogram, or there is none in a folder.
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
        n_before = len(found)
        for each in sorted(path.iterdir()):
            if each.name.startswith(".") or not is_volume_name(each):
                continue
            try:
                found.append(ViewedTomogram(each, voxel_size_angstrom=voxel_size_angstrom))
            except InputError as error:
                left_out.append(str(error))
        if len(found) == n_before:
            raise InputError(f"{path}: no tomogram in this folder; give MRC, TIFF, HDF5 or OME-Zarr files")
    unique = list({viewed.path: viewed for viewed in found}.values())
    _tell_apart(unique)
    return unique, left_out


def _tell_apart(tomograms: Sequence[ViewedTomogram]) -> None:
    """Put folders before names that several have."""
    names = [viewed.name for viewed in tomograms]
    for viewed in tomograms:
        depth = 1
        while names.count(viewed.name) > 1 and depth < len(viewed.path.parts):
            depth += 1
            viewed.name = "/".join(viewed.path.parts[-depth:])
