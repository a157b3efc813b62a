"""Conversion between layers of napari and voxels of a tomogram: scales, shifts, units."""

from pathlib import Path
from typing import Any

import numpy as np
from napari import layers

from cryosam.arrays import Points
from cryosam.errors import InputError, InputNotFoundError, PromptError, TomogramError, VoxelSizeError
from cryosam.io import VolumeInfo, read_info
from cryosam.prompts import PointPrompts
from cryosam.tomogram import Tomogram
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["placement", "viewed_of", "voxels_of"]

_PLACED = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
_TOLERANCE = 0.01  # as for headers: relative difference up to which edges of a voxel are equal


def placement(image: layers.Image) -> dict[str, Any]:
    """Return the arguments for a layer in voxels of an image that is displayed over it."""
    return {name: getattr(image, name) for name in _PLACED}


def voxels_of(points: layers.Points, image: layers.Image) -> Points:
    """Convert the points of a layer to ``(n, 3)`` z, y, x in voxels of an image, for any transforms of the two.

    Raises
    ------
    PromptError
        If the points do not have three dimensions, or one is outside the image.
    """
    if points.ndim != 3:
        raise PromptError(f"the points layer {points.name!r} has {points.ndim} dimensions; clicks need three, z, y, x")
    factors = [_factor(a, b) for a, b in zip(points.units, image.units, strict=True)]
    rows = [image.world_to_data(np.multiply(points.data_to_world(row), factors)) for row in points.data]
    # rounding makes a click on a voxel centre a whole number again after scaling
    found = np.round(np.array(rows, dtype=float).reshape(-1, 3), 6)
    if len(found):
        try:
            PointPrompts(found).validate(_voxels(image).shape)
        except PromptError as error:
            raise PromptError(f"{points.name}: {error}") from error
    return found


def viewed_of(image: layers.Image) -> ViewedTomogram:
    """Take the voxels of a layer, from whatever reader; of several scales, the finest.

    The voxel size is that of the file of the layer, or else that of the layer if it has a unit of length, or unknown.

    Raises
    ------
    TomogramError
        If the layer is not a 3D volume of grey values.
    VoxelSizeError
        If its voxels are not cubes.
    """
    if image.rgb:
        raise TomogramError(f"the layer {image.name!r} is in colour; a tomogram has one grey value per voxel")
    data = _voxels(image)
    if len(data.shape) != 3:
        raise TomogramError(
            f"the layer {image.name!r} has {len(data.shape)} dimensions; a tomogram has three, z, y, x: "
            "choose another layer, or split this one"
        )
    path = Path(image.source.path) if image.source.path else None
    info = _info_of(path, data.shape) if path else None
    size = info.voxel_size_angstrom if info else None
    # a plain array instead of a memory map, because another reader opened the file
    tomogram = Tomogram(np.asarray(data), size or _size_in_layer(image), path.stem if path else image.name)
    viewed = ViewedTomogram(path or Path(image.name), image.name, tomogram=tomogram)
    viewed.info = info or viewed.info
    return viewed


def _voxels(image: layers.Image) -> Any:
    return image.data[0] if image.multiscale else image.data


def _factor(unit: Any, other: Any) -> float:
    """Return the factor between two units; 1 if one is pixels, because napari then does not scale the layers."""
    return float((1 * unit).to(other).magnitude) if unit.is_compatible_with(other) else 1.0


def _info_of(path: Path, shape: tuple[int, ...]) -> VolumeInfo | None:
    """Read the header of a file; None if it is not a volume of this shape."""
    try:
        info = read_info(path)
    except (InputError, InputNotFoundError):
        return None
    return info if info.shape == tuple(shape) else None


def _size_in_layer(image: layers.Image) -> float | None:
    """Return the voxel size from the scale of the layer; None if it is in pixels."""
    if not all(unit.is_compatible_with("angstrom") for unit in image.units):
        return None
    edges = [abs(s) * float((1 * u).to("angstrom").magnitude) for s, u in zip(image.scale, image.units, strict=True)]
    if np.ptp(edges) > _TOLERANCE * max(edges):
        sizes = " x ".join(f"{edge:g}" for edge in edges)
        raise VoxelSizeError(
            f"the voxels of the layer {image.name!r} are not cubes, but {sizes} angstrom along z, y, x"
        )
    return float(f"{np.median(edges):.6g}")
