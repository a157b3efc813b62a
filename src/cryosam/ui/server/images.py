"""Encoding of pictures and surfaces as bytes."""

import io
import struct
from collections.abc import Iterable

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from cryosam.io.surfaces import surface_of
from cryosam.masks import InstanceMask
from cryosam.results import Average
from cryosam.structure_results import StructureInstance
from cryosam.ui.session import Session
from cryosam.ui.shapes import surface
from cryosam.ui.state import Point
from cryosam.ui.viewed import Gallery

__all__ = ["diameter_of", "encode_average", "encode_meshes", "encode_thumbnail"]

_EDGE = 96  # pixels
_LEAST, _MARGIN = 32, 2.0  # size of a thumbnail: at least this many voxels, and this many diameters
_STRUCTURE = 400.0  # angstrom; as if membranes, filaments and compartments were particles of this diameter
_STRETCH = (1, 99)  # percentiles that become black and white


def encode_thumbnail(gallery: Gallery, tomogram: int, point: Point, diameter: float | None) -> bytes:
    """Encode the z slice around a point as PNG, with its own contrast; outside the tomogram, edge voxels are repeated.

    Parameters
    ----------
    gallery, tomogram
        Tomograms, and the number of the one with the point.
    point
        z, y, x in voxels.
    diameter
        Diameter of the particle, in voxels.
    """
    shape = gallery[tomogram].shape
    z, y, x = (min(max(round(c), 0), n - 1) for c, n in zip(point, shape, strict=True))
    half = round(max(_LEAST, _MARGIN * (diameter or 0.0)) / 2)
    _, height, width = shape
    section = gallery.pixels(tomogram, "z", z, slab=3)
    rows = np.clip(np.arange(y - half, y + half + 1), 0, height - 1)
    cols = np.clip(np.arange(x - half, x + half + 1), 0, width - 1)
    return _encode(_stretched(section[np.ix_(rows, cols)]), 1)


def diameter_of(session: Session, tomogram: int, kind: int) -> float | None:
    """Return the diameter in voxels of what a thumbnail shows: that of particles, or enough of another structure."""
    view, voxel_size = session.state.view(tomogram, kind), session.tomograms[tomogram].voxel_size_angstrom
    if view.searched_as != "particle" and voxel_size is not None:
        return _STRUCTURE / voxel_size
    return None if view.size is None else view.size.diameter


def encode_average(average: Average) -> bytes:
    """Encode the central slices z, y and x of an average, side by side, as PNG; protein is bright."""
    middle, data = len(average.data) // 2, average.data
    slices = np.concatenate([data[middle], data[:, middle], data[:, :, middle].T], axis=1)
    return _encode(_stretched(slices), 3)


def _encode(picture: UInt8[np.ndarray, "h w"], n: int) -> bytes:
    """Encode n square pictures, side by side, as PNG of the size of n thumbnails."""
    buffer = io.BytesIO()
    resized = Image.fromarray(picture).resize((n * _EDGE, _EDGE), Image.Resampling.BICUBIC)
    resized.save(buffer, format="PNG")
    return buffer.getvalue()


def _encode_mesh(body: InstanceMask | StructureInstance) -> bytes:
    made = surface(body) if isinstance(body, InstanceMask) else surface_of(body)
    counts = struct.pack("<II", len(made.vertices), len(made.faces))
    return counts + made.vertices.astype("<f4").tobytes() + made.faces.astype("<u4").tobytes()


def encode_meshes(bodies: Iterable[tuple[int, InstanceMask | StructureInstance]]) -> bytes:
    """Encode surfaces of candidates, given as masks of particles or as other structures, as little-endian bytes.

    The number of surfaces as uint32. Then for each surface: the number of its candidate, the number of vertices and the
    number of faces as uint32, the vertices z, y, x as float32, and the faces as uint32.
    """
    parts = [struct.pack("<I", number) + _encode_mesh(body) for number, body in bodies]
    return struct.pack("<I", len(parts)) + b"".join(parts)


def _stretched(image: Num[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    low, high = (float(v) for v in np.percentile(image, _STRETCH))
    if high <= low:
        return np.asarray(image, dtype=np.uint8)
    return np.clip((image.astype(np.float32) - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)
