"""Score maps, membranes, filaments and compartments as arrays, for `cryosam.ui.array_folder`, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cryosam.masks import InstanceMask
from cryosam.results import ScoreMap
from cryosam.structure_results import Compartment, Filament, Membrane, Mesh, StructureInstance

__all__ = ["arrays_of_instance", "arrays_of_map", "instance_of", "map_of"]

_NUMBERS = {
    "Membrane": ("score", "thickness_angstrom", "area_angstrom2", "enclosed_angstrom3", "curvature_radius_angstrom"),
    "Filament": ("score", "length_angstrom", "radius_angstrom"),
    "Compartment": ("score", "volume_angstrom3"),
}
_ARRAYS = {"Membrane": ("points", "normals"), "Filament": ("points", "tangents"), "Compartment": ()}


def arrays_of_map(score_map: ScoreMap) -> dict[str, Any]:
    """Return everything a score map is made of."""
    return {"data": score_map.data, "stride": np.array(score_map.stride)}


def map_of(arrays: Mapping[str, Any]) -> ScoreMap:
    """Inverse of `arrays_of_map`.

    Examples
    --------
    >>> map_of(arrays_of_map(ScoreMap(np.ones((2, 3, 4), dtype=np.float32), 4))).stride
    4
    """
    return ScoreMap(arrays["data"].astype(np.float32), int(arrays["stride"]))


def arrays_of_instance(instance: StructureInstance) -> dict[str, Any]:
    """Return everything an instance is made of; the voxels of masks as bits."""
    name = type(instance).__name__
    arrays: dict[str, Any] = {"type": np.array(name)}
    arrays |= {each: np.array(float(getattr(instance, each))) for each in _NUMBERS[name]}
    arrays |= {each: np.asarray(getattr(instance, each), dtype=float) for each in _ARRAYS[name]}
    for each, mask in (("mask", instance.mask), ("inferred", instance.inferred)):
        arrays[each] = np.packbits(mask.data)
        arrays[f"{each}_box"] = np.array([mask.origin, mask.data.shape], dtype=np.int64)
    match instance:
        case Membrane():
            arrays |= {"vertices": instance.mesh.vertices, "faces": instance.mesh.faces, "flag": instance.is_closed}
        case Compartment():
            arrays |= {"flag": instance.is_cut}
    return arrays


def instance_of(arrays: Mapping[str, Any], shape: tuple[int, int, int]) -> StructureInstance:
    """Inverse of `arrays_of_instance` in a tomogram of a shape.

    Raises
    ------
    KeyError, ValueError
        If anything is inconsistent.

    Examples
    --------
    >>> lumen = Compartment(InstanceMask((1, 2, 3), np.ones((2, 2, 2), dtype=bool)), 0.9, 8000.0, True)
    >>> instance_of(arrays_of_instance(lumen), (9, 9, 9)).volume_angstrom3
    8000.0
    """
    name = str(arrays["type"])
    given: dict[str, Any] = {each: float(arrays[each]) for each in _NUMBERS[name]}
    given |= {each: arrays[each].reshape(-1, 3) for each in _ARRAYS[name]}
    given["mask"] = _mask(arrays, "mask", shape)
    match name:
        case "Membrane":
            mesh = Mesh(arrays["vertices"].reshape(-1, 3), arrays["faces"].reshape(-1, 3))
            if mesh.faces.size and not 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
                raise ValueError("a surface has corners that it does not list")
            inferred = _mask(arrays, "inferred", shape)
            return Membrane(**given, mesh=mesh, is_closed=bool(arrays["flag"]), inferred=inferred)
        case "Filament":
            return Filament(**given, inferred=_mask(arrays, "inferred", shape))
        case _:
            return Compartment(**given, is_cut=bool(arrays["flag"]))


def _mask(arrays: Mapping[str, Any], name: str, shape: tuple[int, int, int]) -> InstanceMask:
    (z, y, x), size = arrays[f"{name}_box"].tolist()
    if min(z, y, x, *size) < 0 or any(o + n > whole for o, n, whole in zip((z, y, x), size, shape, strict=True)):
        raise ValueError("a mask reaches beyond its tomogram")
    n = size[0] * size[1] * size[2]
    return InstanceMask((z, y, x), np.unpackbits(arrays[name], count=n).reshape(size).astype(bool))
