"""Membranes, filaments and compartments on disk, one file each; they never change, so each is written only once."""

import hashlib
import io
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cryosam.io import atomic_path
from cryosam.masks import InstanceMask
from cryosam.structure_results import Compartment, Filament, Membrane, Mesh, StructureInstance

__all__ = ["InstanceFolder"]

_log = logging.getLogger(__name__)

_NUMBERS = {
    "Membrane": ("score", "thickness_angstrom", "area_angstrom2", "enclosed_angstrom3", "curvature_radius_angstrom"),
    "Filament": ("score", "length_angstrom", "radius_angstrom"),
    "Compartment": ("score", "volume_angstrom3"),
}
_ARRAYS = {"Membrane": ("points", "normals"), "Filament": ("points", "tangents"), "Compartment": ()}


class InstanceFolder:
    """Stores instances in a folder, in files named by a hash of their content.

    Parameters
    ----------
    folder
        An existing folder; other files in it are not changed.

    Examples
    --------
    >>> import tempfile
    >>> lumen = Compartment(InstanceMask((1, 2, 3), np.ones((2, 2, 2), dtype=bool)), 0.9, 8000.0, True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     instances = InstanceFolder(Path(folder))
    ...     name = instances.write(lumen)
    ...     InstanceFolder(Path(folder)).read(name, (9, 9, 9)).volume_angstrom3
    8000.0
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: WeakKeyDictionary[StructureInstance, str] = WeakKeyDictionary()

    def write(self, instance: StructureInstance) -> str:
        """Write an instance unless it is stored already; return its name.

        Raises
        ------
        OutputError
            If there is no space or no permission.
        """
        name = self._names.get(instance)
        if name is not None and self._path(name).exists():
            return name
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **_arrays(instance))
        content = buffer.getvalue()
        name = self._names[instance] = hashlib.sha256(content).hexdigest()[:16]
        with atomic_path(self._path(name)) as temporary:
            temporary.write_bytes(content)
        return name

    def read(self, name: str, shape: tuple[int, int, int]) -> StructureInstance | None:
        """Read an instance in a tomogram of a shape by name; None, with a warning, if it cannot be read."""
        try:
            with np.load(self._path(name), allow_pickle=False) as arrays:
                instance = _instance(dict(arrays), shape)
        except Exception as error:  # any problem: the session is still usable without it
            _log.warning("a saved structure cannot be read (%s); to see it, find all again", error)
            return None
        self._names[instance] = name
        return instance

    def keep_only(self, names: Collection[str]) -> None:
        """Delete all instances except those with these names."""
        kept = {self._path(name) for name in names}
        for path in set(self._folder.glob("structure-*.npz")) - kept:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"structure-{name}.npz"


def _arrays(instance: StructureInstance) -> dict[str, Any]:
    """Everything an instance is made of, as arrays; the voxels of masks as bits."""
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


def _instance(arrays: dict[str, Any], shape: tuple[int, int, int]) -> StructureInstance:
    """Inverse of `_arrays`; raises an error if anything is inconsistent."""
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


def _mask(arrays: dict[str, Any], name: str, shape: tuple[int, int, int]) -> InstanceMask:
    (z, y, x), size = arrays[f"{name}_box"].tolist()
    if min(z, y, x, *size) < 0 or any(o + n > whole for o, n, whole in zip((z, y, x), size, shape, strict=True)):
        raise ValueError("a mask reaches beyond its tomogram")
    n = size[0] * size[1] * size[2]
    return InstanceMask((z, y, x), np.unpackbits(arrays[name], count=n).reshape(size).astype(bool))
