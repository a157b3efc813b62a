"""Choosing a voxel type that the file format supports."""

from collections.abc import Sequence

import numpy as np

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import InputError

__all__ = ["as_storable"]

_EXACT_INTEGER = 2**24  # float32 holds every integer up to here


def as_storable(data: AnyVolume | Mask, integers: Sequence[str], floats: Sequence[str]) -> AnyVolume:
    """Convert an array to a type that the format supports, without changing its values.

    Parameters
    ----------
    data
        ``(z, y, x)`` real numbers, or a mask.
    integers
        Integer types of the format, in order of preference: the first that holds all values of integers or a mask is
        used.
    floats
        Floating-point types of the format: kept if ``data`` has one of them, otherwise float32 is used.

    Returns
    -------
    stored
        ``data`` itself if its type is supported.

    Raises
    ------
    InputError
        If no type of the format holds the values.

    Examples
    --------
    >>> as_storable(np.full((1, 1, 2), 200), ("int8", "uint16"), ("float32",)).dtype
    dtype('uint16')
    """
    if data.dtype.kind == "f":
        return data if data.dtype.name in floats else _as_single(data)
    if data.dtype.kind not in "uib":
        raise InputError(f"voxels of type {data.dtype} cannot be written; give integers, real numbers or a mask")
    low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
    for name in integers:
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return data.astype(name, copy=False)
    if max(-low, high) <= _EXACT_INTEGER:
        return data.astype(np.float32)
    raise InputError(f"integers from {low} to {high} do not fit a type of this format ({', '.join(integers)})")


def _as_single(data: AnyVolume) -> AnyVolume:
    """Convert to float32; refused if a finite value would become infinite."""
    try:
        with np.errstate(over="raise"):
            return data.astype(np.float32)
    except FloatingPointError as error:
        raise InputError("voxels beyond the range of float32, 3.4e38, cannot be written; scale them") from error
